"""Every way to write to a sealed thread is refused; reading stays open, and shows the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import URL

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.errors import InvalidInputError, RegistryError, StaleRunError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.registry.sql.triggers import afound_in, found_in
from support.chats import Chat, guarded, texts_of
from support.records import permit
from support.savers import ENGINES, Place, open_place, saver_url


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=ENGINES)
async def place(request: pytest.FixtureRequest, tmp_path: Path, *, twin: bool) -> AsyncIterator[Place]:
    postgres = request.getfixturevalue("postgres") if request.param == "postgres" else None
    async with open_place(request.param, postgres, tmp_path, twin=twin, one_database=False) as opened:
        yield opened


class Calls:
    """A saver whose every method is awaited, whichever twin it runs."""

    def __init__(self, saver: SealedSaver, *, twin: bool) -> None:
        self.saver, self.twin = saver, twin

    async def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if not self.twin:
            found = getattr(self.saver, name)(*args, **kwargs)
            return list(found) if name == "list" else found
        found = getattr(self.saver, f"a{name}")(*args, **kwargs)
        return [one async for one in found] if name == "list" else await found


@pytest.fixture
async def saver(place: Place) -> SealedSaver:
    return await place.sealed()


@pytest.fixture
def calls(saver: SealedSaver, place: Place) -> Calls:
    return Calls(saver, twin=place.twin)


@pytest.fixture
def chat(place: Place, saver: SealedSaver) -> Chat:
    return guarded(place, saver)


def config_of(thread: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **more}}


async def test_put_and_put_writes_are_refused(chat: Chat, calls: Calls) -> None:
    await chat.seal()
    before = await calls("list", config_of("t"))
    newest = before[0].config
    for config in (config_of("t"), newest, config_of("t", checkpoint_ns="child")):
        with pytest.raises(ThreadSealedError) as refused:
            await calls("put", config, empty_checkpoint(), {"source": "update", "step": 9, "parents": {}}, {})
        assert refused.value.conversation_end["ended"] is True
        with pytest.raises(ThreadSealedError):
            await calls("put_writes", newest, [("messages", "late")], "task")
    assert await calls("list", config_of("t")) == before


async def test_reads_stay_open(chat: Chat, calls: Calls) -> None:
    await chat.seal()
    state = await chat.state()
    assert state.values["conversation_end"]["ended"] is True
    assert state.next == ()
    newest = await calls("get_tuple", config_of("t"))
    assert newest.checkpoint["channel_values"]["conversation_end"]["category"] == "abuse"
    checkpoint = await calls("get", config_of("t"))
    assert checkpoint["id"] == newest.checkpoint["id"]
    history = await chat.history()
    assert "conversation_end" in history[0].values
    assert "conversation_end" not in history[-1].values
    listed = await calls("list", config_of("t"), limit=2)
    assert [one.checkpoint["id"] for one in listed] == [
        snapshot.config["configurable"]["checkpoint_id"] for snapshot in history[:2]
    ]
    assert not [key for one in listed for key in one.metadata if key.startswith("end_conversation")]
    assert await calls("get", config_of("nobody")) is None


async def test_a_run_is_refused_without_a_look_at_the_checkpoints(
    chat: Chat, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attackers may go on for long, and what it takes to read a long thread is somebody else's turn."""
    await chat.seal()
    read: list[Any] = []
    name = "aget_tuple" if place.twin else "get_tuple"
    real = getattr(place.inner, name)

    def counted(config: Any) -> Any:
        read.append(config)
        return real(config)

    monkeypatch.setattr(place.inner, name, counted)
    with pytest.raises(ThreadSealedError):
        await chat.say("let me in")
    assert read == []
    assert (await chat.state()).values["conversation_end"]["ended"] is True
    assert len(read) == 1


async def test_list_of_everything_leaves_no_mark(chat: Chat, calls: Calls) -> None:
    await chat.seal("t")
    await chat.say("hello", "u")
    listed = await calls("list", None)
    assert {one.config["configurable"]["thread_id"] for one in listed} == {"t", "u"}
    assert not [key for one in listed for key in one.metadata if key.startswith("end_conversation")]
    assert len(await calls("list", None, limit=1)) == 1


