"""What LangGraph's runtime tells about the run that a node belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AnyMessage
from langgraph.config import get_config

from end_conversation_tool._checkpoint.active_runs import current_fence
from end_conversation_tool._core.run import RunContext
from end_conversation_tool._doors.upstream import context_flags

__all__ = ["kept_messages", "model_name", "run_context", "saver_of_run"]

_CHECKPOINTER = "__pregel_checkpointer"
_READ = "__pregel_read"
_NAMESPACE_SEPARATOR = "|"


def run_context(runtime: Any, model: Any) -> RunContext:
    """Return what is known about the present run.

    Args:
        runtime: The node's ``Runtime`` or ``ToolRuntime``.
        model: The chat model, or ``None``.
    """
    info = getattr(runtime, "execution_info", None)
    configurable = get_config().get("configurable", {})
    thread_id = configurable.get("thread_id") if info is None else info.thread_id
    namespace = str(configurable.get("checkpoint_ns", "") if info is None else info.checkpoint_ns)
    saver = configurable.get(_CHECKPOINTER)
    scope = getattr(saver, "fence_scope", None)
    return RunContext(
        thread_id=None if thread_id is None else str(thread_id),
        persisted=saver is not None,
        model=model_name(model),
        nested=_NAMESPACE_SEPARATOR in namespace,
        checkpoint_id=None if info is None else info.checkpoint_id,
        host_flags=context_flags(getattr(runtime, "context", None)),
        fence=None if scope is None or thread_id is None else current_fence(configurable, str(thread_id), scope),
    )


def saver_of_run() -> Any:
    """Return the checkpointer of the present run; ``None`` when it has none."""
    return get_config().get("configurable", {}).get(_CHECKPOINTER)


def kept_messages(given: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Return the messages that the run's own channel holds; those in a node's input may have been sent to it alone.

    Args:
        given: The messages in the node's input; returned when it cannot be told.
    """
    read: Any = get_config().get("configurable", {}).get(_READ)
    try:
        return list(read("messages"))
    except (KeyError, TypeError):
        return given


def model_name(model: Any) -> str | None:
    """Return the name by which a chat model is known to its provider, if it tells."""
    for attribute in ("model_name", "model", "model_id"):
        value = getattr(model, attribute, None)
        if isinstance(value, str) and value:
            return value
    return None
