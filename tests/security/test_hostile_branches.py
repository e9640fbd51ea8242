"""Branches of branches, clocks that run backwards, registries that were set back: status, saver and triggers agree."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from end_conversation_tool._checkpoint.guard import MAX_BRANCHES
from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import UnmetCode
from end_conversation_tool.errors import InvalidInputError, RegistryError, StaleRunError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from end_conversation_tool.registry.sql.triggers import refused_by_trigger
from support.agents import INSULT, LADDER, Agent, config, ending, said
from support.chats import END_IT, WARN, Chat, guarded, texts_of
from support.doors import GRAPHS, graph_behind
from support.keywords import KeywordReader
from support.pauses import Pause, PauseAround, background
from support.records import permit
from support.savers import Place, open_saver

NOTICED = EndConversationPolicy(name="noticed", min_refusals=1, min_redirections=0)
Point = dict[str, Any]


async def agree(chat: Chat, place: Place) -> bool:
    """Check that registry, readers and the next run say the same of the thread; return whether it is sealed."""
    sealed, state = place.registry.status("t").sealed, await chat.state()
    assert bool(state.values.get("conversation_end")) is sealed
    spoken = chat.model_calls()
    if sealed:
        with pytest.raises(ThreadSealedError):
            await chat.say("plain")
        with pytest.raises(ThreadSealedError):
            await chat.update({"messages": []}, as_node="model")
        assert chat.model_calls() == spoken
        assert texts_of(await chat.state()) == texts_of(state)
    else:
        await chat.say("plain")
        assert texts_of(await chat.state()) == [*texts_of(state), "plain", "heard plain"]
    assert place.registry.status("t").sealed is sealed
    return sealed


async def point(chat: Chat) -> Point:
    """Return where the thread is now."""
    return dict((await chat.state()).config["configurable"])


async def before_the_end(chat: Chat) -> Point:
    """Have a thread sealed, and return the point before the turn that sealed it."""
    await chat.say("hello")
    await chat.say(WARN)
    start = await point(chat)
    await chat.say(END_IT)
    return start


async def test_the_second_branch_is_sealed_and_the_first_is_written(place: Place, saver: SealedSaver) -> None:
    """Edit the same message twice, seal the second branch, and speak at the first branch's checkpoint."""
    chat = guarded(place, saver)
    start = await before_the_end(chat)
    await chat.say("one way", start)
    first = await point(chat)
    await chat.say("another way", start)
    await chat.say(END_IT)
    assert await agree(chat, place)
    await chat.say("on the first branch again", first)
    status = place.registry.status("t")
    assert (status.branch, status.on_branch(3).parent, status.sealed) == (3, 1, False)
    assert [seal.branch for seal in place.registry.seals("t")] == [0, 2]
    assert texts_of(await chat.state())[-4:-1] == ["one way", "heard one way", "on the first branch again"]
    assert not await agree(chat, place)
    await chat.say(END_IT)
    assert await agree(chat, place)


async def test_a_run_on_a_branch_that_was_left_is_not_what_the_thread_shows(place: Place, saver: SealedSaver) -> None:
    pause = Pause(twin=place.twin, word="!pause")
    chat = guarded(place, saver, middleware=[PauseAround(pause)])
    start = await before_the_end(chat)
    await chat.say("one way", start)
    late = background(lambda: chat.say("late !pause"), twin=place.twin)
    await pause.reached()
    await chat.say("another way", start)
    await chat.say(END_IT)
    before = texts_of(await chat.state())
    pause.go()
    await late
    assert texts_of(await chat.state()) == before
    assert await agree(chat, place)


async def test_a_branch_of_a_branch_of_a_branch(place: Place, saver: SealedSaver) -> None:
    chat = guarded(place, saver)
    points = [await before_the_end(chat)]
    for number in range(3):
        await chat.say(f"way {number}", points[-1])
        points.append(await point(chat))
        await chat.say(END_IT)
        assert await agree(chat, place)
    for start in points:
        await chat.say("once more", start)
        assert not await agree(chat, place)
        await chat.say(END_IT)
        assert await agree(chat, place)
    assert len(place.registry.seals("t")) == 8


