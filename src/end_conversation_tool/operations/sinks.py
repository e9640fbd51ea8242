"""Which sinks a door uses."""

from __future__ import annotations

from collections.abc import Sequence

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.telemetry import LangChainEventSink, LangGraphStreamSink, LoggingSink, Sink
from end_conversation_tool.operations.telemetry_otel import OpenTelemetrySink

__all__ = ["checked_sinks", "default_sinks"]


def default_sinks() -> tuple[Sink, ...]:
    """Return the sinks of a door that is given none: logging, the run's stream and events, OpenTelemetry."""
    return LoggingSink(), LangGraphStreamSink(), LangChainEventSink(), OpenTelemetrySink()


def checked_sinks(sinks: Sequence[Sink] | None) -> tuple[Sink, ...]:
    """Return the sinks, the default ones for ``None``.

    Raises:
        InvalidInputError: One of them is no sink.
    """
    if sinks is None:
        return default_sinks()
    if not isinstance(sinks, Sequence):
        raise InvalidInputError(f"sinks: expected a sequence of sinks, got {type(sinks).__name__}")
    for sink in sinks:
        if not isinstance(sink, Sink):
            raise InvalidInputError(f"sinks: expected objects with emit and aemit, got {type(sink).__name__}")
    return tuple(sinks)
