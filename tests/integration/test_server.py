"""The guarded graph behind ``langgraph dev``: chats, an end, what comes after it, branches, and lost races."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langgraph_sdk.client import SyncLangGraphClient

from end_conversation_tool._core.records import Category, Outcome
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.registry import SqlSealRegistry
from support.langgraph_server import LangGraphServer

ASKS, CONFIRMS = "Please end this chat.", "Yes, end this chat."
STATEMENT = Texts().statement(Category.USER_REQUEST)
NOTICE = Texts().notice(Category.USER_REQUEST)
YES: Any = {"messages": [{"role": "user", "content": CONFIRMS}]}
MORE: Any = {"messages": [{"role": "user", "content": "And another thing."}]}


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    """Return status and detail of a call that the server refuses."""
    with pytest.raises(httpx.HTTPStatusError) as caught:
        call()
    return caught.value.response.status_code, caught.value.response.json()["detail"]


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


def test_an_ordinary_chat_never_notices(server: LangGraphServer, registry: SqlSealRegistry) -> None:
    thread_id = server.new_thread()
    server.say(thread_id, "Hello.")
    left = server.say(thread_id, "How are you?")
    assert [message["type"] for message in left["messages"]] == ["human", "ai", "human", "ai"]
    assert "conversation_end" not in left
    assert registry.status(thread_id).sequence == 0
    # A turn is an input checkpoint, one for the message and one for the model: the package adds none.
    assert len(server.client.threads.get_history(thread_id, limit=50)) == 6


INSULTS = ["you are an idiot", "you idiot", "shut up, you idiot", "you idiot, I said", "you stupid idiot"]


@pytest.mark.parametrize("graph", ["agent", "handwritten"])
def test_the_notice_comes_first_and_the_end_at_the_second_request(
    server: LangGraphServer, registry: SqlSealRegistry, graph: str
) -> None:
    """By the default policy, with the reader that needs no key; a loop of the SDK's own stream sees the last word."""
    thread_id = server.new_thread()
    for text in INSULTS[:3]:
        server.say(thread_id, text, graph=graph)
    left = [server.say(thread_id, text, graph=graph) for text in INSULTS[3:]]
    noticed, ended = (one["messages"][-1] for one in left)
    assert (noticed["type"], noticed["content"]) == ("ai", Texts().notice(Category.ABUSE))
    assert (ended["type"], ended["content"]) == ("ai", Texts().statement(Category.ABUSE))
    assert [bool(one.get("conversation_end")) for one in left] == [False, True]
    records = registry.decisions(thread_id)
    assert [record.outcome for record in records] == [Outcome.NOTICED, Outcome.SEALED]
    assert [record.turn for record in records] == [4, 5]
    calls = [call["id"] for message in left[1]["messages"] for call in message.get("tool_calls") or ()]
    results = [message["tool_call_id"] for message in left[1]["messages"] if message["type"] == "tool"]
    assert len(calls) == 2
    assert results == calls
    assert refusal(lambda: server.say(thread_id, "Hello?", graph=graph)) == (423, Texts().statement(Category.ABUSE))


def test_after_the_notice_a_chat_goes_on(server: LangGraphServer, registry: SqlSealRegistry) -> None:
    thread_id = server.new_thread()
    for text in INSULTS[:4]:
        server.say(thread_id, text)
    for text in ("I am sorry. What is the capital of France?", "Thank you."):
        assert server.say(thread_id, text)["messages"][-1]["type"] == "ai"
    assert [record.outcome for record in registry.decisions(thread_id)] == [Outcome.NOTICED]


def test_streams_show_the_last_word_and_nothing_private(server: LangGraphServer) -> None:
    thread_id = server.new_thread()
    given: Any = {"messages": [{"role": "user", "content": ASKS}]}
    modes: Any = ["values", "updates", "messages-tuple", "custom"]
    for words, closing in ((given, NOTICE), (YES, STATEMENT)):
        parts = list(server.client.runs.stream(thread_id, "agent", input=words, stream_mode=modes))
        shown = [part.data for part in parts if part.event.startswith("messages")]
        assert [message["content"] for message, _ in shown if message["type"] == "tool"] == []
        printed = "".join(
            message["content"] for message, metadata in shown if metadata.get("langgraph_node") == "model"
        )
        assert printed.endswith(closing)
        values: Any = [part.data for part in parts if part.event == "values"]
        assert values[-1]["messages"][-1]["content"] == closing
        seen = f"{[part.data for part in parts]}{server.client.threads.get_state(thread_id)['values']}"
        assert "end_conversation_provenance" not in seen
        assert "jump_to" not in seen
        assert "has been given notice" not in str(shown)


