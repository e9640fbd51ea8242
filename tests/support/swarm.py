"""Many processes that talk in the same threads while these are being sealed: ``python -m support.swarm``.

It imports everything once, forks the processes, and prints what each of them saw, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from end_conversation_tool.errors import StaleRunError, ThreadSealedError
from end_conversation_tool.registry import SqlSealRegistry
from support.chats import END_IT, WARN, Chat, guarded
from support.savers import Place, saver_url

__all__ = ["private_thread", "shared_thread", "swarm"]

END_SHARE = 0.06
PRIVATE_SHARE = 0.15


def swarm(url: str, *, processes: int, threads: int, seconds: float) -> list[dict[str, Any]]:
    """Let the processes loose, and return what each of them saw."""
    environment = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}
    arguments = json.dumps({"url": url, "threads": threads, "seconds": seconds})
    command = [sys.executable, "-m", "support.swarm", str(processes), arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True, timeout=120)
    seen: list[dict[str, Any]] = json.loads(done.stdout)
    return seen


def shared_thread(number: int) -> str:
    return f"shared-{number}"


def private_thread(process: int) -> str:
    return f"private-{process}"


class Talker:
    """One process: two tasks that say things in threads picked at random."""

    def __init__(self, process: int, *, url: str, threads: int, seconds: float) -> None:
        self.process, self.url, self.threads, self.seconds = process, url, threads, seconds
        self.chance = random.Random(process)
        self.said: list[tuple[str, str, float]] = []
        self.own: list[str] = []
        self.refused = 0
        self.stale = 0
        self.sealed: dict[str, float] = {}

    async def run(self) -> dict[str, Any]:
        options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        pool: Any = AsyncConnectionPool(saver_url(self.url), kwargs=options, min_size=2, max_size=2, open=False)
        async with pool, SqlSealRegistry(self.url) as registry:
            place = Place("postgres", twin=True, inner=AsyncPostgresSaver(pool), registry=registry, url=self.url)
            chat = guarded(place, await place.sealed())
            until = time.monotonic() + self.seconds
            await asyncio.gather(self._talk(chat, until), self._talk_alone(chat, until))
        return {
            "said": self.said,
            "own": self.own,
            "refused": self.refused,
            "stale": self.stale,
            "sealed": self.sealed,
        }

    async def _talk(self, chat: Chat, until: float) -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            thread = shared_thread(self.chance.randrange(self.threads))
            ends = self.chance.random() < END_SHARE
            text, began = END_IT if ends else f"{self.process}/{number}", time.time()
            try:
                answer = await chat.say(text, thread)
            except ThreadSealedError:
                self.refused += 1
            except StaleRunError:
                self.stale += 1
            else:
                if ends and answer.get("conversation_end"):
                    self.sealed[thread] = time.time()
                else:
                    self.said.append((thread, text, began))

    async def _talk_alone(self, chat: Chat, until: float) -> None:
        """Talk in a thread that nobody else knows: what is said there must all be there."""
        thread = private_thread(self.process)
        await chat.say(WARN, thread)
        while time.monotonic() < until:
            self.own.append(f"alone {len(self.own)}")
            await chat.say(self.own[-1], thread)
            await asyncio.sleep(PRIVATE_SHARE)


def _main(processes: int, arguments: dict[str, Any]) -> None:
    folder = Path(tempfile.mkdtemp())
    children = []
    for process in range(processes):
        child = os.fork()
        if child == 0:
            seen = asyncio.run(Talker(process, **arguments).run())
            (folder / str(process)).write_text(json.dumps(seen))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    print(json.dumps([json.loads((folder / str(process)).read_text()) for process in range(processes)]))  # noqa: T201


if __name__ == "__main__":
    _main(int(sys.argv[1]), json.loads(sys.argv[2]))
