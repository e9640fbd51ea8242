"""What every registry does alike: check the arguments, build the transition, hand it to the store.

A store brings five verbs, each with its async twin, and holds no rule of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from end_conversation_tool._core.records import (
    DecisionRecord,
    Notice,
    NoticeOutcome,
    Outcome,
    RiskFlag,
    RiskKind,
    Seal,
    SealOutcome,
    ThreadStatus,
    utc_now,
)
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.checks import (
    MAX_ID_CHARS,
    MAX_LEDGER_CHARS,
    check_count,
    check_notice_record,
    check_optional_id,
    check_sealing_record,
    check_signed,
    check_text,
    check_thread_id,
    check_unsealing_record,
    new_flag,
)
from end_conversation_tool.registry.operations import ExperimentJobs
from end_conversation_tool.registry.protocol import StoredLedger, ThreadEvent
from end_conversation_tool.registry.transitions import (
    ClearingFlags,
    Copying,
    GivingNotice,
    OpeningBranch,
    RaisingFlag,
    Reopening,
    Sealing,
    Transition,
)

__all__ = ["StoredRegistry"]

T = TypeVar("T")


class StoredRegistry(ExperimentJobs):
    """``SealRegistry`` over a store; see there for what each method promises."""

    @abstractmethod
    def _read(self, thread_id: str) -> ThreadStatus: ...

    @abstractmethod
    async def _aread(self, thread_id: str) -> ThreadStatus: ...

    @abstractmethod
    def _apply(self, thread_id: str, transition: Transition[T]) -> T:
        """Run ``transition`` on the status of the thread; nobody else changes the thread meanwhile."""

    @abstractmethod
    async def _aapply(self, thread_id: str, transition: Transition[T]) -> T: ...

    @abstractmethod
    def _keep(self, record: DecisionRecord) -> None: ...

    @abstractmethod
    async def _akeep(self, record: DecisionRecord) -> None: ...

    @abstractmethod
    def _decisions(self, thread_id: str) -> Sequence[DecisionRecord]: ...

    @abstractmethod
    async def _adecisions(self, thread_id: str) -> Sequence[DecisionRecord]: ...

    @abstractmethod
    def _history(self, thread_id: str) -> Sequence[ThreadEvent]: ...

    @abstractmethod
    async def _ahistory(self, thread_id: str) -> Sequence[ThreadEvent]: ...

    @abstractmethod
    def _ledger(self, thread_id: str) -> StoredLedger | None: ...

    @abstractmethod
    async def _aledger(self, thread_id: str) -> StoredLedger | None: ...

    @abstractmethod
    def _keep_ledger(self, thread_id: str, ledger: StoredLedger) -> bool: ...

    @abstractmethod
    async def _akeep_ledger(self, thread_id: str, ledger: StoredLedger) -> bool: ...

    @staticmethod
    def _sealing(
        record: DecisionRecord, held_sequence: int | None, checkpoint_id: str | None, run_token: str | None
    ) -> Sealing:
        return _sealing(record, held_sequence, checkpoint_id, run_token)[1]

    def status(self, thread_id: str) -> ThreadStatus:
        """Return the state of a thread."""
        return self._read(check_thread_id(thread_id))

    async def astatus(self, thread_id: str) -> ThreadStatus:
        """Async twin of ``status``."""
        return await self._aread(check_thread_id(thread_id))

    def seal(
        self,
        record: DecisionRecord,
        *,
        held_sequence: int | None = None,
        checkpoint_id: str | None = None,
        run_token: str | None = None,
    ) -> SealOutcome:
        """Seal ``record.branch`` of ``record.thread_id`` and keep the decision, in one transaction."""
        return self._apply(*_sealing(record, held_sequence, checkpoint_id, run_token))

    async def aseal(
        self,
        record: DecisionRecord,
        *,
        held_sequence: int | None = None,
        checkpoint_id: str | None = None,
        run_token: str | None = None,
    ) -> SealOutcome:
        """Async twin of ``seal``."""
        return await self._aapply(*_sealing(record, held_sequence, checkpoint_id, run_token))

    def give_notice(self, record: DecisionRecord, *, held_sequence: int | None = None) -> NoticeOutcome:
        """Record that the user is given notice, and keep the decision, in one transaction."""
        return self._apply(*_noticing(record, held_sequence))

    async def agive_notice(self, record: DecisionRecord, *, held_sequence: int | None = None) -> NoticeOutcome:
        """Async twin of ``give_notice``."""
        return await self._aapply(*_noticing(record, held_sequence))

    def record_decision(self, record: DecisionRecord) -> None:
        """Keep a decision that seals nothing."""
        self._keep(check_unsealing_record(record))

    async def arecord_decision(self, record: DecisionRecord) -> None:
        """Async twin of ``record_decision``."""
        await self._akeep(check_unsealing_record(record))

    def decisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        """Return all decisions on a thread, in the order in which they were kept."""
        return self._decisions(check_thread_id(thread_id))

    async def adecisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        """Async twin of ``decisions``."""
        return await self._adecisions(check_thread_id(thread_id))

    def history(self, thread_id: str) -> Sequence[ThreadEvent]:
        """Return every change of a thread's state, oldest first."""
        return self._history(check_thread_id(thread_id))

    async def ahistory(self, thread_id: str) -> Sequence[ThreadEvent]:
        """Async twin of ``history``."""
        return await self._ahistory(check_thread_id(thread_id))

    def seals(self, thread_id: str) -> Sequence[Seal]:
        """Return the seals of all branches of a thread, in order of branch."""
        return _seals(self.status(thread_id))

    async def aseals(self, thread_id: str) -> Sequence[Seal]:
        """Async twin of ``seals``."""
        return _seals(await self.astatus(thread_id))

    def flag_risk(
        self,
        thread_id: str,
        *,
        kind: RiskKind | str,
        source: str,
        reason: str = "",
        message_id: str | None = None,
        score: float | None = None,
    ) -> RiskFlag:
        """Raise a risk flag, unless the same one was raised before."""
        flag = new_flag(kind=kind, source=source, reason=reason, message_id=message_id, score=score)
        return self._apply(check_thread_id(thread_id), RaisingFlag(flag))

    async def aflag_risk(
        self,
        thread_id: str,
        *,
        kind: RiskKind | str,
        source: str,
        reason: str = "",
        message_id: str | None = None,
        score: float | None = None,
    ) -> RiskFlag:
        """Async twin of ``flag_risk``."""
        flag = new_flag(kind=kind, source=source, reason=reason, message_id=message_id, score=score)
        return await self._aapply(check_thread_id(thread_id), RaisingFlag(flag))

    def clear_risk(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Clear every standing flag of a thread and return how many."""
        return self._apply(check_thread_id(thread_id), ClearingFlags(*check_signed(operator, reason), utc_now()))

    async def aclear_risk(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Async twin of ``clear_risk``."""
        return await self._aapply(check_thread_id(thread_id), ClearingFlags(*check_signed(operator, reason), utc_now()))

    def open_branch(
        self, thread_id: str, *, parent: int, forked_from: str, run_token: str | None = None
    ) -> ThreadStatus:
        """Record that an earlier checkpoint is being edited and retried, on a new branch."""
        return self._apply(check_thread_id(thread_id), _branching(parent, forked_from, run_token))

    async def aopen_branch(
        self, thread_id: str, *, parent: int, forked_from: str, run_token: str | None = None
    ) -> ThreadStatus:
        """Async twin of ``open_branch``."""
        return await self._aapply(check_thread_id(thread_id), _branching(parent, forked_from, run_token))

    def reopen(self, thread_id: str, *, operator: str, reason: str) -> ThreadStatus:
        """Unseal the current branch: an operator's act."""
        return self._apply(check_thread_id(thread_id), Reopening(*check_signed(operator, reason), utc_now()))

    async def areopen(self, thread_id: str, *, operator: str, reason: str) -> ThreadStatus:
        """Async twin of ``reopen``."""
        return await self._aapply(check_thread_id(thread_id), Reopening(*check_signed(operator, reason), utc_now()))

    def copy_status(self, source: str, target: str, *, seals: bool = True) -> ThreadStatus:
        """Give one thread what is known of another."""
        target = _other_thread(source, target)
        return self._apply(target, Copying(self.status(source), seals, utc_now()))

    async def acopy_status(self, source: str, target: str, *, seals: bool = True) -> ThreadStatus:
        """Async twin of ``copy_status``."""
        target = _other_thread(source, target)
        return await self._aapply(target, Copying(await self.astatus(source), seals, utc_now()))

    def load_ledger(self, thread_id: str) -> StoredLedger | None:
        """Return the ledger of a thread; see ``LedgerStore``."""
        return self._ledger(check_thread_id(thread_id))

    async def aload_ledger(self, thread_id: str) -> StoredLedger | None:
        """Async twin of ``load_ledger``."""
        return await self._aledger(check_thread_id(thread_id))

    def save_ledger(self, thread_id: str, body: str, *, replaces: int) -> bool:
        """Save the ledger of an open thread, unless another was saved meanwhile; see ``LedgerStore``."""
        return self._keep_ledger(check_thread_id(thread_id), _next_ledger(body, replaces))

    async def asave_ledger(self, thread_id: str, body: str, *, replaces: int) -> bool:
        """Async twin of ``save_ledger``."""
        return await self._akeep_ledger(check_thread_id(thread_id), _next_ledger(body, replaces))


def _next_ledger(body: str, replaces: int) -> StoredLedger:
    return StoredLedger(check_count("replaces", replaces) + 1, check_text("body", body, limit=MAX_LEDGER_CHARS))


def _other_thread(source: str, target: str) -> str:
    if check_thread_id(source) == check_thread_id(target):
        raise InvalidInputError("target: expected another thread than the source, got the same")
    return check_thread_id(target)


def _sealing(
    record: DecisionRecord, held_sequence: int | None, checkpoint_id: str | None, run_token: str | None
) -> tuple[str, Sealing]:
    checked = check_sealing_record(record)
    if held_sequence is not None:
        check_count("held_sequence", held_sequence)
    return checked.thread_id, Sealing(
        record=checked,
        held_sequence=held_sequence,
        checkpoint_id=check_optional_id("checkpoint_id", checkpoint_id),
        run_token=check_optional_id("run_token", run_token),
        now=utc_now(),
    )


def _noticing(record: DecisionRecord, held_sequence: int | None) -> tuple[str, GivingNotice]:
    checked = check_notice_record(record)
    if held_sequence is not None:
        check_count("held_sequence", held_sequence)
    notice = Notice(
        id=checked.id,
        category=checked.category,
        turn=checked.turn,
        sequence=0,
        shadow=checked.outcome is Outcome.WOULD_HAVE_NOTICED,
        given_at=utc_now(),
    )
    return checked.thread_id, GivingNotice(checked, notice, held_sequence)


def _branching(parent: int, forked_from: str, run_token: str | None) -> OpeningBranch:
    return OpeningBranch(
        parent=check_count("parent", parent),
        forked_from=check_text("forked_from", forked_from, limit=MAX_ID_CHARS),
        run_token=check_optional_id("run_token", run_token),
        now=utc_now(),
    )


def _seals(status: ThreadStatus) -> tuple[Seal, ...]:
    return tuple(known.seal for known in status.branches if known.seal is not None)
