"""The ledger: what was observed on one branch of a thread, counted per user turn.

What holds for every ledger:

1. It is bounded: at most ``MAX_TURNS`` turns are kept, and of those only the ones that show something, so that an
   ordinary conversation carries a few dozen bytes however long it grows.
2. It counts turns, never messages: ten refusals in one turn are one piece of evidence.
3. It is immutable: each observation returns a new ledger.
4. Nothing in the input is evidence: assistant marks come only from model calls that the caller saw happen.
5. In graph state it is plain JSON, signed with the registry's key and bound to its thread. A ledger that was forged, or
   copied from another thread, reads as an empty one, and an empty one permits nothing.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from end_conversation_tool._core.records import Category, EvidenceKind, EvidenceRecord, RiskKind

__all__ = ["APP_SOURCE", "MAX_TURNS", "Ledger", "Mark", "TurnEvidence", "text_digest"]

MAX_TURNS = 64
"""How many of the newest user turns a ledger can hold, and so the widest window of a policy."""

APP_SOURCE = "interrupt/1"
"""Source of a yes that the app got from the user by an interrupt; no detector may have this name."""

MAX_UNCHECKED = 64
"""How many messages without a working risk check a ledger can tell apart."""

MAX_FLAGGED = 64
"""How many texts that raised a flag a ledger can tell apart; one that is forgotten is flagged anew."""

_MORE = "more"
"""Stands for further messages without a working risk check; no digest is equal to it."""

_FORMAT = 1

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Spells JSON in one way only; ``json.dumps`` would make such an encoder anew for each ledger."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One observed fact about one message.

    Attributes:
        message_id: The message that shows it.
        source: Detector as ``name/version``.
        score: Calibrated score, 0 to 1, where there is one.
    """

    message_id: str
    source: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class TurnEvidence:
    """What one user turn shows.

    Attributes:
        turn: Number of the user turn, from 1.
        marks: The first mark of each kind.
        doubt: Whether the risk check of this turn had no definite answer.
        faint: Whether it was not clearly free of risk.
    """

    turn: int
    marks: Mapping[EvidenceKind, Mark] = field(default_factory=dict)
    doubt: bool = False
    faint: bool = False

    def records(self) -> Iterable[EvidenceRecord]:
        """Yield the marks as evidence records."""
        for kind, mark in self.marks.items():
            yield EvidenceRecord(
                kind=kind, turn=self.turn, message_id=mark.message_id, source=mark.source, score=mark.score
            )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The evidence of one branch.

    Attributes:
        turn: Number of the current user turn; 0 before the first.
        user_message: Id and digest of the newest user message that was observed.
        turns: The kept turns that show something, oldest first.
        weak_risk: Sum of the scores of messages that were neither clearly at risk nor clearly not.
        unrecorded_risk: Flags that the registry could not take yet, as (kind, source, message id).
        unchecked: Digests of the messages in which nobody could look for risk when they came.
        flagged: Digests of the messages, ids and texts, that raised a flag under their own id.
        pending: Category and count of the consecutive calls that wait for a confirming one.
        denials: Denied calls since the newest user turn.
        last_message: Id of the last message that an honoured call left on the branch.
        sequence: The thread's sequence number when the ledger was last used: evidence from before a reopening is told
            by it.
    """

    turn: int = 0
    user_message: tuple[str, str] = ("", "")
    turns: tuple[TurnEvidence, ...] = ()
    weak_risk: float = 0.0
    unrecorded_risk: tuple[tuple[RiskKind, str, str], ...] = ()
    unchecked: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()
    pending: tuple[Category, int] | None = None
    denials: int = 0
    last_message: str = ""
    sequence: int = 0

    # Observations

    def begin_turn(self, message_id: str, digest: str) -> Ledger:
        """Start a new user turn whose newest message is ``message_id``: nothing pends, nothing was denied yet."""
        turn = self.turn + 1
        kept = self.turns if not self.turns or self.turns[0].turn > turn - MAX_TURNS else self.turns[1:]
        return replace(self, turn=turn, user_message=(message_id, digest), turns=kept, pending=None, denials=0)

    def mark(self, kind: EvidenceKind, mark: Mark) -> Ledger:
        """Note a fact about the current turn. A kind that the turn shows already is not counted again."""
        here = self.current
        if kind in here.marks or self.turn == 0:
            return self
        return self._with_current(replace(here, marks={**here.marks, kind: mark}))

    def confirm_end(self) -> Ledger:
        """Note that the app asked the user about the end, and that they said yes."""
        marks = {**self.current.marks, EvidenceKind.CONFIRMS_END: Mark(self.user_message[0], APP_SOURCE)}
        return self if self.turn == 0 else self._with_current(replace(self.current, marks=marks))

    def mark_doubt(self) -> Ledger:
        """Note that the risk check of the current turn had no definite answer."""
        return self if self.current.doubt else self._with_current(replace(self.current, doubt=True))

    def mark_faint(self) -> Ledger:
        """Note that the current turn was not clearly free of risk."""
        return self if self.current.faint else self._with_current(replace(self.current, faint=True))

    def note_unchecked(self, digest: str) -> Ledger:
        """Note a message in which nobody could look for risk; beyond ``MAX_UNCHECKED``, that there were more."""
        kept = self.unchecked
        if digest in kept or len(kept) > MAX_UNCHECKED:
            return self
        return replace(self, unchecked=(*kept, digest if len(kept) < MAX_UNCHECKED else _MORE))

    def note_flagged(self, message_id: str, text: str) -> Ledger:
        """Note a message that raised a flag: the host who clears it clears this text, and no other under its id."""
        digest = _message_digest(message_id, text)
        return self if digest in self.flagged else replace(self, flagged=(*self.flagged, digest)[-MAX_FLAGGED:])

    def count_call(self, category: Category) -> Ledger:
        """Note a call that met every condition but the confirming second call.

        One that names another category than the call that waits confirms nothing, and uses up an attempt: a model
        that changes its mind at every call would else never be done.
        """
        changed = self.pending is not None and self.pending[0] != category
        return replace(self, pending=(category, self.calls_pending(category) + 1), denials=self.denials + changed)

    def count_denial(self) -> Ledger:
        """Note a denied call; it breaks a row of consecutive calls."""
        return replace(self, pending=None, denials=self.denials + 1)

    def seen_at(self, sequence: int, reopened: int) -> Ledger:
        """Return the ledger as a run at ``sequence`` may use it.

        What was observed before the newest reopening no longer counts as evidence: an operator has looked at it and
        decided otherwise. Everything that bears on risk stays.

        Args:
            sequence: The thread's sequence number.
            reopened: The sequence number after the newest reopening; 0 when there was none.
        """
        if self.sequence >= reopened:
            return self if self.sequence == sequence else replace(self, sequence=sequence)
        doubtful = tuple(replace(old, marks={}) for old in self.turns if old.doubt or old.faint)
        return replace(self, turns=doubtful, pending=None, sequence=sequence)

    def break_row(self) -> Ledger:
        """Note an assistant message without a call: calls on both sides of it are not consecutive."""
        return self if self.pending is None else replace(self, pending=None)

    # Questions

    @property
    def current(self) -> TurnEvidence:
        """What the current turn shows."""
        if self.turns and self.turns[-1].turn == self.turn:
            return self.turns[-1]
        return TurnEvidence(self.turn)

    def recent(self, window: int) -> tuple[TurnEvidence, ...]:
        """Return what the newest ``window`` user turns show, oldest first, the current one included."""
        return tuple(evidence for evidence in self.turns if evidence.turn > self.turn - window)

    def calls_pending(self, category: Category) -> int:
        """Return how many consecutive calls of this category wait for a confirming one."""
        return self.pending[1] if self.pending is not None and self.pending[0] == category else 0

    def saw(self, message_id: str, digest: str) -> bool:
        """Whether this is the newest user message that was observed, unchanged."""
        return self.user_message == (message_id, digest)

    def was_flagged(self, message_id: str, text: str) -> bool:
        """Whether it was this very text that raised a flag under this id."""
        return _message_digest(message_id, text) in self.flagged

    # Graph state

    def dump(self, key: bytes, thread_id: str) -> dict[str, Any]:
        """Return the ledger as plain JSON, signed with ``key`` for ``thread_id``."""
        body: dict[str, Any] = {"v": _FORMAT, "turn": self.turn, "user": list(self.user_message)}
        optional = {
            "turns": [_dump_turn(evidence) for evidence in self.turns],
            "weak_risk": self.weak_risk,
            "unrecorded_risk": [[str(kind), source, message] for kind, source, message in self.unrecorded_risk],
            "unchecked": list(self.unchecked),
            "flagged": list(self.flagged),
            "pending": [str(self.pending[0]), self.pending[1]] if self.pending else None,
            "denials": self.denials,
            "last_message": self.last_message,
            "sequence": self.sequence,
        }
        body.update({name: value for name, value in optional.items() if value})
        body["sig"] = _signature(body, key, thread_id)
        return body

    @classmethod
    def load(cls, state: object, key: bytes, thread_id: str) -> Ledger | None:
        """Read a dumped ledger.

        Returns:
            The ledger, or ``None`` when ``state`` is not one that this key signed for this thread.
        """
        if not isinstance(state, Mapping):
            return None
        body = {name: value for name, value in state.items() if name != "sig"}
        try:
            genuine = hmac.compare_digest(_signature(body, key, thread_id), str(state.get("sig")))
            return _load_body(body) if genuine and body.get("v") == _FORMAT else None
        except (TypeError, ValueError, LookupError, RecursionError):
            return None

    def _with_current(self, evidence: TurnEvidence) -> Ledger:
        kept = self.turns[:-1] if self.turns and self.turns[-1].turn == self.turn else self.turns
        return replace(self, turns=(*kept, evidence))


def text_digest(text: str) -> str:
    """Return a short digest of a message's text: the same id with another text is another message."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _message_digest(message_id: str, text: str) -> str:
    return text_digest(f"{message_id}\0{text}")


