"""One body for a sync and an async method: a generator that says what it needs, and two thin drivers.

A flow asks by ``yield from ask(sync, twin, *args)``, and gets the answer back, or the error thrown in at the place of
asking. What it returns is the method's result. The flow itself does no I/O, so there is nothing in it to write twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

__all__ = ["Ask", "Flow", "arun_flow", "ask", "run_flow"]

T = TypeVar("T")
P = ParamSpec("P")


class Ask(NamedTuple):
    """One thing that a flow needs from the outside.

    Attributes:
        sync: Called by the sync driver.
        twin: Its async twin, awaited by the async driver.
    """

    sync: Callable[[], Any]
    twin: Callable[[], Awaitable[Any]]


Flow = Generator[Ask, Any, T]


def ask(sync: Callable[P, T], twin: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Flow[T]:
    """Ask for one thing; with arguments that either does not take, a type checker complains."""
    answer: T = yield Ask(partial(sync, *args, **kwargs), partial(twin, *args, **kwargs))
    return answer


def run_flow(flow: Flow[T]) -> T:
    """Drive a flow with sync calls, and return its result."""
    try:
        wanted = next(flow)
        while True:
            try:
                answer = wanted.sync()
            except Exception as error:  # noqa: BLE001 - every error belongs to the flow
                wanted = flow.throw(error)
            else:
                wanted = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def arun_flow(flow: Flow[T]) -> T:
    """Drive a flow with async calls, and return its result."""
    try:
        wanted = next(flow)
        while True:
            try:
                answer = await wanted.twin()
            except Exception as error:  # noqa: BLE001 - every error belongs to the flow
                wanted = flow.throw(error)
            else:
                wanted = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
