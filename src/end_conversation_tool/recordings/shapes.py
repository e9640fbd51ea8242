"""What files of conversations look like: one small reader for each kind, in one table.

A kind tells a row of its own by a field or two, and says where in it the messages are; what a message looks like is
told in ``messages``. Rows of some kinds are only pieces of a conversation: one message, one run, one checkpoint. They
name their thread, and pieces of a thread are joined by whoever reads the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.recordings.lists import (
    answered,
    are_messages,
    are_one_conversation,
    are_turns,
    asked,
    decoded,
    dialect,
    exchange,
    in_order,
    is_message,
    moment_of,
    spread,
    thread_of_message,
    told,
)
from end_conversation_tool.recordings.messages import role_of
from end_conversation_tool.recordings.parts import first_of, mapping, named

__all__ = ["KINDS", "Joined", "Kind", "Piece", "piece_of", "rows_in"]

Row = Mapping[str, Any]

_DEPTH = 8
"""How deep in a document conversations are looked for."""

_LISTS = ("messages", "conversation", "conversations", "history", "chat_history", "items", "chat", "dialog",
          "dialogue", "turns", "transcript", "thread", "activities", "session", "data", "events", "log", "rounds",
          "entries")  # fmt: skip
_IDS = ("conversation_id", "conversationId", "thread_id", "threadId", "id", "uuid", "sessionId", "session_id",
        "chat_id", "chatId", "custom_id", "conversation_hash", "sender_id", "trace_id", "traceId", "question_id",
        "title", "name")  # fmt: skip


_SNAPSHOT_FIELDS = 6
"""How many fields LangGraph's ``StateSnapshot`` has at least."""


class Joined(Enum):
    """How pieces of one thread make a conversation."""

    ONE_AFTER_ANOTHER = "one after another"
    NEWEST = "newest"
    OVERLAPPING = "overlapping"


class Piece(NamedTuple):
    """The messages of one row, not yet read.

    Attributes:
        kind: Name of the kind.
        messages: Recorded messages of any provider; what is no list is an error of the row.
        place: Where they are in the row.
        id: The conversation's own id; ``None`` when it has none.
        thread: The thread that this is only a piece of; ``None`` for a whole conversation, empty for the file itself.
        joined: How its pieces are joined.
        moment: When it was, to be compared with that of the other pieces; ``None`` when it does not say.
        depth: How deep in a tree of runs; where there are higher ones, only those count.
    """

    kind: str
    messages: Any
    place: str
    id: str | None = None
    thread: str | None = None
    joined: Joined = Joined.ONE_AFTER_ANOTHER
    moment: float | str | None = None
    depth: int = 0


class Kind(NamedTuple):
    """One kind of row.

    Attributes:
        name: Its name.
        recognises: Whether a row is of this kind.
        reads: Returns its messages, and the field where they are.
        thread: Names the thread of a row that is only a piece.
        joined: How pieces are joined.
        depth: How deep a row is in a tree of runs.
    """

    name: str
    recognises: Callable[[Row], bool]
    reads: Callable[[Row], tuple[Any, str]]
    thread: Callable[[Row], str | None] = lambda _: None
    joined: Joined = Joined.ONE_AFTER_ANOTHER
    depth: Callable[[Row], int] = lambda _: 0


def rows_in(value: Any, depth: int = _DEPTH) -> Iterator[tuple[Any, Kind | None]]:
    """Yield the rows of a document, each with its kind: a conversation, a piece of one, or what nobody recognises."""
    value = _snapshot(value)
    kind = _kind_of(value)
    if kind is not None or _is_conversation(value) or not any(_holds_rows(item, depth - 1) for item in _inside(value)):
        yield value, kind
    elif isinstance(value, list):  # the rows beside those that are recognised are reported
        for item in value:
            yield from rows_in(item, depth - 1)
    else:
        for item in _inside(value):
            if _holds_rows(item, depth - 1):
                yield from rows_in(item, depth - 1)


def _snapshot(value: Any) -> Any:
    """Return a ``StateSnapshot`` that was written as the tuple that it is as an object."""
    if (
        isinstance(value, list)
        and len(value) >= _SNAPSHOT_FIELDS
        and "messages" in mapping(value[0])
        and _at(value[2], "configurable")
    ):
        return {"values": value[0], "config": value[2], "metadata": value[3], "created_at": value[4]}
    return value


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, (list, dict)))
    elif isinstance(value, dict) and role_of(value) is None and not any(map(_is_single_message, value.values())):
        # Where somebody speaks, by itself or in a field of its own, what is inside is not the whole conversation.
        yield from (item for item in value.values() if isinstance(item, (list, dict)))


