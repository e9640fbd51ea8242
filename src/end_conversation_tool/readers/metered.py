"""Round a judge of any make: a meter with a budget, and a memory that puts no question twice."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from time import perf_counter

from end_conversation_tool._core.flow import Flow, arun_flow, run_flow
from end_conversation_tool._core.records import JudgeReport
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.base import Judge, JudgeCase, Usage, consulted, failed

__all__ = ["AskedOnce", "JudgeBudget", "MeteredJudge", "Price"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars for a million tokens. Prices change: there are none in this package.

    Attributes:
        read: Input.
        written: Output.
        cache_read: Input read from the provider's cache; ``None`` for the price of other input.
        cache_written: Input written to it; ``None`` likewise.
    """

    read: float
    written: float
    cache_read: float | None = None
    cache_written: float | None = None

    def __post_init__(self) -> None:
        for name in ("read", "written", "cache_read", "cache_written"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise InvalidInputError(f"price.{name}: expected a number of dollars, 0 or more, got {value}")

    def of(self, usage: Usage) -> float:
        """Return what these tokens cost, in US dollars."""
        read, written, from_cache, to_cache = usage
        cache_read = self.read if self.cache_read is None else self.cache_read
        cache_written = self.read if self.cache_written is None else self.cache_written
        plain = read - from_cache - to_cache
        cost = plain * self.read + written * self.written + from_cache * cache_read + to_cache * cache_written
        return cost / _MILLION


@dataclass(frozen=True, slots=True)
class JudgeBudget:
    """The most that a judge may use; ``None`` for no limit. Checked before each question, so the last may exceed it.

    Attributes:
        calls: Questions.
        tokens: Input and output tokens together.
        dollars: US dollars; needs a price.
    """

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "dollars"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InvalidInputError(f"budget.{name}: expected a number above 0, got {value}")


class MeteredJudge:
    """Passes each question on to a judge and counts what it cost. Once the budget is used up it fails: ends are denied.

    Args:
        judge: The judge.
        budget: The most that it may use.
        price: What its tokens cost; ``None`` when that is not known.

    Attributes:
        calls: Questions passed on.
        usage: Tokens that they cost, as far as the judge knows: a request that timed out or broke off has no count.
        refused: Questions not passed on, since the budget was used up.
        seconds: Time that the questions took.

    Raises:
        InvalidInputError: An argument is not usable, or dollars are to be counted without a price.
    """

    def __init__(self, judge: Judge, *, budget: JudgeBudget | None = None, price: Price | None = None) -> None:
        if not isinstance(judge, Judge):
            raise InvalidInputError(f"judge: expected a Judge, got {type(judge).__name__}")
        self.budget = budget or JudgeBudget()
        if self.budget.dollars is not None and price is None:
            raise InvalidInputError("budget.dollars: expected a price to count them by, got none")
        source = getattr(judge, "source", None)
        self.source = source if isinstance(source, str) else type(judge).__name__
        self.calls, self.usage, self.refused, self.seconds = 0, Usage(), 0, 0.0
        self._judge, self._price, self._lock = judge, price, Lock()

    @property
    def dollars(self) -> float | None:
        """What the questions cost so far, in US dollars; ``None`` without a price."""
        return None if self._price is None else self._price.of(self.usage)

    @property
    def used_up(self) -> bool:
        """Whether nothing more may be asked."""
        spent = (self.calls, self.usage.input_tokens + self.usage.output_tokens, self.dollars or 0.0)
        limits = (self.budget.calls, self.budget.tokens, self.budget.dollars)
        return any(limit is not None and used >= limit for used, limit in zip(spent, limits, strict=True))

    def opine(self, case: JudgeCase) -> JudgeReport:
        """Return the judge's opinion. Never raises."""
        return run_flow(self._opining(case))

    async def aopine(self, case: JudgeCase) -> JudgeReport:
        """Async twin of ``opine``."""
        return await arun_flow(self._opining(case))

    def _opining(self, case: JudgeCase) -> Flow[JudgeReport]:
        with self._lock:
            if self.used_up:
                self.refused += 1
                return failed("budget_used_up", self.source)
            self.calls += 1
        started = perf_counter()
        report: JudgeReport = yield from consulted(self._judge, case)
        spent = (report.input_tokens, report.output_tokens, report.cache_read_tokens, report.cache_write_tokens)
        with self._lock:
            self.usage = Usage(*map(sum, zip(self.usage, spent, strict=True)))
            self.seconds += perf_counter() - started
        return report


class AskedOnce:
    """A judge that is asked once about each case, and remembers what it said: for the replay of one conversation.

    Args:
        judge: The judge.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._reports: dict[object, JudgeReport] = {}

    def opine(self, case: JudgeCase) -> JudgeReport:
        """Return the judge's opinion. Never raises."""
        return run_flow(self._opining(case))

    async def aopine(self, case: JudgeCase) -> JudgeReport:
        """Async twin of ``opine``."""
        return await arun_flow(self._opining(case))

    def _opining(self, case: JudgeCase) -> Flow[JudgeReport]:
        key = (case.request.category, case.lines, case.evidence)
        if key not in self._reports:
            self._reports[key] = yield from consulted(self._judge, case)
        return self._reports[key]
