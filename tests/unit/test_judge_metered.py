"""The meter on a judge: what it counts, and the budget that it keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from end_conversation_tool._core.records import JudgeReport
from end_conversation_tool._core.vocabulary import JudgeOpinion
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import Judge, JudgeBudget, MeteredJudge, Price
from end_conversation_tool.readers.base import Usage
from support.judges import BrokenJudge, FixedJudge, case


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def ask(judge: Judge, times: int, *, asynchronous: bool) -> list[JudgeReport]:
    if not asynchronous:
        return [judge.opine(case()) for _ in range(times)]

    async def asking() -> list[JudgeReport]:
        return [await judge.aopine(case()) for _ in range(times)]

    return asyncio.run(asking())


def test_it_passes_on_and_counts(*, asynchronous: bool) -> None:
    judge = MeteredJudge(FixedJudge(), price=Price(3, 15))
    (report, _) = ask(judge, 2, asynchronous=asynchronous)
    assert report.opinion is JudgeOpinion.AGREES
    assert (judge.calls, judge.usage, judge.refused) == (2, Usage(20, 10), 0)
    assert judge.dollars == pytest.approx((20 * 3 + 10 * 15) / 1e6)


@pytest.mark.parametrize(
    ("budget", "asked"),
    [
        (JudgeBudget(calls=2), 2),
        (JudgeBudget(tokens=16), 2),  # 15 each: checked before the question
        (JudgeBudget(tokens=15), 1),
        (JudgeBudget(dollars=0.0002), 2),  # 0.000105 each
        (JudgeBudget(calls=3, tokens=1), 1),
        (JudgeBudget(), 4),
    ],
)
def test_a_budget_is_kept(budget: JudgeBudget, asked: int, *, asynchronous: bool) -> None:
    inner = FixedJudge()
    judge = MeteredJudge(inner, budget=budget, price=Price(3, 15))
    reports = ask(judge, 4, asynchronous=asynchronous)
    assert len(inner.cases) == judge.calls == asked
    assert judge.refused == 4 - asked
    assert [report.opinion for report in reports] == [JudgeOpinion.AGREES] * asked + [JudgeOpinion.FAILED] * (4 - asked)
    assert {report.why for report in reports[asked:]} <= {"budget_used_up"}


def test_a_judge_that_raises_has_failed_and_was_asked(*, asynchronous: bool) -> None:
    judge = MeteredJudge(BrokenJudge(RuntimeError("down")))
    (report,) = ask(judge, 1, asynchronous=asynchronous)
    assert (report.opinion, report.why, judge.calls) == (JudgeOpinion.FAILED, "RuntimeError", 1)
    assert judge.dollars is None


def test_a_cache_has_its_own_price() -> None:
    usage = Usage(1_000_000, 0, cache_read_tokens=400_000, cache_write_tokens=100_000)
    assert Price(5, 25, cache_read=0.5, cache_written=6.25).of(usage) == pytest.approx(2.5 + 0.2 + 0.625)
    assert Price(5, 25).of(usage) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: MeteredJudge("claude"), "judge"),  # type: ignore[arg-type]
        (lambda: MeteredJudge(FixedJudge(), budget=JudgeBudget(dollars=1)), "budget.dollars"),
        (lambda: JudgeBudget(calls=0), "budget.calls"),
        (lambda: JudgeBudget(tokens=-1), "budget.tokens"),
        (lambda: JudgeBudget(dollars=float("nan")), "budget.dollars"),
        (lambda: Price(-1, 2), "price.read"),
        (lambda: Price(1, float("inf")), "price.written"),
    ],
)
def test_bad_arguments_are_named(make: Any, field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{field}: expected"):
        make()
