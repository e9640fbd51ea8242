"""The table of operations is whole: each promise is kept, sync and async, by every store, and described once."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry import (
    ExperimentRegistry,
    InMemorySealRegistry,
    ProvenanceStore,
    SealRegistry,
    SqlSealRegistry,
    memory,
    operations,
)
from end_conversation_tool.registry.operations import Operation, Question, StoredRegistry
from end_conversation_tool.registry.sql import operations as sql
from support.records import denial, notice, permit
from support.registries import METHODS, FlakyRegistry

PROMISES: list[tuple[Any, str]] = [
    (protocol, name)
    for protocol in (SealRegistry, ProvenanceStore, ExperimentRegistry)
    for name, value in vars(protocol).items()
    if inspect.isfunction(value) and not name.startswith("_")
]


def test_every_promise_has_a_twin() -> None:
    names = {name for _, name in PROMISES}
    assert len(names) == len(PROMISES) == 68
    assert names == {f"a{name}" for name in names if f"a{name}" in names} | {n for n in names if f"a{n}" in names}


@pytest.mark.parametrize(("protocol", "name"), PROMISES, ids=[name for _, name in PROMISES])
@pytest.mark.parametrize("registry", [InMemorySealRegistry, SqlSealRegistry])
def test_a_promise_is_kept_as_it_was_given(registry: Any, protocol: Any, name: str) -> None:
    kept, promised = getattr(registry, name), getattr(protocol, name)
    assert name in vars(StoredRegistry)
    assert [str(known) for known in inspect.signature(kept).parameters.values()][1:] == [
        str(known) for known in inspect.signature(promised).parameters.values()
    ][1:]
    sync = name[1:] if name.startswith("a") and (protocol, name[1:]) in PROMISES else name
    assert inspect.iscoroutinefunction(kept) is (sync != name)
    described = inspect.getdoc(getattr(protocol, sync))
    assert described
    assert str(inspect.getdoc(kept)).endswith(described)
    assert kept.__name__ == name


def test_every_store_performs_every_operation() -> None:
    named = [value for value in vars(operations).values() if inspect.isclass(value)]
    known = {value for value in named if issubclass(value, Operation)} - {Operation, Question}
    assert len(known) == 20
    for performs in (memory._perform, sql._flow):
        assert known <= set(performs.registry)
        with pytest.raises(NotImplementedError, match="Operation"):
            performs(Operation(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
async def test_a_flaky_registry_fails_where_it_is_told_to(name: str) -> None:
    arguments: dict[str, Any] = {
        "status": ["t"],
        "seal": [permit()],
        "give_notice": [notice()],
        "record_decision": [denial()],
        "flag_risk": ["t"],
    }
    fields = {"kind": "crisis", "source": "test"} if name == "flag_risk" else {}
    registry = FlakyRegistry(name)
    with pytest.raises(RegistryError):
        getattr(registry, name)(*arguments[name], **fields)
    with pytest.raises(RegistryError):
        await getattr(registry, f"a{name}")(*arguments[name], **fields)
    registry.failing.clear()
    getattr(registry, name)(*arguments[name], **fields)
    assert registry.called == [name] * 3
