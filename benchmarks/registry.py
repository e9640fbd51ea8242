"""What the registry costs: microseconds of a status and of a seal, on each engine, sync and async.

    python benchmarks/registry.py [--rounds 2000] [--filled 100000]

The rounds of all engines are interleaved in one run, and the medians are printed: of the read of an ordinary thread, of
the read of a sealed one, and of a seal with its decision and its line in the audit trail. ``--filled`` puts that many
sealed threads into each database first. PostgreSQL comes from the test extra, which does not wait for the disk, so
that its seals look cheaper than they are; name a real server in END_CONVERSATION_TEST_POSTGRES for those.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from support.postgres import fresh_database, postgres_server
from support.records import permit

SEALS_PER_ROUND = 10  # one seal for this many reads


def fill(registry: SealRegistry, count: int) -> None:
    """Seal ``count`` threads."""
    for number in range(count):
        registry.seal(permit(f"filled-{number}"))


async def timed(call: Callable[[], object], samples: list[float]) -> None:
    """Append the microseconds of one call."""
    began = time.perf_counter()
    answer = call()
    if isinstance(answer, Awaitable):
        await answer
    samples.append((time.perf_counter() - began) * 1e6)


async def measure(registries: dict[str, SealRegistry], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Return the samples by engine and call."""
    samples: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for name, registry in registries.items():
            calls: dict[str, Callable[[], object]] = {
                "status, ordinary": lambda r=registry: r.status("ordinary"),
                "astatus, ordinary": lambda r=registry: r.astatus("ordinary"),
                "status, sealed": lambda r=registry: r.status("sealed"),
                "astatus, sealed": lambda r=registry: r.astatus("sealed"),
            }
            if number % SEALS_PER_ROUND == 0:
                one, two = permit(f"sync-{number}"), permit(f"async-{number}")
                calls["seal"] = lambda r=registry, record=one: r.seal(record)
                calls["aseal"] = lambda r=registry, record=two: r.aseal(record)
            for what, call in calls.items():
                await timed(call, samples.setdefault((name, what), []))
    for registry in registries.values():
        if isinstance(registry, SqlSealRegistry):
            await registry.aclose()
    return samples


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--filled", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(postgres_server())
        registries: dict[str, SealRegistry] = {
            "memory": InMemorySealRegistry(),
            "SQLite": SqlSealRegistry(f"sqlite:///{folder}/registry.db"),
            "PostgreSQL": SqlSealRegistry(stack.enter_context(fresh_database(server))),
        }
        for registry in registries.values():
            fill(registry, options.filled)
            registry.seal(permit("sealed"))
        samples = asyncio.run(measure(registries, options.rounds))
    print(f"{'':12}{'call':20}{'median us':>12}{'middle half':>20}{'samples':>9}")
    for (name, what), values in sorted(samples.items()):
        low, _, high = quantiles(values, n=4)
        print(f"{name:12}{what:20}{median(values):12.1f}{f'{low:.1f} - {high:.1f}':>20}{len(values):9}")


if __name__ == "__main__":
    main()
