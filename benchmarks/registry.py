"""Does a registry of ten million threads notice them? Times, sizes, and the plan of every statement; on both databases.

    python benchmarks/registry.py [--threads 10000000] [--seals 1000000] [--engine sqlite|postgres] [--write]

Each call is made on a small registry and on the large one, alternately, each time about another thread; the plans are
asked for at full size, and a scan fails the run. ``--write`` puts the tables into docs/benchmarks/registry.md (``make
bench-registry``: about half an hour, and 15 GB of disk, which are free again afterwards). PostgreSQL comes from the
test extra, which does not wait for the disk: its writes look cheaper than they are. Name a real server in
END_CONVERSATION_TEST_POSTGRES for those.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool import SealedSaver
from end_conversation_tool.registry import SqlSealRegistry
from support.agents import Agent, config
from support.multitude import DAYS, Multitude, fill_postgres, fill_sqlite
from support.plans import listening, scanned
from support.postgres import fresh_database, postgres_server
from support.records import permit
from support.workload import Action, Draw, everyday, refused, reports, turns

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "registry.md"
SMALL = Multitude(threads=20_000, seals=10_000)
ENGINES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def plain(url: str) -> str:
    """Return a registry's URL as psycopg and LangGraph take it."""
    return url.replace("+psycopg", "")


@contextmanager
def databases(engine: str) -> Iterator[Callable[[], str]]:
    """Give a function that makes an empty database and returns its URL; all are deleted afterwards."""
    with ExitStack() as stack:
        if engine == "postgres":
            server = stack.enter_context(postgres_server())
            yield lambda: stack.enter_context(fresh_database(server))
        else:
            folder, numbers = stack.enter_context(tempfile.TemporaryDirectory()), count()
            yield lambda: f"sqlite:///{folder}/{next(numbers)}.db"


def fill(url: str, crowd: Multitude) -> None:
    """Make a registry and fill it."""
    SqlSealRegistry(url).close()
    if url.startswith("sqlite"):
        fill_sqlite(url.removeprefix("sqlite:///"), crowd)
    else:
        fill_postgres(url, crowd)


@contextmanager
def opened(url: str) -> Iterator[tuple[SqlSealRegistry, SealedSaver]]:
    """Open a registry, and a guarded checkpointer in the same database."""
    with ExitStack() as stack:
        inner: Any
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///")
            inner = SqliteSaver(stack.enter_context(closing(sqlite3.connect(path, check_same_thread=False))))
        else:
            inner = stack.enter_context(PostgresSaver.from_conn_string(plain(url)))
        registry = stack.enter_context(SqlSealRegistry(url))
        saver = SealedSaver(inner, registry)
        saver.setup()
        yield registry, saver


