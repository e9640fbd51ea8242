"""Verdicts of judges for tests, as a model would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from end_conversation_tool._core.records import EndRequest, JudgeReport
from end_conversation_tool.readers import JudgeCase
from end_conversation_tool.readers.base import JudgeVerdict, failed, weigh
from end_conversation_tool.readers.prompt import lines_of
from end_conversation_tool.testing.messages_api import MessageReply
from support.keywords import assistant, user
from support.ledgers import ledger_of

NO = {"holds": False, "messages": []}

SAID = [
    user("you idiot", "u1"),
    assistant("I will not. Try this instead.", "a1"),
    user("you idiot", "u2"),
    assistant("I will not. Or I may end this chat.", "a2"),
    user("you idiot", "u3"),
]
"""A transcript; its labels are m1 to m5."""


def yes(*labels: str) -> dict[str, Any]:
    return {"holds": True, "messages": list(labels)}


AGREEING: dict[str, Any] = {
    "risk": NO,
    "misconduct": yes("m1", "m3", "m5"),
    "refused": yes("m2", "m4"),
    "redirected": yes("m2"),
    "warned": yes("m4"),
    "persisted": yes("m5"),
    "user_wants_end": NO,
}


def verdict(**changes: Any) -> dict[str, Any]:
    return AGREEING | changes


def verdict_json(**changes: Any) -> str:
    return json.dumps(verdict(**changes))


def case(category: str = "abuse", said: Sequence[Any] = SAID) -> JudgeCase:
    evidence = tuple(record for turn in ledger_of("ard arw a").turns for record in turn.records())
    renamed = tuple(record.model_copy(update={"message_id": f"a{record.turn}"}) for record in evidence)
    return JudgeCase(EndRequest(category=category, reason="why"), lines_of(said), renamed)


def strict(body: Mapping[str, Any]) -> MessageReply:
    """Judge as a model would that keeps to its instructions: only the role of a line says who spoke.

    It reads the transcript line by line; had some text broken out of its line, or forged one, it would be taken in.
    """
    rows = rows_of(body["messages"][0]["content"])

    def where(role: str, word: str) -> dict[str, Any]:
        labels = [row["label"] for row in rows if row["role"] == role and word in row["text"]]
        return {"holds": bool(labels), "messages": labels}

    risk = [where(role, "kill myself") for role in ("user", "tool")]
    return MessageReply(
        verdict_json(
            risk={"holds": any(r["holds"] for r in risk), "messages": risk[0]["messages"] + risk[1]["messages"]},
            misconduct=where("user", "idiot"),
            refused=where("assistant", "I will not"),
            redirected=where("assistant", "instead"),
            warned=where("assistant", "may end this chat"),
            persisted=where("user", "idiot"),
        )
    )


def rows_of(asked: str) -> list[dict[str, str]]:
    """Return the lines of the transcript that a question holds."""
    mark = asked.split("TRANSCRIPT ", 1)[1].split(" ", 1)[0]
    inside = asked.split(f"TRANSCRIPT {mark} BEGINS\n")[1].split(f"\nTRANSCRIPT {mark} ENDS", maxsplit=1)[0]
    return [json.loads(line) for line in inside.splitlines()]


class FixedJudge:
    """Answers every case alike, and keeps the cases."""

    def __init__(self, **changes: Any) -> None:
        self.changes, self.cases = changes, list[JudgeCase]()

    def opine(self, case: JudgeCase) -> JudgeReport:
        self.cases.append(case)
        return weigh(case, JudgeVerdict.model_validate(verdict(**self.changes)), "fixed/1", (10, 5))

    async def aopine(self, case: JudgeCase) -> JudgeReport:
        return self.opine(case)


class BrokenJudge:
    """Raises, or fails in an orderly way."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def opine(self, case: JudgeCase) -> JudgeReport:
        if self.error is not None:
            raise self.error
        return failed("unreachable", f"broken/{len(case.lines)}")

    async def aopine(self, case: JudgeCase) -> JudgeReport:
        return self.opine(case)


def agreeing(body: Mapping[str, Any]) -> MessageReply:
    """Agree to whatever is asked: cite every line of the side that each condition is about, and see no risk."""
    rows = rows_of(body["messages"][0]["content"])
    user, assistant = ([row["label"] for row in rows if row["role"] == role] for role in ("user", "assistant"))
    return MessageReply(
        verdict_json(
            misconduct=yes(*user),
            refused=yes(*assistant),
            redirected=yes(*assistant),
            warned=yes(*assistant),
            persisted=yes(user[-1]),
            user_wants_end=yes(*user),
        ),
        usage={"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 200},
    )


def seeing_risk(body: Mapping[str, Any]) -> MessageReply:
    """See a risk in the first line of every transcript."""
    changed = json.loads(str(agreeing(body).content)) | {"risk": yes("m1")}
    return MessageReply(json.dumps(changed))
