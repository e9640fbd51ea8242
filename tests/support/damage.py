"""Databases changed behind a registry's back, and what a registry must say then."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine

from end_conversation_tool.errors import RegistryError
from end_conversation_tool.registry import SqlSealRegistry
from support.records import denial, permit

__all__ = ["both_ways_fail", "everything_fails", "execute", "writes_fail"]


def execute(url: str, *statements: str) -> None:
    """Run statements on a database behind the registry's back."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


async def both_ways_fail(registry: SqlSealRegistry, method: str, *args: Any, **kwargs: Any) -> None:
    """Show that a method and its async twin raise a ``RegistryError``."""
    with pytest.raises(RegistryError):
        getattr(registry, method)(*args, **kwargs)
    with pytest.raises(RegistryError):
        await getattr(registry, f"a{method}")(*args, **kwargs)


async def writes_fail(registry: SqlSealRegistry, thread_id: str = "thread") -> None:
    """Show that every way to write raises a ``RegistryError``."""
    await both_ways_fail(registry, "seal", permit(thread_id))
    await both_ways_fail(registry, "record_decision", denial(thread_id))
    await both_ways_fail(registry, "flag_risk", thread_id, kind="crisis", source="test")
    await both_ways_fail(registry, "open_branch", thread_id, parent=0, forked_from="c")


async def everything_fails(registry: SqlSealRegistry) -> None:
    """Show that every use raises a ``RegistryError``."""
    await writes_fail(registry)
    for method in ("status", "decisions", "history", "seals"):
        await both_ways_fail(registry, method, "thread")
    for method in ("clear_risk", "reopen"):
        await both_ways_fail(registry, method, "thread", operator="Kim", reason="looked")
