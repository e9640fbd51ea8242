"""Results of a replay in a file, so that a run that broke off need not read again what it has read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from langchain_core.messages import AIMessage, BaseMessage
from pydantic import ValidationError

from end_conversation_tool.cli.replay_tally import has_failed
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.recordings.replay import ReplayResult

__all__ = ["Kept"]


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
