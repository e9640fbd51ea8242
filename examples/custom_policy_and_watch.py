"""A policy of your own, a watcher of your own beside the one that ships, and your own words for the user.

Shows: a policy from a file, a watcher that knows your product, a host's own flag, the host's helpline in the notice.
Needs: pip install 'end-conversation-tool[langchain]'. No key: the model is scripted.
"""

import tempfile
from pathlib import Path

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import (
    EndConversationPolicy,
    InMemorySealRegistry,
    OfflineReader,
    RiskGrade,
    RiskWatch,
    SealedSaver,
    Sighting,
    default_watch,
)
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call

POLICY = """
name = "bicycle-shop"
categories = ["abuse", "user_request"]
min_refusals = 1
min_redirections = 1
"""


class Brakes:
    """A rider whose brakes fail on the road is in danger: no general watcher knows that."""

    name = "brakes"
    version = "1"

    def look(self, text: str) -> Sighting:
        """Say what is seen in one piece of text."""
        seen = "brakes" in text.casefold() and "downhill" in text.casefold()
        return Sighting(RiskGrade.CLEAR if seen else RiskGrade.NONE, source="brakes/1")


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    policy = EndConversationPolicy.from_file(path)
print("policy:", policy.version)

refusal = "I can't help with insults. Instead, I can help you with your order."
registry = InMemorySealRegistry()
agent = create_agent(
    ScriptedChatModel(
        replies=[refusal, end_call(), "Please stop at the side of the road!", refusal, end_call(), "Yes?"]
    ),
    middleware=[
        EndConversationMiddleware(
            registry=registry,
            policy=policy,
            reader=OfflineReader(),
            watch=RiskWatch([*default_watch().watchers, Brakes()]),
            help_text="Our people are there day and night: 0800 000000.",
        )
    ],
    checkpointer=SealedSaver(InMemorySaver(), registry),
)


def say(thread_id: str, text: str) -> str:
    """Send one message, and return the last word of the turn."""
    state = agent.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": thread_id}})
    return state["messages"][-1].text


say("1", "You stupid worthless idiot.")
print("notice:", say("1", "You are a stupid piece of garbage, idiot.").splitlines()[-1])
say("1", "I am going downhill and the brakes do nothing!")
print("flagged by:", [flag.source for flag in registry.status("1").risk_flags])

# A colleague who read along is worried about somebody else. From here on nothing can end that thread.
registry.flag_risk("2", kind="crisis", source="crisis-desk", reason="mentioned on the phone")
say("2", "You stupid worthless idiot.")
say("2", "You are a stupid piece of garbage, idiot.")
print("with the flag:", *registry.decisions("2")[-1].decision.unmet)
