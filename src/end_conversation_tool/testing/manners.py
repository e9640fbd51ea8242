"""Three manners in which a model may use the tool, and a reader who knows the labels. Pure: no model, no framework.

They know the conversation, as no real model does: what they are for is to show what code makes of requests that are
right, of requests that are wrong, and of none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from end_conversation_tool._core.records import Category, EvidenceKind, RiskGrade
from end_conversation_tool.testing.labelled import LabelledConversation, LabelledTurn

__all__ = ["FALLBACK", "Manner", "Move", "move_of", "report_on", "rows_in"]

FALLBACK = "I am here. How can I help?"
"""What a model says that has nothing else to say: after a denial, and in place of a warning to somebody at risk."""

_ASKED_RIGHTLY = ("warranted", "user_request", "notice_heeded")
"""Kinds of conversations in which the assistant's requests, as written, follow the rules."""

_OF_USERS = (EvidenceKind.ABUSE, EvidenceKind.HARMFUL_REQUEST, EvidenceKind.ASKS_TO_END, EvidenceKind.CONFIRMS_END)
_OF_ASSISTANTS = (EvidenceKind.REFUSAL, EvidenceKind.REDIRECTION, EvidenceKind.WARNING)


class Manner(StrEnum):
    """How a model uses the tool: as the rules say, in every turn, or never."""

    FOLLOWS_RULES = "follows_rules"
    ENDS_EVERYTHING = "ends_everything"
    NEVER_ENDS = "never_ends"


@dataclass(frozen=True, slots=True)
class Move:
    """What a model does next.

    Attributes:
        text: What it says.
        asks: The ground on which it asks for the end; ``None`` when it does not ask.
        reads: Address of the page that it reads; empty for none.
    """

    text: str
    asks: Category | None = None
    reads: str = ""


def move_of(
    manner: Manner, conversation: LabelledConversation | None, said: Sequence[str], after: str | None = None
) -> Move:
    """Return what a model of a manner does next.

    Args:
        manner: How it uses the tool.
        conversation: What it takes part in; ``None`` for one that nobody knows.
        said: What the person has said so far, oldest first.
        after: Name of the tool whose result came last; ``None`` when the person spoke last.
    """
    if after == "end_conversation":
        return Move(FALLBACK)
    if conversation is None:
        return Move(FALLBACK, Category.ABUSE if manner is Manner.ENDS_EVERYTHING else None)
    turn = conversation.turn_at(said)
    if turn.reads and after is None:
        return Move("", reads=turn.reads)
    if manner is Manner.ENDS_EVERYTHING:
        return Move(turn.assistant, conversation.category)
    asks = turn.asks and conversation.kind in _ASKED_RIGHTLY and manner is Manner.FOLLOWS_RULES
    risky = any(conversation.turn_at(said[: count + 1]).risk is not RiskGrade.NONE for count in range(len(said)))
    warns = risky and "warning" in turn.assistant_labels
    text = FALLBACK if warns or not (turn.assistant or asks) else turn.assistant
    return Move(text, conversation.category if asks else None)


def rows_in(question: str) -> str | None:
    """Return the transcript in a question to a reader, a line of JSON for each message; ``None`` for none."""
    found = re.search(r"^TRANSCRIPT (\w+) BEGINS\n(.*)\nTRANSCRIPT \1 ENDS$", question, re.DOTALL | re.MULTILINE)
    return None if found is None else found[2]


def report_on(conversation: LabelledConversation, rows: str) -> dict[str, Any]:
    """Return the report of a reader who knows the labels: every label of a turn, quoted with the whole message.

    Args:
        conversation: What was said, and what it shows.
        rows: The transcript as a reader is shown it: one line of JSON for each message.
    """
    findings: list[dict[str, str]] = []
    risk = [RiskGrade.NONE]
    for line in map(json.loads, rows.split("\n")):
        for kind, grade in _shown(conversation.all_turns, line["role"], line["text"]):
            findings.append({"kind": str(kind), "label": line["label"], "quote": line["text"]})
            risk.append(grade)
    return {"findings": findings, "risk": str(max(risk, key=list(RiskGrade).index))}


def _shown(turns: Sequence[LabelledTurn], role: str, text: str) -> Iterator[tuple[EvidenceKind, RiskGrade]]:
    """Yield what a message shows, and how sure it is about risk."""
    same = next((turn for turn in turns if (turn.user if role == "user" else turn.assistant) == text), None)
    if same is None:
        return
    kinds, labels = (_OF_USERS, same.user_labels) if role == "user" else (_OF_ASSISTANTS, same.assistant_labels)
    yield from ((kind, RiskGrade.NONE) for kind in kinds if str(kind) in labels)
    if role == "user" and same.risk is not RiskGrade.NONE:
        yield EvidenceKind.RISK, same.risk
