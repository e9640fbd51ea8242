"""The fencing token of a run: what the thread looked like when the run read it.

A run that read a thread before it was sealed must not write after it. So ``SealedSaver`` gives each run a fence when it
loads its checkpoint, and asks for it back whenever the run writes:

* in a table of the runs that are going on (``active_runs.py``);
* for a writer that is no run, as ``update_state``: on the config that LangGraph hands from ``get_tuple`` to ``put``, as
  an object that only this process can make.

Here: the fence itself, and the pure rules on who may write where. They know the registry's status and the fence, and
nothing else. ``WHO_MAY_WRITE`` states them as one table; the triggers on checkpoint tables (``registry/sql/triggers``)
answer the same in SQL, and are tested against it row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.records import BranchStatus, Seal, ThreadStatus, new_id
from end_conversation_tool.errors import StaleRunError, ThreadSealedError

__all__ = [
    "WHO_MAY_WRITE",
    "Answer",
    "BranchState",
    "Fence",
    "Writer",
    "branch_to_write",
    "can_fork",
    "check_present",
    "check_write",
    "is_ordinary",
    "moved_to",
]


@dataclass(frozen=True, slots=True)
class Fence:
    """What one run read.

    Attributes:
        thread_id: The thread.
        sequence: The thread's sequence number at that time.
        branch: The branch of the checkpoint that was loaded.
        run_token: Identifies the run.
        fork: The checkpoint that the run forks from, when it edits and retries on a sealed branch.
        open: Whether the branch was open then.
    """

    thread_id: str
    sequence: int
    branch: int
    run_token: str = field(default_factory=new_id)
    fork: str | None = None
    open: bool = True


def can_fork(seal: Seal, checkpoint_id: str) -> bool:
    """Whether a checkpoint lies before the point at which its branch was sealed.

    LangGraph's checkpoint ids are ordered by time. The checkpoint that the deciding node ran on is not before it: a
    plain retry of the same turn would reopen what was just sealed.
    """
    return seal.checkpoint_id is not None and checkpoint_id < seal.checkpoint_id


def branch_to_write(status: ThreadStatus, fence: Fence) -> BranchStatus | None:
    """Return the branch that a run's writes go to; ``None`` when it must be opened first."""
    if fence.fork is None:
        return status.on_branch(fence.branch)
    return next((branch for branch in status.branches if branch.run_token == fence.run_token), None)


class BranchState(StrEnum):
    """The state of the branch that is to be written."""

    OPEN = "open"
    SEALED = "sealed"
    UNKNOWN = "unknown"
    """The thread has no such branch: a mark that the registry never gave."""


class Writer(StrEnum):
    """Who wants to write. Runs are told apart by their token and by the sequence number that they started at."""

    NO_FENCE = "no fence"
    """It read nothing, or says nothing of what it read."""

    OWN_RUN = "own run"
    """The run that sealed the branch; of an open one, the run that opened it, unless it was reopened since."""

    RUN_BEFORE = "run before"
    """It started before the branch was opened or reopened."""

    RUN_SINCE = "run since"
    """It started later."""

    RUN_AHEAD = "run ahead"
    """It started at a number that the thread has not reached: the registry was set back."""

    FORKED_RUN = "forked run"
    """It forks, so that it has, or gets, a branch of its own."""


class Answer(StrEnum):
    """What a writer is told."""

    ADMITTED = "admitted"
    SEALED = "sealed"
    """``ThreadSealedError``."""

    STALE = "stale"
    """``StaleRunError``."""


