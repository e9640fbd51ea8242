"""Labels for what was really said: by a simulated person, and by a model that speaks of an end."""

from __future__ import annotations

from dataclasses import replace

from end_conversation_tool._core.evidence import Evidence, check_reading, is_unsound
from end_conversation_tool._core.reading import Line, ReadingCase
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade
from end_conversation_tool.evals.traces import Trace
from end_conversation_tool.readers import Reader

__all__ = ["label"]

_OF_USERS = (EvidenceKind.ABUSE, EvidenceKind.HARMFUL_REQUEST, EvidenceKind.ASKS_TO_END, EvidenceKind.CONFIRMS_END)


async def label(trace: Trace, reader: Reader) -> None:
    """Have a reader label the turns that have no labels, and look for warnings in what the model said.

    Every finding is checked against what was said; a reading that failed, or of which much is invented, labels nothing.

    Args:
        trace: What happened; it is changed.
        reader: Who reads.
    """
    case = _case_of(trace)
    reading = await reader.aread(case)
    if reading.failure is not None:
        return
    evidence = check_reading(reading, case)
    if is_unsound(evidence):
        return
    trace.warned = sorted({one.turn for one in evidence.records if one.kind is EvidenceKind.WARNING})
    trace.said = [
        one if one.labels is not None else replace(one, labels=_labels(evidence, turn, case))
        for turn, one in enumerate(trace.said, 1)
    ]


def _case_of(trace: Trace) -> ReadingCase:
    lines: list[Line] = []
    for turn, one in enumerate(trace.said, 1):
        label_ = f"m{len(lines) + 1}"
        lines.append(Line(label_, "user", one.user, label_, turn))
        if one.assistant.strip():
            label_ = f"m{len(lines) + 1}"
            lines.append(Line(label_, "assistant", one.assistant, label_, turn))
    return ReadingCase(tuple(lines))


def _labels(evidence: Evidence, turn: int, case: ReadingCase) -> frozenset[str]:
    found = {str(one.kind) for one in evidence.records if one.turn == turn and one.kind in _OF_USERS}
    turns = {line.message_id: line.turn for line in case.lines}
    if evidence.risk is not RiskGrade.NONE and any(turns[line.message_id] == turn for line in evidence.risk_lines):
        found.add(f"risk_{evidence.risk}")
    return frozenset(found or {"ordinary"})
