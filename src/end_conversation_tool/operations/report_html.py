"""The report as one small HTML page that needs nothing else: a table, and charts in SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from end_conversation_tool.operations.charts import bars, page, table
from end_conversation_tool.operations.report import ROWS, Figures, Report, name_of, shown

__all__ = ["report_page"]

_SOURCES = {
    "host": "The number of threads was given by the host.",
    "counted": "The number of threads is what the registry counted: threads that began in the period.",
    "unknown": "The number of threads is not known, so there are no rates: give it, or have threads counted.",
}


def report_page(report: Report) -> str:
    """Return the page."""
    columns = (report.total, *report.groups)
    rows = [(title, *(shown(read(figures)) for figures in columns)) for title, read in ROWS]
    body = (
        f"<p>{escape(_SOURCES[report.thread_source])} Reopened by operators: {report.reopened:,}. "
        f"Circuit breaker tripped: {report.breaker_trips:,}.</p>"
        f'{table(("", *map(name_of, columns)), rows)}<div class="plots">{"".join(_charts(report))}</div>'
        f"{_comments(report)}"
    )
    return page(f"Ended conversations, {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC", body)


def _comments(report: Report) -> str:
    if not report.comments:
        return ""
    rows = [(f"{one.given_at:%Y-%m-%d %H:%M}", one.thread_id, str(one.rating), one.comment) for one in report.comments]
    return f"<h2>What users wrote, newest first</h2>{table(('', 'thread', 'rating', 'comment'), rows)}"


def _charts(report: Report) -> Iterator[str]:
    groups, total = report.groups or (report.total,), report.total
    rated = report.thread_source != "unknown" and any(figures.threads for figures in groups)
    yield bars(
        "Ended threads for each 10,000" if rated else "Ended threads",
        {
            "enforced": {name_of(figures): _ended(figures, rated=rated) for figures in groups},
            "would have ended": {name_of(figures): _would_have_ended(figures, rated=rated) for figures in groups},
        },
    )
    yield bars(
        "User turn of the end",
        {
            "enforced": _by_turn(total.turns_to_end.threads, total.turns_to_would_have_ended.threads),
            "would have ended": _by_turn(total.turns_to_would_have_ended.threads),
        },
    )
    yield bars(
        "Notices",
        {
            "given": {name_of(figures): figures.noticed for figures in groups},
            "would have been given": {name_of(figures): figures.would_have_noticed for figures in groups},
        },
    )
    yield bars("Denials by condition", {"": total.denials_by_condition})
    yield bars("Denials because of risk, by kind", {"": total.vetoes_by_risk})
    yield bars("Feedback by rating", {"": {f"{rating} of 5": total.feedback.get(rating, 0) for rating in range(1, 6)}})


def _ended(figures: Figures, *, rated: bool) -> float:
    return (figures.ends_per_10_000 or 0) if rated else figures.ended_threads


def _would_have_ended(figures: Figures, *, rated: bool) -> float:
    return (figures.would_have_ended_per_10_000 or 0) if rated else figures.would_have_ended_threads


def _by_turn(counts: Mapping[int, int], others: Mapping[int, int] | None = None) -> dict[str, int]:
    """Return counts by turn, in order, with a place for every turn that the others have."""
    return {f"turn {turn}": counts.get(turn, 0) for turn in sorted({*counts, *(others or ())})}
