"""``SqlSealRegistry``: the registry in a SQL database, SQLite or PostgreSQL, sync and async.

Both run the same flows (``flows.py``), which run the same transitions (``transitions.py``) as the registry in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from end_conversation_tool._core.records import DecisionRecord, ThreadStatus
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.operations import Job
from end_conversation_tool.registry.protocol import StoredLedger, ThreadEvent
from end_conversation_tool.registry.sql import operations
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.engine import Store
from end_conversation_tool.registry.sql.queries import (
    change_thread,
    guard_checkpoints,
    keep_decision,
    keep_ledger,
    kept_decisions,
    kept_ledger,
    load_status,
    past_events,
)
from end_conversation_tool.registry.sql.schema import thread_key
from end_conversation_tool.registry.sql.sqlite import SqliteStore, database_of
from end_conversation_tool.registry.stored import StoredRegistry
from end_conversation_tool.registry.transitions import Transition

__all__ = ["SqlSealRegistry"]

T = TypeVar("T")


class SqlSealRegistry(StoredRegistry):
    """``SealRegistry`` in SQLite or PostgreSQL. Safe to use from many threads, event loops, processes and machines.

    The database is opened, checked and, when it is empty, filled at once. It may hold other tables, such as those of a
    LangGraph checkpointer. Close the registry when done, or use it as a context manager.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or
            ``postgresql+psycopg://user:password@host/database`` (``postgresql://`` and ``postgres://`` mean the same).
        create: Whether to create the tables, and the SQLite file, where there are none. With ``False`` that is an
            error: right for a tool that only looks.
        timeout: Seconds to wait for a lock or for a free or new connection.
        pool_size: Connections at most (SQLite: kept open at most) that sync callers share. On PostgreSQL they, and the
            callers of each event loop, have as many for reads and as many for writes.

    Raises:
        RegistrySchemaError: The database is newer, foreign or corrupt. Nothing was changed.
        RegistryError: The database cannot be reached.
        InvalidInputError: A bad argument.
        ImportError: A PostgreSQL URL without the extra ``[postgres]``.
    """

    def __init__(self, url: str | URL, *, create: bool = True, timeout: float = 10.0, pool_size: int = 10) -> None:
        self._store = _store(_parsed(url), create=create, timeout=_positive(timeout), pool_size=_size(pool_size))
        self._signing_key = self._store.open(create=create)

    @property
    def signing_key(self) -> bytes:
        """32 random bytes, made with the database and kept in it."""
        return self._signing_key

    def _read(self, thread_id: str) -> ThreadStatus:
        return load_status(thread_id, self._store.state(thread_key(thread_id)))

    async def _aread(self, thread_id: str) -> ThreadStatus:
        return load_status(thread_id, await self._store.astate(thread_key(thread_id)))

    def _apply(self, thread_id: str, transition: Transition[T]) -> T:
        return self._store.write(change_thread(self._store.dialect, thread_id, transition))

    async def _aapply(self, thread_id: str, transition: Transition[T]) -> T:
        return await self._store.awrite(change_thread(self._store.dialect, thread_id, transition))

    def _keep(self, record: DecisionRecord) -> None:
        self._store.write(keep_decision(self._store.dialect, record))

    async def _akeep(self, record: DecisionRecord) -> None:
        await self._store.awrite(keep_decision(self._store.dialect, record))

    def _decisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        return self._store.read(kept_decisions(thread_id))

    async def _adecisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        return await self._store.aread(kept_decisions(thread_id))

    def _history(self, thread_id: str) -> Sequence[ThreadEvent]:
        return self._store.read(past_events(thread_id))

    async def _ahistory(self, thread_id: str) -> Sequence[ThreadEvent]:
        return await self._store.aread(past_events(thread_id))

    def _ledger(self, thread_id: str) -> StoredLedger | None:
        return self._store.read(kept_ledger(thread_id))

    async def _aledger(self, thread_id: str) -> StoredLedger | None:
        return await self._store.aread(kept_ledger(thread_id))

    def _keep_ledger(self, thread_id: str, ledger: StoredLedger) -> bool:
        return self._store.write(keep_ledger(self._store.dialect, thread_id, ledger))

    async def _akeep_ledger(self, thread_id: str, ledger: StoredLedger) -> bool:
        return await self._store.awrite(keep_ledger(self._store.dialect, thread_id, ledger))

    def _do(self, job: Job[T]) -> T:
        flow: Flow[T] = getattr(operations, job.name)(self._store.dialect, *job.args)
        return self._store.write(flow) if job.writes else self._store.read(flow)

    async def _ado(self, job: Job[T]) -> T:
        flow: Flow[T] = getattr(operations, job.name)(self._store.dialect, *job.args)
        return await (self._store.awrite(flow) if job.writes else self._store.aread(flow))

    def guard_checkpoints(self) -> None:
        """Have this database refuse checkpoints of sealed branches: for a checkpointer that keeps its tables here.

        ``SealedSaver.setup`` calls it. See ``checkpoint_triggers``.

        Raises:
            RegistryError: There is no table ``checkpoints``, or it is not this user's to alter.
        """
        self._store.write(guard_checkpoints(self._store.dialect))

    async def aguard_checkpoints(self) -> None:
        """Async twin of ``guard_checkpoints``."""
        await self._store.awrite(guard_checkpoints(self._store.dialect))

    def close(self) -> None:
        """Close every connection. From then on each use is a ``RegistryError``; closing twice is harmless."""
        self._store.close()

    async def aclose(self) -> None:
        """Async twin of ``close``."""
        await self._store.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _parsed(url: str | URL) -> URL:
    """Return the URL with the driver that this package uses. No error quotes it: it may hold a password."""
    if not isinstance(url, (str, URL)):
        raise InvalidInputError(f"url: expected a str, got {type(url).__name__}")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidInputError(
            "url: expected a database URL, as in sqlite:///conversations.db, got another str"
        ) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise InvalidInputError(
            "url: expected one that begins with sqlite:/// or postgresql+psycopg://, got another str"
        )
    return parsed


def _store(url: URL, *, create: bool, timeout: float, pool_size: int) -> Store:
    if url.drivername == "postgresql+psycopg":
        return _postgres(url, timeout=timeout, pool_size=pool_size)
    return SqliteStore(database_of(url.database, url.query), create=create, timeout=timeout, pool_size=pool_size)


def _postgres(url: URL, *, timeout: float, pool_size: int) -> Store:
    try:
        from end_conversation_tool.registry.sql.postgres import PostgresStore  # noqa: PLC0415 - needs an extra

        return PostgresStore(url, timeout=timeout, pool_size=pool_size)
    except ImportError as error:
        raise ImportError(
            "a PostgreSQL registry needs the extra [postgres]: pip install 'end-conversation-tool[postgres]'"
        ) from error


def _positive(timeout: float) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise InvalidInputError(f"timeout: expected a float, in seconds, got {type(timeout).__name__}")
    if not (math.isfinite(timeout) and 0 < timeout <= 3600):  # noqa: PLR2004
        raise InvalidInputError("timeout: expected seconds above 0 and at most 3,600, got a float outside of that")
    return float(timeout)


def _size(pool_size: int) -> int:
    if isinstance(pool_size, bool) or not isinstance(pool_size, int) or not 1 <= pool_size <= 1000:  # noqa: PLR2004
        raise InvalidInputError(f"pool_size: expected an int from 1 to 1,000, got {type(pool_size).__name__}")
    return pool_size
