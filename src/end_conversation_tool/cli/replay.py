"""``end-conversation replay``: what a policy would have made of recorded conversations."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from html import escape
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import typer
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool.cli.output import Exit, escaped, fail, note, print_json, stdout
from end_conversation_tool.cli.replay_tally import (
    Estimate,
    Replayed,
    Tally,
    has_failed,
    in_words,
    is_interesting,
    urgency,
)
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.charts import bars, page, table
from end_conversation_tool.readers import Price, Reader
from end_conversation_tool.recordings.files import BrokenRow, Recording, read_recordings
from end_conversation_tool.recordings.replay import ReplayResult, lines_to_read, replay_conversation

__all__ = ["run_dry", "run_replay"]

_MAX_PROBLEMS = 20
_MAX_SHOWN = 50
STDIN = Path("-")


def run_dry(
    file: Path, policy: EndConversationPolicy, *, offline: bool, price: Price | None, limit: int | None
) -> None:
    """Print what a replay would read, and about what it would cost; nobody reads.

    Raises:
        OSError: The file cannot be read.
        typer.Exit: 1 when some lines were broken, 2 when there was no conversation at all.
    """
    estimate, problems = Estimate(), _Problems()
    with _progress(file) as advance:
        for row in _rows(file, problems, advance, limit):
            estimate.add(lines_to_read(row.messages, policy))
    console = stdout()
    for line in estimate.in_words(None if offline else price, free=offline):
        console.print(line)
    problems.report(estimate.conversations)


def run_replay(
    file: Path,
    policy: EndConversationPolicy,
    reader: Reader,
    *,
    price: Price | None = None,
    limit: int | None = None,
    as_json: bool = False,
    html: Path | None = None,
    resume: Path | None = None,
) -> None:
    """Replay the conversations of a file and print what the policy makes of them.

    Args:
        file: Recorded conversations; ``-`` for stdin.
        policy: When an end is permitted.
        reader: Who reads them.
        price: What its tokens cost.
        limit: Stop after so many conversations; ``None`` for all.
        as_json: Print one JSON document instead of text.
        html: Write a page too.
        resume: Keep results here, and do not read again what is here already.

    Raises:
        OSError: A file cannot be read or written.
        typer.Exit: 1 when some lines were broken or readings failed, 2 when there was no conversation at all.
    """
    tally, problems = Tally(price), _Problems()
    replayed: list[Replayed] = []
    with ExitStack() as stack:
        kept = stack.enter_context(Kept(resume, f"{policy.version} {policy.mode} {reader.source}"))
        advance = stack.enter_context(_progress(file))
        for row in _rows(file, problems, advance, limit):
            known = kept.get(row.messages)
            result = known or replay_conversation(row.messages, policy, reader)
            if known is None:
                kept.keep(row.id, row.messages, result)
            tally.add(result, known=known is not None)
            if as_json or is_interesting(result):
                replayed.append(Replayed(row.id, row.line, result))
    about = {"policy": policy.version, "mode": str(policy.mode), "reader": reader.source}
    if tally.conversations and html is not None:
        found = sorted((one for one in replayed if is_interesting(one.result)), key=urgency)
        html.write_text(replay_page(about, tally, found), encoding="utf-8")
        note(f"written: {html}")
    if as_json:
        rows = [one.as_json() for one in replayed]
        print_json({**about, "summary": tally.as_json(), "conversations": rows, "problems": problems.as_json()})
    elif tally.conversations:
        _show(about, tally, sorted(replayed, key=urgency))
    problems.report(tally.conversations, failed=tally.failed)


def _show(about: dict[str, str], tally: Tally, found: list[Replayed]) -> None:
    console = stdout()
    console.print(escaped(", ".join(f"{name} {value}" for name, value in about.items())))
    for title, number, detail in tally.rows():
        console.print(f"{title:<26} {number:>8}  {detail}".rstrip())
    for one in found[:_MAX_SHOWN]:
        console.print(f"\n{escaped(one.id)}")
        for line in in_words(one.result):
            console.print(f"  {escaped(line)}")
    if len(found) > _MAX_SHOWN:
        console.print(f"\nand {len(found) - _MAX_SHOWN:,} more: --json and --html list them all")


class _Problems:
    """Broken lines: the first of them by name, the others counted."""

    def __init__(self) -> None:
        self._rows: list[BrokenRow] = []
        self._count = 0

    def add(self, row: BrokenRow) -> None:
        self._count += 1
        if len(self._rows) < _MAX_PROBLEMS:
            self._rows.append(row)

    def as_json(self) -> list[dict[str, object]]:
        return [{"line": row.line, "problem": row.problem} for row in self._rows]

    def report(self, conversations: int, *, failed: int = 0) -> None:
        """Name what went wrong on stderr, and leave if anything did."""
        for row in self._rows:
            note(f"line {row.line}: {row.problem}", "yellow")
        if self._count > len(self._rows):
            note(f"... and {self._count - len(self._rows):,} more broken lines", "yellow")
        if not conversations:
            fail("file: expected at least one conversation, found none", Exit.USAGE)
        if failed:
            note(f"the reader failed on {failed:,} of them; with --resume the others need not be read again", "yellow")
        if self._count or failed:
            raise typer.Exit(Exit.FOUND)


def _rows(file: Path, problems: _Problems, advance: Callable[[int], None], limit: int | None) -> Iterator[Recording]:
    count = 0
    for row in read_recordings(file, advance=advance):
        if isinstance(row, BrokenRow):
            problems.add(row)
            continue
        yield row
        count += 1
        if count == limit:
            return


@contextmanager
def _progress(file: Path) -> Iterator[Callable[[int], None]]:
    """Show how much is read: on stderr, and only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    size = None if file == STDIN else file.stat().st_size
    columns = (TextColumn("reading"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=size)
        yield lambda count: bar.advance(task, count)


# Results in a file, so that a run that broke off need not read again what it has read


class Kept:
    """A JSONL file of results. What failed is not kept: it is tried again.

    Args:
        path: The file, made if it is not there; ``None`` to keep nothing.
        asked: Policy and reader: a result of others is none for these.

    Raises:
        InvalidInputError: The file holds something else.
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path | None, asked: str) -> None:
        self._path, self._asked = path, asked
        self._known: dict[str, ReplayResult] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        lines = text.splitlines()
        self._known = dict(row for line in lines if (row := _row(line)) is not None)
        if lines and not self._known:
            raise InvalidInputError(
                f"resume: expected a file that an earlier --resume has written, got {self._path.name}"
            )
        self._file = self._path.open("a", encoding="utf-8")
        if text and not text.endswith("\n"):  # the line at which the run broke off
            self._file.write("\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, messages: Sequence[BaseMessage]) -> ReplayResult | None:
        """Return the result that is known of a conversation."""
        return self._known.get(self._key(messages)) if self._known else None

    def keep(self, name: str, messages: Sequence[BaseMessage], result: ReplayResult) -> None:
        """Write a result, at once."""
        if self._file is None or has_failed(result):
            return
        row = {"key": self._key(messages), "id": name, "result": result.model_dump(mode="json", exclude_defaults=True)}
        self._file.write(f"{json.dumps(row)}\n")
        self._file.flush()

    def _key(self, messages: Sequence[BaseMessage]) -> str:
        calls = [
            [(call["name"], call["args"]) for call in message.tool_calls] if isinstance(message, AIMessage) else []
            for message in messages
        ]
        said = [(message.type, message.content, made) for message, made in zip(messages, calls, strict=True)]
        return sha256(json.dumps([self._asked, said], default=str).encode()).hexdigest()[:32]


def _row(line: str) -> tuple[str, ReplayResult] | None:
    try:
        row = json.loads(line)
        return str(row["key"]), ReplayResult.model_validate(row["result"])
    except (ValueError, LookupError, TypeError, ValidationError):
        return None


# The page


def replay_page(about: Mapping[str, str], tally: Tally, found: Sequence[Replayed]) -> str:
    """Return the page. It quotes the conversations.

    Args:
        about: Policy and reader.
        tally: The counts.
        found: The conversations to show.
    """
    asked = escape(", ".join(f"{name} {value}" for name, value in about.items()))
    turns = {f"turn {turn}": float(count) for turn, count in sorted(tally.end_turns.items())}
    rows = [(one.id, "; ".join(in_words(one.result)), _quotes(one)) for one in found]
    body = (
        f"<p>{asked}</p>{table(('', '', ''), tally.rows(), words=True)}"
        f'<div class="plots">{bars("User turn of the end", {"": turns})}</div>'
        f"<h2>Conversations</h2>{table(('id', 'what would have been', 'what was found'), rows, words=True)}"
    )
    return page("Replay of recorded conversations", body)


def _quotes(one: Replayed) -> str:
    return "; ".join(f"{found.turn} {found.kind}: \u201c{found.quote}\u201d" for found in one.result.findings)
