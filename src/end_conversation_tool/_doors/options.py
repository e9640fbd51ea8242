"""The options that every door hands on to the gate as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from end_conversation_tool._core.breaker import CircuitBreaker
from end_conversation_tool._core.statements import Statements
from end_conversation_tool.operations.telemetry import Sink

__all__ = ["GateOptions"]


class GateOptions(TypedDict, total=False):
    """What a door takes besides: all optional.

    Attributes:
        language: The language of the statement to the user, ``en`` by default; or texts of your own, by category or
            made by a function.
        keep_reasons: Whether the model's reason, which may quote the user, is kept; ``True`` by default.
        sinks: Who is told of decisions, refusals, alarms and violations; see ``telemetry``.
        breaker: Turns enforcement into shadow mode when too many conversations end; ``None`` for none.
        count_threads: Share of the threads, 0 to 1, that are counted when they begin; 0 by default.
    """

    language: Statements
    keep_reasons: bool
    sinks: Sequence[Sink] | None
    breaker: CircuitBreaker | None
    count_threads: float
