"""The judge: a second model that reads the transcript when, and only when, an end is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from end_conversation_tool.readers.base import Judge, JudgeCase

if TYPE_CHECKING:
    from end_conversation_tool.readers.chat_model import ChatModelJudge
    from end_conversation_tool.readers.claude import ClaudeJudge
    from end_conversation_tool.readers.metered import JudgeBudget, MeteredJudge, Price

__all__ = ["ChatModelJudge", "ClaudeJudge", "Judge", "JudgeBudget", "JudgeCase", "MeteredJudge", "Price"]

_HOME_OF = {
    "ChatModelJudge": "chat_model",
    "ClaudeJudge": "claude",
    "JudgeBudget": "metered",
    "MeteredJudge": "metered",
    "Price": "metered",
}


def __getattr__(name: str) -> Any:
    """Load a judge when it is first used: most programs need none."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
