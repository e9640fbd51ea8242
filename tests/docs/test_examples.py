"""Every example runs, as a user would run it: in a folder of its own, from a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from end_conversation_tool.testing import MessagesApiServer

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_LINES = 90

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
    assert text.startswith('"""')
    header = text.split('"""')[1]
    assert "Shows:" in header
    assert "Needs:" in header
    assert path.name == "web_chat.py" or len(text.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", SAYS)
def test_a_keyless_example_says_what_it_promises(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stderr
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


def test_the_server_example_says_that_it_needs_a_server(tmp_path: Path) -> None:
    done = run("langgraph_server_client.py", tmp_path, LANGGRAPH_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "make serve" in done.stderr