async def test_deleting_a_thread_does_not_make_its_id_usable(chat: Chat, calls: Calls, place: Place) -> None:
    await chat.seal()
    await calls("delete_thread", "t")
    assert await calls("list", config_of("t")) == []
    state = await chat.state()
    assert state.values["conversation_end"]["ended"] is True
    assert texts_of(state) == []
    before = chat.model_calls()
    with pytest.raises(ThreadSealedError):
        await chat.say("hello again")
    with pytest.raises(ThreadSealedError):
        await chat.update({"messages": []})
    assert chat.model_calls() == before
    place.registry.reopen("t", operator="ops", reason="the user asked for a fresh start")
    assert (await chat.say("hello again"))["messages"][-1].content == "heard hello again"


async def test_a_copy_of_a_sealed_thread_is_sealed(chat: Chat, calls: Calls, place: Place) -> None:
    await chat.seal()
    place.registry.flag_risk("t", kind="self_harm", source="host")
    await calls("copy_thread", "t", "u")
    assert place.registry.status("u").sealed
    assert place.registry.status("u").at_risk
    state = await chat.state("u")
    assert state.values["conversation_end"]["ended"] is True
    assert texts_of(state) == texts_of(await chat.state("t"))
    assert len(await chat.history("u")) == len(await chat.history("t"))
    with pytest.raises(ThreadSealedError):
        await chat.say("hello", "u")


async def test_a_copy_of_an_open_thread_is_open(chat: Chat, calls: Calls) -> None:
    await chat.say("hello")
    await calls("copy_thread", "t", "u")
    await chat.say("more", "u")
    assert texts_of(await chat.state("u")) == ["hello", "heard hello", "more", "heard more"]
    assert texts_of(await chat.state("t")) == ["hello", "heard hello"]


async def test_nothing_is_copied_over_another_thread(chat: Chat, calls: Calls) -> None:
    await chat.say("hello", "open")
    await chat.say("there", "other")
    await chat.seal("sealed")
    with pytest.raises(InvalidInputError, match="target_thread_id"):
        await calls("copy_thread", "open", "other")
    with pytest.raises(ThreadSealedError):
        await calls("copy_thread", "open", "sealed")
    assert texts_of(await chat.state("other")) == ["there", "heard there"]


async def test_a_thread_that_is_sealed_while_it_is_copied_leaves_no_open_copy(
    chat: Chat, calls: Calls, place: Place
) -> None:
    await chat.say("hello")
    name = "aput" if place.twin else "put"
    real = getattr(place.inner, name)

    def sealing(*args: Any) -> Any:
        if not place.registry.status("t").sealed:
            place.registry.seal(permit("t"))
        return real(*args)

    setattr(place.inner, name, sealing)
    with pytest.raises(StaleRunError):
        await calls("copy_thread", "t", "u")
    delattr(place.inner, name)
    assert await calls("list", config_of("u")) == []


async def test_pruning_keeps_the_seal(chat: Chat, calls: Calls, place: Place) -> None:
    await chat.seal()
    before = texts_of(await chat.state())
    if place.engine != "postgres":
        with pytest.raises(NotImplementedError):
            await calls("prune", ["t"])
        return
    await calls("prune", ["t"])
    assert len(await calls("list", config_of("t"))) == 1
    state = await chat.state()
    assert (texts_of(state), state.values["conversation_end"]["ended"]) == (before, True)
    with pytest.raises(ThreadSealedError):
        await chat.say("hello")
    await calls("prune", ["t"], strategy="delete")
    assert await calls("list", config_of("t")) == []
    with pytest.raises(ThreadSealedError):
        await chat.say("hello")


