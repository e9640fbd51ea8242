"""What ``SealedSaver`` adds to checkpoints and their configs, and takes off again before anybody else sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointMetadata, CheckpointTuple

from end_conversation_tool.fence import FENCE_KEY, Fence
from end_conversation_tool.models import ThreadStatus

__all__ = [
    "branch_of",
    "fenced",
    "is_stale",
    "showing_end",
    "with_fence",
    "with_marks",
    "without_fence",
    "without_marks",
]

_BRANCH_KEY = "end_conversation_branch"
_RUN_KEY = "end_conversation_run"


def branch_of(found: CheckpointTuple) -> int:
    """Return the branch of a checkpoint; one written before the guard was there belongs to branch 0."""
    branch = found.metadata.get(_BRANCH_KEY, 0)
    return branch if isinstance(branch, int) else 0


def is_stale(found: CheckpointTuple, status: ThreadStatus) -> bool:
    """Whether a checkpoint was written after its branch was sealed, by another run than the one that sealed it."""
    seal = status.on_branch(branch_of(found)).seal
    if seal is None or seal.checkpoint_id is None or found.checkpoint["id"] <= seal.checkpoint_id:
        return False
    return seal.run_token is None or found.metadata.get(_RUN_KEY) != seal.run_token


def showing_end(found: CheckpointTuple, end: Mapping[str, Any]) -> CheckpointTuple:
    """Return the checkpoint with ``conversation_end`` in it, whether or not the crash came first."""
    values = {**found.checkpoint["channel_values"], "conversation_end": dict(end)}
    return found._replace(checkpoint={**found.checkpoint, "channel_values": values})


def with_marks(metadata: CheckpointMetadata, branch: int, fence: Fence | None) -> Any:
    """Return metadata that says which branch and which run a checkpoint belongs to."""
    return {**metadata, _BRANCH_KEY: branch, _RUN_KEY: fence.run_token if fence else ""}


def without_marks(found: CheckpointTuple) -> CheckpointTuple:
    """Return the checkpoint with the metadata that its writer gave it."""
    if _BRANCH_KEY not in found.metadata:
        return found
    metadata: Any = {key: value for key, value in found.metadata.items() if key not in (_BRANCH_KEY, _RUN_KEY)}
    return found._replace(metadata=metadata)


def with_fence(found: CheckpointTuple, fence: Fence) -> CheckpointTuple:
    """Return the checkpoint with the fence in its config, from where LangGraph hands it on to the writes."""
    return found._replace(config=fenced(found.config, fence))


def fenced(config: RunnableConfig, fence: Fence) -> RunnableConfig:
    """Return the config with the fence in it."""
    return {**config, "configurable": {**config["configurable"], FENCE_KEY: fence.encode()}}


def without_fence(config: RunnableConfig) -> RunnableConfig:
    """Return the config without the fence, which is nobody else's business."""
    configurable = {key: value for key, value in config["configurable"].items() if key != FENCE_KEY}
    return {**config, "configurable": configurable}
