"""The kit's checks for loops over the raw Anthropic SDK: a loop becomes an agent that the kit can talk with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from end_conversation_tool._core.records import TOOL_NAME
from end_conversation_tool._doors.anthropic.turn import TurnOutcome
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.testing.messages_api import MessagesApiServer
from end_conversation_tool.testing.scripted import ScriptedChatModel

__all__ = ["AnthropicLoop", "LoopFactory", "anthropic_loop"]

LoopFactory: TypeAlias = Callable[[Any], Callable[[str], Any]]
"""Begins a conversation with a client of the SDK: returns a function, sync or async, that sends one message of the user
and returns the last ``TurnOutcome`` of that turn."""


def anthropic_loop(factory: LoopFactory, *, client: Any = None) -> AnthropicLoop:
    """Return a loop as ``assert_never_ends_at_risk`` and its companions take it.

    Args:
        factory: Begins a conversation with a client, an ``Anthropic`` or, for the async checks, an ``AsyncAnthropic``;
            what it returns sends one message of the user and returns the last ``TurnOutcome`` of that turn.
        client: Your own client, so that your model is checked with the loop; ``None`` for a scripted model, by a server
            on this machine, offline and without a key.

    Raises:
        InvalidInputError: ``factory`` is no function.
    """
    if not callable(factory):
        raise InvalidInputError(
            f"factory: expected a function that begins a conversation with a client, got {type(factory).__name__}"
        )
    return AnthropicLoop(factory, client)


class AnthropicLoop:
    """Makes agents of a loop, for the kit; from ``anthropic_loop``."""

    def __init__(self, factory: LoopFactory, client: Any) -> None:
        self._factory = factory
        self.client = client

    def __call__(self, model: BaseChatModel) -> LoopAgent:
        """Return an agent that plays one conversation.

        Args:
            model: Who answers in place of the API, unless there is a client.

        Raises:
            InvalidInputError: It is a model of your own, which a loop over the SDK cannot call.
        """
        if not isinstance(model, ScriptedChatModel):
            raise InvalidInputError("model: expected None for a loop over the SDK; anthropic_loop takes a client")
        return LoopAgent(self._factory, self.client, model)


class LoopAgent:
    """One conversation of a loop, with the two verbs that the kit calls. A context manager: it holds a server."""

    def __init__(self, factory: LoopFactory, client: Any, model: ScriptedChatModel) -> None:
        self._factory, self._client, self._model = factory, client, model
        self._server = MessagesApiServer(self._answer)
        self._say: Callable[[str], Any] | None = None
        self._told: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def invoke(self, state: Mapping[str, Any], _: Any) -> dict[str, Any]:
        """Say the newest message, and return what the tool has answered so far, and whether it has ended."""
        from anthropic import Anthropic  # noqa: PLC0415 - it loads the SDK

        return self._became(self._saying(Anthropic)(str(state["messages"][-1].text)))

    async def ainvoke(self, state: Mapping[str, Any], _: Any) -> dict[str, Any]:
        """Async twin of ``invoke``."""
        from anthropic import AsyncAnthropic  # noqa: PLC0415 - it loads the SDK

        return self._became(await self._saying(AsyncAnthropic)(str(state["messages"][-1].text)))

    def _saying(self, make: Callable[..., Any]) -> Callable[[str], Any]:
        if self._say is None:
            client = self._client or make(base_url=self._server.base_url, api_key="none", max_retries=0)
            self._say = self._factory(client)
        return self._say

    def _became(self, outcome: Any) -> dict[str, Any]:
        if not isinstance(outcome, TurnOutcome):
            raise InvalidInputError(
                f"factory: expected its function to return the last TurnOutcome of a turn, got {type(outcome).__name__}"
            )
        self._told |= _told_in(outcome.messages)
        answers = [ToolMessage(text, tool_call_id=call, name=TOOL_NAME) for call, text in self._told.items()]
        return {"messages": answers, "conversation_end": outcome.conversation_end}

    def _answer(self, body: Mapping[str, Any]) -> str | list[dict[str, Any]]:
        """Answer a request as the scripted model does; a reader's with its report as JSON."""
        self._told |= _told_in(body["messages"])
        said = self._model.invoke([SystemMessage(""), *_messages_of(body["messages"])])
        if "output_config" in body:
            return json.dumps(said.tool_calls[0]["args"], ensure_ascii=False)
        texts = [{"type": "text", "text": said.text}] if said.text else []
        return [
            *texts,
            *({"type": "tool_use", "name": call["name"], "input": call["args"]} for call in said.tool_calls),
        ]


def _blocks(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the blocks of a history, each with its role."""
    for message in messages:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            yield message["role"], block


def _told_in(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what a history says that our tool answered, by the id of the call."""
    results = (one for one in _messages_of(messages) if isinstance(one, ToolMessage) and one.name == TOOL_NAME)
    return {one.tool_call_id: one.text for one in results}


def _messages_of(messages: Sequence[Mapping[str, Any]]) -> Iterator[BaseMessage]:
    """Yield what was said in a history, and what tools answered."""
    names: dict[str, str] = {}
    for role, block in _blocks(messages):
        if block["type"] == "text":
            yield HumanMessage(block["text"]) if role == "user" else AIMessage(block["text"])
        elif block["type"] == "tool_use":
            names[block["id"]] = block["name"]
        elif block["type"] == "tool_result":
            call = block["tool_use_id"]
            yield ToolMessage(str(block.get("content", "")), tool_call_id=call, name=names.get(call))
