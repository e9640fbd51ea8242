"""What a type checker must refuse: a flow that asks with arguments that the call does not take, or by a twin
that is none.

Nothing here runs. Each line that must be refused is marked; a marked line that is not refused any more is an error
itself (``warn_unused_ignores``), so that checking the tests proves it.
"""

from __future__ import annotations

from typing import assert_type

from end_conversation_tool._core.flow import Flow, arun_flow, ask, run_flow


def look(name: str, *, deep: bool = False) -> int:
    return len(name) + deep


async def alook(name: str, *, deep: bool = False) -> int:
    return look(name, deep=deep)


async def answers_otherwise(name: str, *, deep: bool = False) -> str:
    return f"{name}{deep}"


def right() -> Flow[int]:
    first = yield from ask(look, alook, "x")
    assert_type(first, int)
    second = yield from ask(look, alook, "x", deep=True)
    return first + second


def too_few() -> Flow[int]:
    return (yield from ask(look, alook))  # type: ignore[call-arg]


def too_many() -> Flow[int]:
    return (yield from ask(look, alook, "x", 3))  # type: ignore[call-arg,arg-type]


def another_type() -> Flow[int]:
    return (yield from ask(look, alook, 3))  # type: ignore[arg-type]


def another_name() -> Flow[int]:
    return (yield from ask(look, alook, "x", deeper=True))  # type: ignore[call-arg]


def a_sync_twin() -> Flow[int]:
    return (yield from ask(look, look, "x"))  # type: ignore[arg-type]


def a_twin_with_another_answer() -> Flow[int]:
    return (yield from ask(look, answers_otherwise, "x"))  # type: ignore[return-value]


def driven() -> None:
    assert_type(run_flow(right()), int)


async def adriven() -> None:
    assert_type(await arun_flow(right()), int)
