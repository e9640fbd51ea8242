"""Every operation of a registry, once: its arguments are checked, and it becomes one value that any store can perform.

``StoredRegistry`` is the table: what is promised (``protocol``, ``operations_protocol``), and how it is built. A store
brings ``_do`` and ``_read``, with their async twins where it has any, and holds no rule of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from typing_extensions import override

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
    NoticeOutcome,
    RiskFlag,
    RiskKind,
    Seal,
    SealOutcome,
    ThreadStatus,
    utc_now,
)
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.annotations import (
    Annotation,
    Attributing,
    GivingFeedback,
    NotingViolation,
    OpeningAppeal,
    ResolvingAppeal,
    appeals_of,
    feedback_of,
)
from end_conversation_tool.registry.breaking import BREAKER_THREAD, reset_event
from end_conversation_tool.registry.checks import (
    MAX_ID_CHARS,
    MAX_NAME_CHARS,
    MAX_PROVENANCE_CHARS,
    check_count,
    check_notice_record,
    check_operators_record,
    check_optional_id,
    check_sealing_record,
    check_signed,
    check_subject,
    check_text,
    check_thread_id,
    check_unsealing_record,
    new_flag,
    storable_evidence,
)
from end_conversation_tool.registry.listing import (
    ListedThread,
    Listing,
    ThreadKind,
    check_limit,
    check_moment,
    check_period,
    checked_listing,
)
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry
from end_conversation_tool.registry.protocol import ProvenanceStore, SealRegistry, StoredProvenance, ThreadEvent
from end_conversation_tool.registry.subjects import SubjectEntry, SubjectPeriod
from end_conversation_tool.registry.transitions import (
    ClearingFlags,
    GivingNotice,
    OpeningBranch,
    RaisingFlag,
    Reopening,
    Sealing,
    Transition,
)

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


# What a store can be asked for


@dataclass(frozen=True, slots=True)
class Operation(Generic[R_co]):
    """One thing for a store to do, all of it or nothing; ``writes`` says whether it needs a transaction."""

    writes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Question(Operation[R_co]):
    """An operation that only looks."""

    writes: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Transit(Operation[T]):
    """Run a transition on the state of a thread; nobody else changes the thread meanwhile."""

    thread_id: str
    transition: Transition[T]


@dataclass(frozen=True, slots=True)
class Annotate(Operation[T]):
    """The same for an annotation, which sees the past of the thread."""

    thread_id: str
    annotation: Annotation[T]


@dataclass(frozen=True, slots=True)
class SealWithin(Operation[SealOutcome]):
    """Seal, unless that would be one end too many."""

    sealing: Sealing
    limits: BreakerLimits


@dataclass(frozen=True, slots=True)
class CopyThread(Operation[ThreadStatus]):
    """Give ``target`` what is known of ``source``."""

    source: str
    target: str
    seals: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class KeepDecision(Operation[None]):
    """Keep a decision that changes nothing."""

    record: DecisionRecord


@dataclass(frozen=True, slots=True)
class CountThread(Operation[None]):
    """Count a thread, once."""

    thread_id: str
    counted: Counted


@dataclass(frozen=True, slots=True)
class SaveProvenance(Operation[bool]):
    """Save the provenance of an open thread in place of the version before it."""

    thread_id: str
    provenance: StoredProvenance


@dataclass(frozen=True, slots=True)
class EraseThread(Operation[int]):
    """Take words and id out of everything that is kept of a thread."""

    thread_id: str
    operator: str
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class EraseSubject(Operation[int]):
    """Erase every thread of a subject."""

    subject: str
    operator: str
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ResetBreaker(Operation[BreakerState]):
    """Reset the circuit breaker, and return its state before."""

    event: ThreadEvent


@dataclass(frozen=True, slots=True)
class Status(Question[T]):
    """Tell something of the state of a thread."""

    thread_id: str
    told: Callable[[ThreadStatus], T]


@dataclass(frozen=True, slots=True)
class Events(Question[T]):
    """Tell something of what happened to a thread, oldest first."""

    thread_id: str
    told: Callable[[tuple[ThreadEvent, ...]], T]


@dataclass(frozen=True, slots=True)
class Decisions(Question[tuple[DecisionRecord, ...]]):
    """Return the decisions on a thread, in the order in which they were kept."""

    thread_id: str


@dataclass(frozen=True, slots=True)
class LoadProvenance(Question[StoredProvenance | None]):
    """Return the provenance of a thread."""

    thread_id: str


@dataclass(frozen=True, slots=True)
class OpenAppeals(Question[tuple[Appeal, ...]]):
    """Return the open appeals, oldest first."""

    limit: int


@dataclass(frozen=True, slots=True)
class Comments(Question[tuple[Feedback, ...]]):
    """Return the feedback of a period that has words, newest first."""

    since: datetime | None
    until: datetime | None
    limit: int


@dataclass(frozen=True, slots=True)
class ListThreads(Question[tuple[ListedThread, ...]]):
    """Return threads of a kind, newest first."""

    listing: Listing


@dataclass(frozen=True, slots=True)
class SubjectHistory(Question[tuple[SubjectEntry, ...]]):
    """Return what is on record of a subject's threads, newest first."""

    asked: SubjectPeriod


