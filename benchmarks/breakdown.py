"""Where the time of a turn goes: samples of processor time, ours beside the bare agent, by part of the package.

    python benchmarks/breakdown.py [--turns 1500]

Async turns with threads in memory, where everything runs in one thread. A timer of the processor's time interrupts the
process some hundred times a second and looks where it is: unlike a profiler that is told of each call, it makes nothing
slower. Time in Python's own library, in C, in pydantic or in SQLAlchemy belongs to whoever called it.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Self

from texts import SAID
from variants import BARE, OURS, measured

import end_conversation_tool

__all__ = ["HEADER", "lines"]

HEADER = "| part | bare, ms a turn | ours, ms a turn | difference | share of ours |\n|---|---|---|---|---|"

_OWN = Path(end_conversation_tool.__file__).parent
_PARTS = {
    "testing": "the scripted model",
    "watch": "ours: watch",
    "registry": "ours: registry",
    "provenance.py": "ours: provenance",
    "_checkpoint": "ours: saver",
    "fence.py": "ours: saver",
    "middleware.py": "ours: middleware",
    "langgraph": "ours: middleware",
}
"""By room or file. What is not named here is the gate, with its records."""

_OTHERS = {
    "langchain": "LangChain's hooks",
    "langchain_core": "LangChain's messages and runnables",
    "langgraph": "LangGraph",
    "ormsgpack": "LangGraph",
}

_SECONDS = 0.001


@cache
def part_of(file: str) -> str | None:
    """Return the part that a file belongs to; ``None`` where it belongs to its callers."""
    path = Path(file)
    if path.is_relative_to(_OWN):
        return next((_PARTS[part] for part in path.relative_to(_OWN).parts if part in _PARTS), "ours: gate")
    if "site-packages" not in path.parts:
        return "the event loop" if "asyncio" in path.parts else None
    return _OTHERS.get(path.parts[path.parts.index("site-packages") + 1])


class Sampler:
    """Counts where the main thread is, whenever the process has used some more of the processor."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.seconds = 0.0

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self._look)
        self._began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, _SECONDS, _SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds += time.process_time() - self._began

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        while frame is not None:
            if (part := part_of(frame.f_code.co_filename)) is not None:
                self.found[part] += 1
                return
            frame = frame.f_back
        self.found["elsewhere"] += 1

    def milliseconds(self, turns: int) -> Counter[str]:
        """Return the milliseconds of each part in a turn."""
        each = self.seconds * 1000 / turns / self.found.total()
        return Counter({part: samples * each for part, samples in self.found.items()})


async def sample(graphs: dict[str, Any], turns: int) -> dict[str, Sampler]:
    """Run turns in threads of ten, of one variant after the other; the first threads warm up."""
    samplers = {name: Sampler() for name in graphs}
    for first in range(-10, turns, 10):
        for name, graph in graphs.items():
            with samplers[name] if first >= 0 else nullcontext():
                for number in range(first, first + 10):
                    given = {"messages": [("user", SAID[number % len(SAID)])]}
                    await graph.ainvoke(given, {"configurable": {"thread_id": str(first)}})
    return samplers


def lines(turns: int = 1_500) -> Iterator[str]:
    """Yield the lines of a table, the greatest difference first."""
    with measured("memory", BARE, OURS, asynchronous=True) as (runner, graphs):
        samplers = runner.run(sample(graphs, turns))
    bare, ours = (samplers[name].milliseconds(turns) for name in (BARE, OURS))
    for part in sorted({*bare, *ours}, key=lambda part: bare[part] - ours[part]):
        share = ours[part] / ours.total()
        yield f"| {part} | {bare[part]:.3f} | {ours[part]:.3f} | {ours[part] - bare[part]:+.3f} | {share:.1%} |"
    yield f"| **all** | {bare.total():.3f} | {ours.total():.3f} | {ours.total() - bare.total():+.3f} | 100 % |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=1_500)
    print(HEADER, *lines(parser.parse_args().turns), sep="\n")


if __name__ == "__main__":
    main()