def _is_single_message(value: Any) -> bool:
    return isinstance(value, dict) and is_message(value)


def _holds_rows(value: Any, depth: int) -> bool:
    if _is_conversation(value) or _kind_of(value) is not None:
        return True
    return depth > 0 and any(_holds_rows(item, depth - 1) for item in _inside(value))


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and are_messages(value) and thread_of_message(value[0]) is None


def _kind_of(value: Any) -> Kind | None:
    return next((kind for kind in KINDS if kind.recognises(value)), None) if isinstance(value, dict) else None


def piece_of(row: Any, kind: Kind | None = None) -> Piece:
    """Return the messages of a row.

    Args:
        row: As ``rows_in`` gives it.
        kind: Its kind; ``None`` for a list of messages.

    Raises:
        InvalidInputError: No kind recognises it; the error names the fields that it has.
    """
    if are_messages(row):
        return Piece(dialect(row), in_order(row), "messages")
    if kind is None:
        expected = "expected a recorded conversation, as in an object with 'messages' or a list of them"
        raise InvalidInputError(f"row: {expected}, got {_described(row)}")
    messages, place = kind.reads(row)
    name = kind.name or (dialect(messages) if isinstance(messages, list) else "messages")
    return Piece(name, messages, place, _id_of(row), kind.thread(row), kind.joined, moment_of(row), kind.depth(row))


def _described(value: Any) -> str:
    """Say what a value is, without any text of it."""
    if isinstance(value, list):
        return f"a list that begins with {_described(value[0])}" if value else "an empty list"
    if not isinstance(value, dict):
        return f"a value of type {type(value).__name__}"
    names = [repr(name) for name in map(str, value) if name.isidentifier() and name.isascii()]
    return f"an object with {', '.join(names[:12])}" if names else "an object without any of its fields"


def _id_of(row: Row) -> str | None:
    places = (row, _at(row, "config", "configurable"), row.get("chat"), row.get("channel"), row.get("metadata"))
    for fields in map(mapping, places):
        for name in _IDS:
            value = fields.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
                return str(value)
    return None


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = mapping(value).get(name)
    return value


# --- kinds ------------------------------------------------------------------------------------------------------------


def _branch(nodes: Mapping[Any, Any], last: str | int | None, parent: str) -> list[Any]:
    """Return the nodes from the root to the last one; without a last one, to the newest that has no successor."""
    if last not in nodes:
        parents = {_name_in(node, parent) for node in nodes.values()}
        last = next((name for name in reversed(list(nodes)) if name not in parents), None)
    path: dict[Any, Any] = {}
    while last in nodes and last not in path:
        path[last] = nodes[last]
        last = _name_in(nodes[last], parent)
    return list(path.values())[::-1]


def _name_in(message: Any, field: str) -> str | int | None:
    """Return what names a message in a field of one; ``None`` for whatever cannot be a name."""
    value = mapping(message).get(field)
    return value if isinstance(value, (str, int)) else None


def _tree(row: Row, name: str, own: str, parent: str, last: str | int | None = None) -> tuple[Any, str]:
    """Read a list of messages that name their parents: the current branch."""
    messages = row.get(name)
    if not isinstance(messages, list):
        return messages, name
    flat = _flattened(messages)
    nodes = {_name_in(message, own): message for message in flat if _name_in(message, own) is not None}
    linked = [message for message in flat if _name_in(message, parent) in nodes]
    is_tree = len(nodes) == len(flat) and (last in nodes or (bool(linked) and len(linked) >= len(flat) - 2))
    return _branch(nodes, last if last in nodes else _name_in(flat[-1], own), parent) if is_tree else flat, name


def _flattened(messages: list[Any], depth: int = 500) -> list[Any]:
    """Take messages out of ``children``, depth first."""
    found: list[Any] = []
    stack = [(message, depth) for message in reversed(messages)]
    while stack:
        message, left = stack.pop()
        found.append(message)
        children = mapping(message).get("children")
        if left and isinstance(children, list) and any(isinstance(child, dict) for child in children):
            stack += [(child, left - 1) for child in reversed(children)]
    return found


