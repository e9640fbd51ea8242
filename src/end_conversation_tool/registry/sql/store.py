"""A database as a store for flows: what SQLite and PostgreSQL have in common, the row that every turn reads, SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, TypeVar
from weakref import WeakSet

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from end_conversation_tool._core.records import Record, ThreadStatus, untouched
from end_conversation_tool.errors import RegistryError, RegistrySchemaError
from end_conversation_tool.registry.erasure import erased_id
from end_conversation_tool.registry.sql.driver import Flow, drive
from end_conversation_tool.registry.sql.failures import raise_translated, translated
from end_conversation_tool.registry.sql.schema import (
    INDEX_NAMES,
    TABLE_NAMES,
    add_indexes,
    lacking_indexes,
    open_schema,
)

T = TypeVar("T")
R = TypeVar("R", bound=Record)

_log = logging.getLogger(__name__)

_WAL_RETRY_SECONDS = 0.02

READ_STATE = "SELECT state FROM ect_threads WHERE thread_key = "
"""The one statement of an ordinary turn; the driver adds its own mark for the parameter."""

ALIVE = "SELECT 1"
"""Shows that a connection is alive, where a flow's own first statement could not be run twice."""


# The row of a thread


def thread_key(thread_id: str) -> str:
    """Return the key of a thread: 64 hexadecimal digits."""
    return sha256(thread_id.encode()).hexdigest()


def load_status(thread_id: str, state: str | None) -> ThreadStatus:
    """Return the status that ``state`` holds; ``None`` is a thread never heard of.

    Raises:
        RegistrySchemaError: It cannot be read, or belongs to another thread.
    """
    if state is None:
        return untouched(thread_id)
    status = load(ThreadStatus, state)
    if status.thread_id == thread_id:
        return status
    if status.thread_id == erased_id(thread_id):
        return status.model_copy(update={"thread_id": thread_id})
    raise RegistrySchemaError("the registry is corrupt: the row of a thread holds the state of another thread")


def load(model: type[R], stored: str) -> R:
    """Return a stored record; a ``RegistrySchemaError`` when it cannot be read."""
    try:
        return model.model_validate_json(stored)
    except ValidationError as error:
        where = sorted({".".join(str(part) for part in known["loc"]) or "(whole)" for known in error.errors()})
        # Not chained: pydantic's error quotes what is stored, which may be a user's words.
        raise RegistrySchemaError(
            "the registry is corrupt, or is being written by a newer version: "
            f"a stored {model.__name__} cannot be read (at {', '.join(where[:5])})"
        ) from None


# What both engines have in common


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
            raise RegistryError(f"{self.name} holds no registry")
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

    def status(self, thread_id: str) -> ThreadStatus:
        """Read the state of one thread: on the path of every turn, so straight to the driver."""
        try:
            self.check()
            return load_status(thread_id, self._state(thread_key(thread_id)))
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
    async def astatus(self, thread_id: str) -> ThreadStatus:
        """Async twin of ``status``."""

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


# SQLite


class SqliteStore(Store):
    """One SQLite file, in WAL mode: readers and the one writer do not wait for each other.

    SQLite recreates a file that was deleted, empty: every sealed thread would be open. So the file is created once,
    when the registry is opened, and each use checks that it still is that file.
    """

    dialect = "sqlite"
    existing = f"SELECT name FROM sqlite_master WHERE type = 'table' AND name IN {TABLE_NAMES!r}"  # noqa: S608 - constants
    indexes = f"SELECT name FROM sqlite_master WHERE type = 'index' AND name IN {INDEX_NAMES!r}"  # noqa: S608 - constants
    creation_lock = "SELECT 1"  # BEGIN IMMEDIATE is the lock
    begin = "BEGIN IMMEDIATE"

    def __init__(self, database: str, *, create: bool, timeout: float, pool_size: int) -> None:
        self._path = Path(database).absolute()
        self._timeout = timeout
        self._identity: tuple[int, int] | None = None
        self._mode = "rwc" if create else "rw"
        self._readers: list[sqlite3.Connection] = []
        engine = create_engine(
            "sqlite+pysqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=-1,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )
        super().__init__(f"the registry {database!r}", engine)
        with translated(self.name):
            self._check_place(create=create)

    def _check_place(self, *, create: bool) -> None:
        """Say in plain words what SQLite calls "unable to open database file"."""
        if self._path.is_dir():
            raise RegistryError(f"{self.name} is a folder, not a SQLite file")
        if not self._path.parent.is_dir():
            raise RegistryError(f"{self.name} cannot be made: its folder does not exist")
        if not create and not self._path.exists():
            raise RegistryError(f"{self.name} does not exist")

    def open(self, *, create: bool) -> bytes:
        """Open the file, and from then on accept no other file in its place."""
        key = super().open(create=create)
        self._identity, self._mode = self._found(), "rw"
        return key

    def prepare(self) -> None:
        """Switch to WAL, which is a property of the file; SQLite does not wait for a lock when it does so."""
        deadline = time.monotonic() + self._timeout
        with self._engine.connect() as connection:
            while True:
                try:
                    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                except Exception:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_WAL_RETRY_SECONDS)
                else:
                    return

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={self._mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,  # the pool hands a connection to one thread at a time
        )
        try:
            # A seal survives a loss of power, not only the end of the process.
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _state(self, key: str) -> str | None:
        # Not from the pool: taking a connection there and giving it back costs twice as much as the read.
        try:
            connection = self._readers.pop()
        except IndexError:  # not asked for before: another thread may take the last one in between
            connection = self._connect()
        try:
            rows = connection.execute(f"{READ_STATE}?", (key,)).fetchall()
        except BaseException:
            connection.close()
            raise
        self._readers.append(connection)
        if self._closed:
            self._close_readers()
        return str(rows[0][0]) if rows else None

    def _close_readers(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._readers.pop().close()

    def after_fork(self) -> list[object]:
        """Let go of the connections for reads too."""
        inherited, self._readers = self._readers, []
        return [*super().after_fork(), inherited]

    def close(self) -> None:
        """Close every connection."""
        super().close()
        self._close_readers()

    def _found(self) -> tuple[int, int]:
        found = os.stat(self._path)  # noqa: PTH116 - on the path of every turn: half the time of Path.stat
        return found.st_dev, found.st_ino

    def check(self) -> None:
        """Raise ``RegistryError`` if the file is no longer the one that was opened."""
        super().check()
        if self._identity is None:
            return
        try:
            there = self._found() == self._identity
        except FileNotFoundError:
            there = False
        if not there:
            raise RegistryError(f"{self.name} was deleted or replaced while in use; its seals cannot be known")

    async def astatus(self, thread_id: str) -> ThreadStatus:
        """Async twin of ``status``, in a worker thread: a disk can be slow."""
        return await asyncio.to_thread(self.status, thread_id)

    async def arun(self, flow: Flow[T], *, writes: bool) -> T:
        """Async twin of ``run``. A caller that is cancelled does not stop it: it is committed or rolled back."""
        return await asyncio.to_thread(self.run, flow, writes=writes)