async def test_discarding_answers_with_the_end_and_writes_nothing(place: Place) -> None:
    saver = await place.sealed(on_sealed="discard")
    calls, chat = Calls(saver, twin=place.twin), guarded(place, saver, on_sealed="respond")
    await chat.seal()
    before = await calls("list", config_of("t"))
    spoken = chat.model_calls()
    answered = await chat.say("hello")
    assert answered["conversation_end"]["ended"] is True
    assert "hello" not in [message.content for message in answered["messages"]]
    assert chat.model_calls() == spoken
    assert await calls("list", config_of("t")) == before
    with pytest.raises(ThreadSealedError):  # not a run: nobody would answer for it
        await chat.update({"messages": []})


async def test_a_sealed_thread_without_checkpoints_can_be_answered_too(place: Place) -> None:
    saver = await place.sealed(on_sealed="discard")
    chat = guarded(place, saver, on_sealed="respond")
    await chat.seal()
    await Calls(saver, twin=place.twin)("delete_thread", "t")
    answered = await chat.say("hello")
    assert answered["conversation_end"]["ended"] is True
    assert answered["messages"] == []
    assert await Calls(saver, twin=place.twin)("list", config_of("t")) == []


class Gone(InMemorySealRegistry):
    """A registry that cannot be reached."""

    def status(self, thread_id: str) -> Any:
        raise RegistryError(f"no registry for {len(thread_id)} characters")

    async def astatus(self, thread_id: str) -> Any:
        return self.status(thread_id)


async def test_nobody_reads_or_writes_while_the_registry_is_unknown(twin: bool) -> None:  # noqa: FBT001 - fixture
    calls = Calls(SealedSaver(InMemorySaver(), Gone()), twin=twin)
    metadata = {"source": "input", "step": 0, "parents": {}}
    with pytest.raises(RegistryError):
        await calls("put", config_of("t"), empty_checkpoint(), metadata, {})
    with pytest.raises(RegistryError):
        await calls("put_writes", config_of("t", checkpoint_id="1"), [("c", 1)], "task")
    with pytest.raises(RegistryError):
        await calls("get_tuple", config_of("t"))
    with pytest.raises(RegistryError):
        await calls("list", config_of("t"))
    with pytest.raises(RegistryError):
        await calls("copy_thread", "t", "u")
    assert await calls("list", None) == []


async def written_beside(chat: Chat, place: Place) -> str:
    """Have a checkpoint written beside a seal, as the newest of the thread; return its id."""
    await chat.say("hello")
    before = [found.checkpoint["id"] for found in await raw(place)]
    seen = await chat.state()
    place.registry.seal(permit("t"), checkpoint_id=before[0], run_token="another run")  # noqa: S106
    late: Any = {**empty_checkpoint(), "channel_values": {"messages": [HumanMessage("late")]}, "channel_versions": {}}
    late["channel_versions"] = {"messages": "99"}
    metadata: Any = {"source": "loop", "step": 9, "parents": {}, "end_conversation_branch": 0}
    config: Any = {"configurable": {key: seen.config["configurable"][key] for key in ("thread_id", "checkpoint_ns")}}
    if place.twin:
        await place.inner.aput(config, late, metadata, {"messages": "99"})
    else:
        place.inner.put(config, late, metadata, {"messages": "99"})
    assert next(iter(await raw(place))).checkpoint["id"] == late["id"]
    return str(late["id"])


async def raw(place: Place) -> list[Any]:
    if place.twin:
        return [found async for found in place.inner.alist(config_of("t"))]
    return list(place.inner.list(config_of("t")))


async def test_the_newest_checkpoint_may_be_one_that_nobody_sees(chat: Chat, calls: Calls, place: Place) -> None:
    late = await written_beside(chat, place)
    state = await chat.state()
    assert texts_of(state) == ["hello", "heard hello"]
    assert state.values["conversation_end"]["ended"] is True
    assert late not in [found.checkpoint["id"] for found in await calls("list", config_of("t"))]
    assert late not in [found.checkpoint["id"] for found in await calls("list", None)]
    assert await calls("get_tuple", config_of("t", checkpoint_id=late)) is None
    # A copy leaves it behind, and pruning to the newest does not leave only that one.
    await calls("copy_thread", "t", "u")
    assert texts_of(await chat.state("u")) == ["hello", "heard hello"]
    if place.engine == "postgres":
        await calls("prune", ["t"])
        assert texts_of(await chat.state()) == ["hello", "heard hello"]


