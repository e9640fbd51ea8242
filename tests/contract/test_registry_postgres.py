"""What only a database server does: it refuses, goes away, comes back, and has users with few rights."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg.pq import ConnStatus, TransactionStatus
from sqlalchemy import URL, NullPool, create_engine, make_url

from end_conversation_tool._core.records import utc_now
from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry import SqlSealRegistry
from support.damage import execute
from support.postgres import fresh_database
from support.records import permit


@pytest.fixture
def url(postgres: URL) -> Iterator[str]:
    with fresh_database(postgres) as fresh:
        yield fresh


END_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_spellings_of_the_url(url: str, scheme: str) -> None:
    with SqlSealRegistry(url.replace("postgresql+psycopg", scheme)) as registry:
        assert registry.seal(permit()).created


async def test_connections_that_the_server_ended_are_replaced(url: str) -> None:
    async with SqlSealRegistry(url) as registry:
        for number in range(3):
            registry.status("thread")
            await registry.astatus("thread")
            execute(url, END_CONNECTIONS)
            assert registry.status("thread").sealed is (number > 0)
            execute(url, END_CONNECTIONS)
            assert (await registry.astatus("thread")).sealed is (number > 0)
            execute(url, END_CONNECTIONS)
            assert registry.seal(permit()).created is (number == 0)
            execute(url, END_CONNECTIONS)
            assert (await registry.aseal(permit())).created is False
            execute(url, END_CONNECTIONS)
            assert registry.history("thread")
            execute(url, END_CONNECTIONS)
            assert await registry.ahistory("thread")


async def test_of_many_connections_that_the_server_ended_none_is_tried_twice(url: str) -> None:
    async with SqlSealRegistry(url, pool_size=4) as registry:
        registry.seal(permit())
        for _ in range(2):
            await asyncio.gather(*(asyncio.to_thread(registry.status, "thread") for _ in range(40)))
            await asyncio.gather(*(registry.astatus("thread") for _ in range(40)))
            execute(url, END_CONNECTIONS)
            assert registry.status("thread").sealed
            assert (await registry.astatus("thread")).sealed


async def test_a_server_that_is_not_there_is_an_error_without_the_password() -> None:
    for url in (
        "postgresql://kim:hunter2@127.0.0.1:1/db?connect_timeout=2",
        "postgresql://kim:hunter2@host.invalid/db?sslpassword=hunter2",
    ):
        with pytest.raises(RegistryError) as caught:
            SqlSealRegistry(url)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_a_locked_thread_is_waited_for_and_then_an_error(url: str) -> None:
    async with SqlSealRegistry(url, timeout=0.3) as registry:
        registry.seal(permit())
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT 1 FROM ect_threads FOR UPDATE")
            with pytest.raises(RegistryError, match="LockNotAvailable"):
                registry.flag_risk("thread", kind="crisis", source="test")
            with pytest.raises(RegistryError, match="LockNotAvailable"):
                await registry.aflag_risk("thread", kind="crisis", source="test")
            assert registry.status("thread").sealed
            assert registry.seal(permit("another")).created
        assert (await registry.aflag_risk("thread", kind="crisis", source="test")).active


async def test_a_user_who_may_only_read(url: str) -> None:
    role = f"reader_{make_url(url).database}"
    with SqlSealRegistry(url) as registry:
        registry.seal(permit())
    execute(url, f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        reader = make_url(url).set(username=role)
        async with SqlSealRegistry(reader) as registry:
            assert registry.status("thread").sealed
            words = permit("another", reason="words of a person")
            for error in [await _failure(registry, words, twin=twin) for twin in (False, True)]:
                assert "InsufficientPrivilege" in str(error)
                assert "words of a person" not in "".join(traceback.format_exception(error))
    finally:
        execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def _failure(registry: SqlSealRegistry, record: object, *, twin: bool) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await registry.aseal(record) if twin else registry.seal(record)  # type: ignore[arg-type]
    return caught.value


async def test_a_status_is_one_statement_and_no_transaction(url: str) -> None:
    async with SqlSealRegistry(url) as registry:
        registry.status("thread")
        await registry.astatus("thread")
        execute(url, "SELECT pg_stat_reset()")
        for _ in range(20):
            registry.status("thread")
            await registry.astatus("thread")
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            states = connection.exec_driver_sql(
                "SELECT state, query FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).all()
    # The last statement of each connection is the read itself: no BEGIN before it, no ROLLBACK after it.
    assert [tuple(row) for row in states] == [("idle", "SELECT state FROM ect_threads WHERE thread_key = $1")] * 2


async def test_more_callers_than_connections_take_turns(url: str) -> None:
    async with SqlSealRegistry(url, pool_size=2) as registry:
        registry.seal(permit())
        found = await asyncio.gather(*(registry.astatus("thread") for _ in range(100)))
        assert all(status.sealed for status in found)
        made = await asyncio.gather(*(registry.aseal(permit(f"thread-{number}")) for number in range(20)))
        assert all(outcome.created for outcome in made)
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert connection.exec_driver_sql(mine).scalar_one() <= 1 + 3 * 2  # this one; sync, async reads and writes


async def test_no_free_connection_is_an_error_in_time(url: str) -> None:
    async with SqlSealRegistry(url, pool_size=1, timeout=0.3) as registry:
        await registry.astatus("thread")
        connections = registry._store._in_loop()  # type: ignore[attr-defined]
        async with connections._slots:
            with pytest.raises(RegistryError, match="TimeoutError"):
                await registry.astatus("thread")
        assert not (await registry.astatus("thread")).sealed


async def test_more_sync_callers_than_connections_take_turns(url: str) -> None:
    def often() -> bool:
        return all(registry.status("thread").sealed for _ in range(50))

    with SqlSealRegistry(url, pool_size=2) as registry:
        registry.seal(permit())
        assert all(await asyncio.gather(*(asyncio.to_thread(often) for _ in range(8))))
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert connection.exec_driver_sql(mine).scalar_one() <= 1 + 2 * 2  # this one; reads and writes


async def test_a_statement_that_the_server_forgot_is_prepared_again(url: str) -> None:
    async with SqlSealRegistry(url) as registry:
        registry.seal(permit())
        assert registry.status("thread").sealed
        assert (await registry.astatus("thread")).sealed
        store: Any = registry._store
        pooled, connection = store._engine.raw_connection(), store._in_loop()._idle[0]
        pooled_pgconn = pooled.driver_connection.pgconn
        pooled.close()
        for pgconn in (pooled_pgconn, connection.pgconn):
            assert pgconn.exec_(b"SELECT count(*) FROM pg_prepared_statements").get_value(0, 0) == b"1"
            pgconn.exec_(b"DEALLOCATE ALL")
        for _ in range(2):
            assert registry.status("thread").sealed
            assert (await registry.astatus("thread")).sealed
        assert pooled_pgconn.status == ConnStatus.BAD  # closed, and another one is in its place
        assert store._in_loop()._idle[0] is not connection


async def test_nothing_is_prepared_for_a_pooler(url: str) -> None:
    async with SqlSealRegistry(url, prepared_statements=False) as registry:
        registry.seal(permit())
        for _ in range(10):  # psycopg prepares by itself what comes five times
            assert registry.status("thread").sealed
            assert (await registry.astatus("thread")).sealed
            assert len(registry.decisions("thread")) == len(await registry.adecisions("thread")) == 1
        store: Any = registry._store
        with store._engine.connect() as pooled:
            async with store._in_loop().engine.connect() as own:
                of_loop = (await own.get_raw_connection()).driver_connection
                for connection in (pooled.connection.driver_connection, of_loop, store._in_loop()._idle[0]):
                    found = connection.pgconn.exec_(b"SELECT count(*) FROM pg_prepared_statements")
                    assert found.get_value(0, 0) == b"0"
                    assert connection.prepare_threshold is None


async def test_a_report_leaves_a_connection_as_it_was(url: str) -> None:
    async with SqlSealRegistry(url, pool_size=1) as registry:
        registry.seal(permit())
        counts = registry.tally(datetime(2000, 1, 1, tzinfo=UTC), utc_now())
        assert counts.total.ended == 1
        store: Any = registry._store
        pooled = store._engine.raw_connection()
        found = pooled.driver_connection.pgconn.exec_(b"SELECT current_setting('work_mem')").get_value(0, 0)
        assert found != b"128MB"
        assert pooled.driver_connection.info.transaction_status == TransactionStatus.IDLE
        pooled.close()


async def test_a_read_that_is_given_up_leaves_nothing_behind(url: str) -> None:
    async with SqlSealRegistry(url, pool_size=1) as registry:
        registry.seal(permit())
        await registry.astatus("thread")
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE ect_threads IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(registry.astatus("thread"), 0.2)
        assert (await registry.astatus("thread")).sealed


async def test_a_write_that_is_given_up_leaves_nothing_behind(url: str) -> None:
    async with SqlSealRegistry(url, pool_size=1) as registry:
        await registry.aflag_risk("thread", kind="crisis", source="test")
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT 1 FROM ect_threads FOR UPDATE")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(registry.aclear_risk("thread", operator="Kim", reason="looked"), 0.2)
        assert (await registry.astatus("thread")).at_risk
        assert await registry.aclear_risk("thread", operator="Kim", reason="looked") == 1


async def test_texts_come_in_the_encoding_of_the_connection(url: str) -> None:
    async with SqlSealRegistry(f"{url}{'&' if '?' in url else '?'}client_encoding=latin1") as registry:
        registry.seal(permit("caf\u00e9"))
        assert registry.status("caf\u00e9").sealed
        assert (await registry.astatus("caf\u00e9")).sealed
