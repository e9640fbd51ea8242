"""Every change of a thread's state, as pure functions: status before -> status after, and what to record.

Every registry runs these, and only these, inside its own lock or transaction. What may happen to a thread:

====================  ==========================================  ====================================
transition            before                                      after
====================  ==========================================  ====================================
``Sealing``           branch open, no flag stands, not overtaken  branch sealed, sequence + 1
                      (an operator may seal while flags stand)    (the flags stay)
``GivingNotice``      branch open, no flag stands, not overtaken  a notice on the branch, sequence as it was
``RaisingFlag``       any                                         one flag more, unless it stands
``ClearingFlags``     any                                         no flag stands
``OpeningBranch``     parent known, run has opened none           new open branch, sequence + 1
``Copying``           target has no branches                      branches, seals and flags of the source
``Reopening``         current branch sealed                       current branch open, sequence + 1, no notices
====================  ==========================================  ====================================

A transition that is refused leaves the status as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from end_conversation_tool._core.records import (
    BranchStatus,
    Decision,
    DecisionRecord,
    Mode,
    Notice,
    NoticeOutcome,
    Outcome,
    RiskFlag,
    RiskKind,
    Seal,
    SealOutcome,
    SealPoint,
    SealRefusal,
    ThreadStatus,
    UnmetCode,
    Verdict,
)
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.protocol import ThreadEvent

MAX_STANDING_FLAGS = 100
"""Most flags of one kind and source that stand on a thread: one vetoes, and ``status`` reads them all."""

COPIED_RUN = "copied"
"""The run in whose name a copied seal stands when nobody knows which run sealed the original."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a transition makes of a thread.

    Attributes:
        status: The state after it; the same object as before when nothing changed.
        result: What the caller gets.
        events: Lines for the audit trail.
        decision: A decision to keep, where there is one.
    """

    status: ThreadStatus
    result: T
    events: tuple[ThreadEvent, ...] = ()
    decision: DecisionRecord | None = None


Transition = Callable[[ThreadStatus], Change[T]]


@dataclass(frozen=True, slots=True)
class Sealing:
    """Seal the branch of ``record``; see ``SealRegistry.seal``, and ``seal_despite_risk`` for ``despite_risk``."""

    record: DecisionRecord
    held_sequence: int | None
    checkpoint_id: str | None
    run_token: str | None
    now: datetime
    shadow: bool = False
    despite_risk: bool = False

    def __call__(self, status: ThreadStatus) -> Change[SealOutcome]:
        """Return what becomes of the thread."""
        standing = status.on_branch(self.record.branch).seal
        if standing is not None:
            again = standing.record.id == self.record.id
            kept = None if again else refused(self.record, UnmetCode.THREAD_ALREADY_SEALED)
            return Change(status, SealOutcome(seal=standing), decision=kept)
        refusal = _refusal(status, self.record.branch, self.held_sequence, risk_vetoes=not self.despite_risk)
        if refusal is not None:
            return Change(status, SealOutcome(refusal=refusal), decision=refused(self.record, refusal, status))
        if self.shadow:
            return Change(status, SealOutcome(shadowed=True), decision=shadowed(self.record))
        record = self.record.model_copy(update={"risk_kinds": _risk_of(status)}) if self.despite_risk else self.record
        seal = Seal(
            thread_id=status.thread_id,
            branch=record.branch,
            sequence=status.sequence + 1,
            sealed_at=self.now,
            checkpoint_id=self.checkpoint_id,
            run_token=self.run_token,
            record=record,
        )
        sealed = status.on_branch(seal.branch).model_copy(update={"seal": seal})
        after = _with_branch(status, sealed, branch=seal.branch, sequence=seal.sequence)
        event = event_of(
            after,
            EventKind.SEALED,
            self.now,
            branch=seal.branch,
            subject=record.category,
            actor=record.decided_by,
            reason=record.reason if self.despite_risk else "",  # an operator's words; else the model's, kept once
        )
        return Change(after, SealOutcome(seal=seal, created=True), (event,), record)


@dataclass(frozen=True, slots=True)
class GivingNotice:
    """Put the notice that ``record`` is about on its branch; see ``SealRegistry.give_notice``."""

    record: DecisionRecord
    held_sequence: int | None
    now: datetime

    def __call__(self, status: ThreadStatus) -> Change[NoticeOutcome]:
        """Return what becomes of the thread. Its sequence stays: a notice overtakes no run."""
        branch = status.on_branch(self.record.branch)
        again = next((known for known in branch.notices if known.id == self.record.id), None)
        if again is not None:
            return Change(status, NoticeOutcome(notice=again))
        refusal = _refusal(status, self.record.branch, self.held_sequence)
        if refusal is None and branch.seal is not None:
            refusal = UnmetCode.STALE_RUN
        if refusal is not None:
            return Change(status, NoticeOutcome(refusal=refusal), decision=refused(self.record, refusal, status))
        notice = Notice(
            id=self.record.id,
            category=self.record.category,
            turn=self.record.turn,
            sequence=status.sequence,
            shadow=self.record.outcome is Outcome.WOULD_HAVE_NOTICED,
            given_at=self.now,
        )
        others = (
            known for known in branch.notices if (known.category, known.shadow) != (notice.category, notice.shadow)
        )
        after = _with_branch(status, branch.model_copy(update={"notices": (*others, notice)}))
        event = event_of(
            after,
            EventKind.NOTICE_GIVEN,
            self.now,
            branch=branch.branch,
            subject=notice.category,
            actor=self.record.decided_by,
            policy_version=self.record.decision.policy_version,
            model=self.record.model,
        )
        return Change(after, NoticeOutcome(notice=notice), (event,), self.record)


@dataclass(frozen=True, slots=True)
class RaisingFlag:
    """Raise ``flag`` unless it was raised before; see ``SealRegistry.flag_risk``."""

    flag: RiskFlag

    def __call__(self, status: ThreadStatus) -> Change[RiskFlag]:
        """Return what becomes of the thread."""
        alike = [known for known in status.risk_flags if self._same_origin(known)]
        said = self.flag.message_id, self.flag.digest
        same = [known for known in alike if (known.message_id, known.digest) == said]
        standing = [known for known in same if known.active]
        if standing:
            return Change(status, standing[-1])
        if same and self.flag.message_id is not None:
            return Change(status, same[-1])
        active = [known for known in alike if known.active]
        if len(active) >= MAX_STANDING_FLAGS:
            return Change(status, active[-1])
        after = status.model_copy(update={"risk_flags": (*status.risk_flags, self.flag)})
        flag = self.flag
        event = event_of(
            after, EventKind.RISK_RAISED, flag.raised_at, subject=flag.kind, actor=flag.source, reason=flag.reason
        )
        return Change(after, flag, (event,))

    def _same_origin(self, known: RiskFlag) -> bool:
        return (known.kind, known.source) == (self.flag.kind, self.flag.source)


@dataclass(frozen=True, slots=True)
class ClearingFlags:
    """Clear every standing flag; see ``SealRegistry.clear_risk``."""

    operator: str
    reason: str
    now: datetime

    def __call__(self, status: ThreadStatus) -> Change[int]:
        """Return what becomes of the thread."""
        cleared = [flag for flag in status.risk_flags if flag.active]
        if not cleared:
            return Change(status, 0)
        why = {"cleared_at": self.now, "cleared_by": self.operator, "clear_reason": self.reason}
        flags = tuple(flag.model_copy(update=why) if flag.active else flag for flag in status.risk_flags)
        after = status.model_copy(update={"risk_flags": flags})
        events = tuple(
            event_of(
                after, EventKind.RISK_CLEARED, self.now, subject=flag.kind, actor=self.operator, reason=self.reason
            )
            for flag in cleared
        )
        return Change(after, len(cleared), events)


@dataclass(frozen=True, slots=True)
class OpeningBranch:
    """Make a new branch the current one; see ``SealRegistry.open_branch``."""

    parent: int
    forked_from: str
    run_token: str | None
    now: datetime

    def __call__(self, status: ThreadStatus) -> Change[ThreadStatus]:
        """Return what becomes of the thread."""
        if self.run_token is not None and any(known.run_token == self.run_token for known in status.branches):
            return Change(status, status)
        if not _knows(status, self.parent):
            raise InvalidInputError("parent: expected the number of a branch of this thread, got an unknown int")
        number = max((known.branch for known in status.branches), default=0) + 1
        opened = BranchStatus(
            branch=number,
            parent=self.parent,
            forked_from=self.forked_from,
            fence=status.sequence + 1,
            run_token=self.run_token,
        )
        after = _with_branch(status, opened, branch=number, sequence=opened.fence)
        event = event_of(after, EventKind.BRANCH_OPENED, self.now, subject=self.forked_from)
        return Change(after, after, (event,))


@dataclass(frozen=True, slots=True)
class Reopening:
    """Unseal the current branch; see ``SealRegistry.reopen``."""

    operator: str
    reason: str
    now: datetime

    def __call__(self, status: ThreadStatus) -> Change[ThreadStatus]:
        """Return what becomes of the thread."""
        if status.seal is None:
            raise InvalidInputError("thread_id: expected a sealed thread, got one that is open")
        branch, seal = status.on_branch(status.branch), status.seal
        point = SealPoint(sequence=seal.sequence, checkpoint_id=seal.checkpoint_id, run_token=seal.run_token)
        past = (*branch.past_seals, point)
        changes = {"seal": None, "fence": status.sequence + 1, "past_seals": past, "notices": ()}
        opened = branch.model_copy(update=changes)
        after = _with_branch(status, opened, reopened=opened.fence, sequence=opened.fence)
        event = event_of(after, EventKind.REOPENED, self.now, actor=self.operator, reason=self.reason)
        return Change(after, after, (event,))


@dataclass(frozen=True, slots=True)
class Copying:
    """Take over what is known of another thread; see ``SealRegistry.copy_status``."""

    source: ThreadStatus
    seals: bool
    now: datetime

    def __call__(self, status: ThreadStatus) -> Change[ThreadStatus]:
        """Return what becomes of the target."""
        if self.seals and any(branch != BranchStatus(notices=branch.notices) for branch in status.branches):
            raise InvalidInputError("target: expected a thread without branches of its own, got one that has some")
        branches = tuple(self._own(known, status.thread_id) for known in self.source.branches) if self.seals else ()
        flags = tuple(flag for flag in self.source.risk_flags if flag not in status.risk_flags)
        if not branches and not flags:
            return Change(status, status)
        after = status.model_copy(
            update={
                "branches": branches or status.branches,
                "branch": self.source.branch if branches else status.branch,
                "sequence": max(status.sequence, self.source.sequence if branches else 0) + 1,
                "risk_flags": (*status.risk_flags, *flags),
            }
        )
        event = event_of(after, EventKind.COPIED, self.now, subject=self.source.thread_id)
        return Change(after, after, (event,))

    @staticmethod
    def _own(branch: BranchStatus, thread_id: str) -> BranchStatus:
        """Return the branch as the copy's own. Its seal always names a run, in whose name the content is copied."""
        seal = branch.seal
        if seal is not None:
            seal = seal.model_copy(update={"thread_id": thread_id, "run_token": seal.run_token or COPIED_RUN})
        return branch.model_copy(update={"seal": seal})


