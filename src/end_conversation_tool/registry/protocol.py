"""The registry: the truth about threads, kept outside the graph's state, where no forged state reaches it.

What every registry guarantees, in this order:

1. ``seal`` is one transaction and idempotent: a branch has one seal, however many runs ask for it, and the decision
   that led to it is recorded with it or not at all.
2. ``seal`` looks at the risk flags *inside* that transaction: a flag that was raised first always wins.
3. Nothing unseals but ``open_branch`` and ``reopen``, and both are recorded.
4. Flags are kept per thread, survive every branch, and are cleared only by a named operator with a reason.
5. What cannot be read or written raises ``RegistryError``; nothing is half-written.

Each method has an async twin with the prefix ``a``, which takes and returns the same.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar, runtime_checkable

from pydantic import AwareDatetime, Field

from end_conversation_tool._core.fence import Fence, branch_to_write
from end_conversation_tool._core.flow import Flow, ask
from end_conversation_tool._core.records import (
    BranchStatus,
    DecisionRecord,
    EvidenceRecord,
    NoticeOutcome,
    Record,
    RiskFlag,
    RiskKind,
    Seal,
    SealOutcome,
    ThreadStatus,
)
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError

__all__ = ["ProvenanceStore", "SealRegistry", "StoredProvenance", "ThreadEvent", "check_registry"]

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

Twin = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def twin_of(method: Callable[Concatenate[S, P], T]) -> Callable[[Callable[[S], Any]], Twin[S, P, T]]:
    """Declare the async twin of a method of a protocol: it takes the same, and awaited it returns the same."""

    def declare(named: Callable[[S], Any]) -> Twin[S, P, T]:
        @wraps(method)
        async def twin(_: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            raise NotImplementedError

        twin.__name__, twin.__qualname__ = named.__name__, named.__qualname__
        twin.__doc__ = f"Async twin of ``{method.__name__}``.\n\n{method.__doc__}"
        return twin

    return declare


class ThreadEvent(Record):
    """One thing that happened to a thread, as the audit trail keeps it: only ever added.

    Attributes:
        thread_id: The thread.
        kind: What happened.
        at: UTC.
        branch: The branch it happened on.
        sequence: The thread's sequence number after it.
        subject: The category of a seal, the checkpoint that was forked, the kind of a risk flag, a rating, or whose
            thread it is, by the host's own id.
        actor: Who did it: ``decided_by`` of a seal, the source of a flag, the operator; ``None`` for a branch.
        reason: Why, in the words of the operator, of the host, or of the user; empty where none is given.
        evidence: The message of the assistant that it rests on: for warnings and violations.
        policy_version: The policy that the thread was under: for warnings, feedback and appeals.
        model: The model that the thread was talking to: for the same.
    """

    thread_id: str
    kind: EventKind
    at: AwareDatetime
    branch: int = Field(ge=0)
    sequence: int = Field(ge=0)
    subject: str | None = None
    actor: str | None = None
    reason: str = ""
    evidence: EvidenceRecord | None = None
    policy_version: str | None = None
    model: str | None = None


@runtime_checkable
class SealRegistry(Protocol):
    """Status of threads, seals, decisions and risk flags."""

    @property
    def signing_key(self) -> bytes:
        """32 random bytes made with the registry and kept in it; provenance in graph state is signed with it."""
        ...

    def status(self, thread_id: str) -> ThreadStatus:
        """Return the state of a thread, in one read; a thread never heard of is open."""
        ...

    @twin_of(status)
    def astatus(self) -> Any: ...

    def seal(
        self,
        record: DecisionRecord,
        *,
        held_sequence: int | None = None,
        checkpoint_id: str | None = None,
        run_token: str | None = None,
    ) -> SealOutcome:
        """Seal ``record.branch`` of ``record.thread_id`` and keep the decision, in one transaction.

        Args:
            record: The decision, with ``outcome=sealed``. When sealing is refused it is recorded as ``denied`` with the
                refusal as its only unmet condition; when the branch was sealed already it is recorded as
                ``denied`` with ``thread_already_sealed``.
            held_sequence: The sequence number that the run started with. If the branch was opened or reopened since, or
                the registry never was at that number, the attempt is refused as ``stale_run``. ``None`` skips
                this check.
            checkpoint_id: See ``Seal.checkpoint_id``.
            run_token: See ``Seal.run_token``.

        Returns:
            What became of it. Never raises because of the state of the thread: a branch that the thread does not
            have is refused as ``stale_run`` too. The same record given again returns the seal that it made, and is
            not recorded again.

        Raises:
            InvalidInputError: The record does not say that the thread is to be sealed, or its id was kept before.
        """
        ...

    @twin_of(seal)
    def aseal(self) -> Any: ...

    def give_notice(self, record: DecisionRecord, *, held_sequence: int | None = None) -> NoticeOutcome:
        """Record that the user of ``record.branch`` is given notice, and keep the decision, in one transaction.

        The notice stands until a newer one of its category, or until the branch is reopened; a new branch has none.
        The sequence is not bumped: a notice overtakes no run.

        Args:
            record: The decision, with ``outcome=noticed``, or ``would_have_noticed`` in shadow mode. When the notice is
                refused it is recorded as ``denied`` with the refusal as its only unmet condition.
            held_sequence: As for ``seal``.

        Returns:
            What became of it: refused as ``risk_flagged`` while a flag stands, and as ``stale_run`` on a branch that is
            sealed, unknown or was overtaken. The same record given again returns the notice that it led to, and is not
            recorded again.

        Raises:
            InvalidInputError: The record does not say that notice is to be given, or its id was kept before.
        """
        ...

    @twin_of(give_notice)
    def agive_notice(self) -> Any: ...

    def record_decision(self, record: DecisionRecord) -> None:
        """Keep a decision that neither seals nor gives notice. Keeping one id twice is an ``InvalidInputError``."""
        ...

    @twin_of(record_decision)
    def arecord_decision(self) -> Any: ...

    def decisions(self, thread_id: str) -> Sequence[DecisionRecord]:
        """Return all decisions on a thread, in the order in which they were kept."""
        ...

    @twin_of(decisions)
    def adecisions(self) -> Any: ...

    def history(self, thread_id: str) -> Sequence[ThreadEvent]:
        """Return every change of a thread's state, oldest first: who did what, when and why."""
        ...

    @twin_of(history)
    def ahistory(self) -> Any: ...

    def seals(self, thread_id: str) -> Sequence[Seal]:
        """Return the seals of all branches of a thread, reopened ones left out, in order of branch."""
        ...

    @twin_of(seals)
    def aseals(self) -> Any: ...

    def flag_risk(
        self,
        thread_id: str,
        *,
        kind: RiskKind | str,
        source: str,
        reason: str = "",
        message_id: str | None = None,
        digest: str | None = None,
        score: float | None = None,
    ) -> RiskFlag:
        """Raise a risk flag. The same kind, source and message raised again returns the flag that stands.

        A flag that was cleared stays cleared for that message and those words: only a flag without a message id,
        another message, or another digest under the same id raises it anew. At most 100 flags of one kind and source
        stand on a thread; from then on the newest of them is returned (it vetoes as well as one more would, and the
        cost of ``status`` stays bounded).

        Raises:
            InvalidInputError: Unknown kind, a blank source, or an overlong source or reason. A message id that cannot
                be stored is no error: its digest stands in its place.
        """
        ...

    @twin_of(flag_risk)
    def aflag_risk(self) -> Any: ...

    def clear_risk(self, thread_id: str, *, operator: str, reason: str) -> int:
        """Clear every standing flag of a thread; they stay on record, with who cleared them and why.

        Returns:
            How many were cleared.

        Raises:
            InvalidInputError: No operator or no reason given.
        """
        ...

    @twin_of(clear_risk)
    def aclear_risk(self) -> Any: ...

    def open_branch(
        self, thread_id: str, *, parent: int, forked_from: str, run_token: str | None = None
    ) -> ThreadStatus:
        """Record that an earlier checkpoint is being edited and retried: a new branch, to which new messages now go.

        The sequence is bumped, so that runs that started before are fenced out of the sealed branch for good. The
        sealed branch stays sealed; risk flags stay.

        Args:
            thread_id: The thread.
            parent: The branch that holds the checkpoint.
            forked_from: Id of the checkpoint.
            run_token: The run that forks. Opening twice for one run opens one branch.

        Returns:
            The status after it; ``status.branch`` is the new branch.
        """
        ...

    @twin_of(open_branch)
    def aopen_branch(self) -> Any: ...

    def reopen(self, thread_id: str, *, operator: str, reason: str) -> ThreadStatus:
        """Unseal the current branch: an operator's act, kept with name and reason.

        The sequence is bumped and the branch's fence moves up to it, so that runs that started before stay out. Risk
        flags stay. The seal stays on record as a decision.

        Raises:
            InvalidInputError: No operator or no reason given, or the thread is not sealed.
        """
        ...

    @twin_of(reopen)
    def areopen(self) -> Any: ...

    def copy_status(self, source: str, target: str, *, seals: bool = True) -> ThreadStatus:
        """Give ``target`` what is known of ``source``: its risk flags, and with ``seals`` its branches and seals.

        Returns:
            The status of ``target`` after it.

        Raises:
            InvalidInputError: ``target`` is ``source``, or seals are to be copied to a thread that has branches.
        """
        ...

    @twin_of(copy_status)
    def acopy_status(self) -> Any: ...


