"""The door for any compiled LangGraph graph with a ``messages`` channel.

``create_guarded_graph`` puts one node round the graph: it admits the run, hears the user, runs the graph inside it, and
notes what was said. That is one superstep more in a turn than the graph alone: LangGraph can refuse a message only
within a node, and a node of the graph's own would have to be changed for it. Nothing of the graph inside is.

Only what a model call of LangChain made in this run is the model's word: nothing that a tool, a memory, or a node
before or after the model wrote. A model that is called past LangChain is not seen to speak. It can ask for the end and
is ruled on, but what it said is no evidence: an end for the user's conduct is denied, one that the user asks for is
not. The same holds for what was said before an interrupt, of which the run that goes on knows nothing.

A graph that runs elsewhere (``RemoteGraph``) cannot be guarded from here: its tools run there. Guard it where it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from typing import Any, Unpack

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime
from langgraph.types import interrupt

from end_conversation_tool._core.confirmation import question
from end_conversation_tool._core.flow import Flow, arun_flow, run_flow
from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._doors.door import Confirm, DoorOptions, OnSealed, check_reader, create_gate
from end_conversation_tool._doors.guarded_graph.session import AsyncRule, HandOffError, Rule, Session, Watch
from end_conversation_tool._doors.guarded_graph.state import InnerGraph, convert
from end_conversation_tool._doors.guarded_graph.stream import INTERRUPTS_KEY, GuardedGraph, Inside
from end_conversation_tool._doors.langgraph.arrivals import hear, provenance_in
from end_conversation_tool._doors.langgraph.closing import closed_messages
from end_conversation_tool._doors.langgraph.messages import END_KEY, STATE_KEY, arrived_after
from end_conversation_tool._doors.langgraph.run_context import Mistakes, PresentRun
from end_conversation_tool._doors.langgraph.streams import keep_from_streams
from end_conversation_tool._doors.tool import tool_answer
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.readers import Reader
from end_conversation_tool.registry.protocol import SealRegistry

__all__ = ["create_guarded_graph"]


def create_guarded_graph(
    agent: CompiledStateGraph[Any, Any, Any, Any],
    *,
    registry: SealRegistry,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    reader: Reader,
    on_sealed: OnSealed = "raise",
    confirm: Confirm | None = None,
    speakers: Iterable[str] = (),
    name: str | None = None,
    **options: Unpack[DoorOptions],
) -> GuardedGraph:
    """Wrap a compiled graph so that its model can end the conversation, when the policy permits it.

    Args:
        agent: A compiled graph with a ``messages`` channel, ``create_end_conversation_tool()`` being among the tools of
            its model. It is not changed.
        registry: The truth about threads; share one between all graphs that share threads.
        checkpointer: Keeps the threads; a ``SealedSaver`` for a seal that holds against every write. ``None`` for the
            one that ``agent`` was compiled with. The graph inside is run without one of its own.
        reader: Who reads the transcript when an end is asked for, such as ``ModelReader(your_model)``: the wrapper does
            not know which model the graph calls.
        on_sealed: What a message to a sealed thread gets: ``raise`` a ``ThreadSealedError``, or ``respond`` with
            ``conversation_end``, the message not kept.
        confirm: ``interrupt`` to ask the user by an interrupt where only their own yes is missing (R5).
        speakers: Names of nested agents that speak with the user themselves, as in a swarm. The calls of all others are
            denied: a subagent cannot end its parent's conversation (R10).
        name: Name of the graph.
        options: See ``DoorOptions``: ``policy``, ``mode``, ``watch``, ``language``, ``texts``, ``help_text``,
            ``keep_reasons``, ``sinks``, ``breaker``, ``count_threads``,
            ``asking_tools``.

    Returns:
        A compiled graph with the state of ``agent`` and the output ``conversation_end``.

    Raises:
        InvalidInputError: The graph cannot be wrapped, or an argument is not usable.
    """
    inner = InnerGraph.of(agent)
    check_reader(reader)
    gate = create_gate(registry, reader=reader, on_sealed=on_sealed, confirm=confirm, **options)
    node = _GuardNode(gate, inner, on_sealed=on_sealed, speakers=frozenset(speakers))
    builder = StateGraph(
        inner.state_schema(),
        context_schema=inner.context_schema,
        input_schema=inner.input_schema(),
        output_schema=inner.output_schema(),
    )
    builder.add_node(inner.node_name, node)
    builder.add_edge(START, inner.node_name)
    builder.add_edge(inner.node_name, END)
    saver = checkpointer
    if saver is None and isinstance(agent.checkpointer, BaseCheckpointSaver):
        saver = agent.checkpointer
    compiled = builder.compile(checkpointer=saver, store=agent.store, name=name or agent.name)
    compiled.config = agent.config
    compiled.nodes[inner.node_name].subgraphs = [inner.graph]
    # What the wrapped graph shows is its own business; of ours, nothing private is shown.
    compiled.stream_channels = [channel for channel in compiled.stream_channels_list if channel != STATE_KEY]
    return GuardedGraph.of(compiled)


class _GuardNode(Runnable[Any, Any]):
    """The node round the wrapped graph. LangGraph traces it: as a ``RunnableLambda`` it would be traced once more."""

    def __init__(self, gate: Gate, inner: InnerGraph, *, on_sealed: OnSealed, speakers: frozenset[str]) -> None:
        self._gate, self._inner, self._on_sealed, self._speakers = gate, inner, on_sealed, speakers
        self._mistakes = Mistakes()
        self.name = inner.node_name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002 - as the base class
        """Admit, listen, run the wrapped graph, and return what it changed."""
        state, config = input, config or {}
        opened = run_flow(self._open(state))
        if not isinstance(opened, Session):
            return opened
        session, inside, watch = opened, Inside.of(config, self), Watch(opened)
        rule = Rule(watch)
        while True:
            with _guarding(session), closing(self._stream(state, config, watch, rule)) as steps:
                for session.values in steps:
                    inside.after_step(session.values)
                    run_flow(session.look(_ask))
                    if session.ended is not None:
                        break
            if session.question is None:
                run_flow(session.note())
                inside.values = {}
                return self._changes(state, session, inside)
            run_flow(session.settle(_ask))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002 - as the base class
        """Async twin of ``invoke``."""
        state, config = input, config or {}
        opened = await arun_flow(self._open(state))
        if not isinstance(opened, Session):
            return opened
        session, inside, watch = opened, Inside.of(config, self), Watch(opened)
        rule = AsyncRule(watch)
        while True:
            with _guarding(session):
                async with aclosing(self._astream(state, config, watch, rule)) as steps:
                    async for session.values in steps:
                        inside.after_step(session.values)
                        await arun_flow(session.look(_ask))
                        if session.ended is not None:
                            break
            if session.question is None:
                await arun_flow(session.note())
                inside.values = {}
                return self._changes(state, session, inside)
            await arun_flow(session.settle(_ask))

    def _open(self, state: dict[str, Any]) -> Flow[Session | dict[str, Any]]:
        """Admit the run and listen to the user; of a sealed thread, return the answer to it."""
        said, here = convert(state.get("messages")), PresentRun.here()
        context = here.context(get_runtime(), None)
        self._mistakes.check_run(here, context, self._gate.registry)
        try:
            run = yield from self._gate.admit(context, provenance_in(state, here))
        except ThreadSealedError as error:
            return self._answer_sealed(state, error)
        run = yield from self._gate.heard((yield from hear(self._gate, run, here, said)))
        return Session(self._gate, run, said, self._speakers)

    def _stream(self, state: dict[str, Any], config: RunnableConfig, *handlers: Any) -> Any:
        """Run the wrapped graph, and yield its state after each step."""
        watched = merge_configs(config, {"callbacks": list(handlers)})
        return self._inner.graph.stream(self._inner.start(state), watched, stream_mode="values", **_interrupts(config))

    def _astream(self, state: dict[str, Any], config: RunnableConfig, *handlers: Any) -> Any:
        """Async twin of ``_stream``."""
        watched = merge_configs(config, {"callbacks": list(handlers)})
        return self._inner.graph.astream(self._inner.start(state), watched, stream_mode="values", **_interrupts(config))

    def _answer_sealed(self, state: dict[str, Any], error: ThreadSealedError) -> dict[str, Any]:
        if self._on_sealed == "raise":
            raise error
        before = list(state.get("messages") or ())
        said = convert(before)
        gone = arrived_after(said, self._gate.provenance_of(state.get(STATE_KEY), error.thread_id))
        kept = [message for message, known in zip(before, said, strict=True) if known.id not in gone]
        return {"messages": self._inner.messages(before, kept), END_KEY: error.conversation_end}

    def _changes(self, state: dict[str, Any], session: Session, inside: Inside) -> dict[str, Any]:
        """Return the update that makes the outer state what the wrapped graph made of it, and no more after an end."""
        run, ended = session.run, session.ended
        if ended is None:
            messages = list(session.values.get("messages") or ())
            reopened: dict[str, Any] = {END_KEY: None} if state.get(END_KEY) else {}
            changes = self._inner.changes(state, session.values, messages)
            return {**changes, **reopened, STATE_KEY: self._gate.dump(run)}
        messages = closed_messages(session.messages, session.known, ended.reply, ended.ruling)
        seen = {message.id for message in session.messages}
        inside.added = [message for message in messages if message.id not in seen]
        keep_from_streams(messages[:-1] if ended.ruling.closing else messages)
        changes = self._inner.changes(state, session.values, messages)
        if ended.ruling.seal is not None:
            run = run.leaving(messages[-1].id or "" if messages else "")
            changes[END_KEY] = conversation_end(ended.ruling.seal)
        return {**changes, STATE_KEY: self._gate.dump(run)}


def _interrupts(config: RunnableConfig) -> Mapping[str, Any]:
    """Return where the caller wants the wrapped graph to stop."""
    wanted: Mapping[str, Any] = config.get("configurable", {}).get(INTERRUPTS_KEY) or {}
    return wanted


def _ask(texts: Texts) -> object:
    """Ask the user, between two steps of the wrapped graph; the run stops here until the app resumes it."""
    answer: object = interrupt(question(texts))
    return answer


@contextmanager
def _guarding(session: Session) -> Iterator[None]:
    """Let the tool ask the session, and take leave of the wrapped graph quietly once a reply has ended the run."""
    answering = tool_answer.set(session.answer)
    try:
        yield
    except HandOffError:
        pass
    except GraphInterrupt:
        if session.asking or not session.stops:
            raise
    finally:
        tool_answer.reset(answering)
