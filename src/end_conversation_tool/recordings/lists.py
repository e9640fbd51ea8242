"""Lists of recorded messages: whether something is one, in what order it is, what was asked and what was answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from end_conversation_tool.recordings.messages import CONTENT_FIELDS, role_of, unwrapped
from end_conversation_tool.recordings.parts import first_of, kind_of, mapping

__all__ = [
    "answered",
    "are_messages",
    "are_one_conversation",
    "are_turns",
    "asked",
    "decoded",
    "dialect",
    "exchange",
    "in_order",
    "is_message",
    "moment_of",
    "spread",
    "thread_of_message",
    "told",
]

Row = Mapping[str, Any]

_THREADS = ("thread_id", "threadId", "conversation_id", "conversationId", "session_id", "sessionId", "chat_id",
            "chatId", "conversation_sid", "dialog_id", "dialogue_id", "channel_id", "ticket_id", "session",
            "thread")  # fmt: skip
_MOMENTS = ("ts", "timestamp", "created_at", "createdAt", "create_time", "createTime", "start_time", "startTime",
            "date")  # fmt: skip
_ANSWERS_TO_IT = ("replies", "responses", "children", "answers", "thread")
_ISO = re.compile(r"\d{4}-\d\d-\d\d")


def moment_of(row: Any) -> float | str | None:
    """Return when a row was written: seconds, or an ISO date, which can be compared with others alike."""
    value = first_of(mapping(row), _MOMENTS)
    if isinstance(value, str) and _ISO.match(value):
        return value
    try:
        return float(value) if isinstance(value, (str, int, float)) else None
    except (ValueError, OverflowError):
        return None


def in_order(messages: list[Any]) -> list[Any]:
    """Sort messages by time where all of them tell it: some lists begin with the newest."""
    moments = [moment_of(message) for message in messages]
    if None in moments or len({type(moment) for moment in moments}) != 1:
        return messages
    return [messages[index] for index in sorted(range(len(messages)), key=lambda index: moments[index])]  # type: ignore[arg-type, return-value]


def decoded(value: Any) -> Any:
    """Return the JSON that a string holds, as telemetry has it."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{", '"')):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_message(value: Any) -> bool:
    """Whether this is one recorded message: it says who speaks, and has a field for what is said."""
    if isinstance(value, list):
        return role_of(value) is not None
    if not isinstance(value, dict) or role_of(value) in (None, "none"):
        return False
    if any(are_messages(value.get(name)) for name in _ANSWERS_TO_IT):
        return False  # the root of a tree of messages
    fields = unwrapped(value)
    return any(name in fields for name in (*CONTENT_FIELDS, "tool_calls", "refusal", "function_call"))


def are_one_conversation(value: Any) -> bool:
    """Whether a list is one conversation, and not the messages of several."""
    if not are_messages(value):
        return False
    thread = thread_of_message(value[0])
    return thread is None or all(thread_of_message(message) == thread for message in value)


def are_messages(value: Any) -> bool:
    """Whether a list is a conversation: one of its first items is a message, and none holds messages of its own."""
    return isinstance(value, list) and any(is_message(item) for item in value[:8])


def thread_of_message(row: Any) -> str | None:
    """Return the thread that a message, or another row of a log, says it belongs to."""
    value = first_of(mapping(row), _THREADS)
    value = first_of(value, ("id", "name")) if isinstance(value, dict) else value
    return str(value) if isinstance(value, (str, int)) and str(value) else None


def parts_of(message: Row) -> list[Row]:
    value = first_of(message, ("content", "parts"))
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


_LANGCHAIN_TYPES = frozenset({"human", "ai", "humanmessage", "aimessage", "humanmessagechunk", "aimessagechunk"})
_DIALECTS: tuple[tuple[str, Callable[[Row, Row], bool]], ...] = (
    ("langchain", lambda m, _: "lc" in m or str(m.get("type")).lower() in _LANGCHAIN_TYPES),
    ("slack", lambda m, _: "ts" in m and "text" in m),
    ("discord", lambda m, _: isinstance(m.get("author"), dict)),
    ("openai_agents", lambda m, _: "raw_item" in m),
    ("claude_export", lambda m, _: "sender" in m and "uuid" in m),
    ("librechat", lambda m, _: "isCreatedByUser" in m),
    ("bot_framework", lambda m, _: isinstance(m.get("from"), dict) and "text" in m),
    ("sharegpt", lambda m, _: "from" in m and "value" in m),
    ("assistants", lambda m, p: m.get("object") == "thread.message" or isinstance(p.get("text"), dict)),
    ("realtime", lambda _, p: "transcript" in p or "audio" in kind_of(p)),
    ("openai_responses", lambda m, p: m.get("type") in ("message", "function_call") or kind_of(p).startswith("input_")),
    ("pydantic_ai", lambda _, p: "part_kind" in p),
    ("llama_index", lambda m, _: "blocks" in m),
    ("autogen", lambda m, _: "source" in m and "content" in m),
    ("otel_gen_ai", lambda m, p: "parts" in m and "type" in p and "content" in p),
    ("ai_sdk", lambda m, p: ("parts" in m and "type" in p) or "toolInvocations" in m),
    ("gemini", lambda m, p: "parts" in m and "type" not in p and bool(p)),
    ("bedrock_converse", lambda m, p: "content" in m and "type" not in p and bool(p)),
    ("anthropic", lambda m, p: kind_of(p) in ("tool_use", "tool_result", "thinking") or "stop_reason" in m),
    ("openai_chat", lambda m, _: "role" in m and "content" in m),
)


