"""The shape in which LangChain gets an async hook: the one that costs an ordinary turn least.

LangChain puts LangSmith's ``traceable`` round each hook, whether anything is traced or not. Round a coroutine function
that is two trips to a thread and a task in every call; a plain function that returns an awaitable is only called.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, TypeVar, cast

from langsmith.utils import tracing_is_enabled

__all__ = ["lean"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def lean(method: F) -> F:
    """Make an async method a plain function to whoever takes it from an instance; what it does stays the same.

    Where LangSmith traces by then, it stays a coroutine function: a trace would show it as over before it began.
    """
    return cast("F", _LeanHook(method))


class _LeanHook:
    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        def plain(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return method(*args, **kwargs)

        plain.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):  # not __wrapped__, which would be looked at
            setattr(plain, name, getattr(method, name))
        self._method, self._plain = method, plain

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        shape = self._method if tracing_is_enabled() else self._plain
        return shape if instance is None else MethodType(shape, instance)
