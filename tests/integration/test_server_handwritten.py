"""The hand-written graph of this repository on a running server, whose users confirm their own end by an interrupt."""

from __future__ import annotations

from typing import Any

import pytest

from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from support.langgraph_server import LangGraphServer

ASKS = "Please end this chat now."


@pytest.fixture
def waiting(server: LangGraphServer) -> str:
    """A thread whose run waits for the user's answer."""
    thread_id = server.new_thread()
    (asked,) = server.say(thread_id, ASKS, graph="handwritten")["__interrupt__"]
    assert asked["value"]["type"] == "end_conversation.confirm"
    return thread_id


def test_a_user_asks_and_confirms(server: LangGraphServer, waiting: str) -> None:
    left: Any = server.client.runs.wait(waiting, "handwritten", command={"resume": "yes"})
    assert left["conversation_end"]["category"] == "user_request"
    assert left["messages"][-1]["content"] == Texts().statement(Category.USER_REQUEST)


def test_a_user_who_types_on_is_answered(server: LangGraphServer, waiting: str) -> None:
    left = server.say(waiting, "Wait. What is 2 + 2?", graph="handwritten")
    assert [message["type"] for message in left["messages"]] == ["human", "ai", "tool", "human", "ai"]
    assert left["messages"][-1]["content"]
    assert not left.get("conversation_end")
