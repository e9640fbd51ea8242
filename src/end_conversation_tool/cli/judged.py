"""What a judge said in a replay: counted, put into JSON, and put into words."""

from __future__ import annotations

from collections import Counter
from typing import Any

from end_conversation_tool._core.records import JudgeOpinion, JudgeReport, UnmetCode
from end_conversation_tool.cli.output import Exit, escaped, note
from end_conversation_tool.recordings.records import Judged

__all__ = ["JudgeTally", "judge_in_words", "judged_as_json", "judged_in_words", "report_failures"]

_RISK_CODES = frozenset({UnmetCode.RISK_FLAGGED, UnmetCode.RISK_UNCERTAIN, UnmetCode.RISK_CHECK_FAILED})


class JudgeTally:
    """Counts over all conversations that a judge was asked about.

    "Offline" is the decision by everything but the judge.

    Attributes:
        failed: Why the judge failed, and how often.
        asked: Conversations that it was asked about.
    """

    def __init__(self) -> None:
        self.asked = self._permitted = self._ends_only_by_judge = 0
        self._risk = self._risk_only_by_judge = 0
        self._opinions: Counter[JudgeOpinion] = Counter()
        self._alike: Counter[bool | None] = Counter()
        self._taken_back: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def add(self, judged: Judged | None) -> None:
        """Count one conversation; ``None`` is one that the judge was not asked about."""
        if judged is None:
            return
        report = judged.report
        self.asked += 1
        self._permitted += not judged.unmet
        self._opinions[report.opinion] += 1
        self._alike[judged.alike] += 1
        self._ends_only_by_judge += bool(judged.unmet) and report.opinion is JudgeOpinion.AGREES
        self._risk += report.risk
        self._risk_only_by_judge += report.risk and not _RISK_CODES.intersection(judged.unmet)
        if judged.taken_back:
            self._taken_back[_reason(report)] += 1
        if report.opinion is JudgeOpinion.FAILED:
            self.failed[report.why] += 1

    def as_json(self) -> dict[str, Any]:
        """Return the counts; ``agreement`` is a share of the answers that are yes or no."""
        definite = self._alike[True] + self._alike[False]
        return {
            "conversations_asked_about": self.asked,
            **{str(opinion): self._opinions[opinion] for opinion in JudgeOpinion},
            "agreement_with_offline": round(self._alike[True] / definite, 4) if definite else None,
            "ends_permitted_offline": self._permitted,
            "ends_taken_back": sum(self._taken_back.values()),
            "taken_back_by_reason": dict(sorted(self._taken_back.items())),
            "ends_only_by_the_judge": self._ends_only_by_judge,
            "risk_seen": self._risk,
            "risk_seen_only_by_the_judge": self._risk_only_by_judge,
            "failed_by_reason": dict(sorted(self.failed.items())),
        }


def report_failures(failed: Counter[str], asked: int) -> Exit:
    """Say on stderr how often a judge failed; returns the exit code that this calls for."""
    if not failed:
        return Exit.OK
    reasons = ", ".join(f"{why} {count}" for why, count in failed.most_common())
    note(f"judge: {failed.total():,} of {asked:,} questions failed, so these ends are denied: {reasons}", "yellow")
    return Exit.FOUND


def judged_as_json(judged: Judged | None) -> dict[str, Any] | None:
    """Return what a judge said in a replay as plain JSON."""
    if judged is None:
        return None
    return {
        "turn": judged.turn,
        "category": str(judged.category),
        "unmet_offline": [str(code) for code in judged.unmet],
        "taken_back": judged.taken_back,
        **judged.report.model_dump(mode="json"),
    }


def judged_in_words(judged: Judged | None) -> str:
    """Return what a judge said in a replay, in a few words."""
    return "-" if judged is None else judge_in_words(judged.report)


def judge_in_words(report: JudgeReport) -> str:
    """Return what a judge said in a few words."""
    return f"{report.opinion}: {escaped(report.why)}" if report.why else str(report.opinion)


def _reason(report: JudgeReport) -> str:
    return report.why or "unexplained"
