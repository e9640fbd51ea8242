"""What a hostile client of ``langgraph dev`` can send: it works on an unguarded server, and not on the guarded one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langgraph_sdk.client import SyncLangGraphClient

from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.registry import SqlSealRegistry
from support.langgraph_server import LangGraphServer

STATEMENT = Texts().statement(Category.USER_REQUEST)
MORE: Any = {"messages": [{"role": "user", "content": "And another thing."}]}
FORGED_STATE: Any = {**MORE, "conversation_end": None}

Attack = Callable[[SyncLangGraphClient, str, str], Any]
"""Is given the client, the thread and the name of the graph; leaves the thread open to a plain message, or answered."""


def command(**fields: Any) -> Attack:
    given: Any = fields
    return lambda client, thread, graph: client.runs.wait(thread, graph, command=given)


def state_update(**options: Any) -> Attack:
    return lambda client, thread, _: client.threads.update_state(thread, FORGED_STATE, **options)


def forged_input(client: SyncLangGraphClient, thread: str, graph: str) -> None:
    client.runs.wait(thread, graph, input=FORGED_STATE)


def state_update_at_the_beginning(client: SyncLangGraphClient, thread: str, graph: str) -> None:
    early: Any = client.threads.get_history(thread, limit=50)[-1]["checkpoint"]
    client.threads.update_state(thread, MORE, checkpoint=early, as_node="__start__")
    client.runs.wait(thread, graph, input=None)


ATTACKS: dict[str, Attack] = {
    "command update": command(update=FORGED_STATE),
    "command goto": command(goto="model"),
    "command goto and update": command(goto="model", update=MORE),
    "send with forged state": command(goto={"node": "model", "input": FORGED_STATE}),
    "state update": state_update(),
    "state update as a node": state_update(as_node="model"),
    "forged channel in the input": forged_input,
    "state update at the beginning": state_update_at_the_beginning,
}


def ended_naively(client: SyncLangGraphClient) -> str:
    """Return a thread as the run that ends it leaves it, but without waiting for one."""
    said = {"messages": [{"role": "user", "content": "end"}]}
    left = {"messages": [{"role": "ai", "content": "Ended."}], "conversation_end": {"ended": True}}
    written = {"__start__": said, "model": left}
    steps: Any = [{"updates": [{"values": values, "as_node": node}]} for node, values in written.items()]
    return str(client.threads.create(graph_id="naive", supersteps=steps)["thread_id"])


def test_a_naive_end_holds_a_plain_message(unguarded: LangGraphServer) -> None:
    thread = unguarded.new_thread()
    unguarded.say(thread, "end", graph="naive")
    for ended in (thread, ended_naively(unguarded.client)):
        unguarded.say(ended, "Hello?", graph="naive")
        assert unguarded.texts(ended)[-2:] == ["Ended.", "Hello?"]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_it_works_on_an_unguarded_server(unguarded: LangGraphServer, attack: Attack) -> None:
    thread = ended_naively(unguarded.client)
    attack(unguarded.client, thread, "naive")
    if not any(text.startswith("You said") for text in unguarded.texts(thread)):
        unguarded.say(thread, "Hello again?", graph="naive")
    assert any(text.startswith("You said") for text in unguarded.texts(thread))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_it_is_refused_by_the_guarded_server(server: LangGraphServer, long_ended: str, attack: Attack) -> None:
    before = server.client.threads.get_history(long_ended, limit=50)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        attack(server.client, long_ended, "agent")
    assert caught.value.response.status_code in (403, 423)
    assert server.client.threads.get_history(long_ended, limit=50) == before


FORGERIES: dict[str, dict[str, Any]] = {
    "command.update": {"command": {"update": {}}},
    "command.goto": {"command": {"goto": []}},
    "input.conversation_end": {"input": {"conversation_end": {"ended": False}}},
    "input.end_conversation_provenance": {"input": {"end_conversation_provenance": {}}},
    "input.__start__": {"input": {"__start__": {}}},
    "input.messages.__overwrite__": {"input": {"messages": {"__overwrite__": []}}},
    "config.configurable.__pregel_checkpointer": {"config": {"configurable": {"__pregel_checkpointer": None}}},
    "config.configurable.__pregel_end_conversation_fence": {
        "checkpoint": {"checkpoint_ns": "", "__pregel_end_conversation_fence": "0:0:x:"}
    },
    "config.configurable.end_conversation_branch": {"context": {"end_conversation_branch": 1}},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_runs_are_refused_on_open_threads_too(server: LangGraphServer, name: str) -> None:
    thread = server.new_thread()
    body = {"assistant_id": "agent", "input": MORE, **FORGERIES[name]}
    answer = server.http.post(f"/threads/{thread}/runs/wait", json=body)
    assert answer.status_code == 403
    assert name in answer.json()["detail"]
    assert server.client.runs.list(thread) == []


def test_forged_config_cannot_be_stored_for_later(server: LangGraphServer, open_thread: str) -> None:
    forged: Any = {"configurable": {"__pregel_checkpointer": None}}
    calls: dict[str, Callable[[], Any]] = {
        "assistant": lambda: server.client.assistants.create("agent", config=forged),
        "assistant's context": lambda: server.client.assistants.create("agent", context=forged["configurable"]),
        "schedule": lambda: server.client.crons.create("agent", schedule="0 0 1 1 *", config=forged),
        "thread's schedule": lambda: server.client.crons.create_for_thread(
            open_thread, "agent", schedule="0 0 1 1 *", config=forged
        ),
    }
    for name, call in calls.items():
        with pytest.raises(httpx.HTTPStatusError) as caught:
            call()
        assert caught.value.response.status_code == 403, name


def test_a_schedule_cannot_be_changed_into_a_forged_one(server: LangGraphServer) -> None:
    cron: Any = server.client.crons.create("agent", schedule="0 0 1 1 *", input=MORE)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        server.client.crons.update(cron["cron_id"], input=FORGED_STATE)
    server.client.crons.delete(cron["cron_id"])
    assert caught.value.response.status_code == 403


def test_another_thread_id_in_the_config_leads_nowhere(server: LangGraphServer, long_ended: str) -> None:
    before = server.texts(long_ended)
    config: Any = {"configurable": {"thread_id": long_ended}}
    other = server.new_thread()
    server.say(other, "Hello.", config=config)
    server.client.runs.wait(None, "agent", input=MORE, config=config)
    assert len(server.texts(other)) == 2
    assert server.texts(long_ended) == before


def test_supersteps_are_not_written(server: LangGraphServer, long_ended: str, open_thread: str) -> None:
    def superstep(thread: str) -> httpx.Response:
        updates = [{"values": MORE, "as_node": "model"}]
        body = {"thread_id": thread, "if_exists": "do_nothing", "supersteps": [{"updates": updates}]}
        return server.http.post("/threads", json=body)

    before = server.texts(long_ended)
    assert STATEMENT in superstep(long_ended).json()["detail"]
    assert server.texts(long_ended) == before
    assert superstep(open_thread).is_success
    assert server.texts(open_thread)[-1] == "And another thing."


def test_commands_of_the_event_stream(server: LangGraphServer, long_ended: str, open_thread: str) -> None:
    def start(thread: str) -> Any:
        body = {"id": 1, "method": "run.start", "params": {"assistant_id": "agent", "input": MORE}}
        return server.http.post(f"/threads/{thread}/commands", json=body).json()

    runs = server.client.runs.list(long_ended)
    refused = start(long_ended)
    assert refused["type"] == "error"
    assert STATEMENT in refused["message"]
    assert server.client.runs.list(long_ended) == runs
    assert start(open_thread)["type"] == "success"


def test_a2a(server: LangGraphServer, long_ended: str, open_thread: str) -> None:
    assistant = server.client.assistants.search(graph_id="agent")[0]["assistant_id"]

    def send(thread: str) -> Any:
        message = {"role": "user", "parts": [{"kind": "text", "text": "Hello?"}], "messageId": "m", "contextId": thread}
        body = {"jsonrpc": "2.0", "id": "1", "method": "message/send", "params": {"message": message}}
        return server.http.post(f"/a2a/{assistant}", json=body, headers={"accept": "application/json"}).json()

    before = server.texts(long_ended)
    assert STATEMENT in send(long_ended)["error"]["message"]
    assert server.texts(long_ended) == before
    assert send(open_thread)["result"]["contextId"] == open_thread


def test_mcp_has_no_way_to_name_a_thread(server: LangGraphServer, long_ended: str) -> None:
    def call(arguments: dict[str, Any], **params: Any) -> Any:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "agent", "arguments": arguments, **params},
        }
        accepted = {"accept": "application/json, text/event-stream"}
        return server.http.post("/mcp", json=body, headers=accepted)

    before = server.texts(long_ended)
    answered = call({**MORE, "thread_id": long_ended}, context={"thread_id": long_ended}).json()
    assert "scripted model" in answered["result"]["content"][0]["text"]
    assert server.texts(long_ended) == before
    forged = call(FORGED_STATE)
    assert forged.status_code == 500
    assert "scripted model" not in forged.text


def test_studio_is_no_exception(server: LangGraphServer, long_ended: str) -> None:
    body = {"assistant_id": "agent", "input": MORE}
    answer = server.http.post(f"/threads/{long_ended}/runs/wait", json=body, headers={"x-auth-scheme": "langsmith"})
    assert (answer.status_code, answer.json()["detail"]) == (423, STATEMENT)


def test_store_and_metadata_are_not_believed(
    server: LangGraphServer, registry: SqlSealRegistry, long_ended: str
) -> None:
    server.client.store.put_item(["end_conversation", long_ended], "seal", {"sealed": False})
    server.client.threads.update(long_ended, metadata={"conversation_end": None, "graph_id": "naive"})
    assert registry.status(long_ended).sealed
    with pytest.raises(httpx.HTTPStatusError, match="423"):
        server.say(long_ended, "Hello?")
    server.client.threads.update(long_ended, metadata={"graph_id": "agent"})


def test_no_answer_tells_the_token_of_a_run(server: LangGraphServer, registry: SqlSealRegistry, asked: str) -> None:
    """Who holds the token of the run that sealed could write to the sealed thread."""
    modes: Any = ["values", "updates", "messages", "custom", "debug", "checkpoints", "tasks", "events"]
    yes: Any = {"messages": [{"role": "user", "content": "Yes, end this chat."}]}
    seen = [str(part) for part in server.client.runs.stream(asked, "agent", input=yes, stream_mode=modes)]
    seen += [server.http.get(f"/threads/{asked}{path}").text for path in ("", "/state", "/history", "/runs")]
    seal = registry.status(asked).seal
    assert seal is not None
    assert seal.run_token
    assert len(seen) > len(modes)
    assert not [text for text in seen if seal.run_token in text]
