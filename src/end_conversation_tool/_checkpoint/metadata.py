"""What ``SealedSaver`` adds to checkpoints and their configs, and takes off again before anybody else sees them.

A checkpoint is *stale* when it was written beside a seal: after its branch was sealed, by another run than the one that
sealed. Where the engine cannot refuse such a write, no reader and no run gets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    empty_checkpoint,
)

from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.records import Seal, ThreadStatus

__all__ = [
    "ASKED_KEY",
    "BRANCH_KEY",
    "RUN_KEY",
    "SEEN_KEY",
    "SEQUENCE_KEY",
    "branch_of",
    "copied",
    "fence_on",
    "fenced",
    "hiding_end",
    "is_current",
    "is_stale",
    "may_follow",
    "only_end",
    "sequence_seen",
    "showing_end",
    "shows_end",
    "step_of",
    "with_fence",
    "with_marks",
    "without_fence",
    "without_marks",
    "without_private",
]

BRANCH_KEY = "end_conversation_branch"
RUN_KEY = "end_conversation_run"
SEQUENCE_KEY = "end_conversation_sequence"
ASKED_KEY = "end_conversation_asked"
SEEN_KEY = "end_conversation_seen"
_PRIVATE = "end_conversation_"
_TRIGGERS = ("__start__", "__pregel_tasks", "branch:to:", "join:")
"""Names, or beginnings of names, of the channels by which LangGraph sets nodes off."""

_BEFORE_ALL = -2
"""The step from which LangGraph counts where a thread has no checkpoint."""

_KEYS = (BRANCH_KEY, RUN_KEY, SEQUENCE_KEY, ASKED_KEY, SEEN_KEY)


def branch_of(found: CheckpointTuple, status: ThreadStatus) -> int:
    """Return the branch of a checkpoint.

    One without a mark was written before the guard was there: it belongs to branch 0. One whose mark the registry does
    not know belongs to the present branch, so that no foreign mark leads round its seal.
    """
    branch = found.metadata.get(BRANCH_KEY, 0)
    known = branch == 0 or any(known.branch == branch for known in status.branches)
    return branch if isinstance(branch, int) and known else status.branch


def is_stale(found: CheckpointTuple, status: ThreadStatus) -> bool:
    """Whether a checkpoint was written beside a seal that stands, or that stood until an operator reopened the branch.

    Ids of checkpoints are ordered by time, so what is newer than the seal's checkpoint and was not written by the run
    that sealed came too late. After a reopening that still holds for runs that had started before the seal.
    """
    if not status.branches:
        return False  # no seal is on record, and none was
    branch = status.on_branch(branch_of(found, status))
    if branch.seal is not None and _beside(found, branch.seal.checkpoint_id, branch.seal.run_token):
        return True
    started = found.metadata.get(SEQUENCE_KEY)
    return isinstance(started, int) and any(
        started < point.sequence and _beside(found, point.checkpoint_id, point.run_token) for point in branch.past_seals
    )


def is_current(found: CheckpointTuple, status: ThreadStatus, namespace: str | None) -> bool:
    """Whether a checkpoint is on the present branch, and not written beside a seal; a subgraph's may be anywhere."""
    if is_stale(found, status):
        return False
    if namespace or not status.branches:
        return True
    return branch_of(found, status) == status.branch


def _beside(found: CheckpointTuple, checkpoint_id: str | None, run_token: str | None) -> bool:
    if checkpoint_id is None or found.checkpoint["id"] <= checkpoint_id:
        return False
    return run_token is None or found.metadata.get(RUN_KEY) != run_token


def sequence_seen(found: CheckpointTuple) -> int:
    """Return the highest sequence number of the thread that the writer of a checkpoint knew of; 0 without marks."""
    seen = found.metadata.get(SEEN_KEY)
    return seen if isinstance(seen, int) else 0


def step_of(found: CheckpointTuple | None) -> int:
    """Return the step of the checkpoint that a run begins with, as LangGraph counts on from it."""
    return _BEFORE_ALL if found is None else found.metadata.get("step", _BEFORE_ALL)


def may_follow(found: CheckpointTuple, seal: Seal) -> bool:
    """Whether a checkpoint may have been written after a seal: only the run that sealed could do that."""
    return seal.run_token is not None and found.metadata.get(RUN_KEY) == seal.run_token


