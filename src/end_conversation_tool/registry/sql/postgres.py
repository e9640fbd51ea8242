"""A registry in PostgreSQL: for many machines. Needs the extra ``[postgres]``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import nullcontext
from threading import Lock
from typing import Any, TypeVar

from psycopg import AsyncConnection, Error
from sqlalchemy import URL, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.failures import translated
from end_conversation_tool.registry.sql.schema import INDEX_NAMES, TABLE_NAMES
from end_conversation_tool.registry.sql.store import ALIVE, READ_STATE, Store, load_status, thread_key

T = TypeVar("T")

_READ = f"{READ_STATE}%s"


class PostgresStore(Store):
    """One PostgreSQL database: a pool of connections for sync callers, and one more for each event loop."""

    dialect = "postgresql"
    existing = (
        f"SELECT relname FROM pg_catalog.pg_class WHERE relname IN {TABLE_NAMES!r} "  # noqa: S608 - constants
        "AND relkind IN ('r', 'p') AND pg_catalog.pg_table_is_visible(oid)"
    )
    indexes = (
        f"SELECT relname FROM pg_catalog.pg_class WHERE relname IN {INDEX_NAMES!r} "  # noqa: S608 - constants
        "AND relkind IN ('i', 'I') AND pg_catalog.pg_table_is_visible(oid)"
    )
    creation_lock = "SELECT pg_advisory_xact_lock(6015379240177)"  # any number that nobody else is likely to use

    def __init__(self, url: URL, *, timeout: float, pool_size: int, prepared_statements: bool) -> None:
        self._url, self._timeout, self._size = url, timeout, pool_size
        self._prepare = True if prepared_statements else None
        self._options: dict[str, Any] = {
            "isolation_level": "AUTOCOMMIT",
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": timeout,
            "hide_parameters": True,
            "connect_args": _connect_args(url, timeout, prepared_statements=prepared_statements),
        }
        self.begin = (
            f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {math.ceil(timeout * 1000)}"
        )
        self._loops: dict[asyncio.AbstractEventLoop, _LoopConnections] = {}
        self._lock = Lock()
        super().__init__(f"the registry {_public(url)}", create_engine(url, **self._options))

    def _state(self, key: str, *, again: bool = True) -> str | None:
        connection = self._engine.raw_connection()
        try:
            driver: Any = connection.driver_connection
            row = driver.execute(_READ, (key,), prepare=self._prepare).fetchone()
        except Error as error:
            connection.invalidate(error)
            if driver.closed:
                self._engine.dispose()  # the server went away: no connection of the pool is better
            if not again:
                raise
        else:
            return None if row is None else str(row[0])
        finally:
            connection.close()
        # It went away, or forgot the statement. To read twice does no harm.
        return self._state(key, again=False)

    def _in_loop(self) -> _LoopConnections:
        """Return the connections of the running loop; they cannot go from one loop to another."""
        loop = asyncio.get_running_loop()
        known = self._loops.get(loop)
        if known is not None:
            return known
        with self._lock:
            for gone in [other for other in self._loops if other.is_closed()]:
                self._loops.pop(gone).abandon()
            engine = create_async_engine(self._url, **self._options)
            made = _LoopConnections(engine, self._options["connect_args"], size=self._size, timeout=self._timeout)
            return self._loops.setdefault(loop, made)

    async def astatus(self, thread_id: str) -> ThreadStatus:
        """Async twin of ``status``."""
        with translated(self.name):
            self.check()
            state = await self._in_loop().state(thread_key(thread_id), prepare=self._prepare)
            return load_status(thread_id, state)

    async def arun(self, flow: Flow[T], *, writes: bool) -> T:
        """Async twin of ``run``."""
        engine = self._in_loop().engine.sync_engine
        result: T = await greenlet_spawn(self._run, engine, flow, self.begin if writes else ALIVE)
        return result

    def after_fork(self) -> list[object]:
        """Let go of the connections of event loops too."""
        inherited, self._loops, self._lock = self._loops, {}, Lock()
        return [*super().after_fork(), inherited]

    def close(self) -> None:
        """Close every connection, those of event loops too."""
        super().close()
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


class _LoopConnections:
    """The connections of one event loop: an engine, and as many again for the read of an ordinary turn.

    That read goes to psycopg itself: an ``AsyncEngine`` takes several times as long.

    Args:
        engine: An engine that nobody else uses.
        connect_args: The connection options that it was made with.
        size: Most connections for reads.
        timeout: Seconds to wait for one.
    """

    def __init__(self, engine: AsyncEngine, connect_args: Mapping[str, Any], *, size: int, timeout: float) -> None:
        self.engine = engine
        self._connect_args = {**engine.dialect.create_connect_args(engine.url)[1], **connect_args}
        self._timeout = timeout
        self._slots = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection[Any]] = []
        # All that are open, so that they can be closed when the loop is gone and nothing can be awaited.
        self._open: set[AsyncConnection[Any]] = set()
        event.listen(engine.sync_engine, "connect", lambda made, _: self._open.add(made.driver_connection))
        event.listen(engine.sync_engine, "close", lambda made, _: self._open.discard(made.driver_connection))

    async def state(self, key: str, *, prepare: bool | None) -> str | None:
        """Return the state of a thread; ``None`` if there is none.

        Raises:
            TimeoutError: No connection became free in time.
            psycopg.Error: The server cannot be reached, or refuses.
        """
        async with asyncio.timeout(self._timeout) if self._slots.locked() else nullcontext():
            await self._slots.acquire()
        try:
            while True:
                reused = bool(self._idle)
                connection = self._idle.pop() if reused else await self._connect()
                try:
                    row = await (await connection.execute(_READ, (key,), prepare=prepare)).fetchone()
                except BaseException as error:
                    self._drop(connection)
                    if not (reused and isinstance(error, Error)):
                        raise
                    # It went away, or forgot the statement, while it lay idle: another one, in the end a new one.
                else:
                    self._idle.append(connection)
                    return None if row is None else str(row[0])
        finally:
            self._slots.release()

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await AsyncConnection.connect(**self._connect_args, autocommit=True)
        self._open.add(connection)
        return connection

    def _drop(self, connection: AsyncConnection[Any]) -> None:
        self._open.discard(connection)
        connection.pgconn.finish()

    async def close(self) -> None:
        """Close every connection, in the loop that they belong to."""
        await self.engine.dispose()
        self.abandon()

    def abandon(self) -> None:
        """Close every connection without the loop."""
        self._idle.clear()
        while self._open:
            connection = self._open.pop()  # held by a name: when it is garbage before it is closed, it warns
            connection.pgconn.finish()


def _connect_args(url: URL, timeout: float, *, prepared_statements: bool) -> dict[str, Any]:
    """Return connection options that keep a dead server from holding a turn for ever; those of the URL go first."""
    defaults = {"connect_timeout": max(2, math.ceil(timeout)), "tcp_user_timeout": math.ceil(timeout * 1000)}
    unprepared = {} if prepared_statements else {"prepare_threshold": None}
    return {**{name: value for name, value in defaults.items() if name not in url.query}, **unprepared}


def _public(url: URL) -> str:
    """Return the URL without user, password and options."""
    return URL.create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()
