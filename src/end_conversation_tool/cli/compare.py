"""``end-conversation replay`` with two policies: the conversations on which they differ, and how often."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool.cli.judged import JudgeTally, report_failures
from end_conversation_tool.cli.judges import note_missing_judge, usage_as_json
from end_conversation_tool.cli.output import Exit, escaped, fail, note, stdout
from end_conversation_tool.readers import MeteredJudge
from end_conversation_tool.readers.metered import AskedOnce
from end_conversation_tool.recordings.files import BrokenRow, read_recordings
from end_conversation_tool.recordings.replay import ReplayResult, replay_conversation
from end_conversation_tool.watch import default_detectors

__all__ = ["run_comparison"]

_WIDTH_OF_FILES = 160
_MOST_ROWS = 100_000


def run_comparison(
    path: Path,
    policies: Sequence[EndConversationPolicy],
    *,
    judge: MeteredJudge | None = None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Replay the conversations of a file under two policies, and print where they differ.

    With a judge, an end counts as permitted only where the judge agrees.

    Args:
        path: JSONL or JSON.
        policies: Two of them.
        judge: A second model that is asked about ends, once where both policies put the same question.
        limit: Stop after so many conversations; ``None`` for all.
        as_json: Print one JSON document instead of a table.

    Raises:
        OSError: The file cannot be read.
        typer.Exit: 1 when some lines were broken or the judge failed, 2 when there was no conversation at all.
    """
    detectors = default_detectors()
    counts: Counter[str] = Counter()
    differing: list[dict[str, Any]] = []
    tallies = [JudgeTally() for _ in policies]
    note_missing_judge(policies, judge)
    for row in read_recordings(path):
        if isinstance(row, BrokenRow):
            counts["broken_lines"] += 1
            continue
        asked = None if judge is None else AskedOnce(judge)
        results = [replay_conversation(row.messages, policy, detectors, judge=asked) for policy in policies]
        for tally, result in zip(tallies, results, strict=True):
            tally.add(result.judged)
        first, second = map(_permit, results)
        counts["conversations"] += 1
        counts[_compared(first, second)] += 1
        if first != second and len(differing) < _MOST_ROWS:
            differing.append({"id": row.id, "line": row.line, "first": first, "second": second})
        if counts["conversations"] == limit:
            break
    _show(policies, counts, differing, _judge_figures(judge, tallies), as_json=as_json)
    if not counts["conversations"]:
        fail("file: expected at least one conversation in JSONL or JSON, found none", Exit.USAGE)
    if counts["broken_lines"]:
        note(f"{counts['broken_lines']:,} broken lines", "yellow")
    code = report_failures(tallies[0].failed + tallies[1].failed, tallies[0].asked + tallies[1].asked)
    if counts["broken_lines"] or code:
        raise typer.Exit(Exit.FOUND)


def _judge_figures(judge: MeteredJudge | None, tallies: Sequence[JudgeTally]) -> dict[str, Any]:
    """Return the figures of the judge, by policy and in all; nothing where there is none."""
    if judge is None:
        return {}
    first, second = (tally.as_json() for tally in tallies)
    return {"name": judge.source, "first": first, "second": second, **usage_as_json(judge)}


def _permit(result: ReplayResult) -> dict[str, Any] | None:
    found = result.first_permit
    if found is None or (result.judged is not None and result.judged.taken_back):
        return None
    return {"turn": found.turn, "category": str(found.category)}


def _compared(first: dict[str, Any] | None, second: dict[str, Any] | None) -> str:
    if first is None and second is None:
        return "permitted_by_neither"
    if first is None or second is None:
        return "permitted_by_second_only" if first is None else "permitted_by_first_only"
    return "permitted_alike" if first == second else "permitted_otherwise"


def _show(
    policies: Sequence[EndConversationPolicy],
    counts: Counter[str],
    differing: Sequence[dict[str, Any]],
    judge: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    names = (
        "conversations", "permitted_by_neither", "permitted_alike", "permitted_otherwise", "permitted_by_first_only",
        "permitted_by_second_only", "broken_lines",
    )  # fmt: skip
    summary = {name: counts[name] for name in names}
    versions = [policy.version for policy in policies]
    if as_json:
        figures = summary | ({"judge": judge} if judge else {})
        typer.echo(json.dumps({"policies": versions, "summary": figures, "differing": list(differing)}))
        return
    console = stdout(width=_WIDTH_OF_FILES)
    if differing:
        table = Table(box=None, pad_edge=False)
        for title in ("id", *versions):
            table.add_column(escaped(title), overflow="fold")
        for row in differing:
            table.add_row(escaped(row["id"]), _words(row["first"]), _words(row["second"]))
        console.print(table)
    for name, count in summary.items():
        console.print(f"{name.replace('_', ' ')}: {count:,}")
    for name, value in judge.items():
        console.print(f"judge, {name.replace('_', ' ')}: {escaped(_listed(value))}")


def _listed(value: Any) -> str:
    return ", ".join(f"{k} {_listed(v)}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _words(permit: dict[str, Any] | None) -> str:
    return "never" if permit is None else f"turn {permit['turn']}, {permit['category']}"
