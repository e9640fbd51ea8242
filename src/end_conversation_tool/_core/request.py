"""A call of the tool, as the model makes it: its name, and what its arguments must be."""

from __future__ import annotations

from pydantic import ValidationError

from end_conversation_tool._core.records import EndRequest
from end_conversation_tool.errors import InvalidInputError

__all__ = ["TOOL_NAME", "parse_request"]

TOOL_NAME = "end_conversation"
"""The name that models know."""


def parse_request(arguments: object) -> EndRequest:
    """Read the tool's arguments as a model gave them.

    Raises:
        InvalidInputError: They are malformed; the message names each field and what is allowed.
    """
    try:
        return EndRequest.model_validate(arguments)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'arguments'}: {p['msg']}" for p in error.errors())
        raise InvalidInputError(f"{TOOL_NAME}: {problems}") from error
