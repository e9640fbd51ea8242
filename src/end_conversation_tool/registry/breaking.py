"""The circuit breaker's sums, and nothing else: pure functions over what was counted."""

from __future__ import annotations

from datetime import datetime, timedelta

from end_conversation_tool._core.operations import BreakerLimits, BreakerState
from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.transitions import event_of

HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)

BREAKER_THREAD = ""
"""Under this id the audit trail keeps what happens to the breaker itself; no thread can have it."""


def start_of(window: timedelta, state: BreakerState, now: datetime) -> datetime:
    """Return from when on ends count."""
    begins = now - window
    return begins if state.reset_at is None else max(begins, state.reset_at)


def tripped(
    state: BreakerState, limits: BreakerLimits, *, hour: int, day: int, threads: float, now: datetime
) -> BreakerState:
    """Return the state after one more end: the same object unless that end is one too many.

    Args:
        state: The state before it.
        limits: How many ends are normal.
        hour: Ends of the last hour.
        day: Ends of the last 24 hours.
        threads: Threads that the registry counted within 24 hours.
        now: UTC.
    """
    if state.tripped:
        return state
    if limits.per_hour is not None and hour + 1 > limits.per_hour:
        return BreakerState(tripped=True, limit="per_hour", tripped_at=now, ends=hour + 1, reset_at=state.reset_at)
    active = max(limits.least_threads, threads if limits.threads is None else limits.threads)
    if limits.per_10_000_threads is not None and 10_000 * (day + 1) / active > limits.per_10_000_threads:
        return BreakerState(
            tripped=True, limit="per_10_000_threads", tripped_at=now, ends=day + 1, reset_at=state.reset_at
        )
    return state


def reset(now: datetime) -> BreakerState:
    """Return the state after a reset."""
    return BreakerState(reset_at=now)


def tripped_event(state: BreakerState, now: datetime) -> ThreadEvent:
    """Return the alarm for the audit trail."""
    status = ThreadStatus(thread_id=BREAKER_THREAD)
    return event_of(status, EventKind.BREAKER_TRIPPED, now, subject=state.limit, actor="circuit breaker")


def reset_event(operator: str, reason: str, now: datetime) -> ThreadEvent:
    """Return the reset for the audit trail."""
    status = ThreadStatus(thread_id=BREAKER_THREAD)
    return event_of(status, EventKind.BREAKER_RESET, now, actor=operator, reason=reason)