WHO_MAY_WRITE: Mapping[tuple[BranchState, Writer], Answer] = {
    (BranchState.OPEN, Writer.NO_FENCE): Answer.ADMITTED,
    (BranchState.OPEN, Writer.OWN_RUN): Answer.ADMITTED,
    (BranchState.OPEN, Writer.RUN_BEFORE): Answer.STALE,
    (BranchState.OPEN, Writer.RUN_SINCE): Answer.ADMITTED,
    (BranchState.OPEN, Writer.RUN_AHEAD): Answer.STALE,
    (BranchState.OPEN, Writer.FORKED_RUN): Answer.STALE,
    (BranchState.SEALED, Writer.NO_FENCE): Answer.SEALED,
    (BranchState.SEALED, Writer.OWN_RUN): Answer.ADMITTED,
    (BranchState.SEALED, Writer.RUN_BEFORE): Answer.SEALED,
    (BranchState.SEALED, Writer.RUN_SINCE): Answer.SEALED,
    (BranchState.SEALED, Writer.RUN_AHEAD): Answer.SEALED,
    (BranchState.SEALED, Writer.FORKED_RUN): Answer.SEALED,
    **{(BranchState.UNKNOWN, writer): Answer.STALE for writer in Writer},
}
"""Who may write to a branch in which state: the whole of it. What is not admitted is not written."""


def _state_of(status: ThreadStatus, branch: BranchStatus) -> BranchState:
    if branch.branch != 0 and all(known.branch != branch.branch for known in status.branches):
        return BranchState.UNKNOWN
    return BranchState.OPEN if branch.seal is None else BranchState.SEALED


def _writer_of(status: ThreadStatus, branch: BranchStatus, fence: Fence | None) -> Writer:
    if fence is None:
        return Writer.NO_FENCE
    opened = None if branch.past_seals else branch.run_token
    own = opened if branch.seal is None else branch.seal.run_token
    if own == fence.run_token:
        return Writer.OWN_RUN
    elsewhere = (known.run_token for known in status.branches if known.branch != branch.branch)
    if fence.fork is not None or fence.run_token in elsewhere:
        return Writer.FORKED_RUN
    if fence.sequence < branch.fence:
        return Writer.RUN_BEFORE
    return Writer.RUN_SINCE if fence.sequence <= status.sequence else Writer.RUN_AHEAD


def check_write(status: ThreadStatus, branch: BranchStatus, fence: Fence | None) -> None:
    """Refuse a write that comes too late: ``WHO_MAY_WRITE`` says which.

    Args:
        status: The thread, read after the writer asked to write.
        branch: The branch to be written.
        fence: The writer's fence; ``None`` for a writer that read nothing.

    Raises:
        ThreadSealedError: The branch is sealed, and not by this run.
        StaleRunError: The branch was reopened since the run started, there is none of that number, or the registry was
            set back.
    """
    answer = WHO_MAY_WRITE[_state_of(status, branch), _writer_of(status, branch, fence)]
    if answer is Answer.SEALED and branch.seal is not None:
        raise ThreadSealedError(status.thread_id, conversation_end(branch.seal))
    if answer is not Answer.ADMITTED:
        held = status.sequence if fence is None else fence.sequence
        raise StaleRunError(status.thread_id, held=held, current=branch.fence)


def check_present(status: ThreadStatus, fence: Fence) -> None:
    """Refuse to go on where nobody would hear it: on a branch that is no longer the one that the thread shows.

    Args:
        status: The thread.
        fence: Of who wants to go on there, and opens no branch.

    Raises:
        ThreadSealedError: The present branch is sealed.
        StaleRunError: It is open.
    """
    if fence.branch == status.branch:
        return
    if status.seal is not None:
        raise ThreadSealedError(status.thread_id, conversation_end(status.seal))
    raise StaleRunError(status.thread_id, held=status.on_branch(fence.branch).fence, current=status.sequence)


def is_ordinary(fence: Fence, status: ThreadStatus) -> bool:
    """Whether a run may write to its thread since nothing was ever sealed, noticed or forked there: nearly every write.

    ``check_write`` finds the same, and so does ``moved_to``; this tells it at once.
    """
    return not status.branches and fence.branch == 0 and fence.fork is None and fence.sequence == status.sequence


def moved_to(fence: Fence, branch: BranchStatus) -> Fence:
    """Return the fence of a run that forked, once its branch is open; that of any other run stays as it is."""
    if fence.fork is None and branch.branch == fence.branch and branch.fence <= fence.sequence:
        return fence
    return replace(fence, branch=branch.branch, sequence=max(fence.sequence, branch.fence), fork=None)
