"""What the Messages API refuses in definitions of tools and in schemas of structured output."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["TOOL_NAME", "ApiError", "check_output_format", "check_tools"]

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
"""What names of tools may look like."""

_UNSUPPORTED_KEYWORDS = {
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
}
"""JSON schema keywords that structured outputs and strict tools do not take."""


class ApiError(Exception):
    """An answer in the API's error shape.

    Attributes:
        status: HTTP status.
        error_type: ``error.type`` of the body.
        code: ``error.details.error_code`` of the body, where there is one.
    """

    def __init__(
        self, message: str, *, status: int = 400, error_type: str = "invalid_request_error", code: str | None = None
    ) -> None:
        self.status, self.error_type, self.code = status, error_type, code
        super().__init__(message)


def check_tools(body: Mapping[str, Any], kinds: Collection[str]) -> None:
    """Check the definitions of tools, and that there are any while the history has tool blocks.

    Args:
        body: The request.
        kinds: The types of all content blocks in its messages.

    Raises:
        ApiError: The first fault found.
    """
    tools = body.get("tools") or []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = tool.get("name")
        if tool.get("type") in {None, "custom"}:
            _check_custom_tool(f"tools.{index}.custom", tool)
        if name in names:
            raise ApiError("tools: Tool names must be unique.")
        names.add(name)
    if not tools and {"tool_use", "tool_result"} & set(kinds):
        raise ApiError("Requests which include `tool_use` or `tool_result` blocks must define tools")
    choice = body.get("tool_choice") or {}
    if choice and not tools:
        raise ApiError("tool_choice: may only be specified while providing tools")
    if choice.get("type") == "tool" and choice.get("name") not in names:
        raise ApiError(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def _check_custom_tool(where: str, tool: Mapping[str, Any]) -> None:
    """One tool that the client runs."""
    if not isinstance(tool.get("name"), str):
        raise ApiError(f"{where}.name: Field required")
    if not TOOL_NAME.fullmatch(tool["name"]):
        raise ApiError(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise ApiError(f"{where}.input_schema: Field required")
    if schema.get("type") != "object":
        raise ApiError(f"{where}.input_schema.type: Input should be 'object'")
    if tool.get("strict"):
        _check_strict_schema(where, schema)


def _check_strict_schema(where: str, schema: Any) -> None:
    """A schema that the model's output is held to. Optional properties are allowed; open objects are not."""
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    unsupported = sorted(_UNSUPPORTED_KEYWORDS & schema.keys())
    if unsupported:
        raise ApiError(f"{where}: For '{kind}' type, properties {', '.join(unsupported)} are not supported")
    if schema.get("minItems", 0) not in {0, 1}:
        raise ApiError(f"{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    if kind == "object":
        if schema.get("additionalProperties") is not False:
            raise ApiError(f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")
        unknown = sorted(set(schema.get("required", ())) - schema.get("properties", {}).keys())
        if unknown:
            raise ApiError(f"{where}: required properties {', '.join(unknown)} are not defined")
    for key in ("properties", "$defs", "definitions"):
        for part in schema.get(key, {}).values():
            _check_strict_schema(where, part)
    for part in (schema.get("items"), *schema.get("anyOf", ()), *schema.get("allOf", ())):
        _check_strict_schema(where, part)


def check_output_format(body: Mapping[str, Any]) -> None:
    """Check the schema of a structured output; ``output_format`` is its older, beta name.

    Raises:
        ApiError: It is not a schema that output can be held to.
    """
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if wanted is None:
        return
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise ApiError("output_config.format: Input should be a `json_schema` with a `schema`")
    _check_strict_schema("output_config.format.schema", wanted["schema"])
