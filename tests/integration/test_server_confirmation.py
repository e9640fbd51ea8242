"""The user confirms their own end by an interrupt, over the server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from end_conversation_tool.registry import SqlSealRegistry
from support.langgraph_server import LangGraphServer

ASKS = "Please end this chat."


@pytest.fixture
def waiting(server: LangGraphServer) -> str:
    """A thread whose run waits for the user's answer."""
    thread_id = server.new_thread()
    left = server.say(thread_id, ASKS, graph="asking")
    (asked,) = left["__interrupt__"]
    assert asked["value"]["type"] == "end_conversation.confirm"
    assert asked["value"]["question"]
    return thread_id


def resume(server: LangGraphServer, thread_id: str, answer: Any) -> Any:
    return server.client.runs.wait(thread_id, "asking", command={"resume": answer})


def test_a_yes_ends(server: LangGraphServer, registry: SqlSealRegistry, waiting: str) -> None:
    assert not registry.status(waiting).sealed
    left = resume(server, waiting, "yes")
    assert left["conversation_end"]["category"] == "user_request"
    assert registry.status(waiting).sealed
    with pytest.raises(httpx.HTTPStatusError) as refused:
        server.say(waiting, "Hello?", graph="asking")
    assert refused.value.response.status_code == 423


@pytest.mark.parametrize("answer", ["no", "maybe", {"confirmed": "yes"}])
def test_anything_else_goes_on(server: LangGraphServer, registry: SqlSealRegistry, waiting: str, answer: Any) -> None:
    left = resume(server, waiting, answer)
    assert left["messages"][-1]["content"] == "I am still here."
    assert not registry.status(waiting).sealed
    assert server.say(waiting, "Hello?", graph="asking")["messages"][-1]["content"] == "I am still here."
