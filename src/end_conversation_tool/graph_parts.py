"""The parts for people who write their own graph: one call, before ``compile``.

``add_end_conversation`` puts the gate into the model node and the tools node of a builder. There is no extra node, and
no extra superstep:

1. The model node admits the run, hears the user, lets the model speak, and rules on its request to end, if it asks.
2. After an honoured end the run goes nowhere: whatever edges leave the model node, they lead to ``END``.
3. After a denied one ``end_conversation`` is run as any tool is, and answers with the codes.

Nodes before the model node run before the thread is asked for: a ``SealedSaver`` refuses a sealed thread at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from langchain_core.messages import AIMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.runtime import get_runtime
from langgraph.types import interrupt
from typing_extensions import TypedDict

from end_conversation_tool._core.confirmation import question
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import conversation_end, denial_text
from end_conversation_tool._core.records import Category, EndRequest, UnmetCode
from end_conversation_tool._core.run import Ruling, RunContext, Visit
from end_conversation_tool._doors.door import Confirm, OnSealed, by_model_of, create_gate, last_words
from end_conversation_tool._doors.guarded_graph.state import convert
from end_conversation_tool._doors.langgraph.messages import (
    END_KEY,
    LEDGER_KEY,
    arrived_after,
    new_user_messages,
    reply_of,
    said_messages,
    tool_results,
)
from end_conversation_tool._doors.langgraph.node_updates import NodeUpdate, joined, read
from end_conversation_tool._doors.langgraph.run_context import kept_messages, run_context
from end_conversation_tool._doors.langgraph.wiring import check, lead_to_end, wrap_node
from end_conversation_tool._doors.options import GateOptions
from end_conversation_tool._doors.tool import tool_answer
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.readers.base import Judge
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.watch.base import DetectorSuite

__all__ = ["EndConversationChannels", "add_end_conversation"]

ANSWER_KEY = "end_conversation_answer"
"""The private state channel that holds what ``end_conversation`` answers to a call that was denied."""


class EndConversationChannels(TypedDict, total=False):
    """What the state of a hand-written graph needs; inherit from it.

    Attributes:
        end_conversation_ledger: The evidence of this branch, signed; never read from anything unsigned.
        end_conversation_answer: What the tool answers to a denied call.
        conversation_end: Set once the thread is sealed. For readers; the truth is in the registry.
    """

    end_conversation_ledger: dict[str, Any]
    end_conversation_answer: str | None
    conversation_end: dict[str, Any] | None


def add_end_conversation(
    builder: StateGraph[Any, Any, Any, Any],
    *,
    registry: SealRegistry,
    model: str = "model",
    tools: str = "tools",
    policy: EndConversationPolicy | None = None,
    detectors: DetectorSuite | None = None,
    judge: Judge | None = None,
    on_sealed: OnSealed = "raise",
    confirm: Confirm | None = None,
    **options: Unpack[GateOptions],
) -> None:
    """Guard a graph that you write yourself; call it when all nodes and edges are there.

    Args:
        builder: The graph, with ``EndConversationChannels`` in its state and ``create_end_conversation_tool()`` among
            the tools of its model and of its tools node.
        registry: The truth about threads; share one between all graphs that share threads.
        model: Name of the node that calls the model, and returns its reply in ``messages``.
        tools: Name of the node that runs the tools of the newest reply in ``messages``.
        policy: When an end is permitted.
        detectors: What is seen in messages; ``None`` for the offline detectors of this package.
        judge: A second model that is asked about an end which everything else permits; it can only deny.
        on_sealed: What a message to a sealed thread gets: ``raise`` a ``ThreadSealedError``, or ``respond`` with
            ``conversation_end``, the message not kept.
        confirm: ``interrupt`` to ask the user by an interrupt where only their own yes is missing (R5).
        options: See ``options.GateOptions``: ``language``, ``keep_reasons``, ``sinks``, ``breaker``, ``count_threads``.

    Raises:
        InvalidInputError: A node or a channel is missing, or an argument is not usable. The builder is not changed.
    """
    known: dict[str, Any] = {"policy": policy, "detectors": detectors, "judge": judge, **options}
    gate = create_gate(registry, on_sealed=on_sealed, confirm=confirm, **known)
    check(builder, model, tools, EndConversationChannels.__annotations__)
    wrap_node(builder, model, _ModelNode(gate, on_sealed))
    wrap_node(builder, tools, _ToolsNode(gate))
    lead_to_end(builder, model)


class _Node:
    """A node round a node of the user's own.

    Attributes:
        inner: The user's own.
        narrowed: Makes its input of the whole state.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.inner: Any = None
        self.narrowed: Callable[[Any], Any] = dict


