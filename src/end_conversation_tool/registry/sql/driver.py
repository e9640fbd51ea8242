"""The two thin drivers that run a flow: one sync, one async. They know no table and no rule.

A flow is a generator: it yields statements, receives their rows, and returns a result. Whoever runs it puts it in a
transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Executable, Row

__all__ = ["Flow", "Rows", "adrive", "drive"]

T = TypeVar("T")
Rows: TypeAlias = Sequence[Row[Any]]
Flow: TypeAlias = Generator[Executable, Rows, T]


def drive(flow: Flow[T], execute: Callable[[Executable], Rows]) -> T:
    """Run a flow to its end."""
    try:
        statement = next(flow)
        while True:
            statement = flow.send(execute(statement))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()


async def adrive(flow: Flow[T], execute: Callable[[Executable], Awaitable[Rows]]) -> T:
    """Async twin of ``drive``."""
    try:
        statement = next(flow)
        while True:
            statement = flow.send(await execute(statement))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()
