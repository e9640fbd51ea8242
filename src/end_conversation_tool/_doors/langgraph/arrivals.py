"""What came in with a run, whatever has become of it since: hooks and nodes of others run before ours.

A hook before the model may trim, sum up or redact what has just come in. The state does not show that, and so the run
is asked what it was called with: LangGraph keeps it for as long as the run lasts, whatever the checkpointer and its
durability. Asking in a node of our own before all others would cost a superstep in every turn.

The answer to an interrupt is what a person said as well, be it the user or a reviewer, and need not become a message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from langchain_core.messages import AnyMessage, BaseMessage
from langgraph.config import get_config
from langgraph.types import Command

from end_conversation_tool._core.confirmation import words_of
from end_conversation_tool._core.flow import Flow
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.run import Run
from end_conversation_tool._doors.langgraph.messages import newest_first, said_messages
from end_conversation_tool._doors.langgraph.node_updates import messages_in
from end_conversation_tool._gate.gate import Gate

__all__ = ["hear", "hear_answer"]

_log = logging.getLogger(__name__)

_CALL = "__pregel_call"
"""Where a node's config has what starts a task of its own: a call bound to the loop of the run."""

_UNTOLD = object()


class _Loss(NamedTuple):
    """What became of the messages that came in.

    Attributes:
        came: All that users said in them.
        gone: Whether one of them is in the thread no more, and not only in other words.
    """

    came: list[ObservedMessage]
    gone: bool


def hear(gate: Gate, run: Run, messages: Sequence[AnyMessage]) -> Flow[Run]:
    """Let the gate listen to what the thread holds, and to what has come in and stands there no more.

    Args:
        gate: The gate.
        run: The admitted run.
        messages: All messages of the branch, oldest first.
    """
    given = _input_of_run()
    if isinstance(given, Command):
        run = yield from gate.overhear(run, words_of(given.resume))
    if given is _UNTOLD:
        _log.warning("this LangGraph does not tell what a run was called with: no end is possible")
        run = yield from gate.miss(run, (), gone=True)
    elif given is not None and (loss := _loss(messages_in(given), messages)) is not None:
        run = yield from gate.miss(run, loss.came, gone=loss.gone)
    return (yield from gate.hear(run, newest_first(messages)))


def hear_answer(gate: Gate, run: Run) -> Flow[Run]:
    """Let the gate listen to the answer to an interrupt with which the run goes on, before anything is made of it.

    Args:
        gate: The gate.
        run: The admitted run.
    """
    given = _input_of_run()
    return (yield from gate.overhear(run, words_of(given.resume))) if isinstance(given, Command) else run


def _loss(given: Sequence[BaseMessage], messages: Sequence[AnyMessage]) -> _Loss | None:
    """Return what came in, if not all of it stands in the thread; it is looked for from the end."""
    if not given:
        return None
    newest = messages[-len(given) :]
    if len(given) == len(newest) and all(map(_stands, given, newest)):
        return None  # an ordinary turn
    came = [one for one in said_messages(given) if one.role == "user"]
    left = {(one.text, one.media): one.message_id for one in came}
    for one in newest_first(messages) if left else ():
        left.pop((one.text, one.media), None)
        if not left:
            break
    if not left:
        return None
    return _Loss(came, gone=not {*left.values()} <= {one.message_id for one in said_messages(messages)})


def _stands(came: BaseMessage, now: BaseMessage) -> bool:
    """Whether a message is in the thread as it came in, but for the id that the thread has given it."""
    return came is now or all(getattr(came, of, None) == getattr(now, of, None) for of in ("type", "role", "content"))


def _input_of_run() -> Any:
    """Return what the present run was called with; ``None`` where it goes on from where it stood."""
    call = get_config().get("configurable", {}).get(_CALL)
    loop = getattr(getattr(call, "keywords", {}).get("schedule_task"), "__self__", None)
    return getattr(loop, "input", _UNTOLD)
