"""``end-conversation inspect``: what the registry knows about one thread."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.text import Text

from end_conversation_tool._core.records import DecisionRecord, RiskFlag, Seal, ThreadStatus, validate_thread_id
from end_conversation_tool.cli.output import Exit, escaped, note, print_json, stdout
from end_conversation_tool.registry import SqlSealRegistry

__all__ = ["run_inspect"]


def run_inspect(thread_id: str, url: str, *, as_json: bool) -> None:
    """Print status, seal, decisions and risk flags of a thread.

    Raises:
        InvalidInputError: The id or the URL is not usable.
        RegistryError: The registry cannot be reached or used; a missing SQLite file is not made.
        typer.Exit: 1 when the registry knows nothing about the thread.
    """
    thread_id = validate_thread_id(thread_id)
    with SqlSealRegistry(url, create=False) as registry:
        status, decisions = registry.status(thread_id), registry.decisions(thread_id)
    if as_json:
        print_json(
            {
                **status.model_dump(mode="json"),
                "sealed": status.sealed,
                "at_risk": status.at_risk,
                "decisions": [record.model_dump(mode="json") for record in decisions],
            }
        )
    if status == ThreadStatus(thread_id=thread_id) and not decisions:
        note(f"the registry knows nothing about thread {_quoted(thread_id)}: it was never heard of, so it is open")
        raise typer.Exit(Exit.FOUND)
    if not as_json:
        _show(status, decisions)


def _show(status: ThreadStatus, decisions: Sequence[DecisionRecord]) -> None:
    console = stdout(wrap=False)
    state = "sealed" if status.sealed else "open"
    console.print(Text(f"thread {_quoted(status.thread_id)}: {state}", style="bold"))
    console.print(f"branch {status.branch}, sequence {status.sequence}")
    for branch in status.branches:
        if branch.seal is not None:
            _show_seal(console, branch.seal)
    _section(console, "Risk flags", [_flag_line(flag) for flag in status.risk_flags])
    _section(console, "Decisions", [_decision_line(record) for record in decisions])


def _show_seal(console: Console, seal: Seal) -> None:
    record = seal.record
    console.print(
        f"branch {seal.branch} sealed at {seal.sealed_at.isoformat()} in turn {record.turn}: {record.category}, "
        f"decided by {escaped(record.decided_by)}, policy {escaped(record.decision.policy_version)}, "
        f"prompt version {escaped(record.prompt_version)}, model {escaped(record.model or 'unknown')}"
    )
    console.print(f"  reason given by the model: {_quoted(record.reason)}")
    for evidence in record.decision.evidence:
        console.print(
            f"  turn {evidence.turn}: {evidence.kind} in message {escaped(evidence.message_id)}"
            f" ({escaped(evidence.source)})"
        )


def _section(console: Console, title: str, lines: Sequence[str]) -> None:
    console.print(Text(f"{title}: {len(lines) or 'none'}", style="bold"))
    for line in lines:
        console.print(f"  {line}")


def _flag_line(flag: RiskFlag) -> str:
    state = "stands" if flag.active else f"cleared by {escaped(flag.cleared_by or '')}"
    return f"{flag.raised_at.isoformat()} {flag.kind} from {escaped(flag.source)}: {state}"


def _decision_line(record: DecisionRecord) -> str:
    unmet = ", ".join(record.decision.unmet) or "none"
    return f"{record.decided_at.isoformat()} turn {record.turn} {record.category}: {record.outcome}; unmet: {unmet}"


def _quoted(text: str) -> str:
    return json.dumps(escaped(text[:200]), ensure_ascii=False)
