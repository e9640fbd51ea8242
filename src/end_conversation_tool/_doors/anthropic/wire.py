"""Between the wire of Anthropic's Messages API and what the gate understands: pure translation, no I/O.

Messages, responses and content blocks may be the SDK's objects or plain dicts. What holds here:

1. Only text in user messages is the user's voice. Tool results stand in user messages too, and are not (R12), whoever
   has typed them; those of tools that ask the user are listened to.
2. Assistant messages in the input are never looked at: evidence comes from responses alone.
3. A response is given back as it came: thinking blocks keep their text and signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from end_conversation_tool._core.messages import ObservedMessage, Role, has_media, without_reasoning
from end_conversation_tool._core.records import TOOL_NAME
from end_conversation_tool._core.run import Call, Reply
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.watch.native import is_native_refusal

__all__ = [
    "Response",
    "check_messages",
    "get",
    "has_calls",
    "is_user_turn",
    "read_response",
    "result_block",
    "said_in",
    "with_section",
]


_CUT_SHORT = frozenset({"max_tokens", "model_context_window_exceeded"})
"""Stop reasons after which the last call may be incomplete, whatever its arguments look like."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response of the model.

    Attributes:
        content: Its content blocks, as plain dicts fit to be sent back.
        calls: Its tool calls that the client is to answer, in order, as the blocks came.
        reply: The same for the gate.
        stop_reason: Why the model stopped.
        model: The model that answered, where the response names it.
    """

    content: tuple[dict[str, Any], ...]
    calls: tuple[Any, ...]
    reply: Reply
    stop_reason: str
    model: str | None

    @property
    def own_calls(self) -> tuple[Any, ...]:
        """The calls of other tools than ``end_conversation``."""
        return tuple(call for call in self.calls if get(call, "name") != TOOL_NAME)


def get(value: Any, name: str) -> Any:
    """Read a field of an SDK object or of a plain dict; ``None`` where there is none."""
    if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101 - most are dicts, and asking that is quick
        return value.get(name)
    return getattr(value, name, None)


def read_response(response: Any) -> Response:
    """Read a response.

    Raises:
        InvalidInputError: It is not a finished message.
    """
    content, stop_reason = get(response, "content"), get(response, "stop_reason")
    if not isinstance(content, Sequence) or isinstance(content, str) or not isinstance(stop_reason, str):
        raise InvalidInputError(
            "response: expected a finished Message with content and a stop_reason, as create() or "
            f"stream.get_final_message() returns it, got {type(response).__name__}"
        )
    calls = tuple(block for block in content if get(block, "type") == "tool_use")
    end_calls = [call for call in calls if get(call, "name") == TOOL_NAME]
    whole = stop_reason not in _CUT_SHORT
    reply = Reply(
        message=ObservedMessage("assistant", _spoken(content), "response", response),
        end_calls=tuple(
            Call(str(get(call, "id")), TOOL_NAME, get(call, "input") if whole else None) for call in end_calls
        ),
        refused=is_native_refusal(response),
    )
    model = get(response, "model")
    return Response(
        tuple(_plain(block) for block in content), calls, reply, stop_reason, model if isinstance(model, str) else None
    )


def check_messages(messages: Any) -> tuple[Any, ...]:
    """Return the messages of a request.

    Raises:
        InvalidInputError: It is not a list of messages, each with a role and a text or a list of blocks.
    """
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise InvalidInputError(f"messages: expected a non-empty list of messages, got {type(messages).__name__}")
    for index, message in enumerate(messages):
        role, content = get(message, "role"), get(message, "content")
        if not isinstance(role, str):
            raise InvalidInputError(f"messages.{index}.role: expected a str, got {type(role).__name__}")
        if not isinstance(content, str) and (not isinstance(content, Sequence) or isinstance(content, bytes)):
            # A generator could be read only once: by us, or by the request.
            raise InvalidInputError(
                f"messages.{index}.content: expected a str or a list of blocks, got {type(content).__name__}"
            )
    return tuple(messages)


def said_in(messages: Sequence[Any]) -> list[ObservedMessage]:
    """Return what user, assistant and tools said in a request, oldest first; each is known by its place.

    The wire gives no ids, and each request brings the whole history again: a history that was shortened or changed does
    not fit what is known of it.
    """
    said: list[ObservedMessage] = []
    called: dict[str, str] = {}

    def add(role: Role, text: str, raw: Any, **more: Any) -> None:
        said.append(ObservedMessage(role, text, f"{role}-{len(said)}", raw, **more))

    for message in messages:
        content = get(message, "content")
        blocks = [] if isinstance(content, str) else list(content or ())
        if get(message, "role") == "assistant":
            add("assistant", _spoken(content), message)
            called |= {str(get(one, "id")): str(get(one, "name")) for one in blocks if get(one, "type") == "tool_use"}
            continue
        for block in blocks:
            if get(block, "type") == "tool_result":
                tool = called.get(str(get(block, "tool_use_id")), "")
                result = get(block, "content")
                add("tool", "\n".join(_texts(result)), block, tool=tool, media=has_media(result))
        if is_user_turn(message):
            add("user", "\n".join(_texts(content)), message, media=has_media(content))
    return said


def _spoken(content: Any) -> str:
    """Return what the user sees of a message of the assistant."""
    return "\n".join(text for part in _texts(content) if (text := without_reasoning(part)))


def is_user_turn(message: Any) -> bool:
    """Whether the user says something in a message of the history."""
    return get(message, "role") == "user" and _is_voice(get(message, "content"))


def has_calls(message: Any) -> bool:
    """Whether a message of the history has tool calls."""
    content = get(message, "content")
    return not isinstance(content, str) and any(get(block, "type") == "tool_use" for block in content or ())


def _is_voice(content: Any) -> bool:
    """Whether the user says anything in a message: a text, a picture, a file; a tool result is not theirs."""
    return isinstance(content, str) or any(get(block, "type") != "tool_result" for block in content or ())


def _texts(content: Any) -> Iterable[str]:
    if isinstance(content, str):
        return [content]
    blocks = [block for block in content or () if get(block, "type") == "text"]
    return [text for block in blocks if isinstance(text := get(block, "text"), str)]


def _plain(block: Any) -> dict[str, Any]:
    """Return a block as the SDK itself would send it back: what was set, less what only helps the reader."""
    if isinstance(block, Mapping):
        return dict(block)
    hidden = getattr(block, "__api_exclude__", None)
    plain: dict[str, Any] = block.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=hidden)
    return plain


def result_block(call: Any, text: str, *, is_error: bool) -> dict[str, Any]:
    """Return the tool result for a call."""
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": str(get(call, "id")), "content": text}
    if get(call, "toolset_name") is not None:
        block["toolset_name"] = get(call, "toolset_name")
    return {**block, "is_error": True} if is_error else block


def with_section(system: Any, section: str | None) -> Any:
    """Return a system prompt with ``section`` at its end, in the shape that it came in.

    Raises:
        InvalidInputError: It is neither a text nor a list of blocks.
    """
    if system is None:
        return section or ""
    if isinstance(system, str):
        return "\n\n".join(part for part in (system, section) if part)
    if isinstance(system, Sequence):
        return [*system, *([{"type": "text", "text": section}] if section else [])]
    raise InvalidInputError(f"system: expected a str or a list of text blocks, got {type(system).__name__}")
