"""What SQLite and PostgreSQL have in common as a store for flows: pool, transactions, the read of an ordinary turn."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry.sql.driver import Flow, drive
from end_conversation_tool.registry.sql.failures import raise_translated, translated
from end_conversation_tool.registry.sql.schema import add_indexes, lacking_indexes, open_schema

T = TypeVar("T")

_log = logging.getLogger(__name__)

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
        existing: SQL that lists those tables of a registry that exist.
        indexes: SQL that lists those of its indexes that exist.
        creation_lock: SQL that makes processes which start at once create the tables one after the other.
    """

    dialect: ClassVar[str]
    existing: ClassVar[str]
    indexes: ClassVar[str]
    creation_lock: ClassVar[str]
    begin: str

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self._engine = engine
        self._closed = False
        _stores.add(self)

    def open(self, *, create: bool) -> bytes:
        """Check the database, create what is lacking in an empty one, and return the signing key.

        Raises:
            RegistrySchemaError: It holds something that this version cannot use. Nothing was changed.
            RegistryError: It cannot be reached, or is empty and ``create`` is false.
        """
        try:
            with translated(self.name):
                key = self.run(open_schema(self.existing, create=False), writes=False)
                if key is None and create:
                    self.prepare()
                    key = self.run(self._creation(), writes=True)
        except BaseException:
            self._engine.dispose()
            raise
        if key is None:
            self._engine.dispose()
            raise RegistryError(f"{self.name} holds no registry, and was opened with create=False")
        if create:
            self._complete()
        return key

    def _complete(self) -> None:
        """Add the indexes that a database of an older version lacks; without them lists are slow, and nothing worse."""
        try:
            if self.run(lacking_indexes(self.indexes), writes=False):
                self.run(self._indexing(), writes=True)
        except RegistryError as error:
            _log.warning("an index is lacking and could not be made, lists of threads are slow: %s", error)

    def _indexing(self) -> Flow[None]:
        yield text(self.creation_lock)
        yield from add_indexes(self.indexes)

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

    @abstractmethod
    def _state(self, key: str) -> str | None: ...

    def run(self, flow: Flow[T], *, writes: bool) -> T:
        """Run a flow: one that writes in one transaction, one that only reads each statement by itself."""
        return self._run(self._engine, flow, self.begin if writes else ALIVE)

    def _run(self, engine: Engine, flow: Flow[T], first: str) -> T:
        with translated(self.name):
            self.check()
            with _started(engine, first) as connection:
                result = drive(flow, connection)
                if first != ALIVE:
                    connection.exec_driver_sql("COMMIT")
            self.check()
            return result

    @abstractmethod
    async def astate(self, key: str) -> str | None:
        """Async twin of ``state``."""

    @abstractmethod
    async def arun(self, flow: Flow[T], *, writes: bool) -> T:
        """Async twin of ``run``."""

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


@contextmanager
def _started(engine: Engine, first: str) -> Iterator[Connection]:
    """Yield a connection on which ``first`` was run: on a new one, should the server have ended the old one."""
    connection = engine.connect()
    try:
        try:
            connection.exec_driver_sql(first)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # Nothing was written yet: once more, on a new connection.
            connection.close()
            connection = engine.connect()
            connection.exec_driver_sql(first)
        yield connection
    finally:
        connection.close()
