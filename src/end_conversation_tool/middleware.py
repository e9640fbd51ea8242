"""The door for ``create_agent``: one middleware, no extra node, no extra checkpoint.

Everything happens inside ``wrap_model_call``: admission, listening, decision, notice, seal, and the end of the run. A
hook that became a node of its own would cost a superstep and a checkpoint in every turn. ``wrap_tool_call`` vetoes
whatever reaches the tools by another way.

Needs the extra ``[langchain]``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from copy import copy
from functools import partial
from typing import Annotated, Any, Literal, NotRequired, Unpack, cast

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
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.channels import UntrackedValue
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, interrupt

from end_conversation_tool._core.confirmation import question
from end_conversation_tool._core.flow import Flow, arun_flow, ask, run_flow
from end_conversation_tool._core.prompts import PROMPT_SECTION, conversation_end, denial_text, not_run_text
from end_conversation_tool._core.records import TOOL_NAME, EndRequest, UnmetCode, new_id
from end_conversation_tool._core.run import Reply, Ruling, Run
from end_conversation_tool._core.vocabulary import Asked, Outcome
from end_conversation_tool._doors.door import Confirm, DoorOptions, OnSealed, create_gate
from end_conversation_tool._doors.langgraph.arrivals import hear, hear_answer, hear_results, provenance_in, reviewed
from end_conversation_tool._doors.langgraph.channels import Heard, Told
from end_conversation_tool._doors.langgraph.closing import last_words, turned_down
from end_conversation_tool._doors.langgraph.hooks import lean
from end_conversation_tool._doors.langgraph.messages import (
    END_KEY,
    STATE_KEY,
    arrived_after,
    awaiting_results,
    by_model_of,
    end_calls_of,
    mended,
    reply_of,
    requesting,
    said_messages,
    tool_results,
    with_id,
    with_request,
)
from end_conversation_tool._doors.langgraph.node_updates import read
from end_conversation_tool._doors.langgraph.run_context import Mistakes, PresentRun
from end_conversation_tool._doors.langgraph.streams import (
    LEAVING,
    STAGE_KEY,
    UNASKED,
    hide_private_state,
    keep_from_streams,
)
from end_conversation_tool._doors.tool import arrivals, create_end_conversation_tool
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.readers import ModelReader, Reader
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["EndConversationMiddleware", "EndConversationState", "awaits_reviewer", "hide_private_state"]


def awaits_reviewer(request: ToolCallRequest) -> bool:
    """Whether a call is still open: what was denied has its answer, and no reviewer need look at it.

    For the reviewer of an agent with ``review=True``: ``HumanInTheLoopMiddleware(interrupt_on={"end_conversation":
    {"allowed_decisions": ["approve", "reject"], "when": awaits_reviewer}})``.

    Args:
        request: What LangChain hands to ``when``.
    """
    messages = read(request.state, "messages") or ()
    place = requesting(messages) or 0
    return request.tool_call["id"] not in [one.tool_call_id for one in messages[place:] if isinstance(one, ToolMessage)]


class EndConversationState(AgentState[Any]):
    """What the middleware adds to the agent's state.

    Attributes:
        end_conversation_provenance: What was said on this branch, as signed digests; private, never read from input.
        end_conversation_stage: How far a request has come in the present run; kept in no checkpoint.
        conversation_end: Set once the thread is sealed: ``ended``, ``category``, ``statement``, ``ended_at``,
            ``options``. For readers; the truth is in the registry.
    """

    end_conversation_provenance: NotRequired[Annotated[dict[str, Any], Heard, PrivateStateAttr]]
    end_conversation_stage: NotRequired[Annotated[str, UntrackedValue, PrivateStateAttr]]
    conversation_end: NotRequired[Annotated[dict[str, Any] | None, Told, OmitFromInput]]


class EndConversationMiddleware(AgentMiddleware[EndConversationState, Any, Any]):
    """Lets the model of a ``create_agent`` graph end the conversation, when the policy permits it.

    Args:
        registry: The truth about threads; share one between all agents that share threads.
        reader: Who reads the transcript when an end is asked for; ``None`` for the agent's own model.
        on_sealed: What a message to a sealed thread gets: ``raise`` a ``ThreadSealedError``, or ``respond`` with
            ``conversation_end``, the message not kept.
        confirm: ``interrupt`` to ask the user by an interrupt where only their own yes is missing (R5).
        review: Whether an end for which all else holds waits in the tools node until a reviewer lets it pass, such as
            LangChain's ``HumanInTheLoopMiddleware``; what nobody was asked about is denied. False by default.
        prompt_section: Added to the end of the system prompt, the same for every call; ``None`` adds nothing.
        options: See ``DoorOptions``: ``policy``, ``mode``, ``watch``, ``language``, ``texts``, ``help_text``,
            ``keep_reasons``, ``sinks``, ``breaker``, ``count_threads``,
            ``asking_tools``.

    Raises:
        InvalidInputError: An argument is not usable.
        PolicyConfigurationError: The mode is unknown.
    """

    state_schema = EndConversationState

    def __init__(
        self,
        *,
        registry: SealRegistry,
        reader: Reader | None = None,
        on_sealed: OnSealed = "raise",
        confirm: Confirm | None = None,
        review: bool = False,
        prompt_section: str | None = PROMPT_SECTION,
        **options: Unpack[DoorOptions],
    ) -> None:
        super().__init__()
        self.tools = [create_end_conversation_tool()]
        self._reader = ModelReader() if reader is None else reader
        self._bound: dict[int, tuple[BaseChatModel, ModelReader]] = {}
        self._gate = create_gate(
            registry, reader=self._reader, on_sealed=on_sealed, confirm=confirm, reviews=review, **options
        )
        self._on_sealed, self._review = on_sealed, review
        self._mistakes = Mistakes()
        self._prompt_section = prompt_section

    @lean
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Admit the run, listen, let the model speak, and rule on its request to end, if there is one."""
        return run_flow(self._turn(request, handler))

    @lean
    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """Async twin of ``wrap_model_call``."""
        return await arun_flow(self._turn(request, handler))

    @lean
    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Refuse tools of a sealed thread, ask the user, and deny calls that got past the model's own node."""
        return run_flow(self._tool_call(request, handler))

    @lean
    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Async twin of ``wrap_tool_call``."""
        return await arun_flow(self._tool_call(request, handler))

    def _turn(self, request: ModelRequest[Any], handler: Any) -> Flow[ExtendedModelResponse[Any]]:
        state, here = request.state, PresentRun.here()
        context = here.context(request.runtime, request.model)
        self._mistakes.check_run(here, context, self._gate.registry)
        try:
            run = yield from self._gate.admit(context, provenance_in(state, here))
        except ThreadSealedError as error:
            return self._answer_sealed(request, here, error)
        if (asked := run.provenance.asking) is not None:
            run = yield from turned_down(self._gate, run, asked, state["messages"])
        messages = mended(state["messages"], request.messages)
        run = yield from hear(self._gate, run, here, messages)
        run, answer = yield from self._gate.attend(run, ask(handler, handler, self._prepared(request, messages)))
        reader, (response, reply) = self._reader_on(request.model), _speech(answer)
        whole = messages is state["messages"]
        before = [] if whole else [RemoveMessage(id=REMOVE_ALL_MESSAGES), *messages]
        if reply is None:
            return self._respond(request, response, run, before=before)
        run = by_model_of(reply, run)
        run, ruling = yield from self._gate.rule(run, reply_of(reply), partial(said_messages, messages), reader=reader)
        return self._respond(request, response, run, reply, ruling, before=before)

    def _tool_call(self, request: ToolCallRequest, handler: Any) -> Flow[ToolMessage | Command[Any]]:
        here = PresentRun.here()
        try:
            run = yield from self._gate.admit(here.context(request.runtime, None), provenance_in(request.state, here))
        except ThreadSealedError as error:
            return self._refuse_tool(request, error)
        run = yield from hear_answer(self._gate, run, here)
        if request.tool_call["name"] != TOOL_NAME:
            result: ToolMessage | Command[Any] = yield from ask(handler, handler, request)
            yield from hear_results(self._gate, run, result)
            return result
        if (reply := _awaiting(request, run)) is None:
            return _denied(request, UnmetCode.NOT_MAIN_AGENT)  # no model call of this graph made it
        with arrivals() as arrived:
            answer = yield from ask(handler, handler, request)
        if not arrived:  # a reviewer has kept it from the tool, or given another answer; the next turn notes that
            return cast("ToolMessage | Command[Any]", answer)
        asking, call_id = run.provenance.asking, request.tool_call["id"] or ""
        if self._review and (
            read(request.state, STAGE_KEY) == UNASKED or not (yield from reviewed(here, asking, call_id))
        ):
            self._mistakes.not_reviewed()
            return _denied(request, UnmetCode.REVIEWER_DID_NOT_APPROVE)
        approved = with_request(reply_of(reply), arrived[-1])
        return (yield from self._settle(request, by_model_of(reply, run), approved))

    def _settle(self, request: ToolCallRequest, run: Run, reply: Reply) -> Flow[Command[Any]]:
        """Rule on a request that has reached the tool; first the user is asked, where their own yes is missing."""
        said = read(request.state, "messages")
        history, reader = partial(said_messages, said), self._last_reader()
        if run.provenance.asking is Asked.USER:
            answer = interrupt(question(self._gate.texts))
            settling = self._gate.settle(run, reply, history, answer, reader=reader)
        else:
            settling = self._gate.review(run, reply, history, reader=reader)
        return self._settled(request, *(yield from settling))

    def _reader_on(self, model: Any) -> Reader:
        """Return the reader on the model of this very call, where it has none of its own; one for each model."""
        reader = self._reader
        if not isinstance(reader, ModelReader) or reader.model is not None or not isinstance(model, BaseChatModel):
            return reader
        known = self._bound.get(id(model))
        if known is None or known[0] is not model:
            self._bound.clear()  # a model that is made anew for each call must not fill the memory
            known = self._bound[id(model)] = (model, reader.on(model))
        return known[1]

    def _last_reader(self) -> Reader:
        """Return who read in the model's node, which a tool's node does not know."""
        return next((bound for _, bound in self._bound.values()), self._reader)

    def _settled(self, request: ToolCallRequest, run: Run, ruling: Ruling) -> Command[Any]:
        """Answer the call that waited; after a yes the model's node, which comes next, lets the run go."""
        call = request.tool_call
        status: Literal["success", "error"] = "success" if ruling.seal is not None else "error"
        result = ToolMessage(ruling.text, name=TOOL_NAME, tool_call_id=call["id"] or "", status=status, id=new_id())
        update: dict[str, Any] = {"messages": [result]}
        if ruling.seal is not None:
            run = run.leaving(result.id or "")
            update |= {END_KEY: conversation_end(ruling.seal), STAGE_KEY: LEAVING}
        return Command(update={**update, STATE_KEY: self._gate.dump(run)})

    def _prepared(self, request: ModelRequest[Any], sound: Sequence[Any]) -> ModelRequest[Any]:
        """Add the prompt section: the same bytes in every call, so that prompt caches and bound thinking hold.

        Args:
            request: What the model is to be asked.
            sound: Messages that need no mending.

        Raises:
            InvalidInputError: The agent has another tool of our name.
        """
        if not _offers_end(request.tools):
            self._mistakes.hidden()
        messages = request.messages if request.messages is sound else mended(request.messages)
        if messages is not request.messages:
            request = request.override(messages=list(messages))
        if not self._prompt_section:
            return request
        present = request.system_message
        if present is None:
            message = SystemMessage(self._prompt_section)  # of each call its own: a hook may write into it
        else:
            told: Any = {"type": "text", "text": self._prompt_section}
            given = present.content
            joined = f"{given}\n\n{self._prompt_section}" if isinstance(given, str) else [*given, told]
            message = present.model_copy(update={"content": joined})
        prepared = copy(request)  # what ``override`` does, without its warning for each field
        object.__setattr__(prepared, "system_message", message)
        return prepared

    def _respond(
        self,
        request: ModelRequest[Any],
        response: ModelResponse[Any],
        run: Run,
        reply: AIMessage | None = None,
        ruling: Ruling | None = None,
        *,
        before: Sequence[Any] = (),
    ) -> ExtendedModelResponse[Any]:
        """Put the provenance, the tool results and the end of the run into one answer of the node."""
        update: dict[str, Any] = {END_KEY: None} if request.state.get(END_KEY) else {}  # reopened since, or forged
        if before:
            keep_from_streams(before)
        if reply is None or ruling is None:
            spoken = ModelResponse([*before, *response.result], response.structured_response) if before else response
            return ExtendedModelResponse(spoken, Command(update={**update, STATE_KEY: self._gate.dump(run)}))
        if ruling.asks and self._review:
            update[STAGE_KEY] = UNASKED
        answer = awaiting_results if ruling.asks else partial(tool_results, ruling=ruling)
        results = answer(reply, answered=_answered(response))
        keep_from_streams(results)
        result: list[Any] = [*before, *response.result, *results, *last_words(ruling)]
        if ruling.ends_run:
            update["jump_to"] = "end"
        elif not reply.tool_calls:
            update["jump_to"] = "model"  # LangChain ends the loop after a reply with malformed JSON only
        if ruling.seal is not None:
            update[END_KEY] = conversation_end(ruling.seal)
            run = run.leaving(result[-1].id or "")
        update[STATE_KEY] = self._gate.dump(run)
        answered = ModelResponse(result=result, structured_response=response.structured_response)
        return ExtendedModelResponse(answered, Command(update=update))

    def _answer_sealed(
        self, request: ModelRequest[Any], here: PresentRun, error: ThreadSealedError
    ) -> ExtendedModelResponse[Any]:
        """Raise, or end the run at once with nothing kept of what came in after the seal.

        A run that has just ended the thread in its tools, with the user's own yes, is let go, with the statement as its
        last word.
        """
        known = self._gate.provenance_of(request.state.get(STATE_KEY), error.thread_id)
        messages = request.state["messages"]
        just_ended = request.state.get(STAGE_KEY) == LEAVING and messages[-1:] and messages[-1].id == known.last_message
        if self._on_sealed == "raise" and not just_ended:
            raise error
        there = {message.id for message in here.kept_messages(messages)}
        gone = [id_ for id_ in arrived_after(messages, known) if id_ in there]
        update = {"messages": [RemoveMessage(id=id_) for id_ in gone], END_KEY: error.conversation_end}
        kept = [message for message in messages if isinstance(message, AIMessage) and message.id not in gone]
        # The loop ends by jump_to alone, unless another middleware's after_model hook makes LangGraph forget it.
        open_calls = bool(kept and kept[-1].tool_calls)
        told = AIMessage(error.statement, id=new_id(), response_metadata={TOOL_NAME: str(Outcome.SEALED)})
        result: list[Any] = [told] if just_ended or open_calls else []
        return ExtendedModelResponse(ModelResponse(result=result), Command(update={**update, "jump_to": "end"}))

    def _refuse_tool(self, request: ToolCallRequest, error: ThreadSealedError) -> ToolMessage:
        if self._on_sealed == "raise":
            raise error
        name = request.tool_call["name"]
        return ToolMessage(not_run_text(name), name=name, tool_call_id=request.tool_call["id"] or "", status="error")


