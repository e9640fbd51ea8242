"""``SealedSaver``: no write enters a sealed thread, whichever way it comes.

It wraps any checkpoint saver and never evaluates a policy. In this order:

1. Every write (``put``, ``put_writes``) asks the registry first. A sealed branch takes none, except from the run that
   sealed it, which still has its own last checkpoint to write.
2. A run carries a fence from ``get_tuple`` to ``put``: one that was overtaken by a seal or a reopening is refused.
3. A run from an explicit earlier checkpoint of a sealed branch edits and retries: it opens a recorded branch, or is
   refused, as configured. The sealed branch stays sealed.
4. Reads stay open and show the truth: the newest checkpoint of a sealed branch shows ``conversation_end`` even when the
   process died between seal and checkpoint, and a write that slipped in beside the seal is not what readers get.
   Where checkpoints and registry share a database, ``setup`` has the database itself refuse such a write.
5. A copy of a sealed thread is sealed. Deleting a thread deletes its checkpoints; its seal stays, and so its id stays
   unusable until an operator reopens it.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from functools import cache
from inspect import iscoroutinefunction
from itertools import islice
from typing import Any, Literal, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from end_conversation_tool._checkpoint.guard import SaverFlows
from end_conversation_tool._checkpoint.metadata import without_fence
from end_conversation_tool._core.flow import arun_flow, run_flow
from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.protocol import SealRegistry, check_registry
from end_conversation_tool.registry.sql.triggers import afound_in, aguards, found_in, guards

__all__ = ["SealedSaver"]

_MAX_PAUSE = 60
"""Seconds; who waits longer than that has gone."""


class SealedSaver(BaseCheckpointSaver[Any]):
    """Guards the writes of any checkpoint saver.

    What only some savers can do, such as ``prune``, or being a context manager, it can where the inner one can.

    Args:
        inner: The saver that keeps the checkpoints. Everything it can do stays available.
        registry: The truth about threads; the one that the door uses.
        on_fork: What a run from an earlier checkpoint of a sealed branch gets: a recorded ``branch``; with
            ``new_thread`` an error, while ``edit_and_retry`` starts a new thread; with ``refuse`` an error.
        on_sealed: What a write to a sealed branch gets: ``raise`` an error, or ``discard``, for doors that answer with
            ``conversation_end`` instead (``on_sealed="respond"``). Nothing is written either way.
        refusal_pause: Seconds, 0 to 60, that an async run on a sealed thread waits before it is refused, on average, so
            that whoever goes on writing there waits and everybody else is served. A sync run is refused at once.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __new__(cls, inner: Any = None, *_: Any, **__: Any) -> Self:
        """Make a saver that can what the inner one can: others look at its class for that."""
        kind_over: Any = _kind_over  # a class is hashable, which its type does not say
        made: Self = super().__new__(cls if inner is None else kind_over(cls, type(inner)))
        return made

    def __init__(
        self,
        inner: BaseCheckpointSaver[Any],
        registry: SealRegistry,
        *,
        on_fork: Literal["branch", "new_thread", "refuse"] = "branch",
        on_sealed: Literal["raise", "discard"] = "raise",
        refusal_pause: float = 0.0,
    ) -> None:
        if not isinstance(inner, BaseCheckpointSaver):
            raise InvalidInputError(f"inner: expected a BaseCheckpointSaver, got {type(inner).__name__}")
        if isinstance(inner, SealedSaver):
            raise InvalidInputError("inner: expected a saver that is not guarded yet, got a SealedSaver: one is enough")
        check_registry(registry)
        if on_fork not in ("branch", "new_thread", "refuse"):
            raise InvalidInputError(f"on_fork: expected 'branch', 'new_thread' or 'refuse', got {on_fork!r}")
        if on_sealed not in ("raise", "discard"):
            raise InvalidInputError(f"on_sealed: expected 'raise' or 'discard', got {on_sealed!r}")
        number = isinstance(refusal_pause, int | float) and not isinstance(refusal_pause, bool)
        if not number or not 0 <= refusal_pause <= _MAX_PAUSE:
            raise InvalidInputError(f"refusal_pause: expected 0 to {_MAX_PAUSE} seconds, got {refusal_pause!r}")
        super().__init__(serde=inner.serde)
        self.registry, self.on_fork, self.on_sealed = registry, on_fork, on_sealed
        self.refusal_pause = refusal_pause
        self.fence_scope = object()  # shared by the clones that ``with_allowlist`` makes
        self._guarded: list[bool] = []  # likewise
        self._wrap(inner)

    def _wrap(self, inner: BaseCheckpointSaver[Any]) -> None:
        self.inner = inner
        self._flows = SaverFlows(
            inner,
            self.registry,
            forks=self.on_fork == "branch",
            discards=self.on_sealed == "discard",
            pause=self.refusal_pause,
            scope=self.fence_scope,
        )
        self._flows.database_guards = bool(self._guarded)

    def __getattr__(self, name: str) -> Any:
        """Give what the inner saver has beyond the base class, such as ``conn``."""
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def setup(self) -> Any:
        """Set up the inner saver, and have its database refuse writes to sealed branches, if it is the registry's too.

        Returns:
            ``None``, or something to be awaited, as the inner saver's own ``setup`` does.

        Raises:
            RegistryError: The triggers could not be made.
        """
        prepare = getattr(self.inner, "setup", None)
        if iscoroutinefunction(prepare):
            return self._asetup(prepare)
        if prepare is not None:
            prepare()
        guard = getattr(self.registry, "guard_checkpoints", None)
        if guard is not None and found_in(self.inner, self.registry.signing_key):
            guard()
            self._database_guards(guards(self.inner))
        return None

    async def _asetup(self, prepare: Any) -> None:
        await prepare()
        guard = getattr(self.registry, "aguard_checkpoints", None)
        if guard is not None and await afound_in(self.inner, self.registry.signing_key):
            await guard()
            self._database_guards(await aguards(self.inner))

    def _database_guards(self, guarded: bool) -> None:  # noqa: FBT001 - what was found
        """Leave it to the database to look at the seal within each write: one question less for each of them.

        Not where the saver writes to another table of that name, in another schema, than the one that was guarded.
        """
        self._guarded[:] = [True] if guarded else []
        self._flows.database_guards = guarded

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
        return run_flow(self._flows.reading(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Async twin of ``get_tuple``."""
        return await arun_flow(self._flows.reading(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the base class calls it so
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first, without those that were written beside a seal.

        With no thread given, these are left out of the ``limit`` that the inner saver kept to.
        """
        known: dict[str, ThreadStatus] = {}
        thread_id = _thread_listed(config)
        sifted = thread_id is not None and run_flow(self._flows.listing(known, thread_id))
        where, before = config and without_fence(config), before and without_fence(before)
        found = self.inner.list(where, filter=filter, before=before, limit=None if sifted else limit)
        yield from islice(self._sifted(found, known), limit)

    def _sifted(self, found: Iterator[CheckpointTuple], known: dict[str, ThreadStatus]) -> Iterator[CheckpointTuple]:
        for one in found:
            thread_id = str(one.config["configurable"]["thread_id"])
            run_flow(self._flows.listing(known, thread_id))
            shown = self._flows.listed(one, known[thread_id])
            if shown is not None:
                yield shown

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - as above
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Async twin of ``list``."""
        known: dict[str, ThreadStatus] = {}
        thread_id = _thread_listed(config)
        sifted = thread_id is not None and await arun_flow(self._flows.listing(known, thread_id))
        left = limit
        where, before = config and without_fence(config), before and without_fence(before)
        async for one in self.inner.alist(where, filter=filter, before=before, limit=None if sifted else limit):
            if left == 0:
                return
            thread_id = str(one.config["configurable"]["thread_id"])
            await arun_flow(self._flows.listing(known, thread_id))
            shown = self._flows.listed(one, known[thread_id])
            if shown is not None:
                left = None if left is None else left - 1
                yield shown

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Return what the inner saver says."""
        return self.inner.get_delta_channel_history(config=without_fence(config), channels=channels)

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Async twin of ``get_delta_channel_history``."""
        return await self.inner.aget_delta_channel_history(config=without_fence(config), channels=channels)

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
        return run_flow(self._flows.putting(config, checkpoint, metadata, new_versions))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Async twin of ``put``."""
        return await arun_flow(self._flows.putting(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Write what a task produced. Raises as ``put`` does."""
        run_flow(self._flows.putting_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Async twin of ``put_writes``."""
        await arun_flow(self._flows.putting_writes(config, writes, task_id, task_path))

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
        """Copy a thread with its seals and risk flags; works over every inner saver.

        Raises:
            ThreadSealedError: The target is sealed.
            StaleRunError: The source was sealed, branched or reopened meanwhile. Nothing was copied; do it again.
            InvalidInputError: The target is the source, or has checkpoints or branches.
        """
        run_flow(self._flows.copying(source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Async twin of ``copy_thread``."""
        await arun_flow(self._flows.copying(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Prune checkpoints. Seals stay."""
        run_flow(self._flows.pruning(thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Async twin of ``prune``."""
        await arun_flow(self._flows.pruning(thread_ids, strategy))

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
        clone.serde = inner.serde
        clone._wrap(inner)  # noqa: SLF001 - its own kind
        return clone


def _thread_listed(config: RunnableConfig | None) -> str | None:
    return None if config is None else str(config["configurable"]["thread_id"])


_OPTIONAL = ("delete_for_runs", "adelete_for_runs", "prune", "aprune")


@cache
def _kind_over(kind: type[Any], inner: type[Any]) -> type[Any]:
    """Return a kind of saver that has, of what not every saver can do, what savers of the type ``inner`` have."""
    base: Any = BaseCheckpointSaver
    members: dict[str, Any] = {
        name: getattr(base, name) for name in _OPTIONAL if getattr(inner, name, None) is getattr(base, name)
    }
    if hasattr(inner, "__enter__"):
        members |= {"__enter__": _enter, "__exit__": _leave}
    if hasattr(inner, "__aenter__"):
        members |= {"__aenter__": _aenter, "__aexit__": _aleave}
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, **members})


def _enter(saver: Any) -> Any:
    saver.inner.__enter__()
    return saver


def _leave(saver: Any, *error: object) -> Any:
    return saver.inner.__exit__(*error)


async def _aenter(saver: Any) -> Any:
    await saver.inner.__aenter__()
    return saver


async def _aleave(saver: Any, *error: object) -> Any:
    return await saver.inner.__aexit__(*error)