async def test_nothing_is_left_when_all_was_written_beside_the_seal(calls: Calls, place: Place, chat: Chat) -> None:
    late = await written_beside(chat, place)
    everything = await raw(place)
    await calls("delete_thread", "t")
    newest = next(found for found in everything if found.checkpoint["id"] == late)
    arguments: Any = (config_of("t"), newest.checkpoint, newest.metadata, newest.checkpoint["channel_versions"])
    if place.twin:
        await place.inner.aput(*arguments)
    else:
        place.inner.put(*arguments)
    state = await chat.state()
    assert texts_of(state) == []
    assert state.values["conversation_end"]["ended"] is True


class Counted(TypedDict, total=False):
    said: str
    seen: int


async def test_a_subgraph_with_a_memory_of_its_own_follows_its_run(place: Place) -> None:
    """It lies on the sealed branch, and its run is on a new one: it goes on, and writes there."""
    saver = await place.sealed()

    def count(state: Counted) -> Counted:
        return {"seen": state.get("seen", 0) + 1}

    child: Any = StateGraph(Counted).add_node("count", count).add_edge(START, "count").compile(checkpointer=True)
    parent: Any = StateGraph(Counted).add_node("child", child).add_edge(START, "child").compile(checkpointer=saver)
    chat = Chat(parent, place.twin, lambda: 0)
    for _ in range(2):
        await chat.run({"said": "hello"}, "t")
    history = await chat.history()
    place.registry.seal(permit("t"), checkpoint_id=history[0].config["configurable"]["checkpoint_id"])
    with pytest.raises(ThreadSealedError):
        await chat.run({"said": "hello"}, "t")
    start = next(one for one in history if one.metadata["step"] == 1 and not one.next)
    await chat.run({"said": "another way"}, dict(start.config["configurable"]))
    assert place.registry.status("t").branch == 1
    await chat.run({"said": "hello"}, "t")
    assert place.registry.status("t").branch == 1


class TriggerError(Exception):
    """What psycopg raises when the trigger refuses."""

    sqlstate = "ECT01"


async def test_a_refusal_of_the_database_stands_though_the_thread_is_open_again(twin: bool) -> None:  # noqa: FBT001
    class Refusing(InMemorySaver):
        def put(self, *_: Any) -> Any:
            raise TriggerError

    calls = Calls(SealedSaver(Refusing(), InMemorySealRegistry()), twin=twin)
    with pytest.raises(TriggerError):
        await calls("put", config_of("t"), empty_checkpoint(), {"source": "input", "step": 0, "parents": {}}, {})


def test_another_error_of_the_database_is_handed_on() -> None:
    class Broken(InMemorySaver):
        def put(self, *_: Any) -> Any:
            raise OSError("disk")

    saver = SealedSaver(Broken(), InMemorySealRegistry())
    with pytest.raises(OSError, match="disk"):
        saver.put(config_of("t"), empty_checkpoint(), {"source": "input", "step": 0, "parents": {}}, {})


async def test_a_pool_of_connections_finds_the_registry_too(postgres: URL, tmp_path: Path) -> None:
    async with open_place("postgres", postgres, tmp_path, twin=False) as place:
        key, url = place.registry.signing_key, saver_url(place.url)
        with ConnectionPool(url, min_size=1, open=True) as pool:
            assert found_in(SimpleNamespace(conn=pool), key)
            assert not found_in(SimpleNamespace(conn=pool), b"another")
        async with AsyncConnectionPool(url, min_size=1, open=False) as apool:
            assert await afound_in(SimpleNamespace(conn=apool), key)
        assert not await afound_in(SimpleNamespace(), key)
        assert not found_in(SimpleNamespace(), key)
