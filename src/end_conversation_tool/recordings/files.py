"""Recorded conversations from JSONL or JSON files, one at a time, whatever shape their messages have.

A row is one conversation: a list of messages, or an object with the messages under ``messages``, ``conversation``, or
``values.messages`` (a dumped graph state), and perhaps an ``id``. The shapes of messages are those of
``transcript_messages``.

1. JSONL is read line by line and nothing is kept: memory is bounded by the longest line, at most 16 MiB.
2. A row that cannot be read is reported with its line number and what is wrong with it, and the next one is read.
3. A file that is one JSON document (an array of rows, or one row) is read whole, up to 256 MiB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO, Any

from langchain_core.messages import BaseMessage

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.recordings.messages import read_messages

__all__ = ["BrokenRow", "Recording", "read_recordings"]

MAX_LINE_BYTES = 16 * 2**20
"""Longest line of a JSONL file, in bytes."""

MAX_DOCUMENT_BYTES = 256 * 2**20
"""Largest file, in bytes, that is read as one JSON document."""

_BOM = b"\xef\xbb\xbf"
_MAX_ID_CHARS = 200
_LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})
_PLACES = (("messages",), ("conversation",), ("values", "messages"))


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded conversation.

    Attributes:
        id: The row's own id; ``line N`` or ``row N`` where it has none.
        line: Number of its line in the file, from 1; of its row, in a file that is one JSON document.
        messages: Its messages, oldest first, at least one.
    """

    id: str
    line: int
    messages: tuple[BaseMessage, ...]


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that could not be read.

    Attributes:
        line: Its number, as in ``Recording``.
        problem: What is wrong: which field, what it is, and what is expected. Holds no text of the conversation.
    """

    line: int
    problem: str


def read_recordings(
    path: str | Path, *, advance: Callable[[int], None] = lambda _: None
) -> Iterator[Recording | BrokenRow]:
    """Read the conversations of a file, in order.

    Args:
        path: A JSONL or JSON file in UTF-8. ``.jsonl`` and ``.ndjson`` mean lines; of any other file the first line
            tells: it is a JSON value of its own, or the beginning of a document.
        advance: Called with the number of bytes read since the last call.

    Yields:
        A recording, or a broken row.

    Raises:
        OSError: The file cannot be opened or read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = [] if suffix in _LINE_SUFFIXES else _head(file)
        if not head or _is_line(head[-1]):
            yield from _read_lines(chain(head, _lines(file)), advance)
            return
        content = b"".join(head) + file.read(MAX_DOCUMENT_BYTES + 1)
        yield from _read_document(content, advance, or_lines=suffix != ".json")


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


def _read_lines(lines: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[Recording | BrokenRow]:
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
            yield from _read_row(number, line.removeprefix(_BOM) if number == 1 else line)


def _read_row(number: int, line: bytes) -> Iterator[Recording | BrokenRow]:
    try:
        value = _parse(line)
    except InvalidInputError as error:
        yield BrokenRow(number, str(error))
        return
    if _is_list_of_rows(value):  # a whole document on one line
        for index, row in enumerate(value, 1):
            yield _recording(row, number, f"line {number}, row {index}")
    else:
        yield _recording(value, number, f"line {number}")


def _read_document(
    content: bytes, advance: Callable[[int], None], *, or_lines: bool
) -> Iterator[Recording | BrokenRow]:
    """Read one JSON document; if it is none, read it as lines where the file's name leaves that open."""
    if len(content) > MAX_DOCUMENT_BYTES:
        problem = f"file: expected a JSON document of at most {MAX_DOCUMENT_BYTES:,} bytes, or JSONL, got more"
        yield BrokenRow(1, problem)
        return
    try:
        value = _parse(content.removeprefix(_BOM))
    except InvalidInputError as error:
        if or_lines:
            yield from _read_lines(_lines(BytesIO(content)), advance)
        else:
            yield BrokenRow(1, str(error))
        return
    advance(len(content))
    for index, row in enumerate(value if _is_list_of_rows(value) else [value], 1):
        yield _recording(row, index, f"row {index}")


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


def _is_list_of_rows(value: Any) -> bool:
    """Whether this is a list of conversations, and not a conversation: a list of messages."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    return isinstance(first, list) or (isinstance(first, Mapping) and _place_of_messages(first) is not None)


def _place_of_messages(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return where in a row its messages are."""
    for place in _PLACES:
        value: Any = row
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            return place
    return None


def _recording(row: Any, number: int, name: str) -> Recording | BrokenRow:
    try:
        found, place = _messages_of(row)
        messages = read_messages(found, place)
    except InvalidInputError as error:
        return BrokenRow(number, str(error))
    own_id = row.get("id") if isinstance(row, Mapping) else None
    if isinstance(own_id, (str, int)) and not isinstance(own_id, bool) and str(own_id):
        name = str(own_id)[:_MAX_ID_CHARS]
    return Recording(name, number, messages)


def _messages_of(row: Any) -> tuple[Any, str]:
    """Return the messages of a row, and the name of the field they are in."""
    if isinstance(row, list):
        return row, "messages"
    if not isinstance(row, Mapping):
        raise InvalidInputError(f"row: expected an object or a list of messages, got {type(row).__name__}")
    place = _place_of_messages(row)
    if place is None:
        raise InvalidInputError("row: expected an object with 'messages', 'conversation' or 'values.messages'")
    value: Any = row
    for key in place:
        value = value[key]
    return value, ".".join(place)
