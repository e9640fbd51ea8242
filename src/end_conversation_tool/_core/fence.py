"""The fencing token of a run: what the thread looked like when the run read it.

A run that read a thread before it was sealed must not write after it. So ``SealedSaver`` gives each run a fence when it
loads its checkpoint, and asks for it back whenever the run writes:

* in a table of the runs that are going on (``active_runs.py``);
* for a writer that is no run, as ``update_state``: on the config that LangGraph hands from ``get_tuple`` to ``put``, as
  an object that only this process can make.

Here: the fence itself, and the pure rules on who may write where. They know the registry's status and the fence, and
nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.records import BranchStatus, Seal, ThreadStatus, new_id
from end_conversation_tool.errors import StaleRunError, ThreadSealedError

__all__ = [
    "Fence",
    "branch_to_write",
    "can_fork",
    "check_write",
    "moved_to",
    "new_fence",
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
    run_token: str
    fork: str | None = None
    open: bool = True


def new_fence(status: ThreadStatus, branch: int, fork: str | None = None) -> Fence:
    """Return the fence for a run that reads the thread now."""
    was_open = status.on_branch(branch).seal is None
    return Fence(status.thread_id, status.sequence, branch, new_id(), fork, was_open)


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


def check_write(status: ThreadStatus, branch: BranchStatus, fence: Fence | None) -> None:
    """Refuse a write that comes too late.

    Args:
        status: The thread, read after the writer asked to write.
        branch: The branch to be written.
        fence: The writer's fence; ``None`` for a writer that read nothing.

    Raises:
        ThreadSealedError: The branch is sealed, and not by this run.
        StaleRunError: The branch was reopened since the run started, or the registry was set back.
    """
    token = fence.run_token if fence else None
    if branch.seal is not None:
        if token is None or branch.seal.run_token != token:
            raise ThreadSealedError(status.thread_id, conversation_end(branch.seal))
        return
    own = branch.run_token is not None and branch.run_token == token
    if fence is not None and not own and not branch.fence <= fence.sequence <= status.sequence:
        raise StaleRunError(status.thread_id, held=fence.sequence, current=branch.fence)


def moved_to(fence: Fence, branch: BranchStatus) -> Fence:
    """Return the fence of a run that forked, once its branch is open; that of any other run stays as it is."""
    if fence.fork is None and branch.branch == fence.branch and branch.fence <= fence.sequence:
        return fence
    return replace(fence, branch=branch.branch, sequence=max(fence.sequence, branch.fence), fork=None)
