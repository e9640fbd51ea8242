"""Recorded conversations from files, whatever kind of file it is, one conversation at a time.

1. The kind is recognised row by row, and every recording says which it is (``shapes`` has the table).
2. JSONL is read line by line and nothing is kept: memory is bounded by the longest line, at most 16 MiB.
3. Rows that are only a piece of a conversation, such as one message, are put aside on disk until the file ends.
4. A file that is one JSON document is read whole, up to 256 MiB. Zip files are read file by file, gzip as it comes.
5. What cannot be read is reported with its line and its field, and the next row is read. Nothing is passed over in
   silence: a file, or a conversation, in which nobody says anything is reported as well.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, groupby
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Any, cast

from langchain_core.messages import BaseMessage, HumanMessage

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.recordings.messages import read_items
from end_conversation_tool.recordings.shapes import Joined, Kind, Piece, piece_of, rows_in

__all__ = ["BrokenRow", "Recording", "read_recordings"]

MAX_LINE_BYTES = 16 * 2**20
"""Longest line of a JSONL file, in bytes."""

MAX_DOCUMENT_BYTES = 256 * 2**20
"""Largest file, in bytes, that is read as one JSON document, and largest conversation that is made of pieces."""

_BOM = b"\xef\xbb\xbf"
_MAX_ID_CHARS = 200
_LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})
_SUFFIXES_IN_ZIP = frozenset({*_LINE_SUFFIXES, ".json"})
_BESIDE_CONVERSATIONS = frozenset(
    {"user.json", "users.json", "message_feedback.json", "shared_conversations.json", "model_comparisons.json",
     "projects.json", "memories.json", "channels.json", "groups.json", "dms.json", "mpims.json",
     "integration_logs.json", "user_settings.json", "canvases.json"}
)  # fmt: skip
"""Files of data exports that hold accounts, settings and lists of rooms, and no conversations."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded conversation.

    Attributes:
        id: Its own id, as it is in the file; the name of the file, ``line N`` or ``row N`` where it has none.
        line: Number of the line on which it began, from 1; of its row, in a file that is one JSON document.
        messages: Its messages, oldest first, at least one of them a user's.
        kind: The kind of recording that it was taken for, as in ``openai_chat``.
        passed_over: Names of items in it that are no messages, each once.
    """

    id: str
    line: int
    messages: tuple[BaseMessage, ...]
    kind: str = "messages"
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that could not be read.

    Attributes:
        line: Its number, as in ``Recording``.
        problem: What is wrong: which field, what it is, and what is expected. Holds no text of the conversation.
    """

    line: int
    problem: str


Row = tuple[int, str, Any, Kind | None]
"""Line, name, value and kind of a row."""

Found = Recording | BrokenRow


def read_recordings(path: str | Path, *, advance: Callable[[int], None] = lambda _: None) -> Iterator[Found]:
    """Read the conversations of a file, in order; those that are put together of several rows come last.

    Args:
        path: A file in UTF-8: JSON, JSONL, or a zip or gzip file of these; ``-`` for standard input. ``.jsonl`` and
            ``.ndjson`` mean lines; of any other file the first line tells: it is a JSON value of its own, or the
            beginning of a document.
        advance: Called with the number of bytes read since the last call.

    Yields:
        A recording, or a broken row; at least one of them.

    Raises:
        OSError: The file cannot be opened or read.
        InvalidInputError: It is a zip or gzip file, and broken or encrypted.
    """
    if str(path) == "-":
        yield from _read_file(sys.stdin.buffer, "", advance)
        return
    path = Path(path)
    with path.open("rb") as file:
        yield from _read_file(file, path.name, advance)


def _read_file(file: IO[bytes], name: str, advance: Callable[[int], None]) -> Iterator[Found]:
    head = file.read(4)
    try:
        if head == b"PK\x03\x04":
            with TemporaryFile() as whole:  # a pipe cannot be read from its end, where the table of contents is
                whole.write(head)
                copyfileobj(file, whole)
                advance(whole.tell())
                yield from _read_zip(whole)
            return
        lines = cast("IO[bytes]", _Joined(head, file))
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(lines) as unpacked:
                name = name.removesuffix(".gz")
                yield from _assembled(_rows(cast("IO[bytes]", unpacked), name, advance), PurePosixPath(name).stem)
            return
        yield from _assembled(_rows(lines, name, advance), PurePosixPath(name).stem)
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise InvalidInputError(f"file: expected a sound, unencrypted archive, got {type(error).__name__}") from error


