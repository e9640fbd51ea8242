"""What an operator does at the command line: the report, appeals, and every change of a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from end_conversation_tool._core.operations import Appeal
from end_conversation_tool._core.records import Record, RiskFlag, RiskKind, ThreadStatus, utc_now, validate_thread_id
from end_conversation_tool.cli.announce import announce
from end_conversation_tool.cli.output import Exit, escaped, note, print_json, stdout
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.report import Report, build_report
from end_conversation_tool.operations.report_rows import ROWS, name_of, shown
from end_conversation_tool.operations.telemetry import appeal_event, risk_event
from end_conversation_tool.registry import SqlSealRegistry

__all__ = ["act", "moment", "opened", "opened_appeal", "raised_flag", "run_appeals", "run_report"]

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


def run_appeals(url: str, *, thread: str | None, limit: int, as_json: bool) -> None:
    """Print the open appeals of all threads, or all appeals of one."""
    with opened(url) as registry:
        if thread is None:
            found = registry.open_appeals(limit=limit)
        else:
            require_known(registry, thread)
            found = registry.appeals(thread)[-limit:]
    if as_json:
        print_json([appeal.model_dump(mode="json") for appeal in found])
        return
    console = stdout(wrap=False)
    for appeal in found:
        console.print(_appeal_line(appeal))
    if not found:
        console.print("no appeals")


def _appeal_line(appeal: Appeal) -> str:
    line = f"{appeal.opened_at.isoformat()} {escaped(appeal.thread_id)}: {appeal.status}: {escaped(appeal.text)!r}"
    return line if appeal.resolved_by is None else f"{line}, by {escaped(appeal.resolved_by)}"


def act(
    url: str,
    thread: str | None,
    do: Callable[[SqlSealRegistry], Any],
    said: Callable[[Any], str],
    *,
    known: bool = True,
    as_json: bool = False,
) -> None:
    """Change something, and say what became of it.

    Args:
        url: The registry.
        thread: The thread; ``None`` for what concerns none.
        do: Changes it.
        said: Puts the result into words.
        known: Whether the registry must have heard of the thread.
        as_json: Print the result as JSON.

    Raises:
        typer.Exit: 1 when the registry knows nothing about the thread.
    """
    with opened(url) as registry:
        if thread is not None and known:
            require_known(registry, thread)
        result = do(registry)
    if as_json:
        print_json(result.model_dump(mode="json") if isinstance(result, Record) else {"count": result})
    else:
        stdout(wrap=False).print(escaped(said(result)))


def opened_appeal(registry: SqlSealRegistry, thread: str, text: str) -> Appeal:
    """Open an appeal, and tell whoever listens."""
    appeal = registry.open_appeal(thread, text=text)
    announce(appeal_event(appeal))
    return appeal


def raised_flag(registry: SqlSealRegistry, thread: str, kind: RiskKind, operator: str, reason: str) -> RiskFlag:
    """Raise a flag, and tell whoever listens if it is a new one."""
    began = utc_now()
    flag = registry.flag_risk(thread, kind=kind, source=operator, reason=reason)
    if flag.raised_at >= began:
        announce(risk_event(thread, flag.kind, flag.source, "", flag.raised_at))
    return flag


def require_known(registry: SqlSealRegistry, thread: str) -> None:
    """Leave with exit code 1 when the registry knows nothing about a thread: likely a slip of the pen."""
    thread = validate_thread_id(thread)
    if registry.status(thread) != ThreadStatus(thread_id=thread) or registry.history(thread):
        return
    if registry.decisions(thread) or registry.load_provenance(thread):
        return
    note("the registry knows nothing about this thread; nothing was changed")
    raise typer.Exit(Exit.FOUND)


@contextmanager
def opened(url: str) -> Iterator[SqlSealRegistry]:
    """Give the registry at a URL; one that is not there is not made."""
    with SqlSealRegistry(url, create=False) as registry:
        yield registry


def moment(field: str, text: str) -> datetime:
    """Read a moment, UTC where no zone is given.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"{field}: expected a moment, as in 2026-03-01 or 2026-03-01T12:00, got another str"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