async def test_a_branch_that_was_opened_and_never_written(place: Place, saver: SealedSaver) -> None:
    """The process died between the two: the thread goes on where the branch forked."""
    chat = guarded(place, saver)
    start = await before_the_end(chat)
    forked = str(start["checkpoint_id"])
    place.registry.open_branch("t", parent=0, forked_from=forked, run_token="gone")  # noqa: S106
    state = await chat.state()
    assert texts_of(state) == ["hello", "heard hello", WARN, "I will not. I may end this chat."]
    assert not await agree(chat, place)
    await chat.say(END_IT)
    assert await agree(chat, place)


class Counted(TypedDict, total=False):
    said: str
    seen: int


async def test_an_update_of_a_subgraph_opens_no_branch(place: Place, saver: SealedSaver) -> None:
    def count(state: Counted) -> Counted:
        return {"seen": state.get("seen", 0) + 1}

    child: Any = StateGraph(Counted).add_node("count", count).add_edge(START, "count").compile(checkpointer=True)
    parent: Any = StateGraph(Counted).add_node("child", child).add_edge(START, "child").compile(checkpointer=saver)
    chat = Chat(parent, place.twin, lambda: 0)
    for _ in range(2):
        await chat.run({"said": "hello"}, "t")
    newest = (await chat.history())[0].config["configurable"]["checkpoint_id"]
    place.registry.seal(permit("t"), checkpoint_id=newest)
    config: Any = {"configurable": {"thread_id": "t"}}
    raw = [one async for one in place.inner.alist(config)] if place.twin else list(place.inner.list(config))
    early = [dict(one.config["configurable"]) for one in raw if one.config["configurable"]["checkpoint_ns"]]
    assert early
    for one in early:
        with pytest.raises(ThreadSealedError):
            await chat.update({"seen": 7}, one)
    status = place.registry.status("t")
    assert (status.branch, status.sealed, len(status.branches)) == (0, True, 1)
    with pytest.raises(ThreadSealedError):
        await chat.run({"said": "hello"}, "t")


async def test_a_checkpoint_after_the_seal_with_an_earlier_time_is_no_fork(some_place: Place) -> None:
    place = some_place
    chat = guarded(place, await place.sealed())
    await before_the_end(chat)
    seal = place.registry.seals("t")[0]
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    last: Any = await place.inner.aget_tuple(config) if place.twin else place.inner.get_tuple(config)
    assert last.parent_config["configurable"]["checkpoint_id"] == seal.checkpoint_id
    earlier = f"0{last.checkpoint['id'][1:]}"  # as if the clock had been set back before it was written
    assert earlier < str(seal.checkpoint_id)
    written: Any = (last.parent_config, {**last.checkpoint, "id": earlier}, last.metadata, {})
    await place.inner.aput(*written) if place.twin else place.inner.put(*written)
    with pytest.raises(ThreadSealedError):
        await chat.say("let me in", {"thread_id": "t", "checkpoint_id": earlier})
    assert len(place.registry.status("t").branches) == 1


