"""Where the conversations are: beside the code in an installed wheel, in ``evaluation/`` in a copy of the project."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from importlib import resources
from pathlib import Path

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.testing.labelled import KINDS, LabelledConversation, load_conversations

__all__ = ["conversations", "data_folder", "read_prompts"]

_FOLDERS = ("conversations", "scenarios")


def data_folder(path: str | Path | None = None) -> Path:
    """Return the folder that holds ``conversations/`` and ``scenarios/``.

    Args:
        path: Your own folder of that shape; ``None`` for the set of this package.

    Raises:
        InvalidInputError: There is none.
    """
    shipped = Path(str(resources.files("end_conversation_tool.evals"))) / "data"
    checkout = Path(__file__).resolve().parents[3] / "evaluation"
    tried = [Path(path)] if path is not None else [shipped, checkout]
    for folder in tried:
        if any((folder / name).is_dir() for name in _FOLDERS):
            return folder
    names = ", ".join(sorted({str(folder.name) for folder in tried}))
    raise InvalidInputError(f"data: expected a folder with conversations/ or scenarios/, found none in {names}")


def conversations(
    kind: str | None = None,
    *,
    data: str | Path | None = None,
    languages: Collection[str] | None = None,
) -> list[LabelledConversation]:
    """Return the conversations of a kind.

    Args:
        kind: One of ``KINDS``; ``None`` for all.
        data: Your own folder; ``None`` for the set of this package.
        languages: Such as ``{"en", "de"}``; ``None`` for all.

    Raises:
        InvalidInputError: There is none, or a file cannot be read.
    """
    if kind is not None and kind not in KINDS:
        raise InvalidInputError(f"kind: expected None or one of {', '.join(KINDS)}, got {kind!r}")
    found = [one for one in _load(data_folder(data)) if kind in (None, one.kind)]
    chosen = [one for one in found if languages is None or one.lang in languages]
    if not chosen:
        known = ", ".join(sorted({one.lang for one in found})) or "none"
        raise InvalidInputError(f"languages: no conversation of {kind or 'any kind'}; there are {known}")
    return chosen


def read_prompts(path: str | Path) -> list[str]:
    """Return the prompts of a file: one a line, or JSON lines with ``prompt``, ``text`` or ``content``.

    Raises:
        InvalidInputError: The file cannot be read, or a line of it holds no prompt.
    """
    file = Path(path)
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise InvalidInputError(f"prompts: {file.name} cannot be read: {type(error).__name__}") from error
    if not lines:
        raise InvalidInputError(f"prompts: {file.name} is empty")
    if file.suffix.lower() not in (".jsonl", ".json"):
        return lines
    return [_prompt_of(line, number) for number, line in enumerate(lines, 1)]


def _prompt_of(line: str, number: int) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"prompts: line {number} is no JSON") from error
    values = [row] if isinstance(row, str) else [row.get(key) for key in ("prompt", "text", "content")]
    prompt = next((value for value in values if isinstance(value, str) and value.strip()), None)
    if prompt is None:
        raise InvalidInputError(f"prompts: line {number}: expected prompt, text or content")
    return prompt


@cache
def _load(folder: Path) -> tuple[LabelledConversation, ...]:
    files = [file for name in _FOLDERS for file in sorted((folder / name).glob("*.jsonl"))]
    return tuple(load_conversations(*files))
