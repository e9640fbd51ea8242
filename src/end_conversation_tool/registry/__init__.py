"""Registries: the durable truth about threads.

``SqlSealRegistry`` is imported when it is first asked for: SQLAlchemy takes longer to import than all the rest.
"""

from typing import TYPE_CHECKING, Any

from end_conversation_tool.registry.listing import ListedThread, ThreadKind
from end_conversation_tool.registry.memory import InMemorySealRegistry
from end_conversation_tool.registry.operations_protocol import ExperimentRegistry
from end_conversation_tool.registry.protocol import ProvenanceStore, SealRegistry
from end_conversation_tool.registry.subjects import SubjectEntry

if TYPE_CHECKING:
    from end_conversation_tool.registry.sql.registry import SqlSealRegistry

__all__ = [
    "ExperimentRegistry",
    "InMemorySealRegistry",
    "ListedThread",
    "ProvenanceStore",
    "SealRegistry",
    "SqlSealRegistry",
    "SubjectEntry",
    "ThreadKind",
]


def __getattr__(name: str) -> Any:
    """Import ``SqlSealRegistry`` on demand (PEP 562)."""
    if name == "SqlSealRegistry":
        from end_conversation_tool.registry.sql.registry import SqlSealRegistry  # noqa: PLC0415

        return SqlSealRegistry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
