"""Databases that are newer, foreign, corrupt or closed: an error that says so, nothing changed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, make_url

from end_conversation_tool.errors import InvalidInputError, RegistryError, RegistrySchemaError
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.sql.store import READ_STATE
from support.damage import both_ways_fail, everything_fails, execute
from support.records import permit


@pytest.fixture
def sealed(url: str) -> str:
    """The URL of a registry in which one thread is sealed."""
    with SqlSealRegistry(url) as registry:
        registry.seal(permit())
    return url


def test_what_was_written_is_there_after_reopening(sealed: str) -> None:
    with SqlSealRegistry(sealed) as one, SqlSealRegistry(sealed, create=False) as two:
        assert one.signing_key == two.signing_key
        assert one.status("thread").sealed
        assert one.status("thread") == two.status("thread")
        assert one.history("thread") == two.history("thread") != ()
        assert one.decisions("thread") == two.decisions("thread") != ()


def test_other_tables_in_the_database_are_left_alone(url: str) -> None:
    execute(url, "CREATE TABLE checkpoints (thread_id text)", "INSERT INTO checkpoints VALUES ('a')")
    with SqlSealRegistry(url) as registry:
        assert registry.seal(permit()).created
    execute(url, "INSERT INTO checkpoints VALUES ('b')")


def test_looking_creates_nothing(url: str) -> None:
    if url.startswith("postgresql"):
        with pytest.raises(RegistryError, match="holds no registry"):
            SqlSealRegistry(url, create=False)
        execute(url, "CREATE TABLE ect_meta (name text)")  # it is not there
    else:
        with pytest.raises(RegistryError, match="does not exist"):
            SqlSealRegistry(url, create=False)
        assert not Path(make_url(url).database or "").exists()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE ect_meta SET value = '2' WHERE name = 'schema_version'", "schema version 2"),
        ("UPDATE ect_meta SET value = '0' WHERE name = 'schema_version'", "schema version 0"),
        ("UPDATE ect_meta SET value = '1.5' WHERE name = 'schema_version'", "no schema version"),
        ("UPDATE ect_meta SET value = '²' WHERE name = 'schema_version'", "no schema version"),
        ("DELETE FROM ect_meta WHERE name = 'schema_version'", "no schema version"),
        ("DELETE FROM ect_meta", "no schema version"),
        ("UPDATE ect_meta SET value = 'zz' WHERE name = 'signing_key'", "no usable signing key"),
        ("UPDATE ect_meta SET value = 'abcd' WHERE name = 'signing_key'", "no usable signing key"),
        ("DROP TABLE ect_threads", "but not ect_threads"),
        ("DROP TABLE ect_meta", "but not ect_meta"),
        ("ALTER TABLE ect_threads RENAME COLUMN state TO condition", "state|UndefinedColumn"),
        ("ALTER TABLE ect_meta RENAME COLUMN value TO content", "value|UndefinedColumn"),
    ],
)
def test_a_newer_foreign_or_damaged_schema_is_refused(sealed: str, damage: str, found: str) -> None:
    execute(sealed, damage)
    for create in (True, False):
        with pytest.raises(RegistrySchemaError, match=found):
            SqlSealRegistry(sealed, create=create)


@pytest.mark.parametrize("table", ["ect_threads", "ect_decisions", "ect_events"])
async def test_a_table_dropped_while_in_use_is_an_error(sealed: str, table: str) -> None:
    async with SqlSealRegistry(sealed) as registry:
        execute(sealed, f"DROP TABLE {table}")
        await both_ways_fail(registry, "seal", permit("another"))
        method = {"ect_threads": "status", "ect_decisions": "decisions", "ect_events": "history"}[table]
        with pytest.raises(RegistrySchemaError):
            getattr(registry, method)("thread")
        with pytest.raises(RegistrySchemaError):
            await getattr(registry, f"a{method}")("thread")


@pytest.mark.parametrize(
    "state",
    ["", "{", "null", "{}", '{"thread_id": "other"}', '{"thread_id": "thread", "lately": 1}', '{"thread_id": "secret'],
)
async def test_a_state_that_cannot_be_read_is_an_error(sealed: str, state: str) -> None:
    execute(sealed, f"UPDATE ect_threads SET state = '{state}'")  # noqa: S608
    async with SqlSealRegistry(sealed) as registry:
        for method in ("status", "seals"):
            await both_ways_fail(registry, method, "thread")
        await both_ways_fail(registry, "seal", permit())
        await both_ways_fail(registry, "flag_risk", "thread", kind="crisis", source="test")
        await both_ways_fail(registry, "reopen", "thread", operator="Kim", reason="looked")
        with pytest.raises(RegistrySchemaError) as caught:
            registry.status("thread")
        assert "secret" not in str(caught.value)
        assert not registry.status("another").sealed
        assert len(registry.decisions("thread")) == 1


async def test_a_decision_that_cannot_be_read_is_an_error(sealed: str) -> None:
    execute(sealed, "UPDATE ect_decisions SET record = '{}'", "UPDATE ect_events SET event = '[]'")
    async with SqlSealRegistry(sealed) as registry:
        await both_ways_fail(registry, "decisions", "thread")
        await both_ways_fail(registry, "history", "thread")
        assert registry.status("thread").sealed


async def test_a_closed_registry_says_so(url: str) -> None:
    registry = SqlSealRegistry(url)
    await registry.astatus("thread")
    await registry.aclose()
    registry.close()
    await everything_fails(registry)
    with pytest.raises(RegistryError, match="is closed"):
        registry.status("thread")


def test_bad_arguments_are_refused_without_quoting_them(tmp_path: Path) -> None:
    for bad in [
        None, 3, "", "nonsense", "://", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=ro",
        f"sqlite:///{tmp_path}/a.db?mode=ro", "mysql://kim:hunter2@host/db", "postgresql+asyncpg://kim:hunter2@host/db",
        "sqlite+aiosqlite:///a.db", "postgresql://kim:hunter2@host:port/db",
    ]:  # fmt: skip
        with pytest.raises(InvalidInputError, match=r"^url: ") as caught:
            SqlSealRegistry(bad)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)
    for timeout in (0, -1, float("nan"), float("inf"), "1", None, True, 3601):
        with pytest.raises(InvalidInputError, match=r"^timeout: "):
            SqlSealRegistry(f"sqlite:///{tmp_path}/a.db", timeout=timeout)  # type: ignore[arg-type]
    for size in (0, -1, 1.5, "1", None, True, 1001):
        with pytest.raises(InvalidInputError, match=r"^pool_size: "):
            SqlSealRegistry(f"sqlite:///{tmp_path}/a.db", pool_size=size)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"end-conversation-tool\[postgres\]"):
        SqlSealRegistry("postgresql://localhost/db")


def test_no_read_scans_a_table(url: str) -> None:
    dialect = make_url(url).get_backend_name()
    with SqlSealRegistry(url) as registry:
        registry.seal(permit())
    engine = create_engine(url, poolclass=NullPool)
    explain = "EXPLAIN QUERY PLAN " if dialect == "sqlite" else "EXPLAIN "
    with engine.connect() as connection:
        if dialect == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # the tables are small: a scan would be chosen
        for statement in (
            READ_STATE + "'key'",
            "SELECT record FROM ect_decisions WHERE thread_key = 'key' ORDER BY number",
            "SELECT event FROM ect_events WHERE thread_key = 'key' ORDER BY number",
            "SELECT outcome FROM ect_decisions WHERE decided_at >= 5",
            "SELECT kind FROM ect_events WHERE at >= 5",
        ):
            plan = " ".join(str(row) for row in connection.exec_driver_sql(explain + statement))
            assert "Index" in plan or "USING INDEX" in plan or "USING COVERING INDEX" in plan
            assert "SCAN" not in plan
            assert "Seq Scan" not in plan
