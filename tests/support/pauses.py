"""A run that stands still at a chosen point, so that two runs on one thread meet exactly as a test wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.tools import BaseTool, StructuredTool

__all__ = ["Pause", "PauseAround", "PauseBefore", "background", "pausing_tool", "pausing_writes"]

SECONDS = 30.0


class Pause:
    """Where a run stops until it is told to go on.

    Args:
        twin: Whether the run is driven async.
        word: Runs whose newest message holds this word stop; others pass.
    """

    def __init__(self, *, twin: bool, word: str) -> None:
        self.twin, self.word = twin, word
        self._reached: Any = asyncio.Event() if twin else threading.Event()
        self._go: Any = asyncio.Event() if twin else threading.Event()

    def here(self) -> None:
        """Stop, in a thread."""
        self._reached.set()
        assert self._go.wait(SECONDS), "nobody told the run to go on"

    async def ahere(self) -> None:
        """Stop, in a task."""
        self._reached.set()
        await asyncio.wait_for(self._go.wait(), SECONDS)

    async def reached(self) -> None:
        """Wait until a run has stopped."""
        if self.twin:
            await asyncio.wait_for(self._reached.wait(), SECONDS)
            return
        assert await asyncio.to_thread(self._reached.wait, SECONDS), "no run came by"

    def go(self) -> None:
        """Let the run go on, and everybody after it pass."""
        self._go.set()


class PauseAround(AgentMiddleware[Any, Any, Any]):
    """Stops before what is inside: the guard, when this is outside of it, or the model."""

    def __init__(self, pause: Pause) -> None:
        super().__init__()
        self.pause = pause

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        if self.pause.word in str(request.messages[-1].content):
            self.pause.here()
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        if self.pause.word in str(request.messages[-1].content):
            await self.pause.ahere()
        return await handler(request)


class PauseBefore(AgentMiddleware[Any, Any, Any]):
    """Stops in a node of its own before the model's."""

    def __init__(self, pause: Pause) -> None:
        super().__init__()
        self.pause = pause

    def before_model(self, state: Any, runtime: Any) -> None:
        del runtime
        if self.pause.word in str(state["messages"][-1].content):
            self.pause.here()

    async def abefore_model(self, state: Any, runtime: Any) -> None:
        del runtime
        if self.pause.word in str(state["messages"][-1].content):
            await self.pause.ahere()


def pausing_tool(pause: Pause, notes: list[str]) -> BaseTool:
    """Return a tool ``slow`` that stops, and then writes down that it ran."""

    def slow(text: str) -> str:
        """Take long."""
        pause.here()
        notes.append(text)
        return "at last"

    async def aslow(text: str) -> str:
        await pause.ahere()
        notes.append(text)
        return "at last"

    return StructuredTool.from_function(func=slow, coroutine=aslow, name="slow")


def pausing_writes(inner: Any, pause: Pause, words: str) -> None:
    """Have a saver stop right before it writes a checkpoint whose messages end with ``words``.

    The guard has let the write through by then: this is the gap between its check and the write.
    """
    put, aput = inner.put, inner.aput

    def stops(checkpoint: Any) -> bool:
        messages = checkpoint["channel_values"].get("messages") or [None]
        return str(getattr(messages[-1], "content", "")) == words

    def pausing_put(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        if stops(checkpoint):
            pause.here()
        return put(config, checkpoint, metadata, versions)

    async def pausing_aput(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        if stops(checkpoint):
            await pause.ahere()
        return await aput(config, checkpoint, metadata, versions)

    if pause.twin:
        inner.aput = pausing_aput
    else:
        inner.put = pausing_put


def background(call: Callable[[], Awaitable[Any]], *, twin: bool) -> asyncio.Task[Any]:
    """Start a run beside the test: as a task, or, when it is driven sync, in a thread of its own."""
    if twin:
        return asyncio.ensure_future(call())
    return asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(call())))  # type: ignore[arg-type]
