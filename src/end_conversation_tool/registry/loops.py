"""The connections of one event loop to PostgreSQL.

Writes go through SQLAlchemy. The read of an ordinary turn goes straight to psycopg: through an ``AsyncEngine`` it takes
four times as long, for taking a connection, executing, fetching and giving back are a switch of greenlets each.
"""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import AsyncConnection, OperationalError
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["LoopConnections"]


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

    async def fetch(self, statement: str, parameters: tuple[str, ...]) -> Any:
        """Return the first row of a read, by itself; ``None`` if there is none.

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
            return await self._fetch(statement, parameters)
        finally:
            self._slots.release()

    async def _fetch(self, statement: str, parameters: tuple[str, ...]) -> Any:
        while True:
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self._connect()
            try:
                row = await (await connection.execute(statement, parameters)).fetchone()
            except BaseException as error:
                lost = isinstance(error, OperationalError) and connection.broken
                self._drop(connection)
                if not (reused and lost):
                    raise
                # The server ended it while it lay idle: another one, in the end a new one.
            else:
                self._idle.append(connection)
                return row

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
