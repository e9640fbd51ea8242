"""A simulated week: every number of the report, counted again from the raw decisions and events, in another way."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from end_conversation_tool.operations.report import Figures, Report, abuild_report, build_report
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from support.postgres import fresh_database
from support.week import START, Week, simulate

UNTIL = START + timedelta(days=7)
HALF = START + timedelta(days=3)
COUNT = int(os.environ.get("END_CONVERSATION_WEEK_THREADS", "1500"))
"""Threads of the week. With 20,000 of them the tests hold too, and take some minutes on SQLite (``-k sqlite``)."""


@pytest.fixture(scope="module", params=["memory", "sqlite", "postgres"])
def simulated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[InMemorySealRegistry | SqlSealRegistry, Week]]:
    if request.param == "memory":
        registry = InMemorySealRegistry()
        yield registry, simulate(registry, COUNT)
        return
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("week")
        with SqlSealRegistry(f"sqlite:///{folder}/week.db") as opened:
            yield opened, simulate(opened, COUNT)
        return
    with fresh_database(request.getfixturevalue("postgres")) as url, SqlSealRegistry(url) as opened:
        yield opened, simulate(opened, COUNT)


def counted(values: list[Any]) -> dict[Any, int]:
    """Count in the plainest way there is."""
    return {value: values.count(value) for value in set(values)}


class Raw:
    """The raw records of every thread, read once, each thread by itself."""

    def __init__(self, registry: Any, week: Week) -> None:
        self._decisions = {thread: registry.decisions(thread) for thread in week.threads}
        self._events = {thread: registry.history(thread) for thread in week.threads}

    def decisions(self, thread: str) -> Any:
        return self._decisions[thread]

    def history(self, thread: str) -> Any:
        return self._events[thread]


def recomputed(registry: Raw, week: Week, since: datetime, until: datetime, only: Any = None) -> dict[str, Any]:
    """Count everything anew, from each thread's own list of decisions and events."""
    decisions, events, began = [], [], 0
    for thread, origin in week.threads.items():
        mine = [d for d in registry.decisions(thread) if since <= d.decided_at < until]
        decisions += [d for d in mine if only in {None, (d.decision.policy_version, d.model)}]
        past = [e for e in registry.history(thread) if since <= e.at < until]
        events += [e for e in past if only in {None, (e.policy_version, e.model)}]
        began += since <= week.began[thread] < until and only in {None, origin}
    by_outcome = {
        name: [d for d in decisions if d.outcome == name] for name in ("sealed", "would_have_sealed", "denied")
    }
    kinds = [str(e.kind) for e in events]
    firsts = {}
    for name in ("sealed", "would_have_sealed"):
        turns = []
        for origin in {(d.decision.policy_version, d.model) for d in decisions}:
            for thread in {d.thread_id for d in by_outcome[name]}:
                mine_turns = [
                    d.turn
                    for d in by_outcome[name]
                    if d.thread_id == thread and (d.decision.policy_version, d.model) == origin
                ]
                turns += [min(mine_turns)] if mine_turns else []
        firsts[name] = turns
    ratings = [int(e.subject or 0) for e in events if e.kind == "feedback"]
    vetoed = [d for d in by_outcome["denied"] if any(code.startswith("risk_") for code in d.decision.unmet)]
    ended = len({d.thread_id for d in by_outcome["sealed"]})
    would = len({d.thread_id for d in by_outcome["would_have_sealed"]})
    return {
        "threads": float(began) or None,
        "deciding_threads": len({d.thread_id for d in decisions}),
        "decisions": len(decisions),
        "ends": len(by_outcome["sealed"]),
        "ended_threads": ended,
        "ends_per_10_000": round(ended * 10_000 / began, 2) if began else None,
        "would_have_ended_threads": would,
        "would_have_ended_per_10_000": round(would * 10_000 / began, 2) if began else None,
        "user_requested_ends": len([d for d in by_outcome["sealed"] if d.category == "user_request"]),
        "noticed": len([d for d in decisions if d.outcome == "noticed"]),
        "would_have_noticed": len([d for d in decisions if d.outcome == "would_have_noticed"]),
        "denied": len(by_outcome["denied"]),
        "breaker_decisions": 0,
        "denials_by_condition": counted([str(code) for d in by_outcome["denied"] for code in d.decision.unmet]),
        "vetoes_by_risk": counted([str(kind) for d in vetoed for kind in d.risk_kinds]),
        "turns_to_end": turns_of(firsts["sealed"]),
        "turns_to_would_have_ended": turns_of(firsts["would_have_sealed"]),
        "feedback": counted(ratings),
        "mean_rating": round(statistics.fmean(ratings), 2) if ratings else None,
        "appeals_opened": kinds.count("appeal_opened"),
        "appeals_upheld": kinds.count("appeal_upheld"),
        "appeals_rejected": kinds.count("appeal_rejected"),
        "violations": kinds.count("violation"),
    }


def turns_of(turns: list[int]) -> dict[str, Any]:
    return {
        "threads": counted(turns),
        "median": statistics.median_low(turns) if turns else None,
        "mean": round(statistics.fmean(turns), 2) if turns else None,
    }


def as_dict(figures: Figures) -> dict[str, Any]:
    return figures.model_dump(exclude={"policy", "model"})


@pytest.mark.parametrize(("since", "until"), [(START, UNTIL), (HALF, UNTIL), (START, START)])
def test_every_number_is_what_the_raw_records_say(simulated: Any, since: datetime, until: datetime) -> None:
    registry, week = simulated
    report = build_report(registry, since, until)
    raw = Raw(registry, week)
    assert as_dict(report.total) == recomputed(raw, week, since, until)
    for figures in report.groups:
        origin = (figures.policy, figures.model)
        assert as_dict(figures) == recomputed(raw, week, since, until, origin), origin
    if since < until:
        assert {(figures.policy, figures.model) for figures in report.groups} == set(week.threads.values())
    events = [e for thread in week.threads for e in raw.history(thread) if since <= e.at < until]
    assert report.reopened == len([e for e in events if e.kind == "reopened"])
    assert report.risk_flags_raised == counted([e.subject for e in events if e.kind == "risk_raised"])


def test_the_week_has_everything_that_a_report_tells_of(simulated: Any) -> None:
    """A number that is zero in the whole week would be no test of it."""
    registry, _ = simulated
    report = build_report(registry, START, UNTIL)
    numbers = as_dict(report.total)
    empty = [name for name, value in numbers.items() if not value]
    assert empty == ["breaker_decisions"]
    assert report.reopened > 0
    assert len(report.groups) == 9
    assert report.thread_source == "counted"
    assert numbers["threads"] == COUNT


def test_both_twins_and_the_host_s_own_number(simulated: Any) -> None:
    registry, _ = simulated
    report = asyncio.run(_twin(registry))
    assert report == build_report(registry, START, UNTIL, threads=50_000)
    assert (report.thread_source, report.total.threads) == ("host", 50_000.0)
    assert report.total.ends_per_10_000 == round(report.total.ended_threads / 5, 2)


async def _twin(registry: Any) -> Report:
    report = await abuild_report(registry, START, UNTIL, threads=50_000)
    if isinstance(registry, SqlSealRegistry) and registry._store.dialect == "postgresql":
        for loop in list(registry._store._loops.values()):  # type: ignore[attr-defined]
            await loop.close()
        registry._store._loops.clear()  # type: ignore[attr-defined]
    return report
