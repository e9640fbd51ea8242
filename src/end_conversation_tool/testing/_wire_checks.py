"""What the Messages API refuses in a request, as plain functions from a parsed request to an error.

Sources: the parameter types and docstrings of the ``anthropic`` package, the API's documentation of tool use,
thinking and structured outputs, and the messages of the API's own errors. Only what a client of this package could
get wrong is checked; limits of single models and quotas are not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["as_blocks", "check_headers", "check_request", "thoughts_in"]

_MAX_CACHE_BREAKPOINTS = 4
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")

_BLOCK_FIELDS = {
    "text": {"type", "text", "cache_control", "citations"},
    "tool_use": {"type", "id", "name", "input", "cache_control", "caller", "toolset_name"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
}
_BLOCK_ROLES = {
    "tool_use": "assistant",
    "tool_result": "user",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
}
_REQUIRED_TEXT = {"text": "text", "thinking": "signature", "redacted_thinking": "data", "tool_result": "tool_use_id"}


@dataclass(frozen=True)
class _Turn:
    """Messages of one role in a row: the API reads them as one.

    Attributes:
        role: ``user``, ``assistant`` or ``system``.
        index: Position of the first of them in ``messages``.
        blocks: All their content blocks.
    """

    role: str
    index: int
    blocks: tuple[dict[str, Any], ...]


def check_headers(headers: Mapping[str, str]) -> None:
    """Check what every request must carry.

    Args:
        headers: By lower-case name.

    Raises:
        ApiError: No key (401) or no version (400).
    """
    if not (headers.get("x-api-key") or headers.get("authorization")):
        raise ApiError("x-api-key header is required", status=401, error_type="authentication_error")
    if not headers.get("anthropic-version"):
        raise ApiError("anthropic-version: header is required")


def check_request(
    body: Mapping[str, Any], *, thoughts: Mapping[str, str], counting: bool = False, allow_prefill: bool = False
) -> None:
    """Check one request body.

    Args:
        body: The parsed body.
        thoughts: The text of every thinking block that the server sent, by its signature (or, redacted, its data).
        counting: Whether this is a request to count tokens, which takes no ``max_tokens``.
        allow_prefill: Whether the model takes a last message of the assistant.

    Raises:
        ApiError: The first fault found.
    """
    _check_fields(body, counting=counting)
    turns = _turns_of(body["messages"])
    _check_order(turns, allow_prefill=allow_prefill)
    check_tools(body, {block["type"] for turn in turns for block in turn.blocks})
    _check_pairs(turns)
    _check_thinking(turns, thoughts)
    check_output_format(body)
    if (found := sum(1 for _ in _cache_breakpoints(body))) > _MAX_CACHE_BREAKPOINTS:
        raise ApiError(f"A maximum of 4 blocks with cache_control may be provided. Found {found}.")


def as_blocks(content: Any) -> list[dict[str, Any]]:
    """Write content in its long form: a string is short for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _turns_of(messages: list[dict[str, Any]]) -> list[_Turn]:
    """Check each message by itself, and join those of one role in a row.

    Raises:
        ApiError: A message or a block that has not the shape of one.
    """
    turns: list[_Turn] = []
    for index, message in enumerate(messages):
        blocks = _check_message(index, message)
        if turns and turns[-1].role == message["role"]:
            turns[-1] = _Turn(turns[-1].role, turns[-1].index, (*turns[-1].blocks, *blocks))
        else:
            turns.append(_Turn(message["role"], index, tuple(blocks)))
    return turns


def _check_fields(body: Mapping[str, Any], *, counting: bool) -> None:
    """The fields at the top."""
    required = ("model", "messages") if counting else ("model", "max_tokens", "messages")
    for field in required:
        if body.get(field) is None:
            raise ApiError(f"{field}: Field required")
    if not isinstance(body["model"], str) or not body["model"]:
        raise ApiError("model: String should have at least 1 character")
    limit = body.get("max_tokens", 0)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ApiError("max_tokens: Input should be a valid integer, greater than or equal to 0")
    if not isinstance(body["messages"], list):
        raise ApiError("messages: Input should be a valid list")
    if not body["messages"]:
        raise ApiError("messages: at least one message is required")
    _check_system(body.get("system"))


def _check_system(system: Any) -> None:
    """The system prompt."""
    if isinstance(system, list):
        for index, block in enumerate(system):
            if not isinstance(block, dict) or block.get("type") != "text":
                raise ApiError(f"system.{index}.type: Input should be 'text'")
            if not block.get("text"):
                raise ApiError("system: text content blocks must be non-empty")
    elif system is not None and not isinstance(system, str):
        raise ApiError("system: Input should be a valid string or list")


