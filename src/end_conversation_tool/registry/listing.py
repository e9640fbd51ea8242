"""Lists of threads: what they are made of, and how one page follows another. Pure data and functions, for every store.

A thread is listed for the newest thing of its kind that is on record: an event, or a decision. Lists go from the newest
to the oldest; of two of one moment, the one with the greater key comes first. The cursor holds both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from end_conversation_tool._core.vocabulary import EventKind, Outcome
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.checks import MAX_NAME_CHARS, check_text

__all__ = [
    "MAX_LISTED",
    "ListedThread",
    "Listing",
    "Place",
    "Sought",
    "ThreadKind",
    "check_limit",
    "check_moment",
    "check_period",
    "checked_listing",
    "microseconds",
]

MAX_LISTED = 10_000
"""Most threads on one page."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_CHARS = 16
_CURSOR = re.compile(rf"(\d{{1,17}})-([0-9a-f]{{{_KEY_CHARS}}})")


def microseconds(moment: datetime) -> int:
    """Return a moment as the tables hold it: microseconds since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class ThreadKind(StrEnum):
    """Which threads to list."""

    SEALED = "sealed"
    SHADOW = "shadow"
    NOTICED = "noticed"
    AT_RISK = "at_risk"
    DENIED = "denied"
    APPEALED = "appealed"


class ListedThread(NamedTuple):
    """One thread of a list.

    Attributes:
        thread_id: The thread; what stands in its place after an erasure.
        at: When what it is listed for was recorded last, UTC.
        sealed: Whether it takes no further message.
        at_risk: Whether a flag stands.
        category: The ground of its newest decision; ``None`` without one.
        policy_version: The policy of its newest decision; ``None`` without one.
        model: The model of its newest decision; ``None`` where it is not known.
        cursor: What to hand back to go on after it.
    """

    thread_id: str
    at: datetime
    sealed: bool
    at_risk: bool
    category: str | None
    policy_version: str | None
    model: str | None
    cursor: str


class Sought(NamedTuple):
    """What makes a thread one of a kind: of what counts, the newest is one that is listed.

    Attributes:
        listed: Kinds of events, or outcomes of decisions, that a thread is listed for.
        ended: Kinds of events after which it no longer is.
        state: The property of the thread that must hold as well.
    """

    listed: tuple[EventKind, ...] | tuple[Outcome, ...]
    ended: tuple[EventKind, ...] = ()
    state: str | None = None


SOUGHT: Mapping[ThreadKind, Sought] = {
    # A seal or a flag can have come with a copy: then only the copy is on record.
    ThreadKind.SEALED: Sought((EventKind.SEALED, EventKind.COPIED), state="sealed"),
    ThreadKind.AT_RISK: Sought((EventKind.RISK_RAISED, EventKind.COPIED), state="at_risk"),
    ThreadKind.APPEALED: Sought((EventKind.APPEAL_OPENED,), (EventKind.APPEAL_UPHELD, EventKind.APPEAL_REJECTED)),
    ThreadKind.SHADOW: Sought((Outcome.WOULD_HAVE_SEALED, Outcome.WOULD_HAVE_NOTICED)),
    ThreadKind.NOTICED: Sought((Outcome.NOTICED,)),
    ThreadKind.DENIED: Sought((Outcome.DENIED,)),
}


class Place(NamedTuple):
    """Where in a list a thread stands: the moment, in microseconds since 1970, and its key."""

    at: int
    key: str

    @property
    def cursor(self) -> str:
        """The place as text: sixteen digits of the key are enough to tell threads of one microsecond apart."""
        return f"{self.at}-{self.key[:_KEY_CHARS]}"

    @property
    def moment(self) -> datetime:
        """The moment, UTC."""
        return _EPOCH + timedelta(microseconds=self.at)


@dataclass(frozen=True, slots=True)
class Listing:
    """Which threads are wanted; see ``ExperimentRegistry.threads``."""

    kind: ThreadKind
    since: datetime | None
    until: datetime | None
    policy: str | None
    model: str | None
    limit: int
    after: Place | None
    subject: str | None = None

    @property
    def sought(self) -> Sought:
        """What makes a thread one of them."""
        return SOUGHT[self.kind]

    @property
    def by_decision(self) -> bool:
        """Whether decisions are listed, and not events."""
        return isinstance(self.sought.listed[0], Outcome)

    def wants(self, place: Place, listed: ListedThread) -> bool:
        """Whether a thread of the kind is within the period, of the policy and model, and on a later page."""
        return (
            (self.since is None or place.at >= microseconds(self.since))
            and (self.until is None or place.at < microseconds(self.until))
            and (self.policy is None or listed.policy_version == self.policy)
            and (self.model is None or listed.model == self.model)
            and (self.after is None or place < self.after)
        )

    def page(self, found: Iterable[tuple[Place, ListedThread]]) -> tuple[ListedThread, ...]:
        """Return the newest of what was found, in order, as many as are wanted."""
        ordered = sorted(found, key=lambda one: one[0], reverse=True)
        return tuple(listed for _, listed in ordered[: self.limit])


def checked_listing(
    kind: Any, *, since: Any, until: Any, policy: Any, model: Any, limit: Any, after: Any, subject: Any
) -> Listing:
    """Return what is wanted.

    Raises:
        InvalidInputError: See ``ExperimentRegistry.threads``.
    """
    if not isinstance(kind, str) or kind not in list(ThreadKind):
        raise InvalidInputError(f"kind: expected one of {', '.join(ThreadKind)}, got {_named(kind)}")
    check_period(since, until)
    for field, value in (("policy", policy), ("model", model), ("subject", subject)):
        if value is not None:
            check_text(field, value, limit=MAX_NAME_CHARS)
    return Listing(ThreadKind(kind), since, until, policy, model, check_limit(limit), _place(after), subject)


def check_limit(limit: Any) -> int:
    """Return ``limit`` if it is a number of things that one page can hold."""
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise InvalidInputError(f"limit: expected an int, got {type(limit).__name__}")
    if not 1 <= limit <= MAX_LISTED:
        raise InvalidInputError(f"limit: expected an int from 1 to {MAX_LISTED:,}, got one outside of it")
    return limit


def check_period(since: Any, until: Any) -> None:
    """Raise ``InvalidInputError`` unless both are ``None`` or moments with a time zone, in order."""
    for field, value in (("since", since), ("until", until)):
        if value is not None:
            check_moment(field, value)
    if since is not None and until is not None and since > until:
        raise InvalidInputError("since: expected a moment before until, got a later datetime")


def check_moment(field: str, value: Any) -> None:
    """Raise ``InvalidInputError`` unless it is a moment with a time zone."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInputError(f"{field}: expected a datetime with a time zone, got {type(value).__name__}")


def _place(after: Any) -> Place | None:
    if after is None:
        return None
    if not isinstance(after, str):
        raise InvalidInputError(f"after: expected the cursor of a listed thread or None, got {type(after).__name__}")
    found = _CURSOR.fullmatch(after)
    if found is None:
        raise InvalidInputError("after: expected the cursor of a listed thread, got another str")
    return Place(int(found[1]), found[2])


def _named(value: Any) -> str:
    return "another str" if isinstance(value, str) else type(value).__name__
