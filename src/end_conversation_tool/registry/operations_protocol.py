"""What a registry keeps for the experiment: warnings, feedback, appeals, the circuit breaker, and counts.

Everything here happens rarely: an ordinary turn writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from end_conversation_tool._core.operations import Appeal, BreakerLimits, BreakerState, Feedback, Tally
from end_conversation_tool._core.records import DecisionRecord, EvidenceRecord, SealOutcome
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.twins import twin_of

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

    @twin_of(note_mention)
    def anote_mention(self) -> Any: ...

    def note_heeded(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Record that the user changed course after the warning that ``evidence`` names; once for each warning."""
        ...

    @twin_of(note_heeded)
    def anote_heeded(self) -> Any: ...

    def count_thread(self, thread_id: str, *, policy: str = "", model: str | None = None, share: float = 1.0) -> None:
        """Count a thread that begins, once; it stands for ``1 / share`` threads."""
        ...

    @twin_of(count_thread)
    def acount_thread(self) -> Any: ...

    def give_feedback(self, thread_id: str, *, rating: int, comment: str = "") -> Feedback:
        """Keep what a user says of a conversation: a rating of 1 to 5, and at most 2,000 characters.

        Raises:
            InvalidInputError: An argument is not usable, or the thread has 100 already.
        """
        ...

    @twin_of(give_feedback)
    def agive_feedback(self) -> Any: ...

    def feedback(self, thread_id: str) -> Sequence[Feedback]:
        """Return the feedback on a thread, oldest first."""
        ...

    @twin_of(feedback)
    def afeedback(self) -> Any: ...

    def open_appeal(self, thread_id: str, *, text: str) -> Appeal:
        """Open an appeal against the end of a thread.

        Raises:
            InvalidInputError: An argument is not usable, the thread is not sealed, or an appeal is open already.
        """
        ...

    @twin_of(open_appeal)
    def aopen_appeal(self) -> Any: ...

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

    @twin_of(resolve_appeal)
    def aresolve_appeal(self) -> Any: ...

    def appeals(self, thread_id: str) -> Sequence[Appeal]:
        """Return the appeals of a thread, oldest first."""
        ...

    @twin_of(appeals)
    def aappeals(self) -> Any: ...

    def open_appeals(self, *, limit: int = 100) -> Sequence[Appeal]:
        """Return the appeals of all threads that are open, oldest first."""
        ...

    @twin_of(open_appeals)
    def aopen_appeals(self) -> Any: ...

    def erase(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Remove what people and models said from the records of a thread, and its id; the seal stays, without text.

        Returns:
            How many records there were to go through.

        Raises:
            InvalidInputError: No operator or no reason given, or the registry knows nothing about the thread.
        """
        ...

    @twin_of(erase)
    def aerase(self) -> Any: ...

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

    @twin_of(seal_within)
    def aseal_within(self) -> Any: ...

    def breaker(self) -> BreakerState:
        """Return the state of the circuit breaker."""
        ...

    @twin_of(breaker)
    def abreaker(self) -> Any: ...

    def reset_breaker(self, *, operator: str, reason: str) -> BreakerState:
        """Let ends be enforced again; what was counted before no longer counts. Recorded with name and reason.

        Returns:
            The state before it.
        """
        ...

    @twin_of(reset_breaker)
    def areset_breaker(self) -> Any: ...

    def breaker_history(self) -> Sequence[ThreadEvent]:
        """Return when the circuit breaker tripped, and who reset it, oldest first."""
        ...

    @twin_of(breaker_history)
    def abreaker_history(self) -> Any: ...

    def tally(self, since: datetime, until: datetime) -> Tally:
        """Return the counts of what happened from ``since`` until just before ``until``."""
        ...

    @twin_of(tally)
    def atally(self) -> Any: ...
