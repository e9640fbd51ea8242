"""The reader on Claude, through the real client, against a local server that speaks the Messages API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import anthropic
import pytest

from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase, Usage
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade, UnmetCode
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import ClaudeReader
from end_conversation_tool.readers.portions import _warn_once
from end_conversation_tool.readers.prompt import INSTRUCTIONS, PROMPT_DIGEST
from end_conversation_tool.testing import ErrorReply, MessageReply, MessagesApiServer, RawReply

MODEL = "claude-test"
CASE = ReadingCase((Line("m1", "user", "you idiot", "secret-id", 1),))
GOOD = json.dumps({"findings": [{"kind": "abuse", "label": "m1", "quote": "you idiot"}], "risk": "none"})


@pytest.fixture(autouse=True)
def fresh_warnings() -> Iterator[None]:
    _warn_once.cache_clear()
    yield
    _warn_once.cache_clear()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    """Have a reader read once against a script; return the reading and the server."""

    def ask(replies: Sequence[Any], **options: Any) -> tuple[Reading, MessagesApiServer]:
        with MessagesApiServer(replies) as server:
            where: dict[str, Any] = {"base_url": server.base_url, "api_key": "test"}
            if request.param:

                async def read() -> Reading:
                    async with anthropic.AsyncAnthropic(**where) as client:
                        return await ClaudeReader(MODEL, async_client=client, **options).aread(CASE)

                return asyncio.run(read()), server
            with anthropic.Anthropic(**where) as client:
                return ClaudeReader(MODEL, client=client, **options).read(CASE), server

    return ask


def test_claude_reads(ask: Any) -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
    }
    reading, server = ask([MessageReply(GOOD, usage=usage)], max_tokens=99)
    assert (reading.source, reading.failure, reading.risk) == (f"claude:{MODEL}/{PROMPT_DIGEST}", None, RiskGrade.NONE)
    assert reading.findings == (Finding(EvidenceKind.ABUSE, "m1", "you idiot"),)
    assert reading.usage == Usage(15, 5, 3, 2)
    assert server.errors == []
    (request,) = server.requests
    assert (request.body["model"], request.body["max_tokens"]) == (MODEL, 99)
    (system,) = request.body["system"]
    assert (system["text"], system["cache_control"]) == (INSTRUCTIONS, {"type": "ephemeral"})
    assert request.body["output_config"]["format"]["type"] == "json_schema"
    assert set(request.body["output_config"]["format"]["schema"]["properties"]) == {"findings", "risk"}
    sent = json.dumps(request.body)
    assert "you idiot" in request.body["messages"][0]["content"]
    assert "secret-id" not in sent
    assert "tools" not in request.body


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "pause_turn"])
def test_an_answer_that_stopped_early_is_worthless_and_paid_for(ask: Any, reason: str) -> None:
    reading, _ = ask([MessageReply(GOOD, stop_reason=reason, usage={"input_tokens": 10, "output_tokens": 5})])
    assert (reading.failure, reading.detail) == (UnmetCode.READING_FAILED, f"stopped_by_{reason}")
    assert (reading.findings, reading.usage) == ((), Usage(10, 5))


@pytest.mark.parametrize("text", ["I cannot say.", "{}", GOOD[:-5], f"Here: {GOOD}"])
def test_a_malformed_answer_is_a_failure(ask: Any, text: str) -> None:
    reading, _ = ask([text])
    assert (reading.failure, reading.detail) == (UnmetCode.READING_FAILED, "malformed_answer")
    assert reading.usage.input_tokens > 0


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (ErrorReply(529), "OverloadedError"),
        (ErrorReply(401, message="bad key"), "AuthenticationError"),
        (ErrorReply(429, message="slow down"), "RateLimitError"),
        (ErrorReply(400, message="no"), "BadRequestError"),
        (ErrorReply(500, message="oh"), "InternalServerError"),
    ],
)
def test_an_error_of_the_api_is_a_failure_by_its_name(ask: Any, reply: ErrorReply, detail: str) -> None:
    reading, server = ask([reply], max_retries=0)
    assert reading.failure is UnmetCode.READING_FAILED
    assert reading.detail == detail
    assert len(server.requests) == 1


def test_an_error_is_tried_again_as_often_as_allowed(ask: Any) -> None:
    quick = ErrorReply(529, headers={"retry-after-ms": "1"})
    reading, server = ask([quick, GOOD], max_retries=1)
    assert (reading.failure, len(server.requests)) == (None, 2)
    reading, server = ask([quick, quick, GOOD], max_retries=1)
    assert (reading.failure, len(server.requests)) == (UnmetCode.READING_FAILED, 2)


def test_an_answer_that_takes_too_long_is_a_failure(ask: Any) -> None:
    reading, _ = ask([MessageReply(GOOD, delay=1.0)], timeout=0.1, max_retries=0)
    assert (reading.failure, reading.detail) == (UnmetCode.READING_FAILED, "APITimeoutError")


@pytest.mark.parametrize("reply", [RawReply(b"<html>proxy</html>", content_type="text/html"), RawReply(b"{")])
def test_bytes_that_are_no_message_are_a_failure(ask: Any, reply: RawReply) -> None:
    reading, _ = ask([reply], max_retries=0)
    assert reading.failure is UnmetCode.READING_FAILED


def test_a_client_is_made_from_the_environment_when_it_is_first_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with MessagesApiServer([GOOD, GOOD]) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
        reader = ClaudeReader(MODEL)
        assert reader.read(CASE).failure is None
        assert reader._client is not None
        reader._client.close()

        async def read() -> Reading:
            other = ClaudeReader(MODEL)
            reading = await other.aread(CASE)
            assert other._async_client is not None
            await other._async_client.close()
            return reading

        assert asyncio.run(read()).failure is None
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ""}, "model: expected the name of a model, got ''"),
        ({"model": None}, "model: expected the name of a model, got None"),
        ({"model": MODEL, "max_retries": 6}, "max_retries: expected 0 to 5, got 6"),
        ({"model": MODEL, "max_retries": -1}, "max_retries: expected 0 to 5, got -1"),
        ({"model": MODEL, "timeout": 0}, "timeout: expected more than 0"),
        ({"model": MODEL, "budget": 5}, "budget: expected None or a ReadingBudget, got int"),
    ],
)
def test_an_unusable_argument_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ClaudeReader(**options)
    assert str(caught.value).startswith(said)
