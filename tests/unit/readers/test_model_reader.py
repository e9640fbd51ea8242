"""The reader on any chat model, with models that can, cannot, fail, or take their time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from pydantic import Field

from end_conversation_tool._core.reading import Line, Reading, ReadingCase, Usage
from end_conversation_tool._core.vocabulary import RiskGrade, UnmetCode
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import ModelReader, ReadingBudget
from end_conversation_tool.readers.portions import _warn_once
from end_conversation_tool.readers.prompt import INSTRUCTIONS, PROMPT_DIGEST, Report

CASE = ReadingCase((Line("m1", "user", "hello", "u1", 1),))
REPORT = Report(findings=[], risk="possible")
RAW = AIMessage(
    "",
    usage_metadata={
        "input_tokens": 9,
        "output_tokens": 4,
        "total_tokens": 13,
        "input_token_details": {"cache_read": 3, "cache_creation": 2},
    },
)


class FakeModel(BaseChatModel):
    """Gives structured output as a model of some provider does.

    Attributes:
        answer: What comes back; an exception is raised.
        takes: The methods that it takes; anything else is a ``TypeError``.
        refuses: Raised instead of giving any structured output.
        delay: Seconds before the answer.
    """

    answer: Any = None
    takes: tuple[str, ...] = ("", "json_schema")
    refuses: Any = None
    delay: float = 0.0
    asked: list[Any] = Field(default_factory=list)
    methods: list[str] = Field(default_factory=list)
    configs: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, *_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("the reader asks for structured output")

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Any:
        assert schema is Report
        assert include_raw
        if self.refuses is not None:
            raise self.refuses
        method = kwargs.get("method", "")
        self.methods.append(method)
        if method not in self.takes:
            raise TypeError(f"unknown method {method}")

        def invoke(messages: Any, config: Any) -> Any:
            self.asked.append(messages)
            self.configs.append(config)
            time.sleep(self.delay)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        async def ainvoke(messages: Any, config: Any) -> Any:
            await asyncio.sleep(self.delay)
            self.asked.append(messages)
            self.configs.append(config)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return RunnableLambda(invoke, ainvoke)


def model(answer: Any = None, **fields: Any) -> FakeModel:
    given = {"raw": RAW, "parsed": REPORT, "parsing_error": None} if answer is None else answer
    return FakeModel(answer=given, asked=[], methods=[], configs=[], **fields)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def read(request: pytest.FixtureRequest) -> Any:
    def read(reader: ModelReader, case: ReadingCase = CASE) -> Reading:
        return asyncio.run(reader.aread(case)) if request.param else reader.read(case)

    return read


@pytest.fixture(autouse=True)
def fresh_warnings() -> Iterator[None]:
    _warn_once.cache_clear()
    yield
    _warn_once.cache_clear()


def test_a_model_reads_and_what_it_cost_is_counted(read: Any) -> None:
    chat = model()
    reading = read(ModelReader(chat))
    assert (reading.risk, reading.failure, reading.usage) == (RiskGrade.POSSIBLE, None, Usage(9, 4, 3, 2))
    system, question = chat.asked[0]
    assert (type(system), system.content) == (SystemMessage, INSTRUCTIONS)
    assert isinstance(question, HumanMessage)
    assert '"text": "hello"' in question.text


def test_the_side_call_is_seen_by_no_user_and_by_tracing(read: Any) -> None:
    class Handler(BaseCallbackHandler):
        def __init__(self) -> None:
            self.tags: list[Any] = []

        def on_chain_start(self, *_: Any, **kwargs: Any) -> None:
            self.tags.append((kwargs.get("tags"), (kwargs.get("metadata") or {}).get("lc_source"), kwargs.get("name")))

    chat, handler = model(), Handler()
    reader = ModelReader(chat)
    outer = RunnableLambda(lambda _: reader.read(CASE), lambda _: reader.aread(CASE))
    asyncio.run(outer.ainvoke("x", {"callbacks": [handler]}))
    outer2: RunnableLambda[Any, Any] = RunnableLambda(lambda _: ModelReader(model()).read(CASE))
    outer2.invoke("x", {"callbacks": [handler]})
    ours = [seen for seen in handler.tags if seen[1] == "end_conversation_reader"]
    assert ours == [(["nostream"], "end_conversation_reader", "end_conversation_reader")] * 2
    assert read(ModelReader(model())).failure is None


@pytest.mark.parametrize(
    ("profile", "takes", "methods"),
    [
        ({"structured_output": True}, ("", "json_schema"), ["json_schema"]),
        ({"structured_output": True}, ("",), ["json_schema", ""]),
        ({"structured_output": False}, ("", "json_schema"), [""]),
        ({}, ("",), [""]),
        (None, ("",), [""]),
    ],
)
def test_how_a_model_is_asked_for_structure(
    read: Any, profile: dict[str, Any] | None, takes: tuple[str, ...], methods: list[str]
) -> None:
    chat = model(takes=takes, profile=profile)
    assert read(ModelReader(chat)).failure is None
    assert chat.methods == methods


@pytest.mark.parametrize("refuses", [NotImplementedError(), TypeError("no"), ValueError("no")])
@pytest.mark.parametrize("profile", [{"structured_output": True}, {}])
def test_a_model_without_structured_output_cannot_read(
    read: Any, refuses: Exception, profile: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    reading = read(ModelReader(model(refuses=refuses, profile=profile)))
    assert (reading.failure, reading.detail) == (UnmetCode.MODEL_CANNOT_READ, "FakeModel")
    assert "reader=ModelReader(" in caplog.text


def test_no_model_cannot_read(read: Any) -> None:
    reading = read(ModelReader())
    assert (reading.source, reading.failure) == (f"model:agent/{PROMPT_DIGEST}", UnmetCode.MODEL_CANNOT_READ)


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"raw": RAW, "parsed": None, "parsing_error": ValueError("x")}, Usage(9, 4, 3, 2)),
        ({"raw": AIMessage(""), "parsed": None}, Usage()),
        ({}, Usage()),
        ("free text", Usage()),
    ],
)
def test_an_answer_that_was_not_parsed_is_a_failure(read: Any, answer: Any, usage: Usage) -> None:
    reading = read(ModelReader(model(answer)))
    assert (reading.failure, reading.detail) == (UnmetCode.READING_FAILED, "malformed_answer")
    assert reading.usage == usage


def test_a_report_without_a_raw_message_is_read(read: Any) -> None:
    assert read(ModelReader(model(REPORT))).risk is RiskGrade.POSSIBLE


@pytest.mark.parametrize("error", [RuntimeError("secret"), ConnectionError("secret"), KeyError("secret")])
def test_a_model_that_raises_has_failed(read: Any, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    reading = read(ModelReader(model(error)))
    assert (reading.failure, reading.detail) == (UnmetCode.READING_FAILED, type(error).__name__)
    assert "secret" not in caplog.text


def test_a_model_that_takes_too_long_has_failed_and_is_not_waited_for(read: Any) -> None:
    reader = ModelReader(model(delay=1.5), timeout=0.05)
    started = time.perf_counter()
    reading = read(reader)
    assert (reading.failure, reading.detail) == (UnmetCode.READING_FAILED, "TimeoutError")
    assert time.perf_counter() - started < 1.2


def test_a_reader_without_a_model_is_bound_to_the_agents_own_with_one_meter(read: Any) -> None:
    unbound = ModelReader(timeout=7.0, budget=ReadingBudget(readings_per_day=1))
    bound = unbound.on(model())
    assert (bound.timeout, bound.meter) == (7.0, unbound.meter)
    assert read(bound).failure is None
    other = read(unbound.on(model()), ReadingCase((Line("m1", "user", "other", "u", 1),)))
    assert other.failure is UnmetCode.READING_BUDGET_USED_UP
    assert bound.on(model()) is bound


class Named(FakeModel):
    model_name: str = "some-model"


@pytest.mark.parametrize(("chat", "name"), [(Named(), "some-model"), (FakeModel(), "FakeModel"), (None, "agent")])
def test_a_reader_is_named_after_its_model_and_the_wording_of_the_question(chat: Any, name: str) -> None:
    assert ModelReader(chat).source == f"model:{name}/{PROMPT_DIGEST}"


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^model: expected None or a BaseChatModel, got str"):
        ModelReader("claude")  # type: ignore[arg-type]
