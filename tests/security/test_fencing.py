"""Two runs on one thread: one seals while the other is under way. The other cannot write any more.

The interleavings are forced. What the late run may still do depends on where it is caught. In its nodes it is refused
with an error. In the gap between the guard's check and the write, the database refuses it where it holds the registry
too; otherwise its checkpoint is written, and nobody gets to see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from end_conversation_tool.errors import StaleRunError, ThreadSealedError
from end_conversation_tool.testing import tool_call
from support.chats import END_IT, WARN, Chat, answer, guarded, naive, texts_of
from support.pauses import Pause, PauseAround, PauseBefore, background, pausing_tool, pausing_writes
from support.savers import ENGINES, Place, open_place

LATE = "late !pause"
REPLY = f"heard {LATE}"
POINTS = ("node", "before_admission", "model_call", "tool", "write")
DURABILITIES = ("sync", "async", "exit")


class Scene:
    """A guarded agent with one late run that stops at a chosen point."""

    def __init__(self, place: Place, saver: Any, point: str) -> None:
        self.place, self.point = place, point
        self.pause = Pause(twin=place.twin, word="!pause")
        self.slow_notes: list[str] = []
        around: Sequence[Any] = [PauseAround(self.pause)]
        tools = [pausing_tool(self.pause, self.slow_notes)] if point == "tool" else []
        if point == "write":
            pausing_writes(place.inner, self.pause, REPLY)
        self.chat: Chat = guarded(
            place,
            saver,
            replies=self._answer,
            tools=tools,
            before={"before_admission": around, "node": [PauseBefore(self.pause)]}.get(point, ()),
            middleware=around if point == "model_call" else (),
        )

    def _answer(self, messages: list[Any]) -> Any:
        asked = str(messages[-1].content)
        if self.point == "tool" and isinstance(messages[-1], HumanMessage) and "!pause" in asked:
            return tool_call("slow", {"text": asked})
        return answer(messages)

    async def caught(self, durability: str) -> Any:
        """Let the late run get to its point."""
        late = background(lambda: self.chat.say(LATE, durability=durability), twin=self.place.twin)
        await self.pause.reached()
        return late

    async def ends_of(self, late: Any) -> BaseException | None:
        """Let the late run go on, and return how it ended."""
        self.pause.go()
        try:
            await late
        except (ThreadSealedError, StaleRunError) as error:
            return error
        return None


async def what_shows(chat: Chat) -> tuple[list[str], list[str]]:
    state = await chat.state()
    return texts_of(state), [str(one.config["configurable"]["checkpoint_id"]) for one in await chat.history()]


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("point", POINTS)
async def test_a_run_that_was_overtaken_by_a_seal_writes_nothing(
    place: Place, saver: Any, point: str, durability: str
) -> None:
    scene = Scene(place, saver, point)
    chat = scene.chat
    await chat.say(WARN)
    late = await scene.caught(durability)
    await chat.say(END_IT)
    assert place.registry.status("t").sealed
    before, calls = await what_shows(chat), chat.model_calls()
    error = await scene.ends_of(late)
    assert point != "node" or chat.model_calls() == calls, "no model is called in a late run"
    let_through = point == "write" and place.engine == "memory"
    assert error is None if let_through else isinstance(error, ThreadSealedError)
    await check_untouched(chat, before, in_history=let_through)
    assert len(place.registry.seals("t")) == 1


async def check_untouched(chat: Chat, before: tuple[list[str], list[str]], *, in_history: bool = False) -> None:
    """Neither readers nor the next run get anything of the late run's.

    A checkpoint that is older than the seal's, and was written late, may turn up in its place in the history.
    """
    texts, ids = await what_shows(chat)
    assert (texts, ids[0]) == (before[0], before[1][0])
    assert ids == before[1] or in_history
    assert REPLY not in before[0]
    state = await chat.state()
    assert state.values["conversation_end"]["ended"] is True
    assert state.next == ()
    with pytest.raises(ThreadSealedError):
        await chat.say("hello")


@pytest.fixture(params=ENGINES)
async def apart(request: pytest.FixtureRequest, tmp_path: Path, *, twin: bool) -> AsyncIterator[Place]:
    """Registry and checkpoints in two databases: no transaction spans them."""
    postgres = request.getfixturevalue("postgres") if request.param == "postgres" else None
    async with open_place(request.param, postgres, tmp_path, twin=twin, one_database=False) as opened:
        yield opened


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_what_was_written_beside_the_seal_is_never_seen(apart: Place, durability: str) -> None:
    saver, sealing = await apart.sealed(), Pause(twin=apart.twin, word="!end")
    late_at = Pause(twin=apart.twin, word="!pause")
    pausing_writes(apart.inner, late_at, REPLY)
    chat = guarded(apart, saver, middleware=[PauseAround(sealing)])
    await chat.say(WARN)
    seals = background(lambda: chat.say(END_IT), twin=apart.twin)
    await sealing.reached()
    late = background(lambda: chat.say(LATE, durability=durability), twin=apart.twin)
    await late_at.reached()
    sealing.go()
    await seals
    before = await what_shows(chat)
    late_at.go()
    with contextlib.suppress(ThreadSealedError):  # what it writes after that is refused, if there is anything
        await late
    beside = [found for found in await raw(apart) if found.checkpoint["id"] not in before[1]]
    assert REPLY in [found.checkpoint["channel_values"]["messages"][-1].content for found in beside]
    await check_untouched(chat, before)
    point = {"thread_id": "t", "checkpoint_id": beside[0].checkpoint["id"]}
    with pytest.raises(ThreadSealedError):
        await chat.say("hello", point)
    # Nor after an operator has opened the thread again.
    apart.registry.reopen("t", operator="ops", reason="a test")
    answered = await chat.say("hello")
    assert [message.content for message in answered["messages"]] == [*before[0], "hello", "heard hello"]
    assert REPLY not in [text for one in await chat.history() for text in texts_of(one)]
    assert texts_of(await chat.state(point)) == []


async def raw(place: Place) -> list[Any]:
    """Return all checkpoints of the thread, as the inner saver has them."""
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    if place.twin:
        return [found async for found in place.inner.alist(config)]
    return list(place.inner.list(config))


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("point", POINTS)
async def test_a_reopening_does_not_let_an_old_run_in(some_place: Place, point: str, durability: str) -> None:
    place = some_place
    scene = Scene(place, await place.sealed(), point)
    chat = scene.chat
    await chat.say(WARN)
    late = await scene.caught(durability)
    await chat.say(END_IT)
    place.registry.reopen("t", operator="ops", reason="a test")
    before = await what_shows(chat)
    error = await scene.ends_of(late)
    let_through = point == "write" and place.engine == "memory"
    # With durability "async" its input may be written late: between the seal and the reopening the thread is sealed.
    refused = (StaleRunError, ThreadSealedError) if durability == "async" else StaleRunError
    assert error is None if let_through else isinstance(error, refused)
    assert (await what_shows(chat))[0] == before[0]
    answered = await chat.say("hello")
    assert answered["messages"][-1].content == "heard hello"
    assert REPLY not in texts_of(await chat.state())


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_run_that_asks_for_the_end_too_gets_the_same_seal(some_place: Place, durability: str) -> None:
    place = some_place
    pause = Pause(twin=place.twin, word="!end late")
    chat = guarded(place, await place.sealed(), middleware=[PauseAround(pause)])
    await chat.say(WARN)
    late = background(lambda: chat.say(f"{END_IT} late", durability=durability), twin=place.twin)
    await pause.reached()
    await chat.say(END_IT)
    before = await what_shows(chat)
    pause.go()
    with pytest.raises(ThreadSealedError):
        await late
    assert await what_shows(chat) == before
    assert len(place.registry.seals("t")) == 1
    assert [str(record.outcome) for record in place.registry.decisions("t")] == ["sealed", "denied"]


async def test_control_on_an_unguarded_graph_the_late_run_answers(bare: Place) -> None:
    reached, go = threading.Event(), threading.Event()

    def replies(messages: list[Any]) -> Any:
        if "!pause" in str(messages[-1].content):
            reached.set()
            assert go.wait(30)
        return answer(messages)

    chat = naive(bare, replies=replies)
    await chat.say(WARN)
    late = background(lambda: chat.say(LATE), twin=bare.twin)
    assert await asyncio.to_thread(reached.wait, 30)
    await chat.say(END_IT)
    assert (await chat.state()).values["ended"] is True
    go.set()
    assert (await late)["messages"][-1].content == REPLY
    assert texts_of(await chat.state())[-1] == REPLY
    assert "ended" not in (await chat.state()).values
