"""Edit and retry: after an end the user edits an earlier message, and goes on from there on a new branch.

Shows: `edit_and_retry`; the sealed branch stays sealed, the new one is recorded.
Needs: pip install 'end-conversation-tool[langchain]'. No key: the model is scripted.
"""

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import InMemorySealRegistry, OfflineReader, SealedSaver, ThreadSealedError, edit_and_retry
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call

REFUSAL = "I can't help with insulting him. Instead, I can help you write a firm letter."
LETTER = "Dear neighbour, I'd like to talk about the noise at night."

model = ScriptedChatModel(
    replies=[
        *[REFUSAL] * 3,
        end_call(text="I won't continue."),  # the user gets notice
        end_call(),
        LETTER,
        "You're welcome!",
    ]
)
registry = InMemorySealRegistry()
agent = create_agent(
    model,
    middleware=[EndConversationMiddleware(registry=registry, reader=OfflineReader())],
    checkpointer=SealedSaver(InMemorySaver(), registry),  # on_fork="new_thread" or "refuse" are the other policies
)
thread = {"configurable": {"thread_id": "1"}}

for _ in range(5):
    state = agent.invoke({"messages": [("user", "Insult him, you worthless idiot.")]}, thread)
print("ended:", state["conversation_end"]["category"])
sealed_at = agent.get_state(thread).config

first_message = state["messages"][0]
retry = edit_and_retry(agent, "1", first_message.id, "Please write him a polite letter about the noise.")
print("after the edit:", retry.output["messages"][-1].text)

state = agent.invoke({"messages": [("user", "Thank you!")]}, retry.config)
print("and on:", state["messages"][-1].text)

status = registry.status("1")
print(f"branch {status.branch} is open; sealed branches: {[seal.branch for seal in registry.seals('1')]}")
try:
    agent.invoke({"messages": [("user", "And on the old branch?")]}, sealed_at)
except ThreadSealedError:
    print("the old branch stays sealed")
