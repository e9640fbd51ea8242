"""The rows of a report as a table, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from end_conversation_tool.operations.report import Figures

__all__ = ["ROWS", "name_of", "shown"]

ROWS: tuple[tuple[str, Callable[[Figures], Any]], ...] = (
    ("threads", lambda f: f.threads),
    ("threads in which an end was asked for", lambda f: f.deciding_threads),
    ("threads ended", lambda f: f.ended_threads),
    ("  for each 10,000", lambda f: f.ends_per_10_000),
    ("threads that would have ended", lambda f: f.would_have_ended_threads),
    ("  for each 10,000", lambda f: f.would_have_ended_per_10_000),
    ("ends", lambda f: f.ends),
    ("  the user asked for", lambda f: f.user_requested_ends),
    ("user turns to the end, median", lambda f: f.turns_to_end.median),
    ("user turns to would-have-ended, median", lambda f: f.turns_to_would_have_ended.median),
    ("calls of the tool", lambda f: f.decisions),
    ("  led to the notice", lambda f: f.noticed),
    ("  would have led to it", lambda f: f.would_have_noticed),
    ("  denied", lambda f: f.denied),
    ("  under a tripped circuit breaker", lambda f: f.breaker_decisions),
    ("denied: a risk flag stands", lambda f: f.denials_by_condition.get("risk_flagged", 0)),
    ("denied: doubt about risk", lambda f: f.denials_by_condition.get("risk_uncertain", 0)),
    ("violations", lambda f: f.violations),
    ("feedback", lambda f: sum(f.feedback.values())),
    ("  mean rating, 1 to 5", lambda f: f.mean_rating),
    ("appeals opened", lambda f: f.appeals_opened),
    ("  upheld", lambda f: f.appeals_upheld),
    ("  rejected", lambda f: f.appeals_rejected),
)


def name_of(figures: Figures) -> str:
    """Return what a column is called."""
    return "all" if figures.policy is None else f"{figures.policy}, {figures.model or 'model unknown'}"


def shown(value: float | None) -> str:
    """Return a number as text; a dash for one that nobody knows."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