async def test_branches_of_one_thread_are_bounded(some_place: Place) -> None:
    place = some_place
    chat = guarded(place, await place.sealed())
    start = await before_the_end(chat)
    forked = str(start["checkpoint_id"])
    for number in range(MAX_BRANCHES - 2):
        place.registry.open_branch("t", parent=0, forked_from=forked, run_token=f"r{number}")
    await chat.say("the last one", start)
    last = place.registry.status("t")
    assert len(last.branches) == MAX_BRANCHES
    with pytest.raises(ThreadSealedError):
        await chat.say("one too many", start)
    assert place.registry.status("t") == last
    assert not await agree(chat, place)


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
async def test_who_may_not_fork_may_not_speak_on_a_branch_that_was_left(some_place: Place, *, sealed: bool) -> None:
    """After the last branch, or where nobody may fork: what was said there would be heard by nobody."""
    place = some_place
    chat = guarded(place, await place.sealed())
    strict = guarded(place, await place.sealed(on_fork="refuse"))
    start = await before_the_end(chat)
    await chat.say("one way", start)
    left = await point(chat)
    await chat.say("another way", start)
    if sealed:
        await chat.seal()
    refused = ThreadSealedError if sealed else StaleRunError
    with pytest.raises(refused):
        await strict.say("let me in", left)
    for number in range(MAX_BRANCHES - 3):
        place.registry.open_branch("t", parent=0, forked_from=str(start["checkpoint_id"]), run_token=f"r{number}")
    if sealed:
        place.registry.seal(permit("t", branch=place.registry.status("t").branch))
    before, spoken, shown = place.registry.status("t"), chat.model_calls(), texts_of(await chat.state())
    assert len(before.branches) == MAX_BRANCHES
    for door in (chat, strict):
        with pytest.raises(refused):
            await door.say("let me in", left)
        with pytest.raises(refused):
            await door.update({"messages": [HumanMessage("let me in")]}, left, as_node="model")
    assert (place.registry.status("t"), chat.model_calls()) == (before, spoken)
    assert texts_of(await chat.state()) == shown
    assert await agree(chat, place) is sealed