def _chatgpt(row: Row) -> tuple[Any, str]:
    nodes = _branch(row["mapping"], _name_in(row, "current_node"), "parent")
    messages: list[Any] = []
    for message in (mapping(mapping(node).get("message")) for node in nodes):
        is_for_tool = role_of(message) == "assistant" and message.get("recipient") not in (None, "all")
        if isinstance(message.get("fragments"), list):  # DeepSeek's
            roles: dict[Any, str] = {"REQUEST": "user", "RESPONSE": "assistant", "THINK": "reasoning"}
            messages += [{**mapping(f), "role": roles.get(_name_in(f, "type"))} for f in message["fragments"]]
        elif message and not is_for_tool:
            messages.append(message)
    return messages, "mapping"


def _open_webui(row: Row) -> tuple[Any, str]:
    chat = mapping(row.get("chat")) or row
    history = mapping(chat.get("history"))
    if isinstance(history.get("messages"), dict):
        return _branch(history["messages"], _name_in(history, "currentId"), "parentId"), "chat.history.messages"
    return chat.get("messages"), "chat.messages"


def _librechat(row: Row) -> tuple[Any, str]:
    return _tree(row, "messages" if "messages" in row else "messagesTree", "messageId", "parentMessageId")


def _open_assistant(row: Row) -> tuple[Any, str]:
    """Follow the first reply to each message."""
    path: list[Any] = []
    node = row["prompt"]
    while isinstance(node, dict):
        path.append({name: value for name, value in node.items() if name != "replies"})
        node = next(iter(_list(node.get("replies"))), None)
    return path, "prompt"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _claude(row: Row) -> tuple[Any, str]:
    return _tree(row, "chat_messages", "uuid", "parent_message_uuid", _name_in(row, "current_leaf_message_uuid"))


def _claude_code(row: Row) -> tuple[Any, str]:
    is_own = isinstance(row.get("message"), dict) and not (row.get("isSidechain") or row.get("isMeta"))
    return [row] if is_own and role_of(row) else [], "message"


def _codex(row: Row) -> tuple[Any, str]:
    is_item = row["type"] == "response_item" and role_of(row["payload"]) != "system"
    return [row["payload"]] if is_item else [], "payload"


def _langsmith(row: Row) -> tuple[Any, str]:
    return exchange(row.get("inputs"), row.get("outputs")), "inputs"


def _thread_of_run(row: Row) -> str | None:
    told = mapping(_at(row, "extra", "metadata")) or mapping(row.get("metadata"))
    thread = first_of(told, ("thread_id", "session_id", "conversation_id"))
    thread = thread or first_of(row, ("sessionId", "trace_id", "traceId", "id"))
    return str(thread) if isinstance(thread, (str, int)) else None


def _depth_of_run(row: Row) -> int:
    """Tell root runs from those of models in them, and both from tools and retrievers, which hold no conversation."""
    is_inner = first_of(row, ("parent_run_id", "parentObservationId", "traceId")) is not None
    kind = str(row.get("run_type") or row.get("type") or "chain").lower()
    return is_inner + 2 * (kind not in ("chain", "llm", "chat_model", "agent", "prompt", "generation", "trace"))


def _langfuse(row: Row) -> tuple[Any, str]:
    return exchange(row.get("input"), row.get("output")), "input"


def _responses(row: Row) -> tuple[Any, str]:
    given, output = decoded(row["input"]), row.get("output")
    said = [{"role": "user", "content": given}] if isinstance(given, str) else given
    items = output if isinstance(output, list) else []
    return [*told(row), *said, *items] if isinstance(said, list) else said, "input"


def _gemini(row: Row) -> tuple[Any, str]:
    contents = row["contents"]
    if not isinstance(contents, list):
        return asked(contents) or contents, "contents"
    spoken = [{"role": "user", **item} if isinstance(item, dict) else item for item in contents]
    return [*told(row), *spoken, *answered(row.get("candidates"))], "contents"


def _ai_studio(row: Row) -> tuple[Any, str]:
    chunks = row["chunkedPrompt"].get("chunks")
    return [chunk for chunk in chunks if not mapping(chunk).get("isThought")] if isinstance(chunks, list) else chunks, (
        "chunkedPrompt.chunks"
    )


def _rasa(row: Row) -> tuple[Any, str]:
    events = [mapping(event) for event in row["events"]]
    return [
        {**event, "role": event["event"], "text": event.get("text") or ""}
        for event in events
        if event.get("event") in ("user", "bot")
    ], "events"


def _chat_export(row: Row) -> tuple[Any, str]:
    """Read Slack's and Discord's: joinings and pinnings are no messages."""
    said = [m for m in row["messages"] if mapping(m).get("type") in (None, "message", "Default", "Reply", 0, 19)]
    return in_order(said), "messages"


