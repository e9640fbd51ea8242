"""The report: how often conversations end, why they do not, and what users say of it; for each policy and model.

The registry counts (``tally``), by SQL where there is a database; this module turns the counts into numbers with names.
What each number means stands in docs/operators-guide.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from end_conversation_tool._core.operations import DecisionCount, EndCount, EventCount, Feedback, Tally, ThreadCount
from end_conversation_tool._core.records import Record
from end_conversation_tool._core.vocabulary import Category, EventKind, Outcome, UnmetCode
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry

__all__ = ["ROWS", "Figures", "Report", "TurnsToEnd", "abuild_report", "build_report", "name_of", "report_of", "shown"]

ThreadSource = Literal["host", "counted", "unknown"]


class TurnsToEnd(Record):
    """In which user turn threads had their first end.

    Attributes:
        threads: Threads by turn.
        median: The middle one of all threads; of two middle ones the earlier; ``None`` without threads.
        mean: Rounded to two places; ``None`` without threads.
    """

    threads: Mapping[int, int] = Field(default_factory=dict)
    median: int | None = None
    mean: float | None = None


class Figures(Record):
    """The numbers of one policy and model, or of all together.

    Attributes:
        policy: Version of the policy; ``None`` for all together, and for events from before any decision.
        model: The model; ``None`` when unknown, or for all together.
        threads: Threads that were active, as ``Report.thread_source`` says; ``None`` when nobody knows.
        deciding_threads: Threads in which the model asked for an end.
        decisions: How often it asked.
        ends: How often it was honoured.
        ended_threads: Threads with at least one end.
        ends_per_10_000: Ended threads for each 10,000 threads, rounded to two places.
        would_have_ended_threads: Threads with at least one end that would have been, had ends been enforced.
        would_have_ended_per_10_000: The same for each 10,000 threads.
        user_requested_ends: Ends that the user asked for, of ``ends``.
        noticed: How often it led to the notice that comes before an end.
        would_have_noticed: How often it would have, had ends been enforced.
        denied: How often it was denied.
        breaker_decisions: Decisions under a circuit breaker that had tripped.
        denials_by_condition: Denials by each condition that did not hold; one denial may have several.
        vetoes_by_risk: Denials because somebody may be at risk, by each kind of risk that was known.
        turns_to_end: When threads ended.
        turns_to_would_have_ended: When they would have.
        feedback: Ratings, 1 to 5, by how many.
        mean_rating: Rounded to two places; ``None`` without ratings.
        appeals_opened: Appeals.
        appeals_upheld: Appeals that were upheld in this period, whenever they were opened.
        appeals_rejected: Appeals that were rejected in this period.
        violations: Warnings of the assistant to somebody who may be at risk.
    """

    policy: str | None = None
    model: str | None = None
    threads: float | None = None
    deciding_threads: int = 0
    decisions: int = 0
    ends: int = 0
    ended_threads: int = 0
    ends_per_10_000: float | None = None
    would_have_ended_threads: int = 0
    would_have_ended_per_10_000: float | None = None
    user_requested_ends: int = 0
    noticed: int = 0
    would_have_noticed: int = 0
    denied: int = 0
    breaker_decisions: int = 0
    denials_by_condition: Mapping[str, int] = Field(default_factory=dict)
    vetoes_by_risk: Mapping[str, int] = Field(default_factory=dict)
    turns_to_end: TurnsToEnd = TurnsToEnd()
    turns_to_would_have_ended: TurnsToEnd = TurnsToEnd()
    feedback: Mapping[int, int] = Field(default_factory=dict)
    mean_rating: float | None = None
    appeals_opened: int = 0
    appeals_upheld: int = 0
    appeals_rejected: int = 0
    violations: int = 0


class Report(Record):
    """The numbers of a period.

    Attributes:
        since: Its first moment.
        until: The moment after it.
        thread_source: Where the number of threads comes from: the ``host``, threads ``counted`` by the registry when
            they began, or ``unknown``. See docs/decisions/0008-counting-threads.md.
        total: All together. Threads under several policies or models count once.
        groups: One for each policy and model, by name.
        risk_flags_raised: Flags by kind.
        reopened: Threads that operators have reopened.
        breaker_trips: How often the circuit breaker tripped.
        comments: What users wrote, newest first, as many as were asked for.
    """

    since: AwareDatetime
    until: AwareDatetime
    thread_source: ThreadSource
    total: Figures
    groups: tuple[Figures, ...]
    risk_flags_raised: Mapping[str, int]
    reopened: int
    breaker_trips: int
    comments: tuple[Feedback, ...] = ()


def build_report(
    registry: ExperimentRegistry, since: datetime, until: datetime, *, threads: int | None = None, comments: int = 20
) -> Report:
    """Return the numbers of a period.

    Args:
        registry: A registry of this package.
        since: The first moment that counts, with a time zone.
        until: The first moment that no longer counts.
        threads: How many threads were active, where the host knows; ``None`` to use what the registry counted.
        comments: How many of the newest comments of users it shows; 0 for none.

    Raises:
        InvalidInputError: An argument is not usable.
        RegistryError: The registry cannot be read.
    """
    _check_threads(threads)
    report = report_of(registry.tally(since, until), since, until, threads=threads)
    if comments == 0:
        return report
    written = registry.comments(since=since, until=until, limit=comments)
    return report.model_copy(update={"comments": tuple(written)})


async def abuild_report(
    registry: ExperimentRegistry, since: datetime, until: datetime, *, threads: int | None = None, comments: int = 20
) -> Report:
    """Async twin of ``build_report``."""
    _check_threads(threads)
    report = report_of(await registry.atally(since, until), since, until, threads=threads)
    if comments == 0:
        return report
    written = await registry.acomments(since=since, until=until, limit=comments)
    return report.model_copy(update={"comments": tuple(written)})


def report_of(tally: Tally, since: datetime, until: datetime, *, threads: int | None = None) -> Report:
    """Return the numbers that the counts of a period come to."""
    counted = tally.total.counted
    source: ThreadSource = "host" if threads is not None else "counted" if counted else "unknown"
    known = {(row.policy, row.model): row for row in tally.threads}
    origins = {*known, *((row.policy, row.model) for row in tally.events if row.policy is not None)}
    groups = tuple(
        _figures(
            known.get(origin, ThreadCount(*origin)),
            [row for row in tally.decisions if (row.policy, row.model) == origin],
            [row for row in tally.ends if (row.policy, row.model) == origin],
            [row for row in tally.events if (row.policy, row.model) == origin],
            known[origin].counted or None if origin in known else None,
        )
        for origin in sorted(origins, key=lambda origin: (origin[0] or "", origin[1] or ""))
    )
    active = counted or None if threads is None else float(threads)
    return Report(
        since=since,
        until=until,
        thread_source=source,
        total=_figures(tally.total, tally.decisions, tally.ends, tally.events, active),
        groups=groups,
        risk_flags_raised=_sorted(_subjects(tally.events, EventKind.RISK_RAISED)),
        reopened=_count(tally.events, EventKind.REOPENED),
        breaker_trips=_count(tally.events, EventKind.BREAKER_TRIPPED),
    )


def _figures(
    threads: ThreadCount,
    decisions: Iterable[DecisionCount],
    ends: Iterable[EndCount],
    events: Iterable[EventCount],
    active: float | None,
) -> Figures:
    decisions, ends, events = tuple(decisions), tuple(ends), tuple(events)
    outcomes: Counter[Outcome] = Counter()
    conditions: Counter[str] = Counter()
    risks: Counter[str] = Counter()
    for row in decisions:
        outcomes[row.outcome] += row.number
        if row.outcome is Outcome.DENIED:
            conditions.update(dict.fromkeys(map(str, row.unmet), row.number))
            if {UnmetCode.RISK_FLAGGED, UnmetCode.RISK_UNCERTAIN} & {*row.unmet}:
                risks.update(dict.fromkeys(map(str, row.risk), row.number))
    ratings = {int(rating): number for rating, number in _subjects(events, EventKind.FEEDBACK).items()}
    sealed = [row for row in decisions if row.outcome is Outcome.SEALED]
    return Figures(
        policy=threads.policy,
        model=threads.model,
        threads=active,
        deciding_threads=threads.deciding,
        decisions=sum(row.number for row in decisions),
        ends=outcomes[Outcome.SEALED],
        ended_threads=threads.ended,
        ends_per_10_000=_rate(threads.ended, active),
        would_have_ended_threads=threads.would_have_ended,
        would_have_ended_per_10_000=_rate(threads.would_have_ended, active),
        user_requested_ends=sum(row.number for row in sealed if row.category is Category.USER_REQUEST),
        noticed=outcomes[Outcome.NOTICED],
        would_have_noticed=outcomes[Outcome.WOULD_HAVE_NOTICED],
        denied=outcomes[Outcome.DENIED],
        breaker_decisions=sum(row.number for row in decisions if row.breaker),
        denials_by_condition=_sorted(conditions),
        vetoes_by_risk=_sorted(risks),
        turns_to_end=_turns(ends, Outcome.SEALED),
        turns_to_would_have_ended=_turns(ends, Outcome.WOULD_HAVE_SEALED),
        feedback=dict(sorted(ratings.items())),
        mean_rating=_mean(ratings),
        appeals_opened=_count(events, EventKind.APPEAL_OPENED),
        appeals_upheld=_count(events, EventKind.APPEAL_UPHELD),
        appeals_rejected=_count(events, EventKind.APPEAL_REJECTED),
        violations=_count(events, EventKind.VIOLATION),
    )


def _turns(ends: Iterable[EndCount], outcome: Outcome) -> TurnsToEnd:
    """Return when threads ended. In the total, a thread that ended under two policies is in it twice."""
    threads: Counter[int] = Counter()
    for row in ends:
        if row.outcome is outcome:
            threads[row.turn] += row.threads
    seen, middle, median = 0, (threads.total() + 1) // 2, None
    for turn in sorted(threads):
        seen += threads[turn]
        if seen >= middle:
            median = turn
            break
    return TurnsToEnd(threads=dict(sorted(threads.items())), median=median, mean=_mean(threads))


def _mean(numbers: Mapping[int, int]) -> float | None:
    total = sum(numbers.values())
    return round(sum(value * number for value, number in numbers.items()) / total, 2) if total else None


def _rate(threads: int, active: float | None) -> float | None:
    return round(10_000 * threads / active, 2) if active else None


def _count(events: Iterable[EventCount], kind: EventKind) -> int:
    return sum(row.number for row in events if row.kind is kind)


def _subjects(events: Iterable[EventCount], kind: EventKind) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in events:
        if row.kind is kind and row.subject is not None:
            found[row.subject] += row.number
    return found


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts, the greatest first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _check_threads(threads: int | None) -> None:
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 0):
        raise InvalidInputError(f"threads: expected an int of at least 0 or None, got {type(threads).__name__}")


# The rows of a report as a table, for the terminal and for the page

ROWS: tuple[tuple[str, Callable[[Figures], Any]], ...] = (
    ("threads", lambda f: f.threads),
    ("threads in which an end was asked for", lambda f: f.deciding_threads),
    ("threads ended", lambda f: f.ended_threads),
    ("  for each 10,000", lambda f: f.ends_per_10_000),
    ("threads that would have ended", lambda f: f.would_have_ended_threads),
    ("  for each 10,000", lambda f: f.would_have_ended_per_10_000),
    ("ends", lambda f: f.ends),
    ("  the user asked for", lambda f: f.user_requested_ends),
    ("user turns to the end, median", lambda f: f.turns_to_end.median),
    ("user turns to would-have-ended, median", lambda f: f.turns_to_would_have_ended.median),
    ("calls of the tool", lambda f: f.decisions),
    ("  led to the notice", lambda f: f.noticed),
    ("  would have led to it", lambda f: f.would_have_noticed),
    ("  denied", lambda f: f.denied),
    ("  under a tripped circuit breaker", lambda f: f.breaker_decisions),
    ("denied: a risk flag stands", lambda f: f.denials_by_condition.get("risk_flagged", 0)),
    ("denied: doubt about risk", lambda f: f.denials_by_condition.get("risk_uncertain", 0)),
    ("violations", lambda f: f.violations),
    ("feedback", lambda f: sum(f.feedback.values())),
    ("  mean rating, 1 to 5", lambda f: f.mean_rating),
    ("appeals opened", lambda f: f.appeals_opened),
    ("  upheld", lambda f: f.appeals_upheld),
    ("  rejected", lambda f: f.appeals_rejected),
)


def name_of(figures: Figures) -> str:
    """Return what a column is called."""
    return "all" if figures.policy is None else f"{figures.policy}, {figures.model or 'model unknown'}"


def shown(value: float | None) -> str:
    """Return a number as text; a dash for one that nobody knows."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
