"""How much longer is a turn? Each variant against the bare agent, interleaved in one run.

    python benchmarks/turn.py [--turns 100] [--engine memory|sqlite|postgres] [--asynchronous]

One turn of each variant is measured after the other, so that whatever else the machine does falls on all alike. The
ratio is the median over turns of (this variant's turn / the bare agent's turn just before), with its 95 % interval from
the order of the measurements.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from intervals import HEADER, Row, Spent, compared
from texts import SAID
from variants import BARE, ENGINES, measured

__all__ = ["aturn_times", "table", "turn_times"]

Text = Callable[[int], str]


def said(number: int) -> str:
    """Return what the user says in a turn."""
    return SAID[number % len(SAID)]


def turn_times(
    graphs: dict[str, Any], turns: int, *, text: Text = said, per_thread: int = 10
) -> dict[str, list[Spent]]:
    """Return what each turn of each variant took, interleaved; the first thread warms up."""
    spent: dict[str, list[Spent]] = {name: [] for name in graphs}
    for number in range(-per_thread, turns):
        config = {"configurable": {"thread_id": str(number // per_thread)}}
        for name, graph in graphs.items():
            given = {"messages": [("user", text(number))]}
            start = Spent.so_far()
            graph.invoke(given, config)
            if number >= 0:
                spent[name].append(Spent.so_far().since(start))
    return spent


async def aturn_times(graphs: dict[str, Any], turns: int, *, per_thread: int = 10) -> dict[str, list[Spent]]:
    """Async twin of ``turn_times``."""
    spent: dict[str, list[Spent]] = {name: [] for name in graphs}
    for number in range(-per_thread, turns):
        config = {"configurable": {"thread_id": str(number // per_thread)}}
        for name, graph in graphs.items():
            given = {"messages": [("user", said(number))]}
            start = Spent.so_far()
            await graph.ainvoke(given, config)
            if number >= 0:
                spent[name].append(Spent.so_far().since(start))
    return spent


def table(engine: str, turns: int, *, asynchronous: bool = False) -> list[Row]:
    """Measure all variants on one engine, with LangGraph's sync or async checkpointer for it."""
    with measured(engine, asynchronous=asynchronous) as (runner, graphs):
        spent = runner.run(aturn_times(graphs, turns)) if asynchronous else turn_times(graphs, turns)
        return compared(spent, BARE)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--engine", choices=ENGINES, default="sqlite")
    parser.add_argument("--asynchronous", action="store_true")
    options = parser.parse_args()
    print(HEADER)
    for row in table(options.engine, options.turns, asynchronous=options.asynchronous):
        print(row)


if __name__ == "__main__":
    main()
