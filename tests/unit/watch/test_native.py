"""The refusals that providers report in fields: one row a form, as LangChain messages and as the SDKs' own objects."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Message, TextBlock, Usage
from langchain_core.messages import AIMessage

from end_conversation_tool.watch.native import is_native_refusal


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


def _said(**metadata: Any) -> AIMessage:
    return AIMessage("", response_metadata=metadata)


REFUSED = {
    "anthropic sdk": _sdk_message("refusal"),
    "anthropic sdk, dumped": {"stop_reason": "refusal", "content": []},
    "chat anthropic": _said(stop_reason="refusal"),
    "bedrock converse, guardrail": _said(stopReason="guardrail_intervened"),
    "bedrock converse, filter": _said(stopReason="content_filtered"),
    "bedrock converse, refusal": _said(stopReason="refusal"),
    "bedrock converse, streamed": _said(messageStop={"stopReason": "guardrail_intervened"}),
    "bedrock converse, the api": {"stopReason": "content_filtered", "output": {}},
    "bedrock, snake case": _said(stop_reason="guardrail_intervened"),
    "bedrock, camel case": _said(stop_reason="contentFiltered"),
    "bedrock, additional": AIMessage("", additional_kwargs={"stop_reason": "refusal"}),
    "openai chat": AIMessage("", additional_kwargs={"refusal": "I cannot help with that."}),
    "openai filter": _said(finish_reason="content_filter"),
    "openai responses": AIMessage([{"type": "refusal", "refusal": "No."}]),
    "openai responses, incomplete": _said(incomplete_details={"reason": "content_filter"}),
    "openai sdk, incomplete": SimpleNamespace(incomplete_details=SimpleNamespace(reason="content_filter")),
    "vertex": _said(is_blocked=True),
    "gemini": _said(finish_reason="PROHIBITED_CONTENT"),
    "gemini, personal data": _said(finish_reason="SPII"),
    "gemini, model armor": _said(finish_reason="MODEL_ARMOR"),
    "gemini, image": _said(finish_reason="IMAGE_SAFETY"),
    "gemini, prohibited image": _said(finish_reason="IMAGE_PROHIBITED_CONTENT"),
    "gemini, enum": _said(finish_reason=_FinishReason.SAFETY),
    "gemini, spelled out": _said(finish_reason="FinishReason.BLOCKLIST"),
    "gemini, prompt": _said(prompt_feedback={"block_reason": "SAFETY"}),
    "gemini, prompt, image": _said(prompt_feedback={"block_reason": "IMAGE_SAFETY"}),
}
NOT_REFUSED: dict[str, Any] = {
    "nothing": None,
    "sdk": _sdk_message("end_turn"),
    "langchain": _said(stop_reason="end_turn", finish_reason="STOP"),
    "openai, none": AIMessage("Hello", additional_kwargs={"refusal": None}),
    "openai, empty": AIMessage("Hello", additional_kwargs={"refusal": " "}),
    "openai responses, too long": _said(incomplete_details={"reason": "max_output_tokens"}),
    "openai responses, complete": _said(incomplete_details=None),
    "parts": AIMessage([{"type": "text", "text": "refusal"}]),
    "bedrock": _said(stopReason="end_turn"),
    "bedrock, too long": _said(stopReason="model_context_window_exceeded"),
    "vertex": _said(is_blocked=False),
    "gemini, unspecified": _said(prompt_feedback={"block_reason": 0}),
    "gemini, cites": _said(finish_reason="RECITATION"),
    "gemini, no image": _said(finish_reason="NO_IMAGE"),
    "gemini, unknown": _said(finish_reason="SOMETHING_NEW"),
    "foreign": SimpleNamespace(response_metadata="refusal", content=7, additional_kwargs=None),
    "a number": 5,
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_provider_reports_is_a_refusal(case: str) -> None:
    assert is_native_refusal(REFUSED[case]) is True


@pytest.mark.parametrize("case", NOT_REFUSED)
def test_what_is_unknown_is_no_refusal(case: str) -> None:
    assert is_native_refusal(NOT_REFUSED[case]) is False