def test_an_end_is_final_and_says_so(server: LangGraphServer, registry: SqlSealRegistry, ended: str) -> None:
    seal = registry.status(ended).seal
    assert seal is not None
    assert seal.run_token, "the node did not know its run"
    state: Any = server.client.threads.get_state(ended)
    assert state["values"]["conversation_end"]["statement"] == STATEMENT
    assert state["next"] == []
    assert state["checkpoint"]["checkpoint_id"] > (seal.checkpoint_id or ""), "the run lost its last checkpoint"
    before = server.texts(ended)
    assert refusal(lambda: server.say(ended, "And another thing.")) == (423, STATEMENT)
    assert server.texts(ended) == before
    assert server.client.threads.get(ended)["status"] == "idle"


@pytest.mark.parametrize(
    "options", [{"interrupt_after": "*"}, {"durability": "exit"}, {"config": {"recursion_limit": 1}}]
)
def test_no_option_of_the_ending_run_undoes_the_end(server: LangGraphServer, asked: str, options: Any) -> None:
    body = {"assistant_id": "agent", "input": YES, **options}
    server.http.post(f"/threads/{asked}/runs/wait", json=body).raise_for_status()
    values: Any = server.client.threads.get_state(asked)["values"]
    assert values["conversation_end"]["statement"] == STATEMENT
    assert refusal(lambda: server.client.runs.wait(asked, "agent", input=None)) == (423, STATEMENT)


def test_other_threads_go_on(server: LangGraphServer, ended: str) -> None:
    other = server.new_thread()
    assert server.say(other, "Hello.")["messages"][-1]["type"] == "ai"
    assert server.texts(ended)[-1] == STATEMENT


Entry = Callable[[SyncLangGraphClient, str], Any]

