"""Events for OpenTelemetry, where its API is installed (extra ``[otel]``); without it this sink does nothing.

A decision is an evaluation of what the model asked for, so it goes out as the event ``gen_ai.evaluation.result`` of the
semantic conventions for generative AI, through the logs API, on the span that is current. What those conventions have
no name for begins with ``end_conversation.``.

=====================================  =========  ======================================================
instrument                             kind       attributes
=====================================  =========  ======================================================
``end_conversation.decisions``         counter    outcome, category, mode, policy version, model
``end_conversation.denials``           counter    unmet condition (one count for each), policy version
``end_conversation.refusals``          counter    cause
``end_conversation.alarms``            counter    cause
``end_conversation.turns_to_end``      histogram  outcome, category, policy version; in user turns
=====================================  =========  ======================================================

The thread's id is never an attribute of a metric: there are as many as there are threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from end_conversation_tool.operations.telemetry import EVENT_PREFIX, TelemetryEvent

__all__ = ["OpenTelemetrySink"]

_SCOPE = "end_conversation_tool"
_CONVERSATION_ID = "gen_ai.conversation.id"
_ENDS = {"sealed", "would_have_sealed"}


class OpenTelemetrySink:
    """Emits events, counters and a histogram.

    Args:
        meter_provider: An OpenTelemetry ``MeterProvider``; ``None`` for the global one.
        logger_provider: An OpenTelemetry ``LoggerProvider``; ``None`` for the global one.
    """

    def __init__(self, *, meter_provider: Any = None, logger_provider: Any = None) -> None:
        self._providers = meter_provider, logger_provider
        self._instruments: _Instruments | None = None
        self._absent = False

    def emit(self, event: TelemetryEvent) -> None:
        """Take an event."""
        if self._instruments is None and not self._absent:
            self._connect()
        if self._instruments is not None:
            self._instruments.record(event)

    async def aemit(self, event: TelemetryEvent) -> None:
        """Async twin of ``emit``."""
        self.emit(event)

    def _connect(self) -> None:
        """Import OpenTelemetry with the first event: an ordinary program does not pay for it."""
        try:
            self._instruments = _Instruments(*self._providers)
        except ImportError:
            self._absent = True


class _Instruments:
    def __init__(self, meter_provider: Any, logger_provider: Any) -> None:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra
        from opentelemetry._logs import LogRecord, SeverityNumber, get_logger  # noqa: PLC0415 - an extra

        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._decisions = meter.create_counter("end_conversation.decisions", "{decision}", "Calls of the tool.")
        self._denials = meter.create_counter("end_conversation.denials", "{condition}", "Conditions that did not hold.")
        self._refusals = meter.create_counter("end_conversation.refusals", "{run}", "Runs that were not let in.")
        self._alarms = meter.create_counter("end_conversation.alarms", "{alarm}", "Alarms, violations, risk flags.")
        self._turns = meter.create_histogram("end_conversation.turns_to_end", "{turn}", "User turns until an end.")
        self._logger = get_logger(_SCOPE, logger_provider=logger_provider)
        self._log_record, self._info, self._warn = LogRecord, SeverityNumber.INFO, SeverityNumber.WARN
        self._current_span = trace.get_current_span

    def record(self, event: TelemetryEvent) -> None:
        """Record an event."""
        kind = event.name.removeprefix(f"{EVENT_PREFIX}.")
        if event.thread_id is not None:
            self._current_span().set_attribute(_CONVERSATION_ID, event.thread_id)
        if "outcome" in event.fields:
            self._decision(event)
        elif kind == "refusal":
            self._refusals.add(1, _present({"cause": event.fields.get("cause")}))
            self._log(event, event.name, {})
        elif kind == "appealed":
            self._log(event, event.name, {})
        else:
            self._alarms.add(1, _present({"cause": kind}))
            self._log(event, event.name, {}, warn=True)

    def _decision(self, event: TelemetryEvent) -> None:
        fields = event.fields
        policy = {"policy_version": fields["policy_version"]}
        shared = {"outcome": fields["outcome"], "category": fields["category"], **policy}
        self._decisions.add(1, _present({**shared, "mode": fields["mode"], "model": fields["model"]}))
        for code in fields["unmet"]:
            self._denials.add(1, _present({"condition": code, **policy}))
        if fields["outcome"] in _ENDS:
            self._turns.record(fields["turn"], _present(shared))
        evaluation = {
            "gen_ai.evaluation.name": "end_conversation",
            "gen_ai.evaluation.score.label": fields["outcome"],
            "gen_ai.evaluation.score.value": 1.0 if fields["verdict"] == "permit" else 0.0,
            "gen_ai.evaluation.explanation": ", ".join(fields["unmet"]) or None,
        }
        self._log(event, "gen_ai.evaluation.result", evaluation)

    def _log(self, event: TelemetryEvent, name: str, more: Mapping[str, Any], *, warn: bool = False) -> None:
        attributes = {**_present(event.fields), **{key: value for key, value in more.items() if value is not None}}
        if event.thread_id is not None:
            attributes[_CONVERSATION_ID] = event.thread_id
        record = self._log_record(
            timestamp=int(event.at.timestamp() * 1e9),
            severity_number=self._warn if warn else self._info,
            attributes=attributes,
            event_name=name,
        )
        self._logger.emit(record)


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value, under names of this package."""
    return {f"{EVENT_PREFIX}.{name}": value for name, value in fields.items() if value is not None}
