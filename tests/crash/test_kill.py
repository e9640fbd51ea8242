"""A process is killed (SIGKILL) at each point round the decision: the thread is open with nothing lost, or sealed."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from end_conversation_tool._checkpoint.branching import aedit_and_retry, edit_and_retry
from end_conversation_tool.errors import ThreadSealedError
from support.chats import END_IT, WARN, guarded, texts_of
from support.mortal import POINTS, Mortals
from support.savers import Place, open_place

OPEN = ("before_seal", "in_transaction")
BEGUN = ["hello", "heard hello"]
WARNED = [*BEGUN, WARN, "I will not. I may end this chat."]


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with Mortals() as started:
        yield started


@pytest.fixture(params=[("sqlite", False), ("sqlite", True), ("postgres", False), ("postgres", True)], ids=str)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    engine, twin = request.param
    postgres = request.getfixturevalue("postgres") if engine == "postgres" else None
    async with open_place(engine, postgres, tmp_path, twin=twin) as opened:
        yield opened


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_the_thread_is_open_or_sealed(
    place: Place, mortals: Mortals, point: str, durability: str
) -> None:
    saver = await place.sealed()
    chat = guarded(place, saver)
    await chat.say("hello")
    await chat.say(WARN)
    died = mortals.die(url=place.url, point=point, durability=durability, twin=place.twin)
    assert died == signal.SIGKILL
    state, status = await chat.state(), place.registry.status("t")
    assert texts_of(state)[: len(WARNED)] == WARNED
    if point in OPEN:
        assert not status.sealed
        assert place.registry.decisions("t") == ()
        assert "conversation_end" not in state.values
        # What the run had written before is LangGraph's promise: with sync the message itself is there.
        assert durability != "sync" or texts_of(state)[-1] == END_IT
        assert (await chat.say("again"))["messages"][-1].content == "heard again"
        await chat.say(END_IT)  # the evidence is there too
        assert place.registry.status("t").sealed
        return
    assert status.sealed
    assert [str(record.outcome) for record in place.registry.decisions("t")] == ["sealed"]
    assert state.values["conversation_end"]["ended"] is True
    assert (state.next, state.tasks) == ((), ())
    for given in ("again", END_IT):
        with pytest.raises(ThreadSealedError):
            await chat.say(given)
    with pytest.raises(ThreadSealedError):
        await chat.run(None, "t")
    assert texts_of(await chat.state()) == texts_of(state)
    # Whoever was in the middle of it can still edit and retry.
    warned = state.values["messages"][len(BEGUN)].id
    if place.twin:
        await aedit_and_retry(chat.graph, "t", warned, "sorry")
    else:
        edit_and_retry(chat.graph, "t", warned, "sorry")
    assert texts_of(await chat.state()) == [*BEGUN, "sorry", "heard sorry"]
    assert [seal.branch for seal in place.registry.seals("t")] == [0]