def _offers_end(tools: Collection[object]) -> bool:
    """Whether the tool is among those that a model is offered.

    Another tool of our name is refused: LangChain keeps the last of two, and the model would call the wrong one.

    Raises:
        InvalidInputError: There is one.
    """
    offered = False
    for tool in tools:
        if getattr(tool, "name", None) == TOOL_NAME:
            if isinstance(tool, BaseTool) and tool.args_schema is not EndRequest:
                raise InvalidInputError(
                    f"tools: the name {TOOL_NAME} belongs to EndConversationMiddleware, which brings the tool with it; "
                    f"got another tool of that name, a {type(tool).__name__}: rename or remove it"
                )
            offered = True
    return offered


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


def _awaiting(request: ToolCallRequest, run: Run) -> AIMessage | None:
    """Return the reply whose request waits for somebody's yes; the signed provenance says whether one does."""
    messages = read(request.state, "messages") or ()
    place = None if run.provenance.asking is None else requesting(messages)
    if place is None:
        return None
    reply: AIMessage = messages[place]
    return reply if request.tool_call["id"] in [call.id for call in end_calls_of(reply)] else None


def _denied(request: ToolCallRequest, code: UnmetCode) -> ToolMessage:
    """Deny a call in the tools node, where nothing is decided on it."""
    call, text = request.tool_call, denial_text([code])
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "", status="error")
