"""Provenance: what was said on one branch of a thread, as a signed, bounded chain of digests.

It holds no words and no judgement, only what happened, so that whoever is asked for an end can tell:

1. Whether the transcript is whole: every message that was heard is still there, unchanged, in its place, and nothing
   was put between. A running digest covers all of them, however many.
2. Which messages this graph's own model made: nothing else on the assistant's side is evidence (R12).
3. To which user turn each message belongs. Turns are counted, never messages.

It is bounded: one letter for each of the newest ``MAX_MARKS`` messages, and a digest. It is signed with the registry's
key and bound to thread, branch and checkpoint: one that was forged, or copied from another thread or branch, or from an
ancestor of the branch after the fork, reads as none at all, and with none nothing can be shown. One that is older than
the messages does not fit them.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.reading import Line
from end_conversation_tool._core.records import Category, RiskKind, ThreadStatus
from end_conversation_tool._core.vocabulary import Asked

__all__ = ["MAX_TURNS", "Provenance", "begins_with", "catch_up", "together", "transcript_of"]

MAX_TURNS = 64
"""The widest window of a policy, in user turns."""

MAX_MARKS = 512
"""How many of the newest messages can be told apart; an older one shows risk and is no evidence."""

MAX_PENDING = 64
"""How many messages of one run can wait for their place."""

_FORMAT = 2
_SEVERAL = "several"

TURN, MORE, OWN, REFUSED, TOOL, OURS, OTHER = "Uuartnx"
"""Begins a user turn; goes on with one; this graph's model; the same, refused by its provider; a tool; a text of ours
that is no notice; anybody else."""

NOTICES = {Category.ABUSE: "A", Category.HARMFUL_REQUESTS: "H", Category.USER_REQUEST: "Q"}
"""Our notice, by the ground that it names."""

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Spells JSON in one way only; ``json.dumps`` would make such an encoder anew each time."""


class Provenance(NamedTuple):
    """What is known of one branch.

    Attributes:
        branch: The branch that it was written on.
        sequence: The thread's sequence number when it was last used: what is older than a reopening is told by it.
        turn: Number of the current user turn; 0 before the first.
        length: How many messages were heard.
        fold: Digest of all of them, in their order.
        marks: One letter for each of the newest of them.
        last: Id and digest of the newest of them.
        pending: Mark and digest of each message that this run has made, and that has no place yet.
        broken: Whether the thread was rewritten: messages that were heard are gone, or are others now.
        floor: Turns up to this one are no evidence: an operator has reopened the thread after them.
        read_turn: The turn in which a reader was last asked.
        denials: Denied calls in the current turn.
        asking: Whose yes a request waits for; ``None`` where none does.
        unrecorded: Flags that the registry could not take yet, as (kind, source, message id, digest).
        last_message: Id of the last message that an honoured call left on the branch.
        checkpoint: The checkpoint on which the node ran that wrote it; empty where there are none.
    """

    branch: int = 0
    sequence: int = 0
    turn: int = 0
    length: int = 0
    fold: str = ""
    marks: str = ""
    last: tuple[str, str] = ("", "")
    pending: tuple[tuple[str, str], ...] = ()
    broken: bool = False
    floor: int = 0
    read_turn: int = 0
    denials: int = 0
    asking: Asked | None = None
    unrecorded: tuple[tuple[RiskKind, str, str, str], ...] = ()
    last_message: str = ""
    checkpoint: str = ""

    def made(self, mark: str, message: ObservedMessage, key: bytes) -> Provenance:
        """Note a message of this run: ``OWN`` or ``REFUSED`` of its model, ``NOTICES`` or ``OURS`` of this package."""
        return self._replace(pending=(*self.pending, (mark, digest_of(message, key)))[-MAX_PENDING:])

    def shows_notice(self, turn: int, category: Category) -> bool:
        """Whether the notice of a turn, for this ground, stands on this very line of the thread."""
        here = self.turn
        for mark in reversed(self.marks):
            if mark == NOTICES[category] and here == turn:
                return True
            here -= mark == TURN
        return False

    def refused_turns(self) -> list[int]:
        """Return the user turns, oldest first, in which the model's provider reported a refusal."""
        turns = {turn for mark, turn in _turns_of(self, len(self.marks)) if mark == REFUSED and turn > self.floor}
        return sorted(turns)

    def at(self, status: ThreadStatus | None, branch: int) -> Provenance:
        """Return it as a run on ``branch`` may use it; none at all where it is not of the line that leads there.

        What is older than the newest reopening no longer counts as evidence: an operator has looked at it and decided
        otherwise.
        """
        if status is None:
            return self
        if self.branch == branch and self.sequence == status.sequence:
            return self
        if not _leads_to(status, branch, self):
            return Provenance(branch=branch, sequence=status.sequence)
        floor = self.turn if self.sequence < status.reopened else self.floor
        asking = self.asking if floor == self.floor else None
        return self._replace(branch=branch, sequence=status.sequence, floor=floor, asking=asking)

    def dump(self, key: bytes, thread_id: str) -> dict[str, Any]:
        """Return it as plain JSON, signed with ``key`` for ``thread_id``."""
        fields = {
            "branch": self.branch,
            "sequence": self.sequence,
            "turn": self.turn,
            "length": self.length,
            "fold": self.fold,
            "marks": self.marks,
            "last": list(self.last) if self.last[1] else None,
            "pending": [list(entry) for entry in self.pending],
            "broken": self.broken,
            "floor": self.floor,
            "read_turn": self.read_turn,
            "denials": self.denials,
            "asking": str(self.asking) if self.asking else None,
            "unrecorded": [[str(flag[0]), *flag[1:]] for flag in self.unrecorded],
            "last_message": self.last_message,
            "checkpoint": self.checkpoint,
        }
        body: dict[str, Any] = {"v": _FORMAT, **{name: value for name, value in fields.items() if value}}
        return {**body, "sig": _signature(body, key, thread_id)}

    @classmethod
    def load(cls, state: object, key: bytes, thread_id: str) -> Provenance | None:
        """Read a dumped one; ``None`` when ``state`` is none that this key signed for this thread.

        Of several that were written in one step nobody knows which was last: with them no end is possible any more.
        """
        if not isinstance(state, (dict, Mapping)):
            return None
        if (several := state.get(_SEVERAL)) is not None and isinstance(several, Sequence):
            return _joined([one for part in several if (one := cls._genuine(part, key, thread_id))])
        return cls._genuine(state, key, thread_id)

    @classmethod
    def _genuine(cls, state: object, key: bytes, thread_id: str) -> Provenance | None:
        if not isinstance(state, (dict, Mapping)):
            return None
        body = {name: value for name, value in state.items() if name != "sig"}
        try:
            genuine = hmac.compare_digest(_signature(body, key, thread_id), str(state.get("sig")))
            return _load(body) if genuine and body.get("v") == _FORMAT else None
        except (TypeError, ValueError, LookupError, RecursionError):
            return None