@dataclass(frozen=True, slots=True)
class Breaker(Question[BreakerState]):
    """Return the state of the circuit breaker."""


@dataclass(frozen=True, slots=True)
class TallyPeriod(Question[Tally]):
    """Count what happened in a period."""

    since: datetime
    until: datetime


# How the arguments of each method become such a value


def _sealing(
    record: DecisionRecord, held_sequence: int | None, checkpoint_id: str | None, run_token: str | None
) -> Sealing:
    return Sealing(
        record=check_sealing_record(record),
        held_sequence=None if held_sequence is None else check_count("held_sequence", held_sequence),
        checkpoint_id=check_optional_id("checkpoint_id", checkpoint_id),
        run_token=check_optional_id("run_token", run_token),
        now=utc_now(),
    )


def _seal(
    record: DecisionRecord,
    *,
    held_sequence: int | None = None,
    checkpoint_id: str | None = None,
    run_token: str | None = None,
) -> Operation[SealOutcome]:
    sealing = _sealing(record, held_sequence, checkpoint_id, run_token)
    return Transit(sealing.record.thread_id, sealing)


def _seal_within(
    record: DecisionRecord,
    limits: BreakerLimits,
    *,
    held_sequence: int | None = None,
    checkpoint_id: str | None = None,
    run_token: str | None = None,
) -> Operation[SealOutcome]:
    return SealWithin(_sealing(record, held_sequence, checkpoint_id, run_token), limits)


def _seal_despite_risk(record: DecisionRecord) -> Operation[SealOutcome]:
    sealing = replace(_sealing(check_operators_record(record), None, None, None), despite_risk=True)
    return Transit(sealing.record.thread_id, sealing)


def _give_notice(record: DecisionRecord, *, held_sequence: int | None = None) -> Operation[NoticeOutcome]:
    checked = check_notice_record(record)
    held = None if held_sequence is None else check_count("held_sequence", held_sequence)
    return Transit(checked.thread_id, GivingNotice(checked, held, utc_now()))


def _record_decision(record: DecisionRecord) -> Operation[None]:
    return KeepDecision(check_unsealing_record(record))


def _decisions(thread_id: str) -> Operation[tuple[DecisionRecord, ...]]:
    return Decisions(check_thread_id(thread_id))


def _history(thread_id: str) -> Operation[tuple[ThreadEvent, ...]]:
    return Events(check_thread_id(thread_id), tuple)


def _seals(thread_id: str) -> Operation[tuple[Seal, ...]]:
    return Status(check_thread_id(thread_id), _seals_of)


def _seals_of(status: ThreadStatus) -> tuple[Seal, ...]:
    return tuple(known.seal for known in status.branches if known.seal is not None)


