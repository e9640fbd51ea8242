"""A registry in a SQLite file: the embedded default, for any number of threads and processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TypeVar

from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

from end_conversation_tool.errors import InvalidInputError, RegistryError
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.engine import Store
from end_conversation_tool.registry.sql.failures import translated
from end_conversation_tool.registry.sql.queries import READ_STATE
from end_conversation_tool.registry.sql.schema import INDEX_NAMES, TABLE_NAMES

T = TypeVar("T")

_WAL_RETRY_SECONDS = 0.02


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
            raise RegistryError(f"{self.name} does not exist, and was opened with create=False")

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

    async def astate(self, key: str) -> str | None:
        """Async twin of ``state``, in a worker thread: a disk can be slow."""
        return await asyncio.to_thread(self.state, key)

    async def arun(self, flow: Flow[T], *, writes: bool) -> T:
        """Async twin of ``run``. A caller that is cancelled does not stop it: it is committed or rolled back."""
        return await asyncio.to_thread(self.run, flow, writes=writes)


def database_of(database: str | None, query: object) -> str:
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
