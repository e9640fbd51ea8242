"""The records of the experiment: what users say of an end, appeals against it, limits, and raw counts for a report."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import AwareDatetime, Field, ValidationError

from end_conversation_tool._core.records import Record
from end_conversation_tool._core.vocabulary import Category, EventKind, Mode, Outcome, RiskKind, UnmetCode
from end_conversation_tool.errors import InvalidInputError

__all__ = [
    "MAX_WORDS_CHARS",
    "Appeal",
    "AppealStatus",
    "BreakerLimits",
    "BreakerState",
    "CircuitBreaker",
    "Counted",
    "DecisionCount",
    "EndCount",
    "EventCount",
    "Feedback",
    "Tally",
    "ThreadCount",
]

_log = logging.getLogger(__name__)

MAX_WORDS_CHARS = 2_000
"""Longest comment, appeal or reason, in characters."""


class AppealStatus(StrEnum):
    """How an appeal stands."""

    OPEN = "open"
    UPHELD = "upheld"
    REJECTED = "rejected"


class Feedback(Record):
    """What a user says of how a conversation went.

    Attributes:
        thread_id: The thread.
        rating: 1 (bad) to 5 (good).
        comment: The user's words, at most 2,000 characters; empty when there are none.
        given_at: UTC.
    """

    thread_id: str
    rating: Annotated[int, Field(ge=1, le=5)]
    comment: str = ""
    given_at: AwareDatetime


class Appeal(Record):
    """A user's objection to an end. A thread has at most one that is open.

    Attributes:
        thread_id: The thread.
        text: The user's words, at most 2,000 characters.
        status: How it stands.
        opened_at: UTC.
        resolved_at: UTC; ``None`` while it is open.
        resolved_by: The operator; ``None`` while it is open.
        resolution: Why, in the operator's words.
    """

    thread_id: str
    text: str
    status: AppealStatus = AppealStatus.OPEN
    opened_at: AwareDatetime
    resolved_at: AwareDatetime | None = None
    resolved_by: str | None = None
    resolution: str = ""


class BreakerLimits(Record):
    """How many ends are normal, as the registry checks it inside the transaction that seals.

    Attributes:
        per_hour: Most ends within any 60 minutes; ``None`` for no such limit.
        per_10_000_threads: Most ends within 24 hours for each 10,000 threads; ``None`` for no such limit.
        threads: How many threads were active within 24 hours, where the host knows; ``None`` to use the threads that
            the registry counted.
        least_threads: Fewer threads than these are taken for these: one end in ten threads is no rate.
    """

    per_hour: Annotated[int, Field(ge=0)] | None = None
    per_10_000_threads: Annotated[float, Field(ge=0)] | None = None
    threads: Annotated[int, Field(ge=0)] | None = None
    least_threads: Annotated[int, Field(ge=1)] = 1_000


class BreakerState(Record):
    """Whether enforcement is switched to shadow mode, and since when.

    Attributes:
        tripped: Whether it is.
        limit: Which limit was passed: ``per_hour`` or ``per_10_000_threads``.
        tripped_at: UTC.
        ends: The ends that were counted when it tripped, the one that was too many included.
        reset_at: When an operator reset it last, UTC; ends before that no longer count.
    """

    tripped: bool = False
    limit: str | None = None
    tripped_at: AwareDatetime | None = None
    ends: int = 0
    reset_at: AwareDatetime | None = None


class Counted(NamedTuple):
    """A thread that was counted when it began, and how many threads it stands for."""

    policy: str
    model: str | None
    weight: float
    at: datetime


class DecisionCount(NamedTuple):
    """How many decisions of a period are alike."""

    policy: str
    model: str | None
    mode: Mode
    outcome: Outcome
    category: Category | None
    unmet: tuple[UnmetCode, ...]
    risk: tuple[RiskKind, ...]
    breaker: bool
    number: int


class EndCount(NamedTuple):
    """How many threads had their first end, or would-have-been end, of a period in one turn.

    A thread counts once for each policy, model and outcome, however often it ended on other branches.
    """

    policy: str
    model: str | None
    outcome: Outcome
    turn: int
    threads: int


class EventCount(NamedTuple):
    """How many events of a period are alike."""

    kind: EventKind
    subject: str | None
    policy: str | None
    model: str | None
    number: int


class ThreadCount(NamedTuple):
    """How many threads a policy and a model saw in a period.

    Attributes:
        policy: The policy's version; ``None`` for all policies and models together.
        model: The model; ``None`` when unknown.
        deciding: Threads with at least one decision.
        ended: Threads with at least one end.
        would_have_ended: Threads with at least one end that would have been.
        counted: Threads that began, as the registry counted them; 0 when it was not asked to count.
    """

    policy: str | None
    model: str | None
    deciding: int = 0
    ended: int = 0
    would_have_ended: int = 0
    counted: float = 0.0


class Tally(NamedTuple):
    """The raw counts of a period. Made by SQL in a database, by plain Python in memory."""

    decisions: tuple[DecisionCount, ...]
    ends: tuple[EndCount, ...]
    events: tuple[EventCount, ...]
    threads: tuple[ThreadCount, ...]
    total: ThreadCount


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Above a limit, enforcement becomes shadow mode, for every process on the same registry, until it is reset.

    Looked at only when the model asks for an end: an ordinary turn costs nothing. Reset it with
    ``registry.reset_breaker(operator=..., reason=...)``.

    Attributes:
        max_ends_per_hour: Most ends within any 60 minutes; ``None`` for no such limit.
        max_ends_per_10_000_threads: Most ends within 24 hours for each 10,000 threads; ``None`` for no such limit.
        active_threads: Gives the number of threads of the last 24 hours; ``None`` to use the threads that the registry
            counted (``count_threads`` of the doors). One that fails is taken for no answer.
        least_threads: Fewer threads than these are taken for these.

    Raises:
        InvalidInputError: No limit, or one that is not usable.
    """

    max_ends_per_hour: int | None = None
    max_ends_per_10_000_threads: float | None = None
    active_threads: Callable[[], int] | None = None
    least_threads: int = 1_000

    def __post_init__(self) -> None:
        if self.max_ends_per_hour is None and self.max_ends_per_10_000_threads is None:
            raise InvalidInputError("max_ends_per_hour: expected at least one limit, got None for both")
        try:
            self._limits(None)
        except ValidationError as error:
            raise InvalidInputError(f"breaker: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from None

    def limits(self) -> BreakerLimits:
        """Return the limits as the registry checks them, with the number of threads as it is now."""
        if self.active_threads is None or self.max_ends_per_10_000_threads is None:
            return self._limits(None)
        try:
            return self._limits(self.active_threads())
        except Exception as error:  # noqa: BLE001 - the host's own function; the registry's count is as good
            _log.warning("active_threads failed: %s", type(error).__name__)
            return self._limits(None)

    def _limits(self, threads: int | None) -> BreakerLimits:
        return BreakerLimits(
            per_hour=self.max_ends_per_hour,
            per_10_000_threads=self.max_ends_per_10_000_threads,
            threads=threads,
            least_threads=self.least_threads,
        )
