"""Asking by an interrupt whether there is to be an end: the questions, and which answer of the user is a yes.

Only an explicit yes is one. What an app sends when its user closes the dialogue, or types something else, is a no.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from numbers import Number
from typing import Any, NamedTuple
from uuid import UUID

from end_conversation_tool._core.records import TOOL_NAME
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._core.vocabulary import Category

__all__ = ["QUESTION_TYPE", "Words", "asks_reviewer", "is_question", "is_yes", "question", "words_of"]

QUESTION_TYPE = "end_conversation.confirm"
"""Tells this interrupt from others of the same graph."""

MAX_STEPS = 10_000
"""Steps into and out of the parts of an answer that are taken; what lies beyond is not read."""

_WORDLESS = (Number, date, time, timedelta, UUID)
"""What holds nobody's words."""

_END = object()


class Words(NamedTuple):
    """What a person says in an answer.

    Attributes:
        text: Their words, joined by newlines.
        whole: Whether nothing was left unread: a part beyond the bound, or one that is neither words nor wordless.
    """

    text: str
    whole: bool


def question(texts: Texts) -> dict[str, Any]:
    """Return the interrupt's payload, plain JSON: what it is, what to ask the user, and on what ground."""
    return {"type": QUESTION_TYPE, "question": texts.question, "category": str(Category.USER_REQUEST)}


def is_question(asked: object) -> bool:
    """Whether an interrupt's payload is our question to the user."""
    return isinstance(asked, Mapping) and asked.get("type") == QUESTION_TYPE


def asks_reviewer(asked: object, call_id: str) -> bool:
    """Whether an interrupt's payload asks a reviewer about a request to end.

    It does where it names the call in ``tool_call_id``, or is LangChain's list of actions with the tool among them.

    Args:
        asked: The payload.
        call_id: Id of the call that waits.
    """
    if not isinstance(asked, Mapping):
        return False
    actions = asked.get("action_requests")
    named = [one.get("name") for one in actions if isinstance(one, Mapping)] if isinstance(actions, list) else []
    return TOOL_NAME in named or asked.get("tool_call_id") == call_id


def is_yes(answer: object) -> bool:
    """Whether a run was resumed with an explicit yes, and nothing more in words.

    A yes is ``True``, ``"yes"``, or ``{"confirmed": True}``; further fields may hold what has no words.
    """
    if isinstance(answer, Mapping):
        return answer.get("confirmed") is True and words_of(answer) == Words("", whole=True)
    return answer is True or (isinstance(answer, str) and answer.strip().casefold() == "yes")


def words_of(answer: object) -> Words:
    """Return what the user says in an answer, wherever it stands in it; in bounded time, whatever it is."""
    said, whole = list[str](), True
    within: list[Iterator[object]] = [iter((answer,))]
    for _ in range(MAX_STEPS):
        if not within:
            break
        part = next(within[-1], _END)
        if part is _END:
            within.pop()
        elif isinstance(part, str):
            said.append(part.strip())
        elif isinstance(part, Mapping):
            within.append(iter(part.values()))
        elif isinstance(part, Sequence | AbstractSet) and not isinstance(part, bytes | bytearray | memoryview):
            within.append(iter(part))
        else:
            whole &= part is None or isinstance(part, _WORDLESS)
    return Words("\n".join(filter(None, said)), whole and not within)
