"""The connections of one event loop to PostgreSQL.

Writes go through SQLAlchemy. The read of an ordinary turn goes straight to libpq: a cursor of psycopg takes half as
long again, and an ``AsyncEngine`` several times as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from end_conversation_tool.registry.sql.queries import READ_STATE

__all__ = ["READ_NAME", "LoopConnections", "value_of"]

READ_NAME = b"ect_state"
"""Name of the prepared statement."""


class LoopConnections:
    """An engine for writes and a handful of connections for reads.

    Args:
        engine: An engine that nobody else uses.
        connect_args: The connection options that it was made with.
        size: Most connections for reads.
        timeout: Seconds to wait for one.
    """

    def __init__(self, engine: AsyncEngine, connect_args: dict[str, Any], *, size: int, timeout: float) -> None:
        self.engine = engine
        self._connect_args = {**engine.dialect.create_connect_args(engine.url)[1], **connect_args}
        self._timeout = timeout
        self._slots = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection[Any]] = []
        # All that are open, so that they can be closed when the loop is gone and nothing can be awaited.
        self._open: set[AsyncConnection[Any]] = set()
        event.listen(engine.sync_engine, "connect", lambda made, _: self._open.add(made.driver_connection))
        event.listen(engine.sync_engine, "close", lambda made, _: self._open.discard(made.driver_connection))

    async def state(self, key: str) -> str | None:
        """Return the state of a thread; ``None`` if there is none.

        Raises:
            TimeoutError: No connection became free in time.
            psycopg.Error: The server cannot be reached, or refuses.
        """
        if self._slots.locked():
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        try:
            return await self._state(key)
        finally:
            self._slots.release()

    async def _state(self, key: str) -> str | None:
        while True:
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self._connect()
            try:
                result = await _asked(connection.pgconn, key)
                if result is None or result.status != ExecStatus.TUPLES_OK:
                    # Once more in the ordinary way, which knows every error; and then with another connection.
                    row = await (await connection.execute(f"{READ_STATE}%s", (key,))).fetchone()
                    self._drop(connection)
                    return None if row is None else str(row[0])
            except BaseException as error:
                lost = isinstance(error, OperationalError) and connection.broken
                self._drop(connection)
                if not (reused and lost):
                    raise
                # The server ended it while it lay idle: another one, in the end a new one.
            else:
                self._idle.append(connection)
                return value_of(result, connection.info.encoding)

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await AsyncConnection.connect(**self._connect_args, autocommit=True)
        self._open.add(connection)
        try:
            connection.pgconn.send_prepare(READ_NAME, f"{READ_STATE}$1".encode())
            await _finished(connection.pgconn)
        except BaseException:
            self._drop(connection)
            raise
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


async def _asked(pgconn: PGconn, key: str) -> PGresult | None:
    pgconn.send_query_prepared(READ_NAME, (key.encode(),))
    return await _finished(pgconn)


async def _finished(pgconn: PGconn) -> PGresult | None:
    """Wait for the end of what was sent, and return its last result."""
    loop, result = asyncio.get_running_loop(), None
    while pgconn.flush():
        await _ready(loop.add_writer, loop.remove_writer, pgconn.socket)
    while True:
        while pgconn.is_busy():
            await _ready(loop.add_reader, loop.remove_reader, pgconn.socket)
            pgconn.consume_input()
        found = pgconn.get_result()
        if found is None:
            return result
        result = found


async def _ready(add: Callable[..., object], remove: Callable[[int], object], socket: int) -> None:
    ready = asyncio.get_running_loop().create_future()

    def tell() -> None:
        remove(socket)  # it would be called again until it is removed
        if not ready.done():
            ready.set_result(None)

    add(socket, tell)
    try:
        await ready
    finally:
        remove(socket)


def value_of(result: PGresult, encoding: str) -> str | None:
    """Return the first value of the first row; ``None`` where there is none."""
    value = result.get_value(0, 0) if result.ntuples else None
    return None if value is None else value.decode(encoding)
