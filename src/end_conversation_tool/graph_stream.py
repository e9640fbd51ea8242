"""A guarded graph streams as the graph inside it does.

LangGraph shows what happens inside a node only with ``subgraphs=True``. A caller who wraps a graph should not have to
change how they read its stream, so the events of the graph inside are shown as the guarded graph's own. With
``subgraphs=True`` nothing is changed: the wrapped graph is seen where it is, inside the node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from end_conversation_tool.messages import END_KEY

__all__ = ["GuardedGraph"]

_INTERRUPT = "__interrupt__"


class GuardedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose own node is not seen in its stream; see ``create_guarded_graph``."""

    inner_outputs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, compiled: CompiledStateGraph[Any, Any, Any, Any], *, inner_outputs: frozenset[str]) -> Self:
        """Make a compiled graph one of this class; only how it streams differs."""
        compiled.__class__ = cls
        if not isinstance(compiled, cls):
            raise TypeError("a compiled graph that cannot be made a GuardedGraph")
        compiled.inner_outputs = inner_outputs
        return compiled

    def stream(
        self,
        input: Any,  # noqa: A002 - the base class calls it so
        config: RunnableConfig | None = None,
        *,
        stream_mode: Any = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Stream as the graph inside would; see ``Pregel.stream``."""
        if options.get("subgraphs"):
            yield from super().stream(input, config, stream_mode=stream_mode, **options)
            return
        options["subgraphs"] = True
        for part in super().stream(input, config, stream_mode=self._modes(stream_mode), **options):
            yield from self._flat(part, stream_mode)

    async def astream(
        self,
        input: Any,  # noqa: A002 - the base class calls it so
        config: RunnableConfig | None = None,
        *,
        stream_mode: Any = None,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """Async twin of ``stream``."""
        if options.get("subgraphs"):
            async for part in super().astream(input, config, stream_mode=stream_mode, **options):
                yield part
            return
        options["subgraphs"] = True
        async for part in super().astream(input, config, stream_mode=self._modes(stream_mode), **options):
            for shown in self._flat(part, stream_mode):
                yield shown

    def _modes(self, stream_mode: Any) -> Any:
        wanted = self.stream_mode if stream_mode is None else stream_mode
        return [wanted] if isinstance(wanted, str) else list(wanted)

    def _flat(self, part: Any, stream_mode: Any) -> Iterator[Any]:
        """Yield what a caller sees of one event."""
        if isinstance(part, Mapping):  # version "v2"
            data = self._seen(part["ns"], part["type"], part["data"])
            if data is not None:
                yield {**part, "ns": (), "data": data}
            return
        namespace, mode, payload = part
        data = self._seen(namespace, mode, payload)
        if data is not None:
            single = isinstance(stream_mode, str) or stream_mode is None
            yield data if single and not isinstance(self.stream_mode, list) else (mode, data)

    def _seen(self, namespace: Sequence[str], mode: str, payload: Any) -> Any:
        """Return the event as the wrapped graph would have shown it; ``None`` hides it.

        The node's own update is a repetition of what was seen inside, but for an end and for an interrupt.
        """
        if len(namespace) > 1:
            return None
        if not namespace:
            return self._own(mode, payload)
        if mode == "updates":
            return None if _INTERRUPT in payload else payload
        if mode == "values" and isinstance(payload, Mapping):
            return {key: value for key, value in payload.items() if key in self.inner_outputs}
        return payload

    @staticmethod
    def _own(mode: str, payload: Any) -> Any:
        if mode == "updates":
            if _INTERRUPT in payload:
                return payload
            ends = {node: {END_KEY: update[END_KEY]} for node, update in payload.items() if END_KEY in (update or {})}
            return ends or None
        return payload if mode in ("values", "custom", "messages") else None
