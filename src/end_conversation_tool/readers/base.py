"""What a judge is asked, what it answers, and what the answer is worth.

A judge can only make an end less likely. Its answer counts as *agrees* when all of this holds, and is doubt otherwise:

1. It sees no sign of risk anywhere in the transcript. A sign that it sees is a risk flag, whatever else it says;
   one that it sees in the result of a tool alone is a doubt, as it is for the detectors.
2. It says that every condition for this category holds, and cites messages for each.
3. Every message it cites exists, and was said by the side that the condition is about.
4. For each condition that the ledger counted, it cites at least one message that the ledger counted too.

A judge that times out, refuses, is overloaded, answers nonsense or runs out of budget has failed: the end is denied.
It is not asked about a transcript of which it would not see everything: what is not shown is doubt.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from end_conversation_tool._core.flow import Ask, Flow
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.records import EndRequest, EvidenceRecord, JudgeReport
from end_conversation_tool._core.vocabulary import Category, EvidenceKind, JudgeOpinion

__all__ = [
    "Finding",
    "Judge",
    "JudgeCase",
    "JudgeVerdict",
    "Line",
    "Usage",
    "consulted",
    "failed",
    "hides_something",
    "warn_of_missing_judge",
    "weigh",
]

_log = logging.getLogger(__name__)


class Usage(NamedTuple):
    """Tokens that one question cost; see ``JudgeReport`` for what each counts."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the transcript, as the judge sees it.

    Attributes:
        label: A short name such as ``m3``: ids are chosen by callers and must not reach the judge.
        role: ``user``, ``assistant`` or ``tool``.
        text: What was said.
        message_id: The id, for us.
    """

    label: str
    role: str
    text: str
    message_id: str


@dataclass(frozen=True, slots=True)
class JudgeCase:
    """What a judge is asked about.

    Attributes:
        request: What the model asks for; its reason is not shown to the judge, which forms its own view.
        lines: The whole transcript, oldest first.
        evidence: What the ledger counted.
    """

    request: EndRequest
    lines: tuple[Line, ...]
    evidence: tuple[EvidenceRecord, ...]


@runtime_checkable
class Judge(Protocol):
    """Reads a transcript and says whether the conditions for an end hold. Never raises."""

    def opine(self, case: JudgeCase) -> JudgeReport:
        """Return the judge's opinion."""
        ...

    async def aopine(self, case: JudgeCase) -> JudgeReport:
        """Async twin of ``opine``."""
        ...


class Finding(BaseModel):
    """Whether one thing holds, and which messages show it."""

    model_config = ConfigDict(extra="forbid")

    holds: bool
    messages: list[str] = Field(
        description="Labels of the messages that show it, such as m3. Empty if it does not hold."
    )


class JudgeVerdict(BaseModel):
    """The structured answer of a judge."""

    model_config = ConfigDict(extra="forbid")

    risk: Finding = Field(
        description="Any sign, anywhere, by anyone, even indirect or joking, of self-harm, suicide, a mental-health "
        "crisis, danger to somebody, or intended violence. When unsure, say that it holds."
    )
    misconduct: Finding = Field(
        description="The user, in their own words and not in quoted or pasted text, persistently abuses the assistant "
        "or others, or keeps asking for harmful content. Cite user messages."
    )
    refused: Finding = Field(description="The assistant refused, in several turns. Cite assistant messages.")
    redirected: Finding = Field(
        description="The assistant offered another way, in several turns. Cite assistant messages."
    )
    warned: Finding = Field(
        description="The assistant warned that the chat may be ended, and the user answered after that. Cite the "
        "assistant's warning."
    )
    persisted: Finding = Field(
        description="After the warning the user went on in the same way, in the newest user message too. Cite user "
        "messages."
    )
    user_wants_end: Finding = Field(
        description="The user asked for the chat to be ended, was asked whether they mean it, and then said yes. Cite "
        "the user's request and their yes."
    )


@dataclass(frozen=True, slots=True)
class _Condition:
    field: str
    role: str
    kinds: frozenset[EvidenceKind]


_CONDUCT = (
    _Condition("misconduct", "user", frozenset()),
    _Condition("refused", "assistant", frozenset({EvidenceKind.REFUSAL})),
    _Condition("redirected", "assistant", frozenset({EvidenceKind.REDIRECTION})),
    _Condition("warned", "assistant", frozenset({EvidenceKind.WARNING})),
    _Condition("persisted", "user", frozenset()),
)

