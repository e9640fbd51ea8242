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
from langchain_core.messages.utils import convert_to_messages
from langgraph.types import Command

from end_conversation_tool._core.confirmation import asks_reviewer, is_question
from end_conversation_tool._core.flow import Flow
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.provenance import begins_with
from end_conversation_tool._core.records import new_id
from end_conversation_tool._core.run import Run
from end_conversation_tool._core.vocabulary import Asked
from end_conversation_tool._doors.langgraph.messages import STATE_KEY, newest_first, said_messages
from end_conversation_tool._doors.langgraph.node_updates import as_list, messages_in, read, sets, told_in
from end_conversation_tool._doors.langgraph.run_context import UNTOLD, PresentRun
from end_conversation_tool._gate.gate import Gate

__all__ = ["hear", "hear_answer", "hear_results", "provenance_in", "reviewed"]

_log = logging.getLogger(__name__)


class _Loss(NamedTuple):
    """What became of the messages that came in.

    Attributes:
        came: All that users said in them.
        gone: Whether one of them is in the thread no more, and not only in other words.
    """

    came: list[ObservedMessage]
    gone: bool


def hear(gate: Gate, run: Run, here: PresentRun, messages: Sequence[AnyMessage]) -> Flow[Run]:
    """Let the gate begin to listen to what the thread holds, and to what has come in and stands there no more.

    Args:
        gate: The gate.
        run: The admitted run.
        here: The same, as LangGraph tells of it.
        messages: All messages of the branch, oldest first.
    """
    given = here.given
    if isinstance(given, Command):
        run = yield from gate.overhear(run, given.resume)
    told = _told_in(given)
    if told is None or not _all_stand(told, messages):
        run = yield from _miss(gate, run, told, messages)
    if not here.alone():  # what its sibling hears may show risk
        run = yield from gate.miss(run, (), gone=True)
    return (yield from gate.listen(run, newest_first(messages)))


def hear_answer(gate: Gate, run: Run, here: PresentRun) -> Flow[Run]:
    """Let the gate listen to the answer to an interrupt with which the run goes on, before anything is made of it.

    Args:
        gate: The gate.
        run: The admitted run.
        here: The same, as LangGraph tells of it.
    """
    given = here.given
    return (yield from gate.overhear(run, given.resume)) if isinstance(given, Command) else run


def hear_results(gate: Gate, run: Run, returned: Any) -> Flow[Run]:
    """Let the gate listen to what tools that ask the user have just returned: no model need be called after them.

    Args:
        gate: The gate.
        run: The admitted run.
        returned: A result, or the update of a tools node, whichever way it says it.
    """
    if not gate.asking_tools:
        return run
    parts = ([part] if isinstance(part, BaseMessage) else messages_in(part) for part in as_list(returned))
    results = [one for part in parts for one in part]
    for one in results:
        one.id = one.id or new_id()  # as LangGraph will: what is heard again in the next turn is no second flag
    return (yield from gate.hear_results(run, said_messages(results)))


def provenance_in(state: Any, here: PresentRun) -> object:
    """Return the provenance that a state holds; none where the run was called with one, as only nodes write it.

    An older one of the very same branch is genuine, and fits the messages that were put back beside it.
    """
    return None if sets(here.given, STATE_KEY) else read(state, STATE_KEY)


def reviewed(here: PresentRun, asking: Asked | None, call_id: str) -> Flow[bool]:
    """Whether the run goes on, and nothing else, with the answer of a reviewer who was asked about the end.

    Or with the user's own, where theirs is asked for: they are asked after the reviewer.

    Args:
        here: The run, as LangGraph tells of it.
        asking: Whose yes the request waits for.
        call_id: Id of its call.
    """
    given = here.given
    if not isinstance(given, Command) or given.resume is None or given.goto:
        return False
    asked = yield from here.asked_before()
    return any(asks_reviewer(one, call_id) or (asking is Asked.USER and is_question(one)) for one in asked)


def _told_in(given: Any) -> list[Any] | None:
    """Return what stands for messages in the input of a run; ``None`` where it is no mere input, or cannot be told.

    A channel with a reducer of its own may take what LangChain knows nothing of. A provenance comes from no client.
    """
    if given is UNTOLD or sets(given, STATE_KEY):
        return None
    try:
        return [] if given is None else told_in(given)
    except Exception:  # noqa: BLE001 - whatever it stumbles over, the turn goes on
        return None


def _miss(gate: Gate, run: Run, told: list[Any] | None, messages: Sequence[AnyMessage]) -> Flow[Run]:
    """Let the gate listen to what has come in, where it is not in the thread as it came."""
    try:
        came = None if told is None else convert_to_messages(told)
    except Exception:  # noqa: BLE001 - as above
        came = None
    if came is None:
        _log.warning("what a run was called with cannot be told, or brought a provenance along: no end is possible")
        return (yield from gate.miss(run, (), gone=True))
    loss = _loss(came, messages, gate, run)
    return run if loss is None else (yield from gate.miss(run, loss.came, gone=loss.gone))


def _loss(given: Sequence[BaseMessage], messages: Sequence[AnyMessage], gate: Gate, run: Run) -> _Loss | None:
    """Return what came in, if not all of it stands in the thread, or if it took the place of what was heard before.

    It is looked for from the end.
    """
    came = [one for one in said_messages(given) if one.role == "user"]
    left = {(one.text, one.media): one.message_id for one in came}
    for one in newest_first(messages) if left else ():
        if one.role == "user":
            left.pop((one.text, one.media), None)
        if not left:
            break
    if not left:
        stands = not came or begins_with([*said_messages(messages)], run.provenance, gate.registry.signing_key)
        return None if stands else _Loss(came, gone=False)
    return _Loss(came, gone=not {*left.values()} <= {one.message_id for one in said_messages(messages)})


def _all_stand(told: Sequence[Any], messages: Sequence[AnyMessage]) -> bool:
    """Whether all that came in stands at the end of the thread, as it does in an ordinary turn."""
    newest = messages[-len(told) :] if told else ()
    return len(told) == len(newest) and all(map(_stands, told, newest))


def _stands(came: Any, now: BaseMessage) -> bool:
    """Whether a message is in the thread as it came in, but for the id that the thread has given it.

    A user's message in one of the short forms is told without making a message of it.
    """
    if isinstance(came, BaseMessage):
        roles = (getattr(one, "role", None) if one.type == "chat" else None for one in (came, now))
        return came is now or ((came.type, came.content) == (now.type, now.content) and len({*roles}) == 1)
    role, said = ("user", came) if isinstance(came, str) else _pair(came)
    return now.type == "human" and role in ("user", "human") and isinstance(said, str) and said == now.content


def _pair(came: Any) -> tuple[Any, Any]:
    """Return role and content of a message that is given as a pair or as a dict; neither where it is another thing."""
    if isinstance(came, dict):
        return came.get("role"), came.get("content")
    return (came[0], came[1]) if isinstance(came, tuple | list) and len(came) == 2 else (None, None)  # noqa: PLR2004
