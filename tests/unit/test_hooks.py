"""The shape of async hooks: a plain function to whoever wraps them, but for LangSmith where it traces."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from langsmith import utils

from end_conversation_tool import InMemorySealRegistry
from end_conversation_tool._doors.langgraph.hooks import lean
from end_conversation_tool.middleware import EndConversationMiddleware


class Door:
    @lean
    async def ahook(self, number: int, *, more: int = 1) -> int:
        """Add."""
        return number + more


@pytest.fixture(params=["false", "true"])
def tracing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have LangSmith trace, or not; what it remembers of the environment is forgotten before and after."""
    remembered: Any = utils.get_env_var
    monkeypatch.setenv("LANGSMITH_TRACING", request.param)
    remembered.cache_clear()
    yield request.param
    monkeypatch.undo()
    remembered.cache_clear()


async def test_what_it_does_is_the_same(tracing: str) -> None:
    assert await Door().ahook(1, more=2) == 3
    assert inspect.iscoroutinefunction(Door().ahook) == (tracing == "true")
    assert [*inspect.signature(Door().ahook).parameters] == ["number", "more"]
    assert (Door.ahook.__name__, Door.ahook.__doc__) == ("ahook", "Add.")


@pytest.mark.usefixtures("tracing")
async def test_an_error_comes_when_it_is_awaited() -> None:
    waiting = Door().ahook("one")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await waiting


@pytest.mark.parametrize("name", ["awrap_model_call", "awrap_tool_call"])
def test_the_hooks_of_the_middleware_are_coroutines_where_langsmith_traces(tracing: str, name: str) -> None:
    middleware = EndConversationMiddleware(registry=InMemorySealRegistry())
    assert inspect.iscoroutinefunction(getattr(middleware, name)) == (tracing == "true")