def _flag_risk(
    thread_id: str,
    *,
    kind: RiskKind | str,
    source: str,
    reason: str = "",
    message_id: str | None = None,
    digest: str | None = None,
    score: float | None = None,
) -> Operation[RiskFlag]:
    flag = new_flag(kind=kind, source=source, reason=reason, message_id=message_id, digest=digest, score=score)
    return Transit(check_thread_id(thread_id), RaisingFlag(flag))


def _clear_risk(thread_id: str, *, operator: str, reason: str) -> Operation[int]:
    return Transit(check_thread_id(thread_id), ClearingFlags(*check_signed(operator, reason), utc_now()))


def _open_branch(
    thread_id: str, *, parent: int, forked_from: str, run_token: str | None = None
) -> Operation[ThreadStatus]:
    opening = OpeningBranch(
        parent=check_count("parent", parent),
        forked_from=check_text("forked_from", forked_from, limit=MAX_ID_CHARS),
        run_token=check_optional_id("run_token", run_token),
        now=utc_now(),
    )
    return Transit(check_thread_id(thread_id), opening)


def _reopen(thread_id: str, *, operator: str, reason: str) -> Operation[ThreadStatus]:
    return Transit(check_thread_id(thread_id), Reopening(*check_signed(operator, reason), utc_now()))


def _copy_status(source: str, target: str, *, seals: bool = True) -> Operation[ThreadStatus]:
    if check_thread_id(source) == check_thread_id(target):
        raise InvalidInputError("target: expected another thread than the source, got the same")
    return CopyThread(check_thread_id(source), check_thread_id(target), seals, utc_now())


def _load_provenance(thread_id: str) -> Operation[StoredProvenance | None]:
    return LoadProvenance(check_thread_id(thread_id))


def _save_provenance(thread_id: str, body: str, *, replaces: int) -> Operation[bool]:
    version = check_count("replaces", replaces) + 1
    saved = StoredProvenance(version, check_text("body", body, limit=MAX_PROVENANCE_CHARS))
    return SaveProvenance(check_thread_id(thread_id), saved)


def _note_violation(
    thread_id: str, *, evidence: EvidenceRecord, branch: int = 0, policy: str = "", model: str | None = None
) -> Operation[tuple[ThreadEvent, ...]]:
    if not isinstance(evidence, EvidenceRecord):
        raise InvalidInputError(f"evidence: expected the EvidenceRecord of a warning, got {type(evidence).__name__}")
    if evidence.kind is not EvidenceKind.WARNING:
        raise InvalidInputError(f"evidence.kind: expected warning, got {evidence.kind}")
    origin = _origin(policy, model)
    noting = NotingViolation(storable_evidence(evidence), check_count("branch", branch), *origin, utc_now())
    return Annotate(check_thread_id(thread_id), noting)


def _origin(policy: str, model: str | None) -> tuple[str, str | None]:
    """Return the names of a policy and a model, checked."""
    if model is not None:
        check_text("model", model, limit=MAX_NAME_CHARS, required=False)
    return check_text("policy", policy, limit=MAX_NAME_CHARS, required=False), model


def _count_thread(thread_id: str, *, policy: str = "", model: str | None = None, share: float = 1.0) -> Operation[None]:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise InvalidInputError(f"share: expected a float above 0 and at most 1, got {type(share).__name__}")
    return CountThread(check_thread_id(thread_id), Counted(*_origin(policy, model), 1 / share, utc_now()))


def _give_feedback(thread_id: str, *, rating: int, comment: str = "") -> Operation[Feedback]:
    if isinstance(rating, bool) or not isinstance(rating, int) or not 1 <= rating <= 5:  # noqa: PLR2004
        raise InvalidInputError(f"rating: expected an int from 1 to 5, got {type(rating).__name__}")
    check_text("comment", comment, limit=MAX_WORDS_CHARS, required=False)
    return Annotate(check_thread_id(thread_id), GivingFeedback(rating, comment, utc_now()))


