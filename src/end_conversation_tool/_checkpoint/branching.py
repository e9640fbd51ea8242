"""Edit and retry: the user changes an earlier message, and the conversation goes on from there (rule 6).

Anthropic, August 2025: after an end the user can edit and retry earlier messages, which makes a new branch of the ended
conversation. In LangGraph that is a run from the checkpoint before the message. The sealed branch stays sealed, the new
one starts with the evidence that it had at that point, and risk flags, which belong to the person, stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.pregel.protocol import PregelProtocol
from langgraph.types import StateSnapshot

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.flow import Flow, arun_flow, ask, run_flow
from end_conversation_tool._core.records import new_id, validate_thread_id
from end_conversation_tool.errors import InvalidInputError

__all__ = ["Retry", "aedit_and_retry", "edit_and_retry"]

_PRIVATE_PREFIX = "end_conversation_"
_END_KEY = "conversation_end"


@dataclass(frozen=True, slots=True)
class Retry:
    """What came of an edited message.

    Attributes:
        output: The graph's output, as of ``invoke``.
        thread_id: The thread that the conversation goes on in: the same, or a new one.
        config: Config for the next message.
    """

    output: Any
    thread_id: str
    config: RunnableConfig


def edit_and_retry(
    graph: PregelProtocol[Any, Any, Any, Any],
    thread: str | RunnableConfig,
    message_id: str,
    new_text: str,
    **options: Any,
) -> Retry:
    """Replace an earlier user message and run the graph from there.

    With ``SealedSaver(on_fork="branch")`` the thread gets a recorded branch; with ``"new_thread"`` a new thread gets
    what was said before the message.

    Args:
        graph: A compiled graph whose checkpointer is a ``SealedSaver``.
        thread: The thread's id, or a config with it and whatever else the graph needs in ``configurable``.
        message_id: Id of the user message to replace.
        new_text: What the user says instead.
        options: Passed on to ``graph.invoke``.

    Returns:
        The output, and where the conversation goes on.

    Raises:
        InvalidInputError: There is no such user message, nothing before it is kept, or an argument is not usable.
        ThreadSealedError: The thread is sealed, and forks are refused.
    """
    return run_flow(_retrying(graph, thread, message_id, new_text, options))


async def aedit_and_retry(
    graph: PregelProtocol[Any, Any, Any, Any],
    thread: str | RunnableConfig,
    message_id: str,
    new_text: str,
    **options: Any,
) -> Retry:
    """Async twin of ``edit_and_retry``."""
    return await arun_flow(_retrying(graph, thread, message_id, new_text, options))


def _retrying(
    graph: PregelProtocol[Any, Any, Any, Any],
    thread: str | RunnableConfig,
    message_id: str,
    new_text: str,
    options: Mapping[str, Any],
) -> Flow[Retry]:
    saver = getattr(graph, "checkpointer", None)
    if not isinstance(saver, SealedSaver):
        raise InvalidInputError(f"graph.checkpointer: expected a SealedSaver, got {type(saver).__name__}")
    if not isinstance(new_text, str) or not new_text.strip():
        raise InvalidInputError(f"new_text: expected a str that is not blank, got {type(new_text).__name__}")
    config = _config_of(thread)
    snapshots: Sequence[StateSnapshot] = yield from ask(*_history_of(graph), config)
    origin = _snapshot_before(snapshots, message_id)
    said = HumanMessage(new_text)
    invoke: Any = graph.invoke  # overloaded by what the options say
    ainvoke: Any = graph.ainvoke
    if saver.on_fork == "new_thread":
        target_id = new_id()
        # Risk flags go with the person, before anything else does.
        source, registry = config["configurable"]["thread_id"], saver.registry
        yield from ask(registry.copy_status, registry.acopy_status, source, target_id, seals=False)
        target = _merged(config, {"thread_id": target_id})
        output = yield from ask(invoke, ainvoke, _input_after(origin, said), target, **options)
        return Retry(output, target_id, target)
    if origin is None:
        raise InvalidInputError(
            f"message_id: nothing is kept from before the message {message_id!r}, so there is nothing to go on from"
        )
    start = _merged(config, {"checkpoint_id": origin.config["configurable"]["checkpoint_id"]})
    output = yield from ask(invoke, ainvoke, {"messages": [said]}, start, **options)
    return Retry(output, config["configurable"]["thread_id"], config)


def _input_after(origin: StateSnapshot | None, said: HumanMessage) -> dict[str, Any]:
    """Return the input that starts a new thread with what was said before the message."""
    values = origin.values if origin and isinstance(origin.values, Mapping) else {}
    kept = {key: value for key, value in values.items() if not key.startswith(_PRIVATE_PREFIX) and key != _END_KEY}
    return {**kept, "messages": [*kept.get("messages", ()), said]}


def _config_of(thread: str | RunnableConfig) -> RunnableConfig:
    """Return a config that points at the whole thread, not at one of its checkpoints."""
    given: RunnableConfig = thread if isinstance(thread, Mapping) else {"configurable": {"thread_id": thread}}
    configurable = dict(given.get("configurable", {}))
    configurable["thread_id"] = validate_thread_id(configurable.get("thread_id"))
    configurable.pop("checkpoint_id", None)
    return {**given, "configurable": configurable}


def _merged(config: RunnableConfig, extra: Mapping[str, Any]) -> RunnableConfig:
    return {**config, "configurable": {**config["configurable"], **extra}}


def _snapshot_before(snapshots: Sequence[StateSnapshot], message_id: str) -> StateSnapshot | None:
    """Return the newest snapshot of the conversation as it was before the message; ``None`` when none is kept.

    Raises:
        InvalidInputError: No snapshot has such a user message.
    """
    by_id = {_id_of(snapshot.config): snapshot for snapshot in snapshots}
    holding = [snapshot for snapshot in snapshots if _has_user_message(snapshot, message_id)]
    if not holding:
        raise InvalidInputError(f"message_id: expected the id of a user message of this thread, got {message_id!r}")
    before = _parent(min(holding, key=lambda snapshot: _id_of(snapshot.config)), by_id)
    # The run that brought the message in has it waiting in an input checkpoint: step over that one, if one can.
    if before is not None and (before.metadata or {}).get("source") == "input":
        return _parent(before, by_id) or before
    return before


def _parent(snapshot: StateSnapshot, by_id: Mapping[str, StateSnapshot]) -> StateSnapshot | None:
    return by_id.get(_id_of(snapshot.parent_config)) if snapshot.parent_config else None


def _id_of(config: RunnableConfig) -> str:
    return str(config["configurable"]["checkpoint_id"])


def _has_user_message(snapshot: StateSnapshot, message_id: str) -> bool:
    values = snapshot.values if isinstance(snapshot.values, Mapping) else {}
    return any(isinstance(message, HumanMessage) and message.id == message_id for message in values.get("messages", ()))


def _history_of(graph: PregelProtocol[Any, Any, Any, Any]) -> tuple[Any, Any]:
    """Return the thread's history as a list, by a sync and an async call."""

    def listed(config: RunnableConfig) -> list[StateSnapshot]:
        return list(graph.get_state_history(config))

    async def alisted(config: RunnableConfig) -> list[StateSnapshot]:
        return [snapshot async for snapshot in graph.aget_state_history(config)]

    return listed, alisted
