"""Recorded messages of every provider and library, read into LangChain's messages.

Providers differ in three things only: where they say who speaks, where the text is, and how they write calls of tools.
So there is one reader for all: a table of fields and words for each of the three. What a file as a whole looks like is
told in ``shapes``.

What the provider said about a reply (stop reason, refusal) is kept, since it is evidence in a replay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import ValidationError

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.recordings.parts import (
    CALL_IDS,
    Gathered,
    first_of,
    mapping,
    named,
    tool_result,
    unread_words,
    words_of,
)

__all__ = ["CONTENT_FIELDS", "ReadItems", "read_items", "read_messages", "role_of", "unwrapped"]

Speaker = Literal["user", "assistant", "system", "tool", "none"]

_SPEAKERS: dict[Speaker, tuple[str, ...]] = {
    "user": ("user", "human", "prompter", "customer", "visitor", "end_user", "enduser", "client"),
    "assistant": ("assistant", "ai", "model", "bot", "gpt", "chatgpt", "chatbot", "claude", "gemini", "bard",
                  "bing", "llm", "agent"),
    "system": ("system", "developer"),
    "tool": ("tool", "function", "observation", "ipython", "tool_response", "tool_result"),
    "none": ("reasoning", "remove", "activity", "data", "think", "thought"),
}  # fmt: skip
_ROLES: dict[str, Speaker] = {word: speaker for speaker, words in _SPEAKERS.items() for word in words}

_ROLE_FIELDS = ("role", "author", "sender", "from", "speaker", "author_role", "sender_type", "senderType", "Role",
                "_role", "source", "type", "event")  # fmt: skip
_LOOSE_FIELDS = ("source", "type", "event")
"""Fields that say much else in other files: there, only the plainest words mean somebody who speaks."""

_PLAIN = frozenset({"user", "human", "ai", "assistant", "bot", "system", "developer", "tool", "function", "remove",
                    "reasoning"})  # fmt: skip
_CHAT_SUBTYPES = (None, "bot_message", "thread_broadcast", "file_share", "me_message")
_USER_FLAGS = ("isCreatedByUser", "is_user", "isUser", "from_user")
_BOT_FLAGS = ("isBot", "is_bot", "bot")

CONTENT_FIELDS = ("content", "parts", "text", "value", "message", "body", "mes", "blocks", "transcript",
                  "fragments", "utterance", "msg", "Items", "_content")  # fmt: skip
"""Fields of a message that hold what is said."""

_ATTACHED = ("attachments", "files", "images", "experimental_attachments", "stickers")
_WRAPPINGS = ("message", "raw_item", "payload", "item")
_REPORTED = ("stop_reason", "stop_details", "finish_reason", "model", "prompt_feedback")
_SUMMARY = {"lc_source": "summarization"}


class ReadItems(NamedTuple):
    """What a list of recorded items holds.

    Attributes:
        messages: Its messages.
        passed_over: Names of the items that are no messages and hold nobody's words, each once.
    """

    messages: list[BaseMessage]
    passed_over: tuple[str, ...]


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
    messages, passed_over = read_items(value, place)
    if not messages:
        only = f"only {', '.join(passed_over)}" if passed_over else "none"
        raise InvalidInputError(f"{place}: expected at least one message, got {only}")
    for number, message in enumerate(messages):
        message.id = message.id or f"#{number}"
    return tuple(messages)


def read_items(value: Any, place: str = "messages") -> ReadItems:
    """Read recorded items as ``read_messages`` does; there may be no message among them.

    Raises:
        InvalidInputError: Something is not a message.
    """
    if not isinstance(value, list):
        raise InvalidInputError(f"{place}: expected a list of messages, got {type(value).__name__}")
    found: list[BaseMessage] = []
    passed_over: dict[str, None] = {}
    for index, item in enumerate(value):
        where = f"{place}[{index}]"
        try:
            messages = _read(item, where)
        except (ValidationError, RecursionError) as error:
            raise InvalidInputError(f"{where}: expected a message, got one with unusable fields") from error
        if not messages:
            passed_over[_name_of(item)] = None
        found += messages
    return ReadItems(found, tuple(passed_over))


def role_of(item: Any) -> Speaker | None:
    """Return who speaks in a recorded message; ``None`` when it is none or does not say."""
    if isinstance(item, list):
        return _ROLES.get(str(item[0]).lower()) if _is_pair(item) else None
    return _speaker(unwrapped(item)) if isinstance(item, dict) else None


def unwrapped(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take a message out of its wrappings: ``{lc, kwargs}``, ``{type, data}``, ``{message}``, ``{payload}``."""
    for _ in range(4):
        inner = _inner(item)
        if inner is None:
            break
        own_id = named(inner, ("id",)) or named(item, ("uuid", "id"))
        summary = {"additional_kwargs": _SUMMARY} if item.get("isCompactSummary") is True else {}
        item = {**inner, **summary} if own_id is None else {**inner, **summary, "id": own_id}
    return item


