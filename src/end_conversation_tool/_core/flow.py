"""One body for a sync and an async method: a generator that says what it needs, and two thin drivers.

A flow asks by ``yield from ask(sync, twin, *args)``, and gets the answer back, or the error thrown in at the place of
asking. What it returns is the method's result. The flow itself does no I/O, so there is nothing in it to write twice.

A flow that is begun ``beside`` another goes on by itself, in a thread or as a task, even where the other is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import Any, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar

__all__ = ["Ask", "Beside", "Flow", "arun_flow", "ask", "beside", "run_flow"]

T = TypeVar("T")
P = ParamSpec("P")


Ask: TypeAlias = tuple[Callable[..., Any], Callable[..., Awaitable[Any]], tuple[Any, ...], dict[str, Any]]
"""One thing that a flow needs from the outside: what the sync driver calls, its async twin, and the arguments."""

Flow = Generator[Ask, Any, T]


def ask(sync: Callable[P, T], twin: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Flow[T]:
    """Ask for one thing; with arguments that either does not take, a type checker complains."""
    answer: T = yield sync, twin, args, kwargs
    return answer


class Beside(NamedTuple, Generic[T]):
    """A flow that goes on by itself.

    Attributes:
        result: Waits for what it returns, as ``ask`` does.
    """

    result: Callable[[], Flow[T]]


def beside(flow: Flow[T]) -> Flow[Beside[T]]:
    """Begin a flow that goes on by itself: where calls are sync, in a thread, and else as a task of the event loop.

    Where no thread can be had, it is done at once.
    """
    begun: Any = yield _in_thread, _as_task, (flow,), {}
    # A task is shielded: whoever waits for it may be cancelled, and it goes on.
    return Beside(partial(ask, begun.result, partial(asyncio.shield, begun)))


def _in_thread(flow: Flow[T]) -> Future[T]:
    done = Future[T]()

    def drive() -> None:
        try:
            done.set_result(run_flow(flow))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            done.set_exception(error)

    try:
        Thread(target=copy_context().run, args=(drive,), name="end-conversation-beside").start()
    except RuntimeError:  # too many of them, or the interpreter is about to leave
        drive()
    return done


_tasks: set[asyncio.Task[Any]] = set()
"""Tasks that go on by themselves; an event loop holds them weakly."""


async def _as_task(flow: Flow[T]) -> asyncio.Task[T]:
    task = asyncio.create_task(arun_flow(flow))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def run_flow(flow: Flow[T]) -> T:
    """Drive a flow with sync calls, and return its result."""
    try:
        sync, _, args, kwargs = next(flow)
        while True:
            try:
                answer = sync(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - every error belongs to the flow
                sync, _, args, kwargs = flow.throw(error)
            else:
                sync, _, args, kwargs = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def arun_flow(flow: Flow[T]) -> T:
    """Drive a flow with async calls, and return its result."""
    try:
        _, twin, args, kwargs = next(flow)
        while True:
            try:
                answer = await twin(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - every error belongs to the flow
                _, twin, args, kwargs = flow.throw(error)
            else:
                _, twin, args, kwargs = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
