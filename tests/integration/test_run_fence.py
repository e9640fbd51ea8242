"""The run that seals keeps its fence however its stream is driven, and so writes its own last checkpoint."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool._checkpoint import active_runs as running
from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._doors.langgraph.run_context import PresentRun
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ScriptedChatModel, end_call
from support.keywords import QUICK, KeywordReader, keyword_watch

QUESTION = (
    "Ending is permanent: this chat will take no further messages. "
    "Do you understand that, and do you want me to end this chat?"
)
THREAD: Any = {"configurable": {"thread_id": "t"}}


def said(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


def asked(registry: InMemorySealRegistry) -> Any:
    """Return a guarded agent whose next reply, to a yes of the user, ends the thread."""
    model = ScriptedChatModel([QUESTION, end_call("user_request", "The user asked and confirmed.")])
    saver = SealedSaver(InMemorySaver(), registry)
    guard = EndConversationMiddleware(registry=registry, policy=QUICK, reader=KeywordReader(), watch=keyword_watch())
    agent = create_agent(model, middleware=[guard], checkpointer=saver)
    agent.invoke(said("Please end this chat."), THREAD)
    return agent


async def in_one_task(agent: Any) -> None:
    await agent.ainvoke(said("yes"), THREAD)


async def each_step_in_a_task_of_its_own(agent: Any) -> None:
    stream = agent.astream(said("yes"), THREAD, stream_mode="values")
    while await asyncio.create_task(anext(stream, None)) is not None:
        pass


async def each_step_in_a_thread_of_its_own(agent: Any) -> None:
    stream: Iterator[Any] = agent.stream(said("yes"), THREAD, stream_mode="values")
    while await asyncio.to_thread(next, stream, None) is not None:
        pass


@pytest.mark.parametrize("drive", [in_one_task, each_step_in_a_task_of_its_own, each_step_in_a_thread_of_its_own])
async def test_the_sealing_run_writes_its_last_checkpoint(drive: Callable[[Any], Any]) -> None:
    registry = InMemorySealRegistry()
    agent = asked(registry)
    await drive(agent)
    seal = registry.status("t").seal
    assert seal is not None
    assert seal.run_token
    assert agent.checkpointer.inner.get_tuple(THREAD).checkpoint["channel_values"]["conversation_end"]["ended"]
    with pytest.raises(ThreadSealedError):
        await drive(agent)


async def test_a_fence_does_not_outlive_its_run() -> None:
    registry = InMemorySealRegistry()
    agent = asked(registry)
    await each_step_in_a_task_of_its_own(agent)
    assert registry.status("t").sealed
    del agent
    gc.collect()
    assert not running._entries


def test_runs_at_the_same_time_have_fences_of_their_own() -> None:
    """Two runs on one thread are at work at once; each node sees the token that its own saver gave out."""
    registry = InMemorySealRegistry()
    seen: list[str | None] = []

    class Watching(EndConversationMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            response = super().wrap_model_call(request, handler)
            fence = PresentRun.here().context(request.runtime, None).fence
            seen.append(fence.run_token if fence else None)
            return response

    model = ScriptedChatModel(lambda _: "Hello.")
    saver = SealedSaver(InMemorySaver(), registry)
    agent = create_agent(model, middleware=[Watching(registry=registry)], checkpointer=saver)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: agent.invoke(said("Hello"), THREAD), range(12)))
    assert None not in seen
    assert len(set(seen)) == 12
