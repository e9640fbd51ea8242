"""What readers on a language model share: portions, memory, budget, time, and what a failure is."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

from pydantic import ValidationError

from end_conversation_tool._core.flow import Flow, arun_flow, ask, run_flow
from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase, Usage, failed_reading
from end_conversation_tool._core.vocabulary import RiskGrade, UnmetCode
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.budget import Meter, ReadingBudget
from end_conversation_tool.readers.prompt import (
    Report,
    digest_of_rows,
    findings_of,
    portions_of,
    question_about,
    rows_of,
)

__all__ = ["Answer", "CannotReadError", "PortionReader", "check_timeout"]

_log = logging.getLogger(__name__)

MAX_REMEMBERED = 1_000
"""How many portions a reader remembers. What it remembers is keyed by every character of the portion."""

_GRADES = list(RiskGrade)


class CannotReadError(Exception):
    """The model cannot give a structured answer at all."""


class Answer(NamedTuple):
    """What a model answered about one portion.

    Attributes:
        report: Its report: parsed, or as JSON text, or as a mapping; anything else is malformed.
        usage: What it cost, whatever it is worth.
        stopped: Why the model stopped, where that makes the answer worthless; empty otherwise.
    """

    report: Any
    usage: Usage = Usage()
    stopped: str = ""


class PortionReader(ABC):
    """A ``Reader`` on a language model: brings the question to the model portion by portion.

    Args:
        source: Reader and version, as ``name/version``.
        timeout: Seconds for one request.
        budget: The most that it may use.

    Attributes:
        source: Reader and version.
        meter: What it has used.
    """

    def __init__(self, source: str, *, timeout: float, budget: ReadingBudget | None) -> None:
        check_timeout(timeout)
        if budget is not None and not isinstance(budget, ReadingBudget):
            raise InvalidInputError(f"budget: expected None or a ReadingBudget, got {type(budget).__name__}")
        self.source, self.timeout, self.meter = source, timeout, Meter(budget)
        self._memory: OrderedDict[str, tuple[tuple[Finding, ...], RiskGrade]] = OrderedDict()
        self._lock = Lock()

    @abstractmethod
    def _answer(self, question: str) -> Answer:
        """Ask the model about one portion; raises whatever goes wrong."""

    @abstractmethod
    async def _aanswer(self, question: str) -> Answer: ...

    def read(self, case: ReadingCase) -> Reading:
        """Read the transcript. Never raises: whatever goes wrong is a failed reading."""
        return run_flow(self._reading(case))

    async def aread(self, case: ReadingCase) -> Reading:
        """Async twin of ``read``."""
        return await arun_flow(self._reading(case))

    def _reading(self, case: ReadingCase) -> Flow[Reading]:
        portions = portions_of(case.lines)
        if portions is None:
            return failed_reading(self.source, UnmetCode.TRANSCRIPT_TOO_LONG)
        started, usage = perf_counter(), Usage()
        findings: list[Finding] = []
        risk = RiskGrade.NONE
        for portion in portions:
            part = yield from self._portion(portion)
            usage = usage.plus(part.usage)
            if part.failure is not None:
                _warn_once(self.source, part.failure, part.detail)
                return failed_reading(self.source, part.failure, part.detail, usage, perf_counter() - started)
            findings += part.findings
            risk = max(risk, part.risk, key=_GRADES.index)
        return Reading(self.source, tuple(findings), risk, usage=usage, seconds=perf_counter() - started)

    def _portion(self, lines: Sequence[Line]) -> Flow[Reading]:
        rows = rows_of(lines)
        key = digest_of_rows(rows)
        with self._lock:
            known = self._memory.get(key)
        if known is not None:
            return Reading(self.source, *known)
        if not self.meter.admits():
            return failed_reading(self.source, UnmetCode.READING_BUDGET_USED_UP)
        try:
            answer = yield from ask(self._answer, self._aanswer, question_about(rows, len(lines)))
        except CannotReadError as error:
            return failed_reading(self.source, UnmetCode.MODEL_CANNOT_READ, str(error))
        except Exception as error:  # noqa: BLE001 - any failure of a reader is doubt
            return failed_reading(self.source, UnmetCode.READING_FAILED, type(error).__name__)
        self.meter.count(answer.usage)
        report = None if answer.stopped else _parsed(answer.report)
        if report is None:
            detail = f"stopped_by_{answer.stopped}" if answer.stopped else "malformed_answer"
            return failed_reading(self.source, UnmetCode.READING_FAILED, detail, answer.usage)
        found = findings_of(report)
        with self._lock:
            self._memory[key] = found
            while len(self._memory) > MAX_REMEMBERED:
                self._memory.popitem(last=False)
        return Reading(self.source, *found, usage=answer.usage)


def check_timeout(timeout: float) -> None:
    """Refuse a time limit that is none.

    Raises:
        InvalidInputError: It is not above 0 and at most 600 seconds.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 600:  # noqa: PLR2004
        raise InvalidInputError(f"timeout: expected more than 0 and at most 600 seconds, got {timeout!r}")


def _parsed(report: Any) -> Report | None:
    if isinstance(report, Report):
        return report
    try:
        return Report.model_validate_json(report) if isinstance(report, (str, bytes)) else Report.model_validate(report)
    except ValidationError:
        return None


@cache
def _warn_once(source: str, failure: UnmetCode, detail: str) -> None:
    """Say in the log, once for each kind of failure, what an operator can do about it."""
    cure = {
        UnmetCode.MODEL_CANNOT_READ: (
            "this model gives no structured answers: hand over another, reader=ModelReader(...), or "
            "OfflineReader() for first looks"
        ),
        UnmetCode.READING_BUDGET_USED_UP: "raise the budget, or wait for the next day",
    }.get(failure, "see the provider's status and limits; the same is not logged again")
    _log.warning("reader %s could not read (%s %s): the end is denied; %s", source, failure, detail, cure)
