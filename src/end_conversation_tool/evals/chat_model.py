"""An Inspect model as a LangChain chat model: so the very agent that runs in production can be put to the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolFunction, ToolInfo, ToolParams
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr

from end_conversation_tool._doors.langgraph.messages import text_of

__all__ = ["InspectChatModel", "messages_of", "tool_info"]


class InspectChatModel(BaseChatModel):
    """Answers with an Inspect model; async only, as Inspect is.

    Attributes:
        model: The Inspect model.
        model_name: Its name, as records show it.
        tool_words: Descriptions that the model sees in place of a tool's own, by the tool's name.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    model: Model
    model_name: str = ""
    tool_words: Mapping[str, str] = Field(default_factory=dict)
    _said: dict[str, ChatMessageAssistant] = PrivateAttr(default_factory=dict)

    def __init__(self, model: Model, **kwargs: Any) -> None:
        super().__init__(model=model, model_name=str(model), **kwargs)

    @property
    def _llm_type(self) -> str:
        return "inspect"

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **_: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools."""
        described = [tool_info(tool) for tool in tools]
        shown = [
            one.model_copy(update={"description": self.tool_words.get(one.name, one.description)}) for one in described
        ]
        return self.bind(tools=shown, tool_choice=_choice(tool_choice))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("an Inspect model answers asynchronously: use ainvoke")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the base class reports
        *,
        tools: Sequence[ToolInfo] = (),
        tool_choice: ToolChoice | None = None,
        **_: Any,
    ) -> ChatResult:
        asked = [self._original(message) for message in messages]
        output = await self.model.generate(
            asked, tools=list(tools), tool_choice=tool_choice, config=GenerateConfig(stop_seqs=stop)
        )
        message = _answer_of(output, self.model_name)
        self._said[message.id or ""] = output.message
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _original(self, message: BaseMessage) -> ChatMessage:
        """Return a message for Inspect: what the model said itself as it said it, with its thinking."""
        own = self._said.get(message.id or "") if isinstance(message, AIMessage) else None
        same_calls = own is not None and len(own.tool_calls or ()) == len(cast("AIMessage", message).tool_calls)
        if own is not None and same_calls and own.text == message.text:
            return own
        return messages_of([message])[0]


def tool_info(tool: Any) -> ToolInfo:
    """Return a tool of LangChain as Inspect describes tools."""
    function = convert_to_openai_tool(tool)["function"]
    parameters = ToolParams.model_validate(
        {key: value for key, value in function.get("parameters", {}).items() if key in ToolParams.model_fields}
    )
    return ToolInfo(name=function["name"], description=function.get("description", ""), parameters=parameters)


def messages_of(messages: Sequence[BaseMessage]) -> list[ChatMessage]:
    """Return LangChain's messages as Inspect's."""
    return [_message_of(message) for message in messages]


def _message_of(message: BaseMessage) -> ChatMessage:
    text = text_of(message.content)
    if isinstance(message, SystemMessage):
        return ChatMessageSystem(content=text)
    if isinstance(message, HumanMessage):
        return ChatMessageUser(content=text)
    if isinstance(message, ToolMessage):
        return ChatMessageTool(content=text, tool_call_id=message.tool_call_id, function=message.name)
    calls = [
        ToolCall(id=call["id"] or "", function=call["name"], arguments=call["args"])
        for call in getattr(message, "tool_calls", ())
    ]
    return ChatMessageAssistant(content=text, tool_calls=calls or None)


def _answer_of(output: ModelOutput, name: str) -> AIMessage:
    said = output.message
    calls = [
        {"name": call.function, "args": call.arguments, "id": call.id, "type": "tool_call"}
        for call in said.tool_calls or ()
        if call.parse_error is None
    ]
    broken = [
        {
            "name": call.function,
            "args": str(call.arguments),
            "id": call.id,
            "error": call.parse_error,
            "type": "invalid_tool_call",
        }
        for call in said.tool_calls or ()
        if call.parse_error is not None
    ]
    refused = {"stop_reason": "refusal"} if output.stop_reason == "content_filter" else {}
    return AIMessage(
        said.text,
        id=said.id or uuid4().hex,
        tool_calls=calls,
        invalid_tool_calls=broken,
        usage_metadata=_usage_of(output),
        response_metadata={"model_name": name, **refused},
    )


def _usage_of(output: ModelOutput) -> UsageMetadata | None:
    usage = output.usage
    if usage is None:
        return None
    read, written = usage.input_tokens_cache_read or 0, usage.input_tokens_cache_write or 0
    return UsageMetadata(
        input_tokens=usage.input_tokens + read + written,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        input_token_details={"cache_read": read, "cache_creation": written},
    )


def _choice(choice: Any) -> ToolChoice | None:
    """Return LangChain's choice of a tool in Inspect's words."""
    if choice in (None, "auto", "none"):
        return choice  # type: ignore[no-any-return]
    if choice in (True, "any", "required"):
        return "any"
    return ToolFunction(name=choice) if isinstance(choice, str) else "any"