def refused(record: DecisionRecord, code: UnmetCode, status: ThreadStatus | None = None) -> DecisionRecord:
    """Return ``record`` as a denial with one unmet condition; the evidence stays.

    Args:
        record: What was asked for.
        code: Why it is refused.
        status: The thread, whose standing flags are named in the record where they may be the reason.
    """
    decision = Decision(
        verdict=Verdict.DENY,
        unmet=(code,),
        evidence=record.decision.evidence,
        policy_version=record.decision.policy_version,
    )
    changes: dict[str, Any] = {"outcome": Outcome.DENIED, "decision": decision}
    if status is not None:
        changes["risk_kinds"] = _risk_of(status)
    return record.model_copy(update=changes)


def shadowed(record: DecisionRecord) -> DecisionRecord:
    """Return ``record`` as an end that would have been, had the circuit breaker not tripped."""
    changes = {"outcome": Outcome.WOULD_HAVE_SEALED, "mode": Mode.SHADOW, "breaker_tripped": True}
    return record.model_copy(update=changes)


def _risk_of(status: ThreadStatus) -> tuple[RiskKind, ...]:
    return tuple(sorted({flag.kind for flag in status.risk_flags if flag.active}))


def _refusal(
    status: ThreadStatus, branch: int, held_sequence: int | None, *, risk_vetoes: bool = True
) -> SealRefusal | None:
    """Return why an open branch must stay as it is. Risk comes first: it must show in the record."""
    if status.at_risk and risk_vetoes:
        return UnmetCode.RISK_FLAGGED
    fence = status.on_branch(branch).fence
    if held_sequence is not None and not fence <= held_sequence <= status.sequence:
        return UnmetCode.STALE_RUN
    return None if _knows(status, branch) else UnmetCode.STALE_RUN


def _knows(status: ThreadStatus, branch: int) -> bool:
    """Whether the thread has this branch; every thread has branch 0."""
    return branch == 0 or any(known.branch == branch for known in status.branches)


def _with_branch(status: ThreadStatus, put: BranchStatus, /, **changes: Any) -> ThreadStatus:
    """Return the status with ``put`` in its place, and with further changes."""
    others = [known for known in status.branches if known.branch != put.branch]
    branches = tuple(sorted((*others, put), key=lambda known: known.branch))
    return status.model_copy(update={"branches": branches, **changes})


def event_of(
    after: ThreadStatus,
    kind: EventKind,
    at: datetime,
    *,
    branch: int | None = None,
    subject: str | None = None,
    actor: str | None = None,
    reason: str = "",
    **more: Any,
) -> ThreadEvent:
    """Return a line for the audit trail; ``more`` are further fields of it."""
    return ThreadEvent(
        thread_id=after.thread_id,
        kind=kind,
        at=at,
        branch=after.branch if branch is None else branch,
        sequence=after.sequence,
        subject=None if subject is None else str(subject),
        actor=actor,
        reason=reason,
        **more,
    )
