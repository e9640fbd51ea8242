"""How a turn is shown: what was said, what was called, what was decided, and on what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from end_conversation_tool._core.records import DecisionRecord, Outcome
from end_conversation_tool._doors.langgraph.messages import text_of
from end_conversation_tool.cli.agent import TurnReport
from end_conversation_tool.cli.output import escaped

__all__ = ["show_answer", "show_turn", "turn_as_json"]

_STYLES = {
    Outcome.SEALED: "bold red",
    Outcome.DENIED: "bold yellow",
    Outcome.NOTICED: "bold cyan",
    Outcome.WOULD_HAVE_SEALED: "bold magenta",
    Outcome.WOULD_HAVE_NOTICED: "bold magenta",
}


def show_turn(console: Console, report: TurnReport) -> None:
    """Print one turn, the user's message included."""
    _say(console, "user", report.user, "bold blue")
    show_answer(console, report)


def show_answer(console: Console, report: TurnReport) -> None:
    """Print what became of a user's message."""
    if report.refusal is not None:
        _say(console, "refused", report.refusal, "bold red")
        return
    decisions = iter(report.decisions)
    by_app = any(record.outcome in (Outcome.NOTICED, Outcome.SEALED) for record in report.decisions)
    for message in report.messages:
        last = by_app and message is report.messages[-1]
        _show_message(console, message, decisions, "app" if last else "assistant")
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(report.counts.items()))
    risk = ", ".join(sorted({str(flag.kind) for flag in report.risk_flags})) or "none"
    read = f"; found in user turns: {counts}" if counts else ""
    console.print(
        Padding(Text(f"turn {report.turn}; risk flags: {risk}{read}", style="dim"), (0, 0, 0, 2), expand=False)
    )


def _show_message(console: Console, message: AnyMessage, decisions: Iterable[DecisionRecord], who: str) -> None:
    text = text_of(message.content)
    if isinstance(message, ToolMessage):
        _say(console, f"result of {message.name}", text, "dim")
        return
    if text:
        _say(console, who, text, "bold green")
    if isinstance(message, AIMessage) and message.tool_calls:
        _show_calls(console, message, decisions)


def _show_calls(console: Console, message: AIMessage, decisions: Iterable[DecisionRecord]) -> None:
    for call in message.tool_calls:
        arguments = ", ".join(f"{name}={value!r}" for name, value in call["args"].items())
        _say(console, "call", f"{call['name']}({arguments})", "dim")
    if any(call["name"] == "end_conversation" for call in message.tool_calls):
        for decision in decisions:
            _show_decision(console, decision)
            break  # one decision for each message, however many calls it holds


def _show_decision(console: Console, record: DecisionRecord) -> None:
    unmet = ", ".join(record.decision.unmet) or "none"
    _say(console, "decision", f"{record.outcome}; unmet: {unmet}{_reading_of(record)}", _STYLES[record.outcome])


def _reading_of(record: DecisionRecord) -> str:
    """Return in a few words what became of the reading."""
    reading = record.reading
    if reading is None:
        return "; nobody needed to read"
    if reading.failure:
        return f"; {reading.source} could not read: {reading.failure}"
    return f"; read by {reading.source}: {reading.found} findings, {reading.dropped} dropped, risk {reading.risk}"


def _say(console: Console, who: str, text: str, style: str) -> None:
    console.print(Padding(Text.assemble((f"{escaped(who)}: ", style), escaped(text)), (0, 0, 0, 2), expand=False))


def turn_as_json(report: TurnReport) -> dict[str, Any]:
    """Return one turn as plain JSON."""
    return {
        "user": report.user,
        "assistant": [text_of(m.content) for m in report.messages if isinstance(m, AIMessage) and m.content],
        "refused_with": report.refusal,
        "turn": report.turn,
        "found": dict(sorted(report.counts.items())),
        "risk_flags": sorted({str(flag.kind) for flag in report.risk_flags}),
        "decisions": [
            {
                "category": record.category,
                "outcome": str(record.outcome),
                "unmet": [str(code) for code in record.decision.unmet],
                "evidence": [item.model_dump(mode="json") for item in record.decision.evidence],
                "reading": record.reading.model_dump(mode="json") if record.reading else None,
            }
            for record in report.decisions
        ],
    }
