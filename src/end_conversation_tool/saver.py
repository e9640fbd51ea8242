"""``SealedSaver``: no write enters a sealed thread, whichever way it comes.

It wraps any checkpoint saver and never evaluates a policy. In this order:

1. Every write (``put``, ``put_writes``) asks the registry first. A sealed branch takes none, except from the run that
   sealed it, which still has its own last checkpoint to write.
2. A run carries a fence from ``get_tuple`` to ``put``: one that was overtaken by a seal or a reopening is refused.
3. A run from an explicit earlier checkpoint of a sealed branch edits and retries: it opens a recorded branch, or is
   refused, as configured. The sealed branch stays sealed.
4. Reads stay open and show the truth: the newest checkpoint of a sealed branch shows ``conversation_end`` even when the
   process died between seal and checkpoint, and a write that slipped in beside the seal is not what readers get.
5. A copy of a sealed thread is sealed. Deleting a thread deletes its checkpoints; its seal stays, and so its id stays
   unusable until an operator reopens it.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from end_conversation_tool.checkpoint_marks import (
    branch_of,
    fenced,
    is_stale,
    showing_end,
    with_fence,
    with_marks,
    without_fence,
    without_marks,
)
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.fence import Fence, branch_to_write, can_fork, check_write, new_fence, open_branch
from end_conversation_tool.flow import Ask, Flow, arun_flow, run_flow
from end_conversation_tool.models import Seal, ThreadStatus, validate_thread_id
from end_conversation_tool.prompts import conversation_end
from end_conversation_tool.registry.base import SealRegistry
from end_conversation_tool.running import belongs_to_run, current_fence, set_current_fence

__all__ = ["SealedSaver"]


class SealedSaver(BaseCheckpointSaver[Any]):
    """Guards the writes of any checkpoint saver.

    Args:
        inner: The saver that keeps the checkpoints. Everything it can do stays available.
        registry: The truth about threads; the one that the door uses.
        on_fork: What a run from an earlier checkpoint of a sealed branch gets: a recorded ``branch``; with
            ``new_thread`` an error, while ``edit_and_retry`` starts a new thread; with ``refuse`` an error.
        on_sealed: What a write to a sealed branch gets: ``raise`` an error, or ``discard``, for doors that answer with
            ``conversation_end`` instead (``on_sealed="respond"``). Nothing is written either way.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self,
        inner: BaseCheckpointSaver[Any],
        registry: SealRegistry,
        *,
        on_fork: Literal["branch", "new_thread", "refuse"] = "branch",
        on_sealed: Literal["raise", "discard"] = "raise",
    ) -> None:
        if not isinstance(inner, BaseCheckpointSaver):
            raise InvalidInputError(f"inner: expected a BaseCheckpointSaver, got {type(inner).__name__}")
        if not isinstance(registry, SealRegistry):
            raise InvalidInputError(f"registry: expected a SealRegistry, got {type(registry).__name__}")
        if on_fork not in ("branch", "new_thread", "refuse"):
            raise InvalidInputError(f"on_fork: expected 'branch', 'new_thread' or 'refuse', got {on_fork!r}")
        if on_sealed not in ("raise", "discard"):
            raise InvalidInputError(f"on_sealed: expected 'raise' or 'discard', got {on_sealed!r}")
        super().__init__(serde=inner.serde)
        self.inner, self.registry, self.on_fork, self.on_sealed = inner, registry, on_fork, on_sealed
        self.fence_scope = object()  # shared by the clones that ``with_allowlist`` makes

    def __getattr__(self, name: str) -> Any:
        """Give what the inner saver has beyond the base class, such as ``setup`` or ``conn``."""
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    # Reading

    def get(self, config: RunnableConfig) -> Checkpoint | None:
        """Return a checkpoint, as ``get_tuple`` does."""
        found = self.get_tuple(config)
        return found.checkpoint if found else None

    async def aget(self, config: RunnableConfig) -> Checkpoint | None:
        """Async twin of ``get``."""
        found = await self.aget_tuple(config)
        return found.checkpoint if found else None

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its fence; the newest one of a sealed branch shows ``conversation_end``.

        Raises:
            ThreadSealedError: A run is starting on a sealed branch; mere readers are served.
        """
        return self._looked(config, *run_flow(self._reading(config)))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Async twin of ``get_tuple``."""
        return self._looked(config, *await arun_flow(self._reading(config)))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the base class calls it so
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first, as the inner saver has them."""
        for found in self.inner.list(config, filter=filter, before=before, limit=limit):
            yield without_marks(found)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - as above
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Async twin of ``list``."""
        async for found in self.inner.alist(config, filter=filter, before=before, limit=limit):
            yield without_marks(found)

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Return what the inner saver says."""
        return self.inner.get_delta_channel_history(config=config, channels=channels)

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Async twin of ``get_delta_channel_history``."""
        return await self.inner.aget_delta_channel_history(config=config, channels=channels)

    def _looked(
        self, config: RunnableConfig, found: CheckpointTuple | None, fence: Fence, seal: Seal | None
    ) -> CheckpointTuple | None:
        """Hand a checkpoint over; a run that starts on a sealed branch is refused before any of its nodes runs."""
        starts = set_current_fence(fence, config["configurable"], self.fence_scope)
        if starts and seal is not None and self.on_sealed == "raise":
            raise ThreadSealedError(fence.thread_id, conversation_end(seal))
        return found

    def _reading(self, config: RunnableConfig) -> Flow[tuple[CheckpointTuple | None, Fence, Seal | None]]:
        """Return the checkpoint, the fence for whoever reads it, and the seal that stands in the way of writing."""
        thread_id = _thread_of(config)
        status: ThreadStatus = yield Ask(self.registry.status, self.registry.astatus, (thread_id,))
        found: CheckpointTuple | None = yield Ask(self.inner.get_tuple, self.inner.aget_tuple, (config,))
        wanted = config["configurable"].get("checkpoint_id")
        if found is not None and not wanted:
            found = yield from self._skip_stale(config, found, status)
        branch = status.branch if found is None else branch_of(found)
        seal = status.on_branch(branch).seal
        if found is None:
            return None, new_fence(status, branch), seal
        fork = found.checkpoint["id"] if seal and wanted and can_fork(seal, found.checkpoint["id"]) else None
        if fork and self.on_fork == "branch":
            seal = None
        elif seal is not None and not fork:
            found = showing_end(found, conversation_end(seal))
        fence = new_fence(status, branch, None if seal else fork)
        return with_fence(without_marks(found), fence), fence, seal

    def _skip_stale(
        self, config: RunnableConfig, newest: CheckpointTuple, status: ThreadStatus
    ) -> Flow[CheckpointTuple | None]:
        """Return the newest checkpoint that was not written beside a seal."""
        if not is_stale(newest, status):
            return newest
        before: dict[str, Any] = {"before": newest.config}
        earlier = yield Ask(_listed(self.inner), _alisted(self.inner), (config,), before)
        return next((found for found in earlier if not is_stale(found, status)), None)

    # Writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint.

        Raises:
            ThreadSealedError: The branch is sealed.
            StaleRunError: The run was overtaken.
            RegistryError: The registry cannot be read, so nobody knows. Nothing is written.
        """
        return run_flow(self._putting(config, checkpoint, metadata, new_versions))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Async twin of ``put``."""
        return await arun_flow(self._putting(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Write what a task produced. Raises as ``put`` does."""
        run_flow(self._putting_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Async twin of ``put_writes``."""
        await arun_flow(self._putting_writes(config, writes, task_id, task_path))

    def _putting(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Flow[RunnableConfig]:
        fence = self._fence_of(config)
        try:
            branch = yield from self._permitting(_thread_of(config), fence)
        except ThreadSealedError:
            if not self._discards(config):
                raise
            return {**config, "configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}
        marked = with_marks(metadata, branch, fence)
        written: RunnableConfig = yield Ask(
            self.inner.put, self.inner.aput, (without_fence(config), checkpoint, marked, new_versions)
        )
        return written if fence is None else fenced(written, fence)

    def _putting_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Flow[None]:
        try:
            yield from self._permitting(_thread_of(config), self._fence_of(config))
        except ThreadSealedError:
            if not self._discards(config):
                raise
            return
        arguments = (without_fence(config), writes, task_id, task_path)
        yield Ask(self.inner.put_writes, self.inner.aput_writes, arguments)

    def _discards(self, config: RunnableConfig) -> bool:
        """Whether a refused write is dropped without an error: only in a run, whose door answers for it."""
        return self.on_sealed == "discard" and belongs_to_run(config["configurable"])

    def _permitting(self, thread_id: str, fence: Fence | None) -> Flow[int]:
        """Return the branch to write, opening it when the run forks; raise when the write comes too late."""
        status: ThreadStatus = yield Ask(self.registry.status, self.registry.astatus, (thread_id,))
        if fence is None:
            branch = status.on_branch(status.branch)
        else:
            found = branch_to_write(status, fence)
            if found is None:
                status = yield open_branch(self.registry, fence)
                found = branch_to_write(status, fence)
            branch = found or status.on_branch(fence.branch)
        check_write(status, branch, fence)
        return branch.branch

    def _fence_of(self, config: RunnableConfig) -> Fence | None:
        """Return the writer's fence: that of its run, or, for a writer that is none, the one of its config."""
        configurable = config["configurable"]
        return current_fence(configurable, _thread_of(config), self.fence_scope) or Fence.of_config(configurable)

    # Whole threads

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints of a thread. A seal stays on record, without text, and keeps the id unusable."""
        self.inner.delete_thread(thread_id)

    async def adelete_thread(self, thread_id: str) -> None:
        """Async twin of ``delete_thread``."""
        await self.inner.adelete_thread(thread_id)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs. Seals stay."""
        self.inner.delete_for_runs(run_ids)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Async twin of ``delete_for_runs``."""
        await self.inner.adelete_for_runs(run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its seals and risk flags.

        Raises:
            ThreadSealedError: The target is sealed.
        """
        run_flow(self._copying(source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Async twin of ``copy_thread``."""
        await arun_flow(self._copying(source_thread_id, target_thread_id))

    def _copying(self, source: str, target: str) -> Flow[None]:
        """Copy seals and flags first: a crash in between leaves a sealed thread without content, never the reverse."""
        yield from self._permitting(validate_thread_id(target), None)
        yield Ask(self.registry.copy_status, self.registry.acopy_status, (source, target))
        yield Ask(self.inner.copy_thread, self.inner.acopy_thread, (source, target))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Prune checkpoints. Seals stay."""
        self.inner.prune(thread_ids, strategy=strategy)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Async twin of ``prune``."""
        await self.inner.aprune(thread_ids, strategy=strategy)

    # The rest of the base class

    @property
    def config_specs(self) -> Any:
        """What the inner saver declares."""
        return self.inner.config_specs

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Return the inner saver's next version."""
        return self.inner.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:
        """Return a guard round the inner saver with a wider allow-list of types."""
        inner = self.inner.with_allowlist(extra_allowlist)
        if inner is self.inner:
            return self
        clone = copy.copy(self)
        clone.inner, clone.serde = inner, inner.serde
        return clone


def _thread_of(config: RunnableConfig) -> str:
    return validate_thread_id(config["configurable"].get("thread_id"))


def _listed(inner: BaseCheckpointSaver[Any]) -> Any:
    def listed(config: RunnableConfig, **options: Any) -> list[CheckpointTuple]:
        return list(inner.list(config, **options))

    return listed


def _alisted(inner: BaseCheckpointSaver[Any]) -> Any:
    async def listed(config: RunnableConfig, **options: Any) -> list[CheckpointTuple]:
        return [found async for found in inner.alist(config, **options)]

    return listed