def together(written: Iterable[Any]) -> dict[str, Any]:
    """Return several dumped ones that nodes of one step have written as one; ``Provenance.load`` reads it."""
    return {_SEVERAL: [part for one in written for part in (one.get(_SEVERAL) or [one] if one else ())]}


def catch_up(
    known: Provenance, newest_first: Iterable[ObservedMessage], key: bytes, asking: Collection[str] = ()
) -> tuple[Provenance, list[ObservedMessage]]:
    """Take in the messages that came since the newest one that was heard.

    Looks back from the end, so that the cost does not grow with the thread. All that users said since is one new turn,
    whatever nodes have put between. Where the newest one that was heard is gone, the thread was rewritten: all that is
    still there is looked at for risk.

    Args:
        known: As it stood.
        newest_first: All messages of the branch, the newest first.
        key: The registry's key.
        asking: Names of tools whose results a user has typed.

    Returns:
        As it stands now, and what is new of users, oldest first: all of it is to be looked at for risk.
    """
    fresh: list[tuple[ObservedMessage, str]] = []
    found = False
    for message in newest_first:
        digest = digest_of(message, key)
        if known.length and (message.message_id, digest) == known.last:
            found = True
            break
        fresh.append((message, digest))
    if not fresh:
        return known, []
    fresh.reverse()
    base = known if found or not known.length else _rewritten(known)
    return _extended(base, fresh), [one for one, _ in fresh if one.role == "user" or one.answers(asking)]


def begins_with(messages: Sequence[ObservedMessage], known: Provenance, key: bytes) -> bool:
    """Whether all that was heard stands at the beginning of ``messages``, unchanged and in its order.

    Args:
        messages: All messages, oldest first.
        known: What was heard.
        key: The registry's key.
    """
    fold = ""
    for message in messages[: known.length]:
        fold = _folded(fold, digest_of(message, key))
    return len(messages) >= known.length and fold == known.fold


def transcript_of(
    known: Provenance, messages: Sequence[ObservedMessage], key: bytes
) -> tuple[tuple[Line, ...], Provenance, bool]:
    """Return the transcript of a branch, each line with the turn that it is evidence for.

    Args:
        known: What is known of the branch, the present run included.
        messages: All messages of the branch, oldest first.
        key: The registry's key.

    Returns:
        The lines, what is known once everything has its place, and whether the transcript is whole.
    """
    heard, _ = catch_up(known, reversed(messages), key)
    fold = ""
    for message in messages:
        fold = _folded(fold, digest_of(message, key))
    whole = not heard.broken and len(messages) == heard.length and fold == heard.fold
    turns = _turns_of(heard, len(messages)) if whole else [(OTHER, 0)] * len(messages)
    lines: list[Line] = []
    for message, (mark, turn) in zip(messages, turns, strict=True):
        if mark in (*NOTICES.values(), OURS) or not message.text.strip():
            continue
        counts = mark in (TURN, MORE, OWN, REFUSED) and turn > heard.floor
        label = f"m{len(lines) + 1}"
        lines.append(Line(label, message.role, message.text, message.message_id or label, turn if counts else 0))
    return tuple(lines), heard, whole