def _check_message(index: int, message: Any) -> list[dict[str, Any]]:
    """One message; returns its blocks."""
    where = f"messages.{index}"
    if not isinstance(message, dict):
        raise ApiError(f"{where}: Input should be an object")
    for key in message:
        if key not in {"role", "content"}:
            raise ApiError(f"{where}.{key}: Extra inputs are not permitted")
    if message.get("role") not in {"user", "assistant", "system"}:
        raise ApiError(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
    content = message.get("content")
    if not isinstance(content, (str, list)):
        raise ApiError(f"{where}.content: Input should be a valid string or list")
    if not content:
        raise ApiError(
            f"{where}: all messages must have non-empty content except for the optional final assistant message"
        )
    blocks = as_blocks(content)
    for position, block in enumerate(blocks):
        _check_block(f"{where}.content.{position}", message["role"], block)
    return blocks


def _check_block(where: str, role: str, block: Any) -> None:
    """One content block."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise ApiError(f"{where}.type: Field required")
    kind = block["type"]
    for key in block:
        if key not in _BLOCK_FIELDS.get(kind, block):
            raise ApiError(f"{where}.{kind}.{key}: Extra inputs are not permitted")
    if role != _BLOCK_ROLES.get(kind, role):
        raise ApiError(f"{where}: `{kind}` blocks can only be in `{_BLOCK_ROLES[kind]}` messages")
    if (field := _REQUIRED_TEXT.get(kind)) and not isinstance(block.get(field), str):
        raise ApiError(f"{where}.{kind}.{field}: Input should be a valid string")
    if kind == "text" and not block["text"].strip():
        fault = "contain non-whitespace text" if block["text"] else "be non-empty"
        raise ApiError(f"messages: text content blocks must {fault}")
    if kind == "tool_use":
        _check_call(f"{where}.tool_use", block)


def _check_call(where: str, block: Mapping[str, Any]) -> None:
    """One call of a tool."""
    if not _CALL_ID.fullmatch(str(block.get("id", ""))):
        raise ApiError(f"{where}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not TOOL_NAME.fullmatch(str(block.get("name", ""))):
        raise ApiError(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if not isinstance(block.get("input"), dict):
        raise ApiError(f"{where}.input: Input should be an object")


def _check_order(turns: list[_Turn], *, allow_prefill: bool) -> None:
    """Who speaks first and last."""
    if turns[0].role != "user":
        raise ApiError('messages: first message must use the "user" role')
    last = turns[-1]
    if last.role != "assistant":
        return
    text = last.blocks[-1].get("text", "")
    if text != text.rstrip():
        raise ApiError("messages: final assistant content cannot end with trailing whitespace")
    if not allow_prefill:
        raise ApiError(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _check_pairs(turns: list[_Turn]) -> None:
    """Every call is answered at the start of the next turn, once, and nothing else is answered."""
    seen: set[str] = set()
    expected: list[str] = []
    for position, turn in enumerate(turns):
        results = [block["tool_use_id"] for block in turn.blocks if block["type"] == "tool_result"]
        for call_id in results:
            if call_id not in expected:
                raise ApiError(
                    f"messages.{turn.index}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
        if len(results) != len(set(results)):
            raise ApiError(f"messages.{turn.index}: each tool_use must have a single result.")
        expected = [block["id"] for block in turn.blocks if block["type"] == "tool_use"]
        if len(expected) != len(set(expected)) or seen & set(expected):
            raise ApiError("messages: `tool_use` ids must be unique")
        seen.update(expected)
        answered = _leading_results(turns[position + 1]) if position + 1 < len(turns) else set()
        if missing := [call_id for call_id in expected if call_id not in answered]:
            raise ApiError(
                f"messages.{turn.index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )


def _leading_results(turn: _Turn) -> set[str]:
    """The calls that a turn answers before it says anything else."""
    answered = set()
    for block in turn.blocks:
        if block["type"] != "tool_result":
            break
        answered.add(block["tool_use_id"])
    return answered


def thoughts_in(message: Mapping[str, Any]) -> dict[str, str]:
    """The text of each thinking block of a message, by its signature (or, redacted, its data)."""
    return {
        block.get("signature") or block.get("data", ""): block.get("thinking", "")
        for block in message["content"]
        if block["type"] in {"thinking", "redacted_thinking"}
    }


def _check_thinking(turns: list[_Turn], known: Mapping[str, str]) -> None:
    """Thinking comes back as it was sent: the signature is known, and belongs to that text."""
    for turn in turns:
        for signature, text in thoughts_in({"content": turn.blocks}).items():
            if signature not in known:
                raise ApiError(f"messages.{turn.index}: Invalid `signature` in `thinking` block")
            if text != known[signature]:
                raise ApiError(
                    f"messages.{turn.index}: `thinking` or `redacted_thinking` blocks in the latest assistant message "
                    "cannot be modified. These blocks must remain as they were in the original response."
                )


def _cache_breakpoints(value: Any) -> Iterator[Any]:
    """Every cache marker in a request."""
    parts: Iterable[Any] = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if isinstance(value, Mapping) and value.get("cache_control"):
        yield value["cache_control"]
    for part in parts:
        yield from _cache_breakpoints(part)


# Definitions of tools, and schemas of structured output

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
