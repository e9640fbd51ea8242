"""How a protocol declares an async twin without saying its signature, and what it promises, a second time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

Twin = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def twin_of(method: Callable[Concatenate[S, P], T]) -> Callable[[Callable[[S], Any]], Twin[S, P, T]]:
    """Declare the async twin of a method of a protocol: it takes the same, and awaited it returns the same."""

    def declare(named: Callable[[S], Any]) -> Twin[S, P, T]:
        @wraps(method)
        async def twin(_: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            raise NotImplementedError

        twin.__name__, twin.__qualname__ = named.__name__, named.__qualname__
        twin.__doc__ = f"Async twin of ``{method.__name__}``.\n\n{method.__doc__}"
        return twin

    return declare
