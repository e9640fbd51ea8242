"""Many conversations at once in one process: turns a second, and the memory that each conversation keeps.

    python benchmarks/crowd.py [--conversations 1000] [--turns 2]

A process for each variant and measurement, in turns, threads in memory. Memory is what Python still holds after the
turns and a collection (``tracemalloc``), less what it held before them, for each conversation: the whole of
the checkpoints that the saver in memory keeps, and whatever else stays.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from statistics import median

from langgraph.checkpoint.memory import InMemorySaver
from texts import SAID
from variants import BARE, OURS, Place, agent, sealed

from end_conversation_tool import InMemorySealRegistry
from end_conversation_tool.middleware import EndConversationMiddleware

__all__ = ["HEADER", "compared"]

VARIANTS = (BARE, OURS)
HEADER = (
    "| variant | turns a second | throughput, ratio to bare | KB kept by a conversation | more than bare |\n"
    + "|---" * 5
    + "|"
)


async def crowd(name: str, conversations: int, turns: int, *, traced: bool) -> float:
    """Run many conversations at once; return turns a second, or with ``traced`` bytes kept by each conversation."""
    place = Place(InMemorySaver(), InMemorySealRegistry())
    middleware = [] if name == BARE else [EndConversationMiddleware(registry=place.registry)]
    graph = agent(await sealed(place) if name == OURS else place.saver, *middleware)

    async def talk(thread: int) -> None:
        for turn in range(turns):
            text = SAID[(thread + 7 * turn) % len(SAID)]
            await graph.ainvoke({"messages": [("user", text)]}, {"configurable": {"thread_id": str(thread)}})

    for thread in range(1, 30):  # what is made once is made now
        await talk(-thread)
    if traced:
        gc.collect()
        tracemalloc.start()
    started = time.perf_counter()
    await asyncio.gather(*(talk(thread) for thread in range(conversations)))
    seconds = time.perf_counter() - started
    if traced:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / conversations
    return conversations * turns / seconds


def apart(name: str, conversations: int, turns: int, *, traced: bool) -> float:
    """Run ``crowd`` in a process of its own."""
    call = f"asyncio.run(crowd.crowd({name!r}, {conversations}, {turns}, traced={traced}))"
    program = f"import asyncio, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import crowd; print({call})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def compared(conversations: int = 1_000, turns: int = 2, repeats: int = 3) -> list[str]:
    """Return the lines of a table: medians of so many processes for the speed, and one for the memory."""
    speeds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(repeats):
        for name, found in speeds.items():
            found.append(apart(name, conversations, turns, traced=False))
    kept = {name: apart(name, conversations, turns, traced=True) / 1024 for name in VARIANTS}
    lines = []
    for name, found in speeds.items():
        ratio = median(own / bare for own, bare in zip(found, speeds[BARE], strict=True))
        more = kept[name] - kept[BARE]
        lines.append(f"| {name} | {median(found):.0f} | {ratio:.2f} | {kept[name]:.1f} | {more:.1f} |")
    return lines


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--conversations", type=int, default=1_000)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    print(HEADER, *compared(options.conversations, options.turns), sep="\n")


if __name__ == "__main__":
    main()