class StoredProvenance(NamedTuple):
    """What a ``ProvenanceStore`` holds for one thread.

    Attributes:
        version: Counts the saves of the thread, from 1.
        body: The text that was saved.
    """

    version: int
    body: str


@runtime_checkable
class ProvenanceStore(Protocol):
    """Provenance of conversations that no LangGraph checkpoint keeps. Every registry of this package is a store of it.

    It holds ids, codes and digests, never a user's words. Where it is lost there is no evidence, and no end.
    """

    def load_provenance(self, thread_id: str) -> StoredProvenance | None:
        """Return the provenance of a thread; ``None`` when none was saved."""
        ...

    @twin_of(load_provenance)
    def aload_provenance(self) -> Any: ...

    def save_provenance(self, thread_id: str, body: str, *, replaces: int) -> bool:
        """Save the provenance of a thread, if nobody else has saved it meanwhile.

        Args:
            thread_id: The thread.
            body: At most 1,000,000 characters.
            replaces: The version that it was made from; 0 when there was none.

        Returns:
            Whether it was saved. ``False``: another version stands, nothing was changed.

        Raises:
            ThreadSealedError: The thread is sealed. Nothing was changed.
            InvalidInputError: An argument is not usable.
        """
        ...

    @twin_of(save_provenance)
    def asave_provenance(self) -> Any: ...


