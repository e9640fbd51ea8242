"""The SDK's tool runner, guarded: the same checks before each request and after each response, in its own loop.

The runner asks the model, hands out the message, runs the tools of that message, and asks again. Here the decision
falls between the message and its tools: after an honoured end the runner is closed, and no tool has run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from inspect import signature
from typing import TYPE_CHECKING, Any

from anthropic.lib.tools import BetaAsyncBuiltinFunctionTool, BetaBuiltinFunctionTool, ToolError

from end_conversation_tool._core.prompts import not_enforced_text
from end_conversation_tool._doors.anthropic.turn import TurnOutcome
from end_conversation_tool._doors.anthropic.wire import get
from end_conversation_tool.errors import InvalidInputError

if TYPE_CHECKING:
    from end_conversation_tool._doors.anthropic.conversation import Conversation

__all__ = ["AsyncGuardedToolRunner", "GuardedToolRunner"]

_EAGER = "run_tools_eagerly"


class _Answering:
    """The tool as a runner knows it: it answers what was decided, and decides nothing."""

    def __init__(self, definition: Any) -> None:
        self._definition = definition
        self.answer = not_enforced_text()

    def to_dict(self) -> Any:
        return self._definition


class _Tool(_Answering, BetaBuiltinFunctionTool):
    def call(self, input: object) -> Any:  # noqa: A002, ARG002 - the SDK's signature
        raise ToolError(self.answer)


class _AsyncTool(_Answering, BetaAsyncBuiltinFunctionTool):
    async def call(self, input: object) -> Any:  # noqa: A002, ARG002 - the SDK's signature
        raise ToolError(self.answer)


class _Base:
    """What both runners share.

    Attributes:
        outcome: Of the newest response; set before a message is handed out, and after a stream was.
        messages: The history, brought up to date in place.
    """

    def __init__(
        self,
        conversation: Conversation,
        client: Any,
        params: dict[str, Any],
        tool: _Tool | _AsyncTool,
    ) -> None:
        messages, tools, system = params.pop("messages"), params.pop("tools"), params.pop("system")
        if not isinstance(messages, list):
            raise InvalidInputError(f"messages: expected a list, got {type(messages).__name__}")
        if params.get(_EAGER):
            raise InvalidInputError(f"{_EAGER}: expected False, since tools must not run before the end is decided")
        create = client.beta.messages.tool_runner
        if params.get("stream") and _EAGER in signature(create).parameters:
            params = {**params, _EAGER: False}  # whatever the SDK's default may become
        self._conversation, self._tool, self._streams = conversation, tool, bool(params.get("stream"))
        self.messages, self.outcome = messages, TurnOutcome()
        prompt = {"system": whole} if (whole := conversation.guard.system(system)) else {}
        self._runner = create(messages=list(messages), tools=[*tools, tool], **prompt, **params)
        self._close = getattr(self._runner, "close", None)

    def _decided(self, outcome: TurnOutcome) -> None:
        """Take note of an outcome: what the tool is to answer, when the runner asks it."""
        self.outcome = outcome
        self._tool.answer = outcome.answer or not_enforced_text()

    def _finished(self, message: Any) -> bool:
        """Whether no tool is to run and the runner is done; if no tool is, the history is brought up to date.

        Releases of the SDK differ in what they do after a reply that was cut short: here no tool runs.
        """
        stop_reason = get(message, "stop_reason")
        if self.outcome.again and stop_reason == "tool_use":
            return False
        self.outcome.extend(self.messages)
        return not self.outcome.again or stop_reason != "pause_turn"

    def _answer(self, response: Any) -> None:
        """Add a message and the results that the runner made for its calls to the history."""
        own = {str(get(call, "id")) for call in self.outcome.tool_calls}
        results = get(response, "content") or () if response is not None else ()
        self.outcome.extend(self.messages, [block for block in results if block["tool_use_id"] in own])


class GuardedToolRunner(_Base):
    """Guarded ``client.beta.messages.tool_runner``; from ``Conversation.tool_runner``. Iterate it once.

    It yields what the SDK's runner yields: messages, or streams with ``stream=True``. After the loop ``outcome`` tells
    whether the conversation has ended, and ``messages`` is the history.
    """

    def __init__(self, conversation: Conversation, client: Any, params: dict[str, Any]) -> None:
        super().__init__(conversation, client, params, _Tool(conversation.guard.tool))

    def __iter__(self) -> Iterator[Any]:
        """Yield each message, or stream.

        Raises:
            ThreadSealedError: The conversation has ended.
            RegistryError: See ``Turn.after_response``.
        """
        try:
            while True:
                turn = self._conversation.before_request(self.messages)
                item = next(self._runner, None)
                if item is None:
                    return
                if self._streams:
                    yield item
                message = item.get_final_message() if self._streams else item
                self._decided(turn.after_response(message))
                if not self._streams:
                    yield item
                if self._finished(message):
                    return
                if self.outcome.tool_calls or self.outcome.answer:
                    self._answer(self._runner.generate_tool_call_response())
        finally:
            (self._close or self._runner._iterator.close)()  # noqa: SLF001 - releases before 1.0 have no close()

    def until_done(self) -> TurnOutcome:
        """Run to the end, and return the last outcome."""
        for item in self:
            if self._streams:
                item.until_done()
        return self.outcome


class AsyncGuardedToolRunner(_Base):
    """Async twin of ``GuardedToolRunner``; from ``Conversation.atool_runner``."""

    def __init__(self, conversation: Conversation, client: Any, params: dict[str, Any]) -> None:
        super().__init__(conversation, client, params, _AsyncTool(conversation.guard.tool))

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield each message, or stream."""
        try:
            while True:
                turn = await self._conversation.abefore_request(self.messages)
                item = await anext(self._runner, None)
                if item is None:
                    return
                if self._streams:
                    yield item
                message = await item.get_final_message() if self._streams else item
                self._decided(await turn.aafter_response(message))
                if not self._streams:
                    yield item
                if self._finished(message):
                    return
                if self.outcome.tool_calls or self.outcome.answer:
                    self._answer(await self._runner.generate_tool_call_response())
        finally:
            await (self._close or self._runner._iterator.aclose)()  # noqa: SLF001 - releases before 1.0 have no close()

    async def until_done(self) -> TurnOutcome:
        """Run to the end, and return the last outcome."""
        async for item in self:
            if self._streams:
                await item.until_done()
        return self.outcome
