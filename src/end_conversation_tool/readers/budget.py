"""What readings may cost, and what they did cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from threading import Lock
from typing import Self

from end_conversation_tool._core.reading import Usage
from end_conversation_tool._core.records import utc_now
from end_conversation_tool.errors import InvalidInputError

__all__ = ["Meter", "Price", "ReadingBudget"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars for a million tokens. Prices change: there are none in this package.

    Attributes:
        read: Input.
        written: Output.
        cache_read: Input read from the provider's cache; ``None`` for the price of other input.
        cache_written: Input written to it; ``None`` likewise.

    Raises:
        InvalidInputError: A price is negative or not finite.
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

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a price as it is written at a command line.

        Args:
            text: ``IN/OUT``, as in ``3/15``, or ``IN/OUT/READ/WRITE`` with the cache.

        Raises:
            InvalidInputError: It is not two or four numbers with slashes between.
        """
        try:
            numbers = [float(number) for number in text.split("/")]
        except ValueError:
            numbers = []
        if len(numbers) not in (2, 4):
            raise InvalidInputError(f"price: expected IN/OUT or IN/OUT/READ/WRITE, as in 3/15, got {text[:80]!r}")
        return cls(*numbers)

    def of(self, usage: Usage) -> float:
        """Return what these tokens cost, in US dollars."""
        read, written, from_cache, to_cache = usage
        cache_read = self.read if self.cache_read is None else self.cache_read
        cache_written = self.read if self.cache_written is None else self.cache_written
        plain = read - from_cache - to_cache
        cost = plain * self.read + written * self.written + from_cache * cache_read + to_cache * cache_written
        return cost / _MILLION


@dataclass(frozen=True, slots=True)
class ReadingBudget:
    """The most that readings may use in one process; ``None`` for no limit.

    Checked before each request to a model, so the last one may exceed it. Once it is used up, ends are denied.

    Attributes:
        tokens_per_day: Input and output tokens together, in one day (UTC).
        readings_per_day: Requests to the model, in one day (UTC).
        dollars: US dollars, for good; needs a price.
        price: What the tokens cost.

    Raises:
        InvalidInputError: A limit is not above 0, or there are dollars without a price.
    """

    tokens_per_day: int | None = None
    readings_per_day: int | None = None
    dollars: float | None = None
    price: Price | None = None

    def __post_init__(self) -> None:
        for name in ("tokens_per_day", "readings_per_day", "dollars"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise InvalidInputError(f"budget.{name}: expected a number above 0, got {value!r}")
        if self.dollars is not None and self.price is None:
            raise InvalidInputError("budget.dollars: expected a price to count them by, got none")


class Meter:
    """Counts what readings cost; safe to use from many threads.

    Attributes:
        usage: Tokens since the meter was made.
        readings: Requests to the model since then.
        refused: Requests that were not made, since the budget was used up.
    """

    def __init__(self, budget: ReadingBudget | None = None, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.budget = budget or ReadingBudget()
        self.usage, self.readings, self.refused = Usage(), 0, 0
        self._clock, self._lock = clock, Lock()
        self._day: date | None = None
        self._tokens_today = self._readings_today = 0

    @property
    def dollars(self) -> float | None:
        """What the readings cost so far, in US dollars; ``None`` without a price."""
        return None if self.budget.price is None else self.budget.price.of(self.usage)

    def admits(self) -> bool:
        """Count one request to the model, unless the budget is used up."""
        with self._lock:
            today = self._clock().date()
            if today != self._day:
                self._day, self._tokens_today, self._readings_today = today, 0, 0
            spent = (self._tokens_today, self._readings_today, self.dollars or 0.0)
            limits = (self.budget.tokens_per_day, self.budget.readings_per_day, self.budget.dollars)
            if any(limit is not None and used >= limit for used, limit in zip(spent, limits, strict=True)):
                self.refused += 1
                return False
            self.readings += 1
            self._readings_today += 1
            return True

    def count(self, usage: Usage) -> None:
        """Count what a request cost."""
        with self._lock:
            self.usage = self.usage.plus(usage)
            self._tokens_today += usage.input_tokens + usage.output_tokens
