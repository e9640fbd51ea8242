"""The runs that are going on, and the fence of each: how a node learns what its run read when it started.

A node does not see the config that ``get_tuple`` returned. A context variable would not do: servers drive a stream
step by step, each step in a task or thread of its own, and what one step sets the next does not see. What all nodes of
one run share is its ``RunControl``, which LangGraph makes afresh for each run. That takes no weak reference; the run's
stream writer does, and lives as long.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from functools import partial
from threading import RLock
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.records import ThreadStatus

__all__ = ["belongs_to_run", "current_fence", "set_current_fence", "take_status"]

_RUNTIME_KEY = "__pregel_runtime"

_FRESH_SECONDS = 1.0
"""How long a status that was read is as good as one that is read now: what wraps a node may wait before it."""

_Key: TypeAlias = tuple[int, int, str]
"""Ids of the run's control and of the saver's scope, and the thread: nested runs share their parent's control."""


class _Entry(NamedTuple):
    """One run on one thread.

    Attributes:
        fence: What it read.
        runtime: Id of the runtime that it started with, which tells nested runs on one thread apart.
        owners: The control and the scope, kept alive so that their ids stay their own.
        end: Drops the entry when the run's stream writer is gone.
        read: The thread's status as the run read it with its first checkpoint: good for one use.
        step: The step of that checkpoint.
        at: When that was, in seconds of the monotonic clock.
    """

    fence: Fence
    runtime: int
    owners: tuple[object, object]
    end: weakref.ref[Any]
    read: Iterator[ThreadStatus]
    step: int
    at: float


_entries: dict[_Key, _Entry] = {}
_lock = RLock()  # garbage may be collected, and so a run forgotten, while this very thread holds it


def current_fence(configurable: Mapping[str, Any], thread_id: str, scope: object) -> Fence | None:
    """Return the fence of the run that a config belongs to, if a saver of this scope gave it for this thread.

    Args:
        configurable: Of the config of a node, or of a write.
        thread_id: The thread.
        scope: What the savers that guard one another's threads have in common.
    """
    entry = _entry_of(configurable, thread_id, scope)
    return entry.fence if entry else None


def take_status(
    configurable: Mapping[str, Any], thread_id: str, scope: object, step: int | None
) -> ThreadStatus | None:
    """Return the status that the run has just read with its first checkpoint; ``None`` when that was taken before.

    A node of the run's first step comes right after that read, and needs none of its own: should the thread be sealed
    in between, the run's writes are refused. Whoever comes later, after nodes of others, tools or another model call,
    reads again.

    Args:
        configurable: As for ``current_fence``, like the rest.
        thread_id: The thread.
        scope: What the savers have in common.
        step: Of the checkpoint before the asking node, were that node one of the first; ``None`` where it is none.
    """
    entry = _entry_of(configurable, thread_id, scope)
    fresh = entry is not None and entry.step == step and monotonic() - entry.at < _FRESH_SECONDS
    return next(entry.read, None) if entry is not None and fresh else None


def _entry_of(configurable: Mapping[str, Any], thread_id: str, scope: object) -> _Entry | None:
    control = getattr(configurable.get(_RUNTIME_KEY), "control", None)
    return None if control is None else _entries.get((id(control), id(scope), thread_id))


def set_current_fence(
    fence: Fence, status: ThreadStatus, step: int, configurable: Mapping[str, Any], scope: object
) -> bool:
    """Make ``fence`` the one of the present run, when a run and not a mere reader is loading.

    LangGraph loads a forked run's checkpoint, and then the thread's newest one, to compare. The second look belongs to
    the same run and must not hide the first.

    Returns:
        Whether a run is starting here.
    """
    runtime = configurable.get(_RUNTIME_KEY)
    if runtime is None or configurable.get("checkpoint_ns"):
        return False
    key = (id(runtime.control), id(scope), fence.thread_id)
    end = weakref.ref(runtime.stream_writer, partial(_forget, key))
    second_look = "checkpoint_id" in configurable and not configurable["checkpoint_id"]
    with _lock:
        present = _entries.get(key)
        if second_look and present is not None and present.runtime == id(runtime):
            return False
        _entries[key] = _Entry(fence, id(runtime), (runtime.control, scope), end, iter((status,)), step, monotonic())
    return True


def belongs_to_run(configurable: Mapping[str, Any]) -> bool:
    """Whether a config comes from a run, and not from ``get_state``, ``update_state`` or the like."""
    return configurable.get(_RUNTIME_KEY) is not None


def _forget(key: _Key, end: weakref.ref[Any]) -> None:
    """Drop the entry of a run that is over, unless a later run has taken its place."""
    with _lock:
        present = _entries.get(key)
        if present is not None and present.end is end:
            del _entries[key]
