"""The hand-written graph of this repository on a running server."""

from __future__ import annotations

from typing import Any

from support.langgraph_server import LangGraphServer


def test_a_user_asks_and_confirms(server: LangGraphServer) -> None:
    thread = server.client.threads.create()["thread_id"]
    for text in ("Please end this chat now.", "Yes."):
        given: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        state: Any = server.client.runs.wait(thread, "handwritten", input=given)
    assert state["conversation_end"]["category"] == "user_request"
