"""What the host knows: risk that somebody upstream has seen, such as a moderation service; and whose thread it is.

Risk has two ways in:

* The host raises a flag itself: ``registry.flag_risk(thread_id, ...)``, at any time, from any process.
* The host hands what it knows to a run, in the run's context: ``graph.invoke(..., context={RISK_CONTEXT_KEY: [...]})``,
  or as an attribute of that name when the context is an object. Each entry is a ``FlagRaised``, or a mapping with
  ``kind``, ``source`` and, where known, ``message_id`` and ``score``.

An entry that cannot be read is a flag too: somebody meant to say that there is a risk.

Whose thread it is, the host says under ``SUBJECT_KEY``, in the run's context or in ``configurable``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from end_conversation_tool._core.run import FlagRaised
from end_conversation_tool._core.vocabulary import RiskKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.checks import check_subject, new_flag

__all__ = ["RISK_CONTEXT_KEY", "SUBJECT_KEY", "context_flags", "openai_moderation_flags", "subject_in"]

_log = logging.getLogger(__name__)

RISK_CONTEXT_KEY = "end_conversation_risk"
"""Where a run's context holds what the host knows about risk."""

SUBJECT_KEY = "end_conversation_subject"
"""Where a run's context, or its ``configurable``, holds whose thread it is: the host's own pseudonymous id."""

_OPENAI_KINDS: Mapping[str, RiskKind] = {
    "self-harm": RiskKind.SELF_HARM,
    "self-harm/intent": RiskKind.SELF_HARM,
    "self-harm/instructions": RiskKind.SELF_HARM,
    "harassment/threatening": RiskKind.VIOLENCE,
    "hate/threatening": RiskKind.VIOLENCE,
    "violence": RiskKind.VIOLENCE,
    "illicit/violent": RiskKind.VIOLENCE,
}
"""OpenAI's moderation categories (API reference, 2026) that speak of risk."""


def openai_moderation_flags(
    result: Any, *, message_id: str = "", threshold: float = 0.3, model: str = "omni-moderation"
) -> list[FlagRaised]:
    """Return the flags that a result of OpenAI's moderation endpoint calls for.

    Args:
        result: One entry of ``results``: the SDK's object, or the JSON.
        message_id: The message that was moderated.
        threshold: Score, 0 to 1, from which a category counts even where the service itself did not flag it. Lower than
            the service's own: a missed risk is worse than a chat that goes on.
        model: Name of the moderation model, for the record.

    Raises:
        InvalidInputError: It is no such entry, so nobody has looked.
    """
    categories, scores = _plain(_get(result, "categories")), _plain(_get(result, "category_scores"))
    if categories is None and scores is None:
        raise InvalidInputError(
            f"result: expected one entry of results, with categories and scores, got {type(result).__name__}"
        )
    found: dict[RiskKind, float] = {}
    for category, kind in _OPENAI_KINDS.items():
        flagged, score = _of(categories, category), _of(scores, category)
        number = _number(score)
        if flagged is True or (number is not None and number >= threshold):
            found[kind] = max(found.get(kind, 0.0), 1.0 if number is None else number)
    return [FlagRaised(kind, f"openai-moderation/{model}", message_id, score) for kind, score in found.items()]


def context_flags(context: Any) -> tuple[FlagRaised, ...]:
    """Return the flags that a run's context holds."""
    entries = _get(context, RISK_CONTEXT_KEY)
    if entries is None:
        return ()
    if isinstance(entries, Mapping | FlagRaised):
        entries = [entries]
    if isinstance(entries, str | bytes) or not isinstance(entries, Iterable):
        return (_unreadable(entries),)
    return tuple(_flag(entry) for entry in entries)


def subject_in(context: Any, configurable: Mapping[str, Any]) -> str | None:
    """Return whose thread it is: what a run's context says, else its ``configurable``; ``None`` where neither does.

    What is no id is none, and is told in the log: a view of the desk is no reason to refuse a turn.
    """
    given = _get(context, SUBJECT_KEY)
    given = configurable.get(SUBJECT_KEY) if given is None else given
    try:
        return None if given is None else check_subject(given)
    except InvalidInputError as error:
        _log.warning("%s is left out: %s", SUBJECT_KEY, error)
        return None


def _flag(entry: Any) -> FlagRaised:
    if isinstance(entry, FlagRaised):
        entry = {name: getattr(entry, name) for name in ("kind", "source", "message_id", "score")}
    try:
        kind, source = RiskKind(entry["kind"]), entry["source"]
        score, message_id = entry.get("score"), entry.get("message_id") or ""
    except (KeyError, TypeError, ValueError, AttributeError):
        return _unreadable(entry)
    try:
        flag = new_flag(kind=kind, source=source, message_id=message_id or None, score=_number(score))
    except InvalidInputError:
        return _unreadable(entry)
    return FlagRaised(flag.kind, flag.source, message_id, flag.score)


def _unreadable(entry: Any) -> FlagRaised:
    _log.warning("%s: an entry of type %s cannot be read and counts as a risk", RISK_CONTEXT_KEY, type(entry).__name__)
    return FlagRaised(RiskKind.OTHER, "host-context/unreadable", "")


def _get(value: Any, name: str) -> Any:
    if value is None:
        return None
    return value.get(name) if isinstance(value, (dict, Mapping)) else getattr(value, name, None)


def _plain(value: Any) -> Any:
    """Return a mapping by the wire's names: SDK objects have aliases such as ``self_harm`` for ``self-harm``."""
    dump = getattr(value, "model_dump", None)
    return dump(by_alias=True) if callable(dump) else value


def _of(values: Any, category: str) -> Any:
    wire = _get(values, category)
    return _get(values, category.replace("/", "_").replace("-", "_")) if wire is None else wire


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return min(float(value), 1.0)  # a service may round upwards: what is surest must not be dropped
