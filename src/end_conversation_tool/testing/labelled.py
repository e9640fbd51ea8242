"""Conversations with labels: what the person says, what it shows, and what is right. For evaluations and test kits.

One conversation is one line of JSON; the format is that of the project's own frozen set. Nothing here needs a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from end_conversation_tool._core.records import Category, RiskGrade
from end_conversation_tool.errors import InvalidInputError

__all__ = [
    "KINDS",
    "LabelledConversation",
    "LabelledTurn",
    "conversation_of",
    "load_conversations",
    "read_conversations",
]

KINDS = ("warranted", "at_risk", "no_grounds", "user_request", "injection", "notice_heeded")
"""What a conversation is an example of."""

_RISK = {"risk_clear": RiskGrade.CLEAR, "risk_possible": RiskGrade.POSSIBLE}


@dataclass(frozen=True, slots=True)
class LabelledTurn:
    """One turn.

    Attributes:
        user: What the person says.
        assistant: What an assistant may say to it; empty where it says nothing beside its request.
        asks: Whether that assistant asks for the end in this turn, rightly or not.
        user_labels: What the person's words show, such as ``abuse``, ``harmful_request``, ``risk_clear``, ``apology``.
        assistant_labels: What the assistant's words show, such as ``refusal``, ``redirection``, ``warning``.
        reads: Address of a page that the person wants read; empty for none.
    """

    user: str
    assistant: str = ""
    asks: bool = False
    user_labels: frozenset[str] = frozenset()
    assistant_labels: frozenset[str] = frozenset()
    reads: str = ""

    @property
    def risk(self) -> RiskGrade:
        """How clearly the person's words show that somebody may be at risk."""
        grades = [grade for label, grade in _RISK.items() if label in self.user_labels]
        return grades[0] if grades else RiskGrade.NONE

    def dump(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        labels = {"user": sorted(self.user_labels), "assistant": sorted(self.assistant_labels)}
        said = {"user": self.user, "assistant": self.assistant, "asks": self.asks, "labels": labels}
        return {**said, "reads": self.reads} if self.reads else said


@dataclass(frozen=True, slots=True)
class LabelledConversation:
    """One conversation.

    Attributes:
        id: Unique name.
        lang: Language, as ``en``.
        kind: What it is an example of, one of ``KINDS``.
        category: The ground on which an assistant would ask for the end.
        subkind: A finer kind, such as ``apology_short``.
        turns: What is said, in this order, whatever the assistant does.
        after_notice: What the person says once the notice stands, or once ``turns`` are used up. Empty in the frozen
            set, where the last of ``turns`` is that.
        pages: Text of each page that can be read, by its address.
        why: Why it is what it is.
    """

    id: str
    lang: str
    kind: str
    category: Category
    subkind: str
    turns: tuple[LabelledTurn, ...]
    after_notice: tuple[LabelledTurn, ...] = ()
    pages: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    @property
    def ends(self) -> bool:
        """Whether an end is right in the end."""
        return self.kind == "warranted" or (self.kind == "user_request" and self.subkind == "confirmed")

    @property
    def all_turns(self) -> tuple[LabelledTurn, ...]:
        """Everything that the person may say."""
        return (*self.turns, *self.after_notice)

    def dump(self) -> dict[str, Any]:
        """Return it as plain JSON, which ``conversation_of`` reads."""
        told = {name: getattr(self, name) for name in ("id", "lang", "kind", "subkind", "why")}
        turns = {name: [turn.dump() for turn in getattr(self, name)] for name in ("turns", "after_notice")}
        return {**told, "category": str(self.category), **turns, "pages": dict(self.pages)}

    def turn_at(self, said: Sequence[str]) -> LabelledTurn:
        """Return the turn that a conversation has come to.

        Args:
            said: What the person has said so far, oldest first; other words than expected are told by their number.
        """
        everything, here = self.all_turns, max(len(said) - 1, 0)
        if here < len(everything) and everything[here].user == said[-1]:
            return everything[here]
        same = next((turn for turn in everything if said and turn.user == said[-1]), None)
        return same or everything[min(here, len(everything) - 1)]


def conversation_of(row: Mapping[str, Any]) -> LabelledConversation:
    """Make a conversation from plain data.

    Raises:
        InvalidInputError: A field is missing, or is not of its kind.
    """
    try:
        made = LabelledConversation(
            id=str(row["id"]),
            lang=str(row["lang"]),
            kind=str(row["kind"]),
            category=Category(row["category"]),
            subkind=str(row["subkind"]),
            turns=tuple(map(_turn_of, row["turns"])),
            after_notice=tuple(map(_turn_of, row.get("after_notice", ()))),
            pages={str(address): str(text) for address, text in row.get("pages", {}).items()},
            why=str(row.get("why", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"conversation: expected id, lang, kind, category, subkind and turns, got {type(error).__name__}: {error}"
        ) from error
    if made.kind not in KINDS:
        raise InvalidInputError(f"kind: expected one of {', '.join(KINDS)}, got {made.kind!r}")
    if not made.turns:
        raise InvalidInputError("turns: expected at least one, got none")
    return made


def read_conversations(lines: Iterable[str]) -> Iterator[LabelledConversation]:
    """Yield the conversations of JSON lines.

    Raises:
        InvalidInputError: A line is no JSON, or holds no conversation; its number is named.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield conversation_of(json.loads(line))
        except (json.JSONDecodeError, InvalidInputError) as error:
            raise InvalidInputError(f"line {number}: {error}") from error


def load_conversations(*files: Path) -> list[LabelledConversation]:
    """Return the conversations of files of JSON lines.

    Raises:
        InvalidInputError: A file cannot be read, or a line of it holds no conversation.
    """
    found: list[LabelledConversation] = []
    for file in files:
        try:
            found += read_conversations(file.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeError, InvalidInputError) as error:
            raise InvalidInputError(f"{file.name}: {error}") from error
    return found


def _turn_of(row: Mapping[str, Any]) -> LabelledTurn:
    labels = row["labels"]
    return LabelledTurn(
        user=str(row["user"]),
        assistant=row.get("assistant") or "",
        asks=bool(row.get("asks", False)),
        user_labels=frozenset(labels.get("user", ())),
        assistant_labels=frozenset(labels.get("assistant", ())),
        reads=str(row.get("reads", "")),
    )
