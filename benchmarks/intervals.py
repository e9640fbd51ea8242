"""Interleaved measurements: what was measured of a turn, ratios with their intervals, and the lines of a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

__all__ = ["HEADER", "Row", "Spent", "compared", "median_interval"]

HEADER = "| variant | median ms | added ms | added CPU ms | ratio to bare | 95 % interval |\n|---|---|---|---|---|---|"


class Spent(NamedTuple):
    """What a turn took, in seconds.

    Attributes:
        wall: By the clock.
        cpu: Of the processor, in all threads of the process.
    """

    wall: float
    cpu: float

    @classmethod
    def so_far(cls) -> Self:
        """Return the time by both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: Spent) -> Spent:
        """Return what was spent since then."""
        return Spent(self.wall - start.wall, self.cpu - start.cpu)


@dataclass(frozen=True)
class Row:
    """What was measured of one variant: milliseconds, and ratios to the bare agent."""

    name: str
    milliseconds: float
    added: float
    added_cpu: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        measured = f"{self.milliseconds:.2f} | {self.added:+.2f} | {self.added_cpu:+.2f}"
        return f"| {self.name} | {measured} | {self.ratio:.2f} | {self.low:.2f} to {self.high:.2f} |"


def compared(spent: dict[str, list[Spent]], bare: str) -> list[Row]:
    """Return each variant's median, what it adds to ``bare``'s just before, and its ratio to that."""
    rows = []
    for name, own in spent.items():
        pairs = list(zip(own, spent[bare], strict=True))
        rows.append(
            Row(
                name,
                statistics.median(turn.wall for turn in own) * 1000,
                statistics.median(turn.wall - base.wall for turn, base in pairs) * 1000,
                statistics.median(turn.cpu - base.cpu for turn, base in pairs) * 1000,
                *median_interval([turn.wall / base.wall for turn, base in pairs]),
            )
        )
    return rows


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median with its 95 % interval, from the binomial distribution of the order."""
    ordered = sorted(values)
    reach = 0.98 * len(ordered) ** 0.5  # 1.96 standard deviations of half the count
    low = ordered[max(round(len(ordered) / 2 - reach) - 1, 0)]
    high = ordered[min(round(len(ordered) / 2 + reach), len(ordered) - 1)]
    return statistics.median(ordered), low, high
