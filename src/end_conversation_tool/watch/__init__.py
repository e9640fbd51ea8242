"""The risk watch: what a user says is looked at offline, at once, for signs that somebody may be at risk."""

from __future__ import annotations

from end_conversation_tool._core.vocabulary import RiskGrade, RiskKind
from end_conversation_tool.watch.risk import RiskWatcher, Sighting
from end_conversation_tool.watch.text import TextWatcher
from end_conversation_tool.watch.watch import RiskWatch, default_watch, surest

__all__ = [
    "RiskGrade",
    "RiskKind",
    "RiskWatch",
    "RiskWatcher",
    "Sighting",
    "TextWatcher",
    "default_watch",
    "surest",
]
