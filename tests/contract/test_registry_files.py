"""What happens to files: garbage, truncated, deleted, replaced, read-only, full, locked."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, event

from end_conversation_tool.errors import InvalidInputError, RegistryError, RegistrySchemaError
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.sql.store import SqliteStore
from support.damage import everything_fails, execute, writes_fail
from support.records import permit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The SQLite file of a registry in which one thread is sealed."""
    path = tmp_path / "sealed.db"
    with SqlSealRegistry(f"sqlite:///{path}") as registry:
        registry.seal(permit())
    return path


def test_a_newer_schema_says_what_is_supported_and_is_not_changed(file: Path) -> None:
    execute(f"sqlite:///{file}", "UPDATE ect_meta SET value = '7' WHERE name = 'schema_version'")
    before = file.read_bytes()
    with pytest.raises(RegistrySchemaError, match=r"schema version 7.*supports schema version 1\. Nothing was changed"):
        SqlSealRegistry(f"sqlite:///{file}")
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"not a database, only text " * 100, b"\x00" * 5000, b"SQLite format 3\x00junk"])
def test_garbage_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.db"
    path.write_bytes(content)
    with pytest.raises(RegistryError):
        SqlSealRegistry(f"sqlite:///{path}")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite+aiosqlite:///a.db", "which serve async calls too, got sqlite+aiosqlite://..."),
        ("mysql://kim:hunter2@host/db", "got mysql://..."),
        ("conversations.db", "got 'conversations.db': for a file, sqlite:///conversations.db"),
        ("host=h password=hunter2", "got another str"),
    ],
)
def test_a_url_that_is_none_of_ours_is_told_by_what_is_no_secret(url: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        SqlSealRegistry(url)
    assert str(caught.value).endswith(said)


def test_places_that_cannot_hold_a_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is a folder"):
        SqlSealRegistry(f"sqlite:///{tmp_path}")
    with pytest.raises(RegistryError, match="its folder does not exist"):
        SqlSealRegistry(f"sqlite:///{tmp_path}/nowhere/registry.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_truncated_file_is_an_error(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RegistryError):
        SqlSealRegistry(f"sqlite:///{file}")


async def test_a_file_overwritten_while_in_use_is_an_error(file: Path) -> None:
    with SqlSealRegistry(f"sqlite:///{file}") as registry:
        assert registry.status("thread").sealed
        file.write_bytes(b"\xff" * file.stat().st_size)
        await writes_fail(registry)
        # A page that SQLite has in its cache is still true.
        with contextlib.suppress(RegistryError):
            assert registry.status("thread").sealed
    with pytest.raises(RegistrySchemaError):
        SqlSealRegistry(f"sqlite:///{file}")


async def test_a_file_emptied_while_in_use_is_an_error(file: Path) -> None:
    with SqlSealRegistry(f"sqlite:///{file}") as registry:
        file.write_bytes(b"")
        await everything_fails(registry)


async def test_a_file_deleted_while_in_use_does_not_become_an_empty_registry(file: Path) -> None:
    with SqlSealRegistry(f"sqlite:///{file}") as registry:
        file.unlink()
        await everything_fails(registry)
        assert not file.exists()


async def test_a_file_replaced_while_in_use_is_an_error(file: Path, tmp_path: Path) -> None:
    with SqlSealRegistry(f"sqlite:///{file}") as registry, SqlSealRegistry(f"sqlite:///{tmp_path}/empty.db"):
        shutil.copy(tmp_path / "empty.db", tmp_path / "copy.db")
        os.replace(tmp_path / "copy.db", file)  # noqa: PTH105
        await everything_fails(registry)


def test_the_folder_may_change_after_opening(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    with SqlSealRegistry(f"sqlite:///{file.name}") as registry:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert registry.status("thread").sealed


@contextlib.contextmanager
def connections_with(registry: SqlSealRegistry, pragma: str) -> Iterator[None]:
    """Make every connection of a SQLite registry behave as one on a read-only or full disk."""
    engine = registry._store._engine

    def hobble(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(pragma)

    event.listen(engine, "checkout", hobble)
    yield
    event.remove(engine, "checkout", hobble)


@pytest.mark.parametrize(
    ("pragma", "cause"), [("PRAGMA query_only = ON", "readonly"), ("PRAGMA max_page_count = 1", "full")]
)
async def test_a_read_only_or_full_disk_is_an_error_and_nothing_is_half_written(
    file: Path, pragma: str, cause: str
) -> None:
    big = permit("another", reason="r" * 200_000)
    with SqlSealRegistry(f"sqlite:///{file}") as registry:
        with connections_with(registry, pragma):
            with pytest.raises(RegistryError, match=cause):
                registry.seal(big)
            with pytest.raises(RegistryError, match=cause):
                await registry.aseal(big)
            assert registry.status("thread").sealed
        assert not registry.status("another").sealed
        assert registry.decisions("another") == ()
        assert registry.history("another") == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to a read-only file")
async def test_a_read_only_file_is_read_and_not_written(file: Path) -> None:
    file.chmod(0o444)
    with SqlSealRegistry(f"sqlite:///{file}") as registry:
        assert registry.status("thread").sealed
        await writes_fail(registry)


async def test_a_locked_file_is_waited_for_and_then_an_error(file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    with contextlib.closing(other), SqlSealRegistry(f"sqlite:///{file}", timeout=0.2) as registry:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(RegistryError, match="locked"):
            registry.seal(permit("another"))
        assert 0.15 < time.monotonic() - began < 5
        with pytest.raises(RegistryError, match="locked"):
            await registry.aflag_risk("another", kind="crisis", source="test")
        assert registry.status("thread").sealed  # readers do not wait for the writer
        other.execute("ROLLBACK")
        assert registry.seal(permit("another")).created


@pytest.mark.parametrize("name", ["a b.db", "ä%20?#.db", "per%cent.db", "quote'\".db"])
def test_odd_file_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with SqlSealRegistry(URL.create("sqlite", database=name)) as registry:
            registry.seal(permit())
            assert registry.status("thread").sealed
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("at", ["when its tables are made", "when it is prepared"])
def test_a_full_disk_when_a_registry_is_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    connect = SqliteStore._connect

    def on_a_full_disk(store: SqliteStore) -> sqlite3.Connection:
        connection = connect(store)
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    def full(_: SqliteStore) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    if at == "when it is prepared":
        monkeypatch.setattr(SqliteStore, "prepare", full)
    else:
        monkeypatch.setattr(SqliteStore, "_connect", on_a_full_disk)
    with pytest.raises(RegistryError, match="full"):
        SqlSealRegistry(f"sqlite:///{tmp_path}/registry.db")
