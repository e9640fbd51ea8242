"""The parts for people who write their own graph: one call, before ``compile``.

``add_end_conversation`` puts the gate into the model node and the tools node of a builder. There is no extra node, and
no extra superstep:

1. The model node admits the run, listens to the user, lets the model speak, and rules on its request to end.
2. After an honoured end, and after a notice, the run goes nowhere: all edges of the model node lead to ``END``.
3. After a denied one ``end_conversation`` is run as any tool is, and answers with the codes.

Nodes before the model node run before the thread is asked for: a ``SealedSaver`` refuses a sealed thread at once. What
they write is no evidence. LangGraph streams every channel of a graph: ``hide_private_state``, of the module
``middleware``, makes a compiled one show none of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Unpack

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.runtime import get_runtime
from langgraph.types import interrupt
from typing_extensions import TypedDict

from end_conversation_tool._core.confirmation import question
from end_conversation_tool._core.flow import Flow, arun_flow, ask, run_flow
from end_conversation_tool._core.prompts import conversation_end, denial_text
from end_conversation_tool._core.records import EndRequest, UnmetCode
from end_conversation_tool._core.run import Ruling, Run
from end_conversation_tool._core.vocabulary import Asked
from end_conversation_tool._doors.door import Confirm, DoorOptions, OnSealed, check_reader, create_gate
from end_conversation_tool._doors.guarded_graph.state import convert
from end_conversation_tool._doors.langgraph.arrivals import hear, hear_answer, hear_results, provenance_in
from end_conversation_tool._doors.langgraph.channels import Heard, Told
from end_conversation_tool._doors.langgraph.closing import last_words, turned_down
from end_conversation_tool._doors.langgraph.messages import (
    END_KEY,
    STATE_KEY,
    arrived_after,
    by_model_of,
    end_calls_of,
    mended,
    reply_of,
    said_messages,
    tool_results,
)
from end_conversation_tool._doors.langgraph.node_updates import NodeUpdate, joined, read, with_messages
from end_conversation_tool._doors.langgraph.run_context import Mistakes, PresentRun
from end_conversation_tool._doors.langgraph.streams import keep_from_streams
from end_conversation_tool._doors.langgraph.wiring import check, lead_to_end, wrap_node
from end_conversation_tool._doors.tool import tool_answer
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.readers import Reader
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["EndConversationChannels", "add_end_conversation"]

ANSWER_KEY = "end_conversation_answer"
"""The private state channel that holds what ``end_conversation`` answers to a call that was denied."""

CLOSED_KEY = "end_conversation_closed"
"""The private state channel that tells the edges of the model node that this turn goes no further."""


class EndConversationChannels(TypedDict, total=False):
    """What the state of a hand-written graph needs; inherit from it.

    Attributes:
        end_conversation_provenance: What was said on this branch, as signed digests.
        end_conversation_answer: What the tool answers to a denied call.
        end_conversation_closed: Whether the turn goes no further: an end, a notice, too many requests.
        conversation_end: Set once the thread is sealed. For readers; the truth is in the registry.
    """

    end_conversation_provenance: Annotated[dict[str, Any], Heard]
    end_conversation_answer: Annotated[str | None, Told]
    end_conversation_closed: Annotated[bool, Told]
    conversation_end: Annotated[dict[str, Any] | None, Told]


def add_end_conversation(
    builder: StateGraph[Any, Any, Any, Any],
    *,
    registry: SealRegistry,
    model: str = "model",
    tools: str = "tools",
    reader: Reader,
    on_sealed: OnSealed = "raise",
    confirm: Confirm | None = None,
    **options: Unpack[DoorOptions],
) -> None:
    """Guard a graph that you write yourself; call it when all nodes and edges are there.

    Args:
        builder: The graph, with ``EndConversationChannels`` in its state and ``create_end_conversation_tool()`` among
            the tools of its model and of its tools node.
        registry: The truth about threads; share one between all graphs that share threads.
        model: Name of the node that calls the model, and returns its reply in ``messages``.
        tools: Name of the node that runs the tools of the newest reply in ``messages``.
        reader: Who reads the transcript when an end is asked for, such as ``ModelReader(your_model)``: a builder does
            not tell which model its node calls.
        on_sealed: What a message to a sealed thread gets: ``raise`` a ``ThreadSealedError``, or ``respond`` with
            ``conversation_end``, the message not kept.
        confirm: ``interrupt`` to ask the user by an interrupt where only their own yes is missing (R5).
        options: See ``DoorOptions``: ``policy``, ``mode``, ``watch``, ``language``, ``texts``, ``help_text``,
            ``keep_reasons``, ``sinks``, ``breaker``, ``count_threads``,
            ``asking_tools``.

    Raises:
        InvalidInputError: A node or a channel is missing, or an argument is not usable. The builder is not changed.
    """
    check_reader(reader)
    gate = create_gate(registry, reader=reader, on_sealed=on_sealed, confirm=confirm, **options)
    check(builder, model, tools, EndConversationChannels.__annotations__)
    merges = getattr(builder.channels["messages"], "operator", None) is add_messages
    wrap_node(builder, model, _ModelNode(gate, on_sealed, merges=merges))
    wrap_node(builder, tools, _ToolsNode(gate))
    lead_to_end(builder, model, CLOSED_KEY)


class _Node:
    """A node round a node of the user's own: one flow, sync or async.

    Attributes:
        inner: The user's own.
        narrowed: Makes its input of the whole state.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.inner: Any = None
        self.narrowed: Callable[[Any], Any] = dict

    def run(self, state: Any, config: RunnableConfig) -> Any:
        """Run the user's node within the gate."""
        return run_flow(self._step(state, config))

    async def arun(self, state: Any, config: RunnableConfig) -> Any:
        """Async twin of ``run``."""
        return await arun_flow(self._step(state, config))

    def _step(self, state: Any, config: RunnableConfig) -> Flow[Any]:
        raise NotImplementedError

    def _call(self, state: Any, config: RunnableConfig) -> Flow[Any]:
        """Run the user's own node."""
        return (yield from ask(self.inner.invoke, self.inner.ainvoke, self.narrowed(state), config))


