"""The shape in which LangChain gets a ``wrap_*`` hook: the one that costs least.

LangChain puts LangSmith's ``traceable`` round every such hook, whether anything is traced or not, and that

1. asks for the signature of the hook in every call: it finds it on the hook, ready made;
2. goes to a thread and back twice, and starts a task, in every call of a coroutine function. A plain function that
   returns an awaitable it only calls. But then a trace would show the call as over before it began, so the hook stays
   a coroutine function where LangSmith traces by the time the agent is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, TypeVar, cast

from langsmith.utils import tracing_is_enabled

__all__ = ["hook"]

F = TypeVar("F", bound=Callable[..., Any])


def hook(method: F) -> F:
    """Give a ``wrap_*`` method of a middleware the shape that costs least; what it does stays the same."""
    method.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    return cast("F", _AsyncHook(method)) if inspect.iscoroutinefunction(method) else method


class _AsyncHook:
    """An async method that is a plain function to whoever looks at it, as long as nothing is traced."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        def plain(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return method(*args, **kwargs)

        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__signature__"):
            setattr(plain, name, getattr(method, name))
        self._method, self._plain = method, plain

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        shape = self._method if tracing_is_enabled() else self._plain
        return shape if instance is None else MethodType(shape, instance)
