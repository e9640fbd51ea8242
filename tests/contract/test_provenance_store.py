"""What every registry promises as a store of provenance, on every engine, sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.registry import ProvenanceStore, SealRegistry
from end_conversation_tool.registry.protocol import StoredProvenance
from support.records import permit

Calls = Any  # of conftest: any method of a registry, awaited


async def test_is_a_store(registry: SealRegistry) -> None:
    assert isinstance(registry, ProvenanceStore)


async def test_a_thread_never_saved_has_no_provenance(calls: Calls) -> None:
    assert await calls.load_provenance("thread") is None


async def test_saved_provenance_comes_back_and_is_replaced_version_by_version(calls: Calls) -> None:
    assert await calls.save_provenance("thread", '{"a": "ß"}', replaces=0)
    assert await calls.load_provenance("thread") == StoredProvenance(1, '{"a": "ß"}')
    assert await calls.save_provenance("thread", "{}", replaces=1)
    assert await calls.load_provenance("thread") == StoredProvenance(2, "{}")
    assert await calls.load_provenance("other") is None


@pytest.mark.parametrize("replaces", [0, 2, 3])
async def test_a_save_over_another_version_changes_nothing(calls: Calls, replaces: int) -> None:
    await calls.save_provenance("thread", "first", replaces=0)
    assert not await calls.save_provenance("thread", "late", replaces=replaces)
    assert await calls.load_provenance("thread") == StoredProvenance(1, "first")


async def test_a_version_that_never_was_is_not_replaced(calls: Calls) -> None:
    assert not await calls.save_provenance("thread", "late", replaces=1)
    assert await calls.load_provenance("thread") is None


async def test_a_sealed_thread_takes_no_provenance_until_it_is_reopened(calls: Calls) -> None:
    await calls.save_provenance("thread", "before", replaces=0)
    await calls.seal(permit("thread"))
    with pytest.raises(ThreadSealedError) as refusal:
        await calls.save_provenance("thread", "after", replaces=1)
    assert refusal.value.conversation_end["category"] == "abuse"
    assert await calls.load_provenance("thread") == StoredProvenance(1, "before")
    await calls.reopen("thread", operator="op", reason="appeal")
    assert await calls.save_provenance("thread", "after", replaces=1)


async def test_of_many_saves_at_once_one_wins(calls: Calls) -> None:
    won = await asyncio.gather(*(calls.save_provenance("thread", str(number), replaces=0) for number in range(8)))
    assert won.count(True) == 1
    assert await calls.load_provenance("thread") == StoredProvenance(1, str(won.index(True)))


@pytest.mark.parametrize(
    ("args", "replaces", "field"),
    [
        (("", "x"), 0, "thread_id"),
        (("thread", 1), 0, "body: expected a str, got int"),
        (("thread", " "), 0, "body"),
        (("thread", "a\x00"), 0, "body"),
        (("thread", "x" * 1_000_001), 0, "body: expected at most 1,000,000"),
        (("thread", "x"), -1, "replaces"),
        (("thread", "x"), "0", "replaces: expected an int, got str"),
    ],
)
async def test_a_bad_argument_is_named(calls: Calls, args: Any, replaces: Any, field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        await calls.save_provenance(*args, replaces=replaces)
    assert await calls.load_provenance("thread") is None
