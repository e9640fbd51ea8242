"""The same agent behind each of LangGraph's doors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import before_model
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._doors.tool import create_end_conversation_tool
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.graph_parts import add_end_conversation
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel
from support.graphs import State, hand_written

__all__ = ["GRAPHS", "graph_behind"]

GRAPHS = ("create_agent", "wrapped", "parts")
"""LangGraph's doors."""


def graph_behind(
    door: str,
    replies: list[Any],
    guard: dict[str, Any],
    *,
    tools: Sequence[Any] = (),
    saver: Any = None,
    before: Callable[[Any], Any] | None = None,
) -> Any:
    """Return a compiled graph behind one of the doors.

    Args:
        door: One of ``GRAPHS``.
        replies: What its model says.
        guard: The arguments of the door, a registry and a reader among them.
        tools: Its tools, besides ours.
        saver: Its checkpointer; ``None`` for one in memory, guarded.
        before: A node, or hook, that runs before its model.
    """
    saver = SealedSaver(InMemorySaver(), guard["registry"]) if saver is None else saver
    if door == "create_agent":
        hooks: list[Any] = [before_model(lambda state, runtime: before(state))] if before else []  # noqa: ARG005
        layers = [*hooks, EndConversationMiddleware(**guard)]
        return create_agent(ScriptedChatModel(replies), [*tools], middleware=layers, checkpointer=saver)

    def change(builder: Any) -> None:
        if before:
            builder.add_node("before", before)
            builder.edges.discard((START, "model"))
            builder.add_edge(START, "before")
            builder.add_edge("before", "model")
        if door == "parts":
            add_end_conversation(builder, **guard)

    offered = [*tools, create_end_conversation_tool()]
    if door == "parts":
        return hand_written(replies, offered, state=State, change=change, checkpointer=saver)
    return create_guarded_graph(hand_written(replies, offered, change=change), checkpointer=saver, **guard)
