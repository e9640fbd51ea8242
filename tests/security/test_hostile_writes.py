"""Ways to write past the seal where the database itself is to look at it, and legal writes that it must let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import copy_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import URL

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.registry import SqlSealRegistry
from support.chats import Chat, guarded, texts_of
from support.postgres import fresh_schema
from support.records import permit
from support.savers import Place, open_place, saver_url


@pytest.fixture
def chat(place: Place, saver: SealedSaver) -> Chat:
    return guarded(place, saver)


def rows(place: Place, thread: str = "t") -> Any:
    config: Any = {"configurable": {"thread_id": thread}}
    return place.inner.list(config) if not place.twin else place.inner.alist(config)


async def count(place: Place) -> int:
    found = rows(place)
    return len([one async for one in found]) if place.twin else len(list(found))


async def read(saver: SealedSaver, *, twin: bool) -> Any:
    config: Any = {"configurable": {"thread_id": "t"}}
    return await saver.aget_tuple(config) if twin else saver.get_tuple(config)


async def write(saver: SealedSaver, found: Any, *, twin: bool, **metadata: Any) -> None:
    """Write one more checkpoint with the fence of what was read."""
    checkpoint = {**copy_checkpoint(found.checkpoint), "id": str(uuid6())}
    arguments: Any = (found.config, checkpoint, {"source": "loop", "step": 9, "parents": {}, **metadata}, {})
    if twin:
        await saver.aput(*arguments)
    else:
        saver.put(*arguments)


@pytest.mark.parametrize("metadata", [{}, {"end_conversation_asked": True}], ids=["plain", "forged"])
async def test_a_run_that_is_late_in_an_erased_thread(
    place: Place, saver: SealedSaver, chat: Chat, metadata: dict[str, Any]
) -> None:
    await chat.say("hello")
    late = await read(saver, twin=place.twin)
    await chat.seal()
    place.registry.erase("t", operator="desk", reason="a request")  # type: ignore[attr-defined]
    before = await count(place)
    with pytest.raises(ThreadSealedError):
        await write(saver, late, twin=place.twin, **metadata)
    assert await count(place) == before


async def test_other_threads_go_on_where_one_is_erased(place: Place, saver: SealedSaver, chat: Chat) -> None:
    await chat.seal("gone")
    place.registry.erase("gone", operator="desk", reason="a request")  # type: ignore[attr-defined]
    await chat.say("hello")
    await chat.say("there")
    assert texts_of(await chat.state()) == ["hello", "heard hello", "there", "heard there"]
    if place.twin:
        await saver.acopy_thread("t", "u")
    else:
        saver.copy_thread("t", "u")
    assert texts_of(await chat.state("u")) == texts_of(await chat.state("t"))


async def test_a_reopened_thread_can_be_copied(place: Place, saver: SealedSaver, chat: Chat) -> None:
    await chat.say("hello")
    await chat.seal()
    place.registry.reopen("t", operator="desk", reason="an appeal")
    await chat.say("again")
    if place.twin:
        await saver.acopy_thread("t", "u")
    else:
        saver.copy_thread("t", "u")
    assert texts_of(await chat.state("u")) == texts_of(await chat.state("t"))
    await chat.say("on we go", "u")
    assert texts_of(await chat.state("u"))[-1] == "heard on we go"


@pytest.mark.parametrize("twin", [False, True], ids=["sync", "async"])
async def test_a_table_of_the_same_name_in_another_schema_is_not_the_guarded_one(
    postgres: URL,
    twin: bool,  # noqa: FBT001 - both ways
) -> None:
    with fresh_schema(postgres) as common, fresh_schema(postgres) as own:
        for url in (common, own):
            with PostgresSaver.from_conn_string(saver_url(url)) as inner:
                inner.setup()
        path = ",".join(url.rpartition("search_path%3D")[2] for url in (own, common))
        url = saver_url(common).rpartition("%3D")[0] + "%3D" + path.replace(",", "%2C")
        options: dict[str, Any] = {"autocommit": True, "row_factory": dict_row}
        async with SqlSealRegistry(common) as registry:
            if twin:
                apool: AsyncConnectionPool[Any] = AsyncConnectionPool(url, min_size=1, kwargs=options, open=False)
                async with apool:
                    await _check_late_write(SealedSaver(AsyncPostgresSaver(apool), registry), twin=True)
            else:
                spool: ConnectionPool[Any] = ConnectionPool(url, min_size=1, kwargs=options, open=True)
                with spool:
                    await _check_late_write(SealedSaver(PostgresSaver(spool), registry), twin=False)


async def _check_late_write(saver: SealedSaver, *, twin: bool) -> None:
    done = saver.setup()
    if done is not None:
        await done
    chat = guarded(Place("postgres", twin, saver.inner, saver.registry), saver)
    await chat.say("hello")
    late = await read(saver, twin=twin)
    saver.registry.seal(permit("t"))
    with pytest.raises(ThreadSealedError):
        await write(saver, late, twin=twin)


async def test_a_trigger_that_was_taken_away_comes_back(tmp_path: Path) -> None:
    async with open_place("sqlite", None, tmp_path, twin=False) as place:
        saver = await place.sealed()
        place.inner.conn.execute("DROP TRIGGER ect_guard")  # type: ignore[attr-defined]
        chat = guarded(place, await place.sealed())
        await chat.say("hello")
        late = await read(saver, twin=False)
        saver.registry.seal(permit("t"))
        with pytest.raises(ThreadSealedError):
            await write(saver, late, twin=False)


OLDER = {
    "sqlite": ["DROP TRIGGER ect_guard", "CREATE TRIGGER ect_guard BEFORE INSERT ON checkpoints BEGIN SELECT 1; END"],
    "postgres": [
        "CREATE OR REPLACE FUNCTION ect_guard_checkpoint() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    ],
}
VERSION = {
    "sqlite": "PRAGMA schema_version",
    "postgres": "SELECT oid FROM pg_trigger WHERE tgname = 'ect_guard' AND tgrelid = to_regclass('checkpoints')",
}


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_trigger_of_another_version_is_replaced(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    postgres = request.getfixturevalue("postgres") if engine == "postgres" else None
    async with open_place(engine, postgres, tmp_path, twin=False) as place:
        connection: Any = place.inner.conn  # type: ignore[attr-defined]
        await place.sealed()
        for statement in OLDER[engine]:
            connection.execute(statement)
        connection.commit()
        chat = guarded(place, saver := await place.sealed())
        await chat.say("hello")
        late = await read(saver, twin=False)
        saver.registry.seal(permit("t"))
        with pytest.raises(ThreadSealedError):
            await write(saver, late, twin=False)
        version = connection.execute(VERSION[engine]).fetchone()
        await place.sealed()
        assert connection.execute(VERSION[engine]).fetchone() == version  # what is up to date is left alone
