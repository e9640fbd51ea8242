"""Where a LangGraph server keeps its threads: one database for checkpoints and seals, named by the environment.

``END_CONVERSATION_REGISTRY`` is a URL as ``SqlSealRegistry`` takes it; the default is a SQLite file beside the server's
own files. In one database a seal and a checkpoint cannot be lost apart from each other.

Needs the extra ``[sqlite]`` or ``[postgres]``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from sqlalchemy import make_url

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.registry.sql.registry import SqlSealRegistry

__all__ = ["checkpointer_from_environment", "open_checkpoints", "registry_from_environment"]

_VARIABLE = "END_CONVERSATION_REGISTRY"
_DEFAULT = "sqlite:///.langgraph_api/conversations.db"
_POOL_SIZE = 10


def registry_from_environment() -> SqlSealRegistry:
    """Return the registry of this process: the same one for graphs, checkpointer and auth handlers.

    Raises:
        RegistryError: The database cannot be reached or used.
        InvalidInputError: ``END_CONVERSATION_REGISTRY`` is not a URL that can be used.
    """
    return _registry(_database())


@asynccontextmanager
async def checkpointer_from_environment() -> AsyncIterator[SealedSaver]:
    """Yield the guarded checkpointer that ``langgraph.json`` names.

    Raises:
        RegistryError: The database cannot be reached or used.
    """
    async with open_checkpoints(_database()) as inner:
        saver = SealedSaver(inner, registry_from_environment())
        await saver.setup()  # both are in one database, which then refuses late writes itself
        yield saver


@asynccontextmanager
async def open_checkpoints(url: str, *, allowed_types: Iterable[type] = ()) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Yield a checkpointer that can also undo single runs, which the server does for ``multitask_strategy=rollback``.

    It makes nothing out of a checkpoint but messages and plain data. LangGraph's own switch for that,
    ``LANGGRAPH_STRICT_MSGPACK``, must stay off: with it, the server (0.16.7) fails on every graph that has a subgraph.

    Args:
        url: Of the database, as ``SqlSealRegistry`` takes it.
        allowed_types: Types of your own that the state of your graphs holds.

    Raises:
        ImportError: An extra is missing; the message names it.
    """
    # None, and not an empty list, is what allows plain data and messages.
    serde = JsonPlusSerializer(allowed_msgpack_modules=list(allowed_types) or None)
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        opened = _sqlite(parsed.database or "", serde)
    else:
        opened = _postgres(parsed.set(drivername="postgresql").render_as_string(hide_password=False), serde)
    async with opened as saver:
        yield saver


@contextmanager
def _needing(extra: str) -> Iterator[None]:
    """Let an import that fails say which extra to install."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"checkpoints on this database need: pip install 'end-conversation-tool[{extra}]'") from error


@asynccontextmanager
async def _sqlite(database: str, serde: SerializerProtocol) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    with _needing("sqlite"):
        import aiosqlite  # noqa: PLC0415
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415

    class UndoingSqliteSaver(AsyncSqliteSaver):
        async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
            await self.setup()
            async with self.lock:
                for run_id in run_ids:
                    await self.conn.execute(_SQLITE_DELETE_WRITES, (run_id,))
                    await self.conn.execute(_SQLITE_DELETE_CHECKPOINTS, (run_id,))
                await self.conn.commit()

    async with aiosqlite.connect(database) as connection:
        yield UndoingSqliteSaver(connection, serde=serde)


@asynccontextmanager
async def _postgres(url: str, serde: SerializerProtocol) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    with _needing("postgres"):
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415
        from psycopg.rows import dict_row  # noqa: PLC0415
        from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415

    class UndoingPostgresSaver(AsyncPostgresSaver):
        async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
            async with self._cursor() as cursor, cursor.connection.transaction():
                await cursor.execute(_POSTGRES_DELETE_WRITES, (list(run_ids),))
                await cursor.execute(_POSTGRES_DELETE_CHECKPOINTS, (list(run_ids),))

    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(url, max_size=_POOL_SIZE, kwargs=options, open=False)
    async with pool:
        saver = UndoingPostgresSaver(pool, serde=serde)
        await saver.setup()
        yield saver


# A copied thread keeps the metadata of its source, run and all: what a run wrote is only what lies in its own thread.
_SQLITE_RUN = (
    "json_extract(CAST(metadata AS TEXT), '$.run_id') = ? "
    "AND coalesce(json_extract(CAST(metadata AS TEXT), '$.thread_id'), thread_id) = thread_id"
)
_SQLITE_DELETE_WRITES = (
    "DELETE FROM writes WHERE (thread_id, checkpoint_ns, checkpoint_id) IN "  # noqa: S608 - constants
    f"(SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE {_SQLITE_RUN})"
)
_SQLITE_DELETE_CHECKPOINTS = f"DELETE FROM checkpoints WHERE {_SQLITE_RUN}"  # noqa: S608 - constants

_POSTGRES_RUNS = "metadata ->> 'run_id' = ANY(%s) AND coalesce(metadata ->> 'thread_id', thread_id) = thread_id"
_POSTGRES_DELETE_WRITES = (
    "DELETE FROM checkpoint_writes WHERE (thread_id, checkpoint_ns, checkpoint_id) IN "  # noqa: S608 - constants
    f"(SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE {_POSTGRES_RUNS})"
)
_POSTGRES_DELETE_CHECKPOINTS = f"DELETE FROM checkpoints WHERE {_POSTGRES_RUNS}"  # noqa: S608 - constants


def _database() -> str:
    return os.environ.get(_VARIABLE) or _DEFAULT


@lru_cache(maxsize=8)
def _registry(url: str) -> SqlSealRegistry:
    if url == _DEFAULT:
        Path(".langgraph_api").mkdir(exist_ok=True)
    return SqlSealRegistry(url)
