"""The project's server on PostgreSQL, as several machines would share it."""

from __future__ import annotations

import json
from pathlib import Path

from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.registry import SqlSealRegistry
from support.langgraph_server import ROOT, running_server
from support.postgres import fresh_database, postgres_server

SAID = {"messages": [{"role": "user", "content": "Hello?"}]}


def test_a_thread_ends_and_stays_so(tmp_path: Path) -> None:
    config = json.loads((ROOT / "langgraph.json").read_text().replace("./", f"{ROOT}/"))
    with (
        postgres_server() as postgres,
        fresh_database(postgres) as url,
        running_server(tmp_path, config, END_CONVERSATION_REGISTRY=url) as server,
    ):
        thread = server.new_thread()
        server.say(thread, "Please end this chat.")
        before = server.client.threads.get_state(thread)["checkpoint"]
        assert server.say(thread, "Yes, end this chat.")["conversation_end"]["ended"]
        copied = server.http.post(f"/threads/{thread}/copy").json()["thread_id"]
        server.client.runs.delete(thread, server.client.runs.list(thread)[0]["run_id"])
        for sealed in (thread, copied):
            answer = server.http.post(f"/threads/{sealed}/runs", json={"assistant_id": "agent", "input": SAID})
            assert (answer.status_code, answer.json()["detail"]) == (423, Texts().statement(Category.USER_REQUEST))
        assert server.texts(copied)[4] == "Yes, end this chat."
        assert "conversation_end" not in server.say(thread, "No, let us go on.", checkpoint=before)
        with SqlSealRegistry(url, create=False) as registry:
            assert [branch.seal is not None for branch in registry.status(thread).branches] == [True, False]
            assert registry.status(copied).sealed
