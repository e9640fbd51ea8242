"""The state of a wrapped graph: all of it goes in and comes out, so that the graph round it can keep it between turns.

1. Every channel of every schema of the graph is kept, whichever schema names it; what LangGraph manages is not state.
2. A value that a reducer made goes in and comes out as an ``Overwrite``: reducing it once more would change it.
3. Messages come out as what happened to them, where the channel merges by id and their order allows it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, get_type_hints

from langchain_core.messages import AnyMessage, BaseMessage, RemoveMessage
from langchain_core.messages.utils import convert_to_messages
from langgraph.channels import BinaryOperatorAggregate, DeltaChannel, EphemeralValue, LastValue, UntrackedValue
from langgraph.channels.named_barrier_value import NamedBarrierValue
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Overwrite
from typing_extensions import TypedDict

from end_conversation_tool._doors.langgraph.channels import Heard, Told
from end_conversation_tool._doors.langgraph.messages import END_KEY, STATE_KEY
from end_conversation_tool.errors import InvalidInputError

__all__ = ["InnerGraph", "convert"]

_PRIVATE_PREFIX = "end_conversation_"
_REDUCING = (BinaryOperatorAggregate, DeltaChannel)
_KEPT = (*_REDUCING, LastValue, EphemeralValue, UntrackedValue, NamedBarrierValue)
"""Channels whose value can be handed from one graph to another; a ``Topic``, which appends, is none."""

_NODE = "agent"


@dataclass(frozen=True, slots=True)
class InnerGraph:
    """A wrapped graph, compiled anew so that its whole state goes in and comes out.

    Attributes:
        graph: The graph as it is run.
        hints: The type of each channel, as its schema states it.
        inputs: Channels that a caller may write.
        outputs: Channels that a caller sees.
        context_schema: Type of the run's context.
        node_name: Name for the one node round it, which no channel of the graph has.
    """

    graph: CompiledStateGraph[Any, Any, Any, Any]
    hints: Mapping[str, Any]
    inputs: frozenset[str]
    outputs: frozenset[str]
    context_schema: Any
    node_name: str

    @classmethod
    def of(cls, agent: Any) -> InnerGraph:
        """Open a graph for wrapping.

        Raises:
            InvalidInputError: It is no compiled state graph, has no ``messages``, or uses a name of this package.
        """
        if not isinstance(agent, CompiledStateGraph):
            raise InvalidInputError(
                f"agent: expected a compiled StateGraph, got {type(agent).__name__}. A graph that runs elsewhere, such "
                "as a RemoteGraph, cannot be guarded from here: guard it where it runs"
            )
        builder = agent.builder
        if "messages" not in builder.channels:
            raise InvalidInputError("agent: expected a graph with a 'messages' channel, got one without")
        for key, channel in builder.channels.items():
            if key == END_KEY or key.startswith(_PRIVATE_PREFIX):
                raise InvalidInputError(
                    f"agent: the channel {key!r} is one of this package: the graph is guarded already, or its own "
                    "channel needs another name. A graph takes one guard"
                )
            if not isinstance(channel, _KEPT):
                raise InvalidInputError(f"agent: the channel {key!r} is a {type(channel).__name__}, which is not kept")
        hints = _hints(builder)
        name = _NODE
        while name in hints:
            name += "_"
        return cls(
            graph=_opened(agent, hints),
            hints=hints,
            inputs=frozenset(builder.schemas[builder.input_schema]) & hints.keys(),
            outputs=frozenset(builder.schemas[builder.output_schema]) & hints.keys(),
            context_schema=builder.context_schema,
            node_name=name,
        )

    def state_schema(self) -> Any:
        """Return the type of the state round it: all channels, and ours."""
        ours = {
            STATE_KEY: NotRequired[Annotated[dict[str, Any], Heard]],
            END_KEY: NotRequired[Annotated[dict[str, Any] | None, Told]],
        }
        return TypedDict("GuardedState", {**self.hints, **ours}, total=False)  # type: ignore[operator]

    def input_schema(self) -> Any:
        """Return what a caller may put in: the graph's own input, and neither the provenance nor the end."""
        return TypedDict("GuardedInput", self._only(self.inputs), total=False)  # type: ignore[operator]

    def output_schema(self) -> Any:
        """Return what a caller sees: the graph's own output, and the end."""
        ours = {END_KEY: NotRequired[dict[str, Any] | None]}
        return TypedDict("GuardedOutput", {**self._only(self.outputs), **ours}, total=False)  # type: ignore[operator]

    def start(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the wrapped graph's input: the state as it stands."""
        return {key: self._whole(key, value) for key, value in state.items() if key in self.hints}

    def changes(self, state: Mapping[str, Any], values: Mapping[str, Any], messages: list[Any]) -> dict[str, Any]:
        """Return the update that makes ``state`` what the wrapped graph made of it.

        Args:
            state: As it was before.
            values: As the wrapped graph left it.
            messages: The messages to be kept in place of those in ``values``.
        """
        changed = {
            key: self._whole(key, value)
            for key, value in values.items()
            if key != "messages" and key in self.hints and (key not in state or state[key] is not value)
        }
        return {**changed, "messages": self.messages(list(state.get("messages") or ()), messages)}

    def messages(self, before: Sequence[Any], after: list[Any]) -> Any:
        """Return the update of ``messages`` that makes ``after`` of ``before``."""
        if getattr(self.graph.channels["messages"], "operator", None) is not add_messages:
            return self._whole("messages", after)
        present = {message.id for message in after}
        kept = [message.id for message in before if message.id in present]
        if kept != [message.id for message in after[: len(kept)]]:
            return self._whole("messages", after)
        known = {message.id: message for message in before}
        removed = [RemoveMessage(id=message.id) for message in before if message.id not in present]
        changed = [message for message in after if _differs(message, known.get(message.id))]
        return [*removed, *changed]

    def _whole(self, key: str, value: Any) -> Any:
        return Overwrite(value) if isinstance(self.graph.channels.get(key), _REDUCING) else value

    def _only(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: hint for key, hint in self.hints.items() if key in keys}


def convert(messages: Any) -> list[AnyMessage]:
    """Return messages as message objects with ids, for judging them.

    A graph may keep them as pairs or dicts, and without ids; then a message is known by its place.
    """
    said = list(messages or ())
    if not all(isinstance(message, BaseMessage) for message in said):
        said = convert_to_messages(said)
    return [
        message if message.id else message.model_copy(update={"id": f"message-{place}"})
        for place, message in enumerate(said)
    ]


def _differs(message: Any, before: Any) -> bool:
    return message is not before and message != before


def _hints(builder: Any) -> dict[str, Any]:
    """Return the type of each channel, from a schema that makes that very channel of it."""
    hints: dict[str, Any] = {}
    for schema, channels in builder.schemas.items():
        types = get_type_hints(schema, include_extras=True)
        for key, channel in channels.items():
            if key in types and key in builder.channels and (key not in hints or channel == builder.channels[key]):
                hints[key] = types[key]
    return hints


def _opened(agent: CompiledStateGraph[Any, Any, Any, Any], hints: Mapping[str, Any]) -> Any:
    builder = copy.copy(agent.builder)
    whole: Any = TypedDict("WholeState", {**hints}, total=False)  # type: ignore[misc]
    builder.schemas = {**builder.schemas, whole: {key: builder.channels[key] for key in hints}}
    builder.input_schema = builder.output_schema = whole
    inner = builder.compile(
        store=agent.store,
        cache=agent.cache,
        interrupt_before=_names(agent.interrupt_before_nodes),
        interrupt_after=_names(agent.interrupt_after_nodes),
        debug=agent.debug,
        name=agent.name,
    )
    inner.step_timeout, inner.retry_policy = agent.step_timeout, agent.retry_policy
    return inner.with_config(agent.config) if agent.config else inner


def _names(nodes: Any) -> Any:
    return nodes if isinstance(nodes, str) else list(nodes)
