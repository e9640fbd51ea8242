"""Let an AI agent leave a conversation, safely: the tool and the enforcement.

The model *requests* an end by calling ``end_conversation``; a reader reads the transcript and quotes what it finds;
code checks every quote; a pure function *decides*; the user is given notice and one more turn; then one gate *seals*
the thread durably, and every door into it asks "sealed?" before it opens.

Names are loaded when they are first used, so that an ordinary program does not pay for what it does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from end_conversation_tool._checkpoint.branching import Retry, aedit_and_retry, edit_and_retry
    from end_conversation_tool._checkpoint.saver import SealedSaver
    from end_conversation_tool._core.operations import Appeal, AppealStatus, CircuitBreaker, Feedback
    from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy, decide
    from end_conversation_tool._core.reading import Finding, Reading, ReadingCase
    from end_conversation_tool._core.records import (
        Decision,
        DecisionRecord,
        EndRequest,
        Notice,
        RiskFlag,
        RiskGrade,
        Seal,
        ThreadStatus,
    )
    from end_conversation_tool._doors.tool import anthropic_tool, create_end_conversation_tool, openai_tool
    from end_conversation_tool.errors import (
        EndConversationError,
        InvalidInputError,
        PolicyConfigurationError,
        RegistryError,
        RegistrySchemaError,
        StaleRunError,
        ThreadSealedError,
    )
    from end_conversation_tool.graph import create_guarded_graph
    from end_conversation_tool.operations.report import Report, abuild_report, build_report
    from end_conversation_tool.operations.telemetry import Sink, TelemetryEvent
    from end_conversation_tool.operations.webhook import WebhookSink
    from end_conversation_tool.readers import (
        AllReaders,
        ClaudeReader,
        ModelReader,
        OfflineReader,
        Price,
        Reader,
        ReadingBudget,
    )
    from end_conversation_tool.registry import ExperimentRegistry, InMemorySealRegistry, SealRegistry, SqlSealRegistry
    from end_conversation_tool.watch import RiskWatch, RiskWatcher, Sighting, default_watch

__version__ = "0.2.0"

_HOMES = {
    "_checkpoint.branching": ("Retry", "aedit_and_retry", "edit_and_retry"),
    "_checkpoint.saver": ("SealedSaver",),
    "_core.operations": ("Appeal", "AppealStatus", "CircuitBreaker", "Feedback"),
    "_core.policy": ("PRESETS", "EndConversationPolicy", "decide"),
    "_core.reading": ("Finding", "Reading", "ReadingCase"),
    "_core.records": (
        "Decision",
        "DecisionRecord",
        "EndRequest",
        "Notice",
        "RiskFlag",
        "RiskGrade",
        "Seal",
        "ThreadStatus",
    ),
    "_doors.tool": ("anthropic_tool", "create_end_conversation_tool", "openai_tool"),
    "errors": (
        "EndConversationError",
        "InvalidInputError",
        "PolicyConfigurationError",
        "RegistryError",
        "RegistrySchemaError",
        "StaleRunError",
        "ThreadSealedError",
    ),
    "graph": ("create_guarded_graph",),
    "operations.report": ("Report", "abuild_report", "build_report"),
    "operations.telemetry": ("Sink", "TelemetryEvent"),
    "operations.webhook": ("WebhookSink",),
    "readers": ("AllReaders", "ClaudeReader", "ModelReader", "OfflineReader", "Price", "Reader", "ReadingBudget"),
    "registry": ("ExperimentRegistry", "InMemorySealRegistry", "SealRegistry", "SqlSealRegistry"),
    "watch": ("RiskWatch", "RiskWatcher", "Sighting", "default_watch"),
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

_GONE = {
    "Detector": "RiskWatcher (risk) and Reader (everything else)",
    "DetectorSuite": "RiskWatch",
    "default_detectors": "default_watch",
}
"""Names of version 0.1, and what there is in their place."""

__all__ = [
    "PRESETS",
    "AllReaders",
    "Appeal",
    "AppealStatus",
    "CircuitBreaker",
    "ClaudeReader",
    "Decision",
    "DecisionRecord",
    "EndConversationError",
    "EndConversationPolicy",
    "EndRequest",
    "ExperimentRegistry",
    "Feedback",
    "Finding",
    "InMemorySealRegistry",
    "InvalidInputError",
    "ModelReader",
    "Notice",
    "OfflineReader",
    "PolicyConfigurationError",
    "Price",
    "Reader",
    "Reading",
    "ReadingBudget",
    "ReadingCase",
    "RegistryError",
    "RegistrySchemaError",
    "Report",
    "Retry",
    "RiskFlag",
    "RiskGrade",
    "RiskWatch",
    "RiskWatcher",
    "Seal",
    "SealRegistry",
    "SealedSaver",
    "Sighting",
    "Sink",
    "SqlSealRegistry",
    "StaleRunError",
    "TelemetryEvent",
    "ThreadSealedError",
    "ThreadStatus",
    "WebhookSink",
    "abuild_report",
    "aedit_and_retry",
    "anthropic_tool",
    "build_report",
    "create_end_conversation_tool",
    "create_guarded_graph",
    "decide",
    "default_watch",
    "edit_and_retry",
    "openai_tool",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module, once."""
    if name not in _HOME_OF:
        hint = f"; since version 0.2 it is {_GONE[name]}" if name in _GONE else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
