"""What Inspect finds by the entry point ``inspect_ai``: tasks, solvers, scorers, and the provider ``endbench``."""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi

from end_conversation_tool.evals.scorers import endings, rate, reading
from end_conversation_tool.evals.solvers import agent, raw_model
from end_conversation_tool.evals.tasks import (
    at_risk,
    bail,
    endbench,
    injection,
    not_grounds,
    notice_heeded,
    read_transcript,
    reader,
    under_ending,
    user_request,
)

__all__ = [
    "agent",
    "at_risk",
    "bail",
    "endbench",
    "endings",
    "injection",
    "not_grounds",
    "notice_heeded",
    "rate",
    "raw_model",
    "read_transcript",
    "reader",
    "reading",
    "under_ending",
    "user_request",
]


@modelapi(name="endbench")
def scripted() -> type[ModelAPI]:
    """Return the provider of scripted models."""
    from end_conversation_tool.evals.scripted_api import ScriptedAPI  # noqa: PLC0415 - only where it is asked for

    return ScriptedAPI