def _dump_turn(evidence: TurnEvidence) -> dict[str, Any]:
    row: dict[str, Any] = {"turn": evidence.turn}
    if evidence.doubt:
        row["doubt"] = True
    if evidence.faint:
        row["faint"] = True
    row.update({str(kind): [mark.message_id, mark.source, mark.score] for kind, mark in evidence.marks.items()})
    return row


def _load_turn(row: Mapping[str, Any]) -> TurnEvidence:
    marks = {kind: Mark(*row[kind]) for kind in EvidenceKind if kind in row}
    doubt, faint = bool(row.get("doubt", False)), bool(row.get("faint", False))
    return TurnEvidence(int(row["turn"]), marks, doubt, faint)


def _load_body(body: Mapping[str, Any]) -> Ledger:
    user: Sequence[str] = body["user"]
    pending: Sequence[Any] | None = body.get("pending")
    return Ledger(
        turn=int(body["turn"]),
        user_message=(str(user[0]), str(user[1])),
        turns=tuple(_load_turn(row) for row in body.get("turns", ())),
        weak_risk=float(body.get("weak_risk", 0.0)),
        unrecorded_risk=tuple((RiskKind(kind), source, msg) for kind, source, msg in body.get("unrecorded_risk", ())),
        unchecked=tuple(str(digest) for digest in body.get("unchecked", ())),
        flagged=tuple(str(digest) for digest in body.get("flagged", ())),
        pending=(Category(pending[0]), int(pending[1])) if pending else None,
        denials=int(body.get("denials", 0)),
        last_message=str(body.get("last_message", "")),
        sequence=int(body.get("sequence", 0)),
    )


def _signature(body: Mapping[str, Any], key: bytes, thread_id: str) -> str:
    text = _canonical([thread_id, body])
    # Keyed BLAKE2b is a MAC, and three times as fast as an HMAC, which asks OpenSSL for its hash each time.
    return blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=32).hexdigest()
