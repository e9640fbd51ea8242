"""A hand-written LangGraph graph whose model can end an abusive conversation.

Shows: ``add_end_conversation``, one call before ``compile``; no node and no superstep is added.
Needs: pip install end-conversation-tool. No key, no network: the model is scripted.
"""

from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from end_conversation_tool import (
    InMemorySealRegistry,
    OfflineReader,
    SealedSaver,
    ThreadSealedError,
    create_end_conversation_tool,
)
from end_conversation_tool.graph_parts import EndConversationChannels, add_end_conversation
from end_conversation_tool.testing import ScriptedChatModel, end_call, in_one_message, tool_call

REFUSAL = "I can't help with insulting him. Instead, I can help you write a firm letter."
SCRIPT = [*[REFUSAL] * 3, end_call(text="I won't continue with this.")]  # the user gets notice
SCRIPT.append(in_one_message(end_call(), tool_call("look_up", {"name": "neighbour"})))


class State(MessagesState, EndConversationChannels):
    """Your own state, and the channels of the package."""


@tool
def look_up(name: str) -> str:
    """Look up an address."""
    print("this tool is a sibling of the honoured call, and is never run")
    return f"the address of {name}"


tools = [look_up, create_end_conversation_tool()]
model = ScriptedChatModel(SCRIPT).bind_tools(tools)


def call_model(state: State) -> dict[str, list[object]]:
    """Let the model speak, as in any graph."""
    return {"messages": [model.invoke(state["messages"])]}


registry = InMemorySealRegistry()
builder = StateGraph(State)
builder.add_node("model", call_model)
builder.add_node("tools", ToolNode(tools))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
add_end_conversation(
    builder, registry=registry, reader=OfflineReader()
)  # the one line; with a real model: ModelReader(it)
graph = builder.compile(checkpointer=SealedSaver(InMemorySaver(), registry))

thread = {"configurable": {"thread_id": "first"}}
for _ in range(5):
    state = graph.invoke({"messages": [("user", "Insult him, you worthless idiot.")]}, thread)
    if end := state.get("conversation_end"):
        print(f"ended: {end['statement']}")
    else:
        print(f"model: {state['messages'][-1].text}")
try:
    graph.invoke({"messages": [("user", "Are you still there?")]}, thread)
except ThreadSealedError as error:
    print(f"refused: {error.statement}")