def shows_end(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint holds an end, be it true or forged."""
    return bool(checkpoint["channel_values"].get("conversation_end"))


def without_private(checkpoint: Checkpoint, new_versions: ChannelVersions) -> Checkpoint:
    """Return a checkpoint that somebody writes from outside a run, without what they put into our own channels.

    Only a run writes there. What was signed is genuine wherever it is put: replayed by an update, it would speak for
    messages that another line of the thread has. Without it, nothing that was said before is evidence.
    """
    given = [name for name in new_versions if name.startswith(_PRIVATE) and name in checkpoint["channel_values"]]
    if not given:
        return checkpoint
    values = {**checkpoint["channel_values"], **{name: {} for name in given}}
    return {**checkpoint, "channel_values": values}


def showing_end(found: CheckpointTuple, end: Mapping[str, Any]) -> CheckpointTuple:
    """Return the checkpoint with ``conversation_end`` in it, whether or not the crash came first.

    Nothing is pending on a sealed branch: writes that no checkpoint took up are left out, and so is what would have
    set off the next nodes.
    """
    kept = {name: value for name, value in found.checkpoint["channel_values"].items() if not name.startswith(_TRIGGERS)}
    values = {**kept, "conversation_end": dict(end)}
    return found._replace(checkpoint={**found.checkpoint, "channel_values": values}, pending_writes=[])


def hiding_end(found: CheckpointTuple) -> CheckpointTuple:
    """Return the checkpoint of an open branch without an end: one from before a reopening, or a forged one."""
    values = found.checkpoint["channel_values"]
    if not values.get("conversation_end"):
        return found
    kept = {key: value for key, value in values.items() if key != "conversation_end"}
    return found._replace(checkpoint={**found.checkpoint, "channel_values": kept})


def only_end(config: RunnableConfig, end: Mapping[str, Any]) -> CheckpointTuple:
    """Return what readers of a sealed thread get whose checkpoints are gone: the end, and nothing else."""
    empty = empty_checkpoint()
    configurable = {
        "thread_id": config["configurable"]["thread_id"],
        "checkpoint_ns": "",
        "checkpoint_id": empty["id"],
    }
    metadata: CheckpointMetadata = {"source": "update", "step": -1, "parents": {}}
    return showing_end(CheckpointTuple({"configurable": configurable}, empty, metadata, None, []), end)


def with_marks(metadata: CheckpointMetadata, branch: int, fence: Fence | None, sequence: int) -> Any:
    """Return metadata that says which branch a checkpoint belongs to, which run wrote it, and when that run started.

    Args:
        metadata: As the writer gave it.
        branch: The branch.
        fence: The writer's fence; ``None`` for a writer that read nothing.
        sequence: The thread's sequence number, as far as the writer knows.
    """
    token, started = (fence.run_token, fence.sequence) if fence else ("", sequence)
    marks = {BRANCH_KEY: branch, RUN_KEY: token, SEQUENCE_KEY: started, SEEN_KEY: sequence}
    marked: dict[str, Any] = {**metadata, **marks}
    marked.pop(ASKED_KEY, None)  # what a caller says about it is no answer of the registry
    return marked


def copied(found: CheckpointTuple, status: ThreadStatus) -> CheckpointTuple:
    """Return a checkpoint as a copied thread holds it: written now, and not before a reopening of the source.

    What is copied of a sealed branch is written in the name of the run that sealed: nobody else may write there.

    Args:
        found: The checkpoint, with its marks.
        status: The copied thread.
    """
    branch = branch_of(found, status)
    seal = status.on_branch(branch).seal
    run = found.metadata.get(RUN_KEY, "") if seal is None else seal.run_token
    now = status.sequence
    marks = {BRANCH_KEY: branch, RUN_KEY: run, SEQUENCE_KEY: now, SEEN_KEY: now, ASKED_KEY: True}
    metadata: Any = {**found.metadata, **marks}
    return found._replace(metadata=metadata)


def without_marks(found: CheckpointTuple) -> CheckpointTuple:
    """Return the checkpoint with the metadata that its writer gave it."""
    if BRANCH_KEY not in found.metadata:
        return found
    metadata: Any = {key: value for key, value in found.metadata.items() if key not in _KEYS}
    return found._replace(metadata=metadata)


def with_fence(found: CheckpointTuple, fence: Fence, scope: object) -> CheckpointTuple:
    """Return the checkpoint with the fence in its config, from where LangGraph hands it on to the writes."""
    return found._replace(config=fenced(found.config, fence, scope))


def fenced(config: RunnableConfig, fence: Fence, scope: object) -> RunnableConfig:
    """Return the config with the fence on it. It equals the config as it was, and is sent nowhere."""
    return {**config, "configurable": {**config["configurable"], "thread_id": _FencedId(fence, scope)}}


def fence_on(config: RunnableConfig, scope: object) -> Fence | None:
    """Return the fence that a saver of this scope put on a config; ``None`` when there is none."""
    carrier = config["configurable"].get("thread_id")
    return carrier.fence if isinstance(carrier, _FencedId) and carrier.scope is scope else None


def without_fence(config: RunnableConfig) -> RunnableConfig:
    """Return the config without the fence, which is nobody else's business."""
    given = config["configurable"].get("thread_id")
    if not isinstance(given, _FencedId):
        return config
    return {**config, "configurable": {**config["configurable"], "thread_id": str(given)}}


class _FencedId(str):
    """The id of a thread that carries a fence within this process.

    What LangGraph hands on from reading to writing is the config, which is also what callers see, compare, print and
    send. There it is the id, and nothing else; and nobody can make one from what comes in over the wire.
    """

    __slots__ = ("fence", "scope")

    fence: Fence
    scope: object

    def __new__(cls, fence: Fence, scope: object) -> Self:
        made = super().__new__(cls, fence.thread_id)
        made.fence, made.scope = fence, scope
        return made

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Be copied, and kept elsewhere, as the plain id."""
        return str, (str(self),)
