"""A chat model that says what a script tells it to: for tests, demos and examples without a key.

It behaves as a provider's model does where an agent can tell: replies are fresh messages, streaming yields text and
tool calls in pieces, and the finished message of a stream equals the one that ``invoke`` gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import chain
from threading import Lock
from typing import Any, TypeAlias, cast
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, PrivateAttr, SkipValidation

from end_conversation_tool.errors import EndConversationError, InvalidInputError

__all__ = [
    "Reply",
    "ScriptExhaustedError",
    "ScriptedChatModel",
    "end_call",
    "in_one_message",
    "refusal",
    "tool_call",
]

ReplyFunction: TypeAlias = Callable[[list[BaseMessage]], str | AIMessage]
"""Computes a reply from the messages that the model was called with."""

Reply: TypeAlias = str | AIMessage | ReplyFunction
"""One entry of a script: a text, a message, or a function that makes one of them."""

BindableTool: TypeAlias = dict[str, Any] | type | Callable[..., Any] | BaseTool

_ARGS_PIECE_CHARS = 12
"""Length, in characters, of the pieces in which the JSON arguments of a tool call are streamed."""


class ScriptExhaustedError(EndConversationError):
    """The model was called more often than its script has replies.

    Attributes:
        replies: How many replies the script has.
    """

    def __init__(self, replies: int, last_message: str) -> None:
        self.replies = replies
        super().__init__(
            f"the script has {replies} replies and the model was called once more, after a message of type "
            f"{last_message}; add a reply, or give a function as `replies` to answer every call"
        )


class _Log:
    """Where the script stands, and what was asked of it: one object, shared by copies of the model."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.calls: list[list[BaseMessage]] = []
        self.bindings: list[list[BindableTool]] = []


