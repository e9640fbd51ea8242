"""Putting guarded nodes into a builder in place of the user's own; its edges lead to the end once it is sealed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, StateGraph
from typing_extensions import is_typeddict

from end_conversation_tool._doors.langgraph.messages import END_KEY
from end_conversation_tool._doors.langgraph.node_updates import mapping_of, read
from end_conversation_tool.errors import InvalidInputError

__all__ = ["check", "lead_to_end", "wrap_node"]


def check(builder: Any, model: str, tools: str, channels: Iterable[str]) -> None:
    """Refuse a builder that cannot be guarded.

    Raises:
        InvalidInputError: A node or a channel is missing, or the graph is guarded already.
    """
    if not isinstance(builder, StateGraph):
        raise InvalidInputError(f"builder: expected a StateGraph that is not compiled, got {type(builder).__name__}")
    for argument, name in (("model", model), ("tools", tools)):
        if name not in builder.nodes:
            raise InvalidInputError(
                f"{argument}: expected the name of a node of the graph, one of {sorted(builder.nodes)}, got {name!r}"
            )
        if builder.nodes[name].cache_policy is not None:
            raise InvalidInputError(f"{argument}: the node {name!r} is cached: a decision must not be replayed")
    state = builder.schemas[builder.state_schema]
    missing = sorted({*channels, "messages"} - state.keys())
    if missing:
        raise InvalidInputError(
            f"builder: the state lacks {', '.join(missing)}; inherit it from EndConversationChannels and MessagesState"
        )
    if isinstance(builder.nodes[model].runnable, _Guarded):
        raise InvalidInputError("builder: the graph is guarded already")


def wrap_node(builder: Any, name: str, node: Any) -> None:
    """Put ``node`` round a node of the builder. It reads the whole state; the user's own gets what it asked for."""
    spec = builder.nodes[name]
    narrow, known = spec.input_schema, tuple(builder.schemas[spec.input_schema])

    def narrowed(state: Any) -> Any:
        if narrow is builder.state_schema:
            return state
        given = mapping_of(state)
        values = {key: given[key] for key in known if key in given}
        return values if is_typeddict(narrow) else narrow(**values)

    inner = spec.runnable
    node.inner, node.narrowed = inner, narrowed
    spec.runnable = _Guarded(node.run, afunc=node.arun, name=getattr(inner, "name", None))
    spec.input_schema = builder.state_schema


def lead_to_end(builder: Any, model: str, closed: str) -> None:
    """Let every way out of the model node lead to ``END`` while the channel ``closed`` says so, or an end shows."""
    for name, branch in builder.branches[model].items():
        ends = None if branch.ends is None else {**branch.ends, END: END}
        path = _unless_closed(branch.path, closed)
        builder.branches[model][name] = branch._replace(path=path, ends=ends, input_schema=builder.state_schema)
    for edge in [edge for edge in builder.edges if edge[0] == model and edge[1] != END]:
        builder.edges.discard(edge)
        builder.add_conditional_edges(model, _unless_closed(_Always(edge[1]), closed), [edge[1], END])


class _Guarded(RunnableLambda[Any, Any]):
    """A node that is guarded, so that nobody guards it twice."""


class _Always:
    """A way that was a plain edge."""

    def __init__(self, target: str) -> None:
        self.target, self.name = target, f"to_{target}"

    def invoke(self, _state: Any, _config: Any) -> str:
        """Return the target."""
        return self.target

    async def ainvoke(self, _state: Any, _config: Any) -> str:
        """Return the target."""
        return self.target


def _unless_closed(path: Any, closed: str) -> Any:
    def stops(state: Any) -> bool:
        return bool(read(state, END_KEY) or read(state, closed))

    def route(state: Any, config: RunnableConfig) -> Any:
        return END if stops(state) else path.invoke(state, config)

    async def aroute(state: Any, config: RunnableConfig) -> Any:
        return END if stops(state) else await path.ainvoke(state, config)

    return RunnableLambda(route, afunc=aroute, name=getattr(path, "name", None))
