"""A registry in this process's memory: for tests, demonstrations, and threads that need not outlive the process."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from threading import Lock
from typing import TypeVar

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.models import DecisionRecord, ThreadStatus
from end_conversation_tool.registry.base import StoredLedger, ThreadEvent
from end_conversation_tool.registry.checks import check_open
from end_conversation_tool.registry.common import StoredRegistry
from end_conversation_tool.registry.transitions import Transition

__all__ = ["InMemorySealRegistry"]

T = TypeVar("T")


class InMemorySealRegistry(StoredRegistry):
    """``SealRegistry`` that forgets with the process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._signing_key = secrets.token_bytes(32)
        self._threads: dict[str, ThreadStatus] = {}
        self._records: dict[str, DecisionRecord] = {}
        self._events: list[ThreadEvent] = []
        self._ledgers: dict[str, StoredLedger] = {}

    @property
    def signing_key(self) -> bytes:
        """32 random bytes."""
        return self._signing_key

    def _read(self, thread_id: str) -> ThreadStatus:
        # No lock: one look into a dict, at an immutable record.
        return self._threads.get(thread_id) or ThreadStatus(thread_id=thread_id)

    def _apply(self, thread_id: str, transition: Transition[T]) -> T:
        with self._lock:
            change = transition(self._read(thread_id))
            if change.decision is not None:
                self._add(change.decision)
            self._events.extend(change.events)
            self._threads[thread_id] = change.status
            return change.result

    def _keep(self, record: DecisionRecord) -> None:
        with self._lock:
            self._add(record)

    def _add(self, record: DecisionRecord) -> None:
        if record.id in self._records:
            raise InvalidInputError("record.id: expected a new id, got the id of a decision that is kept already")
        self._records[record.id] = record

    def _decisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        with self._lock:
            return tuple(record for record in self._records.values() if record.thread_id == thread_id)

    def _history(self, thread_id: str) -> Sequence[ThreadEvent]:
        with self._lock:
            return tuple(event for event in self._events if event.thread_id == thread_id)

    def _ledger(self, thread_id: str) -> StoredLedger | None:
        return self._ledgers.get(thread_id)

    def _keep_ledger(self, thread_id: str, ledger: StoredLedger) -> bool:
        with self._lock:
            check_open(self._read(thread_id))
            standing = self._ledgers.get(thread_id)
            if (standing.version if standing else 0) != ledger.version - 1:
                return False
            self._ledgers[thread_id] = ledger
            return True

    async def _aread(self, thread_id: str) -> ThreadStatus:
        return self._read(thread_id)

    async def _aapply(self, thread_id: str, transition: Transition[T]) -> T:
        return self._apply(thread_id, transition)

    async def _akeep(self, record: DecisionRecord) -> None:
        self._keep(record)

    async def _adecisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        return self._decisions(thread_id)

    async def _ahistory(self, thread_id: str) -> Sequence[ThreadEvent]:
        return self._history(thread_id)

    async def _aledger(self, thread_id: str) -> StoredLedger | None:
        return self._ledger(thread_id)

    async def _akeep_ledger(self, thread_id: str, ledger: StoredLedger) -> bool:
        return self._keep_ledger(thread_id, ledger)
