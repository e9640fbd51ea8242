"""A judge on any LangChain chat model that can give structured output."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from end_conversation_tool._core.flow import Ask, Flow, arun_flow, run_flow
from end_conversation_tool._core.records import JudgeReport
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.base import JudgeCase, JudgeVerdict, Usage, failed, weigh
from end_conversation_tool.readers.prompt import (
    JUDGE_INSTRUCTIONS,
    JUDGE_PROMPT_VERSION,
    question,
    too_long,
)

__all__ = ["ChatModelJudge"]


class ChatModelJudge:
    """Asks a LangChain chat model. Retries and token limits are the model's own settings.

    Args:
        model: The chat model.
        timeout: Seconds for one request.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(self, model: BaseChatModel, *, timeout: float = 20.0) -> None:
        if not isinstance(model, BaseChatModel):
            raise InvalidInputError(f"model: expected a BaseChatModel, got {type(model).__name__}")
        if not 0 < timeout <= 600:  # noqa: PLR2004 - ten minutes
            raise InvalidInputError(f"timeout: expected more than 0 and at most 600 seconds, got {timeout}")
        self.source = f"chat-model:{type(model).__name__}/{JUDGE_PROMPT_VERSION}"
        try:
            self._asking: Any = model.with_structured_output(JudgeVerdict, include_raw=True)
        except NotImplementedError as error:
            raise InvalidInputError(
                f"model: expected a chat model that gives structured output, got {type(model).__name__}"
            ) from error
        self._timeout = timeout

    def opine(self, case: JudgeCase) -> JudgeReport:
        """Return the model's opinion. Never raises: whatever goes wrong is a failed judge."""
        return run_flow(self._opining(case))

    async def aopine(self, case: JudgeCase) -> JudgeReport:
        """Async twin of ``opine``."""
        return await arun_flow(self._opining(case))

    def _opining(self, case: JudgeCase) -> Flow[JudgeReport]:
        if too_long(case):
            return failed("transcript_too_long", self.source)
        asked = [SystemMessage(JUDGE_INSTRUCTIONS), HumanMessage(question(case))]
        try:
            answer = yield Ask(self._ask, self._aask, (asked,))
        except Exception as error:  # noqa: BLE001 - any failure of a judge is doubt
            return failed(type(error).__name__, self.source)
        tokens = _spent(answer["raw"])
        if not isinstance(answer["parsed"], JudgeVerdict):
            return failed("malformed_answer", self.source, tokens)
        return weigh(case, answer["parsed"], self.source, tokens)

    def _ask(self, asked: list[Any]) -> Any:
        # Not a with-block: its end would wait for the very request that timed out.
        worker = ThreadPoolExecutor(1, thread_name_prefix="end-conversation-judge")
        try:
            return worker.submit(self._asking.invoke, asked).result(self._timeout)
        finally:
            worker.shutdown(wait=False, cancel_futures=True)

    async def _aask(self, asked: list[Any]) -> Any:
        return await asyncio.wait_for(self._asking.ainvoke(asked), self._timeout)


def _spent(message: Any) -> Usage:
    usage = getattr(message, "usage_metadata", None) or {}
    cached = usage.get("input_token_details") or {}
    return Usage(
        usage.get("input_tokens", 0),
        usage.get("output_tokens", 0),
        cached.get("cache_read") or 0,
        cached.get("cache_creation") or 0,
    )
