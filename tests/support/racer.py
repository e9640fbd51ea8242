"""One of several processes that race for the same registry: ``python -m support.racer URL VERB THREADS``.

It says ``ready``, waits for a line, opens the registry, does its verb on every thread, and prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from end_conversation_tool.registry import SqlSealRegistry
from support.records import permit

__all__ = ["race"]


def race(url: str, verbs: Sequence[str], *, threads: int) -> list[dict[str, Any]]:
    """Run one process for each verb, all let go at once, and return what each of them says."""
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "support.racer", url, verb, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for verb in verbs
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        return [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def _run(url: str, verb: str, threads: int) -> dict[str, Any]:
    names = [f"thread-{number}" for number in range(threads)]
    with SqlSealRegistry(url, timeout=30) as registry:
        told: dict[str, Any] = {"key": registry.signing_key.hex()}
        if verb == "flag":
            for name in names:
                registry.flag_risk(name, kind="crisis", source="racer")
        elif verb == "seal":
            told["created"] = sum(registry.seal(permit(name)).created for name in names)
        else:
            told["created"] = asyncio.run(_aseal(registry, names))
        return told


async def _aseal(registry: SqlSealRegistry, names: Sequence[str]) -> int:
    outcomes = await asyncio.gather(*(registry.aseal(permit(name)) for name in names))
    await registry.aclose()
    return sum(outcome.created for outcome in outcomes)


if __name__ == "__main__":
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    print(json.dumps(_run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))  # noqa: T201
