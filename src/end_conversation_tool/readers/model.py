"""A reader on any LangChain chat model that can give structured output; by default the agent's own."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from end_conversation_tool._core.reading import Usage
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.budget import ReadingBudget
from end_conversation_tool.readers.portions import Answer, CannotReadError, PortionReader
from end_conversation_tool.readers.prompt import INSTRUCTIONS, PROMPT_DIGEST, Report

__all__ = ["ModelReader"]

_log = logging.getLogger(__name__)

_SOURCE = "end_conversation_reader"


def _side_call_config() -> Any:
    """Return the config of a call that no user sees: LangChain's own side calls say the same."""
    metadata: dict[str, Any] = {"lc_source": _SOURCE}
    try:
        from langchain.agents.middleware.internal_call_transformer import (  # noqa: PLC0415 - only where LangChain is
            internal_call_metadata,
        )
    except ImportError:
        pass
    else:
        metadata |= internal_call_metadata()
    return {"metadata": metadata, "tags": ["nostream"], "run_name": _SOURCE}


class ModelReader(PortionReader):
    """Reads with a LangChain chat model. Retries are the model's own setting.

    Args:
        model: The chat model; ``None`` for the agent's own, where the door has it at hand.
        timeout: Seconds for one request.
        budget: The most that it may use.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self, model: BaseChatModel | None = None, *, timeout: float = 60.0, budget: ReadingBudget | None = None
    ) -> None:
        if model is not None and not isinstance(model, BaseChatModel):
            raise InvalidInputError(f"model: expected None or a BaseChatModel, got {type(model).__name__}")
        super().__init__(f"model:{_name_of(model)}/{PROMPT_DIGEST}", timeout=timeout, budget=budget)
        self.model = model
        self._asking: Any = None

    def on(self, model: BaseChatModel) -> ModelReader:
        """Return this reader on ``model``: one that has none of its own, with the same meter and limits."""
        if self.model is not None:
            return self
        bound = ModelReader(model, timeout=self.timeout, budget=self.meter.budget)
        bound.meter = self.meter
        return bound

    def _answer(self, question: str) -> Answer:
        asked = self._prepared(question)
        # Not a with-block: its end would wait for the very request that timed out. The context goes along, or tracing
        # and the count of what it costs would be lost.
        worker = ThreadPoolExecutor(1, thread_name_prefix="end-conversation-reader")
        try:
            context = copy_context()
            future = worker.submit(context.run, self._asking.invoke, asked, _side_call_config())
            return _answer_of(future.result(self.timeout))
        finally:
            worker.shutdown(wait=False, cancel_futures=True)

    async def _aanswer(self, question: str) -> Answer:
        asked = self._prepared(question)
        return _answer_of(await asyncio.wait_for(self._asking.ainvoke(asked, _side_call_config()), self.timeout))

    def _prepared(self, question: str) -> list[Any]:
        if self._asking is None:
            self._asking = _structured(self.model)
        return [SystemMessage(INSTRUCTIONS), HumanMessage(question)]


def _structured(model: BaseChatModel | None) -> Any:
    """Return the model as one that answers with a report.

    Raises:
        CannotReadError: It cannot.
    """
    if model is None:
        raise CannotReadError("no_model")
    profile = getattr(model, "profile", None) or {}
    method: dict[str, Any] = {"method": "json_schema"} if profile.get("structured_output") else {}
    for options in (method, {}):
        try:
            return model.with_structured_output(Report, include_raw=True, **options)
        except NotImplementedError as error:
            raise CannotReadError(type(model).__name__) from error
        except (TypeError, ValueError) as error:  # it takes no such method
            if not options:
                raise CannotReadError(type(model).__name__) from error
    raise CannotReadError(type(model).__name__)  # pragma: no cover - the loop always returns or raises


def _answer_of(answer: Any) -> Answer:
    """Return what came back; where it could not be parsed, whatever the error, there is no report."""
    if not isinstance(answer, dict):
        return Answer(answer)
    return Answer(answer.get("parsed"), _spent(answer.get("raw")))


def _spent(message: Any) -> Usage:
    usage = getattr(message, "usage_metadata", None) or {}
    cached = usage.get("input_token_details") or {}
    return Usage(
        usage.get("input_tokens") or 0,
        usage.get("output_tokens") or 0,
        cached.get("cache_read") or 0,
        cached.get("cache_creation") or 0,
    )


def _name_of(model: Any) -> str:
    if model is None:
        return "agent"
    named = (getattr(model, attribute, None) for attribute in ("model_name", "model", "model_id"))
    return next((name for name in named if isinstance(name, str) and name), type(model).__name__)