class _Joined:
    """A file whose first bytes were read already."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head, self._file = BytesIO(head), file

    def read(self, size: int = -1) -> bytes:
        head = self._head.read(size)
        return head if size >= 0 and len(head) == size else head + self._file.read(size - len(head) if size > 0 else -1)

    def readline(self, size: int = -1) -> bytes:
        head = self._head.readline(size)
        whole = head.endswith(b"\n") or (size >= 0 and len(head) == size)
        return head if whole else head + self._file.readline(size - len(head) if size > 0 else -1)


def _read_zip(file: IO[bytes]) -> Iterator[Found]:
    with zipfile.ZipFile(file) as archive:
        members = sorted(name for name in archive.namelist() if PurePosixPath(name).suffix.lower() in _SUFFIXES_IN_ZIP)
        wanted = [name for name in members if PurePosixPath(name).name.lower() not in _BESIDE_CONVERSATIONS]
        if not wanted:
            found = (
                ", ".join(sorted({PurePosixPath(name).suffix or "none" for name in archive.namelist()})) or "nothing"
            )
            yield BrokenRow(1, f"file: expected JSON or JSONL files of conversations in the archive, got {found}")
        for folder, names in groupby(wanted, lambda name: str(PurePosixPath(name).parent)):
            yield from _assembled(_rows_of_folder(archive, list(names)), "" if folder == "." else folder, by_day=True)


def _rows_of_folder(archive: zipfile.ZipFile, names: list[str]) -> Iterator[Row | BrokenRow]:
    for name in names:
        with archive.open(name) as file:
            for row in _rows(file, name, lambda _: None):
                yield (
                    BrokenRow(row.line, f"{PurePosixPath(name).name}: {row.problem}")
                    if isinstance(row, BrokenRow)
                    else row
                )


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(file: IO[bytes], name: str, advance: Callable[[int], None]) -> Iterator[Row | BrokenRow]:
    suffix = PurePosixPath(name).suffix.lower()
    head = [] if suffix in _LINE_SUFFIXES else _head(file)
    if not head or _is_line(head[-1]):
        yield from _rows_of_lines(chain(head, _lines(file)), advance)
        return
    content = b"".join(head) + file.read(MAX_DOCUMENT_BYTES + 1)
    yield from _rows_of_document(content, advance, or_lines=suffix != ".json")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines; one that is too long is yielded one byte longer than allowed, and then its rest."""
    return iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")


def _head(file: IO[bytes]) -> list[bytes]:
    """Return the lines up to the first that is not blank. Nothing is read twice: the file may be a pipe."""
    head: list[bytes] = []
    for line in _lines(file):
        head.append(line)
        if line.strip():
            break
    return head


def _is_line(line: bytes) -> bool:
    """Whether this first line stands for itself, and is not the beginning of a document of several lines."""
    text = line.removeprefix(_BOM).strip()
    if not text.startswith((b"[", b"{")):
        return True
    if len(line) > MAX_LINE_BYTES:
        return False
    try:
        _parse(text)
    except InvalidInputError:
        return False
    return True