def _copied(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as one, sqlite3.connect(target) as other:
        one.backup(other)
    one.close()
    other.close()


@asynccontextmanager
async def kept_in(registry: Path, place: Place) -> AsyncIterator[tuple[Chat, Any]]:
    """Yield a chat whose checkpoints are in a place, and its registry in a file."""
    async with SqlSealRegistry(f"sqlite:///{registry}") as opened:
        beside = replace(place, registry=opened)
        yield guarded(beside, await beside.sealed()), opened


async def refuses_as_set_back(chat: Chat, thread: str) -> None:
    """Check that nothing of a thread can be read or written, and that the error says why."""
    for given in ({"messages": [HumanMessage("let me in")]}, None):
        with pytest.raises(RegistryError, match="older than the checkpoints"):
            await chat.run(given, thread)
    with pytest.raises(RegistryError, match="older than the checkpoints"):
        await chat.update({"messages": []}, thread, as_node="model")
    with pytest.raises(RegistryError, match="older than the checkpoints"):
        await chat.state(thread)
    assert chat.model_calls() == 0


async def test_a_registry_that_was_set_back_is_detected(place: Place, tmp_path: Path) -> None:
    now, kept = tmp_path / "now.db", tmp_path / "kept.db"
    async with kept_in(now, place) as (chat, _):
        await chat.say("hello")
        await chat.say("hello", "another")
    _copied(now, kept)
    async with kept_in(now, place) as (chat, _):
        await chat.seal()
    async with kept_in(kept, place) as (chat, registry):
        assert not registry.status("t").sealed
        await refuses_as_set_back(chat, "t")
        await chat.say("hello", "another")  # of which nothing was lost


@pytest.mark.parametrize("twin", [False, True], ids=["sync", "async"])
async def test_backups_are_restored_as_the_guide_says(tmp_path: Path, *, twin: bool) -> None:
    """Both files from one moment go on from there; an older registry is refused; a newer one keeps its seals."""

    @asynccontextmanager
    async def opened(registry: str, checkpoints: str) -> AsyncIterator[Chat]:
        """Yield a chat on copies of the files of two moments."""
        folder = tmp_path / f"{registry}-{checkpoints}"
        folder.mkdir()
        for moment, name in ((registry, "registry.db"), (checkpoints, "checkpoints.db")):
            if moment:
                _copied(tmp_path / moment / name, folder / name)
        async with open_saver("sqlite", f"sqlite:///{folder}/checkpoints.db", twin=twin) as inner:
            place = Place("sqlite", twin, inner, InMemorySealRegistry())
            async with kept_in(folder / "registry.db", place) as (chat, _):
                yield chat
        (tmp_path / "last").unlink(missing_ok=True)
        (tmp_path / "last").symlink_to(folder)

    def back_up(moment: str) -> None:
        (tmp_path / moment).mkdir()
        for name in ("registry.db", "checkpoints.db"):
            with closing(sqlite3.connect(tmp_path / "last" / name)) as file:
                file.execute("VACUUM INTO ?", (str(tmp_path / moment / name),))

    async with opened("", "") as chat:
        await chat.seal("ended")
        await chat.say("hello")
    back_up("early")
    async with opened("early", "early") as chat:
        await chat.seal()
    back_up("late")

    async def sealed(chat: Chat, thread: str = "t") -> None:
        assert (await chat.state(thread)).values["conversation_end"]["ended"]
        with pytest.raises(ThreadSealedError):
            await chat.say("let me in", thread)

    async with opened("late", "late") as chat:
        await sealed(chat)
        await sealed(chat, "ended")
    async with opened("late", "early") as chat:
        await sealed(chat)
        await sealed(chat, "ended")
        await chat.say("hello", "another")
    async with opened("early", "late") as chat:
        await refuses_as_set_back(chat, "t")
        await sealed(chat, "ended")
    (tmp_path / "early-early").rename(tmp_path / "before")
    async with opened("early", "early") as chat:
        await chat.say("hello again")
        assert texts_of(await chat.state()) == ["hello", "heard hello", "hello again", "heard hello again"]
        await sealed(chat, "ended")


async def test_a_seal_between_the_two_reads_is_no_registry_that_was_set_back(place: Place, saver: SealedSaver) -> None:
    """The guard reads the registry, and then the checkpoint: both may move on in between."""
    chat = guarded(place, saver)
    await chat.say("hello")
    await chat.say(WARN)
    name = "astatus" if place.twin else "status"
    old, real = place.registry.status("t"), getattr(place.registry, name)
    given = [old]

    def status(thread_id: str) -> Any:
        return given.pop() if given else real(thread_id)

    async def astatus(thread_id: str) -> Any:
        return given.pop() if given else await real(thread_id)

    await chat.say(END_IT)
    setattr(place.registry, name, astatus if place.twin else status)
    state = await chat.state()
    assert (given, state.values["conversation_end"]["ended"]) == ([], True)


async def test_what_an_update_puts_into_the_private_channel_is_not_kept(place: Place, saver: SealedSaver) -> None:
    """An older provenance of the very same thread, beside a history that was set back to it: the apology is gone."""
    chat = guarded(place, saver, policy=NOTICED)
    await chat.say(WARN)
    await chat.say(END_IT)
    values = copy.deepcopy((await chat.state()).values)
    said = len(values["messages"])
    await chat.say("I am sorry")
    gone = [RemoveMessage(id=one.id) for one in (await chat.state()).values["messages"][said:]]
    replayed = {"messages": gone, "end_conversation_provenance": values["end_conversation_provenance"]}
    await chat.update(replayed, as_node="model")
    assert texts_of(await chat.state()) == [one.content for one in values["messages"]]
    await chat.say(END_IT)
    assert not place.registry.status("t").sealed
    assert UnmetCode.TOO_FEW_REFUSALS in place.registry.decisions("t")[-1].decision.unmet


@pytest.mark.parametrize("forks", [False, True], ids=["its own branch", "after a fork"])
def test_a_branch_that_was_left_is_put_back_whole(*, forks: bool) -> None:
    """Messages and provenance of the first branch, by a command as input: on the new one they are nobody's."""
    registry = InMemorySealRegistry()
    replies = [*LADDER, *([ending(), "gladly"] if forks else []), ending(), "well"]
    agent = Agent(replies, registry=registry, checkpointer=SealedSaver(InMemorySaver(), registry))
    agent.say(INSULT)
    start = agent.graph.get_state(config()).config
    for _ in LADDER[1:]:
        agent.say(INSULT)
    left = agent.state()
    if forks:
        agent.say(INSULT)
        agent.invoke({"messages": [HumanMessage("hello")]}, start)
    whole = [RemoveMessage(id=REMOVE_ALL_MESSAGES), *left["messages"], HumanMessage(INSULT)]
    update = {"messages": whole, "end_conversation_provenance": left["end_conversation_provenance"]}
    agent.invoke(Command(update=update, goto="model"))
    status = registry.status("t")
    assert (status.branch, status.sealed) == (int(forks), False)


async def test_unknown_marks_lead_nowhere(some_place: Place) -> None:
    """A checkpoint with marks that the registry never gave, put beside the guard: it counts for the present branch."""
    place = some_place
    chat = guarded(place, await place.sealed())
    await before_the_end(chat)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    last: Any = await place.inner.aget_tuple(config) if place.twin else place.inner.get_tuple(config)
    known: list[dict[str, Any]] = [{"branch": 7}, {"branch": "x"}, {"branch": 7, "run": "me", "sequence": 0}]
    for number, marks in enumerate(known):
        made = {f"end_conversation_{name}": value for name, value in marks.items()}
        metadata = {"source": "update", "step": 99, "parents": {}, **made}
        late_id = f"ffffffff-ffff-6fff-8fff-00000000000{number}"
        late: Any = (last.config, {**last.checkpoint, "id": late_id}, metadata, {})
        try:
            await place.inner.aput(*late) if place.twin else place.inner.put(*late)
        except Exception as refused:
            if not refused_by_trigger(refused):  # where the database guards itself
                raise
        assert await agree(chat, place)


class Prefixing(InMemorySaver):
    """A wrapper that keeps each thread under another id than the agent knows."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @staticmethod
    def _theirs(config: Any) -> Any:
        return {**config, "configurable": {**config["configurable"], "thread_id": "tenant:t"}}

    @staticmethod
    def _ours(config: Any) -> Any:
        return {**config, "configurable": {**config["configurable"], "thread_id": "t"}}

    def get_tuple(self, config: Any) -> Any:
        found = self.inner.get_tuple(self._theirs(config))
        return found and found._replace(config=self._ours(found.config))

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        return self._ours(self.inner.put(self._theirs(config), checkpoint, metadata, new_versions))

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        self.inner.put_writes(self._theirs(config), writes, task_id, task_path)


async def test_a_saver_with_another_registry_than_the_agent_is_a_wiring_error() -> None:
    place = Place("memory", twin=False, inner=InMemorySaver(), registry=InMemorySealRegistry())
    chat = guarded(place, SealedSaver(place.inner, InMemorySealRegistry()))
    with pytest.raises(InvalidInputError):
        await chat.say("hello")


def behind(door: str, registry: InMemorySealRegistry, saver: Any) -> Any:
    """Return a graph behind one of the doors, which says hello."""
    return graph_behind(door, ["hello"] * 2, {"registry": registry, "reader": KeywordReader()}, saver=saver)


@pytest.mark.parametrize("door", GRAPHS)
def test_a_saver_that_guards_other_threads_than_the_agent_is_a_wiring_error(door: str) -> None:
    registry, inner = InMemorySealRegistry(), InMemorySaver()
    graph = behind(door, registry, Prefixing(SealedSaver(inner, registry)))
    with pytest.raises(InvalidInputError, match=r"SealedSaver\(wrapper, registry\)"):
        graph.invoke(said("hello"), config())


@pytest.mark.parametrize("door", GRAPHS)
def test_within_the_guard_threads_may_have_other_ids(door: str) -> None:
    registry, inner = InMemorySealRegistry(), InMemorySaver()
    graph = behind(door, registry, SealedSaver(Prefixing(inner), registry))
    for _ in range(2):
        answer = graph.invoke(said("hello"), config())
    assert (len(answer["messages"]), set(inner.storage)) == (4, {"tenant:t"})