def _feedback(thread_id: str) -> Operation[tuple[Feedback, ...]]:
    return Events(check_thread_id(thread_id), feedback_of)


def _open_appeal(thread_id: str, *, text: str) -> Operation[Appeal]:
    checked = check_text("text", text, limit=MAX_WORDS_CHARS)
    return Annotate(check_thread_id(thread_id), OpeningAppeal(checked, utc_now()))


def _resolve_appeal(
    thread_id: str, *, upheld: bool, operator: str, reason: str, reopen: bool = False
) -> Operation[Appeal]:
    for field, value in (("upheld", upheld), ("reopen", reopen)):
        if not isinstance(value, bool):
            raise InvalidInputError(f"{field}: expected a bool, got {type(value).__name__}")
    if reopen and not upheld:
        raise InvalidInputError("reopen: expected False for an appeal that is rejected, got a bool")
    resolving = ResolvingAppeal(upheld, *check_signed(operator, reason), reopen, utc_now())
    return Annotate(check_thread_id(thread_id), resolving)


def _appeals(thread_id: str) -> Operation[tuple[Appeal, ...]]:
    return Events(check_thread_id(thread_id), appeals_of)


def _open_appeals(*, limit: int = 100) -> Operation[tuple[Appeal, ...]]:
    return OpenAppeals(check_count("limit", limit))


def _comments(
    *, since: datetime | None = None, until: datetime | None = None, limit: int = 20
) -> Operation[tuple[Feedback, ...]]:
    check_period(since, until)
    return Comments(since, until, check_limit(limit))


def _threads(
    kind: ThreadKind | str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    policy: str | None = None,
    model: str | None = None,
    limit: int = 100,
    after: str | None = None,
    subject: str | None = None,
) -> Operation[tuple[ListedThread, ...]]:
    narrowed = {"policy": policy, "model": model, "subject": subject}
    return ListThreads(checked_listing(kind, since=since, until=until, limit=limit, after=after, **narrowed))


def _attribute(thread_id: str, *, subject: str) -> Operation[bool]:
    return Annotate(check_thread_id(thread_id), Attributing(check_subject(subject), utc_now()))


def _subject_history(
    subject: str, *, since: datetime | None = None, until: datetime | None = None, limit: int = 100
) -> Operation[tuple[SubjectEntry, ...]]:
    check_period(since, until)
    return SubjectHistory(SubjectPeriod(check_subject(subject), since, until, check_limit(limit)))


def _erase_subject(subject: str, *, operator: str, reason: str) -> Operation[int]:
    return EraseSubject(check_subject(subject), *check_signed(operator, reason), utc_now())


def _erase(thread_id: str, *, operator: str, reason: str) -> Operation[int]:
    return EraseThread(check_thread_id(thread_id), *check_signed(operator, reason), utc_now())


def _breaker() -> Operation[BreakerState]:
    return Breaker()


def _reset_breaker(*, operator: str, reason: str) -> Operation[BreakerState]:
    return ResetBreaker(reset_event(*check_signed(operator, reason), utc_now()))


def _breaker_history() -> Operation[tuple[ThreadEvent, ...]]:
    return Events(BREAKER_THREAD, tuple)


def _tally(since: datetime, until: datetime) -> Operation[Tally]:
    check_moment("since", since)
    check_moment("until", until)
    check_period(since, until)
    return TallyPeriod(since, until)


# The table


