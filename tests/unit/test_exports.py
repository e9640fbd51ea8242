"""The public names are pinned: adding one is a decision, losing one is a break."""

from __future__ import annotations

import subprocess
import sys

import pytest

import end_conversation_tool

PUBLIC = [
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
    "PRESETS",
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


def test_public_names() -> None:
    assert sorted(end_conversation_tool.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(end_conversation_tool))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_loads_and_is_documented(name: str) -> None:
    value = getattr(end_conversation_tool, name)
    assert name == "PRESETS" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = end_conversation_tool.nothing


@pytest.mark.parametrize("module", ["langchain", "sqlalchemy", "anthropic", "numpy", "typer", "rich"])
def test_importing_the_package_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, end_conversation_tool; print({module!r} in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("end_conversation_tool.middleware", "langchain.agents", "[langchain]"),
    ],
)
def test_a_missing_extra_is_named(module: str, missing: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"try:\n    import {module}\nexcept ImportError as error:\n    print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert extra in found.stdout
