"""What a replay of many conversations comes to: counts, costs, and one conversation in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from end_conversation_tool._core.reading import Line, Usage
from end_conversation_tool._core.vocabulary import UnmetCode
from end_conversation_tool.readers import Price
from end_conversation_tool.readers.prompt import INSTRUCTIONS, MAX_PORTION_CHARS, rows_of
from end_conversation_tool.recordings.replay import ReplayResult

__all__ = ["Estimate", "Replayed", "Tally", "has_failed", "in_words", "is_interesting", "urgency"]

_BYTES_PER_TOKEN = 4
_TOKENS_PER_FINDING = 30

_FAILURES = {
    UnmetCode.READING_BUDGET_USED_UP,
    UnmetCode.MODEL_CANNOT_READ,
    UnmetCode.READING_FAILED,
    UnmetCode.READING_UNSOUND,
    UnmetCode.TOO_FEW_READERS,
}
"""What another attempt, or another reader, may do better; a conversation that cannot be read at all stays unread."""


class Replayed(NamedTuple):
    """One conversation: its own id, its line in the file, and what the replay shows."""

    id: str
    line: int
    result: ReplayResult

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"id": self.id, "line": self.line, **self.result.model_dump(mode="json")}


def has_failed(result: ReplayResult) -> bool:
    """Whether the reader failed."""
    return result.unread in _FAILURES


def is_interesting(result: ReplayResult) -> bool:
    """Whether somebody may want to look at the conversation."""
    return bool(result.notices or result.ends or result.calls or result.unread or result.at_risk or result.vetoed)


def urgency(one: Replayed) -> tuple[int, int]:
    """Return what to sort by: ends first, then notices, vetoes, what is unread, recorded calls, risk."""
    found = one.result
    reasons = (found.ends, found.notices, found.vetoed, found.unread, found.calls)
    return next((number for number, reason in enumerate(reasons) if reason), len(reasons)), one.line


@dataclass(slots=True)
class Tally:
    """Counts over all conversations; their size does not grow with their number.

    Attributes:
        price: What the reader's tokens cost.
        known: Conversations whose result was known from an earlier run.
        failed: Conversations for which the reader failed.
        usage: Tokens that this run used.
    """

    price: Price | None = None
    conversations: int = 0
    turns: int = 0
    known: int = 0
    failed: int = 0
    vetoed: int = 0
    at_risk: int = 0
    notices: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    end_turns: Counter[int] = field(default_factory=Counter)
    risks: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)

    def add(self, result: ReplayResult, *, known: bool = False) -> None:
        """Count a conversation."""
        self.conversations += 1
        self.turns += result.turns
        self.known += known
        self.failed += has_failed(result)
        self.vetoed += result.vetoed is not None
        self.at_risk += result.at_risk
        self.risks.update(
            {str(flag.kind) for flag in result.flags} or (["doubt of the reader"] if result.at_risk else [])
        )
        self.calls.update(str(call.outcome) for call in result.calls)
        if result.notice:
            self.notices[str(result.notice.category)] += 1
        if result.end:
            self.ends[str(result.end.category)] += 1
            self.end_turns[result.end.turn] += 1
        if result.unread:
            self.unread[str(result.unread)] += 1
        if result.reading and not known:
            read = result.reading
            self.usage = self.usage.plus(
                Usage(read.input_tokens, read.output_tokens, read.cache_read_tokens, read.cache_write_tokens)
            )

    def rows(self) -> list[tuple[str, str, str]]:
        """Return what to show: a title, a number, and its parts."""
        tokens = self.usage.input_tokens + self.usage.output_tokens
        cost = f"about {self.price.of(self.usage):.2f} US dollars" if self.price and tokens else ""
        shown: list[tuple[str, int, str]] = [
            ("conversations", self.conversations, f"{self.turns:,} user turns"),
            ("would be given notice", self.notices.total(), _parts(self.notices)),
            ("would be ended", self.ends.total(), _parts(self.ends)),
            ("vetoed by risk alone", self.vetoed, ""),
            ("at risk", self.at_risk, _parts(self.risks)),
            ("unread", self.unread.total(), _parts(self.unread)),
            ("recorded calls", self.calls.total(), _parts(self.calls)),
            ("known from an earlier run", self.known, ""),
            ("tokens", tokens, cost),
        ]
        optional = {"recorded calls", "known from an earlier run", "tokens"}
        return [
            (title, f"{count:,}", detail if count else "")
            for title, count, detail in shown
            if count or title not in optional
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON."""
        return {
            "conversations": self.conversations,
            "user_turns": self.turns,
            "noticed": dict(sorted(self.notices.items())),
            "ended": dict(sorted(self.ends.items())),
            "ended_in_turn": {str(turn): count for turn, count in sorted(self.end_turns.items())},
            "vetoed": self.vetoed,
            "at_risk": self.at_risk,
            "risks": dict(sorted(self.risks.items())),
            "unread": dict(sorted(self.unread.items())),
            "recorded_calls": dict(sorted(self.calls.items())),
            "known": self.known,
            "usage": self.usage._asdict(),
            "dollars": round(self.price.of(self.usage), 4) if self.price else None,
        }


