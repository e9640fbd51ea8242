"""What SQLite and PostgreSQL have in common as a store for flows: pool, transactions, the read of an ordinary turn."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, CursorResult, Engine, Executable, text
from sqlalchemy.exc import DBAPIError

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry.sql.driver import Flow, Rows, drive
from end_conversation_tool.registry.sql.failures import raise_translated, translated
from end_conversation_tool.registry.sql.queries import READ_STATE
from end_conversation_tool.registry.sql.schema import open_schema

__all__ = ["ALIVE", "Store", "rows_of"]

T = TypeVar("T")

ALIVE = "SELECT 1"
"""Shows that a connection is alive, where a flow's own first statement could not be run twice."""


class Store(ABC):
    """One database, reached from many threads.

    Connections are in autocommit: a read is one statement and no transaction. A flow that writes runs between
    ``begin`` and COMMIT; a connection that goes back to the pool without COMMIT is rolled back there.

    Attributes:
        name: The database, fit for an error message.
        dialect: Name of the SQLAlchemy dialect.
        begin: SQL that begins a transaction which writes.
        mark: The driver's mark for a parameter.
        existing: SQL that lists those tables of a registry that exist.
        creation_lock: SQL that makes processes which start at once create the tables one after the other.
    """

    dialect: ClassVar[str]
    mark: ClassVar[str]
    existing: ClassVar[str]
    creation_lock: ClassVar[str]
    begin: str

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self._engine = engine
        self._read_state = READ_STATE + self.mark
        self._closed = False
        _stores.add(self)

    def open(self, *, create: bool) -> bytes:
        """Check the database, create what is lacking in an empty one, and return the signing key.

        Raises:
            RegistrySchemaError: It holds something that this version cannot use. Nothing was changed.
            RegistryError: It cannot be reached, or is empty and ``create`` is false.
        """
        key = self.read(open_schema(self.existing, create=False))
        if key is None and create:
            self.prepare()
            key = self.write(self._creation())
        if key is None:
            raise RegistryError(f"{self.name} holds no registry, and was opened with create=False")
        return key

    def _creation(self) -> Flow[bytes | None]:
        yield text(self.creation_lock)
        # Looks again, under the lock: another process may have been first.
        return (yield from open_schema(self.existing, create=True))

    def prepare(self) -> None:  # noqa: B027 - most engines need nothing
        """Do what must be done to an empty database before its first transaction."""

    def check(self) -> None:
        """Raise ``RegistryError`` if the database is known to be gone."""
        if self._closed:
            raise RegistryError(f"{self.name} is closed")

    def state(self, key: str) -> str | None:
        """Read the state of one thread: on the path of every turn, so straight to the driver."""
        try:
            self.check()
            return self._state(key)
        except Exception as error:  # noqa: BLE001 - raised again; ``translated`` would cost a tenth of the read
            raise_translated(self.name, error)

    def _state(self, key: str, *, retry: bool = True) -> str | None:
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(self._read_state, (key,))
            row = cursor.fetchone()
        except Exception as error:
            if not self._engine.dialect.is_disconnect(error, connection.driver_connection, None):  # type: ignore[arg-type]
                raise
            connection.invalidate(error)
            self._engine.dispose()  # the server went away: no connection of the pool is better
            if not retry:
                raise
        else:
            return None if row is None else str(row[0])
        finally:
            connection.close()
        return self._state(key, retry=False)

    def read(self, flow: Flow[T]) -> T:
        """Run a flow that only reads, each statement by itself."""
        with translated(self.name):
            self.check()
            with self._started(ALIVE) as connection:
                return drive(flow, _executing(connection))

    def write(self, flow: Flow[T]) -> T:
        """Run a flow in one transaction."""
        with translated(self.name):
            self.check()
            with self._started(self.begin) as connection:
                result = drive(flow, _executing(connection))
                connection.exec_driver_sql("COMMIT")
            self.check()
            return result

    @contextmanager
    def _started(self, first: str) -> Iterator[Connection]:
        """Yield a connection on which ``first`` was run: on a new one, should the server have ended the old one."""
        connection = self._engine.connect()
        try:
            try:
                connection.exec_driver_sql(first)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # Nothing was written yet: once more, on a new connection.
                connection.close()
                connection = self._engine.connect()
                connection.exec_driver_sql(first)
            yield connection
        finally:
            connection.close()

    @abstractmethod
    async def astate(self, key: str) -> str | None:
        """Async twin of ``state``."""

    @abstractmethod
    async def aread(self, flow: Flow[T]) -> T:
        """Async twin of ``read``."""

    @abstractmethod
    async def awrite(self, flow: Flow[T]) -> T:
        """Async twin of ``write``."""

    def after_fork(self) -> list[object]:
        """Let go of every connection, in the child of a fork, and return them: they are still the parent's."""
        inherited = self._engine.pool
        self._engine.dispose(close=False)
        return [inherited]

    def close(self) -> None:
        """Close every connection; closing twice is harmless."""
        self._closed = True
        self._engine.dispose()

    async def aclose(self) -> None:
        """Async twin of ``close``."""
        self.close()


_stores: WeakSet[Store] = WeakSet()
_inherited: list[object] = []
"""Connections of the parent process. Never closed here, not even as garbage: the server would end them for both."""


def _after_fork() -> None:
    for store in list(_stores):
        _inherited.extend(store.after_fork())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


def rows_of(result: CursorResult[Any]) -> Rows:
    """Return the rows of a statement; none for one that returns no rows."""
    return result.fetchall() if result.returns_rows else ()


def _executing(connection: Connection) -> Callable[[Executable], Rows]:
    return lambda statement: rows_of(connection.execute(statement))
