"""Flows: one body, two drivers."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from end_conversation_tool._core.flow import Flow, arun_flow, ask, beside, run_flow


def drive(make_flow: Any, how: str) -> Any:
    return run_flow(make_flow()) if how == "sync" else asyncio.run(arun_flow(make_flow()))


both = pytest.mark.parametrize("how", ["sync", "async"])


def add(first: int, *, second: int) -> int:
    return first + second


async def aadd(first: int, *, second: int) -> int:
    await asyncio.sleep(0)
    return first + second


def fail() -> None:
    raise LookupError("no")


async def afail() -> None:
    raise LookupError("no")


@both
def test_answers_come_back_and_the_result_is_returned(how: str) -> None:
    def flow() -> Flow[int]:
        one = yield from ask(add, aadd, 1, second=2)
        two = yield from ask(add, aadd, one, second=4)
        return int(two)

    assert drive(flow, how) == 7


@both
def test_a_flow_that_asks_nothing(how: str) -> None:
    def flow() -> Flow[str]:
        yield from ()
        return "done"

    assert drive(flow, how) == "done"


@both
def test_errors_are_thrown_in_at_the_place_of_asking(how: str) -> None:
    def flow() -> Flow[str]:
        try:
            yield from ask(fail, afail)
        except LookupError as error:
            total = yield from ask(add, aadd, 1, second=1)
            return f"{error} {total}"
        return "unreachable"

    assert drive(flow, how) == "no 2"


@both
def test_errors_that_the_flow_does_not_handle_come_out(how: str) -> None:
    def flow() -> Flow[None]:
        yield from ask(fail, afail)

    with pytest.raises(LookupError, match="no"):
        drive(flow, how)


@both
def test_errors_of_the_flow_itself_come_out(how: str) -> None:
    def flow() -> Flow[None]:
        yield from ask(add, aadd, 1, second=1)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        drive(flow, how)


@both
def test_only_the_right_twin_is_called(how: str) -> None:
    called: list[str] = []

    def sync() -> None:
        called.append("sync")

    async def twin() -> None:
        called.append("async")

    def flow() -> Flow[None]:
        yield from ask(sync, twin)

    drive(flow, how)
    assert called == [how]


def wait(event: threading.Event) -> None:
    assert event.wait(10)


async def await_(event: threading.Event) -> None:
    await asyncio.to_thread(wait, event)


@both
def test_what_is_begun_beside_goes_on_beside(how: str) -> None:
    spoken: list[str] = []
    begun, heard = threading.Event(), threading.Event()

    def other() -> Flow[str]:
        begun.set()
        yield from ask(wait, await_, heard)
        spoken.append("the other")
        return "heard"

    def flow() -> Flow[str]:
        going = yield from beside(other())
        yield from ask(wait, await_, begun)
        spoken.append("this one")
        heard.set()
        return (yield from going.result())

    assert drive(flow, how) == "heard"
    assert spoken == ["this one", "the other"]


@both
def test_an_error_beside_comes_when_its_result_is_asked_for(how: str) -> None:
    def other() -> Flow[None]:
        yield from ask(fail, afail)

    def flow() -> Flow[str]:
        going = yield from beside(other())
        try:
            yield from going.result()
        except LookupError as error:
            return f"caught {error}"
        return "nothing"

    assert drive(flow, how) == "caught no"


@both
def test_what_is_begun_beside_sees_the_context_of_whoever_began_it(how: str) -> None:
    where: ContextVar[str] = ContextVar("where")

    def other() -> Flow[str]:
        yield from ()
        return where.get()

    def flow() -> Flow[str]:
        where.set("here")
        going = yield from beside(other())
        return (yield from going.result())

    assert drive(flow, how) == "here"


async def test_it_goes_on_where_whoever_waits_is_cancelled() -> None:
    release, done = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        await release.wait()
        done.set()

    def other() -> Flow[None]:
        yield from ask(fail, wait)

    def flow() -> Flow[None]:
        going = yield from beside(other())
        yield from going.result()

    waiting = asyncio.create_task(arun_flow(flow()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    await asyncio.wait_for(done.wait(), 10)


def test_it_is_done_at_once_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)

    def other() -> Flow[int]:
        return (yield from ask(add, aadd, 1, second=2))

    def flow() -> Flow[int]:
        going = yield from beside(other())
        return (yield from going.result())

    assert run_flow(flow()) == 3
