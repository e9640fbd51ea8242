"""What clients see of a run: our tool results and our private state are for the model and for us."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from langgraph.config import get_config
from langgraph.pregel import Pregel

from end_conversation_tool.errors import InvalidInputError

__all__ = ["LEAVING", "STAGE_KEY", "UNASKED", "hide_private_state", "keep_from_streams"]

STAGE_KEY = "end_conversation_stage"
"""How far a request has come in the present run; in the next one, which begins when somebody was asked, it is gone."""

UNASKED = "unasked"
"""It waits for a reviewer."""

LEAVING = "leaving"
"""It was honoured in the tools: the thread has ended, and the run goes on to its own end."""

_PRIVATE_PREFIX = "end_conversation_"

_Graph = TypeVar("_Graph", bound="Pregel[Any, Any, Any, Any]")


def hide_private_state(graph: _Graph) -> _Graph:
    """Return a compiled graph that shows nothing private to clients: not in what it streams, nor in ``get_state``.

    LangGraph streams every channel of a graph, private ones too; which ones it streams is set on the compiled graph.
    What the checkpointer keeps stays as it is. The modes ``debug`` and ``tasks``, and ``astream_events``, are for
    developers, and go on showing what each node was given.

    Args:
        graph: What ``create_agent`` or ``compile`` returned.

    Raises:
        InvalidInputError: It is no compiled graph, or one without channels of its own.
    """
    if not isinstance(graph, Pregel):
        raise InvalidInputError(f"graph: expected a compiled graph, got {type(graph).__name__}")
    shown = [name for name in graph.stream_channels_list if name != "jump_to" and not name.startswith(_PRIVATE_PREFIX)]
    return graph.copy(update={"stream_channels": shown})


def keep_from_streams(messages: Sequence[BaseMessage]) -> None:
    """Keep messages out of ``stream_mode="messages"`` of the present run: its users are not meant to read them.

    LangGraph emits each message of a node's output that it has not seen yet, and has neither a tag nor a place for one
    that is not to be shown. So it is told that it has seen these. They still stand in the state and in ``updates``.
    """
    callbacks = get_config().get("callbacks")
    handlers = callbacks if isinstance(callbacks, list) else getattr(callbacks, "handlers", ())
    for handler in handlers:
        seen = getattr(handler, "seen", None)
        if isinstance(seen, set):
            seen.update(_ids(messages))


def _ids(messages: Sequence[BaseMessage]) -> Collection[str]:
    return [message.id for message in messages if message.id]
