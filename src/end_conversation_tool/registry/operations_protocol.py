"""What a registry keeps for the experiment and the desk: violations, feedback, appeals, subjects, lists, counts.

Everything here happens rarely: an ordinary turn writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from end_conversation_tool._core.operations import Appeal, BreakerLimits, BreakerState, Feedback, Tally
from end_conversation_tool._core.records import DecisionRecord, EvidenceRecord, SealOutcome
from end_conversation_tool.registry.listing import ListedThread, ThreadKind
from end_conversation_tool.registry.protocol import ThreadEvent, twin_of
from end_conversation_tool.registry.subjects import SubjectEntry

__all__ = ["ExperimentRegistry"]


@runtime_checkable
class ExperimentRegistry(Protocol):
    """The records of the experiment. Every registry of this package keeps them."""

    def note_violation(
        self, thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
    ) -> Sequence[ThreadEvent]:
        """Record that the assistant warned somebody who may be at risk, whether or not a flag stands.

        Args:
            thread_id: The thread.
            evidence: The warning; the same message is recorded once.
            branch: The branch of the thread.
            policy: The version of the policy.
            model: The model that warned.

        Returns:
            The event; nothing when the message was recorded before.

        Raises:
            InvalidInputError: The evidence is not that of a warning, or an argument is not usable.
        """
        ...

    @twin_of(note_violation)
    def anote_violation(self) -> Any: ...

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

    def comments(
        self, *, since: datetime | None = None, until: datetime | None = None, limit: int = 20
    ) -> Sequence[Feedback]:
        """Return what users wrote of conversations, newest first: feedback without words is left out.

        Args:
            since: The first moment that counts; ``None`` for the beginning.
            until: The first moment that no longer counts; ``None`` for none.
            limit: At most this many, 1 to 10,000.

        Raises:
            InvalidInputError: An argument is not usable.
        """
        ...

    @twin_of(comments)
    def acomments(self) -> Any: ...

    def threads(
        self,
        kind: ThreadKind | str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        policy: str | None = None,
        model: str | None = None,
        limit: int = 100,
        after: str | None = None,
        subject: str | None = None,
    ) -> Sequence[ListedThread]:
        """Return threads of a kind, newest first. Read through an index, never by a scan of all threads.

        Args:
            kind: ``sealed``: sealed now; ``shadow``: an end or a notice would have been; ``noticed``: a notice was
                given; ``at_risk``: a flag stands; ``denied``: an end was denied; ``appealed``: an appeal is open.
            since: The first moment that counts, with a time zone; ``None`` for the beginning.
            until: The first moment that no longer counts; ``None`` for none.
            policy: Only threads whose newest decision was made under this policy version.
            model: Only threads whose newest decision was asked for by this model.
            limit: At most this many, 1 to 10,000.
            after: The ``cursor`` of the last thread that is known already.
            subject: Only threads of this subject, see ``attribute``; of its newest 10,000.

        Raises:
            InvalidInputError: An argument is not usable.
        """
        ...

    @twin_of(threads)
    def athreads(self) -> Any: ...

    def attribute(self, thread_id: str, *, subject: str) -> bool:
        """Record whose thread it is, by the host's own pseudonymous id: never a name or an address.

        For a view of a person's threads, and for nothing else: nothing is ever sealed, denied or vetoed by subject.
        A thread can be of several subjects, at most 100. The doors call this when they record something of a thread.

        Args:
            thread_id: The thread.
            subject: The id, 1 to 200 characters. It is kept as it is given, until the thread is erased.

        Returns:
            Whether it was recorded now; ``False``: it is the subject's already.

        Raises:
            InvalidInputError: An argument is not usable, or the thread has 100 subjects.
        """
        ...

    @twin_of(attribute)
    def aattribute(self) -> Any: ...

    def subject_history(
        self, subject: str, *, since: datetime | None = None, until: datetime | None = None, limit: int = 100
    ) -> Sequence[SubjectEntry]:
        """Return what is on record of a subject's threads, newest first: ends, notices, denials, flags, appeals.

        Args:
            subject: As for ``attribute``; of its newest 10,000 threads.
            since: The first moment that counts, with a time zone; ``None`` for the beginning.
            until: The first moment that no longer counts; ``None`` for none.
            limit: At most this many, 1 to 10,000.

        Raises:
            InvalidInputError: An argument is not usable.
        """
        ...

    @twin_of(subject_history)
    def asubject_history(self) -> Any: ...

    def seal_despite_risk(self, record: DecisionRecord) -> SealOutcome:
        """Seal as ``SealRegistry.seal`` does though a risk flag may stand: an operator's act, never the gate's.

        Every flag stays. The record names the kinds of risk that were known, and the event of the seal who did it
        and why. No run holds the thread, and no circuit breaker counts an operator's own end.

        Args:
            record: As for ``seal``, with the operator as ``decided_by`` and their reason as ``reason``.

        Raises:
            InvalidInputError: As for ``seal``, or the policy decided and no operator, or no reason is given.
        """
        ...

    @twin_of(seal_despite_risk)
    def aseal_despite_risk(self) -> Any: ...

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

    def erase_subject(self, subject: str, *, operator: str, reason: str) -> int:
        """Erase every thread of a subject, as ``erase`` does, all of them or none; shared threads too.

        Returns:
            How many threads there were; 0 when the registry knows none of this subject.

        Raises:
            InvalidInputError: No operator or no reason given.
        """
        ...

    @twin_of(erase_subject)
    def aerase_subject(self) -> Any: ...

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
