"""One body for a sync and an async method: a generator that says what it needs, and two thin drivers.

A flow yields ``Ask`` objects and gets back the answer, or the error thrown in at the place of asking. What it returns
is the method's result. The flow itself does no I/O, so there is nothing in it to write twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeVar

__all__ = ["Ask", "Flow", "arun_flow", "run_flow"]

T = TypeVar("T")


class Ask(NamedTuple):
    """One thing that a flow needs from the outside.

    Attributes:
        sync: Called by the sync driver.
        twin: Its async twin, awaited by the async driver.
        args: Positional arguments for either.
        kwargs: Keyword arguments for either.
    """

    sync: Callable[..., Any]
    twin: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}


Flow = Generator[Ask, Any, T]


def run_flow(flow: Flow[T]) -> T:
    """Drive a flow with sync calls, and return its result."""
    try:
        ask = next(flow)
        while True:
            try:
                answer = ask.sync(*ask.args, **ask.kwargs)
            except Exception as error:  # noqa: BLE001 - every error belongs to the flow
                ask = flow.throw(error)
            else:
                ask = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def arun_flow(flow: Flow[T]) -> T:
    """Drive a flow with async calls, and return its result."""
    try:
        ask = next(flow)
        while True:
            try:
                answer = await ask.twin(*ask.args, **ask.kwargs)
            except Exception as error:  # noqa: BLE001 - every error belongs to the flow
                ask = flow.throw(error)
            else:
                ask = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