@dataclass(slots=True)
class Estimate:
    """What a replay would read, before it does. Tokens are estimated by length: no provider's own count is known."""

    conversations: int = 0
    to_read: int = 0
    chars: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, lines: Sequence[Line]) -> None:
        """Count a conversation; no lines for one that nobody needs to read."""
        self.conversations += 1
        if not lines:
            return
        rows = rows_of(lines)
        portions = 1 + len(rows) // MAX_PORTION_CHARS
        size = len(rows.encode("utf-8", "replace")) + portions * len(INSTRUCTIONS)
        self.to_read += 1
        self.chars += sum(len(line.text) for line in lines)
        self.input_tokens += size // _BYTES_PER_TOKEN
        self.output_tokens += _TOKENS_PER_FINDING * (len(lines) + portions)

    def in_words(self, price: Price | None, *, free: bool) -> Iterator[str]:
        """Yield lines about it.

        Args:
            price: What the reader's tokens cost.
            free: Whether the reader uses no tokens.
        """
        yield f"{self.conversations:,} conversations, {self.to_read:,} to be read, {self.chars:,} characters"
        if free:
            yield "the offline reader costs nothing"
            return
        yield f"about {self.input_tokens:,} tokens of input and up to {self.output_tokens:,} of output, by length"
        if price is not None:
            dollars = price.of(Usage(self.input_tokens, self.output_tokens))
            yield f"about {dollars:,.2f} US dollars, nothing read from a cache"
        else:
            yield "with --price IN/OUT: what that costs"


def in_words(result: ReplayResult) -> Iterator[str]:
    """Yield lines that say what a replay shows of one conversation."""
    reached = [("ends", one) for one in result.ends] + [("notice", one) for one in result.notices]
    if reached:
        yield ", ".join(f"{what} in turn {one.turn} ({one.category})" for what, one in reached)
    if result.vetoed is not None:
        yield f"vetoed by risk in turn {result.vetoed}"
    if result.unread is not None:
        detail = f" ({result.reading.detail})" if result.reading and result.reading.detail else ""
        yield f"unread: {result.unread}{detail}"
    for flag in result.flags:
        yield f"risk flag in turn {flag.turn}: {flag.kind}"
    if result.at_risk and not result.flags and result.reading:
        yield f"the reader's doubt about risk: {result.reading.risk}"
    for call in result.calls:
        unmet = f" ({', '.join(call.unmet)})" if call.unmet else ""
        yield f"recorded call in turn {call.turn}, {call.category or 'malformed'}: {call.outcome}{unmet}"
    turns: defaultdict[str, set[int]] = defaultdict(set)
    for one in result.findings:
        turns[str(one.kind)].add(one.turn)
    if turns:
        yield "found in turns: " + "; ".join(f"{kind} {_ranges(sorted(numbers))}" for kind, numbers in turns.items())


def _parts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers, in order, as in ``1-3, 5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
