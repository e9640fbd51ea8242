"""Processes that kill themselves (SIGKILL) at a chosen point of an ending: ``python -m support.mortal``.

It imports everything once, then reads one scenario a line, as JSON, forks a child for it, and says how the child ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.sql import operations
from support.chats import END_IT, guarded
from support.savers import Place, open_saver

__all__ = ["POINTS", "Mortals"]

POINTS = ("before_seal", "in_transaction", "after_seal", "before_checkpoint", "after_checkpoint", "after_run")


class Mortals:
    """Starts the process that forks, and hands scenarios to it."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.mortal"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def die(self, **scenario: Any) -> int:
        """Run one scenario, and return the signal that ended the child; 0 when it came to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(scenario)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _die(*, when: bool = True) -> None:
    if when:
        os.kill(os.getpid(), signal.SIGKILL)


def _arm(place: Place, point: str) -> None:
    """Have the process die at a point."""
    registry, inner = place.registry, place.inner
    seal, aseal = registry.seal, registry.aseal
    put, aput = inner.put, inner.aput

    def sealing(*args: Any, **kwargs: Any) -> Any:
        _die(when=point == "before_seal")
        sealed = seal(*args, **kwargs)
        _die(when=point == "after_seal")
        return sealed

    async def asealing(*args: Any, **kwargs: Any) -> Any:
        _die(when=point == "before_seal")
        sealed = await aseal(*args, **kwargs)
        _die(when=point == "after_seal")
        return sealed

    def ends(checkpoint: Any) -> bool:
        return bool(checkpoint["channel_values"].get("conversation_end"))

    def putting(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        _die(when=point == "before_checkpoint" and ends(checkpoint))
        written = put(config, checkpoint, metadata, versions)
        _die(when=point == "after_checkpoint" and ends(checkpoint))
        return written

    async def aputting(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        _die(when=point == "before_checkpoint" and ends(checkpoint))
        written = await aput(config, checkpoint, metadata, versions)
        _die(when=point == "after_checkpoint" and ends(checkpoint))
        return written

    for target, name, value in (
        (registry, "seal", sealing),
        (registry, "aseal", asealing),
        (inner, "put", putting),
        (inner, "aput", aputting),
    ):
        setattr(target, name, value)
    if point == "in_transaction":
        real = operations.thread_columns

        def columns(status: Any) -> Any:
            _die(when=status.sealed)
            return real(status)

        vars(operations)["thread_columns"] = columns


async def _live(url: str, point: str, durability: str, *, twin: bool) -> None:
    """Say the words that seal the thread, and die on the way."""
    engine = "sqlite" if url.startswith("sqlite") else "postgres"
    async with SqlSealRegistry(url) as registry, open_saver(engine, url, twin=twin) as inner:
        place = Place(engine, twin, inner, registry, url)
        _arm(place, point)
        await guarded(place, await place.sealed()).say(END_IT, durability=durability)
        _die()


def _serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(_live(**json.loads(line)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)  # noqa: T201


if __name__ == "__main__":
    _serve()
