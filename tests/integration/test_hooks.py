"""The hooks in the shape that costs least, and in the one that LangSmith can trace."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from langsmith.run_helpers import tracing_context

from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from support.agents import Agent, config, said, search_call

ASYNC_HOOKS = ["awrap_model_call", "awrap_tool_call"]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record every trip from an event loop to a thread."""
    made: list[Any] = []
    go = asyncio.BaseEventLoop.run_in_executor

    def counted(loop: Any, executor: Any, function: Any, *args: Any) -> Any:
        made.append(function)
        return go(loop, executor, function, *args)

    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", counted)
    return made


def test_an_async_turn_goes_to_a_thread_as_often_as_the_bare_agent(trips: list[Any]) -> None:
    counts = []
    for guarded in (True, False):
        agent = Agent([search_call(), "found"], guarded=guarded)
        trips.clear()
        asyncio.run(agent.graph.ainvoke(said("hi"), config()))
        counts.append(len(trips))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", ASYNC_HOOKS)
def test_a_tracer_at_build_time_gets_a_coroutine_function(name: str) -> None:
    middleware = EndConversationMiddleware(registry=InMemorySealRegistry())
    assert not inspect.iscoroutinefunction(getattr(middleware, name))
    with tracing_context(enabled=True):
        assert inspect.iscoroutinefunction(getattr(middleware, name))


@pytest.mark.parametrize("name", ASYNC_HOOKS)
def test_a_subclass_extends_an_async_hook_as_any_other_method(name: str) -> None:
    class Nested(EndConversationMiddleware):
        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            seen.append("awrap_model_call")
            return await super().awrap_model_call(request, handler)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            seen.append("awrap_tool_call")
            return await super().awrap_tool_call(request, handler)

    seen: list[str] = []
    registry = InMemorySealRegistry()
    agent = Agent([search_call(), "found"], guarded=False, after=[Nested(registry=registry)])
    answer = asyncio.run(agent.graph.ainvoke(said("hi"), config()))
    assert answer["messages"][-1].text == "found"
    assert name in seen


@pytest.mark.parametrize("name", ["wrap_model_call", "wrap_tool_call", *ASYNC_HOOKS])
def test_the_ready_made_signature_is_the_true_one(name: str) -> None:
    middleware = EndConversationMiddleware(registry=InMemorySealRegistry())
    assert list(inspect.signature(getattr(middleware, name)).parameters) == ["request", "handler"]