def _inner(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "lc" in item and isinstance(item.get("kwargs"), dict):
        path = item.get("id")
        return {"type": path[-1] if isinstance(path, list) and path else None, **item["kwargs"]}
    if isinstance(item.get("data"), dict) and "type" in item and "content" not in item:
        return {"type": item["type"], **item["data"]}
    for name in _WRAPPINGS:
        inner = item.get(name)
        if isinstance(inner, dict) and _is_spoken(inner) and (name != "message" or "content" not in item):
            return inner
    return None


def _is_spoken(fields: Mapping[str, Any]) -> bool:
    return any(name in fields for name in ("role", "author")) or ("type" in fields and "content" not in fields)


def _speaker(fields: Mapping[str, Any]) -> Speaker | None:
    for name in _USER_FLAGS:
        if isinstance(fields.get(name), bool):
            return "user" if fields[name] else "assistant"
    if fields.get("kind") in ("request", "response") and "parts" in fields:  # of Pydantic AI
        return "user" if fields["kind"] == "request" else "assistant"
    for name in _ROLE_FIELDS:
        value = fields.get(name)
        found = _speaker_named(value, plain=name in _LOOSE_FIELDS)
        if found is not None or (name == "role" and value is not None):
            return found
    if "ts" in fields and fields.get("subtype") not in _CHAT_SUBTYPES:
        return "none"
    if any(fields.get(name) for name in (*_BOT_FLAGS, "bot_id", "bot_profile")):
        return "assistant"
    is_chat_line = "ts" in fields or any(isinstance(fields.get(name), bool) for name in _BOT_FLAGS)
    return "user" if is_chat_line and isinstance(fields.get("text") or fields.get("content"), str) else None


def _speaker_named(value: Any, *, plain: bool = False) -> Speaker | None:
    """Tell who speaks from a role, or from an object that describes the speaker."""
    if isinstance(value, dict):
        for flag in _BOT_FLAGS:
            if isinstance(value.get(flag), bool):
                return "assistant" if value[flag] else "user"
        if isinstance(value.get("role"), int):  # the Bot Framework's enum
            return {0: "assistant", 1: "user"}.get(value["role"])  # type: ignore[return-value]
        if "username" in value:  # Discord says only of bots that they are some
            return "user"
        value = first_of(value, ("role", "type", "Label", "label"))
    if not isinstance(value, str):
        return None
    word = value.lower().rpartition(".")[2].removeprefix("role_").removesuffix("chunk").removesuffix("message")
    word = word.replace("-", "_").strip("_ ")
    return _ROLES.get(word) if not plain or word in _PLAIN else None


def _read(item: Any, place: str) -> list[BaseMessage]:
    """Read one recorded item; a user message with tool results becomes several."""
    if isinstance(item, list) and _is_pair(item):
        item = {"role": item[0], "content": item[1]}
    if not isinstance(item, dict):
        raise InvalidInputError(f"{place}: expected an object, got {type(item).__name__}")
    for name in ("kwargs", "data") if "lc" in item or "content" not in item else ():
        if name in item and ("lc" in item or "type" in item) and not isinstance(item[name], dict):
            raise InvalidInputError(f"{place}.{name}: expected an object, got {type(item[name]).__name__}")
    fields = unwrapped(item)
    if "role" not in fields and (messages := _read_item(fields, place)) is not None:
        return messages
    speaker = _speaker(fields)
    has_content = any(fields.get(name) is not None for name in CONTENT_FIELDS)
    if speaker is None:
        if not has_content and isinstance(fields.get("type"), str) and "role" not in fields:
            return []
        raise _no_role(fields, place)
    if speaker == "none" or (speaker != "assistant" and not has_content and _is_event(fields)):
        return []
    return _spoken(fields, speaker, place)


def _read_item(fields: Mapping[str, Any], place: str) -> list[BaseMessage] | None:
    """Read an item of the Responses API that has no role; ``None`` when it is none."""
    kind = fields.get("type")
    if not isinstance(kind, str):
        return None
    if kind.endswith(("_output", "_call_result")) and "call" in kind:
        return [tool_result(fields)] if fields.get("output") is not None else []
    if kind.endswith("_call") and named(fields) is not None:
        message = _assistant({"tool_calls": [fields]}, Gathered(), place)
        return [message, tool_result(fields)] if fields.get("output") is not None else [message]
    silent = kind in ("reasoning", "compaction", "item_reference") or kind.endswith(("_call", "_request", "_tools"))
    return [] if silent else None


def _is_event(fields: Mapping[str, Any]) -> bool:
    """Whether this is named as something else than a message, such as ``conversationUpdate``."""
    kind = fields.get("type")
    return isinstance(kind, str) and kind != "message" and _speaker_named(kind) is None


def _spoken(fields: Mapping[str, Any], speaker: Speaker, place: str) -> list[BaseMessage]:
    gathered = _gathered(fields, speaker, place)
    message_id = _id(fields)
    if speaker == "assistant":
        message = _assistant(fields, gathered, place)
        return [message, *gathered.results]
    if speaker == "tool":
        whole = {**fields, "content": first_of(fields, CONTENT_FIELDS)}
        return [*(gathered.results or [tool_result(whole)])]
    before: list[BaseMessage] = [SystemMessage(text) for text in gathered.system if text]
    if speaker == "system":
        return [*before, SystemMessage(_content(gathered), id=message_id)] if gathered.content or not before else before
    before += gathered.results
    if before and not gathered.content:
        return before
    extra = _SUMMARY if mapping(fields.get("additional_kwargs")).get("lc_source") == "summarization" else {}
    return [*before, HumanMessage(_content(gathered), id=message_id, additional_kwargs=dict(extra))]


def _gathered(fields: Mapping[str, Any], speaker: Speaker, place: str) -> Gathered:
    """Gather what a message holds.

    Some exports have the text twice, in two fields. Of a user's words none may be lost, so that what only the second
    field has counts as well.
    """
    gathered, strict = Gathered(), speaker == "user"
    for name in CONTENT_FIELDS:
        value = fields.get(name)
        if value is None or (name != "content" and not isinstance(value, (str, list, dict))):
            continue
        if not gathered.content:
            gathered.add(value, f"{place}.{name}", strict=strict)
        elif strict:
            more = Gathered()
            more.add(value, f"{place}.{name}", strict=True)
            said = gathered.text
            gathered.content += [part for part in more.content if part.get("text", "").strip() not in said]
    if strict:
        _check_nothing_is_lost(fields, gathered, place)
        gathered.content += [{"type": "file"} for name in _ATTACHED if fields.get(name)]
    return gathered


def _check_nothing_is_lost(fields: Mapping[str, Any], gathered: Gathered, place: str) -> None:
    if gathered.content or gathered.results or gathered.system:
        return
    if unread := unread_words(fields, place):
        raise InvalidInputError(f"{unread}: expected the user's text in a known field, found words in this one")
    if not any(isinstance(fields.get(name), (str, list, dict)) for name in (*CONTENT_FIELDS, *_ATTACHED)):
        got = type(fields.get("content")).__name__
        raise InvalidInputError(f"{place}.content: expected a str or a list of parts, got {got}")


def _content(gathered: Gathered) -> str | list[Any]:
    """Return content as LangChain keeps it: a string where there is nothing but text."""
    if all(part["type"] == "text" for part in gathered.content):
        return gathered.text
    return list(gathered.content)


def _assistant(fields: Mapping[str, Any], gathered: Gathered, place: str) -> AIMessage:
    calls: list[dict[str, Any]] = []
    invalid: list[dict[str, Any]] = []
    for call, where in _recorded_calls(fields, gathered, place):
        _sort_call(call, where, calls, invalid)
    reported = {name: fields[name] for name in _REPORTED if fields.get(name) is not None}
    refusal = fields.get("refusal") or mapping(fields.get("additional_kwargs")).get("refusal")
    # Providers leave the content out, or null, beside calls and refusals.
    if not any(name in fields for name in CONTENT_FIELDS) and not (calls or invalid or refusal):
        raise InvalidInputError(f"{place}.content: expected a str or a list of parts, got nothing")
    return AIMessage(
        _content(gathered),
        id=_id(fields),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        response_metadata={**reported, **mapping(fields.get("response_metadata"))},
        additional_kwargs={"refusal": refusal} if refusal else {},
    )


def _recorded_calls(
    fields: Mapping[str, Any], gathered: Gathered, place: str
) -> Sequence[tuple[Mapping[str, Any], str]]:
    """Return the tool calls of a message, each once, with where they were found."""
    found: dict[str, tuple[Mapping[str, Any], str]] = {}
    extra = mapping(fields.get("additional_kwargs")).get("tool_calls")
    recorded = {name: fields.get(name) for name in ("tool_calls", "invalid_tool_calls", "toolCalls")}
    if not any(recorded.values()) and isinstance(extra, list):
        recorded = {"additional_kwargs.tool_calls": extra}
    for name, value in recorded.items():
        if value is not None and not isinstance(value, list):
            raise InvalidInputError(f"{place}.{name}: expected a list, got {type(value).__name__}")
        for index, call in enumerate(value or ()):
            where = f"{place}.{name}[{index}]"
            if not isinstance(call, dict):
                raise InvalidInputError(f"{where}: expected an object, got {type(call).__name__}")
            found[named(call, CALL_IDS) or where] = (call, where)
    for call_id, call in gathered.calls.items():
        found.setdefault(call_id, call)
    legacy = fields.get("function_call")
    if isinstance(legacy, dict):
        found.setdefault("function_call", ({"function": legacy}, f"{place}.function_call"))
    return list(found.values())


def _sort_call(call: Mapping[str, Any], place: str, calls: list[dict[str, Any]], invalid: list[dict[str, Any]]) -> None:
    """Read one tool call, in any of the shapes, into the valid or the malformed ones."""
    body = mapping(call.get("function")) or call
    name = named(body)
    if name is None:
        raise InvalidInputError(f"{place}.name: expected a str, got {type(body.get('name')).__name__}")
    arguments: Any = first_of(body, ("arguments", "args", "input", "parameters"))
    arguments = {} if arguments is None else arguments
    call_id = named(call, CALL_IDS) or place
    parsed = arguments
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            parsed = None
    if isinstance(parsed, dict):
        calls.append({"name": name, "args": dict(parsed), "id": call_id, "type": "tool_call"})
        return
    text = words_of(arguments)
    invalid.append({"name": name, "args": text, "id": call_id, "error": None, "type": "invalid_tool_call"})


def _no_role(fields: Mapping[str, Any], place: str) -> InvalidInputError:
    name = next((name for name in _ROLE_FIELDS if fields.get(name) is not None), "role")
    value = fields.get(name)
    if not isinstance(value, str):
        return InvalidInputError(f"{place}.{name}: expected a role, as in 'user', got {type(value).__name__}")
    return InvalidInputError(f"{place}.{name}: expected one of {', '.join(_ROLES)}, got another str")


def _is_pair(item: Sequence[Any]) -> bool:
    """Whether this is LangChain's ``["human", "text"]``."""
    return len(item) == 2 and all(isinstance(part, str) for part in item) and item[0].lower() in _ROLES  # noqa: PLR2004


def _name_of(item: Any) -> str:
    name = named(mapping(item), ("type", "role", "event", "kind")) or "item without a type"
    return name if name.isidentifier() and name.isascii() else "item of another type"


def _id(fields: Mapping[str, Any]) -> str | None:
    return named(fields, ("id", "uuid", "messageId", "message_id"))
