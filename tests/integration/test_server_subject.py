"""Whose run it is, on a server with auth handlers of its own: the server says so, and the registry has it."""

from __future__ import annotations

import json
from pathlib import Path

from end_conversation_tool.registry import SqlSealRegistry
from support.langgraph_server import ROOT, running_server

AUTH = """
from langgraph_sdk import Auth

from end_conversation_tool.server import ServerGuard
from end_conversation_tool.server_storage import registry_from_environment

auth = Auth()
guard = ServerGuard(registry_from_environment(), subject=lambda user: f"pseudonym-of-{user.identity}")


@auth.authenticate
async def authenticate(headers: dict) -> str:
    return headers[b"x-user"].decode()


@auth.on
async def check(ctx, value) -> None:
    await guard.check(ctx, value)
"""
RISK = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "I want to kill myself."}]}}
KIM = {"x-user": "kim"}


def test_a_run_is_its_users_whatever_a_client_claims(tmp_path: Path) -> None:
    (tmp_path / "own_auth.py").write_text(AUTH)
    config = json.loads((ROOT / "langgraph.json").read_text().replace("./", f"{ROOT}/"))
    config["auth"]["path"] = "./own_auth.py:auth"
    url = f"sqlite:///{tmp_path}/threads.db"
    with running_server(tmp_path, config, END_CONVERSATION_REGISTRY=url) as server:
        thread = server.http.post("/threads", json={}, headers=KIM).json()["thread_id"]
        runs = f"/threads/{thread}/runs/wait"
        claimed = {**RISK, "context": {"end_conversation_subject": "pseudonym-of-lee"}}
        assert server.http.post(runs, json=claimed, headers=KIM).status_code == 403
        assert server.http.post(runs, json=RISK, headers=KIM).status_code == 200
        with SqlSealRegistry(url, create=False) as registry:
            assert [one.what for one in registry.subject_history("pseudonym-of-kim")] == ["risk_raised"]
            assert registry.subject_history("pseudonym-of-lee") == ()
