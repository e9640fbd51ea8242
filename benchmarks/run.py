"""Measure everything, and write the tables and the plot to docs/benchmarks/ (``make bench``; a few minutes).

python benchmarks/run.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import breakdown
import crowd
import ending
import latency
import more
import turn
from intervals import HEADER, Row
from variants import AGAIN, BARE, ENGINES, GUARDED, NESTED, OURS

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
PACKAGES = ("langgraph", "langchain", "langchain-core", "pydantic", "sqlalchemy", "numpy")


def measured_turns(turns: int) -> dict[str, list[Row]]:
    """Measure whole turns of every variant, by engine, sync and async."""
    return {
        f"{engine}, async" if asynchronous else engine: turn.table(engine, turns, asynchronous=asynchronous)
        for engine in ENGINES
        for asynchronous in (False, True)
    }


def summary(tables: dict[str, list[Row]]) -> str:
    """Return what to expect, on one screen."""
    columns = ("threads kept in", "bare, ms", "bare again", "ours", "ours adds, ms", "guarded graph, of a nested one")
    lines = []
    for engine, rows in tables.items():
        by_name = {row.name: row for row in rows}
        ours, guarded = by_name[OURS], by_name[GUARDED].ratio / by_name[NESTED].ratio
        lines.append(
            f"| {engine} | {by_name[BARE].milliseconds:.1f} | {by_name[AGAIN].ratio:.2f} "
            f"| {ours.ratio:.2f} ({ours.low:.2f} to {ours.high:.2f}) | {ours.added:.2f} | {guarded:.2f} |"
        )
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n" + "\n".join(lines)


def turns_section(tables: dict[str, list[Row]], turns: int) -> str:
    """Return the tables of whole turns."""
    parts = [f"### {engine}\n\n{HEADER}\n" + "\n".join(map(str, rows)) for engine, rows in tables.items()]
    return "\n\n".join(["## A turn beside other middlewares", f"{turns} turns of each variant, interleaved.", *parts])


def more_section(scale: int) -> str:
    """Return everything that is not a whole turn on an engine, with a ``scale``-th of the work."""
    shares, sizes = more.shares_by_turn(), more.by_message(turns=60 // scale)
    imports = more.import_seconds()
    first, _ = shares[min(shares)]
    lines = [
        "## Beside a model that takes its time (SQLite)\n",
        latency.HEADER,
        *latency.lines(80 // scale),
        "\n## The price of an end (SQLite)\n",
        "A model that answers at once, so that the times are ours. A reading is one request to a model, of so many",
        "tokens. An ordinary turn of the same conversation stands first.\n",
        ending.HEADER,
        *ending.lines(30 // scale),
        "\n## Our own share of a turn, by the length of the thread",
        "\nProcessor time in the middleware without the model, and the calls of functions in it; threads in memory.\n",
        "| turns before | ms | ratio to turn 10 | calls |\n|---|---|---|---|",
        *(f"| {turns:,} | {ms:.3f} | {ms / first:.2f} | {calls} |" for turns, (ms, calls) in shares.items()),
        "\n## A turn by the length of the message (SQLite)\n",
        "| characters | ms | ratio to bare |\n|---|---|---|",
        *(f"| {length:,} | {ms:.2f} | {ratio:.2f} |" for length, (ms, ratio) in sizes.items()),
        "\n## A message to a sealed thread (SQLite)\n",
        f"Refusing it takes {more.refusal():.2f} of a turn of the bare agent.",
        f"\n## {1_000 // scale:,} conversations at once, in one process, in memory\n",
        "Async, two turns each; a process for each variant and measurement. Memory is what Python holds after them and",
        "after a collection, most of it the checkpoints that the saver in memory keeps.\n",
        crowd.HEADER,
        *crowd.compared(conversations=1_000 // scale),
        "\n## Where the time of a turn goes\n",
        "Processor time of async turns with threads in memory, sampled; what happens in C, in Python's own library, in",
        "pydantic or in SQLAlchemy belongs to whoever called it (`benchmarks/breakdown.py`).\n",
        breakdown.HEADER,
        *breakdown.lines(1_500 // scale),
        "\n## Imports, in a fresh process\n",
        "| what | s |\n|---|---|",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in imports.items()),
        f"\n## The watch\n\nA message of 500 characters, looked at in full: {more.watch_milliseconds():.3f} ms.",
    ]
    return "\n".join(lines)


def plot(tables: dict[str, list[Row]]) -> None:
    """Draw the ratios to the bare agent."""
    import matplotlib as mpl  # noqa: PLC0415 - only where something is drawn

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "end-conversation-tool"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(2, len(tables) // 2, figsize=(14, 7), sharey=True)
    for axis, (engine, rows) in zip(axes.T.flat, tables.items(), strict=True):
        shown = [row for row in rows if row.name not in (BARE, AGAIN)][::-1]
        errors = [[row.ratio - row.low for row in shown], [row.high - row.ratio for row in shown]]
        colours = ["#2a6f97" if row.name.startswith("ours") else "#b0b7bf" for row in shown]
        axis.barh([row.name for row in shown], [row.ratio for row in shown], xerr=errors, color=colours)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(engine)
        axis.set_xlabel("turn, ratio to the bare agent")
    figure.tight_layout()
    figure.savefig(FOLDER / "turns.svg", metadata={"Date": None})


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of it, to see that it works")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    scale = 10 if options.quick else 1
    turns = 200 // scale
    tables = measured_turns(turns)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {os.cpu_count()} cores; {versions}.\n"
        "Written by `make bench`. Ratios are from one run, medians with 95 % intervals; times are of one machine.\n"
        "Users and the model say about 200 different things (`benchmarks/texts.py`), the same for every variant.\n\n"
        "Beside this page: [what is not reached, and why](explained.md), [all of LangChain's middlewares and the"
        " guardrails of other frameworks in one run with ours](peers.md), [a registry of ten million"
        " threads](registry.md), and [honest users beside attackers](attackers.md)."
    )
    parts = [
        "# Benchmarks",
        about,
        "## What to expect of an ordinary turn",
        "Ratios to the bare agent, with a model that answers at once; beside a real model, what is added counts.",
        summary(tables),
        "![Ratios](turns.svg)",
        turns_section(tables, turns),
        more_section(scale),
    ]
    text = "\n\n".join(parts) + "\n"
    (FOLDER / "README.md").write_text(text, encoding="utf-8")
    plot(tables)
    print(text)


if __name__ == "__main__":
    main()
