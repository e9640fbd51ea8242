"""The thin driver that runs a flow. It knows no table and no rule.

A flow is a generator: it yields statements, receives their rows, and returns a result. Whoever runs it puts it in a
transaction. There is no async twin: SQLAlchemy runs this very code over an async driver, in a greenlet.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Executable, Row

T = TypeVar("T")
Rows: TypeAlias = Sequence[Row[Any]]
Flow: TypeAlias = Generator[Executable, Rows, T]


def drive(flow: Flow[T], connection: Connection) -> T:
    """Run a flow to its end."""
    try:
        statement = next(flow)
        while True:
            found = connection.execute(statement)
            statement = flow.send(found.fetchall() if found.returns_rows else ())
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()
