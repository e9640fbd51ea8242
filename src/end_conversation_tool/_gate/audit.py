"""What the gate notes beside its decisions: warnings, whether they were heeded, talk of ending, threads that begin.

All of it is rare, or asked for: an ordinary turn writes nothing. And none of it can fail a turn: what cannot be written
is logged, and lost.
"""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import Any

from end_conversation_tool._core.flow import Ask, Flow
from end_conversation_tool._core.ledger import Ledger, TurnEvidence
from end_conversation_tool._core.records import EvidenceKind, EvidenceRecord
from end_conversation_tool._core.run import Visit
from end_conversation_tool.errors import EndConversationError, InvalidInputError
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry
from end_conversation_tool.registry.protocol import ThreadEvent

__all__ = ["Journal", "heeded_warning", "is_counted"]

_log = logging.getLogger(__name__)

_MENTIONS = (EvidenceKind.WARNING, EvidenceKind.END_QUESTION)
_UNCHANGED = {EvidenceKind.ABUSE, EvidenceKind.REFUSAL, EvidenceKind.REFUSAL_AT_CALL, EvidenceKind.WARNING}
"""What shows, in the turn after a warning, that the user has not changed course."""


class Journal:
    """Writes to a registry that keeps the records of the experiment; with another one it does nothing.

    Args:
        registry: The registry of the gate.
        policy: The policy's version.
        share: Share of the threads, 0 to 1, that are counted when they begin.

    Raises:
        InvalidInputError: The share is not usable, or threads are to be counted in a registry that cannot.
    """

    def __init__(self, registry: object, policy: str, *, share: float) -> None:
        self._registry = registry if isinstance(registry, ExperimentRegistry) else None
        self._policy = policy
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise InvalidInputError(f"count_threads: expected a float from 0 to 1, got {type(share).__name__}")
        if share and self._registry is None:
            raise InvalidInputError(f"count_threads: expected 0 with a {type(registry).__name__}, got a float above it")
        self._share = share

    def turning(self, visit: Visit, heard: Ledger) -> Flow[None]:
        """Note, when the user speaks again, that the thread began, or that the last warning was heeded.

        Args:
            visit: The run, with the ledger before the user spoke.
            heard: The ledger after it.
        """
        registry, thread_id, before = self._registry, visit.context.thread_id, visit.ledger
        if registry is None or thread_id is None or heard.turn == before.turn:
            return
        if before.turn == 0 and self._share and is_counted(thread_id, self._share):
            fields = {**self._origin(visit), "share": self._share}
            yield from _try(Ask(registry.count_thread, registry.acount_thread, (thread_id,), fields))
        warning = heeded_warning(before) if before.turns else None
        if warning is not None:
            fields = {"evidence": warning, "branch": visit.branch, **self._origin(visit)}
            yield from _try(Ask(registry.note_heeded, registry.anote_heeded, (thread_id,), fields))

    def speaking(self, visit: Visit, before: Ledger) -> Flow[tuple[ThreadEvent, ...]]:
        """Note that the model has warned, or has spoken of ending.

        Args:
            visit: The run, with the ledger after the reply.
            before: The ledger before it.
        """
        noted: tuple[ThreadEvent, ...] = ()
        registry, thread_id, here = self._registry, visit.context.thread_id, visit.ledger.current
        if registry is None or thread_id is None:
            return noted
        for kind in _MENTIONS:
            if kind in here.marks and kind not in before.current.marks:
                fields = {"evidence": _evidence(here, kind), "branch": visit.branch, **self._origin(visit)}
                written = yield from _try(Ask(registry.note_mention, registry.anote_mention, (thread_id,), fields))
                noted += tuple(written or ())
        return noted

    def _origin(self, visit: Visit) -> dict[str, Any]:
        return {"policy": self._policy, "model": visit.context.model}


def heeded_warning(ledger: Ledger) -> EvidenceRecord | None:
    """Return the warning that the user has heeded, when the turn after it is over: neither abuse nor a refusal in it.

    Args:
        ledger: As it stood when that turn was over, before the next one.
    """
    warned = [old for old in ledger.turns if old.turn == ledger.turn - 1 and EvidenceKind.WARNING in old.marks]
    if not warned or _UNCHANGED & set(ledger.current.marks):
        return None
    return _evidence(warned[0], EvidenceKind.WARNING)


def is_counted(thread_id: str, share: float) -> bool:
    """Whether a thread is one of those that are counted; every process gives the same answer."""
    number = int.from_bytes(blake2b(thread_id.encode(), digest_size=7).digest())
    return number < share * 2**56


def _evidence(turn: TurnEvidence, kind: EvidenceKind) -> EvidenceRecord:
    return next(record for record in turn.records() if record.kind is kind)


def _try(ask: Ask) -> Flow[Any]:
    """Ask for something that may fail without harm."""
    try:
        return (yield ask)
    except EndConversationError as error:
        _log.warning("a note could not be written and is lost: %s", type(error).__name__)
        return None
