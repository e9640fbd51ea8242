"""What a registry keeps for the experiment: warnings, feedback, appeals, the circuit breaker, and counts.

Everything here happens rarely: an ordinary turn writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from end_conversation_tool._core.operations import Appeal, BreakerLimits, BreakerState, Feedback, Tally
from end_conversation_tool._core.records import DecisionRecord, EvidenceRecord, SealOutcome
from end_conversation_tool.registry.protocol import ThreadEvent

__all__ = ["ExperimentRegistry"]


@runtime_checkable
class ExperimentRegistry(Protocol):
    """The records of the experiment. Every registry of this package keeps them."""

    def note_mention(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Record that the assistant warned (``warning``), or spoke of ending (``end_question``).

        A warning is a ``WARNING_GIVEN``; either is a ``VIOLATION`` where a risk flag stands, which is looked up in
        the same transaction. The same message is recorded once.

        Returns:
            The events that were recorded; none for an end question without a risk flag.
        """
        ...

    async def anote_mention(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Async twin of ``note_mention``."""
        ...

    def note_heeded(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Record that the user changed course after the warning that ``evidence`` names; once for each warning."""
        ...

    async def anote_heeded(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Async twin of ``note_heeded``."""
        ...

    def count_thread(self, thread_id: str, *, policy: str = "", model: str | None = None, share: float = 1.0) -> None:
        """Count a thread that begins, once; it stands for ``1 / share`` threads."""
        ...

    async def acount_thread(
        self, thread_id: str, *, policy: str = "", model: str | None = None, share: float = 1.0
    ) -> None:
        """Async twin of ``count_thread``."""
        ...

    def give_feedback(self, thread_id: str, *, rating: int, comment: str = "") -> Feedback:
        """Keep what a user says of a conversation: a rating of 1 to 5, and at most 2,000 characters.

        Raises:
            InvalidInputError: An argument is not usable, or the thread has 100 already.
        """
        ...

    async def agive_feedback(self, thread_id: str, *, rating: int, comment: str = "") -> Feedback:
        """Async twin of ``give_feedback``."""
        ...

    def feedback(self, thread_id: str) -> Sequence[Feedback]:
        """Return the feedback on a thread, oldest first."""
        ...

    async def afeedback(self, thread_id: str) -> Sequence[Feedback]:
        """Async twin of ``feedback``."""
        ...

    def open_appeal(self, thread_id: str, *, text: str) -> Appeal:
        """Open an appeal against the end of a thread.

        Raises:
            InvalidInputError: An argument is not usable, the thread is not sealed, or an appeal is open already.
        """
        ...

    async def aopen_appeal(self, thread_id: str, *, text: str) -> Appeal:
        """Async twin of ``open_appeal``."""
        ...

    def resolve_appeal(
        self, thread_id: str, *, upheld: bool, operator: str, reason: str, reopen: bool = False
    ) -> Appeal:
        """Uphold or reject the open appeal of a thread.

        Args:
            thread_id: The thread.
            upheld: Whether the user is right.
            operator: Who decides.
            reason: Why.
            reopen: Whether to reopen the thread in the same transaction; only for an appeal that is upheld.

        Raises:
            InvalidInputError: An argument is not usable, or no appeal is open. Nothing was changed.
        """
        ...

    async def aresolve_appeal(
        self, thread_id: str, *, upheld: bool, operator: str, reason: str, reopen: bool = False
    ) -> Appeal:
        """Async twin of ``resolve_appeal``."""
        ...

    def appeals(self, thread_id: str) -> Sequence[Appeal]:
        """Return the appeals of a thread, oldest first."""
        ...

    async def aappeals(self, thread_id: str) -> Sequence[Appeal]:
        """Async twin of ``appeals``."""
        ...

    def open_appeals(self, *, limit: int = 100) -> Sequence[Appeal]:
        """Return the appeals of all threads that are open, oldest first."""
        ...

    async def aopen_appeals(self, *, limit: int = 100) -> Sequence[Appeal]:
        """Async twin of ``open_appeals``."""
        ...

    def erase(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Remove what people and models said from the records of a thread, and its id; the seal stays, without text.

        Returns:
            How many records there were to go through.

        Raises:
            InvalidInputError: No operator or no reason given, or the registry knows nothing about the thread.
        """
        ...

    async def aerase(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Async twin of ``erase``."""
        ...

    def seal_within(
        self,
        record: DecisionRecord,
        limits: BreakerLimits,
        *,
        held_sequence: int | None = None,
        checkpoint_id: str | None = None,
        run_token: str | None = None,
    ) -> SealOutcome:
        """Seal as ``SealRegistry.seal`` does, unless this would be one end too many.

        The ends are counted in the same transaction, one such transaction at a time, also between processes. From
        the end that passes a limit on, and until ``reset_breaker``, nothing is sealed: the decision is recorded as
        ``would_have_sealed``, in mode ``shadow``, with ``breaker_tripped``, and the outcome says ``shadowed``.
        """
        ...

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
        ...

    def breaker(self) -> BreakerState:
        """Return the state of the circuit breaker."""
        ...

    async def abreaker(self) -> BreakerState:
        """Async twin of ``breaker``."""
        ...

    def reset_breaker(self, *, operator: str, reason: str) -> BreakerState:
        """Let ends be enforced again; what was counted before no longer counts. Recorded with name and reason.

        Returns:
            The state before it.
        """
        ...

    async def areset_breaker(self, *, operator: str, reason: str) -> BreakerState:
        """Async twin of ``reset_breaker``."""
        ...

    def breaker_history(self) -> Sequence[ThreadEvent]:
        """Return when the circuit breaker tripped, and who reset it, oldest first."""
        ...

    async def abreaker_history(self) -> Sequence[ThreadEvent]:
        """Async twin of ``breaker_history``."""
        ...

    def tally(self, since: datetime, until: datetime) -> Tally:
        """Return the counts of what happened from ``since`` until just before ``until``."""
        ...

    async def atally(self, since: datetime, until: datetime) -> Tally:
        """Async twin of ``tally``."""
        ...
