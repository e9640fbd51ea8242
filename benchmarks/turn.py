"""How much longer is a turn? Each variant against the bare agent, interleaved in one run.

    python benchmarks/turn.py [--turns 100] [--engine memory|sqlite|postgres] [--asynchronous]

One turn of each variant is measured after the other, so that whatever else the machine does falls on all alike. The
ratio is the median over turns of (this variant's turn / the bare agent's turn just before), with its 95 % interval from
the order of the measurements.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents import BARE, ENGINES, USER, measured


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


HEADER = "| variant | median ms | ratio to bare | 95 % interval |\n|---|---|---|---|"


def compared(times: dict[str, list[float]]) -> list[Row]:
    """Return each variant's median and ratio."""
    return [
        Row(
            name,
            statistics.median(own) * 1000,
            *median_interval([o / b for o, b in zip(own, times[BARE], strict=True)]),
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


def turn_times(graphs: dict[str, Any], turns: int, *, text: str = USER, per_thread: int = 10) -> dict[str, list[float]]:
    """Return the seconds of each turn of each variant, interleaved; the first turns warm up."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(-per_thread, turns):
        config = {"configurable": {"thread_id": str(number // per_thread)}}
        for name, graph in graphs.items():
            started = time.perf_counter()
            graph.invoke({"messages": [("user", text)]}, config)
            if number >= 0:
                times[name].append(time.perf_counter() - started)
    return times


async def aturn_times(graphs: dict[str, Any], turns: int, *, per_thread: int = 10) -> dict[str, list[float]]:
    """Async twin of ``turn_times``."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(-per_thread, turns):
        config = {"configurable": {"thread_id": str(number // per_thread)}}
        for name, graph in graphs.items():
            started = time.perf_counter()
            await graph.ainvoke({"messages": [("user", USER)]}, config)
            if number >= 0:
                times[name].append(time.perf_counter() - started)
    return times


def table(engine: str, turns: int, *, asynchronous: bool = False) -> list[Row]:
    """Measure all variants on one engine. Asynchronous turns are measured in memory: the other savers here are sync."""
    with measured(engine) as graphs:
        return compared(asyncio.run(aturn_times(graphs, turns)) if asynchronous else turn_times(graphs, turns))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="sqlite")
    parser.add_argument("--asynchronous", action="store_true")
    options = parser.parse_args()
    print(HEADER)
    for row in table(options.engine, options.turns, asynchronous=options.asynchronous):
        print(row)


if __name__ == "__main__":
    main()