def check_plans(url: str, draw: Draw) -> int:
    """Run everything once, and ask the database how it ran each statement; return how many calls that were.

    Raises:
        SystemExit: A statement reads a table from end to end.
    """
    with ExitStack() as stack:
        asked: Any = sqlite3.connect(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else None
        asked = stack.enter_context(closing(asked or psycopg.connect(plain(url), autocommit=True)))
        heard = stack.enter_context(listening())
        registry, saver = stack.enter_context(opened(url))
        calls = {**turns(registry, saver), **everyday(registry, draw)}
        calls["report of a day"] = reports(registry)["report of a day"]  # a week is half of the table
        for what, call in calls.items():
            if found := scanned(heard, asked, call):
                sys.exit(f"{what} scans: {found}")
        return len(calls)


def calls_on(registry: SqlSealRegistry, saver: SealedSaver, draw: Draw, runner: asyncio.Runner) -> dict[str, Action]:
    """Return what is measured: a whole turn, a refusal, and every method of the registry."""
    agent, turn = Agent(lambda _messages: "Gladly.", registry=registry, checkpointer=saver), count()
    agent.say("Hello?", where=config("refused"))
    registry.seal(permit("refused"))
    return {
        "a turn of an agent, guarded": lambda: agent.say("A soup?", where=config(f"turn-{next(turn) // 10}")),
        "a message to a sealed thread, refused": lambda: refused(agent, "refused"),
        "astatus, open": lambda: runner.run(registry.astatus(draw("open"))),
        "aseal": lambda: runner.run(registry.aseal(permit(draw("unknown")))),
        **everyday(registry, draw),
    }


def timed(call: Action) -> float:
    """Return how long a call takes, in seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def closed(registry: SqlSealRegistry, runner: asyncio.Runner) -> None:
    """Close a registry in the event loop that it was used in."""
    runner.run(registry.aclose())


def measure(urls: tuple[str, str], draws: tuple[Draw, Draw], rounds: int) -> dict[str, list[float]]:
    """Return the median seconds of each call on each registry."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        calls = []
        for url, draw in zip(urls, draws, strict=True):
            registry, saver = stack.enter_context(opened(url))
            stack.callback(closed, registry, runner)
            calls.append((calls_on(registry, saver, draw, runner), reports(registry)))
        found = {}
        for group, often in ((0, rounds), (1, 3)):
            for what in calls[0][group]:
                samples: tuple[list[float], ...] = ([], [])
                for _ in range(often):
                    for own, kept in zip(calls, samples, strict=True):
                        kept.append(timed(own[group][what]))
                found[what] = [median(kept) for kept in samples]
        return found


def size_of(url: str) -> float:
    """Return the size of a database in gigabytes."""
    if url.startswith("sqlite"):
        return Path(url.removeprefix("sqlite:///")).stat().st_size / 1e9
    with psycopg.connect(plain(url)) as connection:
        return float(connection.execute("SELECT pg_database_size(current_database())").fetchone()[0]) / 1e9  # type: ignore[index]


def release(url: str) -> str:
    """Return the version of a database."""
    if url.startswith("sqlite"):
        return sqlite3.sqlite_version
    with psycopg.connect(plain(url)) as connection:
        return f"{connection.info.server_version // 10_000}"


def section(engine: str, crowd: Multitude, rounds: int) -> str:
    """Measure one database, and return its part of the page."""
    with databases(engine) as make:
        small, large, draws = make(), make(), (Draw(SMALL), Draw(crowd))
        fill(small, SMALL)
        seconds = timed(lambda: fill(large, crowd))
        size = size_of(large)
        checked = check_plans(large, draws[1])
        found = measure((small, large), draws, rounds)
        lines = [
            f"## {ENGINES[engine]} {release(large)}",
            f"\n{size:.1f} GB, written in {seconds:.0f} s.",
            f"Plans of every statement of {checked} calls at full size: no scan.\n",
            f"| median milliseconds | {SMALL.threads:,} threads | {crowd.threads:,} threads | ratio |",
            "|---|---|---|---|",
            *(f"| {what} | {a * 1e3:,.3f} | {b * 1e3:,.3f} | {b / a:.2f} |" for what, (a, b) in found.items()),
        ]
        return "\n".join(lines)


def page(crowd: Multitude, rounds: int, sections: list[str]) -> str:
    """Return the whole page."""
    packages = ", ".join(f"{known} {version(known)}" for known in ("sqlalchemy", "psycopg", "langgraph"))
    week = crowd.seals * 2 * 7 // DAYS
    return "\n".join(
        [
            "# A registry of many threads",
            f"\n{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {os.cpu_count()} cores; {packages}.",
            "Written by `make bench-registry`.\n",
            f"{crowd.threads:,} threads, of which {crowd.seals:,} are sealed; {2 * crowd.seals:,} decisions and",
            f"{crowd.seals * 1.1375:,.0f} lines of the audit trail in two weeks ({week:,} decisions in the week of the",
            f"report); {crowd.seals:,} provenances and counted threads (`tests/support/multitude.py`). Each call is",
            f"about another thread; medians of {rounds}, of the reports 3, alternately on both registries of one run.",
            "All of it is in the cache of the operating system. PostgreSQL does not wait for the disk here.\n",
            "A report counts its period, and `seal_within` the ends and the counted threads of the last 24 hours for",
            "its limits: these grow with what happened, which is more in the large registry, and not with how many",
            "threads there are.\n",
            "\n\n".join(sections),
            "",
        ]
    )


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=10_000_000)
    parser.add_argument("--seals", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100, help="at most 100: the small registry has no more threads")
    parser.add_argument("--engine", choices=sorted(ENGINES), action="append")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    crowd, sections = Multitude(options.threads, options.seals), []
    for engine in options.engine or ENGINES:
        sections.append(section(engine, crowd, options.rounds))
        print(sections[-1], flush=True)
    if options.write:
        OUTPUT.write_text(page(crowd, options.rounds, sections), encoding="utf-8")


if __name__ == "__main__":
    main()
