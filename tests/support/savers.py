"""LangGraph's own savers on each engine, sync and async, beside a registry: in the same database, or in two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from sqlalchemy import URL

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from support.postgres import fresh_schema

__all__ = ["ENGINES", "Place", "open_place", "open_saver", "saver_url"]

ENGINES = ("memory", "sqlite", "postgres")


@dataclass(frozen=True)
class Place:
    """Where threads are kept in a test.

    Attributes:
        engine: memory, sqlite or postgres.
        twin: Whether the async half of the API is to be used.
        inner: LangGraph's saver.
        registry: The registry.
        url: The registry's URL; empty for memory.
    """

    engine: str
    twin: bool
    inner: BaseCheckpointSaver[Any]
    registry: SealRegistry
    url: str = ""

    async def sealed(self, **options: Any) -> SealedSaver:
        """Return a guarded saver, set up."""
        saver = SealedSaver(self.inner, self.registry, **options)
        done = saver.setup()
        if done is not None:
            await done
        return saver


def saver_url(url: str) -> str:
    """Return a registry's URL as LangGraph's savers take it."""
    return url.replace("postgresql+psycopg://", "postgresql://").removeprefix("sqlite:///")


@asynccontextmanager
async def open_place(
    engine: str, postgres: URL | None, folder: Path, *, twin: bool, one_database: bool = True
) -> AsyncIterator[Place]:
    """Yield a place on one engine; ``postgres`` may be ``None`` for the other two."""
    if engine == "memory":
        yield Place(engine, twin, InMemorySaver(), InMemorySealRegistry())
        return
    async with AsyncExitStack() as stack:
        if engine == "sqlite":
            urls = [f"sqlite:///{folder}/one.db", f"sqlite:///{folder}/{'one' if one_database else 'two'}.db"]
        else:
            assert postgres is not None
            urls = [stack.enter_context(fresh_schema(postgres)) for _ in range(1 if one_database else 2)]
        registry = await stack.enter_async_context(SqlSealRegistry(urls[0]))
        inner = await stack.enter_async_context(open_saver(engine, urls[-1], twin=twin))
        yield Place(engine, twin, inner, registry, urls[0])


@asynccontextmanager
async def open_saver(engine: str, url: str, *, twin: bool) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Yield one of LangGraph's own savers on a database, set up."""
    where = saver_url(url)
    if twin:
        kind: Any = AsyncSqliteSaver if engine == "sqlite" else AsyncPostgresSaver
        async with kind.from_conn_string(where) as opened:
            await opened.setup()
            yield opened
        return
    kind = SqliteSaver if engine == "sqlite" else PostgresSaver
    with kind.from_conn_string(where) as opened:
        opened.setup()
        yield opened
