"""Ratios of interleaved measurements, with their intervals; and the lines of a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["HEADER", "Row", "compared", "median_interval"]

HEADER = "| variant | median ms | ratio to bare | 95 % interval |\n|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """What was measured of one variant: milliseconds, and ratios to the bare agent."""

    name: str
    milliseconds: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"| {self.name} | {self.milliseconds:.2f} | {self.ratio:.2f} | {self.low:.2f} to {self.high:.2f} |"


def compared(times: dict[str, list[float]], bare: str) -> list[Row]:
    """Return each variant's median and its ratio to ``bare``, from seconds measured by turns."""
    return [
        Row(
            name,
            statistics.median(own) * 1000,
            *median_interval([o / b for o, b in zip(own, times[bare], strict=True)]),
        )
        for name, own in times.items()
    ]


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median with its 95 % interval, from the binomial distribution of the order."""
    ordered = sorted(values)
    reach = 0.98 * len(ordered) ** 0.5  # 1.96 standard deviations of half the count
    low = ordered[max(round(len(ordered) / 2 - reach) - 1, 0)]
    high = ordered[min(round(len(ordered) / 2 + reach), len(ordered) - 1)]
    return statistics.median(ordered), low, high
