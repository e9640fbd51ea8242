"""What ``SealedSaver`` does, as flows: the bodies that its sync and async methods share."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from inspect import signature
from random import uniform
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from end_conversation_tool._checkpoint.active_runs import belongs_to_run, current_fence, set_current_fence
from end_conversation_tool._checkpoint.metadata import (
    ASKED_KEY,
    branch_of,
    copied,
    fence_on,
    fenced,
    hiding_end,
    is_current,
    is_stale,
    may_follow,
    only_end,
    sequence_seen,
    showing_end,
    shows_end,
    step_of,
    with_fence,
    with_marks,
    without_fence,
    without_marks,
    without_private,
)
from end_conversation_tool._core.fence import Fence, can_fork, check_present, check_write, is_ordinary, moved_to
from end_conversation_tool._core.flow import Flow, ask
from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.records import Seal, ThreadStatus, validate_thread_id
from end_conversation_tool.errors import InvalidInputError, RegistryError, StaleRunError, ThreadSealedError
from end_conversation_tool.registry.protocol import SealRegistry, branch_of_run
from end_conversation_tool.registry.sql.triggers import asks, refused_by_trigger

__all__ = ["SaverFlows", "thread_of"]

_log = logging.getLogger(__name__)

MAX_BRANCHES = 16
"""Most branches of one thread: each costs every run a little. Whoever wants more starts a new chat.