def branch_of_run(
    registry: SealRegistry, status: ThreadStatus, fence: Fence | None
) -> Flow[tuple[ThreadStatus, BranchStatus]]:
    """Return the thread, and the branch of it that a run writes to, which is opened where the run forks.

    Args:
        registry: The truth about threads.
        status: The thread as it was read.
        fence: What the run read when it started; ``None`` for a writer that read nothing.
    """
    if fence is None:
        return status, status.on_branch(status.branch)
    branch = branch_to_write(status, fence)
    if branch is None:
        status = yield from ask(
            registry.open_branch,
            registry.aopen_branch,
            fence.thread_id,
            parent=fence.branch,
            forked_from=fence.fork or "",
            run_token=fence.run_token,
        )
        branch = branch_to_write(status, fence)
    return status, branch or status.on_branch(fence.branch)


def check_registry(registry: object) -> None:
    """Refuse what is no registry.

    Raises:
        InvalidInputError: It is none; the message says how to make one.
    """
    if isinstance(registry, type):  # one that has all methods, and would fail at the first call
        raise InvalidInputError(f"registry: expected a SealRegistry, got the class {registry.__name__}: call it first")
    if not isinstance(registry, SealRegistry):
        hint = ": make one with SqlSealRegistry(...)" if isinstance(registry, str) else ""
        raise InvalidInputError(f"registry: expected a SealRegistry, got {type(registry).__name__}{hint}")
