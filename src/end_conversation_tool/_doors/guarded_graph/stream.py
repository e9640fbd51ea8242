"""A guarded graph streams as the graph inside it does.

LangGraph shows what happens inside a node only with ``subgraphs=True``. A caller who wraps a graph should not have to
change how they read its stream, so the events of the graph inside are shown as the guarded graph's own. With
``subgraphs=True`` nothing is changed: the wrapped graph is seen where it is, inside the node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Self

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import GraphOutput

from end_conversation_tool._doors.langgraph.messages import END_KEY, STATE_KEY

__all__ = ["INTERRUPTS_KEY", "GuardedGraph", "Inside"]

INTERRUPTS_KEY = "__pregel_end_conversation_interrupts"
"""Key in ``configurable`` of the ``interrupt_before`` and ``interrupt_after`` of a run: they name nodes inside."""

_INTERRUPT = "__interrupt__"

_INSIDE_KEY = "__pregel_end_conversation_inside"
_UNSEEN = "end_conversation_unseen"


class Inside:
    """What the node round the wrapped graph tells whoever shows the run to its caller.

    Attributes:
        values: The state after its last step; empty before the first, and once the wrapped graph is done.
        added: The messages that the node itself has added at the end, which the wrapped graph does not show.
        node: The node that it belongs to, once that has begun.
    """

    def __init__(self) -> None:
        self.values: Mapping[str, Any] = {}
        self.added: list[Any] = []
        self.node: object = None

    @classmethod
    def of(cls, config: Any, node: object) -> Inside:
        """Return the one that a config holds for this node; a guarded graph deep inside has none, or one of its own."""
        held = config.get("configurable", {}).get(_INSIDE_KEY)
        found = held if isinstance(held, cls) and held.node in (None, node) else cls()
        found.node = node
        return found

    def after_step(self, values: Mapping[str, Any]) -> None:
        """Keep the state after a step; an interrupt is shown as a state without channels, and is none."""
        if _INTERRUPT not in values:
            self.values = values

    def hold(self, config: Any) -> Any:
        """Return a config that holds this one."""
        return {**(config or {}), "configurable": {**(config or {}).get("configurable", {}), _INSIDE_KEY: self}}

    def result(self, found: Any, outputs: str | Sequence[str] | None) -> Any:
        """Return what ``invoke`` returned, with the state inside where the run was interrupted.

        Args:
            found: What it returned.
            outputs: Channels that the caller wants to see.
        """
        if isinstance(found, GraphOutput):
            return GraphOutput(value=self._merged(found.value, outputs), interrupts=found.interrupts)
        return self._merged(found, outputs)

    def _merged(self, found: Any, outputs: str | Sequence[str] | None) -> Any:
        state = _without_ours(found) if isinstance(found, Mapping) else found
        if not self.values or isinstance(outputs, str):  # of one channel, LangGraph shows nothing at an interrupt
            return state
        return {**(state or {}), **_wanted(self.values, outputs)}


class GuardedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose own node is not seen in its stream; see ``create_guarded_graph``."""

    @classmethod
    def of(cls, compiled: CompiledStateGraph[Any, Any, Any, Any]) -> Self:
        """Return a compiled graph as one of this class; only how it streams differs."""
        return cls(**{name: value for name, value in vars(compiled).items() if name != "__orig_class__"})

    def invoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:  # noqa: A002 - as the base class
        """Return what the graph inside would; see ``Pregel.invoke``.

        Who sees only the result needs no stream of the graph inside, which costs LangGraph a thread.
        """
        run: Any = super().invoke
        if self._is_seen(options):
            return run(input, config, **options)
        inside, outputs = Inside(), options.get("output_keys") or self.output_channels
        return inside.result(run(input, inside.hold(config), **{_UNSEEN: True}, **options), outputs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:  # noqa: A002 - as the base class
        """Async twin of ``invoke``."""
        run: Any = super().ainvoke
        if self._is_seen(options):
            return await run(input, config, **options)
        inside, outputs = Inside(), options.get("output_keys") or self.output_channels
        return inside.result(await run(input, inside.hold(config), **{_UNSEEN: True}, **options), outputs)

    def stream(
        self,
        input: Any,  # noqa: A002 - the base class calls it so
        config: RunnableConfig | None = None,
        *,
        stream_mode: Any = None,
        subgraphs: Any = False,
        **options: Any,
    ) -> Iterator[Any]:
        """Stream as the graph inside would; see ``Pregel.stream``."""
        config, options = _interrupts_inside(config, options)
        if options.pop(_UNSEEN, False) or subgraphs:
            yield from super().stream(input, config, stream_mode=stream_mode, subgraphs=subgraphs, **options)
            return
        inside, modes = Inside(), self._modes(stream_mode)
        flat = _Flat(options.get("output_keys"), inside, single=self._single(stream_mode))
        held: Any = inside.hold(config)
        for part in super().stream(input, held, stream_mode=modes, subgraphs=True, **options):
            yield from flat.shown(part)
        yield from flat.rest()

    async def astream(
        self,
        input: Any,  # noqa: A002 - the base class calls it so
        config: RunnableConfig | None = None,
        *,
        stream_mode: Any = None,
        subgraphs: Any = False,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """Async twin of ``stream``."""
        config, options = _interrupts_inside(config, options)
        if options.pop(_UNSEEN, False) or subgraphs:
            async for part in super().astream(input, config, stream_mode=stream_mode, subgraphs=subgraphs, **options):
                yield part
            return
        inside, modes = Inside(), self._modes(stream_mode)
        flat = _Flat(options.get("output_keys"), inside, single=self._single(stream_mode))
        held: Any = inside.hold(config)
        async for part in super().astream(input, held, stream_mode=modes, subgraphs=True, **options):
            for shown in flat.shown(part):
                yield shown
        for shown in flat.rest():
            yield shown

    def _is_seen(self, options: Mapping[str, Any]) -> bool:
        """Whether more is to be seen than the node hears of.

        That is a stream, or the state at which ``interrupt_before`` and ``interrupt_after`` stop the graph inside:
        LangGraph stops before it hands that state on.
        """
        asked = any(options.get(name) for name in ("print_mode", "subgraphs", "interrupt_before", "interrupt_after"))
        inside: Any = [graph for node in self.nodes.values() for graph in node.subgraphs or ()]
        stops = any(graph.interrupt_before_nodes or graph.interrupt_after_nodes for graph in inside)
        return asked or stops or options.get("stream_mode", "values") != "values"

    def _modes(self, stream_mode: Any) -> Any:
        wanted = self.stream_mode if stream_mode is None else stream_mode
        return [wanted] if isinstance(wanted, str) else list(wanted)

    def _single(self, stream_mode: Any) -> bool:
        return isinstance(self.stream_mode if stream_mode is None else stream_mode, str)


class _Flat:
    """One stream: what a caller sees of each event.

    The node's own events repeat what was seen inside, but for an end, a notice, an interrupt, and a run that was not
    let in.

    Args:
        outputs: Channels that the caller wants to see; ``None`` for all but ours.
        told: What the node tells.
        single: Whether one mode was asked for, so that events come without its name.
    """

    def __init__(self, outputs: str | Sequence[str] | None, told: Inside, *, single: bool) -> None:
        self._outputs, self._told, self._single = outputs, told, single
        self._speaker: Any = None
        self._inside: Any = None
        self._held: list[Any] = []

    def shown(self, part: Any) -> Iterator[Any]:
        """Yield what is seen of one event."""
        if isinstance(part, Mapping):  # version "v2"
            data = self._seen(part["ns"], part["type"], part["data"], part.get("interrupts", ()))
            event: Any = {**part, "ns": (), "data": data}
            held = not part["ns"] and part["type"] == "values"
        else:
            namespace, mode, payload = part
            data = self._seen(namespace, mode, payload, ())
            event = data if self._single else (mode, data)
            held = not namespace and mode == "values"
        if data is None:
            return
        if held and self._inside is None:
            self._held = [event]
        else:
            yield event

    def rest(self) -> Iterator[Any]:
        """Yield the state that was held back because the wrapped graph shows it too; it did not."""
        held, self._held = self._held, []
        yield from held

    def _seen(self, namespace: Sequence[str], mode: str, payload: Any, interrupts: Any) -> Any:
        """Return the event as the wrapped graph would have shown it; ``None`` hides it."""
        if len(namespace) > 1:
            return None
        if not namespace:
            return self._own(mode, payload, interrupts)
        if mode == "updates":
            return None if _INTERRUPT in payload else payload
        if mode == "messages" and isinstance(payload[0], AIMessage):
            self._speaker = payload[1].get("langgraph_node")
        if mode != "values" or not isinstance(payload, Mapping):
            return payload
        if _INTERRUPT in payload or interrupts:
            return None
        self._inside = _wanted(payload, self._outputs)
        self._held = []
        return self._inside

    def _own(self, mode: str, payload: Any, interrupts: Any) -> Any:
        if mode == "updates":
            return payload if _INTERRUPT in payload else self._changed(payload)
        if mode == "messages":
            # The last word stands beside the reply that it follows, wherever a caller looks for that.
            message, metadata = payload
            return message, {**metadata, "langgraph_node": self._speaker or metadata.get("langgraph_node")}
        if mode != "values":
            return payload if mode == "custom" else None
        return self._state(payload, interrupts)

    def _changed(self, payload: Mapping[str, Any]) -> Any:
        """Return what the node itself has added to an update of the wrapped graph; ``None`` for nothing."""
        added = {"messages": self._told.added} if self._told.added else {}
        ours = ((node, added | _end_in(update)) for node, update in payload.items())
        return {node: update for node, update in ours if update} or None

    def _state(self, payload: Any, interrupts: Any) -> Any:
        if not isinstance(payload, Mapping):
            return None if payload == self._inside else payload
        state = _without_ours(payload)
        if interrupts or _INTERRUPT in payload:
            return {**state, **(self._inside or {})}
        return None if state == self._inside else state


def _end_in(update: Any) -> dict[str, Any]:
    return {END_KEY: update[END_KEY]} if update and END_KEY in update else {}


def _wanted(state: Mapping[str, Any], outputs: str | Sequence[str] | None) -> Any:
    if isinstance(outputs, str):
        return state.get(outputs)
    return {key: value for key, value in state.items() if outputs is None or key in outputs}


def _without_ours(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != STATE_KEY}


def _interrupts_inside(config: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Hand the nodes to interrupt at to the graph inside, which has them."""
    names = {name: options.pop(name, None) for name in ("interrupt_before", "interrupt_after")}
    if not any(names.values()):
        return config, options
    config = dict(config or {})
    config["configurable"] = {**config.get("configurable", {}), INTERRUPTS_KEY: names}
    return config, options
