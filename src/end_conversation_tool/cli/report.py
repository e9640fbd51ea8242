"""The report of a period, on the terminal or as a page."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from rich.table import Table

from end_conversation_tool._core.records import utc_now
from end_conversation_tool.cli.options import moment, opened
from end_conversation_tool.cli.output import escaped, note, print_json, stdout
from end_conversation_tool.operations.report import ROWS, Report, build_report, name_of, shown

__all__ = ["run_report"]

_MOST_COLUMNS = 6
_WIDTH_OF_FILES = 160


def run_report(
    url: str,
    *,
    since: str | None,
    until: str | None,
    days: float,
    threads: int | None,
    comments: int,
    as_json: bool,
    html: Path | None,
) -> None:
    """Print the report of a period, or write it as a page.

    Raises:
        InvalidInputError: A moment or a number is not usable.
    """
    end = utc_now() if until is None else moment("until", until)
    begin = end - timedelta(days=days) if since is None else moment("since", since)
    with opened(url) as registry:
        report = build_report(registry, begin, end, threads=threads, comments=comments)
    if html is not None:
        from end_conversation_tool.operations.report_html import report_page  # noqa: PLC0415 - only where a page is wanted

        html.write_text(report_page(report), encoding="utf-8")
        note(f"written: {html}")
    if as_json:
        print_json(report.model_dump(mode="json"))
    elif html is None:
        _show_report(report)


def _show_report(report: Report) -> None:
    console = stdout(width=_WIDTH_OF_FILES)
    console.print(
        f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC; threads: {report.thread_source}"
    )
    columns = (report.total, *report.groups)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for figures in columns[:_MOST_COLUMNS]:
        table.add_column(escaped(name_of(figures)), justify="right", overflow="fold")
    for title, read in ROWS:
        table.add_row(title, *(shown(read(figures)) for figures in columns[:_MOST_COLUMNS]))
    console.print(table)
    if len(columns) > _MOST_COLUMNS:
        console.print(f"and {len(columns) - _MOST_COLUMNS} more policies and models: --json or --html shows them")
    for title, counts in (
        ("Denials by condition", report.total.denials_by_condition),
        ("Denials because of risk, by kind", report.total.vetoes_by_risk),
        ("Risk flags raised", report.risk_flags_raised),
    ):
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
        console.print(f"{title}: {listed}")
    console.print(f"Reopened: {report.reopened:,}. Circuit breaker tripped: {report.breaker_trips:,}.")
    for given in report.comments:
        said = f"{given.rating} of 5: {escaped(given.comment)!r}"
        console.print(f"{given.given_at:%Y-%m-%d %H:%M}  {escaped(given.thread_id)}  {said}")
