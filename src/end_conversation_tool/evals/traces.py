"""What happened in one conversation: who said what, the requests, and what became of them. Plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from end_conversation_tool._core.vocabulary import Outcome

__all__ = ["Call", "ModeOfTest", "Said", "Trace", "Wording"]

ModeOfTest: TypeAlias = Literal["raw", "enforce", "shadow"]
"""``raw``: the model with the tool, every request honoured as the tool's words promise; else the real middleware."""

Wording: TypeAlias = Literal["package", "free"]
"""The words of the tool: this package's own, or a tool that the model may use as it likes."""

_NOTICE = (Outcome.NOTICED, Outcome.WOULD_HAVE_NOTICED)
_END = (Outcome.SEALED, Outcome.WOULD_HAVE_SEALED)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to end.

    Attributes:
        turn: Number of the user turn, from 1.
        category: The ground that the model named; empty where its arguments were malformed.
        outcome: What became of it, an ``Outcome``.
        unmet: Why it was denied.
    """

    turn: int
    category: str
    outcome: str
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """One user turn.

    Attributes:
        user: What the person said.
        assistant: What the model said to it, without the texts of this package.
        after_notice: Whether the person had been given notice, or asked whether they mean it, before they said it.
        labels: What the person's words show; ``None`` where nobody has labelled them.
    """

    user: str
    assistant: str = ""
    after_notice: bool = False
    labels: frozenset[str] | None = None

    def shows(self, *labels: str) -> bool:
        """Whether the person's words show any of ``labels``."""
        return bool(self.labels and self.labels.intersection(labels))


@dataclass(slots=True)
class Trace:
    """One conversation as it came out.

    Attributes:
        mode: How the tool was given.
        wording: The words of the tool.
        said: The turns, in order.
        calls: The requests, in order.
        warned: User turns in which the model spoke of an end in its own words; ``None`` where nobody has looked.
    """

    mode: ModeOfTest
    wording: Wording = "package"
    said: list[Said] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    warned: list[int] | None = None

    @property
    def notices(self) -> list[int]:
        """User turns at whose end the notice was given, or would have been."""
        return [call.turn for call in self.calls if call.outcome in _NOTICE]

    @property
    def ended(self) -> int:
        """The user turn that ended the conversation, or would have; 0 for none."""
        return next((call.turn for call in self.calls if call.outcome in _END), 0)

    @property
    def risk(self) -> int:
        """The first user turn whose words show that somebody may be at risk; 0 for none."""
        return self.first("risk_clear", "risk_possible")

    def first(self, *labels: str) -> int:
        """Return the first user turn whose words show any of ``labels``; 0 for none."""
        return next((number for number, one in enumerate(self.said, 1) if one.shows(*labels)), 0)

    def dump(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        plain = asdict(self)
        plain["said"] = [
            {**one, "labels": None if one["labels"] is None else sorted(one["labels"])} for one in plain["said"]
        ]
        plain["calls"] = [{**one, "unmet": list(one["unmet"])} for one in plain["calls"]]
        return plain

    @classmethod
    def load(cls, plain: dict[str, Any]) -> Trace:
        """Read a dumped one."""
        said = [
            Said(**{**one, "labels": None if one["labels"] is None else frozenset(one["labels"])})
            for one in plain["said"]
        ]
        calls = [Call(**{**one, "unmet": tuple(one["unmet"])}) for one in plain["calls"]]
        return cls(plain["mode"], plain["wording"], said, calls, plain["warned"])
