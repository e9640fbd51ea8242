"""Registries that fail where a test wants them to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry import InMemorySealRegistry

METHODS = ("status", "seal", "give_notice", "record_decision", "flag_risk")
"""The methods that the gate calls for every thread; each fails as its async twin does."""

OF_THE_EXPERIMENT = ("seal_within", "breaker", "count_thread", "note_mention")
"""Those that it calls only where a host asks for more."""


class FlakyRegistry(InMemorySealRegistry):
    """Raises ``error`` from the methods named in ``failing``, and runs ``before[name]`` ahead of a method."""

    def __init__(self, *failing: str, error: Exception | None = None) -> None:
        super().__init__()
        self.failing = set(failing)
        self.error = error or RegistryError("out of order")
        self.before: dict[str, Callable[[], Any]] = {}
        self.called: list[str] = []

    def _pass(self, name: str) -> None:
        self.called.append(name)
        action = self.before.pop(name, None)
        if action is not None:
            action()
        if name in self.failing:
            raise self.error


def _watched(name: str) -> Callable[..., Any]:
    method = getattr(InMemorySealRegistry, name)

    def watched(self: FlakyRegistry, *args: Any, **kwargs: Any) -> Any:
        self._pass(name)
        return method(self, *args, **kwargs)

    return watched


def _watched_twin(name: str) -> Callable[..., Any]:
    method = getattr(InMemorySealRegistry, f"a{name}")

    async def watched(self: FlakyRegistry, *args: Any, **kwargs: Any) -> Any:
        self._pass(name)
        return await method(self, *args, **kwargs)

    return watched


for _name in (*METHODS, *OF_THE_EXPERIMENT):
    setattr(FlakyRegistry, _name, _watched(_name))
    setattr(FlakyRegistry, f"a{_name}", _watched_twin(_name))
