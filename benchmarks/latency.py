"""What a user waits for beside a model that takes its time: what each middleware adds to a turn of the bare agent.

    python benchmarks/latency.py [--turns 60]

On SQLite, sync and async; the bare agent twice, so that the noise is in the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import median, quantiles

from intervals import Spent
from turn import aturn_times, turn_times
from variants import AGAIN, BARE, OURS, measured, stock

__all__ = ["HEADER", "MODEL_SECONDS", "lines"]

HEADER = "| model takes | | variant | added ms, median | 95th percentile | added CPU ms, median |\n" + "|---" * 6 + "|"
MODEL_SECONDS = (0.0, 0.05, 0.3)


def lines(turns: int = 60, seconds: Sequence[float] = MODEL_SECONDS) -> list[str]:
    """Return the lines of a table; a slow model speaks in fewer turns."""
    return [
        f"| {1000 * each:.0f} ms | {'async' if asynchronous else 'sync'} | {name} | {cells} |"
        for each in seconds
        for asynchronous in (False, True)
        for name, cells in _added(each, turns // 2 if each > 0.1 else turns, asynchronous=asynchronous)
    ]


def _added(seconds: float, turns: int, *, asynchronous: bool) -> list[tuple[str, str]]:
    with measured("sqlite", BARE, AGAIN, OURS, *stock(), asynchronous=asynchronous, seconds=seconds) as (
        runner,
        graphs,
    ):
        spent = runner.run(aturn_times(graphs, turns)) if asynchronous else turn_times(graphs, turns)
    return [(name, _cells(own, spent[BARE])) for name, own in spent.items() if name != BARE]


def _cells(own: Sequence[Spent], bare: Sequence[Spent]) -> str:
    """Tell the differences: the median by turns, the percentile between the two distributions."""
    wall = median(turn.wall - base.wall for turn, base in zip(own, bare, strict=True)) * 1000
    cpu = median(turn.cpu - base.cpu for turn, base in zip(own, bare, strict=True)) * 1000
    slow = (_slow(own) - _slow(bare)) * 1000
    return f"{wall:+.2f} | {slow:+.2f} | {cpu:+.2f}"


def _slow(turns: Sequence[Spent]) -> float:
    return quantiles([turn.wall for turn in turns], n=20)[-1]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=60)
    options = parser.parse_args()
    print(HEADER, *lines(options.turns), sep="\n")


if __name__ == "__main__":
    main()