class ScriptedChatModel(BaseChatModel):
    """A LangChain chat model that answers from a script, one reply per call, in order, from any number of threads.

    Attributes:
        replies: Texts, messages and functions of the messages so far, one for each call; or a single function, which
            then answers every call. A scripted message is copied, never handed out itself.
        model_name: The name that callers see, in ``response_metadata`` too.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    # Checked in the constructor: pydantic would try each function as a message, and copy what it is given.
    replies: SkipValidation[Sequence[Reply] | ReplyFunction]
    model_name: str = "scripted"
    _log: _Log = PrivateAttr(default_factory=_Log)

    def __init__(
        self, replies: Sequence[Reply] | ReplyFunction, *, model_name: str = "scripted", **kwargs: Any
    ) -> None:
        super().__init__(replies=_checked(replies), model_name=model_name, **kwargs)

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The messages of every call so far, in order; the failed call of an exhausted script included."""
        with self._log.lock:
            return list(self._log.calls)

    @property
    def bindings(self) -> list[list[BindableTool]]:
        """The tools of every ``bind_tools`` call so far, in order."""
        with self._log.lock:
            return list(self._log.bindings)

    @property
    def bound_tools(self) -> list[BindableTool]:
        """The tools of the latest ``bind_tools`` call; empty before the first."""
        return (self.bindings or [[]])[-1]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def bind_tools(
        self,
        tools: Sequence[BindableTool],
        *,
        tool_choice: str | None = None,  # noqa: ARG002 - a script is said as written
        **_: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Record the tools and return the model itself, so that its script and its records go on."""
        with self._log.lock:
            self._log.bindings.append(list(tools))
        return self

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        """Take the next reply of the script, as a fresh message.

        Raises:
            ScriptExhaustedError: There is none left.
            InvalidInputError: A function returned something else than a ``str`` or ``AIMessage``.
        """
        with self._log.lock:
            position = len(self._log.calls)
            self._log.calls.append(list(messages))
        if callable(self.replies):
            reply: Reply = self.replies
        elif position < len(self.replies):
            reply = self.replies[position]
        else:
            raise ScriptExhaustedError(len(self.replies), messages[-1].type if messages else "none")
        made = reply if isinstance(reply, (str, AIMessage)) else reply(list(messages))
        if isinstance(made, str):
            made = AIMessage(made)
        elif not isinstance(made, AIMessage):
            raise InvalidInputError(f"replies: a function returned {type(made).__name__}, not a str or AIMessage")
        message = made.model_copy(deep=True)
        message.response_metadata.setdefault("model_name", self.model_name)
        return message

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - a script is said as written
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the base class reports
        **_: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - as above
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - as above
        **_: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - as above
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - as above
        **_: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in _pieces(self._next(messages)):
            yield ChatGenerationChunk(message=piece)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - as above
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - as above
        **_: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in _pieces(self._next(messages)):
            yield ChatGenerationChunk(message=piece)


def _checked(replies: Any) -> tuple[Reply, ...] | ReplyFunction:
    """Refuse what cannot be a script, and copy what can.

    Raises:
        InvalidInputError: Neither a function nor a sequence of texts, messages and functions.
    """
    if callable(replies):
        return cast("ReplyFunction", replies)
    if isinstance(replies, str) or not isinstance(replies, Sequence):
        raise InvalidInputError(
            f"replies: expected a sequence of str, AIMessage and functions, or one function, "
            f"got {type(replies).__name__}"
        )
    for index, reply in enumerate(replies):
        if not (isinstance(reply, (str, AIMessage)) or callable(reply)):
            raise InvalidInputError(
                f"replies[{index}]: expected a str, an AIMessage or a function, got {type(reply).__name__}"
            )
    return tuple(replies)


def _pieces(message: AIMessage) -> Iterator[AIMessageChunk]:
    """Cut a message into the chunks of a stream: words, blocks, tool calls, and last what is known at the end."""
    parts = re.findall(r"\s*\S+\s*", message.content) or [message.content] if isinstance(message.content, str) else []
    blocks = message.content if isinstance(message.content, list) else []
    for content in (*parts, *([block] for block in blocks)):
        yield AIMessageChunk(content=content, id=message.id)
    for chunk in _call_pieces(message):
        yield AIMessageChunk(content=[] if blocks else "", tool_call_chunks=[chunk], id=message.id)
    yield AIMessageChunk(
        content=[] if blocks else "",
        id=message.id,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )


def _call_pieces(message: AIMessage) -> Iterator[ToolCallChunk]:
    """Cut the tool calls of a message as providers do: name and id first, then the arguments in pieces of JSON."""
    valid = ((call["name"], call["id"], json.dumps(call["args"], ensure_ascii=False)) for call in message.tool_calls)
    invalid = ((call["name"], call["id"], call["args"] or "") for call in message.invalid_tool_calls)
    for index, (name, call_id, args) in enumerate(chain(valid, invalid)):
        yield ToolCallChunk(name=name, args="", id=call_id, index=index, type="tool_call_chunk")
        for start in range(0, len(args), _ARGS_PIECE_CHARS):
            piece = args[start : start + _ARGS_PIECE_CHARS]
            yield ToolCallChunk(name=None, args=piece, id=None, index=index, type="tool_call_chunk")


def tool_call(name: str, args: Mapping[str, Any], *, text: str = "", call_id: str | None = None) -> AIMessage:
    """Build an assistant message with one tool call.

    Args:
        name: The tool.
        args: Its arguments, checked by nothing here.
        text: What the assistant says beside it.
        call_id: Id of the call; a fresh one by default.
    """
    call = ToolCall(name=name, args=dict(args), id=call_id or f"call_{uuid4().hex}", type="tool_call")
    return AIMessage(text, tool_calls=[call])


def end_call(
    category: str = "abuse",
    reason: str = "The abuse went on after refusals, redirections and a warning.",
    text: str = "",
    call_id: str | None = None,
) -> AIMessage:
    """Build an assistant message that calls ``end_conversation``.

    Args:
        category: The ground; any string, so that a malformed call can be scripted too.
        reason: What the model gives as its reason.
        text: What the assistant says beside it.
        call_id: Id of the call; a fresh one by default.
    """
    return tool_call("end_conversation", {"category": category, "reason": reason}, text=text, call_id=call_id)


def in_one_message(*messages: AIMessage) -> AIMessage:
    """Put the texts and the tool calls of several assistant messages into one: sibling calls.

    Args:
        messages: Messages as :func:`tool_call` and :func:`end_call` build them.
    """
    texts = (message.text for message in messages)
    calls = [call for message in messages for call in message.tool_calls]
    return AIMessage("\n".join(text for text in texts if text), tool_calls=calls)


def refusal(text: str = "", *, category: str | None = None, explanation: str | None = None) -> AIMessage:
    """Build an assistant message that the provider marks as refused, as ``ChatAnthropic`` hands it on.

    Args:
        text: What was written before the refusal; often nothing.
        category: The provider's policy category.
        explanation: The provider's words for people.
    """
    details = {"type": "refusal", "category": category, "explanation": explanation}
    return AIMessage(text, response_metadata={"stop_reason": "refusal", "stop_details": details})
