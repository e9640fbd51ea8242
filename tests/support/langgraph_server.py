"""A LangGraph dev server in a process group of its own: offline, without a key, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
STOP_SECONDS = 10
LOG_TAIL_CHARS = 4000
NO_KEEPALIVE = httpx.Limits(max_keepalive_connections=0)
"""The server drops a connection on which it answered 500."""


@dataclass(frozen=True)
class LangGraphServer:
    """A running server.

    Attributes:
        url: Where it listens.
        folder: Where it runs; its database is in it.
        client: LangGraph's own client.
        http: For requests that the client does not make.
    """

    url: str
    folder: Path
    client: SyncLangGraphClient
    http: httpx.Client

    def new_thread(self) -> str:
        return str(self.client.threads.create()["thread_id"])

    def say(self, thread_id: str, text: str, graph: str = "agent", **options: Any) -> Any:
        """Send a message, wait for the run, and return the state that it left."""
        given: Any = {"messages": [{"role": "user", "content": text}]}
        return self.client.runs.wait(thread_id, graph, input=given, **options)

    def texts(self, thread_id: str) -> list[str]:
        """Return the texts of the thread's messages."""
        values: Any = self.client.threads.get_state(thread_id)["values"]
        return [message["content"] for message in values.get("messages", [])] if values else []


@contextmanager
def running_server(folder: Path, config: Mapping[str, Any], **variables: str) -> Iterator[LangGraphServer]:
    """Start a server, and end its whole process group afterwards.

    Args:
        folder: An empty folder.
        config: What goes into ``langgraph.json``.
        variables: Environment variables, beside those that keep the server offline.

    Raises:
        RuntimeError: The server does not start; the message has the end of its log.
    """
    (folder / "langgraph.json").write_text(json.dumps(config))
    port, log = _free_port(), folder / "server.log"
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(variables), stdout=output, stderr=output, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_up(url, process, log)
            with (
                get_sync_client(url=url) as client,
                httpx.Client(base_url=url, timeout=30, limits=NO_KEEPALIVE) as http,
            ):
                yield LangGraphServer(url, folder, client, http)
        finally:
            _end(process)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "ANTHROPIC", "END_CONV"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]),
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
        "LANGSMITH_TRACING": "false",
        "CRON_SCHEDULER_SLEEP_TIME": "1",
        **variables,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/ok", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    tail = log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
    raise RuntimeError(f"the server did not start (exit code {process.poll()}); the end of its log:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
            process.wait(STOP_SECONDS)
        except ProcessLookupError:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
