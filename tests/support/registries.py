"""Registries that fail where a test wants them to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry import InMemorySealRegistry

METHODS = ("status", "seal", "record_decision", "flag_risk")
"""The methods that the gate calls; each fails as its async twin does."""


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

    def status(self, thread_id: str) -> Any:
        self._pass("status")
        return super().status(thread_id)

    async def astatus(self, thread_id: str) -> Any:
        self._pass("status")
        return await super().astatus(thread_id)

    def seal(self, *args: Any, **kwargs: Any) -> Any:
        self._pass("seal")
        return super().seal(*args, **kwargs)

    async def aseal(self, *args: Any, **kwargs: Any) -> Any:
        self._pass("seal")
        return await super().aseal(*args, **kwargs)

    def record_decision(self, record: Any) -> None:
        self._pass("record_decision")
        super().record_decision(record)

    async def arecord_decision(self, record: Any) -> None:
        self._pass("record_decision")
        await super().arecord_decision(record)

    def flag_risk(self, *args: Any, **kwargs: Any) -> Any:
        self._pass("flag_risk")
        return super().flag_risk(*args, **kwargs)

    async def aflag_risk(self, *args: Any, **kwargs: Any) -> Any:
        self._pass("flag_risk")
        return await super().aflag_risk(*args, **kwargs)