def dialect(messages: Sequence[Any]) -> str:
    """Name the kind of messages that a list has: the first sign that any of the first messages shows."""
    head = [message for message in messages[:8] if isinstance(message, dict)]
    pairs = [(message, part) for message in head for part in (parts_of(message) or [{}])]
    return next((name for name, shows in _DIALECTS if any(shows(*pair) for pair in pairs)), "messages")


_ASKED = ("messages", "contents", "chat_history", "history", "input_messages", "instruction", "input", "inputs",
          "prompt", "prompts", "question", "query", "user_message", "user_input", "request", "body",
          "kwargs")  # fmt: skip
_ANSWERED = ("messages", "choices", "candidates", "generations", "output", "outputs", "response", "completion",
             "answer", "message", "body", "content", "reply", "bot_message", "bot_response", "text",
             "preferred_output")  # fmt: skip
_INSTRUCTED = ("system", "instructions", "system_instruction", "systemInstruction", "system_prompt")


def asked(value: Any, depth: int = 4) -> list[Any]:
    """Return the messages of a request, whatever it is wrapped in; none when there are none."""
    value = decoded(value)
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value.strip() else []
    if isinstance(value, list):
        if are_turns(value):
            return spread(value)
        nested = len(value) == 1 and isinstance(value[0], (list, str))  # a batch of one
        return asked(value[0], depth - 1) if nested and depth else value if are_messages(value) else []
    if not isinstance(value, dict) or not depth:
        return []
    if is_message(value):
        return [value]
    found: list[Any] = []
    for name in _ASKED:
        messages = asked(value.get(name), depth - 1)
        said_already = json.dumps(found, ensure_ascii=False)
        found += [m for m in messages if json.dumps(said(m), ensure_ascii=False)[1:-1] not in said_already]
    return [*told(value), *found] if found else []


def answered(value: Any, depth: int = 5) -> list[Any]:
    """Return the messages of a reply, whatever it is wrapped in; none when there are none."""
    value = decoded(value)
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}] if value.strip() else []
    if isinstance(value, list):
        if are_messages(value):
            return value
        return answered(value[0], depth - 1) if value and depth else []  # the first of several choices
    if not isinstance(value, dict) or not depth:
        return []
    if is_message(value) and role_of(value) != "user":
        return [value]
    return next((found for name in _ANSWERED if (found := answered(value.get(name), depth - 1))), [])


def told(value: Row) -> list[Any]:
    """Return the system prompt beside messages."""
    told = first_of(value, _INSTRUCTED)
    return [{"role": "system", "content": told}] if told and isinstance(told, (str, list, dict)) else []


def said(message: Any) -> Any:
    return first_of(mapping(message), CONTENT_FIELDS) or message


def exchange(request: Any, reply: Any) -> list[Any]:
    """Join a request and its reply; a reply that has the user's messages too is the whole conversation."""
    before, after = asked(request), answered(reply)
    whole = any(role_of(message) == "user" for message in after) and len(after) >= len(before)
    return after if whole else [*before, *after]


def are_turns(value: Any) -> bool:
    """Whether this is a list of what the user said and what was answered, two by two."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, list) and len(turn) == 2 for turn in value)  # noqa: PLR2004
        and all(part is None or isinstance(part, str) for turn in value for part in turn)
        and role_of(value[0]) is None
    )


def spread(turns: list[Any]) -> list[Any]:
    """Return pairs of what was said and answered as messages."""
    roles = ("user", "assistant")
    return [{"role": roles[n], "content": turn[n]} for turn in turns for n in (0, 1) if turn[n]]