A run that would open one more is refused, as where nobody may fork.
"""

_SET_BACK = (
    "the registry is older than the checkpoints of this thread: it was set back, or it is another one. What was sealed "
    "since may look open, so nothing is read or written. Restore registry and checkpoints from the same moment"
)


class SaverFlows:
    """The rules of ``SealedSaver`` over one inner saver.

    Args:
        inner: The saver that keeps the checkpoints.
        registry: The truth about threads.
        forks: Whether a run from an earlier checkpoint of a sealed branch opens a branch.
        discards: Whether a refused write of a run is dropped without an error.
        pause: Seconds that an async run waits before it is refused, on average.
        scope: Tells the fences of this saver from those of others.

    Attributes:
        database_guards: Whether the checkpoint table refuses late writes by itself (``checkpoint_triggers``).
    """

    def __init__(
        self,
        inner: BaseCheckpointSaver[Any],
        registry: SealRegistry,
        *,
        forks: bool,
        discards: bool,
        pause: float,
        scope: object,
    ) -> None:
        self.inner, self.registry, self.scope = inner, registry, scope
        self.forks, self.discards, self.pause = forks, discards, pause
        self.database_guards = False

    # Reading

    def reading(self, config: RunnableConfig) -> Flow[CheckpointTuple | None]:
        """Read one checkpoint, and give the run that starts from it its fence.

        Raises:
            ThreadSealedError: A run is starting on a sealed branch: refused before any of its nodes runs.
            RegistryError: The registry cannot be read, or is older than the checkpoints.
        """
        config, thread_id = without_fence(config), thread_of(config)
        configurable = config["configurable"]
        wanted, namespace = configurable.get("checkpoint_id"), configurable.get("checkpoint_ns")
        status: ThreadStatus = yield from self._status(thread_id)
        if status.seal is not None and not self.discards and self._begins(configurable, thread_id):
            # Whatever the checkpoint holds: to read it would be most of what a refusal costs.
            raise (yield from self._refusal(thread_id, status.seal))
        status, found = yield from self._look_up(config, status)
        if namespace and current_fence(configurable, thread_id, self.scope):
            # A subgraph writes where its run writes, wherever its last checkpoint lies.
            return found and without_marks(found)
        branch = branch_of(found, status) if found is not None and (wanted or namespace) else status.branch
        seal = status.on_branch(branch).seal
        if found is None and seal is not None and not wanted and not namespace:
            found = only_end(config, conversation_end(seal))
        forks = bool(found and wanted and not namespace) and (yield from self._is_fork(found, status, branch))
        fork = found.checkpoint["id"] if found and forks else None
        was_open = seal is None
        opens = fork is not None and self.forks and len(status.branches) < MAX_BRANCHES
        if opens:
            seal = None
        fence = Fence(thread_id, status.sequence, branch, fork=fork if opens else None, open=was_open)
        starts = set_current_fence(fence, status, step_of(found), configurable, self.scope)
        if starts and seal is not None and not self.discards:
            raise (yield from self._refusal(thread_id, seal))
        if starts and not opens:
            check_present(status, fence)
        if found is None:
            return None
        if seal is None:
            found = hiding_end(found)
        elif not fork:
            found = showing_end(found, conversation_end(seal))
        found = without_marks(found)
        # A run finds its fence in the table of runs; whoever else goes on to write has it from here.
        return found if starts else with_fence(found, fence, self.scope)

    def _refusal(self, thread_id: str, seal: Seal) -> Flow[ThreadSealedError]:
        """Return the error of a run that is refused; where an event loop waits, not before the pause is over."""
        if self.pause:
            # Not all of the same length: those who came together are not to come back together.
            yield from ask(_at_once, _later, uniform(self.pause / 2, self.pause * 3 / 2))  # noqa: S311 - no secret
        return ThreadSealedError(thread_id, conversation_end(seal))

    def _begins(self, configurable: Mapping[str, Any], thread_id: str) -> bool:
        """Whether a run begins here, from where the thread stands: not a reader, a subgraph, or a run that forks."""
        there = "checkpoint_id" in configurable or configurable.get("checkpoint_ns")
        return belongs_to_run(configurable) and not there and current_fence(configurable, thread_id, self.scope) is None

    def _look_up(
        self, config: RunnableConfig, status: ThreadStatus
    ) -> Flow[tuple[ThreadStatus, CheckpointTuple | None]]:
        """Read the checkpoint that a config points to as readers get it; the thread anew where it has moved on.

        Raises:
            RegistryError: The registry is older than the checkpoint.
        """
        found: CheckpointTuple | None = yield from ask(self.inner.get_tuple, self.inner.aget_tuple, config)
        if found is None:
            return status, None
        if sequence_seen(found) > status.sequence:
            status = yield from self._status(status.thread_id)  # it may have been written since
            if sequence_seen(found) > status.sequence:
                raise RegistryError(_SET_BACK)
        if config["configurable"].get("checkpoint_id"):
            return status, None if is_stale(found, status) else found
        if not is_current(found, status, config["configurable"].get("checkpoint_ns")):
            found = yield from self._current(config, found, status)
        return status, found

    def _current(
        self, config: RunnableConfig, newest: CheckpointTuple, status: ThreadStatus
    ) -> Flow[CheckpointTuple | None]:
        """Return the newest checkpoint of the present branch that was not written beside a seal.

        The registry says which branch is the present one, whatever was written last. A branch that has no checkpoint
        yet begins at the one that it forked from.
        """
        namespace = config["configurable"].get("checkpoint_ns")
        before: dict[str, Any] = {"before": newest.config}
        earlier = yield from ask(_listed(self.inner), _alisted(self.inner), config, **before)
        found = next((one for one in earlier if is_current(one, status, namespace)), None)
        origin = status.on_branch(status.branch).forked_from
        if found is not None or origin is None or namespace:
            return found
        there: RunnableConfig = {**config, "configurable": {**config["configurable"], "checkpoint_id": origin}}
        forked: CheckpointTuple | None = yield from ask(self.inner.get_tuple, self.inner.aget_tuple, there)
        return forked

    def _is_fork(self, found: CheckpointTuple | None, status: ThreadStatus, branch: int) -> Flow[bool]:
        """Whether a run from this very checkpoint can only go on in a branch of its own.

        It can from before the seal of its branch, and from a branch that is no longer the present one: a new branch is
        the present one, so that whoever speaks next is heard where the last one was.
        """
        if found is None:
            return False
        seal = status.on_branch(branch).seal
        if seal is None:
            return branch != status.branch
        return can_fork(seal, found.checkpoint["id"]) and not (yield from self._follows(found, seal))

    def _follows(self, found: CheckpointTuple, seal: Seal) -> Flow[bool]:
        """Whether a checkpoint comes after a seal in the order of the run, whatever the clock said."""
        here: CheckpointTuple | None = found
        while here is not None and may_follow(here, seal):
            if here.checkpoint["id"] == seal.checkpoint_id:
                return True
            parent = here.parent_config
            here = None if parent is None else (yield from ask(self.inner.get_tuple, self.inner.aget_tuple, parent))
        return here is not None and here.checkpoint["id"] == seal.checkpoint_id

    def listing(self, known: dict[str, ThreadStatus], thread_id: str) -> Flow[bool]:
        """Look up a thread whose checkpoints are listed, once.

        Args:
            known: The threads looked up so far.
            thread_id: The thread.

        Returns:
            Whether some of its checkpoints may have to be left out.
        """
        if thread_id not in known:
            known[thread_id] = yield from self._status(thread_id)
        return any(branch.seal or branch.past_seals for branch in known[thread_id].branches)

    @staticmethod
    def listed(found: CheckpointTuple, status: ThreadStatus) -> CheckpointTuple | None:
        """Return a checkpoint as history shows it; ``None`` for one that was written beside a seal."""
        if is_stale(found, status):
            return None
        seal = status.on_branch(branch_of(found, status)).seal
        if seal is not None and seal.checkpoint_id is not None and found.checkpoint["id"] >= seal.checkpoint_id:
            found = showing_end(found, conversation_end(seal))
        return without_marks(found)

    # Writing

    def putting(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Flow[RunnableConfig]:
        """Write a checkpoint, or refuse."""
        thread_id = thread_of(config)
        own = current_fence(config["configurable"], thread_id, self.scope)
        fence = own or fence_on(config, self.scope)
        if own is None and not belongs_to_run(config["configurable"]):
            checkpoint = without_private(checkpoint, new_versions)
        try:
            # The last checkpoint of a run that sealed says how far the thread had come.
            if own is not None and self._leaves_to_database(own) and not shows_end(checkpoint):
                branch, sequence = own.branch, own.sequence
            else:
                branch, sequence = yield from self.permitting(thread_id, fence, within_run=own is not None)
            marked = with_marks(metadata, branch, fence, sequence)
            arguments: Any = (without_fence(config), checkpoint, marked, new_versions)
            try:
                written: RunnableConfig = yield from ask(self.inner.put, self.inner.aput, *arguments)
            except Exception as error:
                if not refused_by_trigger(error):
                    raise
                written = yield from self._putting_again(error, thread_id, fence, arguments)
        except ThreadSealedError:
            if not self._discards(config):
                raise
            return {**config, "configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}
        return written if own or fence is None else fenced(written, fence, self.scope)

    def putting_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Flow[None]:
        """Write what a task produced, or refuse."""
        thread_id = thread_of(config)
        own = current_fence(config["configurable"], thread_id, self.scope)
        try:
            if own is None or not self._leaves_to_database(own):
                fence = own or fence_on(config, self.scope)
                yield from self.permitting(thread_id, fence, within_run=own is not None)
        except ThreadSealedError:
            if not self._discards(config):
                raise
            return
        arguments: Any = (without_fence(config), writes, task_id)
        path: dict[str, Any] = {"task_path": task_path} if self._takes_paths else {}
        yield from ask(self.inner.put_writes, self.inner.aput_writes, *arguments, **path)

    def _leaves_to_database(self, fence: Fence) -> bool:
        """Whether a run's write needs no asking, since the database asks the same question again within the write.

        That holds for a run on a branch that was open when it started. What such a run's tasks write counts only with
        a checkpoint that takes it up, and that checkpoint is refused.
        """
        return self.database_guards and fence.open and fence.fork is None

    def permitting(self, thread_id: str, fence: Fence | None, *, within_run: bool = True) -> Flow[tuple[int, int]]:
        """Return the branch to write, opening it when the run forks, and the thread's sequence number.

        Args:
            thread_id: The thread.
            fence: The writer's fence; ``None`` for a writer that read nothing.
            within_run: Whether a run writes, which goes on to its end on a branch that was left meanwhile. Whoever
                writes from outside writes to the present branch.

        Raises:
            ThreadSealedError: The branch is sealed, or is not the present one, which is.
            StaleRunError: The run was overtaken.
        """
        status: ThreadStatus = yield from self._status(thread_id)
        if fence is not None and is_ordinary(fence, status):
            return fence.branch, status.sequence
        status, branch = yield from branch_of_run(self.registry, status, fence)
        check_write(status, branch, fence)
        if fence is not None and not within_run:
            check_present(status, fence if fence.fork is None else moved_to(fence, branch))
        return branch.branch, status.sequence

    def _putting_again(
        self, error: Exception, thread_id: str, fence: Fence | None, arguments: tuple[Any, ...]
    ) -> Flow[RunnableConfig]:
        """Where the database itself found the seal first, say so as ``permitting`` does; where it asks, answer it."""
        yield from self.permitting(thread_id, fence)
        if not asks(error):
            raise error  # the thread was reopened in between: the write is refused all the same
        config, checkpoint, marked, new_versions = arguments
        again: Any = {**marked, ASKED_KEY: True}
        written: RunnableConfig = yield from ask(
            self.inner.put, self.inner.aput, config, checkpoint, again, new_versions
        )
        return written

    def _discards(self, config: RunnableConfig) -> bool:
        """Whether a refused write is dropped without an error: only in a run, whose door answers for it."""
        return self.discards and belongs_to_run(config["configurable"])

    # Whole threads

    def copying(self, source: str, target: str) -> Flow[None]:
        """Copy a thread: seals and flags first, so that a crash leaves a sealed thread without content at worst.

        Every engine gets the same copy, through ``put`` and ``put_writes``; what was written beside a seal is left.
        """
        source, target = validate_thread_id(source), validate_thread_id(target)
        yield from self.permitting(target, None)
        there = yield from ask(self.inner.get_tuple, self.inner.aget_tuple, _config(target))
        if there is not None:
            raise InvalidInputError("target_thread_id: expected a thread without checkpoints, got one that has some")
        before: ThreadStatus = yield from self._status(source)
        copy = yield from ask(self.registry.copy_status, self.registry.acopy_status, source, target)
        whole = yield from ask(_listed(self.inner), _alisted(self.inner), {"configurable": {"thread_id": source}})
        for found in reversed(whole):
            if not is_stale(found, before):
                yield from self._copying_one(copied(found, copy), target)
        after: ThreadStatus = yield from self._status(source)
        if after.sequence != before.sequence:
            yield from ask(self.inner.delete_thread, self.inner.adelete_thread, target)
            raise StaleRunError(source, held=before.sequence, current=after.sequence)

    def _copying_one(self, found: CheckpointTuple, target: str) -> Flow[None]:
        config = _config(target, found.config["configurable"].get("checkpoint_ns", ""))
        if found.parent_config:
            config["configurable"]["checkpoint_id"] = found.parent_config["configurable"]["checkpoint_id"]
        versions = found.checkpoint["channel_versions"]
        arguments = (config, found.checkpoint, found.metadata, versions)
        written = yield from ask(self.inner.put, self.inner.aput, *arguments)
        by_task: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for task_id, channel, value in found.pending_writes or ():
            by_task[task_id].append((channel, value))
        for task_id, writes in by_task.items():
            yield from ask(self.inner.put_writes, self.inner.aput_writes, written, writes, task_id)

    def pruning(self, thread_ids: Sequence[str], strategy: str) -> Flow[None]:
        """Prune, but keep a thread whose newest checkpoint is not its latest: the inner saver would keep that one."""
        chosen = thread_ids if strategy == "delete" or isinstance(thread_ids, str) else []
        for thread_id in () if chosen else thread_ids:
            status: ThreadStatus = yield from self._status(thread_id)
            newest = yield from ask(self.inner.get_tuple, self.inner.aget_tuple, _config(thread_id))
            if newest is not None and not is_current(newest, status, None):
                _log.warning("a thread was not pruned: its newest checkpoint is not what readers of the thread get")
            else:
                chosen = [*chosen, thread_id]
        yield from ask(self.inner.prune, self.inner.aprune, chosen, strategy=strategy)

    @cached_property
    def _takes_paths(self) -> bool:
        """Whether the inner saver takes the path of a task, which not every saver has heard of."""
        return all(
            "task_path" in signature(method).parameters for method in (self.inner.put_writes, self.inner.aput_writes)
        )

    def _status(self, thread_id: str) -> Flow[ThreadStatus]:
        return ask(self.registry.status, self.registry.astatus, thread_id)


def _at_once(_seconds: float) -> None:
    """Do not wait: a thread that waits is one less for everybody else."""


async def _later(seconds: float) -> None:
    await asyncio.sleep(seconds)


def thread_of(config: RunnableConfig) -> str:
    """Return the thread that a config names.

    A ``str`` is handed on as it is: the registry checks it, and nobody has a fence whom it was not asked for.
    """
    named = config["configurable"].get("thread_id")
    return str(named) if isinstance(named, str) else validate_thread_id(named)


def _config(thread_id: str, namespace: str = "") -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}}


def _listed(inner: BaseCheckpointSaver[Any]) -> Any:
    def listed(config: RunnableConfig, **options: Any) -> list[CheckpointTuple]:
        return list(inner.list(config, **options))

    return listed


def _alisted(inner: BaseCheckpointSaver[Any]) -> Any:
    async def listed(config: RunnableConfig, **options: Any) -> list[CheckpointTuple]:
        return [found async for found in inner.alist(config, **options)]

    return listed
