"""Driver errors turned into ``RegistryError``, with a message that holds no password and no user's words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from end_conversation_tool.errors import EndConversationError, RegistryError, RegistrySchemaError

_SQLITE_SCHEMA = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_SCHEMA_WORDS = ("no such table", "no such column", "malformed database schema")
_POSTGRES_SCHEMA = {"42P01", "42703", "42804", "XX001", "XX002"}
"""Undefined table, undefined column, datatype mismatch, data corrupted, index corrupted."""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn every error of SQLAlchemy, of a driver or of the system into a ``RegistryError``.

    Args:
        name: The registry, fit for an error message.

    Raises:
        RegistrySchemaError: The database holds something that this version cannot use.
        RegistryError: Anything else that went wrong.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again
        raise_translated(name, error)


def raise_translated(name: str, error: Exception) -> NoReturn:
    """Raise what ``translated`` makes of ``error``; an error that is no failure of the database is raised as it is."""
    known = isinstance(error, (SQLAlchemyError, sqlite3.Error, OSError))
    # psycopg is an extra: its classes cannot be named here.
    if isinstance(error, EndConversationError) or not (known or type(error).__module__.startswith("psycopg")):
        raise error
    raise _translation(name, error) from error


def _translation(name: str, error: BaseException) -> RegistryError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error):
        return _sqlite(name, cause)
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate in _POSTGRES_SCHEMA:
        return RegistrySchemaError(f"{name} cannot be used: {type(cause).__name__} (SQLSTATE {sqlstate})")
    # Not the server's own text: it may quote values.
    detail = f"{type(cause).__name__} (SQLSTATE {sqlstate})" if sqlstate else type(cause).__name__
    return RegistryError(f"{name} cannot be read or written: {detail}")


def _sqlite(name: str, cause: sqlite3.Error) -> RegistryError:
    # SQLite's own text names tables, columns and states, never values.
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _SQLITE_SCHEMA or str(cause).startswith(_SQLITE_SCHEMA_WORDS):
        return RegistrySchemaError(f"{name} cannot be used, it is corrupt or not a registry: {cause}")
    return RegistryError(f"{name} cannot be read or written: {cause}")
