"""How a run that stops here is closed: for the LangGraph doors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from end_conversation_tool._core.flow import Flow
from end_conversation_tool._core.records import TOOL_NAME, new_id
from end_conversation_tool._core.run import Ruling, Run
from end_conversation_tool._core.vocabulary import Asked
from end_conversation_tool._doors.langgraph.messages import (
    by_model_of,
    reply_of,
    requesting,
    said_messages,
    tool_results,
)
from end_conversation_tool._gate.gate import Gate

__all__ = ["closed_messages", "last_words", "turned_down"]


def turned_down(gate: Gate, run: Run, asked: Asked, messages: Sequence[AnyMessage]) -> Flow[Run]:
    """Note that a request waited for a yes in vain: a reviewer has rejected it, or the user has typed on.

    Args:
        gate: The gate.
        run: The admitted run, before it hears.
        asked: Whose yes the request waited for.
        messages: All messages of the branch.
    """
    place = requesting(messages)
    if place is None:
        return run
    reply: Any = messages[place]
    run, history = by_model_of(reply, run), partial(said_messages, messages[: place + 1])
    return (yield from gate.turn_down(run, asked, reply_of(reply), history))


def last_words(ruling: Ruling) -> list[AIMessage]:
    """Return the message that closes a turn: the last that the user sees, and none of it the model's.

    A front end knows it by ``response_metadata["end_conversation"]``: the outcome that it tells of, such as *noticed*.
    """
    if not ruling.closing:
        return []
    return [AIMessage(ruling.closing, id=new_id(), response_metadata={TOOL_NAME: str(ruling.record.outcome)})]


def closed_messages(messages: Sequence[Any], known: set[str | None], reply: AIMessage, ruling: Ruling) -> list[Any]:
    """Return the messages of a run that stops at ``reply``: nothing follows it but the results of its calls (R9).

    Replies of parallel branches may stand before it: each call that was not run gets its result too, at its place.

    Args:
        messages: All messages as far as the run has come.
        known: Ids of those that were there when it began.
        reply: The reply that stops the run; it is added where the run had not kept it.
        ruling: What became of its request.
    """
    place = next((index for index, message in enumerate(messages) if message.id == reply.id), None)
    upto = list(messages) if place is None else list(messages[:place])
    closed: list[Any] = []
    for message in [*upto, reply] if reply.tool_calls or place is not None else upto:
        closed.append(message)
        if isinstance(message, AIMessage) and message.id not in known:
            answered = [other.tool_call_id for other in messages if isinstance(other, ToolMessage)]
            closed += tool_results(message, ruling, answered if message is not reply else ())
    return [*closed, *last_words(ruling)]