def digest_of(message: ObservedMessage | Line, key: bytes) -> str:
    """Return a short digest of what was said, from which only the holder of the key can guess it."""
    said = f"{message.role}\0{message.text}".encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=8, key=key).hexdigest()


def _folded(fold: str, digest: str) -> str:
    return blake2b(f"{fold}{digest}".encode(), digest_size=16).hexdigest()


def _extended(base: Provenance, fresh: Sequence[tuple[ObservedMessage, str]]) -> Provenance:
    """Return what is known with ``fresh`` at its end. However many messages of users come at once: one turn."""
    pending = list(base.pending)
    marks, fold = base.marks, base.fold
    begins = spoke = False
    for message, digest in fresh:
        mark = _mark_of(message, digest, pending)
        if mark == TURN:
            mark = MORE if spoke or marks[-1:] in (TURN, MORE) else TURN
            begins, spoke = begins or mark == TURN, True
        marks += mark
        fold = _folded(fold, digest)
    message, digest = fresh[-1]
    return base._replace(
        turn=base.turn + begins,
        length=base.length + len(fresh),
        fold=fold,
        marks=marks[-MAX_MARKS:],
        last=(message.message_id, digest),
        pending=(),
        denials=0 if begins else base.denials,
        asking=None if begins else base.asking,
    )


def _mark_of(message: ObservedMessage, digest: str, pending: list[tuple[str, str]]) -> str:
    """Return the mark of a new message; one that this run has made is told by its digest, each once."""
    if message.role == "user":
        return OTHER if message.summary else TURN
    made = next((entry for entry in pending if entry[1] == digest), None)
    if made is not None:
        pending.remove(made)
        return made[0]
    return TOOL if message.role == "tool" else OTHER


def _joined(several: Sequence[Provenance]) -> Provenance | None:
    """Return what is left of several that go on from the same one: nothing waits for a yes, and no end is possible."""
    if not several:
        return None
    return several[-1]._replace(
        broken=True,
        asking=None,
        floor=max(one.floor for one in several),
        denials=max(one.denials for one in several),
        unrecorded=tuple(dict.fromkeys(flag for one in several for flag in one.unrecorded)),
    )


def _rewritten(known: Provenance) -> Provenance:
    """Return what is left when messages that were heard are gone: no end is possible on this branch any more."""
    return known._replace(length=0, fold="", marks="", last=("", ""), broken=True)


def _turns_of(heard: Provenance, count: int) -> list[tuple[str, int]]:
    """Return mark and user turn of each of ``count`` messages; 0 for what is too old to be told apart."""
    turns: list[tuple[str, int]] = []
    turn = heard.turn
    for mark in reversed(heard.marks):
        turns.append((mark, max(turn, 0)))
        turn -= mark == TURN
    turns += [(OTHER, 0)] * (count - len(turns))
    return turns[::-1]


def _leads_to(status: ThreadStatus, branch: int, known: Provenance) -> bool:
    """Whether it was written on ``branch``, or on an ancestor of it before the fork.

    Ids of checkpoints are ordered by time. What a node wrote that ran on the very checkpoint of the fork came after it.
    """
    seen: set[int] = set()
    here: int | None = branch
    forked: str | None = None
    while here is not None and here not in seen:
        if here == known.branch:
            return here == branch or "" < known.checkpoint < (forked or "")
        seen.add(here)
        on = status.on_branch(here)
        here, forked = on.parent, on.forked_from
    return False


def _load(body: Mapping[str, Any]) -> Provenance:
    last: Sequence[str] = body.get("last") or ("", "")
    return Provenance(
        branch=int(body.get("branch", 0)),
        sequence=int(body.get("sequence", 0)),
        turn=int(body.get("turn", 0)),
        length=int(body.get("length", 0)),
        fold=str(body.get("fold", "")),
        marks=str(body.get("marks", "")),
        last=(str(last[0]), str(last[1])),
        pending=tuple((str(mark), str(digest)) for mark, digest in body.get("pending", ())),
        broken=bool(body.get("broken", False)),
        floor=int(body.get("floor", 0)),
        read_turn=int(body.get("read_turn", 0)),
        denials=int(body.get("denials", 0)),
        asking=Asked(body["asking"]) if body.get("asking") else None,
        unrecorded=tuple(_load_flag(*kept) for kept in body.get("unrecorded", ())),
        last_message=str(body.get("last_message", "")),
        checkpoint=str(body.get("checkpoint", "")),
    )


def _load_flag(kind: str, source: str, message_id: str, digest: str = "") -> tuple[RiskKind, str, str, str]:
    return RiskKind(kind), source, message_id, digest


def _signature(body: Mapping[str, Any], key: bytes, thread_id: str) -> str:
    # Keyed BLAKE2b is a MAC, and three times as fast as an HMAC, which asks OpenSSL for its hash each time.
    text = _canonical([thread_id, body])
    return blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=32).hexdigest()
