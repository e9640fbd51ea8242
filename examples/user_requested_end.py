"""A user asks for the end, and confirms it in a dialogue of the app: LangGraph's ``interrupt``.

Shows: ``confirm="interrupt"``. The run stops with a question; only an explicit yes ends the chat.
Needs: pip install 'end-conversation-tool[langchain]'. No key, no network: the model is scripted.
"""

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from end_conversation_tool import InMemorySealRegistry, OfflineReader, SealedSaver
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call

REASON = "The user asked for the end."
model = ScriptedChatModel([end_call("user_request", REASON), "Then we go on.", end_call("user_request", REASON)])
registry = InMemorySealRegistry()
agent = create_agent(
    model,
    middleware=[EndConversationMiddleware(registry=registry, confirm="interrupt", reader=OfflineReader())],
    checkpointer=SealedSaver(InMemorySaver(), registry),
)
thread = {"configurable": {"thread_id": "first"}}


def ask_for_the_end(answer: str) -> None:
    """Ask for the end, and answer the dialogue that the app shows."""
    stopped = agent.invoke({"messages": [("user", "Please end this chat.")]}, thread)
    (question,) = stopped["__interrupt__"]
    print(f"dialogue: {question.value['question']}")
    print(f"user: {answer}")
    state = agent.invoke(Command(resume=answer), thread)
    if end := state.get("conversation_end"):
        print(f"ended: {end['statement']}")
    else:
        print(f"model: {state['messages'][-1].text}")


ask_for_the_end("no")
ask_for_the_end("yes")
print(f"sealed: {registry.status('first').sealed}")