def _pair(
    promise: Callable[Concatenate[Any, P], T], build: Callable[P, Operation[T]]
) -> tuple[Callable[Concatenate[Any, P], T], Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]]:
    """Return the method that keeps a promise, and its async twin: mypy holds the signatures against each other."""

    @wraps(promise)
    def method(self: StoredRegistry, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._do(build(*args, **kwargs))

    @wraps(promise)
    async def twin(self: StoredRegistry, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._ado(build(*args, **kwargs))

    twin.__name__ = f"a{promise.__name__}"
    build.__qualname__ = promise.__qualname__  # by which Python tells of an argument that is missing
    return method, twin


class StoredRegistry(SealRegistry, ProvenanceStore, ExperimentRegistry):
    """Every registry of this package, over a store."""

    @abstractmethod
    def _do(self, operation: Operation[T]) -> T:
        """Do one operation, all of it or nothing."""

    async def _ado(self, operation: Operation[T]) -> T:
        return self._do(operation)

    @abstractmethod
    def _read(self, thread_id: str) -> ThreadStatus:
        """Read the state of a thread: on the path of every turn."""

    async def _aread(self, thread_id: str) -> ThreadStatus:
        return self._read(thread_id)

    @override
    def status(self, thread_id: str) -> ThreadStatus:
        return self._read(check_thread_id(thread_id))

    @override
    async def astatus(self, thread_id: str) -> ThreadStatus:
        return await self._aread(check_thread_id(thread_id))

    seal, aseal = _pair(SealRegistry.seal, _seal)
    give_notice, agive_notice = _pair(SealRegistry.give_notice, _give_notice)
    record_decision, arecord_decision = _pair(SealRegistry.record_decision, _record_decision)
    decisions, adecisions = _pair(SealRegistry.decisions, _decisions)
    history, ahistory = _pair(SealRegistry.history, _history)
    seals, aseals = _pair(SealRegistry.seals, _seals)
    flag_risk, aflag_risk = _pair(SealRegistry.flag_risk, _flag_risk)
    clear_risk, aclear_risk = _pair(SealRegistry.clear_risk, _clear_risk)
    open_branch, aopen_branch = _pair(SealRegistry.open_branch, _open_branch)
    reopen, areopen = _pair(SealRegistry.reopen, _reopen)
    copy_status, acopy_status = _pair(SealRegistry.copy_status, _copy_status)

    load_provenance, aload_provenance = _pair(ProvenanceStore.load_provenance, _load_provenance)
    save_provenance, asave_provenance = _pair(ProvenanceStore.save_provenance, _save_provenance)

    note_violation, anote_violation = _pair(ExperimentRegistry.note_violation, _note_violation)
    count_thread, acount_thread = _pair(ExperimentRegistry.count_thread, _count_thread)
    give_feedback, agive_feedback = _pair(ExperimentRegistry.give_feedback, _give_feedback)
    feedback, afeedback = _pair(ExperimentRegistry.feedback, _feedback)
    open_appeal, aopen_appeal = _pair(ExperimentRegistry.open_appeal, _open_appeal)
    resolve_appeal, aresolve_appeal = _pair(ExperimentRegistry.resolve_appeal, _resolve_appeal)
    appeals, aappeals = _pair(ExperimentRegistry.appeals, _appeals)
    open_appeals, aopen_appeals = _pair(ExperimentRegistry.open_appeals, _open_appeals)
    comments, acomments = _pair(ExperimentRegistry.comments, _comments)
    threads, athreads = _pair(ExperimentRegistry.threads, _threads)
    attribute, aattribute = _pair(ExperimentRegistry.attribute, _attribute)
    subject_history, asubject_history = _pair(ExperimentRegistry.subject_history, _subject_history)
    seal_despite_risk, aseal_despite_risk = _pair(ExperimentRegistry.seal_despite_risk, _seal_despite_risk)
    erase, aerase = _pair(ExperimentRegistry.erase, _erase)
    erase_subject, aerase_subject = _pair(ExperimentRegistry.erase_subject, _erase_subject)
    seal_within, aseal_within = _pair(ExperimentRegistry.seal_within, _seal_within)
    breaker, abreaker = _pair(ExperimentRegistry.breaker, _breaker)
    reset_breaker, areset_breaker = _pair(ExperimentRegistry.reset_breaker, _reset_breaker)
    breaker_history, abreaker_history = _pair(ExperimentRegistry.breaker_history, _breaker_history)
    tally, atally = _pair(ExperimentRegistry.tally, _tally)
