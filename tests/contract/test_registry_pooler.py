"""A registry behind PgBouncer in transaction mode: each transaction may get another of the server's connections."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from sqlalchemy import URL, make_url

from end_conversation_tool.registry import SqlSealRegistry
from support.postgres import fresh_database
from support.records import permit

PGBOUNCER = shutil.which("pgbouncer")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not on this machine")

_SETTINGS = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
"""


@contextmanager
def pooler(server: URL) -> Iterator[URL]:
    """Yield the URL of a server by way of a pooler that shares two connections between everybody."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own_port = free.getsockname()[1]
    host = server.host or str(server.query["host"])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "pgbouncer.ini"
        port, user = server.port or 5432, server.username
        file.write_text(_SETTINGS.format(host=host, port=port, user=user, own_port=own_port))
        Path(folder).chmod(0o755)
        # It does not run as root; the server's own user may enter the folder of the server's socket.
        as_another = ["-u", Path(host).owner() if Path(host).is_dir() else "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen([str(PGBOUNCER), "-q", *as_another, str(file)], stderr=subprocess.PIPE)
        try:
            yield server.set(host="127.0.0.1", port=own_port, query={})
        finally:
            process.terminate()
            process.communicate(timeout=10)


@pytest.fixture
def url(postgres: URL) -> Iterator[str]:
    with fresh_database(postgres) as direct, pooler(make_url(direct)) as pooled:
        address = pooled.render_as_string(hide_password=False)
        deadline = time.monotonic() + 10
        while True:
            try:
                psycopg.connect(pooled.set(drivername="postgresql").render_as_string(hide_password=False)).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                break
        yield address


async def test_everybody_gets_right_answers_from_two_shared_connections(url: str) -> None:
    threads = [f"t{number}" for number in range(12)]
    async with SqlSealRegistry(url, prepared_statements=False) as registry:

        def sealed(thread: str) -> bool:
            before = [registry.status(thread).sealed for _ in range(8)]
            registry.seal(permit(thread, id=thread))
            return not any(before) and all(registry.status(thread).sealed for _ in range(8))

        async def also_sealed(thread: str) -> bool:
            before = [(await registry.astatus(thread)).sealed for _ in range(8)]
            await registry.aseal(permit(thread, id=thread))
            return not any(before) and all([(await registry.astatus(thread)).sealed for _ in range(8)])

        first, others = threads[:6], threads[6:]
        answers = asyncio.gather(*(asyncio.to_thread(sealed, thread) for thread in first), *map(also_sealed, others))
        assert await answers == [True] * len(threads)
        assert {(await registry.adecisions(thread))[0].id for thread in threads} == set(threads)
