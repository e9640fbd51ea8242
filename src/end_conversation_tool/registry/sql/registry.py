"""``SqlSealRegistry``: the registry in a SQL database, SQLite or PostgreSQL, sync and async.

Both run the same flows (``operations``), which run the same transitions as the registry in memory.
"""

from __future__ import annotations

import math
import re
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.operations import Operation, StoredRegistry
from end_conversation_tool.registry.sql.operations import flow_of, guard_checkpoints
from end_conversation_tool.registry.sql.store import SqliteStore, Store

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
        pool_size: Connections at most (SQLite: kept open at most) that sync callers share. On PostgreSQL the callers
            of each event loop have as many, and as many again for the read of an ordinary turn.
        prepared_statements: Whether PostgreSQL keeps statements prepared on a connection. ``False`` behind a pooler
            that hands a connection from one transaction to the next, such as PgBouncer in transaction mode.

    Raises:
        RegistrySchemaError: The database is newer, foreign or corrupt. Nothing was changed.
        RegistryError: The database cannot be reached.
        InvalidInputError: A bad argument.
        ImportError: A PostgreSQL URL without the extra ``[postgres]``.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        create: bool = True,
        timeout: float = 10.0,
        pool_size: int = 10,
        prepared_statements: bool = True,
    ) -> None:
        if not isinstance(prepared_statements, bool):
            raise InvalidInputError(f"prepared_statements: expected a bool, got {type(prepared_statements).__name__}")
        parsed, seconds, size = _parsed(url), _positive(timeout), _size(pool_size)
        self._store: Store
        if parsed.drivername == "postgresql+psycopg":
            self._store = _postgres(parsed, timeout=seconds, pool_size=size, prepared_statements=prepared_statements)
        else:
            file = _file(parsed.database, parsed.query)
            self._store = SqliteStore(file, create=create, timeout=seconds, pool_size=size)
        self._signing_key = self._store.open(create=create)

    @property
    def signing_key(self) -> bytes:
        """32 random bytes, made with the database and kept in it."""
        return self._signing_key

    def _read(self, thread_id: str) -> ThreadStatus:
        return self._store.status(thread_id)

    async def _aread(self, thread_id: str) -> ThreadStatus:
        return await self._store.astatus(thread_id)

    def _do(self, operation: Operation[T]) -> T:
        return self._store.run(flow_of(operation, self._store.dialect), writes=operation.writes)

    async def _ado(self, operation: Operation[T]) -> T:
        return await self._store.arun(flow_of(operation, self._store.dialect), writes=operation.writes)

    def guard_checkpoints(self) -> None:
        """Have this database refuse checkpoints of sealed branches: for a checkpointer that keeps its tables here.

        ``SealedSaver.setup`` calls it. See ``triggers``.

        Raises:
            RegistryError: There is no table ``checkpoints``, or it is not this user's to alter.
        """
        self._store.run(guard_checkpoints(self._store.dialect), writes=True)

    async def aguard_checkpoints(self) -> None:
        """Async twin of ``guard_checkpoints``."""
        await self._store.arun(guard_checkpoints(self._store.dialect), writes=True)

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


_FILE = re.compile(r"[\w./-]*\.\w+")
"""What can only be meant as the name of a file."""


def _parsed(url: str | URL) -> URL:
    """Return the URL with the driver that this package uses. No error quotes all of it: it may hold a password."""
    if not isinstance(url, (str, URL)):
        raise InvalidInputError(f"url: expected a str, got {type(url).__name__}")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        given = f"{url!r}: for a file, sqlite:///{url}" if _FILE.fullmatch(str(url)) else "another str"
        raise InvalidInputError(
            f"url: expected a database URL, as in sqlite:///conversations.db, got {given}"
        ) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise InvalidInputError(
            "url: expected one that begins with sqlite:/// or postgresql+psycopg://, which serve async calls too, "
            f"got {parsed.drivername}://..."
        )
    return parsed


def _file(database: str | None, query: object) -> str:
    """Return the file that a SQLite URL names.

    Raises:
        InvalidInputError: None, a database in memory, or options that would be ignored.
    """
    if not database or database == ":memory:" or database.startswith("file:"):
        raise InvalidInputError(
            "url: expected a file, as in sqlite:///conversations.db, got a str that names none "
            "(for a registry in memory use InMemorySealRegistry)"
        )
    if query:
        raise InvalidInputError("url: expected no options after a SQLite file, got a str with some")
    return database


def _postgres(url: URL, *, timeout: float, pool_size: int, prepared_statements: bool) -> Store:
    try:
        from end_conversation_tool.registry.sql.postgres import PostgresStore  # noqa: PLC0415 - needs an extra

        return PostgresStore(url, timeout=timeout, pool_size=pool_size, prepared_statements=prepared_statements)
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
