"""The shape in which LangChain gets a hook: the one that costs an ordinary turn least.

LangChain puts LangSmith's ``traceable`` round each hook, whether anything is traced or not. Round a coroutine function
that is two trips to a thread and a task in every call; a plain function that returns an awaitable is only called. And
each call asks for the hook's signature, which a bound method has made anew each time, and a function may carry along.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from langsmith.utils import tracing_is_enabled

__all__ = ["lean"]

F = TypeVar("F", bound=Callable[..., Any])


def lean(method: F) -> F:
    """Make a method, sync or async, a plain function to whoever takes it from an instance; it does what it did.

    Where LangSmith traces by then, it stays as it is: a trace would show an async one as over before it began.
    """
    return cast("F", _LeanHook(method))


class _LeanHook:
    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        method = self._method
        if instance is None:
            return method
        bound = method.__get__(instance, owner)
        if tracing_is_enabled():
            return bound

        def plain(*args: Any, **kwargs: Any) -> Any:
            return method(instance, *args, **kwargs)

        plain.__signature__ = inspect.signature(bound)  # type: ignore[attr-defined]
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):  # not __wrapped__, which would be looked at
            setattr(plain, name, getattr(method, name))
        return plain
