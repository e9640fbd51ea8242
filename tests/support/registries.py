"""Registries that fail where a test wants them to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry import InMemorySealRegistry

METHODS = ("status", "seal", "give_notice", "record_decision", "flag_risk")
"""The methods that the gate calls for every thread; each fails as its async twin does."""

OF_THE_EXPERIMENT = ("seal_within", "breaker", "count_thread", "note_violation", "attribute")
"""Those that it calls only where a host asks for more."""


def _watched(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    method, twin = getattr(InMemorySealRegistry, name), getattr(InMemorySealRegistry, f"a{name}")

    def watched(registry: FlakyRegistry, *args: Any, **kwargs: Any) -> Any:
        registry._pass(name)
        return method(registry, *args, **kwargs)

    async def awatched(registry: FlakyRegistry, *args: Any, **kwargs: Any) -> Any:
        registry._pass(name)
        return await twin(registry, *args, **kwargs)

    return watched, awatched


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

    status, astatus = _watched("status")
    seal, aseal = _watched("seal")
    give_notice, agive_notice = _watched("give_notice")
    record_decision, arecord_decision = _watched("record_decision")
    flag_risk, aflag_risk = _watched("flag_risk")
    seal_within, aseal_within = _watched("seal_within")
    breaker, abreaker = _watched("breaker")
    count_thread, acount_thread = _watched("count_thread")
    note_violation, anote_violation = _watched("note_violation")
    attribute, aattribute = _watched("attribute")
