"""Let an AI agent leave a conversation, safely: the tool and the enforcement.

The model *requests* an end by calling ``end_conversation``; a pure function *decides* from a ledger of evidence and a
policy; one gate *seals* the thread durably; every door into the thread asks "sealed?" before it opens.

Names are loaded when they are first used, so that an ordinary program does not pay for what it does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from end_conversation_tool._checkpoint.branching import Retry, aedit_and_retry, edit_and_retry
    from end_conversation_tool._checkpoint.saver import SealedSaver
    from end_conversation_tool._core.breaker import CircuitBreaker
    from end_conversation_tool._core.operations import Appeal, AppealStatus, Feedback
    from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy, decide
    from end_conversation_tool._core.records import Decision, DecisionRecord, EndRequest, RiskFlag, Seal, ThreadStatus
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
    from end_conversation_tool.registry import ExperimentRegistry, InMemorySealRegistry, SealRegistry, SqlSealRegistry
    from end_conversation_tool.watch import default_detectors
    from end_conversation_tool.watch.base import Detector, DetectorSuite

__version__ = "0.1.0"

_HOMES = {
    "_core.breaker": ("CircuitBreaker",),
    "_checkpoint.branching": ("Retry", "aedit_and_retry", "edit_and_retry"),
    "watch": ("default_detectors",),
    "watch.base": ("Detector", "DetectorSuite"),
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
    "_core.records": ("Decision", "DecisionRecord", "EndRequest", "RiskFlag", "Seal", "ThreadStatus"),
    "_core.operations": ("Appeal", "AppealStatus", "Feedback"),
    "_core.policy": ("PRESETS", "EndConversationPolicy", "decide"),
    "operations.report": ("Report", "abuild_report", "build_report"),
    "operations.telemetry": ("Sink", "TelemetryEvent"),
    "operations.webhook": ("WebhookSink",),
    "registry": ("ExperimentRegistry", "InMemorySealRegistry", "SealRegistry", "SqlSealRegistry"),
    "_checkpoint.saver": ("SealedSaver",),
    "_doors.tool": ("anthropic_tool", "create_end_conversation_tool", "openai_tool"),
}

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "Appeal",
    "AppealStatus",
    "CircuitBreaker",
    "Decision",
    "DecisionRecord",
    "Detector",
    "DetectorSuite",
    "EndConversationError",
    "EndConversationPolicy",
    "EndRequest",
    "ExperimentRegistry",
    "Feedback",
    "InMemorySealRegistry",
    "InvalidInputError",
    "PolicyConfigurationError",
    "RegistryError",
    "RegistrySchemaError",
    "Report",
    "Retry",
    "RiskFlag",
    "Seal",
    "SealRegistry",
    "SealedSaver",
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
    "default_detectors",
    "edit_and_retry",
    "openai_tool",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module, once."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
