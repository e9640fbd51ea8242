"""Every registry on every engine, called through its sync and through its async methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from support.postgres import fresh_database


class Calls:
    """A registry whose every method is awaited, whichever twin it runs."""

    def __init__(self, registry: SealRegistry, *, twin: bool) -> None:
        self.registry = registry
        self.twin = twin

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.twin:
                return await getattr(self.registry, f"a{name}")(*args, **kwargs)
            return getattr(self.registry, name)(*args, **kwargs)

        return call


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, on each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.db"
        return
    with fresh_database(request.getfixturevalue("postgres")) as fresh:
        yield fresh


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SealRegistry]:
    if request.param == "memory":
        yield InMemorySealRegistry()
    elif request.param == "sqlite":
        async with SqlSealRegistry(f"sqlite:///{tmp_path}/registry.db") as opened:
            yield opened
    else:
        with fresh_database(request.getfixturevalue("postgres")) as fresh:
            async with SqlSealRegistry(fresh) as opened:
                yield opened


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def calls(request: pytest.FixtureRequest, registry: SealRegistry) -> Calls:
    return Calls(registry, twin=request.param)
