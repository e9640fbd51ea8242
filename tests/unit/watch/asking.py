"""How the tests of the watch ask: one message, one grade."""

from __future__ import annotations

from end_conversation_tool.watch import RiskGrade, default_watch
from end_conversation_tool.watch.normalise import plain, tokens


def grade(*said: str) -> RiskGrade:
    """Return how sure the watch is of what somebody said in a row."""
    return default_watch().look(said).grade


def line_of(text: str) -> str:
    """Return a text as the phrases see it."""
    return f" {' '.join(tokens(plain(text)))} "