ENTRIES: dict[str, Entry] = {
    "wait": lambda client, thread: client.runs.wait(thread, "agent", input=MORE),
    "background": lambda client, thread: client.runs.create(thread, "agent", input=MORE),
    "stream": lambda client, thread: list(client.runs.stream(thread, "agent", input=MORE)),
    "no input": lambda client, thread: client.runs.wait(thread, "agent", input=None),
    "delayed": lambda client, thread: client.runs.create(thread, "agent", input=MORE, after_seconds=1),
    "another graph": lambda client, thread: client.runs.wait(thread, "naive", input=MORE),
    "schedule": lambda client, thread: client.crons.create_for_thread(
        thread, "agent", schedule="0 0 1 1 *", input=MORE
    ),
    "state update": lambda client, thread: client.threads.update_state(thread, MORE),
    "state update as a node": lambda client, thread: client.threads.update_state(thread, MORE, as_node="model"),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_is_shut(server: LangGraphServer, long_ended: str, entry: Entry) -> None:
    before = server.texts(long_ended)
    assert refusal(lambda: entry(server.client, long_ended)) == (423, STATEMENT)
    assert server.texts(long_ended) == before


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_is_open_before_the_end(server: LangGraphServer, open_thread: str, entry: Entry) -> None:
    before = server.texts(open_thread)
    answer = entry(server.client, open_thread)
    if entry is ENTRIES["schedule"]:
        assert answer["cron_id"]
    elif entry is ENTRIES["no input"]:
        assert server.texts(open_thread)[:-1] == before, "what was open is answered"
    else:
        wait_for(lambda: "And another thing." in server.texts(open_thread)[len(before) :])


def test_resuming_is_refused_too(server: LangGraphServer, long_ended: str) -> None:
    answer = refusal(lambda: server.client.runs.wait(long_ended, "agent", command={"resume": "yes"}))
    assert answer == (423, STATEMENT)


def test_a_state_update_at_an_earlier_checkpoint_is_refused(server: LangGraphServer, long_ended: str) -> None:
    early: Any = server.client.threads.get_history(long_ended, limit=50)[-3]["checkpoint"]
    answer = refusal(lambda: server.client.threads.update_state(long_ended, MORE, checkpoint=early))
    assert answer == (423, STATEMENT)


def test_edit_and_retry_makes_a_recorded_branch(server: LangGraphServer, registry: SqlSealRegistry, asked: str) -> None:
    """What ``useStream`` does: submit with the checkpoint of an earlier message's parent."""
    early = server.client.threads.get_state(asked)["checkpoint"]
    server.say(asked, CONFIRMS)
    sealed_tip: Any = server.client.threads.get_state(asked)["checkpoint"]
    retried = server.say(asked, "No, let us go on.", checkpoint=early)
    assert [one["content"] for one in retried["messages"] if one["type"] == "human"] == [ASKS, "No, let us go on."]
    assert "conversation_end" not in retried
    status = registry.status(asked)
    assert [branch.seal is not None for branch in status.branches] == [True, False]
    assert status.branches[1].forked_from == early["checkpoint_id"]
    assert server.say(asked, "Hello.")["messages"][-1]["type"] == "ai"

    with pytest.raises(Exception, match="ThreadSealedError"):
        server.say(asked, "Back to the end.", checkpoint=sealed_tip)
    assert "Back to the end." not in server.texts(asked)

    server.say(asked, ASKS)
    assert server.say(asked, CONFIRMS)["conversation_end"]["ended"]
    assert [branch.seal is not None for branch in registry.status(asked).branches] == [True, True]
    assert refusal(lambda: server.say(asked, "Hello?")) == (423, STATEMENT)


def test_the_end_itself_cannot_be_retried(server: LangGraphServer, long_ended: str) -> None:
    tip: Any = server.client.threads.get_state(long_ended)["checkpoint"]
    assert refusal(lambda: server.say(long_ended, "Again.", checkpoint=tip)) == (423, STATEMENT)


def test_a_copy_is_as_sealed_as_its_source(
    server: LangGraphServer, registry: SqlSealRegistry, long_ended: str, open_thread: str
) -> None:
    copied, other = (copy_of(server, thread_id) for thread_id in (long_ended, open_thread))
    assert server.texts(copied) == server.texts(long_ended)
    assert registry.status(copied).sealed
    assert refusal(lambda: server.say(copied, "Hello?")) == (423, STATEMENT)
    assert server.texts(other) == server.texts(open_thread)
    assert server.say(other, "Hello?")["messages"][-1]["type"] == "ai"


def copy_of(server: LangGraphServer, thread_id: str) -> str:
    return str(server.http.post(f"/threads/{thread_id}/copy").raise_for_status().json()["thread_id"])


def test_a_deleted_thread_does_not_come_back_open(server: LangGraphServer, ended: str, open_thread: str) -> None:
    for thread_id in (ended, open_thread):
        server.client.threads.delete(thread_id)
        server.client.threads.create(thread_id=thread_id)
    assert refusal(lambda: server.say(ended, "Hello?")) == (423, STATEMENT)
    assert refusal(lambda: server.client.threads.update_state(ended, MORE)) == (423, STATEMENT)
    assert server.texts(ended) == []
    assert server.say(open_thread, "Hello?")["messages"][-1]["type"] == "ai"


def test_messages_queued_behind_the_end_are_not_kept(server: LangGraphServer, asked: str) -> None:
    """They were let in while the thread was open; the node and the saver refuse them."""
    server.client.runs.create(asked, "agent", input=YES)
    queued = server.client.runs.create(asked, "agent", input=MORE, multitask_strategy="enqueue")
    wait_for(lambda: server.client.runs.get(asked, queued["run_id"])["status"] == "error")
    assert "And another thing." not in server.texts(asked)
    assert server.client.threads.get_state(asked)["values"]["conversation_end"]["ended"]  # type: ignore[call-overload]


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_message_that_cancels_the_ending_run(server: LangGraphServer, asked: str, strategy: Any) -> None:
    """Either the end came first and the message is refused, or it never came and the chat goes on: never half."""
    server.client.runs.create(asked, "agent", input=YES)
    answer = server.http.post(
        f"/threads/{asked}/runs",
        json={"assistant_id": "agent", "input": MORE, "multitask_strategy": strategy},
    )
    assert answer.status_code in (200, 423)
    if answer.status_code == 200:
        wait_for(lambda: server.client.runs.get(asked, answer.json()["run_id"])["status"] in ("success", "error"))
    values: Any = server.client.threads.get_state(asked)["values"]
    kept = "And another thing." in server.texts(asked)
    assert kept != bool(values.get("conversation_end"))


def test_the_ending_run_can_be_deleted_and_the_thread_stays_sealed(server: LangGraphServer, ended: str) -> None:
    newest = server.client.runs.list(ended)[0]
    server.client.runs.delete(ended, newest["run_id"])
    assert CONFIRMS not in server.texts(ended)
    values: Any = server.client.threads.get_state(ended)["values"]
    assert values["conversation_end"]["statement"] == STATEMENT
    assert refusal(lambda: server.say(ended, "Hello?")) == (423, STATEMENT)


def test_a_schedule_ends_with_the_thread(server: LangGraphServer, registry: SqlSealRegistry, asked: str) -> None:
    """Its first run ends the chat; the next ones, a second apart, find it sealed."""
    cron: Any = server.client.crons.create_for_thread(asked, "agent", schedule="* * * * * *", input=YES)
    wait_for(lambda: registry.status(asked).sealed)
    wait_for(lambda: server.texts(asked)[-1:] == [STATEMENT])
    runs = len(server.client.runs.list(asked))
    time.sleep(3)
    server.client.crons.delete(cron["cron_id"])
    assert [text for text in server.texts(asked) if text in (ASKS, CONFIRMS, NOTICE, STATEMENT)] == [
        ASKS,
        NOTICE,
        CONFIRMS,
        STATEMENT,
    ]
    assert len(server.client.runs.list(asked)) == runs, "a sealed thread got another run"


def test_nothing_is_let_in_while_the_registry_cannot_be_read(server: LangGraphServer, open_thread: str) -> None:
    database = server.folder / "threads.db"
    away = database.rename(server.folder / "away.db")
    try:
        status, detail = refusal(lambda: server.say(open_thread, "Hello?"))
        update, _ = refusal(lambda: server.client.threads.update_state(open_thread, MORE))
    finally:
        away.rename(database)
    assert (status, update) == (503, 503)
    assert "cannot be checked" in detail
    assert server.say(open_thread, "Hello again.")["messages"][-1]["type"] == "ai"
