"""Where a LangGraph server keeps its threads: one guarded database, in which single runs can be undone."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.records import new_id
from end_conversation_tool.errors import InvalidInputError, RegistryError, ThreadSealedError
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.server_storage import (
    checkpointer_from_environment,
    open_checkpoints,
    registry_from_environment,
)
from support.records import permit


async def put(saver: Any, run_id: str, parent: dict[str, Any]) -> Any:
    written = await saver.aput(parent, empty_checkpoint(), {"source": "loop", "step": 1, "run_id": run_id}, {})
    await saver.aput_writes(written, [("messages", run_id)], f"task-{run_id}")
    return written


def on(thread: str) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}


async def test_runs_are_undone_one_by_one(url: str) -> None:
    async with open_checkpoints(url) as saver:
        first = await put(saver, "run-1", on("t"))
        second = await put(saver, "run-2", first)
        other = await put(saver, "run-1' OR 1=1", on("u"))
        await saver.adelete_for_runs(["run-2", "run-3"])
        assert await saver.aget_tuple(second) is None
        kept: Any = await saver.aget_tuple(on("t"))
        assert kept.metadata["run_id"] == "run-1"
        assert [value for _, _, value in kept.pending_writes] == ["run-1"]
        assert await saver.aget_tuple(other) is not None


@dataclass
class Secret:
    """A type of the application."""

    word: str


async def test_only_allowed_types_are_made_out_of_a_checkpoint(url: str) -> None:
    given = {"messages": [HumanMessage("Hello.")], "secret": Secret("word")}
    checkpoint: Checkpoint = {
        **empty_checkpoint(),
        "channel_values": given,
        "channel_versions": dict.fromkeys(given, 1),
    }
    for allowed, made in ((), False), ((Secret,), True):
        async with open_checkpoints(url, allowed_types=allowed) as saver:
            await saver.aput(on("t"), checkpoint, {"source": "loop", "step": 1}, dict.fromkeys(given, 1))
            read: Any = await saver.aget(on("t"))
        assert read["channel_values"]["messages"] == given["messages"]
        assert isinstance(read["channel_values"]["secret"], Secret) is made


async def test_undoing_a_run_leaves_copies_of_its_thread(url: str, tmp_path: Path) -> None:
    with SqlSealRegistry(f"sqlite:///{tmp_path}/seals.db") as registry:
        async with open_checkpoints(url) as inner:
            saver = SealedSaver(inner, registry)
            await saver.aput(on("t"), empty_checkpoint(), {"run_id": "run-1", "thread_id": "t"}, {})  # type: ignore[typeddict-unknown-key]
            await saver.acopy_thread("t", "copy")
            await saver.adelete_for_runs(["run-1"])
            assert await saver.aget_tuple(on("t")) is None
            assert await saver.aget_tuple(on("copy")) is not None


async def test_undoing_before_anything_was_written(url: str) -> None:
    async with open_checkpoints(url) as saver:
        await saver.adelete_for_runs(["run-1"])
        assert await saver.aget_tuple(on("t")) is None


async def test_checkpoints_and_seals_share_one_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("END_CONVERSATION_REGISTRY", url)
    registry = registry_from_environment()
    async with checkpointer_from_environment() as saver:
        assert isinstance(saver, SealedSaver)
        assert saver.registry is registry is registry_from_environment()
        await put(saver, "run-1", on("t"))
        await registry.aseal(permit("t"), checkpoint_id="1", run_token=new_id())
        with pytest.raises(ThreadSealedError):
            await put(saver, "run-2", on("t"))
        await put(saver, "run-2", on("u"))
    await registry.aclose()


async def test_the_default_is_a_file_beside_those_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("END_CONVERSATION_REGISTRY", raising=False)
    registry = registry_from_environment()
    async with checkpointer_from_environment() as saver:
        await put(saver, "run-1", on("t"))
    await registry.aclose()
    assert [path.name for path in (tmp_path / ".langgraph_api").glob("*.db")] == ["conversations.db"]


@pytest.mark.parametrize(
    ("given", "error"), [("mysql://h/d", InvalidInputError), ("sqlite:////no/x.db", RegistryError)]
)
def test_an_unusable_database_stops_the_server(
    given: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("END_CONVERSATION_REGISTRY", given)
    with pytest.raises(error):
        registry_from_environment()


@pytest.mark.parametrize(
    ("absent", "address", "extra"),
    [("aiosqlite", "sqlite:///a.db", "sqlite"), ("psycopg_pool", "postgresql://user@host/database", "postgres")],
)
async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, absent: str, address: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ImportError, match=rf"end-conversation-tool\[{extra}\]"):
        async with open_checkpoints(address):
            pass
