"""A pause before a refusal: who goes on writing to a sealed thread waits, and everybody else is served."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from support.agents import Agent, config
from support.records import permit

PAUSE = 1.0


@pytest.fixture
def agent() -> Any:
    """An agent whose thread ``sealed`` is."""
    registry = InMemorySealRegistry()
    saver = SealedSaver(InMemorySaver(), registry, refusal_pause=PAUSE)
    made = Agent(lambda _messages: "Gladly.", registry=registry, checkpointer=saver)
    made.say("A soup?", where=config("sealed"))
    registry.seal(permit("sealed"))
    return made.graph


def said() -> dict[str, Any]:
    return {"messages": [("user", "Hello?")]}


async def refused(graph: Any) -> float:
    """Write to the sealed thread, and return after how many seconds that was refused."""
    started = time.monotonic()
    with pytest.raises(ThreadSealedError):
        await graph.ainvoke(said(), config("sealed"))
    return time.monotonic() - started


async def test_others_are_served_while_who_writes_to_a_sealed_thread_waits(agent: Any) -> None:
    attempts = [asyncio.create_task(refused(agent)) for _ in range(3)]
    await agent.ainvoke(said(), config("open"))
    assert not any(attempt.done() for attempt in attempts)
    assert all(waited >= PAUSE / 2 for waited in await asyncio.gather(*attempts))


async def test_readers_do_not_wait(agent: Any) -> None:
    started = time.monotonic()
    assert (await agent.aget_state(config("sealed"))).values["conversation_end"]["ended"]
    assert time.monotonic() - started < PAUSE / 2


def test_no_thread_is_held_by_a_sync_run(agent: Any) -> None:
    started = time.monotonic()
    with pytest.raises(ThreadSealedError):
        agent.invoke(said(), config("sealed"))
    assert time.monotonic() - started < PAUSE / 2


@pytest.mark.parametrize("pause", [-1, 61, float("nan"), True, "1", None])
def test_another_pause_is_an_error(pause: Any) -> None:
    with pytest.raises(InvalidInputError, match="refusal_pause: expected 0 to 60 seconds, got"):
        SealedSaver(InMemorySaver(), InMemorySealRegistry(), refusal_pause=pause)
