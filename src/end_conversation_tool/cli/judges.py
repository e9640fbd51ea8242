"""How the options that name a judge become one. Apart from ``options``, which must load quickly."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool.cli.output import note
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import ChatModelJudge, ClaudeJudge, Judge, JudgeBudget, MeteredJudge, Price

__all__ = ["chosen_judge", "note_missing_judge", "usage_as_json", "usage_in_words"]

DEFAULT_MODEL = "claude-opus-5-5"

_NUMBER = r"(?:\d+|\d*\.\d+)"
_PRICE = re.compile(rf"{_NUMBER}/{_NUMBER}(?:/{_NUMBER}/{_NUMBER})?", re.ASCII)
_BUDGET = re.compile(rf"({_NUMBER}) ?(calls|tokens|usd)?", re.IGNORECASE | re.ASCII)


def chosen_judge(name: str | None, *, budget: str | None = None, price: str | None = None) -> MeteredJudge | None:
    """Return the judge that the options name; ``None`` when they name none.

    Args:
        name: ``claude``, ``claude:MODEL``, or an import string.
        budget: A number with ``calls`` (or nothing), ``tokens`` or ``usd``.
        price: Two or four numbers with slashes between them.

    Raises:
        InvalidInputError: An option is not usable; the message names it.
    """
    if name is None:
        given = [option for option, value in (("judge-budget", budget), ("judge-price", price)) if value is not None]
        if given:
            raise InvalidInputError(f"{given[0]}: expected together with --judge, got it alone")
        return None
    limit = _budget(budget)
    if limit.dollars is not None and price is None:
        raise InvalidInputError("judge-budget: a limit in usd needs --judge-price, since prices are not known here")
    return MeteredJudge(_named(name), budget=limit, price=_price(price))


def note_missing_judge(policies: Iterable[EndConversationPolicy], judge: Judge | None) -> None:
    """Say on stderr which of the policies can permit nothing because there is no judge."""
    for policy in policies if judge is None else ():
        if policy.require_judge:
            note(
                f"policy {policy.version} requires a judge and none is configured, so nothing ends (judge_failed): "
                "name one with --judge",
                "yellow",
            )


def usage_as_json(judge: MeteredJudge) -> dict[str, Any]:
    """Return what a judge has used: tokens as far as it was told, dollars where there is a price."""
    dollars = judge.dollars
    return {
        "calls": judge.calls,
        "not_asked_for_lack_of_budget": judge.refused,
        **judge.usage._asdict(),
        "dollars": None if dollars is None else round(dollars, 6),
        "seconds": round(judge.seconds, 3),
    }


def usage_in_words(judge: MeteredJudge) -> str:
    """Return what a judge has used, in one line."""
    read, written, cached, cache_written = judge.usage
    cost = "cost unknown without --judge-price" if judge.dollars is None else f"{judge.dollars:.4f} US dollars"
    return (
        f"{judge.calls:,} questions in {judge.seconds:.1f} s, {judge.refused:,} not asked for lack of budget; "
        f"{read:,} tokens read ({cached:,} from the cache, {cache_written:,} to it), {written:,} written; {cost}"
    )


def _named(name: str) -> Judge:
    kind, colon, rest = name.partition(":")
    if kind == "claude" and (rest or not colon):
        if not os.environ.get("ANTHROPIC_API_KEY"):
            raise InvalidInputError(f"judge: {name[:80]!r} needs ANTHROPIC_API_KEY to be set, and it is not")
        return ClaudeJudge(rest or DEFAULT_MODEL)
    if not kind or not rest or kind == "claude":
        raise InvalidInputError(
            f"judge: expected 'claude', 'claude:MODEL' or 'package.module:factory', got {name[:80]!r}"
        )
    return _as_judge(name, _imported(name, kind, rest))


def _imported(name: str, module: str, attribute: str) -> Any:
    """Return what an import string names; a factory is called."""
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as text, to compare
        sys.path.append(os.getcwd())  # noqa: PTH109 - the end of the path: nothing there hides a library
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found() if _is_factory(found) else found
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error)[:200]}"
        raise InvalidInputError(f"judge: {name[:80]!r} cannot be had: {problem}") from error


def _is_factory(found: Any) -> bool:
    if isinstance(found, type):  # a class has the methods of a judge too
        return True
    return callable(found) and not isinstance(found, Judge) and not hasattr(found, "with_structured_output")


def _as_judge(name: str, found: Any) -> Judge:
    if isinstance(found, Judge):
        return found
    if hasattr(found, "with_structured_output"):
        return ChatModelJudge(found)
    raise InvalidInputError(
        f"judge: expected {name[:80]!r} to give a judge or a LangChain chat model, got {type(found).__name__}"
    )


def _budget(text: str | None) -> JudgeBudget:
    if text is None:
        return JudgeBudget()
    match = _BUDGET.fullmatch(text.strip())
    unit = (match[2] or "calls").lower() if match else ""
    if match is None or not float(match[1]) > 0 or (unit != "usd" and "." in match[1]):
        raise InvalidInputError(
            f"judge-budget: expected a number above 0 as in 100calls, 500000tokens or 2.50usd, got {text[:80]!r}"
        )
    if unit == "usd":
        return JudgeBudget(dollars=float(match[1]))
    return JudgeBudget(calls=int(match[1])) if unit == "calls" else JudgeBudget(tokens=int(match[1]))


def _price(text: str | None) -> Price | None:
    if text is None:
        return None
    if not _PRICE.fullmatch(text):
        raise InvalidInputError(
            f"judge-price: expected IN/OUT or IN/OUT/READ/WRITE in dollars, as in 3/15, got {text[:80]!r}"
        )
    return Price(*map(float, text.split("/")))
