"""Hand-written graphs for tests, bare and guarded, driven sync or async by the same test."""

from __future__ import annotations

import asyncio
import operator
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._doors.tool import create_end_conversation_tool
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.graph_parts import EndConversationChannels, add_end_conversation
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ScriptedChatModel
from support.agents import INSULT, LADDER, Counter, config, said
from support.keywords import QUICK, KeywordReader, keyword_watch

CHANCE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}|\d{4}-\d\d-\d\dT[\d:.+]+"
)
HIDDEN = frozenset(
    {
        "langgraph_checkpoint_ns",
        "checkpoint_ns",
        "langgraph_path",
        "config",
        "parent_config",
        "parents",
        "langgraph_step",
        "step",
        "end_conversation_provenance",
    }
)
"""Where a graph runs: in the guarded case within a node of another graph, its steps being counted anew in each turn."""


def strict_saver() -> InMemorySaver:
    return InMemorySaver(serde=JsonPlusSerializer(pickle_fallback=False))


def model_of(replies: Any) -> ScriptedChatModel:
    return replies if isinstance(replies, ScriptedChatModel) else ScriptedChatModel(replies)


def speaking(model: Any, tools: Sequence[Any] = ()) -> Any:
    """Return a node that lets a model speak, sync or async as the graph is run."""
    from langchain_core.runnables import RunnableLambda  # noqa: PLC0415

    bound = model.bind_tools(list(tools)) if tools else model

    def node(state: Any) -> dict[str, Any]:
        return {"messages": [bound.invoke(_messages(state))]}

    async def anode(state: Any) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(_messages(state))]}

    return RunnableLambda(node, afunc=anode, name="model")


def _messages(state: Any) -> Any:
    return state["messages"] if isinstance(state, dict) else state.messages


def hand_written(
    replies: Any,
    tools: Sequence[Any],
    *,
    state: Any = MessagesState,
    schemas: dict[str, Any] | None = None,
    model_name: str = "model",
    change: Callable[[Any], None] | None = None,
    **compiling: Any,
) -> Any:
    """Compile the graph that everybody writes: a model node, a tools node, and the way back."""
    builder: Any = StateGraph(state, **(schemas or {}))
    builder.add_node(model_name, speaking(model_of(replies), tools))
    builder.add_node("tools", ToolNode(list(tools)))
    builder.add_edge(START, model_name)
    builder.add_conditional_edges(model_name, tools_condition)
    builder.add_edge("tools", model_name)
    if change is not None:
        change(builder)
    return builder.compile(**compiling)


class State(MessagesState, EndConversationChannels):
    log: Annotated[list[str], operator.add]


def written(model: Any, tools: list[Any], *, state: Any = State, node: Any = None) -> Any:
    """Return the graph that everybody writes, not compiled."""
    builder: Any = StateGraph(state)
    builder.add_node("model", speaking(model, tools) if node is None else node(model.bind_tools(tools)))
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder


class Guarded:
    """A guarded graph with its registry, its saver and a counting tool; by default round the hand-written graph."""

    def __init__(
        self,
        replies: Any,
        *,
        asynchronous: bool = False,
        registry: Any = None,
        checkpointer: Any = None,
        sealed_saver: bool = False,
        build: Callable[[Any, list[Any]], Any] | None = None,
        guarded: bool = True,
        tools: Sequence[Any] = (),
        inner: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.registry = InMemorySealRegistry() if registry is None else registry
        self.model = model_of(replies)
        self.counter = Counter()
        self.asynchronous = asynchronous
        saver = strict_saver() if checkpointer is None else checkpointer
        self.saver = SealedSaver(saver, self.registry) if sealed_saver else saver
        every = [self.counter.tool(), *tools, create_end_conversation_tool()]
        build = build or (lambda model, known: hand_written(model, known, **(inner or {})))
        self.inner = build(self.model, every)
        self.reader = options.setdefault("reader", KeywordReader())
        options.setdefault("watch", keyword_watch())
        options.setdefault("policy", QUICK)
        self.graph: Any = self.inner
        if guarded:
            self.graph = create_guarded_graph(self.inner, registry=self.registry, checkpointer=self.saver, **options)
        else:
            self.graph = self.inner.copy(update={"checkpointer": self.saver})

    def invoke(self, given: Any, where: Any = None, **kwargs: Any) -> Any:
        where = config() if where is None else where
        if self.asynchronous:
            return asyncio.run(self.graph.ainvoke(given, where, **kwargs))
        return self.graph.invoke(given, where, **kwargs)

    def stream(self, given: Any, where: Any = None, **kwargs: Any) -> list[Any]:
        where = config() if where is None else where

        async def collect() -> list[Any]:
            return [part async for part in self.graph.astream(given, where, **kwargs)]

        return asyncio.run(collect()) if self.asynchronous else list(self.graph.stream(given, where, **kwargs))

    def say(self, *texts: str, **kwargs: Any) -> Any:
        return self.invoke(said(*texts), **kwargs)

    def climb(self, **kwargs: Any) -> Guarded:
        """Let the user insult, and the model go up the ladder; one more insult makes an end possible."""
        for _ in LADDER:
            self.say(INSULT, **kwargs)
        return self

    def state(self, where: Any = None) -> dict[str, Any]:
        return dict(self.graph.get_state(where or config()).values)

    def decisions(self, thread_id: str = "t") -> list[Any]:
        return [record.outcome for record in self.registry.decisions(thread_id)]

    def unmet(self, thread_id: str = "t") -> list[Any]:
        return [record.decision.unmet for record in self.registry.decisions(thread_id)]


def assert_every_call_is_answered(messages: list[Any]) -> None:
    """Check what providers check: each call has one result, before the next message that is no result."""
    waiting: list[str] = []
    for message in messages:
        if message.type == "tool":
            waiting.remove(message.tool_call_id)
            continue
        assert waiting == []
        if message.type == "ai":
            waiting = [str(call["id"]) for call in [*message.tool_calls, *message.invalid_tool_calls]]
    assert waiting == []


def shape(value: Any) -> Any:
    """Return an event without what chance names, and without where it happened."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in HIDDEN}
    if isinstance(value, (list, tuple)):
        return [shape(item) for item in value]
    return CHANCE.sub("-", repr(value))


class Parts(Guarded):
    """A hand-written graph with the parts in it."""

    def __init__(
        self,
        replies: Any,
        *,
        write: Callable[..., Any] = written,
        with_parts: bool = True,
        registry: Any = None,
        saver: Any = None,
        sealed_saver: bool = False,
        asynchronous: bool = False,
        **options: Any,
    ) -> None:
        registry = InMemorySealRegistry() if registry is None else registry
        self.parts_reader = options.setdefault("reader", KeywordReader())
        options.setdefault("watch", keyword_watch())
        options.setdefault("policy", QUICK)

        def build(model: Any, tools: list[Any]) -> Any:
            builder = write(model, tools)
            if with_parts:
                add_end_conversation(builder, registry=registry, **options)
            return builder.compile()

        super().__init__(
            replies,
            build=build,
            guarded=False,
            registry=registry,
            checkpointer=saver,
            sealed_saver=sealed_saver,
            asynchronous=asynchronous,
        )