def _attributes(row: Row) -> Row:
    """Return the attributes of a span as an object, also where OTLP has a list of them."""
    found = first_of(row, ("attributes", "span_attributes"))
    if not isinstance(found, list):
        return {**row, **mapping(found)}
    values = {str(mapping(item).get("key")): mapping(mapping(item).get("value")) for item in found}
    return {key: next(iter(value.values()), None) for key, value in values.items()}


_IN, _OUT = "gen_ai.input.messages", "gen_ai.output.messages"
_INDEXED = re.compile(r"(?:gen_ai\.(prompt|completion)|llm\.(input|output)_messages)\.(\d{1,9})\.(?:message\.)?(.+)")
"""How older conventions number the messages of a span."""


def _is_span(row: Row) -> bool:
    is_span = bool({"traceId", "trace_id", "spanId", "span_id", "context", "span_name"} & row.keys())
    return _IN in row or (isinstance(row.get("attributes"), (list, dict)) and (is_span or _has_messages(row)))


def _has_messages(row: Row) -> bool:
    span = _attributes(row)
    return bool(_nested(span)) or any(name == _IN or _INDEXED.fullmatch(name) for name in map(str, span))


def _nested(span: Row) -> list[Any]:
    """Return the messages of a span that has objects in the place of dots, as Phoenix exports it."""
    llm = mapping(span.get("llm"))
    return [*_list(llm.get("input_messages")), *_list(llm.get("output_messages"))]


def _is_of_model(row: Row) -> bool:
    """Whether a span is of a model or an agent, whose messages would be missed, and not of a server or a database."""
    signs = ("gen_ai", "llm", "input", "output", "traceloop", "ai.")
    return any(name.startswith(signs) for name in map(str, _attributes(row)))


def _otel(row: Row) -> tuple[Any, str]:
    span = _attributes(row)
    rules = decoded(span.get("gen_ai.system_instructions"))
    start = [{"role": "system", "parts": rules}] if rules else []
    if _IN in span:
        before, after = decoded(span[_IN]), decoded(span.get(_OUT)) or []
        both = isinstance(before, list) and isinstance(after, list)
        return ([*start, *before, *after] if both else before), _IN
    numbered: dict[tuple[bool, int], dict[str, Any]] = {}
    for name, value in span.items():
        if match := _INDEXED.fullmatch(str(name)):
            number = (match[1] == "completion" or match[2] == "output", int(match[3]))
            numbered.setdefault(number, {})[match[4]] = value
    found = [numbered[number] for number in sorted(numbered)] or _nested(span)
    return [*start, *(found or exchange(span.get("input.value"), span.get("output.value")))], "attributes"


def _thread_of_span(row: Row) -> str | None:
    thread = first_of(_attributes(row), ("gen_ai.conversation.id", "session.id", "traceId", "trace_id"))
    thread = thread or first_of(row, ("traceId", "trace_id")) or _at(row, "context", "trace_id")
    return thread if isinstance(thread, str) and thread else _thread_of_run(row)


_PREFERRED = ("preferred_output", "chosen")
"""Replies in files of preferences; the rejected ones were never said."""

_NEWEST = ("input", "question", "query", "user_message", "user_input")
"""Fields in which the user's newest words are, beside a list of what was said before."""


def _listed(row: Row) -> tuple[Any, str]:
    """Read a list of messages beside other fields; a reply of its own goes after it."""
    name = next(name for name in _LISTS if are_one_conversation(row.get(name)))
    messages = in_order(row[name])
    newest = asked({key: row[key] for key in _NEWEST if isinstance(row.get(key), str)})
    known = json.dumps(messages, ensure_ascii=False)
    newest = [new for new in newest if json.dumps(new["content"], ensure_ascii=False)[1:-1] not in known]
    after = answered({key: row[key] for key in ("choices", "message", "response", "output", *_PREFERRED) if key in row})
    return [*told(row), *messages, *newest, *after], name


_PROMPTS = (
    "input_messages",
    "prompt",
    "question",
    "user_message",
    "user_input",
    "instruction",
    "input",
    "inputs",
    "request",
    "body",
)
_REPLIES = ("response", "completion", "answer", "reply", "bot_message", "bot_response", "output", "outputs", "choices",
            "preferred_output", "chosen", "output_messages")  # fmt: skip
