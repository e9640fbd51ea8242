"""The project of the LangGraph server guide is served as printed, and its client runs against it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.registry import SqlSealRegistry
from support.langgraph_server import LangGraphServer, running_server
from support.node import run_node

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide-langgraph-server.md").read_text("utf-8")
AGENT, CHECKPOINTER, CHECKPOINTER_WITH_TYPES, AUTH, CLIENT = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
(IN_JAVASCRIPT,) = re.findall(r"```js\n(.*?)```", GUIDE, re.DOTALL)
(CONFIG,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LangGraphServer]:
    folder = tmp_path_factory.mktemp("guide")
    files = {"agent.py": AGENT, "checkpointer.py": CHECKPOINTER_WITH_TYPES, "auth.py": AUTH}
    for name, code in files.items():
        (folder / name).write_text(code)
    database = "sqlite:///conversations.db"
    with running_server(folder, json.loads(CONFIG), END_CONVERSATION_REGISTRY=database) as server:
        yield server


def test_the_client_of_the_guide(served: LangGraphServer, tmp_path: Path) -> None:
    code = CLIENT.replace("http://127.0.0.1:2024", served.url)
    assert code != CLIENT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    ended, refused, retried = done.stdout.splitlines()
    assert ended == Texts().statement(Category.USER_REQUEST)
    assert refused == f"423 {ended}"
    assert retried.startswith("I am a scripted model")
    with SqlSealRegistry(f"sqlite:///{served.folder}/conversations.db", create=False) as registry:
        threads = served.http.post("/threads/search", json={}, headers=as_user("ada")).json()
        branches = registry.status(threads[0]["thread_id"]).branches
    assert [branch.seal is not None for branch in branches] == [True, False]


def test_the_client_of_the_guide_in_javascript(served: LangGraphServer, sdk: Path) -> None:
    code = IN_JAVASCRIPT.replace("http://127.0.0.1:2024", served.url)
    assert code != IN_JAVASCRIPT
    done = run_node(sdk, code)
    assert done.returncode == 0, done.stderr
    texts, category = Texts(), Category.USER_REQUEST
    *ended, retried = done.stdout.splitlines()
    assert ended == [
        texts.notice(category),
        texts.statement(category),
        str(category),
        f"423 {texts.statement(category)}",
    ]
    assert retried.startswith("I am a scripted model")


def as_user(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{name}"}


def test_the_owners_of_the_guide_do_not_see_each_other(served: LangGraphServer) -> None:
    thread = served.http.post("/threads", json={}, headers=as_user("ada")).json()["thread_id"]
    assert served.http.get(f"/threads/{thread}", headers=as_user("ada")).status_code == 200
    assert served.http.get(f"/threads/{thread}", headers=as_user("bob")).status_code == 404
    assert served.http.get(f"/threads/{thread}").status_code == 401
    body = {"assistant_id": "agent", "input": {"messages": []}, "command": {"update": {}}}
    assert served.http.post(f"/threads/{thread}/runs", json=body, headers=as_user("ada")).status_code == 403


def test_the_short_checkpointer_is_the_one_that_this_repository_serves() -> None:
    assert CHECKPOINTER.strip() in (ROOT / "graphs" / "checkpointer.py").read_text("utf-8")


def test_the_guide_has_no_block_that_is_not_tested() -> None:
    assert GUIDE.count("```") == 2 * 7
