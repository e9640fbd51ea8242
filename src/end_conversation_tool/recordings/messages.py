"""The shapes in which messages are recorded, read into LangChain's messages.

- OpenAI chat: ``role`` and ``content``, ``tool_calls`` with a ``function``, ``tool_call_id``, ``refusal``.
- OpenAI Responses: items of ``type`` ``message``, ``function_call``, ``function_call_output``, ``reasoning``.
- Anthropic: ``content`` of blocks, ``tool_use`` and ``tool_result`` among them; ``stop_reason``.
- LangChain: ``type`` ``human``, ``ai``, ``tool``; also as ``{type, data}``, and serialised with ``lc`` and ``kwargs``.

Tool results are never taken for the user's words, not even where a provider puts them into a user message (R12). What
the provider said about a reply (stop reason, refusal) is kept, since it is evidence in a replay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import ValidationError

from end_conversation_tool.errors import InvalidInputError

__all__ = ["read_messages"]

_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
_RESULT_BLOCKS = frozenset({"tool_result", "web_search_tool_result", "mcp_tool_result"})
_CALL_BLOCKS = frozenset({"tool_use", "tool_call"})
_SILENT_ITEMS = frozenset({"reasoning", "item_reference", "remove"})
_REPORTED = ("stop_reason", "stop_details", "finish_reason", "model", "prompt_feedback")


def read_messages(value: Any, place: str = "messages") -> tuple[BaseMessage, ...]:
    """Read recorded messages.

    Args:
        value: A list of messages as plain data.
        place: What to call the list in errors.

    Returns:
        At least one message. A message without an id gets its position, ``#3``.

    Raises:
        InvalidInputError: Something is not a message; the error names the field, what it is, and what is expected.
    """
    if not isinstance(value, list):
        raise InvalidInputError(f"{place}: expected a list of messages, got {type(value).__name__}")
    found: list[BaseMessage] = []
    for index, item in enumerate(value):
        try:
            found += _read(item, f"{place}[{index}]")
        except (ValidationError, RecursionError) as error:
            raise InvalidInputError(f"{place}[{index}]: expected a message, got one with unusable fields") from error
    if not found:
        raise InvalidInputError(f"{place}: expected at least one message, got none")
    for number, message in enumerate(found):
        if not message.id:
            message.id = f"#{number}"
    return tuple(found)


def _read(item: Any, place: str) -> list[BaseMessage]:
    """Read one recorded message; a user message with tool results becomes several."""
    if not isinstance(item, Mapping):
        raise InvalidInputError(f"{place}: expected an object, got {type(item).__name__}")
    fields = _unwrapped(item, place)
    kind = _type(fields)
    if kind in _SILENT_ITEMS:
        return []
    if kind == "function_call":
        return [_assistant({"content": "", "tool_calls": [fields]}, place)]
    if kind == "function_call_output":
        return [_tool_result(fields.get("output"), fields.get("call_id"), None)]
    return _read_by_role(fields, place)


def _read_by_role(fields: Mapping[str, Any], place: str) -> list[BaseMessage]:
    role = _role(fields, place)
    if role == "assistant":
        return [_assistant(fields, place)]
    content = _content(fields.get("content"), place)
    if role == "tool":
        return [_tool_result(content, fields.get("tool_call_id"), fields.get("name"))]
    return [SystemMessage(content, id=_id(fields))] if role == "system" else _user(content, _id(fields))


def _unwrapped(item: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Take a message out of LangChain's wrappings: ``{lc, id, kwargs}`` and ``{type, data}``."""
    for inner, is_wrapped in (("kwargs", "lc" in item), ("data", "type" in item and "content" not in item)):
        if not is_wrapped or inner not in item:
            continue
        fields = item[inner]
        if not isinstance(fields, Mapping):
            raise InvalidInputError(f"{place}.{inner}: expected an object, got {type(fields).__name__}")
        name = item["type"] if inner == "data" else _class_name(item)
        return {**fields, "type": fields.get("type") or name}
    return item


def _class_name(item: Mapping[str, Any]) -> Any:
    path = item.get("id")
    return path[-1] if isinstance(path, list) and path else None


def _role(fields: Mapping[str, Any], place: str) -> str:
    named = fields.get("role") if fields.get("role") is not None else fields.get("type")
    field = "role" if fields.get("role") is not None or named is None else "type"
    if not isinstance(named, str):
        raise InvalidInputError(f"{place}.{field}: expected a role, as in 'user', got {type(named).__name__}")
    role = _ROLES.get(named.lower().removesuffix("chunk").removesuffix("message") or "")
    if role is None:
        raise InvalidInputError(f"{place}.{field}: expected one of {', '.join(_ROLES)}, got another str")
    return role


