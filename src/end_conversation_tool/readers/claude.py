"""A judge on Anthropic's Messages API, through the ``anthropic`` client and its structured output."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

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

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic

__all__ = ["ClaudeJudge"]


class ClaudeJudge:
    """Asks Claude. One request for each end that everything else permits.

    Args:
        model: Name of the model.
        client: An ``anthropic.Anthropic``; ``None`` makes one from the environment when it is first needed.
        async_client: An ``anthropic.AsyncAnthropic``, likewise.
        timeout: Seconds for one request.
        max_retries: Retries after overload or a broken connection, 0 to 5.
        max_tokens: Most tokens of the answer.
        token_budget: Most input and output tokens together that this object may use; ``None`` for no limit. Once it is
            used up, the judge fails, and ends are denied.

    Raises:
        InvalidInputError: An argument is out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        client: Anthropic | None = None,
        async_client: AsyncAnthropic | None = None,
        timeout: float = 20.0,
        max_retries: int = 1,
        max_tokens: int = 2_000,
        token_budget: int | None = None,
    ) -> None:
        if not model:
            raise InvalidInputError("model: expected the name of a model, got an empty str")
        if not 0 < timeout <= 600:  # noqa: PLR2004 - ten minutes
            raise InvalidInputError(f"timeout: expected more than 0 and at most 600 seconds, got {timeout}")
        if max_retries not in range(6):
            raise InvalidInputError(f"max_retries: expected 0 to 5, got {max_retries}")
        self.source = f"claude:{model}/{JUDGE_PROMPT_VERSION}"
        self.tokens_used = 0
        self._model, self._timeout, self._max_retries, self._max_tokens = model, timeout, max_retries, max_tokens
        self._token_budget, self._lock = token_budget, Lock()
        self._client, self._async_client = client, async_client

    def opine(self, case: JudgeCase) -> JudgeReport:
        """Return Claude's opinion. Never raises: whatever goes wrong is a failed judge."""
        return run_flow(self._opining(case))

    async def aopine(self, case: JudgeCase) -> JudgeReport:
        """Async twin of ``opine``."""
        return await arun_flow(self._opining(case))

    def _opining(self, case: JudgeCase) -> Flow[JudgeReport]:
        if too_long(case) or self._used_up:
            return failed("budget_used_up" if self._used_up else "transcript_too_long", self.source)
        try:
            message = yield Ask(self._ask, self._aask, (self._request(case),))
        except Exception as error:  # noqa: BLE001 - any failure of a judge is doubt
            return failed(type(error).__name__, self.source)
        tokens = self._spent(message)
        if message.stop_reason != "end_turn":
            return failed(f"no_answer_stopped_by_{message.stop_reason}", self.source, tokens)
        try:
            verdict = JudgeVerdict.model_validate_json("".join(b.text for b in message.content if b.type == "text"))
        except ValidationError:
            return failed("malformed_answer", self.source, tokens)
        return weigh(case, verdict, self.source, tokens)

    @property
    def _used_up(self) -> bool:
        return self._token_budget is not None and self.tokens_used >= self._token_budget

    def _request(self, case: JudgeCase) -> dict[str, Any]:
        instructions = {"type": "text", "text": JUDGE_INSTRUCTIONS, "cache_control": {"type": "ephemeral"}}
        return {
            "model": self._model,
            "max_tokens": self._max_tokens,
            "system": [instructions],
            "messages": [{"role": "user", "content": question(case)}],
            "output_config": {"format": _answer_format()},
        }

    def _ask(self, request: dict[str, Any]) -> Any:
        if self._client is None:
            from anthropic import Anthropic  # noqa: PLC0415 - loaded when first needed

            self._client = Anthropic()
        client = self._client.with_options(timeout=self._timeout, max_retries=self._max_retries)
        return client.messages.create(**request)

    async def _aask(self, request: dict[str, Any]) -> Any:
        if self._async_client is None:
            from anthropic import AsyncAnthropic  # noqa: PLC0415 - as above

            self._async_client = AsyncAnthropic()
        client = self._async_client.with_options(timeout=self._timeout, max_retries=self._max_retries)
        return await client.messages.create(**request)

    def _spent(self, message: Any) -> Usage:
        """Count what a request cost, whatever the answer is worth; cache reads and writes are part of the input."""
        usage = message.usage
        read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        spent = Usage(usage.input_tokens + read + written, usage.output_tokens, read, written)
        with self._lock:
            self.tokens_used += spent.input_tokens + spent.output_tokens
        return spent


@lru_cache(1)
def _answer_format() -> dict[str, Any]:
    """Return the form that the API holds the answer to. Parsed here, so that a malformed answer is paid for too."""
    from anthropic import transform_schema  # noqa: PLC0415 - as above

    return {"type": "json_schema", "schema": transform_schema(JudgeVerdict)}
