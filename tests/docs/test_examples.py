"""Every example runs, as a user would run it: in a folder of its own, from a fresh process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.testing import MessagesApiServer
from support.langgraph_server import LangGraphServer, running_server
from support.node import run_node

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.*"))
MAX_LINES = 90
MAX_LINES_OF_THE_WEB_CHAT = 230

SAYS = {
    "quickstart.py": [
        "[first] ended: This chat was ended because abusive messages went on",
        "[first] refused: This chat was ended",
        "[second] model: Gladly!",
        "sealed: True",
    ],
    "edit_and_retry.py": [
        "after the edit: Dear neighbour",
        "and on: You're welcome!",
        "branch 1 is open; sealed branches: [0]",
        "the old branch stays sealed",
    ],
    "custom_policy_and_watch.py": ["0800 000000", "flagged by: ['brakes/1']", "with the flag: risk_flagged"],
    "shadow_on_logs.py": [
        "abuse under default: notice in turn 4, end in turn 5",
        "abuse under single_warning: notice in turn 2, end in turn 3",
        "abuse under user_request_only: nothing",
        "recipe under default: nothing",
    ],
    "postgres_workers.py": [
        "['answered', 'answered', 'answered', 'answered', 'answered', 'refused', 'refused', 'refused']"
    ],
    "handwritten_graph.py": [
        "ended: This chat was ended because abusive messages went on",
        "refused: This chat was ended",
    ],
    "user_requested_end.py": [
        "dialogue: End this chat?",
        "model: Then we go on.",
        "ended: This chat was ended because you asked for it",
        "sealed: True",
    ],
    "fastapi_423.py": ["423 This chat was ended because abusive messages went on"],
}
"""What each keyless example must print."""

TRIED_ELSEWHERE = {"raw_anthropic_loop.py", "web_chat.py"}
"""Examples with a test of their own in tests/: one against the wire, one in a browser."""

NOTICE, STATEMENT = Texts().notice(Category.ABUSE), Texts().statement(Category.ABUSE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LangGraphServer]:
    """What `make serve` starts, in a folder of its own."""
    folder = tmp_path_factory.mktemp("served")
    config = json.loads((ROOT / "langgraph.json").read_text("utf-8").replace("./", f"{ROOT}/"))
    config["graphs"] = {"agent": config["graphs"]["agent"]}
    with running_server(folder, config, END_CONVERSATION_REGISTRY=f"sqlite:///{folder}/threads.db") as server:
        yield server


def run(name: str, folder: Path, *, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    known = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        cwd=folder,
        env=known | environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_short_and_says_what_it_shows_and_needs(path: Path) -> None:
    text = path.read_text("utf-8")
    header = text.split('"""' if path.suffix == ".py" else "*/")[path.suffix == ".py"]
    assert text.startswith(('"""', "/**"))
    assert "Shows:" in header
    assert "Needs:" in header
    most = MAX_LINES_OF_THE_WEB_CHAT if path.name == "web_chat.py" else MAX_LINES
    assert len(text.splitlines()) <= most


