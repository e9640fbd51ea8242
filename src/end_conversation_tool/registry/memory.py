"""A registry in this process's memory: for tests, demonstrations, and threads that need not outlive the process."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from threading import Lock
from typing import TypeVar

from end_conversation_tool._core.records import DecisionRecord, ThreadStatus
from end_conversation_tool.registry import memory_operations
from end_conversation_tool.registry.checks import check_open
from end_conversation_tool.registry.memory_operations import Books
from end_conversation_tool.registry.operations import Job
from end_conversation_tool.registry.protocol import StoredLedger, ThreadEvent
from end_conversation_tool.registry.stored import StoredRegistry
from end_conversation_tool.registry.transitions import Transition

__all__ = ["InMemorySealRegistry"]

T = TypeVar("T")


class InMemorySealRegistry(StoredRegistry):
    """``SealRegistry`` that forgets with the process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._signing_key = secrets.token_bytes(32)
        self._books = Books()

    @property
    def signing_key(self) -> bytes:
        """32 random bytes."""
        return self._signing_key

    def _read(self, thread_id: str) -> ThreadStatus:
        # No lock: one look into a dict, at an immutable record.
        return self._books.status(thread_id)

    def _apply(self, thread_id: str, transition: Transition[T]) -> T:
        with self._lock:
            return self._books.commit(thread_id, transition(self._books.status(thread_id)))

    def _keep(self, record: DecisionRecord) -> None:
        with self._lock:
            self._books.add(record)

    def _decisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        with self._lock:
            return tuple(self._books.of(self._books.records, thread_id))

    def _history(self, thread_id: str) -> Sequence[ThreadEvent]:
        with self._lock:
            return tuple(self._books.of(self._books.events, thread_id))

    def _ledger(self, thread_id: str) -> StoredLedger | None:
        return self._books.ledgers.get(thread_id)

    def _keep_ledger(self, thread_id: str, ledger: StoredLedger) -> bool:
        with self._lock:
            check_open(self._books.status(thread_id))
            standing = self._books.ledgers.get(thread_id)
            if (standing.version if standing else 0) != ledger.version - 1:
                return False
            self._books.ledgers[thread_id] = ledger
            return True

    def _do(self, job: Job[T]) -> T:
        with self._lock:
            result: T = getattr(memory_operations, job.name)(self._books, *job.args)
            return result

    async def _ado(self, job: Job[T]) -> T:
        return self._do(job)

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
