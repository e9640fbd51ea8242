"""What the local Messages API refuses: every check with a request that breaks it, through the real client."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any, cast

import anthropic
import pytest
from anthropic._types import Omit

from end_conversation_tool.testing import MessagesApiServer
from unit.testing.wire_requests import (
    CALL,
    MARK,
    OTHER_CALL,
    RESULT,
    TEXT,
    TOOL,
    USER,
    assistant,
    client_of,
    request,
    send,
    user,
)

pytestmark = pytest.mark.malformed_requests


def strict_tool(**schema: Any) -> dict[str, Any]:
    whole = {"type": "object", "properties": {}, "additionalProperties": False, **schema}
    return {"name": "add", "strict": True, "input_schema": whole}


def wants(schema: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


@pytest.fixture
def server() -> Iterator[MessagesApiServer]:
    with MessagesApiServer(lambda _: "Fine.") as running:
        yield running


@pytest.fixture
def api(server: MessagesApiServer) -> Iterator[anthropic.Anthropic]:
    with client_of(server) as running:
        yield running


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no model": (request(model="absent"), "model: Field required"),
    "empty model": (request(model=""), "model: String should have"),
    "no max_tokens": (request(max_tokens="absent"), "max_tokens: Field required"),
    "max_tokens of text": (request(max_tokens="10"), "max_tokens: Input should be a valid integer"),
    "max_tokens of truth": (request(max_tokens=True), "max_tokens: Input should be a valid integer"),
    "negative max_tokens": (request(max_tokens=-1), "max_tokens: Input should be a valid integer"),
    "no messages": (request(messages="absent"), "messages: Field required"),
    "messages of text": (request(messages="Hello"), "messages: Input should be a valid list"),
    "empty messages": (request(messages=[]), "messages: at least one message is required"),
    "system of number": (request(system=3), "system: Input should be a valid string or list"),
    "system of image": (request(system=[{"type": "image"}]), "system.0.type: Input should be 'text'"),
    "empty system block": (request(system=[{"type": "text", "text": ""}]), "system: text content blocks must be non-e"),
    "message of text": (request("Hello"), "messages.0: Input should be an object"),
    "field of a message": (request({**USER, "id": "m"}), "messages.0.id: Extra inputs are not permitted"),
    "unknown role": (request({"role": "tool", "content": "x"}), "messages.0.role: Input should be"),
    "content of number": (request({"role": "user", "content": 3}), "messages.0.content: Input should be a valid"),
    "no content": (request({"role": "user"}), "messages.0.content: Input should be a valid"),
    "empty content": (request({"role": "user", "content": ""}), "messages.0: all messages must have non-empty content"),
    "empty reply": (request(USER, assistant(), USER), "messages.1: all messages must have non-empty content"),
    "block of text": (request(user("x")), "messages.0.content.0.type: Field required"),
    "empty text block": (request(user({"type": "text", "text": ""})), "text content blocks must be non-empty"),
    "blank text": (request({"role": "user", "content": " \n"}), "must contain non-whitespace text"),
    "text of number": (
        request(user({"type": "text", "text": 3})),
        "0.text.text: Input should be a valid string",
    ),
    "field of a block": (request(user({**TEXT, "index": 0})), "content.0.text.index: Extra inputs are not permitted"),
    "call by the user": (request(user(CALL), tools=[TOOL]), "`tool_use` blocks can only be in `assistant` messages"),
    "result by the assistant": (
        request(USER, assistant(RESULT), USER, tools=[TOOL]),
        "`tool_result` blocks can only be in `user` messages",
    ),
    "thinking by the user": (request(user({"type": "thinking", "thinking": "x", "signature": "s"})), "`assistant`"),
    "call id": (
        request(USER, assistant({**CALL, "id": "a b"}), USER, tools=[TOOL]),
        "tool_use.id: String should",
    ),
    "call name": (
        request(USER, assistant({**CALL, "name": "a.b"}), USER, tools=[TOOL]),
        r"tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "call input": (
        request(USER, assistant({**CALL, "input": "{}"}), user(RESULT), tools=[TOOL]),
        "tool_use.input: Input should be an object",
    ),
    "assistant first": (request(assistant(TEXT), USER), 'first message must use the "user" role'),
    "prefill": (request(USER, assistant(TEXT)), "does not support assistant message prefill"),
    "trailing whitespace": (
        request(USER, {"role": "assistant", "content": "Well "}),
        "final assistant content cannot end with trailing whitespace",
    ),
    "unanswered call": (
        request(USER, assistant(CALL), USER, tools=[TOOL]),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1.",
    ),
    "call at the end": (request(USER, assistant(CALL), tools=[TOOL]), "This model does not support assistant message"),
    "one of two calls unanswered": (
        request(USER, assistant(CALL, OTHER_CALL), user(RESULT), tools=[TOOL]),
        "immediately after: toolu_2.",
    ),
    "answered late": (
        request(USER, assistant(CALL), USER, assistant(TEXT), user(RESULT), tools=[TOOL]),
        "messages.1: `tool_use` ids were found without",
    ),
    "answered after text": (
        request(USER, assistant(CALL), user(TEXT, RESULT), tools=[TOOL]),
        "messages.1: `tool_use` ids were found without",
    ),
    "unknown result": (
        request(USER, assistant(TEXT), user({**RESULT, "tool_use_id": "toolu_9"}), tools=[TOOL]),
        "messages.2: unexpected `tool_use_id` found in `tool_result` blocks: toolu_9.",
    ),
    "answered twice": (
        request(USER, assistant(CALL), user(RESULT, RESULT), tools=[TOOL]),
        "each tool_use must have a single result",
    ),
    "same id twice": (
        request(USER, assistant(CALL), user(RESULT), assistant(CALL), user(RESULT), tools=[TOOL]),
        "`tool_use` ids must be unique",
    ),
    "same id in one message": (
        request(USER, assistant(CALL, CALL), user(RESULT), tools=[TOOL]),
        "`tool_use` ids must be unique",
    ),
    "tools gone": (request(USER, assistant(CALL), user(RESULT)), "blocks must define tools"),
    "tools emptied": (request(USER, assistant(CALL), user(RESULT), tools=[]), "blocks must define tools"),
    "tool name": (request(tools=[{**TOOL, "name": "end conversation"}]), "tools.0.custom.name: String should match"),
    "long tool name": (request(tools=[{**TOOL, "name": "a" * 129}]), "tools.0.custom.name: String should match"),
    "no tool name": (request(tools=[{"input_schema": {"type": "object"}}]), "tools.0.custom.name: Field required"),
    "same tool twice": (request(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
    "no schema": (request(tools=[{"name": "add"}]), "tools.0.custom.input_schema: Field required"),
    "schema of no object": (
        request(tools=[{"name": "add", "input_schema": {"type": "string"}}]),
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    "strict and open": (
        request(tools=[{**TOOL, "strict": True}]),
        "For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "strict and open within": (
        request(tools=[strict_tool(properties={"a": {"type": "array", "items": {"type": "object"}}})]),
        "For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "strict with a limit": (
        request(tools=[strict_tool(properties={"a": {"type": "string", "minLength": 1, "maxLength": 5}})]),
        "tools.0.custom: For 'string' type, properties maxLength, minLength are not supported",
    ),
    "strict with many": (
        request(tools=[strict_tool(properties={"a": {"type": "array", "minItems": 2}})]),
        "'minItems' values other than 0 or 1 are not supported",
    ),
    "strict with an unknown name": (
        request(tools=[strict_tool(required=["b"])]),
        "required properties b are not defined",
    ),
    "choice without tools": (request(tool_choice={"type": "auto"}), "may only be specified while providing tools"),
    "choice of no tool": (
        request(tools=[TOOL], tool_choice={"type": "tool", "name": "sub"}),
        "Tool 'sub' not found in provided tools",
    ),
    "format of text": (request(output_config={"format": {"type": "text"}}), "output_config.format: Input should be"),
    "format without schema": (request(**wants(None)), "output_config.format: Input should be a `json_schema` with"),
    "format that is open": (request(**wants({"type": "object"})), "output_config.format.schema: For 'object' type"),
    "format with a limit": (
        request(**wants({"anyOf": [{"type": "integer", "minimum": 1}]})),
        "For 'integer' type, properties minimum are not supported",
    ),
    "format with a limit in a definition": (
        request(**wants({"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer", "maximum": 1}}})),
        "For 'integer' type, properties maximum are not supported",
    ),
    "five cache markers": (
        request(user(*[{**TEXT, **MARK}] * 3), tools=[{**TOOL, **MARK}], system=[{**TEXT, **MARK}]),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "unknown thinking": (
        request(USER, assistant({"type": "thinking", "thinking": "x", "signature": "made up"}, TEXT), USER),
        "Invalid `signature` in `thinking` block",
    ),
    "unknown hidden thinking": (
        request(USER, assistant({"type": "redacted_thinking", "data": "made up"}, TEXT), USER),
        "Invalid `signature` in `thinking` block",
    ),
    "thinking without signature": (
        request(USER, assistant({"type": "thinking", "thinking": "x"}, TEXT), USER),
        "thinking.signature: Input should be a valid string",
    ),
    "thread without the beta": (request(thread={"type": "create"}), "thread: Extra inputs are not permitted"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_request_is_refused_and_named(name: str, server: MessagesApiServer, api: anthropic.Anthropic) -> None:
    body, message = BROKEN[name]
    for streaming in ({}, {"stream": True}):
        with pytest.raises(anthropic.BadRequestError) as caught:
            send(api, {**body, **streaming})
        assert caught.value.type == "invalid_request_error"
        assert message in str(caught.value.api_message)
    assert [message in error for error in server.errors] == [True, True]


SOUND = {
    "plain": request(),
    "no tokens wanted": request(max_tokens=0),
    "two messages in a row": request(USER, USER, assistant(TEXT), assistant(TEXT), USER),
    "results in two messages": request(
        USER, assistant(CALL, OTHER_CALL), user(RESULT), user({**RESULT, "tool_use_id": "toolu_2"}, TEXT), tools=[TOOL]
    ),
    "result without content": request(
        USER, assistant(TEXT, CALL), user({"type": "tool_result", "tool_use_id": "toolu_1"}, TEXT), tools=[TOOL]
    ),
    "a system message": request(USER, assistant(TEXT), USER, {"role": "system", "content": "Be brief."}),
    "system blocks": request(system=[{**TEXT, **MARK}]),
    "an optional property": request(tools=[strict_tool(properties={"a": {"type": "string"}}, required=[])]),
    "a tool of the server": request(tools=[{"type": "web_search_20260318", "name": "web_search"}, TOOL]),
    "a property named like a limit": request(tools=[strict_tool(properties={"maxLength": {"type": "string"}})]),
    "four cache markers": request(user(*[{**TEXT, **MARK}] * 4)),
    "choice": request(tools=[TOOL], tool_choice={"type": "tool", "name": "add"}),
    "another block": request(user({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}})),
}


@pytest.mark.parametrize("name", list(SOUND))
def test_a_sound_request_is_taken(name: str, server: MessagesApiServer, api: anthropic.Anthropic) -> None:
    assert send(api, SOUND[name])["content"] == [{"type": "text", "text": "Fine."}]
    assert server.errors == []


def test_prefill_is_taken_where_it_is_allowed() -> None:
    with MessagesApiServer(["nine"], allow_prefill=True) as server, client_of(server) as api:
        send(api, request(USER, assistant(TEXT)))
        with pytest.raises(anthropic.BadRequestError, match="trailing whitespace"):
            send(api, request(USER, {"role": "assistant", "content": "Well "}))
        with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks immediately after: toolu_1"):
            send(api, request(USER, assistant(CALL), tools=[TOOL]))


def test_counting_checks_all_but_the_limit(api: anthropic.Anthropic) -> None:
    path = "/v1/messages/count_tokens"
    assert send(api, request(max_tokens="absent"), path)["input_tokens"] > 0
    with pytest.raises(anthropic.BadRequestError, match="must define tools"):
        send(api, request(USER, assistant(CALL), user(RESULT), max_tokens="absent"), path)


def test_thinking_comes_back_as_it_was_sent() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    hidden = {"type": "redacted_thinking", "data": "opaque"}
    with MessagesApiServer([[thinking, hidden, TEXT], "More.", "Less."]) as server, client_of(server) as api:
        reply = api.messages.create(**request())
        api.messages.create(**request(USER, reply.to_param(), USER))
        api.messages.create(**request(USER, assistant(TEXT), USER))
        with pytest.raises(anthropic.BadRequestError, match="latest assistant message cannot be modified"):
            send(api, request(USER, assistant({**thinking, "thinking": "Hm!"}, hidden, TEXT), USER))
    assert len(server.errors) == 1


def raw(server: MessagesApiServer, body: bytes, headers: dict[str, str], path: str = "/v1/messages") -> tuple[int, str]:
    connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"anthropic-version": "2023-06-01"}, b"{}", 401, "x-api-key header is required"),
        ({"x-api-key": "", "anthropic-version": "2023-06-01"}, b"{}", 401, "x-api-key header is required"),
        ({"x-api-key": "test"}, b"{}", 400, "anthropic-version: header is required"),
        ({"x-api-key": "test", "anthropic-version": "2023-06-01"}, b"{", 400, "body is not valid JSON"),
        ({"x-api-key": "test", "anthropic-version": "2023-06-01"}, b"[]", 400, "body is not valid JSON"),
        ({"x-api-key": "test", "anthropic-version": "2023-06-01"}, b"{}", 400, "model: Field required"),
    ],
)
def test_headers_and_json_are_required(
    headers: dict[str, str], body: bytes, status: int, message: str, server: MessagesApiServer
) -> None:
    got = raw(server, body, headers)
    assert got[0] == status
    assert message in got[1]


def test_nothing_else_is_served(server: MessagesApiServer, api: anthropic.Anthropic) -> None:
    assert raw(server, b"", {})[0] == 405
    with pytest.raises(anthropic.NotFoundError):
        send(api, request(), "/v1/complete")
    with pytest.raises(anthropic.NotFoundError):
        api.models.list()


def test_the_client_maps_a_missing_key(server: MessagesApiServer) -> None:
    with (
        anthropic.Anthropic(base_url=server.base_url, default_headers=cast("Any", {"Authorization": Omit()})) as api,
        pytest.raises(anthropic.AuthenticationError, match="x-api-key header is required"),
    ):
        api.messages.create(**request())


def test_a_broken_request_takes_no_reply() -> None:
    with MessagesApiServer(["Kept."]) as server, client_of(server) as api:
        with pytest.raises(anthropic.BadRequestError):
            send(api, request(model=""))
        assert send(api, request())["content"][0]["text"] == "Kept."
