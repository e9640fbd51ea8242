"""What the LangGraph doors have in common: their options, and how a run that stops here is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack

from langchain_core.messages import AIMessage, ToolMessage

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import still_here_text
from end_conversation_tool._core.records import new_id
from end_conversation_tool._core.run import Ruling, Visit
from end_conversation_tool._doors.langgraph.messages import tool_results
from end_conversation_tool._doors.options import GateOptions
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.base import Judge, warn_of_missing_judge
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.watch import default_detectors
from end_conversation_tool.watch.base import DetectorSuite

__all__ = ["Confirm", "OnSealed", "by_model_of", "closed_messages", "create_gate", "last_words"]

OnSealed = Literal["raise", "respond"]
Confirm = Literal["interrupt"]


def create_gate(
    registry: SealRegistry,
    *,
    policy: EndConversationPolicy | None,
    detectors: DetectorSuite | None,
    judge: Judge | None,
    on_sealed: OnSealed,
    confirm: Confirm | None = None,
    **options: Unpack[GateOptions],
) -> Gate:
    """Return the gate that a door's options describe.

    Raises:
        InvalidInputError: An option is not usable; the message names it.
    """
    if on_sealed not in ("raise", "respond"):
        raise InvalidInputError(f"on_sealed: expected 'raise' or 'respond', got {on_sealed!r}")
    if not isinstance(registry, SealRegistry):
        raise InvalidInputError(f"registry: expected a SealRegistry, got {type(registry).__name__}")
    if confirm not in (None, "interrupt"):
        raise InvalidInputError(f"confirm: expected None or 'interrupt', got {confirm!r}")
    policy = policy if policy is not None else EndConversationPolicy()
    if judge is None and isinstance(policy, EndConversationPolicy) and policy.require_judge:
        warn_of_missing_judge(policy.version)
    suite = default_detectors() if detectors is None else detectors
    asks = confirm is not None
    return Gate(policy=policy, registry=registry, detectors=suite, judge=judge, asks=asks, **options)


def by_model_of(reply: AIMessage, visit: Visit) -> Visit:
    """Return the visit with the name of the model that made ``reply``, as its provider gave it."""
    name = reply.response_metadata.get("model_name") or reply.response_metadata.get("model")
    return replace(visit, context=replace(visit.context, model=name if isinstance(name, str) else None))


def last_words(ruling: Ruling) -> list[AIMessage]:
    """Return the message that closes a turn with too many requests to end: nobody is left without an answer."""
    return [AIMessage(still_here_text(), id=new_id())] if ruling.cut_off else []


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
