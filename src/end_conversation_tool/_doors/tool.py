"""The tool that the model calls. It never ends anything itself: the door round the model does.

Called with nothing round it, it says so, instead of letting the model believe that the user is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from end_conversation_tool._core.prompts import TOOL_DESCRIPTION, denial_text, not_enforced_text
from end_conversation_tool._core.records import MAX_REASON_CHARS, TOOL_NAME, Category, EndRequest, UnmetCode

__all__ = [
    "anthropic_tool",
    "arrivals",
    "create_end_conversation_tool",
    "openai_tool",
    "tool_answer",
]

tool_answer: ContextVar[Callable[[EndRequest], str] | None] = ContextVar("end_conversation_tool_answer", default=None)
"""Set by a door that lets calls reach the tool: gives the answer to a call that was not honoured."""


@contextmanager
def arrivals() -> Iterator[list[EndRequest]]:
    """Collect the requests that reach the tool itself, past everything that others have put before it."""
    arrived: list[EndRequest] = []

    def note(request: EndRequest) -> str:
        arrived.append(request)
        return ""

    token = tool_answer.set(note)
    try:
        yield arrived
    finally:
        tool_answer.reset(token)


def create_end_conversation_tool() -> BaseTool:
    """Return the tool for LangChain and LangGraph.

    The doors of this package answer its calls before it runs. Where it runs all the same, it changes nothing and
    returns a text that says so.

    Returns:
        A tool named ``end_conversation`` with the arguments ``category`` and ``reason``.
    """
    return StructuredTool.from_function(
        func=_run,
        name=TOOL_NAME,
        description=TOOL_DESCRIPTION,
        args_schema=EndRequest,
        handle_tool_error=True,
        handle_validation_error=lambda _error: denial_text([UnmetCode.INVALID_ARGUMENTS]),
    )


def anthropic_tool(*, strict: bool = False) -> dict[str, Any]:
    """Return the tool for the ``tools`` list of Anthropic's Messages API.

    Args:
        strict: Ask the API to hold the model to the schema. Strict schemas cannot state lengths, so the length of the
            reason is then checked by the door alone.
    """
    tool: dict[str, Any] = {
        "name": TOOL_NAME,
        "description": TOOL_DESCRIPTION,
        "input_schema": _parameters(strict=strict),
    }
    return {**tool, "strict": True} if strict else tool


def openai_tool(*, strict: bool = False) -> dict[str, Any]:
    """Return the tool for the ``tools`` list of OpenAI's Chat Completions API.

    Args:
        strict: As for ``anthropic_tool``.
    """
    function: dict[str, Any] = {
        "name": TOOL_NAME,
        "description": TOOL_DESCRIPTION,
        "parameters": _parameters(strict=strict),
    }
    return {"type": "function", "function": {**function, "strict": True} if strict else function}


def _run(category: Category, reason: str) -> str:
    answer = tool_answer.get()
    if answer is None:
        return not_enforced_text()
    raise ToolException(answer(EndRequest(category=category, reason=reason)))


def _parameters(*, strict: bool) -> dict[str, Any]:
    lengths = {} if strict else {"minLength": 1, "maxLength": MAX_REASON_CHARS}
    fields = EndRequest.model_fields
    return {
        "type": "object",
        "properties": {
            "category": {
                "type": "string",
                "enum": [str(category) for category in Category],
                "description": fields["category"].description,
            },
            "reason": {"type": "string", "description": fields["reason"].description, **lengths},
        },
        "required": ["category", "reason"],
        "additionalProperties": False,
    }
