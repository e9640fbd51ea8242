"""Between the wire of Anthropic's Messages API and what the gate understands: pure translation, no I/O.

Messages, responses and content blocks may be the SDK's objects or plain dicts. What holds here:

1. Only text in user messages is the user's voice. Tool results stand in user messages too, and are not (R12).
2. Assistant messages in the input are never looked at: evidence comes from responses alone.
3. A response is given back as it came: thinking blocks keep their text and signature.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.request import TOOL_NAME
from end_conversation_tool._core.run import Call, Reply
from end_conversation_tool._doors.anthropic.history import Voices, keyed_digest
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.watch.native import is_native_refusal

__all__ = [
    "Response",
    "get",
    "has_calls",
    "is_user_turn",
    "last_asked",
    "read_response",
    "result_block",
    "transcript",
    "voices_of",
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


def read_response(response: Any, key: bytes) -> Response:
    """Read a response.

    Args:
        response: The response.
        key: The registry's key.

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
        message=_spoken(content, response, key),
        end_calls=tuple(
            Call(str(get(call, "id")), TOOL_NAME, get(call, "input") if whole else None) for call in end_calls
        ),
        refused=is_native_refusal(response),
    )
    model = get(response, "model")
    return Response(
        tuple(_plain(block) for block in content), calls, reply, stop_reason, model if isinstance(model, str) else None
    )


def voices_of(messages: Any, key: bytes) -> Voices:
    """Return what the user said in a request.

    Args:
        messages: The history.
        key: The registry's key.

    Raises:
        InvalidInputError: It is not a list of messages, each with a role and a text or a list of blocks.
    """
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise InvalidInputError(f"messages: expected a non-empty list of messages, got {type(messages).__name__}")
    said: list[tuple[str, Any]] = []
    trailing = 0
    for index, message in enumerate(messages):
        role = get(message, "role")
        if not isinstance(role, str):
            raise InvalidInputError(f"messages.{index}.role: expected a str, got {type(role).__name__}")
        content = get(message, "content")
        if not isinstance(content, str) and (not isinstance(content, Sequence) or isinstance(content, bytes)):
            # A generator could be read only once: by us, or by the request.
            raise InvalidInputError(
                f"messages.{index}.content: expected a str or a list of blocks, got {type(content).__name__}"
            )
        if role == "assistant" and index < len(messages) - 1:  # the last one is a prefill, or a turn that goes on
            trailing = len(said)
        elif role == "user" and _is_voice(content):
            said.append(("\n".join(_texts(content)), message))
    return Voices(said, trailing, key)


def transcript(messages: Iterable[Any], voices: Voices) -> Iterator[ObservedMessage]:
    """Yield what user, assistant and tools said, oldest first; the results of our own tool are left out."""
    heard = voices.messages()
    ours: set[Any] = set()
    for message in messages:
        content = get(message, "content")
        blocks = [] if isinstance(content, str) else list(content or ())
        if get(message, "role") == "assistant":
            ours |= {get(block, "id") for block in blocks if get(block, "name") == TOOL_NAME}
            yield _spoken(content, message, voices.key)
            continue
        yield from _results(blocks, ours, voices.key)
        if is_user_turn(message):
            yield next(heard)


def _results(blocks: Iterable[Any], ours: Collection[Any], key: bytes) -> Iterator[ObservedMessage]:
    """Yield the results of tools: a person may have answered one."""
    for block in blocks:
        if get(block, "type") == "tool_result" and get(block, "tool_use_id") not in ours:
            text = "\n".join(_texts(get(block, "content")))
            yield ObservedMessage("tool", text, f"tool-{keyed_digest(text, key)}", block)


def _spoken(content: Any, raw: Any, key: bytes) -> ObservedMessage:
    """Return a message of the assistant: a history gives it no id, so it too is known by its words."""
    text = "\n".join(_texts(content))
    return ObservedMessage("assistant", text, f"assistant-{keyed_digest(text, key)}", raw)


def is_user_turn(message: Any) -> bool:
    """Whether the user says something in a message of the history."""
    return get(message, "role") == "user" and _is_voice(get(message, "content"))


def last_asked(messages: Sequence[Any]) -> bool:
    """Whether the assistant's last message in the history asks for the end: so the model has its answer before it."""
    last = next((message for message in reversed(messages) if get(message, "role") == "assistant"), None)
    blocks = () if last is None or isinstance(get(last, "content"), str) else get(last, "content")
    return any(get(block, "type") == "tool_use" and get(block, "name") == TOOL_NAME for block in blocks)


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
