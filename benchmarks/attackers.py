"""Honest users beside attackers who go on writing to threads that are sealed: what a refusal costs, and whom.

    python benchmarks/attackers.py [--attackers 200] [--write]

One process, one event loop, a scripted model that answers at once: everything that is waited for is processor time.
Honest users pause between two turns. Attackers send the next message when the last one was refused, after a pause or,
hammering, after none. The processor time of a refusal is that of the whole process, its threads included, with nobody
else there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from more import end_record
from texts import SAID
from variants import ENGINES, Places, agent, sealed

from end_conversation_tool import SealedSaver, ThreadSealedError
from end_conversation_tool._core.records import new_id
from end_conversation_tool.middleware import EndConversationMiddleware

__all__ = ["Figures", "figures"]

HONEST, TURNS = 10, 12
PAUSE = 0.5
"""Seconds between two turns of an honest user."""

PAUSES = ((1.0, 0.0), (0.0, 0.0), (0.0, 1.0))
"""Seconds between an attacker's messages, and the saver's ``refusal_pause``."""

HEADER = (
    "| threads in | refusal, ms of processor time | median turn alone, ms | beside them, one message a second each "
    "| refused a second | beside them, hammering | refused a second | hammering, with `refusal_pause=1` "
    "| refused a second |\n" + "|---" * 9 + "|"
)
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "attackers.md"


class Figures(NamedTuple):
    """What was measured on one engine.

    Attributes:
        engine: Where the threads are.
        refusal: Processor time of a refusal, seconds.
        alone: Median turn of the honest users with nobody beside them, seconds.
        beside: The same beside the attackers, and how many messages were refused in a second, for each of ``PAUSES``.
    """

    engine: str
    refusal: float
    alone: float
    beside: list[tuple[float, float]]

    def __str__(self) -> str:
        cells = [f"{turn * 1000:.1f} ({turn / self.alone:.1f} times) | {rate:.0f}" for turn, rate in self.beside]
        return f"| {self.engine} | {self.refusal * 1000:.2f} | {self.alone * 1000:.1f} | {' | '.join(cells)} |"


class Crowd:
    """An agent, and those who write to it.

    Args:
        graph: The agent.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.refused = 0

    async def turn(self, thread: str, number: int) -> None:
        """Let a user write a message."""
        given = {"messages": [("user", SAID[number % len(SAID)])]}
        await self._graph.ainvoke(given, {"configurable": {"thread_id": thread}})

    async def attempt(self, thread: str, number: int) -> None:
        """Write to a sealed thread."""
        try:
            await self.turn(thread, number)
        except ThreadSealedError:
            self.refused += 1
        else:
            raise AssertionError("a sealed thread answered")

    async def honest(self) -> float:
        """Return the median turn of the honest users."""
        times: list[float] = []

        async def user(name: str, delay: float) -> None:
            await asyncio.sleep(delay)
            for number in range(TURNS):
                started = time.perf_counter()
                await self.turn(name, number)
                times.append(time.perf_counter() - started)
                await asyncio.sleep(PAUSE)

        users = [f"honest-{new_id()}" for _ in range(HONEST)]
        await asyncio.gather(*(user(name, PAUSE * place / HONEST) for place, name in enumerate(users)))
        return median(times)

    async def beside(self, attackers: int, pause: float, refusal_pause: float) -> tuple[float, float]:
        """Return the median turn of the honest users beside attackers, and the refusals in a second."""

        async def attacker(place: int) -> None:
            await asyncio.sleep(pause * place / attackers)
            for number in range(10**9):
                await self.attempt(f"sealed-{place}", number)
                await asyncio.sleep(pause)

        tasks = [asyncio.create_task(attacker(place)) for place in range(attackers)]
        await asyncio.sleep(pause + refusal_pause)
        before, started = self.refused, time.perf_counter()
        turn = await self.honest()
        rate = (self.refused - before) / (time.perf_counter() - started)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        if wrong := [one for one in ended if not isinstance(one, asyncio.CancelledError)]:
            raise AssertionError(wrong[0])
        return turn, rate


async def figures(engine: str, attackers: int) -> Figures:
    """Measure one engine."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        place = await Places(engine, folder, stack, asynchronous=True).new()
        middleware = EndConversationMiddleware(registry=place.registry)
        crowd = Crowd(agent(await sealed(place), middleware))
        for number in range(attackers):
            await crowd.turn(f"sealed-{number}", number)
            record = end_record().model_copy(update={"id": new_id(), "thread_id": f"sealed-{number}"})
            await place.registry.aseal(record)
        refusal = await _processor_time(crowd.attempt, attackers)
        alone = await crowd.honest()
        beside = []
        for pause, refusal_pause in PAUSES:
            saver = SealedSaver(*place, refusal_pause=refusal_pause)
            if engine != "memory":
                await saver.setup()
            beside.append(await Crowd(agent(saver, middleware)).beside(attackers, pause, refusal_pause))
        return Figures(engine, refusal, alone, beside)


async def _processor_time(attempt: Callable[[str, int], Awaitable[None]], threads: int) -> float:
    """Return the processor time of one refusal, the mean of five for each thread."""
    for number in range(20):
        await attempt("sealed-0", number)
    started = time.process_time()
    for number in range(5 * threads):
        await attempt(f"sealed-{number % threads}", number)
    return (time.process_time() - started) / (5 * threads)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attackers", type=int, default=200)
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--write", action="store_true", help="write the page in docs/benchmarks/")
    options = parser.parse_args()
    rows = [asyncio.run(figures(engine, options.attackers)) for engine in options.engines]
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {os.cpu_count()} cores, one process.\n"
        f"{HONEST} honest users, {TURNS} turns each, {PAUSE} s between two; {options.attackers} attackers."
    )
    table = "\n".join([HEADER, *map(str, rows)])
    print(about, table, sep="\n\n")
    if options.write:
        head, mark, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->")
        tail = rest.partition("<!-- end of table -->")[2]
        text = f"{head}{mark}\n\n{about}\n\n{table}\n\n<!-- end of table -->{tail}"
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
