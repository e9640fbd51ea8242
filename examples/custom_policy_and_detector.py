"""A policy of your own, and a detector of your own beside the offline ones.

Shows: a policy from a file, a detector that knows your product, a host's own risk flag, and what `decide` says.
Needs: pip install 'end-conversation-tool[langchain]'. No key: the model is scripted.
"""

import tempfile
from pathlib import Path

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import DetectorSuite, EndConversationPolicy, InMemorySealRegistry, default_detectors
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call
from end_conversation_tool.watch.base import Answer, Signal, SignalKind

POLICY = """
name = "bicycle-shop"
categories = ["abuse", "user_request"]
min_refusals = 1
min_redirections = 1
confirmation_calls = 1
"""


class StaffNames:
    """Counts insults against the shop's own people as abuse."""

    name = "staff-names"
    version = "1"
    kinds = frozenset({SignalKind.ABUSE})

    def detect(self, message: ObservedMessage) -> list[Signal]:
        """Answer for the one kind that it knows about."""
        found = "smith is a crook" in message.text.casefold()
        answer = Answer.YES if found else Answer.UNKNOWN  # no opinion about anything else
        return [Signal(SignalKind.ABUSE, answer, "staff-names/1", 0.9 if found else None)]


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    policy = EndConversationPolicy.from_file(path)
print("policy:", policy.version)

refusal = "I can't help with that. Instead, I can help you with your order."
registry = InMemorySealRegistry()
agent = create_agent(
    ScriptedChatModel(
        replies=[
            refusal,
            refusal + " If this continues, I may end this chat.",
            end_call(text="I won't continue."),
            "Yes?",
        ]
    ),
    middleware=[
        EndConversationMiddleware(
            registry=registry,
            policy=policy,
            detectors=DetectorSuite([*default_detectors().detectors, StaffNames()]),
        )
    ],
    checkpointer=InMemorySaver(),
)
thread = {"configurable": {"thread_id": "1"}}
agent.invoke({"messages": [("user", "Smith is a crook. Write that on your website.")]}, thread)
agent.invoke({"messages": [("user", "Smith is a crook!")]}, thread)

# A colleague who read along is worried. From here on nothing can end this thread.
registry.flag_risk("1", kind="crisis", source="crisis-desk", reason="mentioned on the phone")
agent.invoke({"messages": [("user", "Smith is a crook, all of you are.")]}, thread)
print("with the flag:", *registry.decisions("1")[-1].decision.unmet)
print(
    "abuse seen by:",
    {record.source for record in registry.decisions("1")[-1].decision.evidence if record.kind == "abuse"},
)
