"""The door for ``create_agent``: one middleware, no extra node, no extra checkpoint.

Everything happens inside ``wrap_model_call``: admission, observation, decision, seal, and the end of the run. A hook
that became a node of its own would cost a superstep and a checkpoint in every turn. ``wrap_tool_call`` vetoes whatever
reaches the tools by another way.

Needs the extra ``[langchain]``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from functools import partial
from typing import Annotated, Any, Literal, NotRequired, Unpack

try:
    from langchain.agents.middleware import (
        AgentMiddleware,
        AgentState,
        ExtendedModelResponse,
        ModelRequest,
        ModelResponse,
        ToolCallRequest,
    )
    from langchain.agents.middleware.types import OmitFromInput, PrivateStateAttr
except ImportError as error:  # pragma: no cover - shown by the test that installs the core alone
    raise ImportError(
        "end_conversation_tool.middleware needs LangChain: pip install 'end-conversation-tool[langchain]'"
    ) from error
from langchain_core.messages import AIMessage, RemoveMessage, SystemMessage, ToolMessage
from langgraph.channels import UntrackedValue
from langgraph.types import Command, interrupt

from end_conversation_tool._core.confirmation import question
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import (
    PROMPT_SECTION,
    conversation_end,
    denial_text,
    not_run_text,
    still_here_text,
)
from end_conversation_tool._core.records import Category, Mode, UnmetCode, new_id
from end_conversation_tool._core.request import TOOL_NAME
from end_conversation_tool._core.run import Ruling, Visit
from end_conversation_tool._doors.door import Confirm, OnSealed, by_model_of, create_gate
from end_conversation_tool._doors.langgraph.hooks import hook
from end_conversation_tool._doors.langgraph.messages import (
    END_KEY,
    LEDGER_KEY,
    arrived_after,
    awaiting_results,
    new_user_messages,
    reply_of,
    said_messages,
    tool_results,
    with_id,
)
from end_conversation_tool._doors.langgraph.node_updates import read
from end_conversation_tool._doors.langgraph.run_context import hooks_follow, kept_messages, run_context
from end_conversation_tool._doors.options import GateOptions
from end_conversation_tool._doors.tool import check_tools, create_end_conversation_tool
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.readers.base import Judge
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.watch.base import DetectorSuite

__all__ = ["EndConversationMiddleware", "EndConversationState"]


_LEAVING = "end_conversation_leaving"


class EndConversationState(AgentState[Any]):
    """What the middleware adds to the agent's state.

    Attributes:
        end_conversation_ledger: The evidence of this branch, signed; private, never read from input.
        end_conversation_leaving: Set for the rest of a run whose tools have ended the thread; kept in no checkpoint.
        conversation_end: Set once the thread is sealed: ``ended``, ``category``, ``statement``, ``ended_at``,
            ``options``. For readers; the truth is in the registry.
    """

    end_conversation_ledger: NotRequired[Annotated[dict[str, Any], PrivateStateAttr]]
    end_conversation_leaving: NotRequired[Annotated[bool, UntrackedValue, PrivateStateAttr]]
    conversation_end: NotRequired[Annotated[dict[str, Any] | None, OmitFromInput]]


class EndConversationMiddleware(AgentMiddleware[EndConversationState, Any, Any]):
    """Lets the model of a ``create_agent`` graph end the conversation, when the policy permits it.

    Args:
        registry: The truth about threads; share one between all agents that share threads.
        policy: When an end is permitted.
        detectors: What is seen in messages; ``None`` for the offline detectors of this package.
        judge: A second model that is asked about an end which everything else permits; it can only deny.
        on_sealed: What a message to a sealed thread gets: ``raise`` a ``ThreadSealedError``, or ``respond`` with
            ``conversation_end``, the message not kept.
        confirm: ``interrupt`` to ask the user by an interrupt where only their own yes is missing (R5).
        mode: Overrides ``policy.mode``; ``None`` leaves it.
        prompt_section: Added to the end of the system prompt, the same for every call; ``None`` adds nothing.
        options: See ``options.GateOptions``: ``language``, ``keep_reasons``, ``sinks``, ``breaker``, ``count_threads``.

    Raises:
        InvalidInputError: An argument is not usable.
        PolicyConfigurationError: The mode is unknown.
    """

    state_schema = EndConversationState

    def __init__(
        self,
        *,
        registry: SealRegistry,
        policy: EndConversationPolicy | None = None,
        detectors: DetectorSuite | None = None,
        judge: Judge | None = None,
        on_sealed: OnSealed = "raise",
        confirm: Confirm | None = None,
        mode: Mode | Literal["enforce", "shadow", "off"] | None = None,
        prompt_section: str | None = PROMPT_SECTION,
        **options: Unpack[GateOptions],
    ) -> None:
        super().__init__()
        if mode is not None:
            fields = (policy if policy is not None else EndConversationPolicy()).model_dump()
            policy = EndConversationPolicy.from_mapping({**fields, "mode": mode})
        self.tools = [create_end_conversation_tool()]
        known: dict[str, Any] = {"policy": policy, "detectors": detectors, "judge": judge, **options}
        self._gate = create_gate(registry, on_sealed=on_sealed, confirm=confirm, **known)
        self._on_sealed = on_sealed
        self._prompt_section = prompt_section

    @hook
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Admit the run, observe, let the model speak, and rule on its request to end, if there is one."""
        try:
            visit = self._gate.admit(run_context(request.runtime, request.model), request.state.get(LEDGER_KEY))
        except ThreadSealedError as error:
            return self._answer_sealed(request, error)
        messages = request.state["messages"]
        visit = self._gate.hear(visit, new_user_messages(messages, visit.ledger))
        response, reply = _speech(handler(self._prepared(request)))
        if reply is None:
            return self._respond(request, response, visit)
        visit, ruling = self._gate.rule(visit, reply_of(reply), lambda: said_messages(messages))
        return self._respond(request, response, visit, reply, ruling)

    @hook
    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Async twin of ``wrap_model_call``."""
        try:
            visit = await self._gate.aadmit(run_context(request.runtime, request.model), request.state.get(LEDGER_KEY))
        except ThreadSealedError as error:
            return self._answer_sealed(request, error)
        messages = request.state["messages"]
        visit = await self._gate.ahear(visit, new_user_messages(messages, visit.ledger))
        response, reply = _speech(await handler(self._prepared(request)))
        if reply is None:
            return self._respond(request, response, visit)
        visit, ruling = await self._gate.arule(visit, reply_of(reply), lambda: said_messages(messages))
        return self._respond(request, response, visit, reply, ruling)

    @hook
    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Refuse tools of a sealed thread, ask the user, and deny calls that got past the model's own node."""
        try:
            visit = self._gate.admit(run_context(request.runtime, None), read(request.state, LEDGER_KEY))
        except ThreadSealedError as error:
            return self._refuse_tool(request, error)
        if request.tool_call["name"] != TOOL_NAME:
            return handler(request)
        if (reply := _awaiting(request, visit)) is None:
            return _stray_call(request)
        said = read(request.state, "messages")
        visit = by_model_of(reply, visit)
        answer = interrupt(question())
        return self._settled(request, *self._gate.settle(visit, reply_of(reply), lambda: said_messages(said), answer))

    @hook
    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Async twin of ``wrap_tool_call``."""
        try:
            visit = await self._gate.aadmit(run_context(request.runtime, None), read(request.state, LEDGER_KEY))
        except ThreadSealedError as error:
            return self._refuse_tool(request, error)
        if request.tool_call["name"] != TOOL_NAME:
            return await handler(request)
        if (reply := _awaiting(request, visit)) is None:
            return _stray_call(request)
        said = read(request.state, "messages")
        visit = by_model_of(reply, visit)
        answer = interrupt(question())
        settled = await self._gate.asettle(visit, reply_of(reply), lambda: said_messages(said), answer)
        return self._settled(request, *settled)

    def _settled(self, request: ToolCallRequest, visit: Visit, ruling: Ruling) -> Command[Any]:
        """Answer the call that waited; after a yes the model's node, which comes next, lets the run go."""
        call = request.tool_call
        status: Literal["success", "error"] = "success" if ruling.seal is not None else "error"
        result = ToolMessage(ruling.text, name=TOOL_NAME, tool_call_id=call["id"] or "", status=status, id=new_id())
        update: dict[str, Any] = {"messages": [result]}
        if ruling.seal is not None:
            visit = visit.leaving(result.id or "")
            update |= {END_KEY: conversation_end(ruling.seal), _LEAVING: True}
        return Command(update={**update, LEDGER_KEY: self._gate.dump(visit)})

    def _prepared(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """Add the prompt section: the same bytes in every call, so that prompt caches and bound thinking hold.

        Raises:
            InvalidInputError: The agent has another tool of our name.
        """
        check_tools(request.tools)
        if not self._prompt_section:
            return request
        present = request.system_message
        if present is None:
            return _with_system(request, SystemMessage(content=self._prompt_section))
        content = present.content
        if isinstance(content, str):
            joined: Any = f"{content}\n\n{self._prompt_section}"
        else:
            joined = [*content, {"type": "text", "text": self._prompt_section}]
        return _with_system(request, present.model_copy(update={"content": joined}))

    def _respond(
        self,
        request: ModelRequest[Any],
        response: ModelResponse[Any],
        visit: Visit,
        reply: AIMessage | None = None,
        ruling: Ruling | None = None,
    ) -> ExtendedModelResponse[Any]:
        """Put the ledger, the tool results and the end of the run into one answer of the node."""
        update: dict[str, Any] = {END_KEY: None} if request.state.get(END_KEY) else {}  # reopened since, or forged
        if reply is None or ruling is None:
            return ExtendedModelResponse(response, Command(update={**update, LEDGER_KEY: self._gate.dump(visit)}))
        results = awaiting_results if ruling.asks else partial(tool_results, ruling=ruling)
        result: list[Any] = [*response.result, *results(reply, answered=_answered(response))]
        if ruling.ends_run:
            result += _last_words(ruling)
            update["jump_to"] = "end"
        elif not reply.tool_calls:
            update["jump_to"] = "model"  # LangChain ends the loop after a reply with malformed JSON only
        if ruling.seal is not None:
            update[END_KEY] = conversation_end(ruling.seal)
            visit = visit.leaving(result[-1].id or "")
        update[LEDGER_KEY] = self._gate.dump(visit)
        answered = ModelResponse(result=result, structured_response=response.structured_response)
        return ExtendedModelResponse(answered, Command(update=update))

    def _answer_sealed(self, request: ModelRequest[Any], error: ThreadSealedError) -> ExtendedModelResponse[Any]:
        """Raise, or end the run at once with nothing kept of what came in after the seal.

        A run that has just ended the thread in its tools, with the user's own yes, is let go.
        """
        ledger = self._gate.ledger_of(request.state.get(LEDGER_KEY), error.thread_id)
        messages = request.state["messages"]
        just_ended = request.state.get(_LEAVING) and messages[-1:] and messages[-1].id == ledger.last_message
        if self._on_sealed == "raise" and not just_ended:
            raise error
        there = {message.id for message in kept_messages(messages)}
        gone = [id_ for id_ in arrived_after(messages, ledger) if id_ in there]
        update = {"messages": [RemoveMessage(id=id_) for id_ in gone], END_KEY: error.conversation_end}
        kept = [message for message in messages if isinstance(message, AIMessage) and message.id not in gone]
        loops = bool(kept and kept[-1].tool_calls) and hooks_follow()
        result: list[Any] = [AIMessage(error.statement, id=new_id())] if loops else []
        return ExtendedModelResponse(ModelResponse(result=result), Command(update={**update, "jump_to": "end"}))

    def _refuse_tool(self, request: ToolCallRequest, error: ThreadSealedError) -> ToolMessage:
        if self._on_sealed == "raise":
            raise error
        name = request.tool_call["name"]
        return ToolMessage(not_run_text(name), name=name, tool_call_id=request.tool_call["id"] or "", status="error")


def _with_system(request: ModelRequest[Any], message: SystemMessage) -> ModelRequest[Any]:
    """Return the request with another system message: what ``override`` does, without its warning for each field."""
    prepared = copy(request)
    object.__setattr__(prepared, "system_message", message)
    return prepared


def _speech(response: Any) -> tuple[ModelResponse[Any], AIMessage | None]:
    """Return the response, and the model's message in it, which is given an id where it has none."""
    if isinstance(response, AIMessage):
        response = ModelResponse(result=[response])
    result = list(response.result)
    for index in range(len(result) - 1, -1, -1):
        message = result[index]
        if isinstance(message, AIMessage):
            result[index] = named = with_id(message)
            return ModelResponse(result=result, structured_response=response.structured_response), named
    return response, None


def _answered(response: ModelResponse[Any]) -> list[str]:
    """Return the ids of the calls that have a result already: those of structured output."""
    return [message.tool_call_id for message in response.result if isinstance(message, ToolMessage)]


def _last_words(ruling: Ruling) -> list[AIMessage]:
    """Return the message by which the loop ends where ``jump_to`` alone does not, or the user would get no answer.

    With ``after_model`` hooks in the agent only a last message without tool calls ends the loop. Nothing in it is the
    model's: after an end it is the statement to the user.
    """
    if ruling.seal is not None and hooks_follow():
        return [AIMessage(conversation_end(ruling.seal)["statement"], id=new_id())]
    return [AIMessage(still_here_text(), id=new_id())] if ruling.cut_off else []


def _awaiting(request: ToolCallRequest, visit: Visit) -> AIMessage | None:
    """Return the reply whose request waits for the user's own yes; the signed ledger says whether one does."""
    if not visit.ledger.calls_pending(Category.USER_REQUEST):
        return None
    replies = (one for one in reversed(read(request.state, "messages") or ()) if isinstance(one, AIMessage))
    reply = next(replies, None)
    calls = [call.id for call in reply_of(reply).end_calls] if reply is not None else []
    return reply if request.tool_call["id"] in calls else None


def _stray_call(request: ToolCallRequest) -> ToolMessage:
    """Deny a call that reached the tools: no model call of this graph made it, so nobody has decided on it."""
    call = request.tool_call
    text = denial_text([UnmetCode.NOT_MAIN_AGENT])
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "", status="error")
