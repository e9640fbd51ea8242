"""Events: what is told of decisions and refusals, to whom, and that whoever listens can fail no turn."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_core.callbacks import dispatch_custom_event
from langgraph.config import get_stream_writer

from end_conversation_tool._core.operations import CircuitBreaker
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import EvidenceKind, EvidenceRecord, Mode, Outcome, RiskKind, UnmetCode
from end_conversation_tool._core.run import RunContext
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError, RegistryError, ThreadSealedError
from end_conversation_tool.operations.sinks import checked_sinks
from end_conversation_tool.operations.telemetry import (
    LangChainEventSink,
    LangGraphStreamSink,
    LoggingSink,
    TelemetryEvent,
    appeal_event,
    noted_event,
    risk_event,
)
from end_conversation_tool.operations.telemetry_otel import OpenTelemetrySink
from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry
from end_conversation_tool.registry.protocol import ThreadEvent
from support.agents import INSULT, LADDER, Agent, ending
from support.keywords import DOUBT, QUICK, KeywordReader, keyword_watch
from support.records import permit
from support.registries import FlakyRegistry
from support.talk import REFUSE, Talk


class Listener:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []

    def emit(self, event: TelemetryEvent) -> None:
        self.events.append(event)

    async def aemit(self, event: TelemetryEvent) -> None:
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        return [event.name.removeprefix("end_conversation.") for event in self.events]


class Broken(Listener):
    """A sink that fails."""

    def emit(self, event: TelemetryEvent) -> None:
        raise ValueError(f"secret {event}")

    async def aemit(self, event: TelemetryEvent) -> None:
        self.emit(event)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def talk(request: pytest.FixtureRequest, listener: Listener) -> Talk:
    return Talk(FlakyRegistry(), asynchronous=request.param, options={"sinks": [listener]})


def test_an_ordinary_conversation_has_no_event(talk: Talk, listener: Listener) -> None:
    talk.says("hello")
    talk.replies_with("hello")
    assert listener.events == []


def test_a_decision_and_a_refusal_are_told_once_and_without_a_user_s_words(talk: Talk, listener: Listener) -> None:
    talk.climbs()
    ruling = talk.ends()
    with pytest.raises(ThreadSealedError):
        talk.says("are you there, secret")
    assert listener.names == ["sealed", "refusal"]
    decision, refusal = listener.events
    assert decision.as_dict() == {
        "event": "end_conversation.sealed", "id": ruling.record.id, "at": ruling.record.decided_at.isoformat(),
        "thread_id": "t", "decision_id": ruling.record.id, "branch": 0, "turn": 4, "category": "abuse",
        "verdict": "permit", "outcome": "sealed", "unmet": [], "risk_kinds": [], "mode": "enforce",
        "breaker_tripped": False, "policy_version": QUICK.version, "prompt_version": ruling.record.prompt_version,
        "model": None, "decided_by": "policy", "evidence": len(ruling.record.decision.evidence),
    }  # fmt: skip
    assert (refusal.thread_id, refusal.fields) == ("t", {"cause": "ThreadSealedError"})
    text = json.dumps([event.as_dict() for event in listener.events])
    assert "idiot" not in text
    assert "why" not in text
    assert "secret" not in text


def test_a_denial_is_told_with_its_conditions(talk: Talk, listener: Listener) -> None:
    talk.says("you idiot")
    talk.ends()
    (event,) = listener.events
    assert (event.name, event.fields["outcome"]) == ("end_conversation.decision", "denied")
    assert "too_few_refusals" in event.fields["unmet"]


@pytest.mark.parametrize(("words", "flagged"), [(DOUBT, []), ("i want to kill myself", ["risk_flagged"])])
def test_a_denial_for_risk_has_a_name_of_its_own(
    talk: Talk, listener: Listener, words: str, flagged: list[str]
) -> None:
    for _ in range(3):
        talk.says("you idiot")
        talk.replies_with(REFUSE)
    talk.says(words)
    talk.ends()
    assert listener.names == [*flagged, "denied_for_risk"]


def test_a_notice_has_a_name_of_its_own(talk: Talk, listener: Listener) -> None:
    talk.policy = EndConversationPolicy()
    talk.climbs()
    talk.ends()
    talk.says("you idiot")
    talk.ends()
    assert listener.names == ["notice_given", "sealed"]


def test_what_shadow_mode_would_have_done_is_no_notice_and_no_seal(talk: Talk, listener: Listener) -> None:
    talk.policy = EndConversationPolicy(mode=Mode.SHADOW)
    talk.climbs()
    talk.ends()
    talk.says("you idiot")
    talk.ends()
    assert listener.names == ["decision", "decision"]
    assert [event.fields["outcome"] for event in listener.events] == ["would_have_noticed", "would_have_sealed"]


def test_events_have_ids_that_tell_them_apart(talk: Talk, listener: Listener) -> None:
    talk.says("you idiot")
    rulings = [talk.ends()]
    talk.climbs()
    rulings.append(talk.ends())
    with pytest.raises(ThreadSealedError):
        talk.says("hello")
    assert [event.id for event in listener.events[:2]] == [ruling.record.id for ruling in rulings]
    assert len({event.id for event in listener.events}) == 3


def test_a_flag_a_violation_and_an_appeal_are_told_without_words() -> None:
    registry = InMemorySealRegistry()
    registry.seal(permit("t"))
    appeal = appeal_event(registry.open_appeal("t", text="secret"))
    assert (appeal.name, appeal.thread_id, appeal.fields) == ("end_conversation.appealed", "t", {"status": "open"})
    flag = risk_event("t", RiskKind.SELF_HARM, "keywords/1", "u1", appeal.at)
    assert flag.name == "end_conversation.risk_flagged"
    assert flag.fields == {"cause": "self_harm", "source": "keywords/1", "message_id": "u1"}
    evidence = EvidenceRecord(kind=EvidenceKind.WARNING, turn=1, message_id="a1", source="keywords/1")
    kind = EventKind.VIOLATION
    noted = ThreadEvent(
        thread_id="t", kind=kind, at=appeal.at, branch=0, sequence=1, subject="warning", evidence=evidence
    )
    event = noted_event(noted)
    assert (event.name, event.fields["cause"], event.fields["message_id"]) == (
        "end_conversation.violation", "warning", "a1",
    )  # fmt: skip


def test_an_unreadable_registry_is_a_refusal(talk: Talk, listener: Listener) -> None:
    assert isinstance(talk.registry, FlakyRegistry)
    talk.registry.failing.add("status")
    with pytest.raises(RegistryError):
        talk.says("hello")
    assert [event.fields for event in listener.events] == [{"cause": "RegistryError"}]


def test_a_sink_that_fails_fails_nothing_and_others_are_still_told(
    talk: Talk, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    talk.options = {"sinks": [Broken(), listener]}
    talk.climbs()
    assert talk.ends().seal is not None
    assert listener.names == ["sealed"]
    assert "a sink failed, the event is lost to it: Broken: ValueError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("sinks", [5, "log", [None], [object()], {}.keys()])
def test_what_is_no_sink_is_refused(sinks: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^sinks: expected"):
        checked_sinks(sinks)
    with pytest.raises(InvalidInputError, match=r"^sinks: expected"):
        Gate(policy=QUICK, registry=InMemorySealRegistry(), reader=KeywordReader(), watch=keyword_watch(), sinks=sinks)


# The circuit breaker behind the gate


def breaking(registry: SealRegistry, thread: str, listener: Listener, *, twin: bool) -> Talk:
    talk = Talk(registry, asynchronous=twin, context=RunContext(thread))
    talk.options = {"sinks": [listener], "breaker": CircuitBreaker(max_ends_per_hour=1)}
    return talk


@pytest.mark.parametrize("twin", [False, True])
def test_above_the_limit_nothing_is_ended_an_alarm_is_raised_and_every_decision_says_so(
    listener: Listener, *, twin: bool
) -> None:
    registry = InMemorySealRegistry()
    rulings = []
    for number in range(3):
        talk = breaking(registry, f"t{number}", listener, twin=twin)
        talk.climbs()
        rulings.append(talk.ends())
    early = breaking(registry, "early", listener, twin=twin)
    early.says("you idiot")
    denied = early.ends()
    assert [ruling.record.outcome for ruling in (*rulings, denied)] == [
        Outcome.SEALED, Outcome.WOULD_HAVE_SEALED, Outcome.WOULD_HAVE_SEALED, Outcome.DENIED,
    ]  # fmt: skip
    assert [ruling.record.breaker_tripped for ruling in (*rulings, denied)] == [False, True, True, True]
    assert {ruling.record.mode for ruling in (*rulings[1:], denied)} == {Mode.SHADOW}
    assert [kept.breaker_tripped for kept in registry.decisions("t2")] == [True]
    assert listener.names == ["sealed", "decision", "alarm", "decision", "decision"]
    registry.reset_breaker(operator="Kim", reason="looked")
    talk = breaking(registry, "after", listener, twin=twin)
    talk.climbs()
    assert talk.ends().record.outcome is Outcome.SEALED


def test_a_breaker_that_cannot_be_read_ends_nothing(listener: Listener) -> None:
    registry = InMemorySealRegistry()

    def broken(*_: Any, **__: Any) -> Any:
        raise RegistryError("out of order")

    registry.breaker = registry.seal_within = broken  # type: ignore[method-assign]
    talk = breaking(registry, "t", listener, twin=False)
    talk.climbs()
    ruling = talk.ends()
    assert ruling.record.decision.unmet == (UnmetCode.REGISTRY_UNAVAILABLE,)
    assert not registry.status("t").sealed


@pytest.mark.parametrize(
    "limits", [{}, {"max_ends_per_hour": -1}, {"max_ends_per_hour": "x"}, {"max_ends_per_hour": 1, "least_threads": 0}]
)
def test_limits_that_are_none_are_refused(limits: Any) -> None:
    with pytest.raises(InvalidInputError):
        CircuitBreaker(**limits)


def test_the_host_gives_the_number_of_threads_and_may_fail_to() -> None:
    assert CircuitBreaker(max_ends_per_10_000_threads=5, active_threads=lambda: 7).limits().threads == 7
    assert CircuitBreaker(max_ends_per_10_000_threads=5, active_threads=lambda: 1 // 0).limits().threads is None
    assert CircuitBreaker(max_ends_per_hour=5, active_threads=lambda: 7).limits().threads is None


# The sinks of this package


def test_logging_is_structured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    talk = Talk(InMemorySealRegistry())
    talk.options = {"sinks": [LoggingSink()]}
    talk.climbs()
    talk.ends()
    (line,) = [record for record in caplog.records if record.name == "end_conversation_tool.events"]
    assert line.getMessage() == "end_conversation.sealed sealed"
    assert line.levelno == logging.INFO
    assert line.__dict__["end_conversation"]["outcome"] == "sealed"


@pytest.mark.parametrize(
    ("sink", "there_is_no_run"),
    [
        (LangGraphStreamSink(), get_stream_writer),
        (LangChainEventSink(), partial(dispatch_custom_event, "name", {})),
    ],
)
async def test_outside_of_a_run_nothing_is_streamed_and_nothing_fails(
    sink: Any, there_is_no_run: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    with pytest.raises((RuntimeError, KeyError)):
        there_is_no_run()
    event = TelemetryEvent("end_conversation.refusal", datetime(2026, 1, 1, tzinfo=UTC), "t", {"cause": "x"})
    sink.emit(event)
    await sink.aemit(event)
    assert caplog.records == []


def climbing(**options: Any) -> Agent:
    return Agent([*LADDER, ending()], policy=QUICK, **options)


@pytest.mark.parametrize("twin", [False, True])
async def test_a_run_streams_its_decision(*, twin: bool) -> None:
    agent = climbing()
    given: Any = {"messages": [("user", INSULT)]}
    where: Any = {"configurable": {"thread_id": "t"}}
    chunks: list[Any] = []
    for _ in range(4):
        if twin:
            chunks += [chunk async for chunk in agent.graph.astream(given, where, stream_mode="custom")]
        else:
            chunks += list(agent.graph.stream(given, where, stream_mode="custom"))
    (chunk,) = chunks
    assert chunk["end_conversation"]["outcome"] == "sealed"


async def test_astream_events_shows_the_decision() -> None:
    agent = climbing()
    found = []
    for _ in range(4):
        stream = agent.graph.astream_events(
            {"messages": [("user", INSULT)]}, {"configurable": {"thread_id": "t"}}, version="v2"
        )
        found += [event async for event in stream if event["event"] == "on_custom_event"]
    (event,) = found
    assert event["name"] == "end_conversation.sealed"
    assert event["data"]["outcome"] == "sealed"


def test_opentelemetry_gets_an_evaluation_counters_and_a_histogram() -> None:
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

    exported: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    reader = InMemoryMetricReader()
    logs, meters = LoggerProvider(), MeterProvider(metric_readers=[reader])
    logs.add_log_record_processor(SimpleLogRecordProcessor(exported))
    talk = Talk(InMemorySealRegistry())
    talk.options = {"sinks": [OpenTelemetrySink(meter_provider=meters, logger_provider=logs)]}
    talk.says("you idiot")
    talk.ends()
    talk.state = None
    talk.climbs()
    talk.ends()
    with pytest.raises(ThreadSealedError):
        talk.says("hello")
    denied, sealed, refused = [item.log_record for item in exported.get_finished_logs()]
    assert [record.event_name for record in (denied, sealed, refused)] == [
        "gen_ai.evaluation.result", "gen_ai.evaluation.result", "end_conversation.refusal",
    ]  # fmt: skip
    assert dict(sealed.attributes or {}).items() >= {
        "gen_ai.conversation.id": "t", "gen_ai.evaluation.name": "end_conversation",
        "gen_ai.evaluation.score.label": "sealed", "gen_ai.evaluation.score.value": 1.0,
    }.items()  # fmt: skip
    assert "too_few_refusals" in str((denied.attributes or {})["gen_ai.evaluation.explanation"])
    data: Any = reader.get_metrics_data()
    metrics = {metric.name: metric.data.data_points for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert sum(point.value for point in metrics["end_conversation.decisions"]) == 2
    assert sum(point.value for point in metrics["end_conversation.refusals"]) == 1
    (turns,) = metrics["end_conversation.turns_to_end"]
    assert (turns.count, turns.sum) == (1, 4)
    conditions = {point.attributes["end_conversation.condition"] for point in metrics["end_conversation.denials"]}
    assert "too_few_refusals" in conditions
    assert not any("t" in point.attributes.values() for points in metrics.values() for point in points)
    logs.shutdown()
    meters.shutdown()


def test_opentelemetry_hears_of_a_flag_and_an_appeal() -> None:
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor  # noqa: PLC0415

    exported: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    logs, registry = LoggerProvider(), InMemorySealRegistry()
    logs.add_log_record_processor(SimpleLogRecordProcessor(exported))
    sink = OpenTelemetrySink(logger_provider=logs)
    talk = Talk(registry)
    talk.options = {"sinks": [sink]}
    talk.says("i want to kill myself")
    registry.seal(permit("u"))
    sink.emit(appeal_event(registry.open_appeal("u", text="secret")))
    found = [item.log_record for item in exported.get_finished_logs()]
    assert [(record.event_name, dict(record.attributes)["gen_ai.conversation.id"]) for record in found] == [
        ("end_conversation.risk_flagged", "t"), ("end_conversation.appealed", "u"),
    ]  # fmt: skip
    assert "secret" not in str([record.attributes for record in found])
    logs.shutdown()


def test_without_opentelemetry_its_sink_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)
    talk = Talk(InMemorySealRegistry())
    talk.options = {"sinks": [OpenTelemetrySink()]}
    talk.climbs()
    assert talk.ends().seal is not None
