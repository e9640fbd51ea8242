"""The places that attacks are tried in: every engine, registry and checkpoints in one database, sync and async."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from end_conversation_tool._checkpoint.saver import SealedSaver
from support.savers import ENGINES, Place, open_place


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def twin(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=ENGINES)
async def place(request: pytest.FixtureRequest, tmp_path: Path, *, twin: bool) -> AsyncIterator[Place]:
    postgres = request.getfixturevalue("postgres") if request.param == "postgres" else None
    async with open_place(request.param, postgres, tmp_path, twin=twin) as opened:
        yield opened


@pytest.fixture(params=[("memory", False), ("sqlite", True), ("postgres", False), ("postgres", True)])
async def some_place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Each engine, for what does not depend on how it is driven."""
    engine, twin = request.param
    postgres = request.getfixturevalue("postgres") if engine == "postgres" else None
    async with open_place(engine, postgres, tmp_path, twin=twin) as opened:
        yield opened


@pytest.fixture
async def bare(request: pytest.FixtureRequest, tmp_path: Path, place: Place) -> AsyncIterator[Place]:
    """The same engine once more, without triggers: for the unguarded graph."""
    folder = tmp_path / "bare"
    folder.mkdir()
    postgres = request.getfixturevalue("postgres") if place.engine == "postgres" else None
    async with open_place(place.engine, postgres, folder, twin=place.twin, one_database=False) as opened:
        yield opened


@pytest.fixture
async def saver(place: Place) -> SealedSaver:
    return await place.sealed()