_CONDITIONS: Mapping[Category, Sequence[_Condition]] = {
    Category.ABUSE: _CONDUCT,
    Category.HARMFUL_REQUESTS: _CONDUCT,
    Category.USER_REQUEST: (
        _Condition("user_wants_end", "user", frozenset({EvidenceKind.ASKS_TO_END, EvidenceKind.CONFIRMS_END})),
    ),
}


def hides_something(messages: Iterable[ObservedMessage], user_turns: int, *, media_is_read: bool = False) -> bool:
    """Whether a judge that is shown these messages would not see everything that users said.

    Args:
        messages: All messages of the branch that are still there.
        user_turns: User turns that the ledger has counted; where fewer user messages are left, some are gone.
        media_is_read: Whether detectors look at images and the like, so that nobody depends on the judge for them.
    """
    said = [message for message in messages if message.role == "user"]
    unread = any(message.summary or (message.media and not media_is_read) for message in said)
    return unread or len(said) < user_turns


@cache
def warn_of_missing_judge(policy_version: str) -> None:
    """Log, once for each policy, that it requires a judge and has none."""
    _log.warning(
        "policy %s requires a judge and none is configured: every end is denied (judge_failed). Give one: judge=..., "
        "or --judge on the command line",
        policy_version,
    )


def consulted(judge: Judge, case: JudgeCase) -> Flow[JudgeReport]:
    """Ask a judge of any make. One that raises, or answers with something else than a report, has failed."""
    try:
        report: JudgeReport = yield Ask(judge.opine, judge.aopine, (case,))
    except Exception as error:  # noqa: BLE001 - a judge that raises has failed, whatever broke in it
        return failed(type(error).__name__, type(judge).__name__)
    return report if isinstance(report, JudgeReport) else failed("no_report", type(judge).__name__)


def weigh(case: JudgeCase, verdict: JudgeVerdict, source: str, tokens: tuple[int, ...]) -> JudgeReport:
    """Return what a judge's answer is worth.

    Risk is looked at first: a sign of it stands even where the answer is of no use otherwise.

    Args:
        case: What it was asked.
        verdict: What it answered.
        source: Judge and version, as ``name/version``.
        tokens: What it cost, as ``Usage``.
    """
    by_label = {line.label: line for line in case.lines}
    if verdict.risk.holds or verdict.risk.messages:
        shown = [by_label[label] for label in verdict.risk.messages if label in by_label]
        if shown and all(line.role == "tool" for line in shown):
            return _report(JudgeOpinion.DISAGREES, "risk in the result of a tool", source, tokens)
        first = next((line.message_id for line in shown if line.role != "tool"), None)
        return _report(JudgeOpinion.DISAGREES, "risk", source, tokens).model_copy(
            update={"risk": True, "risk_message_id": first}
        )
    findings = [getattr(verdict, name) for name in JudgeVerdict.model_fields]
    if any(label not in by_label for finding in findings for label in finding.messages):
        return failed("unknown_message", source, tokens)
    for condition in _CONDITIONS[case.request.category]:
        problem = _problem(case, condition, getattr(verdict, condition.field), by_label)
        if problem is not None:
            return _report(JudgeOpinion.DISAGREES, f"{condition.field}: {problem}", source, tokens)
    return _report(JudgeOpinion.AGREES, "", source, tokens)


def failed(why: str, source: str, tokens: tuple[int, ...] = ()) -> JudgeReport:
    """Return the report of a judge that could not be asked, or whose answer is of no use."""
    return _report(JudgeOpinion.FAILED, why, source, tokens)


def _report(opinion: JudgeOpinion, why: str, source: str, tokens: tuple[int, ...]) -> JudgeReport:
    return JudgeReport(opinion=opinion, why=why, source=source, **Usage(*tokens)._asdict())


def _problem(case: JudgeCase, condition: _Condition, finding: Finding, by_label: Mapping[str, Line]) -> str | None:
    """Return why a finding does not support the end; ``None`` when it does."""
    if not finding.holds:
        return "does not hold"
    if not finding.messages:
        return "cites nothing"
    cited = [by_label[label] for label in finding.messages]
    if any(line.role != condition.role for line in cited):
        return "cites the wrong side"
    counted = {record.message_id for record in case.evidence if record.kind in condition.kinds}
    if counted and counted.isdisjoint(line.message_id for line in cited):
        return "cites nothing that was counted"
    return None
