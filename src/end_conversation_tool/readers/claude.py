"""A reader on Claude, by the ``anthropic`` client itself."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from end_conversation_tool._core.reading import Usage
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.budget import ReadingBudget
from end_conversation_tool.readers.portions import Answer, PortionReader
from end_conversation_tool.readers.prompt import INSTRUCTIONS, PROMPT_DIGEST, Report

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic

__all__ = ["ClaudeReader"]


class ClaudeReader(PortionReader):
    """Reads with a Claude model.

    Args:
        model: Name of the model.
        client: For sync calls; ``None`` for one that is made when it is first needed, from the environment.
        async_client: For async calls; ``None`` likewise.
        timeout: Seconds for one request.
        max_retries: How often a request that failed is tried again, 0 to 5.
        max_tokens: Most tokens of an answer.
        budget: The most that it may use.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self,
        model: str,
        *,
        client: Anthropic | None = None,
        async_client: AsyncAnthropic | None = None,
        timeout: float = 60.0,
        max_retries: int = 1,
        max_tokens: int = 8_000,
        budget: ReadingBudget | None = None,
    ) -> None:
        if not isinstance(model, str) or not model:
            raise InvalidInputError(f"model: expected the name of a model, got {model!r}")
        if max_retries not in range(6):
            raise InvalidInputError(f"max_retries: expected 0 to 5, got {max_retries!r}")
        super().__init__(f"claude:{model}/{PROMPT_DIGEST}", timeout=timeout, budget=budget)
        self.model = model
        self._max_retries, self._max_tokens = max_retries, max_tokens
        self._client, self._async_client = client, async_client

    def _answer(self, question: str) -> Answer:
        if self._client is None:
            from anthropic import Anthropic  # noqa: PLC0415 - loaded when first needed

            self._client = Anthropic()
        client = self._client.with_options(timeout=self.timeout, max_retries=self._max_retries)
        return _answer_of(client.messages.create(**self._request(question)))

    async def _aanswer(self, question: str) -> Answer:
        if self._async_client is None:
            from anthropic import AsyncAnthropic  # noqa: PLC0415 - as above

            self._async_client = AsyncAnthropic()
        client = self._async_client.with_options(timeout=self.timeout, max_retries=self._max_retries)
        return _answer_of(await client.messages.create(**self._request(question)))

    def _request(self, question: str) -> dict[str, Any]:
        instructions = {"type": "text", "text": INSTRUCTIONS, "cache_control": {"type": "ephemeral"}}
        return {
            "model": self.model,
            "max_tokens": self._max_tokens,
            "system": [instructions],
            "messages": [{"role": "user", "content": question}],
            "output_config": {"format": _answer_format()},
        }


def _answer_of(message: Any) -> Answer:
    """Return what came back; cache reads and writes are part of the input."""
    usage = message.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    spent = Usage(usage.input_tokens + read + written, usage.output_tokens, read, written)
    if message.stop_reason != "end_turn":
        return Answer(None, spent, str(message.stop_reason))
    return Answer("".join(block.text for block in message.content if block.type == "text"), spent)


@lru_cache(1)
def _answer_format() -> dict[str, Any]:
    """Return the form that the API holds the answer to. Parsed here, so that a malformed answer is paid for too."""
    from anthropic import transform_schema  # noqa: PLC0415 - as above

    return {"type": "json_schema", "schema": transform_schema(Report)}
