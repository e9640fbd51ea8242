"""The door for any compiled LangGraph graph with a ``messages`` channel.

``create_guarded_graph`` puts one node round the graph: it admits the run, hears the user, runs the graph inside it, and
notes what was said. That is one superstep more in a turn than the graph alone: LangGraph can refuse a message only
within a node, and a node of the graph's own would have to be changed for it. Nothing of the graph inside is.

A graph that runs elsewhere (``RemoteGraph``) cannot be guarded from here: its tools run there. Guard it where it runs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NotRequired, TypedDict, get_type_hints

from langchain_core.messages import RemoveMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import merge_configs
from langgraph.channels import BinaryOperatorAggregate
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import ParentCommand
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime
from langgraph.types import Overwrite

from end_conversation_tool.detectors import default_detectors
from end_conversation_tool.detectors.base import DetectorSuite
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.gate import Gate
from end_conversation_tool.graph_session import AsyncRule, Rule, Session, Verdict, Watch, is_hand_off
from end_conversation_tool.graph_stream import GuardedGraph
from end_conversation_tool.judge.base import Judge
from end_conversation_tool.messages import END_KEY, LEDGER_KEY, arrived_after, new_user_messages, tool_results
from end_conversation_tool.policy import EndConversationPolicy
from end_conversation_tool.prompts import conversation_end
from end_conversation_tool.registry.base import SealRegistry
from end_conversation_tool.run_context import run_context
from end_conversation_tool.tool import tool_answer

__all__ = ["create_guarded_graph"]

NODE = "agent"
"""Name of the one node of a guarded graph."""

_PRIVATE_PREFIX = "end_conversation_"


def create_guarded_graph(
    agent: CompiledStateGraph[Any, Any, Any, Any],
    *,
    registry: SealRegistry,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    policy: EndConversationPolicy | None = None,
    detectors: DetectorSuite | None = None,
    judge: Judge | None = None,
    on_sealed: Literal["raise", "respond"] = "raise",
    speakers: Iterable[str] = (),
    name: str | None = None,
) -> GuardedGraph:
    """Wrap a compiled graph so that its model can end the conversation, when the policy permits it.

    Args:
        agent: A compiled graph with a ``messages`` channel, ``create_end_conversation_tool()`` being among the tools of
            its model. It is not changed.
        registry: The truth about threads; share one between all graphs that share threads.
        checkpointer: Keeps the threads; a ``SealedSaver`` for a seal that holds against every write. The graph inside
            is run without a checkpointer of its own.
        policy: When an end is permitted.
        detectors: What is seen in messages; ``None`` for the offline detectors of this package.
        judge: A second model that is asked about an end which everything else permits; it can only deny.
        on_sealed: What a message to a sealed thread gets: ``raise`` a ``ThreadSealedError``, or ``respond`` with
            ``conversation_end``, the message not kept.
        speakers: Names of nested agents that speak with the user themselves, as in a swarm. The calls of all others are
            denied: a subagent cannot end its parent's conversation (R10).
        name: Name of the graph.

    Returns:
        A compiled graph with the state of ``agent`` and the output ``conversation_end``.

    Raises:
        InvalidInputError: The graph cannot be wrapped, or an argument is not usable.
    """
    inner = _opened(agent)
    if on_sealed not in ("raise", "respond"):
        raise InvalidInputError(f"on_sealed: expected 'raise' or 'respond', got {on_sealed!r}")
    if not isinstance(registry, SealRegistry):
        raise InvalidInputError(f"registry: expected a SealRegistry, got {type(registry).__name__}")
    policy = policy if policy is not None else EndConversationPolicy()
    gate = Gate(policy=policy, registry=registry, detectors=detectors or default_detectors(), judge=judge)
    node = _GuardNode(gate, inner, on_sealed=on_sealed, speakers=frozenset(speakers))
    builder = StateGraph(
        _schema(agent.builder.state_schema, "GuardedState", private=True),
        context_schema=agent.builder.context_schema,
        input_schema=_schema(agent.builder.input_schema, "GuardedInput"),
        output_schema=_schema(agent.builder.output_schema, "GuardedOutput", end=True),
    )
    runnable: Any = RunnableLambda(node.run, afunc=node.arun, name=NODE)
    builder.add_node(NODE, runnable)
    builder.add_edge(START, NODE)
    builder.add_edge(NODE, END)
    compiled = builder.compile(checkpointer=checkpointer, name=name or agent.name)
    return GuardedGraph.of(compiled, inner_outputs=frozenset(agent.builder.schemas[agent.builder.output_schema]))


class _GuardNode:
    """The node round the wrapped graph."""

    def __init__(
        self,
        gate: Gate,
        inner: CompiledStateGraph[Any, Any, Any, Any],
        *,
        on_sealed: Literal["raise", "respond"],
        speakers: frozenset[str],
    ) -> None:
        self._gate, self._inner, self._on_sealed, self._speakers = gate, inner, on_sealed, speakers

    def run(self, state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        """Admit, hear, run the wrapped graph, and return what it changed."""
        try:
            visit = self._gate.admit(run_context(get_runtime(), None), state.get(LEDGER_KEY))
        except ThreadSealedError as error:
            return self._answer_sealed(state, error)
        visit = self._gate.hear(visit, new_user_messages(state["messages"], visit.ledger))
        session = Session(self._gate, visit, state["messages"], self._speakers)
        watch = Watch(session)
        inner_config = merge_configs(config, {"callbacks": [watch, Rule(watch)]})
        answering = tool_answer.set(session.answer)
        try:
            for session.values in self._inner.stream(_inner_state(state), inner_config, stream_mode="values"):
                pass
        except ParentCommand as error:
            if not is_hand_off(error):
                raise
        finally:
            tool_answer.reset(answering)
        return self._changes(state, session)

    async def arun(self, state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        """Async twin of ``run``."""
        try:
            visit = await self._gate.aadmit(run_context(get_runtime(), None), state.get(LEDGER_KEY))
        except ThreadSealedError as error:
            return self._answer_sealed(state, error)
        visit = await self._gate.ahear(visit, new_user_messages(state["messages"], visit.ledger))
        session = Session(self._gate, visit, state["messages"], self._speakers)
        watch = Watch(session)
        inner_config = merge_configs(config, {"callbacks": [watch, AsyncRule(watch)]})
        answering = tool_answer.set(session.answer)
        try:
            async for session.values in self._inner.astream(_inner_state(state), inner_config, stream_mode="values"):
                pass
        except ParentCommand as error:
            if not is_hand_off(error):
                raise
        finally:
            tool_answer.reset(answering)
        return self._changes(state, session)

    def _answer_sealed(self, state: dict[str, Any], error: ThreadSealedError) -> dict[str, Any]:
        if self._on_sealed == "raise":
            raise error
        ledger = self._gate.ledger_of(state.get(LEDGER_KEY), error.thread_id)
        removals = [RemoveMessage(id=id_) for id_ in arrived_after(state["messages"], ledger)]
        return {"messages": removals, END_KEY: error.conversation_end}

    def _changes(self, state: dict[str, Any], session: Session) -> dict[str, Any]:
        """Return the update that makes the outer state what the wrapped graph made of it."""
        session.note_replies()
        values = session.values
        changes: dict[str, Any] = {}
        for key, value in values.items():
            if key != "messages" and (key not in state or state[key] is not value):
                reduced = isinstance(self._inner.channels.get(key), BinaryOperatorAggregate)
                changes[key] = Overwrite(value) if reduced else value
        messages = _message_changes(state["messages"], session.messages)
        visit, ended = session.visit, session.ended
        if ended is not None:
            results = _results(ended, session.messages)
            messages += results
            if ended.ruling.seal is not None:
                visit = visit.leaving(messages[-1].id or "" if messages else "")
                changes[END_KEY] = conversation_end(ended.ruling.seal)
        return {**changes, "messages": messages, LEDGER_KEY: self._gate.dump(visit)}


def _results(ended: Verdict, messages: list[Any]) -> list[Any]:
    """Return the results that the ended reply still lacks, with the reply itself where the graph had not kept it."""
    answered = {getattr(message, "tool_call_id", None) for message in messages}
    results: list[Any] = [
        result for result in tool_results(ended.reply, ended.ruling) if result.tool_call_id not in answered
    ]
    kept = any(message.id == ended.reply.id for message in messages)
    return results if kept or not ended.reply.tool_calls else [ended.reply, *results]


def _message_changes(before: list[Any], after: list[Any]) -> list[Any]:
    """Return new and changed messages, and removals, so that an update shows what happened and no more."""
    known = {message.id: message for message in before}
    present = {message.id for message in after}
    removed = [RemoveMessage(id=message.id) for message in before if message.id and message.id not in present]
    return [*removed, *(message for message in after if _differs(message, known.get(message.id)))]


def _differs(message: Any, before: Any) -> bool:
    return message is not before and message != before


def _inner_state(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if not key.startswith(_PRIVATE_PREFIX) and key != END_KEY}


def _opened(agent: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph compiled anew so that its whole state goes in and comes out, and the outer graph can keep it.

    Raises:
        InvalidInputError: It is no compiled state graph, or has no ``messages``.
    """
    if not isinstance(agent, CompiledStateGraph):
        raise InvalidInputError(
            f"agent: expected a compiled StateGraph, got {type(agent).__name__}. A graph that runs elsewhere, such as "
            "a RemoteGraph, cannot be guarded from here: guard it where it runs"
        )
    if "messages" not in agent.builder.channels:
        raise InvalidInputError("agent: expected a graph with a 'messages' channel, got one without")
    builder = copy.copy(agent.builder)
    builder.input_schema = builder.output_schema = builder.state_schema
    inner = builder.compile(
        store=agent.store,
        cache=agent.cache,
        interrupt_before=_names(agent.interrupt_before_nodes),
        interrupt_after=_names(agent.interrupt_after_nodes),
        debug=agent.debug,
        name=agent.name,
    )
    return inner.with_config(agent.config) if agent.config else inner


def _names(nodes: Any) -> Any:
    return nodes if isinstance(nodes, str) else list(nodes)


def _schema(schema: Any, name: str, *, private: bool = False, end: bool = False) -> Any:
    """Return ``schema`` as a typed dict, with our channels where they belong.

    What a caller may put in is the agent's own input: neither the ledger nor the end.
    """
    hints = {
        key: hint
        for key, hint in get_type_hints(schema, include_extras=True).items()
        if not key.startswith(_PRIVATE_PREFIX) and key != END_KEY
    }
    if private:
        hints[LEDGER_KEY] = NotRequired[dict[str, Any]]
    if private or end:
        hints[END_KEY] = NotRequired[dict[str, Any] | None]
    return TypedDict(name, hints, total=False)  # type: ignore[operator]
