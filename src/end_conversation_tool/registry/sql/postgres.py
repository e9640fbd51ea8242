"""A registry in PostgreSQL: for many machines. Needs the extra ``[postgres]``."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from threading import Lock, Semaphore
from typing import Any, NamedTuple, TypeVar

from psycopg import OperationalError
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn
from sqlalchemy import URL, Executable, PoolProxiedConnection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from end_conversation_tool.registry.sql.driver import Flow, Rows, adrive
from end_conversation_tool.registry.sql.engine import ALIVE, Store, rows_of
from end_conversation_tool.registry.sql.failures import translated
from end_conversation_tool.registry.sql.loops import READ_NAME, LoopConnections, value_of
from end_conversation_tool.registry.sql.queries import READ_STATE
from end_conversation_tool.registry.sql.schema import TABLE_NAMES

__all__ = ["PostgresStore"]

T = TypeVar("T")


class _Reader(NamedTuple):
    """A connection on which the read of an ordinary turn is prepared.

    Attributes:
        pgconn: The connection as libpq has it.
        encoding: In which it gives texts.
        taken: The connection as it was taken from the pool, for good: closing it closes the connection.
    """

    pgconn: PGconn
    encoding: str
    taken: PoolProxiedConnection


class PostgresStore(Store):
    """One PostgreSQL database: a pool of connections for sync callers, and one more for each event loop.

    Sync callers have as many connections again for the read of an ordinary turn, which goes straight to libpq: a
    driver's cursor takes three times as long.
    """

    dialect = "postgresql"
    mark = "%s"
    existing = (
        f"SELECT relname FROM pg_catalog.pg_class WHERE relname IN {TABLE_NAMES!r} "  # noqa: S608 - constants
        "AND relkind IN ('r', 'p') AND pg_catalog.pg_table_is_visible(oid)"
    )
    creation_lock = "SELECT pg_advisory_xact_lock(6015379240177)"  # any number that nobody else is likely to use

    def __init__(self, url: URL, *, timeout: float, pool_size: int) -> None:
        self._url, self._timeout, self._size = url, timeout, pool_size
        self._options: dict[str, Any] = {
            "isolation_level": "AUTOCOMMIT",
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": timeout,
            "hide_parameters": True,
            "connect_args": _connect_args(url, timeout),
        }
        self.begin = (
            f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {math.ceil(timeout * 1000)}"
        )
        self._loops: dict[asyncio.AbstractEventLoop, LoopConnections] = {}
        self._lock = Lock()
        self._readers: list[_Reader] = []
        self._slots = Semaphore(pool_size)
        super().__init__(f"the registry {_public(url)}", create_engine(url, **self._options))

    def open(self, *, create: bool) -> bytes:
        """Open the database."""
        try:
            return super().open(create=create)
        except BaseException:
            self._engine.dispose()
            raise

    def _state(self, key: str, *, retry: bool = True) -> str | None:
        # Whatever is no answer is asked once more in the ordinary way, which knows every error and how to go on.
        if not retry or not self._slots.acquire(blocking=False):
            return super()._state(key, retry=retry)
        try:
            reader = self._take_reader()
            try:
                result = reader.pgconn.exec_prepared(READ_NAME, (key.encode(),))
            except OperationalError:  # it is closed
                answered = False
            except BaseException:
                reader.taken.close()
                raise
            else:
                answered = result.status == ExecStatus.TUPLES_OK
            if answered:
                self._readers.append(reader)
                if self._closed:
                    self._close_readers()
                return value_of(result, reader.encoding)
            reader.taken.close()
        finally:
            self._slots.release()
        return super()._state(key)

    def _take_reader(self) -> _Reader:
        try:
            return self._readers.pop()
        except IndexError:  # not asked for before: another thread may take the last one in between
            taken = self._engine.raw_connection()
            connection: Any = taken.driver_connection
            taken.detach()
        connection.pgconn.prepare(READ_NAME, f"{READ_STATE}$1".encode())
        return _Reader(connection.pgconn, connection.info.encoding, taken)

    def _close_readers(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._readers.pop().taken.close()

    def _in_loop(self) -> LoopConnections:
        """Return the connections of the running loop; they cannot go from one loop to another."""
        loop = asyncio.get_running_loop()
        known = self._loops.get(loop)
        if known is not None:
            return known
        with self._lock:
            for gone in [other for other in self._loops if other.is_closed()]:
                self._loops.pop(gone).abandon()
            engine = create_async_engine(self._url, **self._options)
            connect_args = self._options["connect_args"]
            made = LoopConnections(engine, connect_args, size=self._size, timeout=self._timeout)
            return self._loops.setdefault(loop, made)

    async def astate(self, key: str) -> str | None:
        """Async twin of ``state``."""
        with translated(self.name):
            self.check()
            return await self._in_loop().state(key)

    async def aread(self, flow: Flow[T]) -> T:
        """Async twin of ``read``."""
        with translated(self.name):
            self.check()
            async with self._astarted(ALIVE) as connection:
                return await adrive(flow, _executing(connection))

    async def awrite(self, flow: Flow[T]) -> T:
        """Async twin of ``write``."""
        with translated(self.name):
            self.check()
            async with self._astarted(self.begin) as connection:
                result = await adrive(flow, _executing(connection))
                await connection.exec_driver_sql("COMMIT")
            return result

    @contextlib.asynccontextmanager
    async def _astarted(self, first: str) -> AsyncIterator[AsyncConnection]:
        engine = self._in_loop().engine
        connection = await engine.connect()
        try:
            try:
                await connection.exec_driver_sql(first)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                await connection.close()
                connection = await engine.connect()
                await connection.exec_driver_sql(first)
            yield connection
        finally:
            await asyncio.shield(connection.close())

    def after_fork(self) -> list[object]:
        """Let go of the connections of event loops too."""
        inherited = [self._loops, self._readers]
        self._loops, self._readers, self._lock, self._slots = {}, [], Lock(), Semaphore(self._size)
        return [*super().after_fork(), *inherited]

    def close(self) -> None:
        """Close every connection, those of event loops too."""
        super().close()
        self._close_readers()
        with self._lock:
            while self._loops:
                self._loops.popitem()[1].abandon()

    async def aclose(self) -> None:
        """Close every connection; those of the running loop in good order."""
        with self._lock:
            mine = self._loops.pop(asyncio.get_running_loop(), None)
        if mine is not None:
            await mine.close()
        self.close()


def _executing(connection: AsyncConnection) -> Callable[[Executable], Awaitable[Rows]]:
    async def execute(statement: Executable) -> Rows:
        return rows_of(await connection.execute(statement))

    return execute


def _connect_args(url: URL, timeout: float) -> dict[str, Any]:
    """Return connection options that keep a dead server from holding a turn for ever; those of the URL go first."""
    defaults = {"connect_timeout": max(2, math.ceil(timeout)), "tcp_user_timeout": math.ceil(timeout * 1000)}
    return {name: value for name, value in defaults.items() if name not in url.query}


def _public(url: URL) -> str:
    """Return the URL without user, password and options."""
    return URL.create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()