class _ModelNode(_Node):
    """Admits, listens, lets the model speak, and rules."""

    def __init__(self, gate: Gate, on_sealed: OnSealed, *, merges: bool) -> None:
        super().__init__(gate)
        self._on_sealed, self._merges, self._mistakes = on_sealed, merges, Mistakes()

    def _step(self, state: Any, config: RunnableConfig) -> Flow[Any]:
        kept, here = convert(read(state, "messages")), PresentRun.here()
        context = here.context(get_runtime(), None)
        self._mistakes.check_run(here, context, self._gate.registry)
        try:
            run = yield from self._gate.admit(context, provenance_in(state, here))
        except ThreadSealedError as error:
            return self._answer_sealed(state, here, error)
        if (asked := run.provenance.asking) is not None:
            run = yield from turned_down(self._gate, run, asked, kept)
        said = mended(kept)
        run = yield from hear(self._gate, run, here, said)
        if said == kept:
            return (yield from self._speak(state, said, run, config))
        answer = yield from self._speak(with_messages(state, said), said, run, config)
        if not self._merges:  # what this channel takes is only added: the node sees what the thread cannot keep
            return answer
        changed = [RemoveMessage(id=REMOVE_ALL_MESSAGES), *said]
        keep_from_streams(said)
        return joined(answer, {"messages": changed})

    def _speak(self, state: Any, said: Sequence[AnyMessage], run: Run, config: RunnableConfig) -> Flow[Any]:
        """Let the model speak, and rule on what it asks for."""
        run, returned = yield from self._gate.attend(run, self._call(state, config))
        made = NodeUpdate(returned)
        if made.reply is None:
            return self._close(state, made, run, None)
        run = by_model_of(made.reply, run)
        known = {message.id for message in said}
        history = partial(said_messages, [*said, *(other for other in made.others if other.id not in known)])
        return self._close(state, made, *(yield from self._gate.rule(run, reply_of(made.reply), history)))

    def _close(self, state: Any, made: NodeUpdate, run: Run, ruling: Ruling | None) -> Any:
        """Put the provenance, the results and the end into the update of the node."""
        ours: dict[str, Any] = {END_KEY: None} if read(state, END_KEY) else {}
        results: list[Any] = []
        ends = ruling is not None and ruling.ends_run
        if ruling is not None and made.reply is not None:
            ours[ANSWER_KEY] = ruling.text
            if ends:
                ours[CLOSED_KEY] = True
                answered = tool_results(made.reply, ruling)
                keep_from_streams(answered)
                results = [*answered, *last_words(ruling)]
            if ruling.seal is not None:
                ours[END_KEY] = conversation_end(ruling.seal)
                run = run.leaving(results[-1].id or "" if results else made.reply.id or "")
        if not ends and read(state, CLOSED_KEY):
            ours[CLOSED_KEY] = False
        ours[STATE_KEY] = self._gate.dump(run)
        return made.update(results, ours, stops=ends)

    def _answer_sealed(self, state: Any, here: PresentRun, error: ThreadSealedError) -> Any:
        """Raise, or end the run with nothing kept of what came in; a run that has just ended here is let go."""
        messages = convert(read(state, "messages"))
        known = self._gate.provenance_of(read(state, STATE_KEY), error.thread_id)
        gone = arrived_after(messages, known)
        ours = read(state, END_KEY) and known.last_message in [message.id for message in messages] and not gone
        if self._on_sealed == "raise" and not ours:
            raise error
        there = {message.id for message in here.kept_messages(messages)}
        removed = [RemoveMessage(id=id_) for id_ in gone if id_ in there]
        return {"messages": removed, END_KEY: error.conversation_end, CLOSED_KEY: True}


