"""The registry goes wrong under a running agent.

While an end is being asked for, the end is denied and the conversation goes on. When a message comes in, the message is
refused with a clear error, and nothing of it is kept: nobody knows whether the thread is sealed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, event, make_url

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.sql.store import thread_key
from support.chats import END_IT, WARN, Chat, answer, guarded, texts_of
from support.damage import execute
from support.records import denial
from support.savers import Place, open_place

Ruin = Callable[[Place], Any]


def file_of(place: Place) -> Path:
    return Path(str(make_url(place.url).database))


@contextmanager
def lost(place: Place) -> Iterator[None]:
    if place.engine == "sqlite":
        file_of(place).unlink()
    else:
        execute(place.url, "ALTER TABLE ect_threads RENAME TO gone", "ALTER TABLE ect_decisions RENAME TO gone_too")
    yield


@contextmanager
def corrupt(place: Place) -> Iterator[None]:
    """What is stored makes no sense any more; files that are damaged as such are the registry's own tests."""
    execute(
        place.url,
        "ALTER TABLE ect_decisions RENAME record TO gone",
        f"INSERT INTO ect_threads VALUES ('{thread_key('t')}', 't', 0, 0, false, false, '{{}}')",  # noqa: S608
    )
    yield


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Somebody else holds the database: readers get in, writers do not."""
    if place.engine == "sqlite":
        other = sqlite3.connect(file_of(place), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
        other.close()
        return
    engine = create_engine(place.url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE ect_threads, ect_decisions IN EXCLUSIVE MODE")
        yield
        connection.rollback()


def hobbled(pragma: str, setting: str) -> Ruin:
    @contextmanager
    def ruin(place: Place) -> Iterator[None]:
        assert isinstance(place.registry, SqlSealRegistry)
        if place.engine == "sqlite":
            engine = place.registry._store._engine

            def hobble(connection: Any, *_: object) -> None:
                connection.execute(pragma)

            event.listen(engine, "checkout", hobble)
            with suppress(RegistryError):  # up to the last free byte, when it is about space
                while True:
                    place.registry.record_decision(denial("other"))
            yield
            event.remove(engine, "checkout", hobble)
            return
        name = make_url(place.url).query["options"]
        schema = str(name).split("=")[-1]
        execute(place.url, setting.format(schema=schema))
        yield

    return ruin


READ_ONLY = (
    "CREATE FUNCTION nope() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$; "
    "CREATE TRIGGER nope BEFORE INSERT ON ect_threads EXECUTE FUNCTION nope(); "
    "CREATE TRIGGER nope BEFORE INSERT ON ect_decisions EXECUTE FUNCTION nope()"
)
"""PostgreSQL says 25006 when it is read-only, and 53100 when the disk is full."""

WRITING: dict[str, Ruin] = {
    "read_only": hobbled("PRAGMA query_only = ON", READ_ONLY.format(code="25006")),
    "full": hobbled("PRAGMA max_page_count = 1", READ_ONLY.format(code="53100")),
    "locked": locked,
}
ALL: dict[str, Ruin] = {"lost": lost, "corrupt": corrupt}


@pytest.fixture(params=[("sqlite", False), ("sqlite", True), ("postgres", False), ("postgres", True)], ids=str)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Registry and checkpoints apart, so that only the registry goes wrong; it waits for no more than a moment."""
    engine, twin = request.param
    postgres = request.getfixturevalue("postgres") if engine == "postgres" else None
    async with (
        open_place(engine, postgres, tmp_path, twin=twin, one_database=False) as opened,
        SqlSealRegistry(opened.url, timeout=0.2) as registry,
    ):
        yield Place(engine, twin, opened.inner, registry, opened.url)


class Ruined:
    """Ruins the registry when the model asks for the end: after the run was let in, before it is decided."""

    def __init__(self, place: Place, ruin: Ruin) -> None:
        self._ruin = ruin(place)
        self.done = False

    def __call__(self, messages: list[Any]) -> Any:
        if "!end" in str(messages[-1].content) and not self.done:
            self.done = True
            self._ruin.__enter__()
        return answer(messages)

    def over(self) -> None:
        if self.done:
            self._ruin.__exit__(None, None, None)


@pytest.mark.parametrize("ruin", [*WRITING.values(), *ALL.values()], ids=[*WRITING, *ALL])
async def test_while_the_end_is_asked_for(place: Place, ruin: Ruin) -> None:
    ruined = Ruined(place, ruin)
    chat = guarded(place, await place.sealed(), replies=ruined)
    await chat.say(WARN)
    try:
        try:
            answered = await chat.say(END_IT)
        except RegistryError:
            # The end was denied; then the rest of the turn could not be let in either.
            assert ruin in ALL.values()
        else:
            assert ruin in WRITING.values()
            assert "conversation_end" not in answered
            assert answered["messages"][-1].content == "done"
    finally:
        ruined.over()
    assert ruined.done
    if ruin is locked:  # the only one that mends itself
        assert place.registry.status("t").seal is None
        await chat.say(END_IT)
        assert place.registry.status("t").sealed


@pytest.mark.parametrize("ruin", ALL.values(), ids=ALL)
async def test_when_a_message_comes_in(place: Place, ruin: Ruin) -> None:
    chat = guarded(place, await place.sealed())
    await chat.say("hello")
    before = await raw_texts(place, chat)
    spoken = chat.model_calls()
    with ruin(place):
        with pytest.raises(RegistryError):
            await chat.say("again")
        with pytest.raises(RegistryError):
            await chat.update({"messages": []})
        with pytest.raises(RegistryError):
            await chat.state()
    assert chat.model_calls() == spoken
    assert await raw_texts(place, chat) == before


async def raw_texts(place: Place, chat: Chat) -> list[str]:
    """Return what the inner saver has, without asking the registry."""
    return texts_of(await replace(chat, graph=guarded(place, place.inner).graph).state())


@pytest.mark.parametrize("ruin", WRITING.values(), ids=WRITING)
async def test_a_registry_that_can_only_be_read_lets_messages_in(place: Place, ruin: Ruin) -> None:
    chat = guarded(place, await place.sealed())
    await chat.say("hello")
    with ruin(place):
        assert (await chat.say("again"))["messages"][-1].content == "heard again"
