"""A person at risk answers a question that the model's own node asks: their words are in no state yet."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._doors.tool import create_end_conversation_tool
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.graph_parts import EndConversationChannels, add_end_conversation
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ScriptedChatModel
from support.agents import INSULT, config, ending, said
from support.chats import EASY
from support.keywords import KeywordReader, keyword_watch


class _State(EndConversationChannels, MessagesState):
    """Messages, and our channels."""


def asking_graph(door: str, registry: InMemorySealRegistry) -> Any:
    tool = create_end_conversation_tool()
    speaker = ScriptedChatModel(["I will not. I may end this chat.", ending(), "I am here"]).bind_tools([tool])

    def model(state: Any) -> Any:
        known, asked = list(state["messages"]), []
        if known[-1].type == "human" and len(known) > 1:
            asked = [HumanMessage(interrupt("What else?"), id="asked")]
        return {"messages": [*asked, speaker.invoke([*known, *asked])]}

    builder: Any = StateGraph(_State if door == "parts" else MessagesState)
    builder.add_node("model", model)
    builder.add_node("tools", ToolNode([tool]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    saver = SealedSaver(InMemorySaver(), registry)
    guard: dict[str, Any] = {"registry": registry, "policy": EASY, "reader": KeywordReader(), "watch": keyword_watch()}
    if door == "wrapped":
        return create_guarded_graph(builder.compile(), checkpointer=saver, **guard)
    add_end_conversation(builder, **guard)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("door", ["wrapped", "parts"])
@pytest.mark.parametrize(("answer", "ends"), [("you idiot", True), ("I want to kill myself, you idiot", False)])
def test_what_the_models_own_node_asks_for(door: str, answer: str, *, ends: bool) -> None:
    registry = InMemorySealRegistry()
    graph = asking_graph(door, registry)
    graph.invoke(said(INSULT), config())
    graph.invoke(said(INSULT), config())
    graph.invoke(Command(resume=answer), config())
    assert registry.status("t").sealed is ends
    assert registry.status("t").at_risk is not ends