def _rows_of_lines(lines: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[Row | BrokenRow]:
    number, skipping = 0, False
    for line in lines:
        advance(len(line))
        complete = len(line) <= MAX_LINE_BYTES
        if skipping:  # the rest of a line that is too long
            skipping = not complete and not line.endswith(b"\n")
            continue
        number += 1
        skipping = not complete and not line.endswith(b"\n")
        if not complete:
            yield BrokenRow(number, f"line: expected at most {MAX_LINE_BYTES:,} bytes, got more")
        elif line.strip():
            yield from _rows_of_line(number, line.removeprefix(_BOM) if number == 1 else line)


def _rows_of_line(number: int, line: bytes) -> Iterator[Row | BrokenRow]:
    try:
        rows = _rows_of_value(_parse(line))
    except InvalidInputError as error:
        yield BrokenRow(number, str(error))
        return
    for index, (row, kind) in enumerate(rows, 1):
        yield number, f"line {number}" + (f", row {index}" if len(rows) > 1 else ""), row, kind


def _rows_of_document(content: bytes, advance: Callable[[int], None], *, or_lines: bool) -> Iterator[Row | BrokenRow]:
    """Read one JSON document; if it is none, read it as lines where the file's name leaves that open."""
    if len(content) > MAX_DOCUMENT_BYTES:
        problem = f"file: expected a JSON document of at most {MAX_DOCUMENT_BYTES:,} bytes, or JSONL, got more"
        yield BrokenRow(1, problem)
        return
    try:
        rows = _rows_of_value(_parse(content.removeprefix(_BOM)))
    except InvalidInputError as error:
        if or_lines:
            yield from _rows_of_lines(_lines(BytesIO(content)), advance)
        else:
            yield BrokenRow(1, str(error))
        return
    advance(len(content))
    for index, (row, kind) in enumerate(rows, 1):
        yield index, f"row {index}", row, kind


def _rows_of_value(value: Any) -> list[tuple[Any, Kind | None]]:
    try:
        return list(rows_in(value))
    except RecursionError as error:
        raise InvalidInputError("row: expected a conversation, got one that is nested too deeply") from error


def _parse(content: bytes) -> Any:
    """Parse JSON.

    Raises:
        InvalidInputError: It is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"expected UTF-8 text, got byte 0x{content[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise InvalidInputError(f"expected JSON: {error.msg} at {place}") from error
    except (ValueError, RecursionError) as error:  # an endless number, or endless nesting
        raise InvalidInputError(f"expected JSON of sensible size: {type(error).__name__}") from error


# --- conversations ----------------------------------------------------------------------------------------------------


def _assembled(rows: Iterable[Row | BrokenRow], name: str, *, by_day: bool = False) -> Iterator[Found]:
    """Read each row; put pieces aside, and read them when the file ends.

    Args:
        rows: The rows of a file, or of all files of a folder.
        name: Name of it.
        by_day: Whether a list of messages may be only one day of the folder, as in Slack's exports.
    """
    nothing = True
    with closing(_Shelf()) as shelf:
        for row in rows:
            found = row if isinstance(row, BrokenRow) else _read_row(row, shelf, by_day=by_day and bool(name))
            if found is not None:
                nothing = False
                yield found
        for pieces in shelf.threads():
            nothing = False
            yield pieces if isinstance(pieces, BrokenRow) else _joined(pieces, name)
    if nothing:
        yield BrokenRow(1, "file: expected at least one conversation, found none")


def _read_row(row: Row, shelf: _Shelf, *, by_day: bool) -> Found | None:
    """Read a row that is a conversation; a piece of one is put aside."""
    line, name, value, kind = row
    try:
        piece = piece_of(value, kind)
        if by_day and piece.kind == "slack":
            piece = piece._replace(thread="")
        if piece.thread is None:
            return _recording([(line, piece)], piece.id or name)
        shelf.put(line, piece)
    except InvalidInputError as error:
        return BrokenRow(line, str(error))
    except RecursionError:
        return BrokenRow(line, "row: expected a conversation, got one that is nested too deeply")
    return None


Pieces = list[tuple[int, Piece]]
"""Pieces of one thread, each with its line."""


class _Shelf:
    """Pieces of conversations, put aside in a temporary file of SQLite's, so that memory does not grow with them."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("")  # on disk, without a name
        self._file.execute("CREATE TABLE piece (thread TEXT, line INTEGER, size INTEGER, body TEXT)")

    def put(self, line: int, piece: Piece) -> None:
        """Put a piece aside; one that says nothing only where what it should say would be missed."""
        if piece.messages or piece.joined is not Joined.ONE_AFTER_ANOTHER:
            thread, body = (
                json.dumps([piece.kind, piece.thread]),
                json.dumps([*piece[:5], piece.joined.value, *piece[6:]]),
            )
            self._file.execute("INSERT INTO piece VALUES (?, ?, ?, ?)", (thread, line, len(body), body))

    def threads(self) -> Iterator[Pieces | BrokenRow]:
        """Yield the pieces of each thread, in the order in which the threads began."""
        heads = self._file.execute("SELECT thread, min(line), sum(size) FROM piece GROUP BY thread ORDER BY min(rowid)")
        self._file.execute("CREATE INDEX IF NOT EXISTS piece_thread ON piece (thread)")
        for thread, line, size in heads:
            if size > MAX_DOCUMENT_BYTES:
                yield BrokenRow(line, f"row: expected a thread of at most {MAX_DOCUMENT_BYTES:,} bytes, got more")
                continue
            rows = self._file.execute("SELECT line, body FROM piece WHERE thread = ? ORDER BY rowid", (thread,))
            yield [(number, _piece(json.loads(body))) for number, body in rows]

    def close(self) -> None:
        self._file.close()


def _piece(fields: list[Any]) -> Piece:
    return Piece._make([*fields[:5], Joined(fields[5]), *fields[6:]])


def _joined(pieces: Pieces, name: str) -> Found:
    """Read the pieces of one thread; one that cannot be read breaks it, or turns would be missing."""
    thread, how = pieces[0][1].thread, pieces[0][1].joined
    try:
        return _recording(_that_count(pieces, how), thread or name or f"line {pieces[0][0]}")
    except InvalidInputError as error:
        return BrokenRow(pieces[0][0], str(error))


def _that_count(pieces: Pieces, how: Joined) -> Pieces:
    """Return the pieces that make the conversation, oldest first."""
    highest = min(piece.depth for _, piece in pieces)
    kept = [(line, piece) for line, piece in pieces if piece.depth == highest]
    moments = [piece.moment for _, piece in kept]
    if None not in moments and len({type(moment) for moment in moments}) == 1:
        kept.sort(key=lambda item: item[1].moment)  # type: ignore[arg-type, return-value]
        return kept[-1:] if how is Joined.NEWEST else kept
    return kept[:1] if how is Joined.NEWEST else kept  # a state's history begins with the newest


def _recording(pieces: Pieces, name: str) -> Recording:
    """Read pieces into one recording.

    Raises:
        InvalidInputError: Something is no message, or no user speaks.
    """
    messages: list[BaseMessage] = []
    passed_over: dict[str, None] = {}
    for line, piece in pieces:
        place = piece.place if len(pieces) == 1 else f"line {line}: {piece.place}"
        found = read_items(piece.messages, place)
        overlapping = piece.joined is Joined.OVERLAPPING
        if overlapping and not found.messages:
            raise InvalidInputError(f"{place}: expected messages or a text, found neither in a known field")
        messages = _continued(messages, found.messages) if overlapping else [*messages, *found.messages]
        passed_over.update(dict.fromkeys(found.passed_over))
    place = pieces[-1][1].place
    if not any(isinstance(message, HumanMessage) for message in messages):
        types = ", ".join(sorted({message.type for message in messages}) or passed_over) or "none"
        least = "at least one message of a user" if messages else "at least one message"
        raise InvalidInputError(
            f"{place}: expected {least}, got {types if messages or not passed_over else f'only {types}'}"
        )
    for number, message in enumerate(messages):
        message.id = message.id or f"#{number}"
    return Recording(name[:_MAX_ID_CHARS], pieces[0][0], tuple(messages), pieces[0][1].kind, tuple(passed_over))


def _continued(before: list[BaseMessage], after: list[BaseMessage]) -> list[BaseMessage]:
    """Join two runs of a thread: the later one has the earlier one's messages again, or only the new ones."""
    first, again = ([m.text for m in found if isinstance(m, HumanMessage)] for found in (before, after))
    if first[:1] == again[:1]:
        return after if len(again) >= len(first) else before
    known = {message.id for message in before if message.id}
    return [*before, *(message for message in after if message.id not in known or not message.id)]
