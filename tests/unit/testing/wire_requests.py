"""Requests for the tests of the local Messages API, and how to send them as they are."""

from __future__ import annotations

from typing import Any

import anthropic

from end_conversation_tool.testing import MessagesApiServer

USER = {"role": "user", "content": "Hello"}
TOOL: dict[str, Any] = {
    "name": "add",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
OTHER_CALL = {**CALL, "id": "toolu_2"}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
TEXT = {"type": "text", "text": "Hi."}
MARK = {"cache_control": {"type": "ephemeral"}}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def request(*messages: Any, **more: Any) -> dict[str, Any]:
    body = {"model": "claude-test", "max_tokens": 10, "messages": list(messages or [USER]), **more}
    return {key: value for key, value in body.items() if value != "absent"}


def client_of(server: MessagesApiServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.base_url, api_key="test", max_retries=0)


def send(api: anthropic.Anthropic, body: Any, path: str = "/v1/messages") -> Any:
    return api.post(path, cast_to=object, body=body)
