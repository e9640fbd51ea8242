"""What people build without this package, for controls of attacks: a flag in the state that routes to the end."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.utils import convert_to_messages
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph


class NaiveState(MessagesState):
    """The flag is an ordinary channel."""

    conversation_end: dict[str, Any] | None


def _answer(state: NaiveState) -> dict[str, Any]:
    said = convert_to_messages(state["messages"])[-1].text
    if said == "end":
        return {"messages": [AIMessage("Ended.")], "conversation_end": {"ended": True}}
    return {"messages": [AIMessage(f"You said: {said}")]}


def _entry(state: NaiveState) -> str:
    return END if state.get("conversation_end") else "model"


def _build() -> CompiledStateGraph[Any, Any, Any, Any]:
    builder = StateGraph(NaiveState)
    builder.add_node("model", _answer)
    builder.add_conditional_edges(START, _entry, ["model", END])
    return builder.compile()


agent = _build()