_TURNS = ("history", "internal", "chatbot", "chat_history", "data")


def _pairs(row: Row) -> tuple[Any, str]:
    return exchange(row, {name: row[name] for name in _REPLIES if name in row}), "row"


def _is_exchange(row: Row) -> bool:
    """Whether this has a prompt and a reply. Strings alone are one only where both are called so."""
    prompted = any(asked(row.get(name)) for name in _PROMPTS if name != "body" or not isinstance(row.get(name), str))
    return prompted and any(answered(row.get(name)) for name in _REPLIES)


def _turns(row: Row) -> tuple[Any, str]:
    name = next(name for name in _TURNS if are_turns(row.get(name)))
    return spread(row[name]), name


def _has(name: str, kind: type | tuple[type, ...] = object) -> Callable[[Row], bool]:
    return lambda row: isinstance(row.get(name), kind) and row.get(name) is not None


KINDS: tuple[Kind, ...] = (
    Kind("chatgpt_export", _has("mapping", dict), _chatgpt),
    Kind("claude_export", _has("chat_messages"), _claude),
    Kind(
        "open_webui",
        lambda row: (
            isinstance(_at(mapping(row.get("chat")) or row, "history", "messages"), dict)
            or isinstance(_at(row, "chat", "messages"), list)
        ),
        _open_webui,
    ),
    Kind("librechat", lambda row: "conversationId" in row and ("messages" in row or "messagesTree" in row), _librechat),
    Kind("open_assistant", lambda row: isinstance(_at(row, "prompt", "replies"), list), _open_assistant),
    Kind(
        "claude_code",
        lambda row: ("sessionId" in row and "type" in row and ("uuid" in row or "message" in row)) or "leafUuid" in row,
        _claude_code,
        lambda row: named(row, ("sessionId",)) or "",
    ),
    Kind(
        "codex",
        lambda row: (
            row.get("type") in ("response_item", "event_msg", "session_meta", "turn_context")
            and isinstance(row.get("payload"), dict)
        ),
        _codex,
        lambda _: "",
    ),
    Kind("langsmith", _has("run_type"), _langsmith, _thread_of_run, Joined.OVERLAPPING, _depth_of_run),
    Kind(
        "langfuse",
        lambda row: (
            "input" in row and "output" in row and bool({"traceId", "sessionId", "projectId", "name"} & row.keys())
        ),
        _langfuse,
        _thread_of_run,
        Joined.OVERLAPPING,
        _depth_of_run,
    ),
    Kind(
        "langgraph_state",
        lambda row: (
            "values" in row
            and ("messages" in mapping(row["values"]) or bool({"config", "checkpoint", "thread_id"} & row.keys()))
        ),
        lambda row: (mapping(row["values"]).get("messages", []), "values.messages"),
        lambda row: named(
            mapping(_at(row, "config", "configurable")) or mapping(row.get("checkpoint")), ("thread_id",)
        ),
        Joined.NEWEST,
    ),
    Kind("gemini", _has("contents"), _gemini),
    Kind("ai_studio", _has("chunkedPrompt", dict), _ai_studio),
    Kind(
        "rasa",
        lambda row: isinstance(row.get("events"), list) and any("event" in mapping(e) for e in row["events"]),
        _rasa,
    ),
    Kind(
        "otel_gen_ai",
        lambda row: _is_span(row) and (_has_messages(row) or _is_of_model(row)),
        _otel,
        _thread_of_span,
        Joined.OVERLAPPING,
        lambda row: int(not _has_messages(row)),
    ),
    Kind("otel_span", _is_span, lambda _: ([], "attributes"), lambda _: ""),
    Kind(
        "openai_responses",
        lambda row: "input" in row and (are_messages(row["input"]) or "instructions" in row),
        _responses,
    ),
    Kind(
        "discord",
        lambda row: any(isinstance(mapping(message).get("author"), dict) for message in _list(row.get("messages"))[:8]),
        _chat_export,
    ),
    Kind("", lambda row: any(are_one_conversation(row.get(name)) for name in _LISTS), _listed),
    Kind("one_message_per_line", is_message, lambda row: ([row], "message"), lambda row: thread_of_message(row) or ""),
    Kind("prompt_and_response", _is_exchange, _pairs, thread_of_message),
    Kind("messages", _has("messages"), lambda row: (row["messages"], "messages")),
    Kind("pairs_of_turns", lambda row: any(are_turns(row.get(name)) for name in _TURNS), _turns),
)
"""Every kind of row, the surest signs first."""
