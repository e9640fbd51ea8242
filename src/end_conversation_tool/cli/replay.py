"""``end-conversation replay``: what a policy would make of recorded conversations."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Outcome
from end_conversation_tool.cli.judged import JudgeTally, judged_as_json, judged_in_words, report_failures
from end_conversation_tool.cli.judges import note_missing_judge, usage_as_json
from end_conversation_tool.cli.output import Exit, escaped, fail, note, stdout
from end_conversation_tool.readers import MeteredJudge
from end_conversation_tool.recordings.files import BrokenRow, Recording, read_recordings
from end_conversation_tool.recordings.replay import CallRuling, ReplayResult, TurnMarks, replay_conversation
from end_conversation_tool.watch import default_detectors

__all__ = ["run_replay"]

MAX_PROBLEMS_SHOWN = 20
"""How many broken lines are named one by one; the others are counted."""

_LONG_FILE_BYTES = 200_000
_ROWS_AT_ONCE = 100
_WIDTH_OF_FILES = 160


def run_replay(
    path: Path,
    policy: EndConversationPolicy,
    *,
    judge: MeteredJudge | None = None,
    judge_all: bool = False,
    limit: int | None,
    as_json: bool,
) -> None:
    """Replay the conversations of a file and print what the gate makes of each.

    Args:
        path: JSONL or JSON.
        policy: When an end is permitted.
        judge: A second model that is asked about ends; ``None`` for none.
        judge_all: Ask it about every conversation.
        limit: Stop after so many conversations; ``None`` for all.
        as_json: Print one JSON document instead of a table.

    Raises:
        OSError: The file cannot be read.
        typer.Exit: 1 when some lines were broken or the judge failed, 2 when there was no conversation at all.
    """
    detectors = default_detectors()
    note_missing_judge([policy], judge)
    summary = _Summary(judge)
    with _progress(path) as progress:
        printer: _Printer = (
            _JsonPrinter(policy, with_judge=judge is not None)
            if as_json
            else _TablePrinter(policy, progress, with_judge=judge is not None)
        )
        for row in read_recordings(path, advance=progress.advance):
            if isinstance(row, BrokenRow):
                summary.add_problem(row)
                continue
            started = perf_counter() - (judge.seconds if judge else 0.0)
            result = replay_conversation(row.messages, policy, detectors, judge=judge, judge_all=judge_all)
            summary.add(result, perf_counter() - (judge.seconds if judge else 0.0) - started)
            printer.add(row, result)
            if summary.conversations == limit:
                break
        printer.finish(summary)
    _report_problems(summary)


def _report_problems(summary: _Summary) -> None:
    for problem in summary.problems:
        note(f"line {problem.line}: {problem.problem}", "yellow")
    if summary.broken > len(summary.problems):
        note(f"... and {summary.broken - len(summary.problems):,} more broken lines", "yellow")
    if not summary.conversations:
        fail("file: expected at least one conversation in JSONL or JSON, found none", Exit.USAGE)
    code = report_failures(summary.judged.failed, summary.judged.asked)
    if summary.broken or code:
        raise typer.Exit(Exit.FOUND)


@dataclass(slots=True)
class _Summary:
    """Counts over all conversations; its size does not grow with their number.

    Attributes:
        judge: The judge, where there is one.
        seconds: Time that the replay took, the judge's answers left out.
    """

    judge: MeteredJudge | None = None
    judged: JudgeTally = field(default_factory=JudgeTally)
    conversations: int = 0
    turns: int = 0
    flagged: int = 0
    doubtful: int = 0
    ended: int = 0
    seconds: float = 0.0
    broken: int = 0
    permitted: Counter[str] = field(default_factory=Counter)
    permit_turns: Counter[int] = field(default_factory=Counter)
    risk_kinds: Counter[str] = field(default_factory=Counter)
    call_outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[BrokenRow] = field(default_factory=list)

    def add(self, result: ReplayResult, seconds: float) -> None:
        self.conversations += 1
        self.turns += result.turns
        self.seconds += seconds
        self.ended += result.ended
        self.flagged += bool(result.risk_flags)
        self.doubtful += any(turn.doubt for turn in result.evidence)
        self.risk_kinds.update({str(flag.kind) for flag in result.risk_flags})
        self.call_outcomes.update(str(call.outcome) for call in result.calls)
        self.judged.add(result.judged)
        if result.first_permit is not None:
            self.permitted[str(result.first_permit.category)] += 1
            self.permit_turns[result.first_permit.turn] += 1

    def add_problem(self, row: BrokenRow) -> None:
        self.broken += 1
        if len(self.problems) < MAX_PROBLEMS_SHOWN:
            self.problems.append(row)

    def as_json(self) -> dict[str, Any]:
        return {
            "conversations": self.conversations,
            "user_turns": self.turns,
            "permitted": sum(self.permitted.values()),
            "permitted_by_category": dict(sorted(self.permitted.items())),
            "permitted_at_turn": {str(turn): count for turn, count in sorted(self.permit_turns.items())},
            "risk_flagged": self.flagged,
            "risk_flagged_by_kind": dict(sorted(self.risk_kinds.items())),
            "risk_doubtful": self.doubtful,
            "ended_by_recorded_call": self.ended,
            "recorded_calls": dict(sorted(self.call_outcomes.items())),
            "broken_lines": self.broken,
            "seconds": round(self.seconds, 3),
            "milliseconds_per_turn": round(1000 * self.seconds / self.turns, 3) if self.turns else None,
        }

    def judge_as_json(self) -> dict[str, Any]:
        """Return the figures of the judge; nothing where there is none."""
        if self.judge is None:
            return {}
        return {"name": self.judge.source, **self.judged.as_json(), **usage_as_json(self.judge)}


class _Printer(Protocol):
    def add(self, row: Recording, result: ReplayResult) -> None: ...

    def finish(self, summary: _Summary) -> None: ...


class _JsonPrinter:
    """Writes one JSON document piece by piece, so that a long file is never held in memory."""

    def __init__(self, policy: EndConversationPolicy, *, with_judge: bool) -> None:
        self._with_judge = with_judge
        # Written with the first row, so that a file that cannot be read leaves no half of a document behind.
        self._before = f'{{"policy": {json.dumps(policy.version)}, "conversations": [\n'

    def add(self, row: Recording, result: ReplayResult) -> None:
        typer.echo(self._before + json.dumps(_as_json(row, result) | self._judged(result)), nl=False)
        self._before = ",\n"

    def _judged(self, result: ReplayResult) -> dict[str, Any]:
        return {"judge": judged_as_json(result.judged)} if self._with_judge else {}

    def finish(self, summary: _Summary) -> None:
        opening = "" if summary.conversations else self._before
        problems = [{"line": problem.line, "problem": problem.problem} for problem in summary.problems]
        judge = summary.judge_as_json()
        figures = summary.as_json() | ({"judge": judge} if judge else {})
        typer.echo(f'{opening}\n], "problems": {json.dumps(problems)}, "summary": {json.dumps(figures)}}}')


class _TablePrinter:
    """Prints a table in parts of bounded size, with columns of fixed width."""

    def __init__(self, policy: EndConversationPolicy, progress: _Advancing, *, with_judge: bool) -> None:
        self._policy, self._progress, self._with_judge = policy, progress, with_judge
        self._rows: list[tuple[str, ...]] = []
        self._with_header = True

    def add(self, row: Recording, result: ReplayResult) -> None:
        first = result.first_permit
        self._rows.append(
            (
                escaped(row.id),
                str(result.turns),
                "; ".join(_marks(turn) for turn in result.evidence) or "-",
                ", ".join(sorted({str(flag.kind) for flag in result.risk_flags})) or "-",
                f"turn {first.turn}, {first.category}" if first else "never",
                "; ".join(_call(call) for call in result.calls) or "-",
                *((judged_in_words(result.judged),) if self._with_judge else ()),
            )
        )
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def finish(self, summary: _Summary) -> None:
        self._flush()
        figures = summary.as_json()
        with self._progress.paused():
            console = stdout()
            console.print(f"\nPolicy {self._policy.version}")
            _print_figures(console, figures)
            if judge := summary.judge_as_json():
                console.print(f"\nJudge {escaped(judge.pop('name'))}")
                _print_figures(console, judge)

    def _flush(self) -> None:
        if not self._rows:
            return
        table = Table(show_header=self._with_header, expand=True, box=None, pad_edge=False)
        for title, ratio in (("id", 3), ("turns", 1), ("evidence by turn", 7), ("risk", 2)):
            table.add_column(title, ratio=ratio, overflow="fold")
        for title in ("first permitted", "recorded calls", *(("judge",) if self._with_judge else ())):
            table.add_column(title, ratio=3, overflow="fold")
        for row in self._rows:
            table.add_row(*row)
        with self._progress.paused():
            stdout(width=_WIDTH_OF_FILES).print(table)
        self._rows, self._with_header = [], False


def _print_figures(console: Console, figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        text = ", ".join(f"{k}: {v}" for k, v in value.items()) or "none" if isinstance(value, dict) else value
        console.print(f"{name.replace('_', ' ')}: {escaped(str(text))}")


def _marks(turn: TurnMarks) -> str:
    kinds = [str(kind) for kind in turn.kinds] + (["risk doubtful"] if turn.doubt else [])
    return f"{turn.turn} {', '.join(kinds)}"


def _call(call: CallRuling) -> str:
    unmet = f" ({', '.join(call.unmet)})" if call.outcome is Outcome.DENIED else ""
    return f"turn {call.turn}: {call.outcome}{unmet}"


def _as_json(row: Recording, result: ReplayResult) -> dict[str, Any]:
    first = result.first_permit
    return {
        "id": row.id,
        "line": row.line,
        "user_turns": result.turns,
        "evidence": [
            {"turn": turn.turn, "kinds": [str(kind) for kind in turn.kinds], "risk_doubtful": turn.doubt}
            for turn in result.evidence
        ],
        "risk_flags": [
            {"kind": str(flag.kind), "source": flag.source, "message_id": flag.message_id, "score": flag.score}
            for flag in result.risk_flags
        ],
        "first_permitted": {"turn": first.turn, "category": str(first.category)} if first else None,
        "permitted": {str(permit.category): permit.turn for permit in result.permits},
        "recorded_calls": [
            {
                "turn": c.turn,
                "category": c.category,
                "outcome": str(c.outcome),
                "unmet": [str(code) for code in c.unmet],
            }
            for c in result.calls
        ],
        "ended_by_recorded_call": result.ended,
        "messages_not_replayed": result.not_replayed,
    }


@dataclass(slots=True)
class _Advancing:
    """A progress bar, or nothing at all."""

    advance: Callable[[int], None]
    bar: Progress | None = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar off the terminal while results are printed to it."""
        if self.bar is not None:
            self.bar.stop()
        yield
        if self.bar is not None:
            self.bar.start()


@contextmanager
def _progress(path: Path) -> Iterator[_Advancing]:
    """Show how much of a long file is read: on stderr, and only on a terminal."""
    size = path.stat().st_size
    if size < _LONG_FILE_BYTES or not sys.stderr.isatty():
        yield _Advancing(lambda _: None)
        return
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TextColumn("bytes"), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("", total=size)
        yield _Advancing(lambda count: bar.advance(task, count), bar)
