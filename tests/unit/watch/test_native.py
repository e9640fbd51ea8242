"""The refusal signals of providers, as LangChain messages and as the SDK's own objects."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Message, TextBlock, Usage
from langchain_core.messages import AIMessage

from end_conversation_tool.watch import (
    Answer,
    NativeRefusalDetector,
    ObservedMessage,
    SignalKind,
    default_detectors,
)


class _FinishReason(Enum):
    SAFETY = 3
    STOP = 1


def _sdk_message(stop_reason: Any) -> Message:
    return Message(
        id="msg_1",
        content=[TextBlock(type="text", text="")],
        model="some-model",
        role="assistant",
        stop_reason=stop_reason,
        stop_sequence=None,
        type="message",
        usage=Usage(input_tokens=1, output_tokens=1),
    )


REFUSED = {
    "anthropic sdk": _sdk_message("refusal"),
    "anthropic sdk, dumped": {"stop_reason": "refusal", "content": []},
    "chat anthropic": AIMessage("", response_metadata={"stop_reason": "refusal"}),
    "openai chat": AIMessage("", additional_kwargs={"refusal": "I cannot help with that."}),
    "openai filter": AIMessage("", response_metadata={"finish_reason": "content_filter"}),
    "openai responses": AIMessage([{"type": "refusal", "refusal": "No."}]),
    "gemini": AIMessage("", response_metadata={"finish_reason": "PROHIBITED_CONTENT"}),
    "gemini, enum": AIMessage("", response_metadata={"finish_reason": _FinishReason.SAFETY}),
    "gemini, spelled out": AIMessage("", response_metadata={"finish_reason": "FinishReason.BLOCKLIST"}),
    "gemini, prompt": AIMessage("", response_metadata={"prompt_feedback": {"block_reason": "SAFETY"}}),
}
NOT_REFUSED: dict[str, Any] = {
    "nothing": None,
    "sdk": _sdk_message("end_turn"),
    "langchain": AIMessage("Hello", response_metadata={"stop_reason": "end_turn", "finish_reason": "STOP"}),
    "openai, none": AIMessage("Hello", additional_kwargs={"refusal": None}),
    "openai, empty": AIMessage("Hello", additional_kwargs={"refusal": " "}),
    "parts": AIMessage([{"type": "text", "text": "refusal"}]),
    "gemini, unspecified": AIMessage("", response_metadata={"prompt_feedback": {"block_reason": 0}}),
    "foreign": SimpleNamespace(response_metadata="refusal", content=7, additional_kwargs=None),
    "a number": 5,
}


def _answer(raw: Any) -> Answer:
    (signal,) = NativeRefusalDetector().detect(ObservedMessage("assistant", "", "m1", raw))
    assert signal.kind is SignalKind.REFUSAL
    return signal.answer


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_that_the_provider_reports_is_a_yes(case: str) -> None:
    assert _answer(REFUSED[case]) is Answer.YES


@pytest.mark.parametrize("case", NOT_REFUSED)
def test_no_report_is_no_answer(case: str) -> None:
    assert _answer(NOT_REFUSED[case]) is Answer.UNKNOWN


def test_a_user_cannot_refuse() -> None:
    message = ObservedMessage("user", "", "m1", REFUSED["chat anthropic"])
    assert list(NativeRefusalDetector().detect(message)) == []


def test_the_default_suite_merges_both() -> None:
    suite = default_detectors()
    assert suite.checks_risk
    assert suite.kinds == frozenset(SignalKind)
    merged = suite.observe(ObservedMessage("assistant", "Sunny today.", "m1", REFUSED["chat anthropic"]))
    assert merged[SignalKind.REFUSAL].source == "native/1"
    merged = suite.observe(ObservedMessage("assistant", "Sunny today.", "m1"))
    assert merged[SignalKind.REFUSAL].answer is Answer.NO
