from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from end_conversation_tool.registry import SqlSealRegistry
from support.langgraph_server import ROOT, LangGraphServer, running_server

ASKING = {"asking": f"{ROOT}/tests/support/asking_graph.py:agent"}
NAIVE = {"naive": f"{ROOT}/tests/support/naive_graph.py:agent"}
ASKS, CONFIRMS = "Please end this chat.", "Yes, end this chat."


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LangGraphServer]:
    """The project's own server, with two graphs more: one unguarded, one that asks the user in a dialogue."""
    folder = tmp_path_factory.mktemp("guarded")
    config = json.loads((ROOT / "langgraph.json").read_text().replace("./", f"{ROOT}/"))
    config["graphs"] |= NAIVE | ASKING
    with running_server(folder, config, END_CONVERSATION_REGISTRY=f"sqlite:///{folder}/threads.db") as running:
        yield running


@pytest.fixture(scope="session")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LangGraphServer]:
    """A server as people have it without this package."""
    with running_server(tmp_path_factory.mktemp("unguarded"), {"dependencies": ["."], "graphs": NAIVE}) as running:
        yield running


@pytest.fixture(scope="session")
def registry(server: LangGraphServer) -> Iterator[SqlSealRegistry]:
    """The server's registry, as another process sees it."""
    with SqlSealRegistry(f"sqlite:///{server.folder}/threads.db", create=False) as opened:
        yield opened


@pytest.fixture
def asked(server: LangGraphServer) -> str:
    """A thread whose user wants it ended, and was asked whether they mean it."""
    thread_id = server.new_thread()
    server.say(thread_id, ASKS)
    return thread_id


@pytest.fixture
def ended(server: LangGraphServer, asked: str) -> str:
    """A sealed thread."""
    left: Any = server.say(asked, CONFIRMS)
    assert left["conversation_end"]["ended"]
    return asked


@pytest.fixture(scope="session")
def long_ended(server: LangGraphServer) -> str:
    """A sealed thread that tests share: whatever they try, it does not change."""
    thread_id = server.new_thread()
    server.say(thread_id, "Hello.")
    server.say(thread_id, ASKS)
    assert server.say(thread_id, CONFIRMS)["conversation_end"]["ended"]
    return thread_id


@pytest.fixture
def open_thread(server: LangGraphServer) -> str:
    """A thread with one message, made without a run, which takes the server most of a second."""
    said = {"messages": [{"role": "user", "content": "Hello."}]}
    steps: Any = [{"updates": [{"values": said, "as_node": "__start__"}]}]
    return str(server.client.threads.create(graph_id="agent", supersteps=steps)["thread_id"])