@pytest.mark.parametrize("name", SAYS)
def test_a_keyless_example_says_what_it_promises(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wrap it: checkpointer=SealedSaver" not in done.stderr, "none of our own mistakes"
    for expected in SAYS[name]:
        assert expected in done.stdout


def test_the_claude_example_runs_against_the_wire(tmp_path: Path) -> None:
    with MessagesApiServer(["Hello, which bicycle is it?"]) as server:
        done = run(
            "create_agent_claude.py",
            tmp_path,
            given="Hello!\n\n",
            ANTHROPIC_API_KEY="test",
            ANTHROPIC_BASE_URL=server.base_url,
        )
        assert server.errors == []
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Hello, which bicycle is it?"]


def test_the_claude_example_says_that_it_needs_a_key(tmp_path: Path) -> None:
    done = run("create_agent_claude.py", tmp_path)
    assert done.returncode == 1
    assert "set ANTHROPIC_API_KEY" in done.stderr


def test_the_server_example_ends_a_chat_and_is_refused(served: LangGraphServer, tmp_path: Path) -> None:
    done = run("langgraph_server_client.py", tmp_path, LANGGRAPH_URL=served.url)
    assert done.returncode == 0, done.stderr
    assert f"said: {NOTICE}\nended: {STATEMENT}\nrefused with 423\nafter an edit: I am a scripted model" in done.stdout
    assert branches_of_newest_thread(served) == [True, False]


def test_the_javascript_example_ends_a_chat_and_is_refused(served: LangGraphServer, sdk: Path) -> None:
    program = (ROOT / "examples" / "langgraph_client.mjs").read_text("utf-8")
    done = run_node(sdk, program, LANGGRAPH_URL=served.url)
    assert done.returncode == 0, done.stderr
    *said, notice, ended, options, reloaded, refused, retried = done.stdout.splitlines()
    assert len(said) == 3
    assert notice == f"said: {NOTICE.splitlines()[0]}"
    assert ended == f"ended: {STATEMENT}"
    assert options == "options: new_chat, edit_and_retry, feedback, appeal"
    assert reloaded == "after a reload: abuse"
    assert refused == f"refused with 423: {STATEMENT}"
    assert retried.startswith("after an edit: I am a scripted model")
    assert branches_of_newest_thread(served) == [True, False]


def branches_of_newest_thread(served: LangGraphServer) -> list[bool]:
    """Return which branches of the newest thread are sealed, by the server's registry."""
    (thread,) = served.client.threads.search(limit=1)
    with SqlSealRegistry(f"sqlite:///{served.folder}/threads.db", create=False) as registry:
        return [branch.seal is not None for branch in registry.status(thread["thread_id"]).branches]


NOBODY = "Nobody answers at http://127.0.0.1:9. `make serve` starts a server and prints its address"


def test_the_server_example_says_that_it_needs_a_server(tmp_path: Path) -> None:
    done = run("langgraph_server_client.py", tmp_path, LANGGRAPH_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith(NOBODY)


def test_the_javascript_example_says_that_it_needs_a_server(sdk: Path) -> None:
    done = run_node(
        sdk, (ROOT / "examples" / "langgraph_client.mjs").read_text("utf-8"), LANGGRAPH_URL="http://127.0.0.1:9"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(NOBODY)


@pytest.mark.malformed_requests
def test_the_clients_say_when_something_else_has_the_port(tmp_path: Path, sdk: Path) -> None:
    """A port in use: `langgraph dev` takes another one, and whoever has this one is no LangGraph server."""
    with MessagesApiServer([]) as other:
        in_python = run("langgraph_server_client.py", tmp_path, LANGGRAPH_URL=other.base_url)
        program = (ROOT / "examples" / "langgraph_client.mjs").read_text("utf-8")
        in_javascript = run_node(sdk, program, LANGGRAPH_URL=other.base_url)
    for done in (in_python, in_javascript):
        assert done.returncode == 1
        assert done.stderr.startswith("Something else than an open LangGraph server")
        assert "where its port is in use, `make serve PORT=2025`" in done.stderr


def test_make_serve_says_that_its_port_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ready = f"{sys.prefix}/.ready"  # as it is for this very interpreter
        serve = ["make", "serve", f"VENV={sys.prefix}", "-o", ready, f"PORT={port}"]
        done = subprocess.run(serve, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith(f"port {port} is in use: stop what listens there, or take another: make serve PORT=")
    assert "langgraph dev" not in done.stdout


def test_no_example_is_left_out() -> None:
    here = {*SAYS, "create_agent_claude.py", "langgraph_server_client.py", "langgraph_client.mjs"}
    assert {path.name for path in EXAMPLES} == here | TRIED_ELSEWHERE
