"""The benchmarks run: a little of some, with every variant, from a fresh process. No time is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MIDDLEWARES = [
    *("PII", "PII", "ModelCallLimit", "ToolCallLimit", "HumanInTheLoop", "Summarization", "Summarization"),
    *("LLMToolSelector", "ContextEditing", "TodoList"),
]
TURNS = [
    *("bare agent", "bare agent", "ours, everything on", "ours, without SealedSaver"),
    *("a graph in a graph", "ours, create_guarded_graph", *MIDDLEWARES),
]
ENDING = ["ordinary", "a request that leads to the notice", "a request that seals", "a message to the sealed thread"]


def rows(script: str, *options: str) -> list[list[str]]:
    """Run a benchmark, and return the cells of its table, without the header."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


@pytest.mark.parametrize("options", [(), ("--asynchronous",)], ids=["sync", "async"])
def test_a_turn_of_every_variant(options: tuple[str, ...]) -> None:
    table = rows("turn.py", "--turns", "1", "--engine", "memory", *options)
    assert len(table) == len(TURNS)
    assert [row[0] for row, name in zip(table, TURNS, strict=True) if not row[0].startswith(name)] == []
    assert all(float(row[1]) > 0 and float(row[4]) > 0 for row in table)


def test_the_price_of_an_end() -> None:
    table = rows("ending.py", "--threads", "1")
    assert [row[0] for row in table] == ENDING
    calls = {row[0]: int(row[1]) for row in table}
    assert calls == dict(zip(ENDING, [1, 2, 2, 0], strict=True))
    tokens = [int(row[2].replace(",", "")) > 0 for row in table]
    assert tokens == [False, True, True, False]


def test_where_the_time_goes() -> None:
    table = rows("breakdown.py", "--turns", "20")
    assert any(row[0].startswith("ours: ") for row in table)
    assert table[-1][0] == "**all**"
