"""``end-conversation inspect``: the whole story of one thread, in the order in which it happened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import typer
from rich.console import Console
from rich.text import Text

from end_conversation_tool._core.records import DecisionRecord, ThreadStatus, validate_thread_id
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.cli.output import Exit, escaped, note, print_json, stdout
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.protocol import ThreadEvent

__all__ = ["run_inspect"]

_MAX_SHOWN_CHARS = 500


def run_inspect(thread_id: str, url: str, *, as_json: bool) -> None:
    """Print what the registry knows about a thread.

    Raises:
        InvalidInputError: The id or the URL is not usable.
        RegistryError: The registry cannot be reached or used; a missing SQLite file is not made.
        typer.Exit: 1 when the registry knows nothing about the thread.
    """
    thread_id = validate_thread_id(thread_id)
    with SqlSealRegistry(url, create=False) as registry:
        status, decisions = registry.status(thread_id), registry.decisions(thread_id)
        events = registry.history(thread_id)
    if as_json:
        print_json(
            {
                **status.model_dump(mode="json"),
                "sealed": status.sealed,
                "at_risk": status.at_risk,
                "decisions": [record.model_dump(mode="json") for record in decisions],
                "history": [event.model_dump(mode="json") for event in events],
            }
        )
    if status == ThreadStatus(thread_id=thread_id) and not decisions and not events:
        note(f"the registry knows nothing about thread {_quoted(thread_id)}: it was never heard of, so it is open")
        raise typer.Exit(Exit.FOUND)
    if not as_json:
        _show(status, decisions, events)


def _show(status: ThreadStatus, decisions: Sequence[DecisionRecord], events: Sequence[ThreadEvent]) -> None:
    console = stdout(wrap=False)
    state = "sealed" if status.sealed else "open"
    risk = ", ".join(sorted({str(flag.kind) for flag in status.risk_flags if flag.active}))
    console.print(Text(f"thread {_quoted(status.thread_id)}: {state}", style="bold"))
    console.print(f"branch {status.branch}, sequence {status.sequence}, risk flags that stand: {risk or 'none'}\n")
    # A decision comes before what it led to.
    told = [(record.decided_at, 0, tuple(_decision(record))) for record in decisions]
    told += [(event.at, 1, (_event(event),)) for event in events]
    for at, _, lines in sorted(told, key=lambda one: one[:2]):
        _tell(console, f"{at:%Y-%m-%d %H:%M:%S}", lines)


def _tell(console: Console, at: str, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        console.print(f"{at if not number else '':<19}  {line}")


def _decision(record: DecisionRecord) -> Iterator[str]:
    by = "" if record.decided_by == "policy" else f" by {escaped(record.decided_by)}"
    yield f"turn {record.turn}: {record.category or 'malformed request'}: {record.outcome}{by}"
    if record.reason:
        yield f"  reason given: {_quoted(record.reason)}"
    if record.decision.unmet:
        yield f"  unmet: {', '.join(record.decision.unmet)}"
    if record.risk_kinds:
        yield f"  risk known then: {', '.join(record.risk_kinds)}"
    for one in record.decision.evidence:
        quote = f": {_quoted(one.quote)}" if one.quote else ""
        yield f"  turn {one.turn}, {one.kind}, message {escaped(one.message_id)}, {escaped(one.source)}{quote}"
    if record.reading is not None:
        read = record.reading
        yield f"  read by {escaped(read.source)}: risk {read.risk}{f', failed: {read.failure}' if read.failure else ''}"
    about = f"policy {record.decision.policy_version}, mode {record.mode}, model {record.model or 'unknown'}"
    yield f"  {escaped(about)}{', circuit breaker tripped' if record.breaker_tripped else ''}"


def _event(event: ThreadEvent) -> str:
    subject = f": {escaped(event.subject)}" if event.subject else ""
    actor = f", by {escaped(event.actor)}" if event.actor else ""
    said = "the user wrote" if event.kind in {EventKind.FEEDBACK, EventKind.APPEAL_OPENED} else "reason"
    reason = f", {said}: {_quoted(event.reason)}" if event.reason else ""
    message = f", message {escaped(event.evidence.message_id)}" if event.evidence else ""
    branch = f", branch {event.branch}" if event.branch else ""
    return f"{str(event.kind).replace('_', ' ')}{subject}{branch}{actor}{message}{reason}"


def _quoted(text: str) -> str:
    return json.dumps(escaped(text[:_MAX_SHOWN_CHARS]), ensure_ascii=False)