class _ToolsNode(_Node):
    """Refuses a sealed thread, and lets ``end_conversation`` answer with what was ruled, or ask the user first."""

    def _step(self, state: Any, config: RunnableConfig) -> Flow[Any]:
        here = PresentRun.here()
        run = yield from self._gate.admit(here.context(get_runtime(), None), provenance_in(state, here))
        run, text = (yield from hear_answer(self._gate, run, here)), read(state, ANSWER_KEY)
        changes: dict[str, Any] | None = None
        if (reply := _awaiting(state, run)) is not None:
            said = convert(read(state, "messages"))
            answer = interrupt(question(self._gate.texts))
            run = by_model_of(reply, run)
            run, ruling = yield from self._gate.settle(run, reply_of(reply), partial(said_messages, said), answer)
            text, changes = ruling.text, self._settled(run, reply, ruling)
            if ruling.ends_run:
                return changes
        with _answering(text):
            returned = yield from self._call(state, config)
        yield from hear_results(self._gate, run, returned)
        return joined(returned, changes)

    def _settled(self, run: Run, reply: AIMessage, ruling: Ruling) -> dict[str, Any]:
        if not ruling.ends_run:
            return {STATE_KEY: self._gate.dump(run), ANSWER_KEY: ruling.text}
        answered = tool_results(reply, ruling)
        keep_from_streams(answered)
        results: list[Any] = [*answered, *last_words(ruling)]
        update: dict[str, Any] = {"messages": results, CLOSED_KEY: True}
        if ruling.seal is not None:
            run = run.leaving(results[-1].id or "")
            update[END_KEY] = conversation_end(ruling.seal)
        return {**update, STATE_KEY: self._gate.dump(run)}


@contextmanager
def _answering(text: str | None) -> Iterator[None]:
    """Let the tool answer with what was ruled; a call on which nobody has ruled came by another way, and is denied."""

    def answer(_request: EndRequest) -> str:
        return text or denial_text([UnmetCode.NOT_MAIN_AGENT])

    token = tool_answer.set(answer)
    try:
        yield
    finally:
        tool_answer.reset(token)


def _awaiting(state: Any, run: Run) -> AIMessage | None:
    """Return the reply whose request waits for the user's own yes; the signed provenance says whether one does."""
    if run.provenance.asking is not Asked.USER:
        return None
    messages = convert(read(state, "messages"))
    reply = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
    if reply is None or any(isinstance(message, ToolMessage) for message in messages[messages.index(reply) :]):
        return None
    return reply if end_calls_of(reply) else None
