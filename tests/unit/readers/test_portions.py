"""What readers on a model share: memory, budget, time, and what a failure is. Sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase, Usage
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade, UnmetCode
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import AllReaders, Meter, Price, Reader, ReadingBudget
from end_conversation_tool.readers import portions as module
from end_conversation_tool.readers.portions import Answer, CannotReadError, PortionReader, _warn_once
from end_conversation_tool.readers.prompt import Report
from support.keywords import KeywordReader

GOOD = {"findings": [{"kind": "abuse", "label": "m1", "quote": "you idiot"}], "risk": "none"}
FOUND = (Finding(EvidenceKind.ABUSE, "m1", "you idiot"),)
SPENT = Usage(10, 5, 2, 1)


class Fixed(PortionReader):
    """Answers what it is told to, one after the other, and remembers the questions."""

    def __init__(self, *answers: Any, source: str = "fixed/1", budget: ReadingBudget | None = None) -> None:
        super().__init__(source, timeout=1.0, budget=budget)
        self.answers, self.questions = list(answers), list[str]()

    def _answer(self, question: str) -> Answer:
        self.questions.append(question)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(answer, SPENT)

    async def _aanswer(self, question: str) -> Answer:
        return self._answer(question)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def read(request: pytest.FixtureRequest) -> Any:
    def read(reader: Reader, *texts: str) -> Reading:
        case = ReadingCase(tuple(Line(f"m{n}", "user", text, f"u{n}", n) for n, text in enumerate(texts, start=1)))
        return asyncio.run(reader.aread(case)) if request.param else reader.read(case)

    return read


@pytest.fixture(autouse=True)
def fresh_warnings() -> Iterator[None]:
    _warn_once.cache_clear()
    yield
    _warn_once.cache_clear()


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        Report.model_validate(GOOD),
        Report.model_validate(GOOD).model_dump_json(),
        b'{"findings": [{"kind": "abuse", "label": "m1", "quote": "you idiot"}], "risk": "none"}',
    ],
)
def test_a_report_in_any_form_is_read(read: Any, answer: Any) -> None:
    reader = Fixed(answer)
    reading = read(reader, "you idiot")
    assert (reading.source, reading.findings, reading.risk, reading.failure) == ("fixed/1", FOUND, RiskGrade.NONE, None)
    assert reading.usage == reader.meter.usage == SPENT
    assert reading.seconds >= 0
    assert '"text": "you idiot"' in reader.questions[0]


@pytest.mark.parametrize(
    "answer",
    [None, "", "no JSON", "{}", [], {"findings": []}, {**GOOD, "more": 1}, {**GOOD, "risk": "maybe"},
     {"findings": [{"kind": "notice", "label": "m1", "quote": "x"}], "risk": "none"},
     {"findings": [{"kind": "abuse", "label": "m1"}], "risk": "none"}],
)  # fmt: skip
def test_a_malformed_answer_is_a_failure_that_is_paid_for(read: Any, answer: Any) -> None:
    reader = Fixed(answer)
    reading = read(reader, "you idiot")
    assert (reading.failure, reading.detail) == (UnmetCode.READING_FAILED, "malformed_answer")
    assert reading.findings == ()
    assert reading.usage == reader.meter.usage == SPENT


@pytest.mark.parametrize(
    ("answer", "failure", "detail"),
    [
        (RuntimeError("secret"), UnmetCode.READING_FAILED, "RuntimeError"),
        (TimeoutError(), UnmetCode.READING_FAILED, "TimeoutError"),
        (CannotReadError("FakeModel"), UnmetCode.MODEL_CANNOT_READ, "FakeModel"),
        (Answer(GOOD, SPENT, "max_tokens"), UnmetCode.READING_FAILED, "stopped_by_max_tokens"),
        (Answer(GOOD, SPENT, "refusal"), UnmetCode.READING_FAILED, "stopped_by_refusal"),
    ],
)
def test_whatever_goes_wrong_has_its_code(
    read: Any, answer: Any, failure: UnmetCode, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    reading = read(Fixed(answer), "hello")
    assert (reading.failure, reading.detail, reading.findings) == (failure, detail, ())
    assert "secret" not in caplog.text
    assert str(failure) in caplog.text


def test_each_kind_of_failure_is_warned_of_once_with_a_cure(read: Any, caplog: pytest.LogCaptureFixture) -> None:
    reader = Fixed(CannotReadError("FakeModel"))
    for _ in range(3):
        read(reader, "hello")
    assert len(caplog.records) == 1
    assert "reader=ModelReader(" in caplog.text
    read(Fixed(CannotReadError("Other")), "hello")
    read(Fixed(TimeoutError()), "hello")
    assert len(caplog.records) == 3


def test_a_message_that_is_too_long_is_not_read(read: Any) -> None:
    reader = Fixed(GOOD)
    assert read(reader, "x" * 130_000).failure is UnmetCode.TRANSCRIPT_TOO_LONG
    assert (reader.questions, reader.meter.readings) == ([], 0)


def test_a_long_transcript_is_read_in_portions_and_the_surest_risk_counts(read: Any) -> None:
    possible = {"findings": [], "risk": "possible"}
    reader = Fixed(GOOD, possible, {"findings": [], "risk": "none"})
    reading = read(reader, *["x" * 70_000] * 3)
    assert len(reader.questions) == 3
    assert (reading.findings, reading.risk, reading.usage) == (FOUND, RiskGrade.POSSIBLE, Usage(30, 15, 6, 3))


def test_a_portion_that_fails_fails_the_reading_and_costs_what_it_cost(read: Any) -> None:
    reader = Fixed(GOOD, TimeoutError())
    reading = read(reader, *["x" * 70_000] * 3)
    assert (reading.failure, reading.findings, reading.usage) == (UnmetCode.READING_FAILED, (), SPENT)
    assert len(reader.questions) == 2


def test_what_was_read_is_not_read_again(read: Any) -> None:
    reader = Fixed(GOOD)
    first, second = read(reader, "you idiot"), read(reader, "you idiot")
    assert (first.findings, first.risk) == (second.findings, second.risk)
    assert (len(reader.questions), second.usage, reader.meter.readings) == (1, Usage(), 1)
    read(reader, "you idiot ")
    assert len(reader.questions) == 2, "every character counts"


def test_when_a_transcript_grows_only_its_last_portion_is_read_anew(read: Any) -> None:
    reader = Fixed(GOOD)
    read(reader, "x" * 70_000, "y" * 70_000)
    read(reader, "x" * 70_000, "y" * 70_000, "z")
    assert len(reader.questions) == 3


def test_a_failure_is_not_remembered(read: Any) -> None:
    reader = Fixed(TimeoutError(), GOOD)
    assert read(reader, "hello").failure is UnmetCode.READING_FAILED
    assert read(reader, "hello").failure is None


def test_memory_is_bounded_and_the_oldest_goes_first(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    reader = Fixed(GOOD)
    for text in ("one", "two", "three", "three", "two", "one"):
        read(reader, text)
    assert len(reader.questions) == 4


# Budget


@pytest.mark.parametrize(
    ("budget", "readings"),
    [
        (ReadingBudget(readings_per_day=2), 2),
        (ReadingBudget(tokens_per_day=16), 2),
        (ReadingBudget(tokens_per_day=15), 1),
        (ReadingBudget(dollars=0.00002, price=Price(1.0, 1.0)), 2),
        (ReadingBudget(), 4),
    ],
)
def test_a_budget_that_is_used_up_denies(read: Any, budget: ReadingBudget, readings: int) -> None:
    reader = Fixed(GOOD, budget=budget)
    found = [read(reader, text).failure for text in ("one", "two", "three", "four")]
    assert found == [None] * readings + [UnmetCode.READING_BUDGET_USED_UP] * (4 - readings)
    assert (reader.meter.readings, reader.meter.refused) == (readings, 4 - readings)


def test_a_new_day_is_a_new_budget_but_for_dollars() -> None:
    now = datetime(2026, 1, 1, 23, tzinfo=UTC)
    budget = ReadingBudget(readings_per_day=1, dollars=1.0, price=Price(1.0, 1.0))
    meter = Meter(budget, clock=lambda: now)
    assert [meter.admits(), meter.admits()] == [True, False]
    now += timedelta(hours=2)
    assert meter.admits()
    meter.count(Usage(1_000_000))
    now += timedelta(days=1)
    assert not meter.admits()
    assert (meter.dollars, Meter().dollars) == (1.0, None)


def test_what_tokens_cost() -> None:
    usage = Usage(1_000_000, 1_000_000, 500_000, 100_000)
    assert Price(2.0, 10.0).of(usage) == pytest.approx(12.0)
    assert Price(2.0, 10.0, 0.2, 2.5).of(usage) == pytest.approx(0.4 * 2 + 10 + 0.1 + 0.25)


@pytest.mark.parametrize("value", [0, -1, True, "5", float("inf"), float("nan")])
@pytest.mark.parametrize("field", ["tokens_per_day", "readings_per_day", "dollars"])
def test_an_unusable_limit_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"^budget\.{field}: expected a number above 0"):
        ReadingBudget(**{field: value, "price": Price(1, 1)})


def test_dollars_need_a_price_and_a_price_is_not_negative() -> None:
    with pytest.raises(InvalidInputError, match=r"^budget\.dollars: expected a price"):
        ReadingBudget(dollars=1.0)
    for field in ("read", "written", "cache_read", "cache_written"):
        with pytest.raises(InvalidInputError, match=rf"^price\.{field}: "):
            Price(**{"read": 1.0, "written": 1.0, field: -1.0})


@pytest.mark.parametrize("timeout", [0, -1, 601, True, "5", None, float("nan")])
def test_an_unusable_time_limit_is_named(timeout: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^timeout: expected more than 0 and at most 600 seconds"):
        module.check_timeout(timeout)


def test_an_unusable_budget_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"^budget: expected None or a ReadingBudget, got int"):
        Fixed(GOOD, budget=5)  # type: ignore[arg-type]


# Several readers


def test_several_readers_read_all_the_same_and_each_is_a_part(read: Any) -> None:
    readers = AllReaders(Fixed(GOOD), Fixed(GOOD, source="other/2"))
    reading = read(readers, "you idiot")
    assert (readers.source, reading.source) == ("fixed/1,other/2",) * 2
    assert [part.source for part in reading.parts] == ["fixed/1", "other/2"]
    assert all(part.findings == FOUND for part in reading.parts)
    assert (reading.findings, reading.failure, reading.usage) == ((), None, Usage(20, 10, 4, 2))


def test_the_first_that_fails_ends_it(read: Any) -> None:
    last = Fixed(GOOD)
    reading = read(AllReaders(Fixed(GOOD), Fixed(TimeoutError()), last), "you idiot")
    assert (reading.failure, reading.detail, len(reading.parts)) == (UnmetCode.READING_FAILED, "TimeoutError", 2)
    assert last.questions == []


@pytest.mark.parametrize(
    ("readers", "said"),
    [
        ([], "expected at least two, got 0"),
        ([KeywordReader()], "expected at least two, got 1"),
        ([KeywordReader(), "claude"], "expected Readers, got one of type str"),
    ],
)
def test_fewer_than_two_or_strangers_are_refused(readers: list[Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^readers: {said}"):
        AllReaders(*readers)
