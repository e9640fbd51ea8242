"""The records of the experiment over any store: check the arguments, build a job, hand it to the store.

A job is the name of a function that each store brings (``memory_jobs``, ``sql_jobs``), and its arguments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from end_conversation_tool._core.operations import (
    MAX_WORDS_CHARS,
    Appeal,
    BreakerLimits,
    BreakerState,
    Counted,
    Feedback,
    Tally,
)
from end_conversation_tool._core.records import (
    DecisionRecord,
    EvidenceKind,
    EvidenceRecord,
    SealOutcome,
    utc_now,
)
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.annotations import (
    GivingFeedback,
    Mentioning,
    Noting,
    OpeningAppeal,
    ResolvingAppeal,
    appeals_of,
    feedback_of,
)
from end_conversation_tool.registry.breaking import BREAKER_THREAD, reset_event
from end_conversation_tool.registry.checks import MAX_NAME_CHARS, check_count, check_signed, check_text, check_thread_id
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.transitions import Sealing

__all__ = ["ExperimentJobs", "Job"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """One thing for a store to do.

    Attributes:
        name: Name of the function.
        args: Its arguments, beside the store's own.
        writes: Whether it needs a transaction.
    """

    name: str
    args: tuple[Any, ...] = ()
    writes: bool = True


class ExperimentJobs(ABC):
    """``ExperimentRegistry`` over a store; see there for what each method promises."""

    @abstractmethod
    def _do(self, job: Job[T]) -> T:
        """Do a job, all of it or nothing."""

    @abstractmethod
    async def _ado(self, job: Job[T]) -> T: ...

    @abstractmethod
    def history(self, thread_id: str) -> Sequence[ThreadEvent]:
        """See ``SealRegistry``."""

    @abstractmethod
    async def ahistory(self, thread_id: str) -> Sequence[ThreadEvent]:
        """See ``SealRegistry``."""

    def note_mention(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Record that the assistant warned, or spoke of ending."""
        return self._do(_mentioning(thread_id, evidence, branch, policy, model))

    async def anote_mention(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Async twin of ``note_mention``."""
        return await self._ado(_mentioning(thread_id, evidence, branch, policy, model))

    def note_heeded(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Record that the user changed course after a warning."""
        return self._do(_heeding(thread_id, evidence, branch, policy, model))

    async def anote_heeded(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Async twin of ``note_heeded``."""
        return await self._ado(_heeding(thread_id, evidence, branch, policy, model))

    def count_thread(self, thread_id: str, *, policy: str = "", model: str | None = None, share: float = 1.0) -> None:
        """Count a thread that begins."""
        self._do(_counting(thread_id, policy, model, share))

    async def acount_thread(
        self, thread_id: str, *, policy: str = "", model: str | None = None, share: float = 1.0
    ) -> None:
        """Async twin of ``count_thread``."""
        await self._ado(_counting(thread_id, policy, model, share))

    def give_feedback(self, thread_id: str, *, rating: int, comment: str = "") -> Feedback:
        """Keep what a user says of a conversation."""
        return self._do(_feedback(thread_id, rating, comment))

    async def agive_feedback(self, thread_id: str, *, rating: int, comment: str = "") -> Feedback:
        """Async twin of ``give_feedback``."""
        return await self._ado(_feedback(thread_id, rating, comment))

    def feedback(self, thread_id: str) -> Sequence[Feedback]:
        """Return the feedback on a thread, oldest first."""
        return feedback_of(self.history(thread_id))

    async def afeedback(self, thread_id: str) -> Sequence[Feedback]:
        """Async twin of ``feedback``."""
        return feedback_of(await self.ahistory(thread_id))

    def open_appeal(self, thread_id: str, *, text: str) -> Appeal:
        """Open an appeal against the end of a thread."""
        return self._do(_appealing(thread_id, text))

    async def aopen_appeal(self, thread_id: str, *, text: str) -> Appeal:
        """Async twin of ``open_appeal``."""
        return await self._ado(_appealing(thread_id, text))

    def resolve_appeal(
        self, thread_id: str, *, upheld: bool, operator: str, reason: str, reopen: bool = False
    ) -> Appeal:
        """Uphold or reject the open appeal of a thread."""
        return self._do(_resolving(thread_id, operator, reason, upheld=upheld, reopen=reopen))

    async def aresolve_appeal(
        self, thread_id: str, *, upheld: bool, operator: str, reason: str, reopen: bool = False
    ) -> Appeal:
        """Async twin of ``resolve_appeal``."""
        return await self._ado(_resolving(thread_id, operator, reason, upheld=upheld, reopen=reopen))

    def appeals(self, thread_id: str) -> Sequence[Appeal]:
        """Return the appeals of a thread, oldest first."""
        return appeals_of(self.history(thread_id))

    async def aappeals(self, thread_id: str) -> Sequence[Appeal]:
        """Async twin of ``appeals``."""
        return appeals_of(await self.ahistory(thread_id))

    def open_appeals(self, *, limit: int = 100) -> Sequence[Appeal]:
        """Return the appeals of all threads that are open, oldest first."""
        return self._do(Job("open_appeals", (check_count("limit", limit),), writes=False))

    async def aopen_appeals(self, *, limit: int = 100) -> Sequence[Appeal]:
        """Async twin of ``open_appeals``."""
        return await self._ado(Job("open_appeals", (check_count("limit", limit),), writes=False))

    def erase(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Remove words and id from the records of a thread; the seal stays."""
        return self._do(_erasing(thread_id, operator, reason))

    async def aerase(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Async twin of ``erase``."""
        return await self._ado(_erasing(thread_id, operator, reason))

    def seal_within(
        self,
        record: DecisionRecord,
        limits: BreakerLimits,
        *,
        held_sequence: int | None = None,
        checkpoint_id: str | None = None,
        run_token: str | None = None,
    ) -> SealOutcome:
        """Seal as ``SealRegistry.seal`` does, unless this would be one end too many; see ``ExperimentRegistry``."""
        return self._do(Job("seal_within", (self._sealing(record, held_sequence, checkpoint_id, run_token), limits)))

    async def aseal_within(
        self,
        record: DecisionRecord,
        limits: BreakerLimits,
        *,
        held_sequence: int | None = None,
        checkpoint_id: str | None = None,
        run_token: str | None = None,
    ) -> SealOutcome:
        """Async twin of ``seal_within``."""
        sealing = self._sealing(record, held_sequence, checkpoint_id, run_token)
        return await self._ado(Job("seal_within", (sealing, limits)))

    @staticmethod
    @abstractmethod
    def _sealing(
        record: DecisionRecord, held_sequence: int | None, checkpoint_id: str | None, run_token: str | None
    ) -> Sealing: ...

    def breaker(self) -> BreakerState:
        """Return the state of the circuit breaker."""
        return self._do(Job("breaker", writes=False))

    async def abreaker(self) -> BreakerState:
        """Async twin of ``breaker``."""
        return await self._ado(Job("breaker", writes=False))

    def reset_breaker(self, *, operator: str, reason: str) -> BreakerState:
        """Let ends be enforced again."""
        return self._do(_resetting(operator, reason))

    async def areset_breaker(self, *, operator: str, reason: str) -> BreakerState:
        """Async twin of ``reset_breaker``."""
        return await self._ado(_resetting(operator, reason))

    def breaker_history(self) -> Sequence[ThreadEvent]:
        """Return when the circuit breaker tripped, and who reset it, oldest first."""
        return self._do(Job("events_in", (BREAKER_THREAD,), writes=False))

    async def abreaker_history(self) -> Sequence[ThreadEvent]:
        """Async twin of ``breaker_history``."""
        return await self._ado(Job("events_in", (BREAKER_THREAD,), writes=False))

    def tally(self, since: datetime, until: datetime) -> Tally:
        """Return the counts of what happened in a period."""
        return self._do(_tallying(since, until))

    async def atally(self, since: datetime, until: datetime) -> Tally:
        """Async twin of ``tally``."""
        return await self._ado(_tallying(since, until))


def _noting(thread_id: str, noting: Noting[T]) -> Job[T]:
    return Job("annotate", (check_thread_id(thread_id), noting))


def _mentioning(
    thread_id: str, evidence: EvidenceRecord, branch: int, policy: str, model: str | None
) -> Job[tuple[ThreadEvent, ...]]:
    if not isinstance(evidence, EvidenceRecord):
        raise InvalidInputError(f"evidence: expected an EvidenceRecord, got {type(evidence).__name__}")
    if evidence.kind not in {EvidenceKind.WARNING, EvidenceKind.END_QUESTION}:
        raise InvalidInputError(f"evidence.kind: expected warning or end_question, got {evidence.kind}")
    return _noting(thread_id, Mentioning(evidence, check_count("branch", branch), *_origin(policy, model), utc_now()))


def _heeding(
    thread_id: str, evidence: EvidenceRecord, branch: int, policy: str, model: str | None
) -> Job[tuple[ThreadEvent, ...]]:
    if not isinstance(evidence, EvidenceRecord) or evidence.kind is not EvidenceKind.WARNING:
        raise InvalidInputError(f"evidence: expected the EvidenceRecord of a warning, got {type(evidence).__name__}")
    checked = evidence, check_count("branch", branch), *_origin(policy, model)
    return _noting(thread_id, Mentioning(*checked, utc_now(), heeded=True))


def _origin(policy: str, model: str | None) -> tuple[str, str | None]:
    """Return the names of a policy and a model, checked."""
    if model is not None:
        check_text("model", model, limit=MAX_NAME_CHARS, required=False)
    return check_text("policy", policy, limit=MAX_NAME_CHARS, required=False), model


def _counting(thread_id: str, policy: str, model: str | None, share: float) -> Job[None]:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise InvalidInputError(f"share: expected a float above 0 and at most 1, got {type(share).__name__}")
    return Job("count_thread", (check_thread_id(thread_id), Counted(*_origin(policy, model), 1 / share, utc_now())))


def _feedback(thread_id: str, rating: int, comment: str) -> Job[Feedback]:
    if isinstance(rating, bool) or not isinstance(rating, int) or not 1 <= rating <= 5:  # noqa: PLR2004
        raise InvalidInputError(f"rating: expected an int from 1 to 5, got {type(rating).__name__}")
    check_text("comment", comment, limit=MAX_WORDS_CHARS, required=False)
    return _noting(thread_id, GivingFeedback(rating, comment, utc_now()))


def _appealing(thread_id: str, text: str) -> Job[Appeal]:
    return _noting(thread_id, OpeningAppeal(check_text("text", text, limit=MAX_WORDS_CHARS), utc_now()))


def _resolving(thread_id: str, operator: str, reason: str, *, upheld: bool, reopen: bool) -> Job[Appeal]:
    for field, value in (("upheld", upheld), ("reopen", reopen)):
        if not isinstance(value, bool):
            raise InvalidInputError(f"{field}: expected a bool, got {type(value).__name__}")
    if reopen and not upheld:
        raise InvalidInputError("reopen: expected False for an appeal that is rejected, got a bool")
    return _noting(thread_id, ResolvingAppeal(upheld, *check_signed(operator, reason), reopen, utc_now()))


def _erasing(thread_id: str, operator: str, reason: str) -> Job[int]:
    return Job("erase", (check_thread_id(thread_id), *check_signed(operator, reason), utc_now()))


def _resetting(operator: str, reason: str) -> Job[BreakerState]:
    return Job("reset_breaker", (reset_event(*check_signed(operator, reason), utc_now()),))


def _tallying(since: datetime, until: datetime) -> Job[Tally]:
    for field, value in (("since", since), ("until", until)):
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise InvalidInputError(f"{field}: expected a datetime with a time zone, got {type(value).__name__}")
    if since > until:
        raise InvalidInputError("since: expected a moment before until, got a later datetime")
    return Job("tally", (since, until), writes=False)