def _content(value: Any, place: str) -> str | list[Any]:
    """Return content as LangChain keeps it: a string, or a list of strings and blocks."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        raise InvalidInputError(f"{place}.content: expected a str or a list of parts, got {type(value).__name__}")
    for index, part in enumerate(value):
        if not isinstance(part, (str, Mapping)):
            raise InvalidInputError(f"{place}.content[{index}]: expected a str or object, got {type(part).__name__}")
    return value


def _user(content: str | list[Any], message_id: str | None) -> list[BaseMessage]:
    if isinstance(content, str):
        return [HumanMessage(content, id=message_id)]
    results = [part for part in content if _type(part) in _RESULT_BLOCKS]
    said = [part for part in content if _type(part) not in _RESULT_BLOCKS]
    messages: list[BaseMessage] = [_tool_result(part.get("content"), part.get("tool_use_id"), None) for part in results]
    return [*messages, HumanMessage(said, id=message_id)] if said or not results else messages


def _tool_result(content: Any, call_id: Any, name: Any) -> ToolMessage:
    text = content if isinstance(content, (str, list)) else json.dumps(content)
    return ToolMessage(
        text if isinstance(text, str) else json.dumps(text),
        tool_call_id=_text(call_id) or "",
        name=_text(name),
    )


def _assistant(fields: Mapping[str, Any], place: str) -> AIMessage:
    # Providers leave the content out, or null, beside calls and refusals.
    content = "" if fields.get("content") is None else _content(fields["content"], place)
    calls: list[dict[str, Any]] = []
    invalid: list[dict[str, Any]] = []
    for call, where in _recorded_calls(fields, content, place):
        _sort_call(call, where, calls, invalid)
    reported = {name: fields[name] for name in _REPORTED if fields.get(name) is not None}
    extra = _mapping(fields.get("additional_kwargs"))
    refusal = fields.get("refusal") or extra.get("refusal")
    if "content" not in fields and not (calls or invalid or refusal):
        raise InvalidInputError(f"{place}.content: expected a str or a list of parts, got nothing")
    return AIMessage(
        content,
        id=_id(fields),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        response_metadata={**reported, **_mapping(fields.get("response_metadata"))},
        additional_kwargs={"refusal": refusal} if refusal else {},
    )


def _recorded_calls(
    fields: Mapping[str, Any], content: str | list[Any], place: str
) -> list[tuple[Mapping[str, Any], str]]:
    """Return the tool calls of a message, each once, with where they were found."""
    found: dict[Any, tuple[Mapping[str, Any], str]] = {}
    extra = _mapping(fields.get("additional_kwargs"))
    for name in ("tool_calls", "invalid_tool_calls"):
        for index, call in enumerate(_list(fields.get(name), f"{place}.{name}")):
            where = f"{place}.{name}[{index}]"
            if not isinstance(call, Mapping):
                raise InvalidInputError(f"{where}: expected an object, got {type(call).__name__}")
            found[_text(call.get("id") or call.get("call_id")) or where] = (call, where)
    if not found and isinstance(extra.get("tool_calls"), list):
        calls = [call for call in extra["tool_calls"] if isinstance(call, Mapping)]
        found.update({(_text(call.get("id")) or n): (call, f"{place}.tool_calls") for n, call in enumerate(calls)})
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if _type(part) in _CALL_BLOCKS:
            found.setdefault(_text(part.get("id")) or f"{index}", (part, f"{place}.content[{index}]"))
    legacy = fields.get("function_call")
    if isinstance(legacy, Mapping):
        found.setdefault("function_call", ({"function": legacy}, f"{place}.function_call"))
    return list(found.values())


def _sort_call(call: Mapping[str, Any], place: str, calls: list[dict[str, Any]], invalid: list[dict[str, Any]]) -> None:
    """Read one tool call, in any of the shapes, into the valid or the malformed ones."""
    body = _mapping(call.get("function")) or call
    name = body.get("name")
    if not isinstance(name, str):
        raise InvalidInputError(f"{place}.name: expected a str, got {type(name).__name__}")
    arguments: Any = next((body[key] for key in ("arguments", "args", "input") if body.get(key) is not None), {})
    call_id = _text(call.get("id") or call.get("call_id")) or place
    parsed = arguments
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            parsed = None
    if isinstance(parsed, Mapping):
        calls.append({"name": name, "args": dict(parsed), "id": call_id, "type": "tool_call"})
        return
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    invalid.append({"name": name, "args": text, "id": call_id, "error": None, "type": "invalid_tool_call"})


def _id(fields: Mapping[str, Any]) -> str | None:
    return _text(fields.get("id"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _type(part: Any) -> str | None:
    return _text(part.get("type")) if isinstance(part, Mapping) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any, place: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInputError(f"{place}: expected a list, got {type(value).__name__}")
    return value
