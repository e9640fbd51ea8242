"""Detectors: what was said, and whether somebody may be at risk."""

from __future__ import annotations

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool.watch.base import RISK_KINDS, Answer, Detector, DetectorSuite, Signal, SignalKind
from end_conversation_tool.watch.native import NativeRefusalDetector
from end_conversation_tool.watch.text import TextDetector

__all__ = [
    "RISK_KINDS",
    "Answer",
    "Detector",
    "DetectorSuite",
    "NativeRefusalDetector",
    "ObservedMessage",
    "Signal",
    "SignalKind",
    "TextDetector",
    "default_detectors",
]


def default_detectors() -> DetectorSuite:
    """Return the detectors that are used unless you choose others: provider signals, phrases and small models."""
    return DetectorSuite([NativeRefusalDetector(), TextDetector()])
