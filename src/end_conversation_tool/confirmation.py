"""Asking the user by an interrupt whether they want the end: the question, and which answer is a yes.

Only an explicit yes is one. What an app sends when its user closes the dialogue, or types something else, is a no.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from end_conversation_tool.prompts import confirmation_question
from end_conversation_tool.vocabulary import Category

__all__ = ["QUESTION_TYPE", "is_yes", "question"]

QUESTION_TYPE = "end_conversation.confirm"
"""Tells this interrupt from others of the same graph."""


def question() -> dict[str, Any]:
    """Return the interrupt's payload, plain JSON: what it is, what to ask the user, and on what ground."""
    return {"type": QUESTION_TYPE, "question": confirmation_question(), "category": str(Category.USER_REQUEST)}


def is_yes(answer: object) -> bool:
    """Whether a run was resumed with an explicit yes: ``True``, ``"yes"``, or ``{"confirmed": True}``."""
    if isinstance(answer, Mapping):
        return answer.get("confirmed") is True
    return answer is True or (isinstance(answer, str) and answer.strip().casefold() == "yes")
