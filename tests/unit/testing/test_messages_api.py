"""The local Messages API, driven by the real Anthropic client and by ``ChatAnthropic``."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, cast

import anthropic
import httpx2
import pytest
from anthropic import beta_tool
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.tools import tool
from pydantic import BaseModel

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.testing import ErrorReply, MessageReply, MessagesApiServer, RawReply, ServerReply

pytestmark = pytest.mark.malformed_requests

MODEL = "claude-test"
ADD: Any = {
    "name": "add",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "A sum: that is a case for the tool.", "signature": "sig-1"},
    {"type": "redacted_thinking", "data": "hidden-1"},
    {"type": "text", "text": "Let me add these two numbers, é."},
    {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2, "b": 3, "note": "naïve {text}"}},
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
]


def client(server: MessagesApiServer, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.base_url, api_key="test", **{"max_retries": 0, **options})


def ask(text: str = "Hello", **more: Any) -> Any:
    return {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def test_a_text_reply_and_what_was_asked() -> None:
    with MessagesApiServer(["Hello there."]) as server, client(server) as api:
        message = api.messages.create(**ask(system="Be kind."))
        assert message.to_dict()["content"] == [{"type": "text", "text": "Hello there."}]
        assert (message.stop_reason, message.model, message.role) == ("end_turn", MODEL, "assistant")
        assert message.usage.input_tokens > 0
        assert message._request_id is not None
        (request,) = server.requests
        assert request.path == "/v1/messages"
        assert request.body == ask(system="Be kind.")
        assert request.headers["anthropic-version"]
    assert server.errors == []


async def test_streamed_or_not_sync_or_async_the_message_is_the_same() -> None:
    usage = {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 3}
    with MessagesApiServer([MessageReply(BLOCKS, usage=usage)] * 4) as server:
        with client(server) as api:
            got = [api.messages.create(**ask())]
            with api.messages.stream(**ask()) as stream:
                assert "".join(stream.text_stream) == BLOCKS[2]["text"]
                got.append(stream.get_final_message())
        async with anthropic.AsyncAnthropic(base_url=server.base_url, api_key="test") as async_api:
            got.append(await async_api.messages.create(**ask()))
            async with async_api.messages.stream(**ask()) as async_stream:
                got.append(await async_stream.get_final_message())
    for message in got:
        assert message.to_dict()["content"] == BLOCKS
        assert message.stop_reason == "tool_use"
        assert {name: getattr(message.usage, name) for name in usage} == usage
    assert [request.body.get("stream", False) for request in server.requests] == [False, True, False, True]


def test_a_stream_has_the_events_of_the_api_in_their_order() -> None:
    with (
        MessagesApiServer(["Hello there, you."]) as server,
        client(server) as api,
        api.messages.create(**ask(), stream=True) as stream,
    ):
        kinds = [event.type for event in stream]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ], "the client swallows the ping"


async def test_a_refusal_carries_its_details() -> None:
    reply = MessageReply("", stop_reason="refusal", stop_details={"category": "bio", "explanation": "why"})
    with MessagesApiServer([reply, reply]) as server, client(server) as api:
        with api.messages.stream(**ask()) as stream:
            streamed = stream.get_final_message()
        for message in (api.messages.create(**ask()), streamed):
            assert (message.content, message.stop_reason) == ([], "refusal")
            assert message.stop_details is not None
            assert (message.stop_details.category, message.stop_details.explanation) == ("bio", "why")


class Answer(BaseModel):
    number: int
    why: str = "none"


def test_structured_output_is_parsed() -> None:
    with MessagesApiServer(['{"number": 4}', '{"number": 5, "why": "so"}']) as server, client(server) as api:
        assert api.messages.parse(**ask(), output_format=Answer).parsed_output == Answer(number=4)
        assert api.beta.messages.parse(**ask(), output_format=Answer).parsed_output == Answer(number=5, why="so")
        plain, beta = server.requests
        assert plain.body["output_config"]["format"]["type"] == "json_schema"
        assert beta.body["output_config"] == plain.body["output_config"], (beta.query, beta.headers)


def test_the_tool_runner_of_the_client_runs_a_whole_loop() -> None:
    @beta_tool
    def add(a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    def report(body: dict[str, Any]) -> str:
        return f"The sum is {body['messages'][-1]['content'][0]['content']}."

    call = {"type": "tool_use", "name": "add", "input": {"a": 2, "b": 3}}
    with MessagesApiServer([[call], report], strict_prefix=True) as server, client(server) as api:
        last = api.beta.messages.tool_runner(**ask("2 + 3?"), tools=[add]).until_done()
        assert last.to_dict()["content"] == [{"type": "text", "text": "The sum is 5."}]
    assert server.errors == []


def test_tokens_are_counted_without_a_reply() -> None:
    with MessagesApiServer([]) as server, client(server) as api:
        short = api.messages.count_tokens(model=MODEL, messages=ask()["messages"])
        long = api.messages.count_tokens(model=MODEL, messages=ask("word " * 400)["messages"], tools=[ADD])
    assert 0 < short.input_tokens < 50 < long.input_tokens


@pytest.mark.parametrize(
    ("reply", "kind", "error_type"),
    [
        (ErrorReply(400), anthropic.BadRequestError, "invalid_request_error"),
        (ErrorReply(401), anthropic.AuthenticationError, "authentication_error"),
        (ErrorReply(403), anthropic.PermissionDeniedError, "permission_error"),
        (ErrorReply(404), anthropic.NotFoundError, "not_found_error"),
        (ErrorReply(429), anthropic.RateLimitError, "rate_limit_error"),
        (ErrorReply(500), anthropic.InternalServerError, "api_error"),
        (ErrorReply(529), anthropic.APIStatusError, "overloaded_error"),
        (ErrorReply(503, "strange_error"), anthropic.APIStatusError, "strange_error"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_scripted_errors_become_the_errors_of_the_client(
    reply: ErrorReply, kind: type[anthropic.APIStatusError], error_type: str, *, streaming: bool
) -> None:
    with MessagesApiServer([reply]) as server, client(server) as api:
        with pytest.raises(kind, match="Overloaded") as caught:
            api.messages.create(**ask(), stream=streaming)
        assert caught.value.status_code == reply.status
        assert cast("Any", caught.value.body)["error"]["type"] == error_type
    assert server.errors == [], "a scripted error is no fault of the request"


def test_the_client_tries_again_after_an_overload() -> None:
    script: list[ServerReply] = [ErrorReply(headers={"retry-after-ms": "1"}), "At last."]
    with MessagesApiServer(script, strict_prefix=True) as server, client(server, max_retries=1) as api:
        assert api.messages.create(**ask()).to_dict()["content"] == [{"type": "text", "text": "At last."}]
    assert len(server.requests) == 2


def test_a_slow_reply_times_out_and_does_not_hold_up_the_end() -> None:
    began = time.monotonic()
    with (
        MessagesApiServer([MessageReply("late", delay=60.0)]) as server,
        client(server, timeout=0.2) as api,
        pytest.raises(anthropic.APITimeoutError),
    ):
        api.messages.create(**ask())
    assert time.monotonic() - began < 5.0


def test_a_client_that_goes_away_is_no_fault_of_the_server(capfd: pytest.CaptureFixture[str]) -> None:
    script: list[ServerReply] = [MessageReply("much " * 2_000_000, delay=0.3), "Fine."]
    with MessagesApiServer(script) as server, client(server) as api:
        with pytest.raises(anthropic.APITimeoutError):
            api.with_options(timeout=0.1).messages.create(**ask())
        time.sleep(0.4)
        assert api.messages.create(**ask()).stop_reason == "end_turn"
    assert capfd.readouterr().err == ""
    assert server.errors == []


def test_a_malformed_body_is_an_error() -> None:
    script = [RawReply(b"{not json"), RawReply(b"<html>", 502, "text/html")]
    with MessagesApiServer(script) as server, client(server) as api:
        with pytest.raises(ValueError, match="Expecting property name"):
            api.messages.create(**ask())
        with pytest.raises(anthropic.InternalServerError, match="<html>"):
            api.messages.create(**ask())


def test_a_cut_connection_is_noticed() -> None:
    reply = MessageReply("Hello there, you.", cut_after=3)
    with MessagesApiServer([reply, reply]) as server, client(server) as api:
        with pytest.raises(anthropic.APIConnectionError):
            api.messages.create(**ask())
        with api.messages.stream(**ask()) as stream, pytest.raises(httpx2.RemoteProtocolError):
            stream.until_done()


def test_an_error_in_mid_stream_is_raised() -> None:
    reply = MessageReply("Hello there, you.", cut_after=3, cut_error="overloaded_error")
    with (
        MessagesApiServer([reply]) as server,
        client(server) as api,
        api.messages.stream(**ask()) as stream,
        pytest.raises(anthropic.APIStatusError, match="overloaded_error"),
    ):
        stream.until_done()


def test_faults_of_the_script_reach_the_test() -> None:
    def fail(_: dict[str, Any]) -> str:
        raise KeyError("missing")

    with MessagesApiServer([fail, cast("Any", 7)]) as server, client(server, max_retries=2) as api:
        for expected in ("KeyError", "expected a reply, got int", "the script has 2 replies and one more"):
            with pytest.raises(anthropic.InternalServerError, match=expected):
                api.messages.create(**ask())
    assert [error.split(":")[0] for error in server.errors] == ["KeyError", "InvalidInputError", "IndexError"]
    assert len(server.requests) == 3, "such a fault is not tried again"


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="replies: expected a sequence of replies or a function, got str"):
        MessagesApiServer("text")
    with pytest.raises(RuntimeError, match="inside `with` only"):
        _ = MessagesApiServer([]).base_url


def test_many_clients_at_once() -> None:
    together = Barrier(6, timeout=10)

    def wait(body: dict[str, Any]) -> str:
        together.wait()
        return cast("str", body["messages"][0]["content"])

    with MessagesApiServer(wait) as server, client(server) as api, ThreadPoolExecutor(6) as pool:
        said = pool.map(lambda number: api.messages.create(**ask(str(number))).to_dict()["content"], range(30))
        assert [cast("Any", content)[0]["text"] for content in said] == [str(number) for number in range(30)]
    assert len(server.requests) == 30


@tool("add")
def add_numbers(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def chat(server: MessagesApiServer, **options: Any) -> ChatAnthropic:
    return ChatAnthropic(model_name=MODEL, base_url=server.base_url, api_key="test", max_tokens=100, **options)


def agent_script() -> list[ServerReply]:
    call = {"type": "tool_use", "name": "add", "input": {"a": 2, "b": 3}}
    thinking = {"type": "thinking", "thinking": "Two numbers."}
    said = MessageReply("", stop_reason="refusal", stop_details={"category": "bio"})
    return [[thinking, {"type": "text", "text": "I add."}, call], "It is five.", said, "Here I am."]


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_on_chat_anthropic_keeps_to_the_api(*, streaming: bool) -> None:
    with MessagesApiServer(agent_script() + agent_script(), strict_prefix=True) as server:
        agent: Any = create_agent(chat(server, streaming=streaming), [add_numbers], system_prompt="Be kind.")
        state: Any = {"messages": []}
        for word in ("one", "two"):
            state = {"messages": []}
            for text in (f"{word}: 2 + 3?", "Now something evil.", "Still there?"):
                history = {"messages": [*state["messages"], ("user", text)]}
                state = agent.invoke(history) if word == "one" else await agent.ainvoke(history)
            kinds = [message.type for message in state["messages"]]
            assert kinds == ["human", "ai", "tool", "ai", "human", "ai", "human", "ai"]
            refused = state["messages"][5]
            assert refused.response_metadata["stop_reason"] == "refusal"
            assert refused.response_metadata["stop_details"]["category"] == "bio"
            assert state["messages"][-1].text == "Here I am."
    assert server.errors == []
    assert len(server.requests) == 8


async def test_an_agent_streams_from_it() -> None:
    with MessagesApiServer(agent_script()) as server:
        agent: Any = create_agent(chat(server), [add_numbers])
        pieces = [
            message
            async for message, _ in agent.astream({"messages": [("user", "2 + 3?")]}, stream_mode="messages")
            if message.type == "AIMessageChunk"
        ]
    assert "".join(piece.text for piece in pieces) == "I add.It is five."
    assert sum(bool(piece.tool_call_chunks) for piece in pieces) > 2
    assert server.errors == []


def test_faults_and_errors_come_through_chat_anthropic() -> None:
    unanswered: list[Any] = [
        ("user", "2 + 3?"),
        AIMessage("", tool_calls=[ToolCall(name="add", args={"a": 2, "b": 3}, id="c")]),
    ]
    with MessagesApiServer([ErrorReply()]) as server:
        model = chat(server, max_retries=0).bind_tools([add_numbers])
        with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks immediately after: c"):
            model.invoke([*unanswered, ("user", "Well?")])
        with pytest.raises(anthropic.OverloadedError):
            model.invoke("2 + 3?")
    assert len(server.errors) == 1


def test_structured_output_through_chat_anthropic() -> None:
    with MessagesApiServer(['{"number": 4}']) as server:
        model = chat(server).with_structured_output(Answer, method="json_schema")
        assert model.invoke("2 + 2?") == Answer(number=4)
        assert server.requests[0].body["output_config"]["format"]["type"] == "json_schema"
    assert server.errors == []