class _ModelNode(_Node):
    """Admits, hears, lets the model speak, and rules."""

    def __init__(self, gate: Gate, on_sealed: OnSealed) -> None:
        super().__init__(gate)
        self._on_sealed = on_sealed

    def run(self, state: Any, config: RunnableConfig) -> Any:
        """Run the user's node within the gate."""
        said = convert(read(state, "messages"))
        try:
            visit = self._gate.admit(_context(), read(state, LEDGER_KEY))
        except ThreadSealedError as error:
            return self._answer_sealed(state, error)
        visit = self._gate.hear(visit, new_user_messages(said, visit.ledger))
        made = NodeUpdate(self.inner.invoke(self.narrowed(state), config))
        if made.reply is None:
            return self._close(state, made, visit, None)
        visit = by_model_of(made.reply, visit)
        return self._close(
            state, made, *self._gate.rule(visit, reply_of(made.reply), lambda: said_messages([*said, *made.others]))
        )

    async def arun(self, state: Any, config: RunnableConfig) -> Any:
        """Async twin of ``run``."""
        said = convert(read(state, "messages"))
        try:
            visit = await self._gate.aadmit(_context(), read(state, LEDGER_KEY))
        except ThreadSealedError as error:
            return self._answer_sealed(state, error)
        visit = await self._gate.ahear(visit, new_user_messages(said, visit.ledger))
        made = NodeUpdate(await self.inner.ainvoke(self.narrowed(state), config))
        if made.reply is None:
            return self._close(state, made, visit, None)
        visit = by_model_of(made.reply, visit)
        return self._close(
            state,
            made,
            *await self._gate.arule(visit, reply_of(made.reply), lambda: said_messages([*said, *made.others])),
        )

    def _close(self, state: Any, made: NodeUpdate, visit: Visit, ruling: Ruling | None) -> Any:
        """Put the ledger, the results and the end into the update of the node."""
        ours: dict[str, Any] = {END_KEY: None} if read(state, END_KEY) else {}
        results: list[Any] = []
        if ruling is not None and made.reply is not None:
            ours[ANSWER_KEY] = ruling.text
            if ruling.ends_run:
                results = [*tool_results(made.reply, ruling), *last_words(ruling)]
            if ruling.seal is not None:
                ours[END_KEY] = conversation_end(ruling.seal)
                visit = visit.leaving(results[-1].id or "" if results else made.reply.id or "")
        ours[LEDGER_KEY] = self._gate.dump(visit)
        return made.update(results, ours, stops=ruling is not None and ruling.ends_run)

    def _answer_sealed(self, state: Any, error: ThreadSealedError) -> Any:
        """Raise, or end the run with nothing kept of what came in; a run that has just ended here is let go."""
        messages = convert(read(state, "messages"))
        ledger = self._gate.ledger_of(read(state, LEDGER_KEY), error.thread_id)
        gone = arrived_after(messages, ledger)
        ours = read(state, END_KEY) and ledger.last_message in [message.id for message in messages] and not gone
        if self._on_sealed == "raise" and not ours:
            raise error
        there = {message.id for message in kept_messages(messages)}
        return {"messages": [RemoveMessage(id=id_) for id_ in gone if id_ in there], END_KEY: error.conversation_end}


class _ToolsNode(_Node):
    """Refuses a sealed thread, and lets ``end_conversation`` answer with what was ruled, or ask the user first."""

    def run(self, state: Any, config: RunnableConfig) -> Any:
        """Run the user's node; no tool of a sealed thread is run."""
        visit, changes = self._gate.admit(_context(), read(state, LEDGER_KEY)), None
        text = read(state, ANSWER_KEY)
        if (reply := _awaiting(state, visit)) is not None:
            said = convert(read(state, "messages"))
            answer = interrupt(question())
            visit, ruling = self._gate.settle(
                by_model_of(reply, visit), reply_of(reply), lambda: said_messages(said), answer
            )
            text, changes = ruling.text, self._settled(visit, reply, ruling)
            if ruling.ends_run:
                return changes
        with _answering(text):
            return joined(self.inner.invoke(self.narrowed(state), config), changes)

    async def arun(self, state: Any, config: RunnableConfig) -> Any:
        """Async twin of ``run``."""
        visit, changes = await self._gate.aadmit(_context(), read(state, LEDGER_KEY)), None
        text = read(state, ANSWER_KEY)
        if (reply := _awaiting(state, visit)) is not None:
            said = convert(read(state, "messages"))
            answer = interrupt(question())
            visit, ruling = await self._gate.asettle(
                by_model_of(reply, visit), reply_of(reply), lambda: said_messages(said), answer
            )
            text, changes = ruling.text, self._settled(visit, reply, ruling)
            if ruling.ends_run:
                return changes
        with _answering(text):
            return joined(await self.inner.ainvoke(self.narrowed(state), config), changes)

    def _settled(self, visit: Visit, reply: AIMessage, ruling: Ruling) -> dict[str, Any]:
        if ruling.seal is None:
            return {LEDGER_KEY: self._gate.dump(visit), ANSWER_KEY: ruling.text}
        results = tool_results(reply, ruling)
        visit = visit.leaving(results[-1].id or "")
        return {"messages": results, LEDGER_KEY: self._gate.dump(visit), END_KEY: conversation_end(ruling.seal)}


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


def _awaiting(state: Any, visit: Visit) -> AIMessage | None:
    """Return the reply whose request waits for the user's own yes; the signed ledger says whether one does."""
    if not visit.ledger.calls_pending(Category.USER_REQUEST):
        return None
    messages = convert(read(state, "messages"))
    reply = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
    if reply is None or any(isinstance(message, ToolMessage) for message in messages[messages.index(reply) :]):
        return None
    return reply if reply_of(reply).end_calls else None


def _context() -> RunContext:
    return run_context(get_runtime(), None)
