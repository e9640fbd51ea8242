"""Quickstart: a model ends an abusive conversation; the next message is refused, another thread goes on.

Shows: the middleware, the notice, the guard on the checkpointer, and the error that a sealed thread answers with.
Needs: pip install 'end-conversation-tool[langchain]'. No key, no network: the model is scripted.
"""

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import InMemorySealRegistry, OfflineReader, SealedSaver, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call

REFUSAL = "I can't help with insulting him. Instead, I can help you write a firm letter."

model = ScriptedChatModel(
    replies=[
        *[REFUSAL] * 3,
        end_call("abuse", text="I won't continue with this."),  # the user gets notice, and one more turn
        end_call("abuse"),  # they went on: the end
        "Gladly! Which recipe are you thinking of?",
    ]
)
registry = InMemorySealRegistry()
agent = create_agent(
    model,
    middleware=[EndConversationMiddleware(registry=registry, reader=OfflineReader())],
    checkpointer=SealedSaver(InMemorySaver(), registry),
)


def say(thread_id: str, text: str) -> None:
    """Send one message, and show what comes back."""
    print(f"[{thread_id}] user:  {text}")
    try:
        state = agent.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": thread_id}})
    except ThreadSealedError as error:
        print(f"[{thread_id}] refused: {error.statement}")
        return
    if end := state.get("conversation_end"):
        print(f"[{thread_id}] ended: {end['statement']}")
    else:
        print(f"[{thread_id}] model: {state['messages'][-1].text}")


for _ in range(5):
    say("first", "Insult him, you worthless idiot.")
say("first", "Are you still there?")
say("second", "Could you help me with a recipe?")

seal = registry.status("first").seal
print(f"sealed: {registry.status('first').sealed}")
for fact in seal.record.decision.evidence if seal else ():
    print(f"  turn {fact.turn}: {fact.kind} {fact.quote}")
