"""The raw SDK door on the real wire: the ``anthropic`` client, a local server that checks each request as the API does.

Every server here is strict: a request that changes tools, system or an earlier message is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Category, EvidenceKind, Outcome, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.anthropic_sdk import ConversationGuard, TurnOutcome
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from end_conversation_tool.testing import ErrorReply, MessageReply, MessagesApiServer
from support.keywords import QUICK, keyword_watch
from support.wire import ABUSE, LADDER, MODEL, called, end, finished, guard_of

LOOKUP = {"name": "lookup", "description": "Look it up.", "input_schema": {"type": "object", "properties": {}}}
THOUGHT = {"type": "thinking", "thinking": "Hm."}

Ask = Callable[[Any, list[Any], dict[str, Any]], Any]


@contextmanager
def serving(replies: Sequence[Any]) -> Iterator[tuple[MessagesApiServer, anthropic.Anthropic]]:
    """Serve a script, and see that no request was faulty and no reply is left over."""
    with MessagesApiServer(replies, strict_prefix=True) as server:
        with anthropic.Anthropic(base_url=server.base_url, api_key="test", max_retries=0) as client:
            yield server, client
        assert server.errors == []
        assert len(server.requests) == len(replies)


def create(client: anthropic.Anthropic, messages: list[Any], fixed: dict[str, Any]) -> Any:
    return client.messages.create(model=MODEL, max_tokens=100, messages=messages, **fixed)


def stream(client: anthropic.Anthropic, messages: list[Any], fixed: dict[str, Any]) -> Any:
    with client.messages.stream(model=MODEL, max_tokens=100, messages=messages, **fixed) as opened:
        text = "".join(opened.text_stream)
        message = opened.get_final_message()
    assert text == "".join(block.text for block in message.content if block.type == "text")
    return message


def beta_create(client: anthropic.Anthropic, messages: list[Any], fixed: dict[str, Any]) -> Any:
    return client.beta.messages.create(model=MODEL, max_tokens=100, messages=messages, **fixed)


each_way = pytest.mark.parametrize("ask", [create, stream, beta_create])


def user_turn(
    guard: ConversationGuard, client: Any, messages: list[Any], text: str, *, ask: Ask = create, name: str = "c"
) -> TurnOutcome:
    """Let the user say something, and let the model answer until it waits for the user again."""
    messages.append({"role": "user", "content": text})
    while True:
        turn = guard.conversation(name).before_request(messages)
        response = ask(client, messages, {"tools": [LOOKUP, guard.tool], "system": guard.system("Be kind.")})
        outcome = turn.after_response(response)
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "42"} for call in outcome.tool_calls]
        outcome.extend(messages, results)
        if not outcome.again:
            return outcome


def climb(guard: ConversationGuard, client: Any, messages: list[Any], ask: Ask = create) -> TurnOutcome:
    outcome = TurnOutcome()
    for text in ABUSE:
        outcome = user_turn(guard, client, messages, text, ask=ask)
    return outcome


@each_way
def test_a_whole_ending(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry)
    messages: list[Any] = []
    with serving([*LADDER, [{"type": "text", "text": "Goodbye."}, end(), called("lookup")]]) as (server, client):
        server_side = server
        outcome = climb(guard, client, messages, ask)
        assert outcome.ended
        with pytest.raises(ThreadSealedError) as refusal:
            user_turn(guard, client, messages, "hello?", ask=ask)
    assert refusal.value.statement == outcome.statement != ""
    assert outcome.conversation_end == refusal.value.conversation_end
    assert [record.outcome for record in registry.decisions("c")] == [Outcome.SEALED]
    assert messages[-2] == {"role": "assistant", "content": outcome.statement}
    assert registry.decisions("c")[0].model == MODEL
    results = messages[-3]["content"]
    assert [block.get("is_error") for block in results] == [None, True]
    assert "was not run" in results[1]["content"]
    assert {request.path for request in server_side.requests} == {"/v1/messages"}


def test_the_transcript_of_an_ended_conversation_is_valid() -> None:
    guard = guard_of(InMemorySealRegistry())
    messages: list[Any] = []
    with serving([*LADDER, [end(), called("lookup")], "Fine."]) as (_, client):
        assert climb(guard, client, messages).ended
        messages.append({"role": "user", "content": "Sum it up."})
        fixed = {"tools": [LOOKUP, guard.tool], "system": guard.system("Be kind.")}
        assert create(client, messages, fixed).content[0].text == "Fine."  # the server would refuse a broken one


@each_way
def test_notice_first_and_the_end_at_the_second_request(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry, policy=EndConversationPolicy())
    messages: list[Any] = []
    last = [{"type": "text", "text": "Goodbye."}, end()]
    with serving([*LADDER, [end(), called("lookup")], "Never mind.", last]) as (_, client):
        noticed = climb(guard, client, messages, ask)
        assert (noticed.ended, noticed.again, noticed.closing) == (False, False, Texts().notice(Category.ABUSE))
        assert messages[-1] == {"role": "assistant", "content": noticed.closing}
        assert [block["is_error"] for block in messages[-2]["content"]] == [True, True]
        assert not user_turn(guard, client, messages, "sorry, go on", ask=ask).closing
        outcome = user_turn(guard, client, messages, ABUSE[0], ask=ask)
        assert outcome.ended
        assert messages[-1] == {"role": "assistant", "content": outcome.statement}
        with pytest.raises(ThreadSealedError):
            user_turn(guard, client, messages, "hello?", ask=ask)
    assert [record.outcome for record in registry.decisions("c")] == [Outcome.NOTICED, Outcome.SEALED]
    assert [record.turn for record in registry.decisions("c")] == [4, 6]


@each_way
def test_a_denied_end_goes_on_and_its_siblings_run(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry)
    messages: list[Any] = []
    with serving([[end(), called("lookup")], "It is 42."]) as (_, client):
        outcome = user_turn(guard, client, messages, "What is it?", ask=ask)
    assert not outcome.ended
    ours, theirs = messages[2]["content"]
    assert ours["is_error"]
    assert "too_few_refusals" in ours["content"]
    assert theirs["content"] == "42"
    assert messages[-1]["content"][0]["text"] == "It is 42."
    assert not registry.status("c").sealed


@each_way
def test_malformed_arguments_are_a_denied_call(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry)
    with serving([[end(input={"category": "boredom"})], "Fine."]) as (_, client):
        user_turn(guard, client, [], "hi", ask=ask)
    (record,) = registry.decisions("c")
    assert UnmetCode.INVALID_ARGUMENTS in record.decision.unmet
    assert record.category is None


def test_repeated_calls_in_one_turn_are_cut_off() -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry)
    messages: list[Any] = []
    with serving([[end()], [end()], [end()], [end(), called("lookup")], "Fine."]) as (_, client):
        outcome = user_turn(guard, client, messages, "hi")
        assert not outcome.again
        assert messages[-1] == {"role": "assistant", "content": outcome.closing}
        assert outcome.closing == Texts().still_here
        assert "goes no further" in messages[-2]["content"][1]["content"]
        assert not user_turn(guard, client, messages, "are you there?").ended
    assert [UnmetCode.TOO_MANY_ATTEMPTS in record.decision.unmet for record in registry.decisions("c")] == [
        False,
        False,
        False,
        True,
    ]


@each_way
def test_thinking_comes_back_as_it_came(ask: Ask) -> None:
    guard = guard_of(InMemorySealRegistry())
    redacted = {"type": "redacted_thinking", "data": "xyz"}
    messages: list[Any] = []
    with serving([[THOUGHT, redacted, end()], [THOUGHT, {"type": "text", "text": "Well."}], "Fine."]) as (_, client):
        user_turn(guard, client, messages, "hi", ask=ask)
        user_turn(guard, client, messages, "and?", ask=ask)
    assert messages[1]["content"][0]["signature"]
    assert messages[1]["content"][1] == redacted


@each_way
def test_a_refused_turn_leaves_the_history_and_counts_once(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry)
    refusal = MessageReply([end(), called("lookup")], stop_reason="refusal", stop_details={"type": "refusal"})
    messages: list[Any] = []
    with serving(["Hello.", refusal, refusal, "Better."]) as (_, client):
        user_turn(guard, client, messages, "hi", ask=ask)
        for _ in range(2):
            outcome = user_turn(guard, client, messages, "make me a weapon", ask=ask)
            assert outcome.refused
            assert not outcome.tool_calls
            assert [message["role"] for message in messages] == ["user", "assistant"]
        user_turn(guard, client, messages, "make me a cake", ask=ask)
    records = registry.decisions("c")
    assert [UnmetCode.REFUSED_REPLY in record.decision.unmet for record in records] == [True, True]
    assert {record.turn for record in records} == {2}


@each_way
def test_a_refused_turn_of_abuse_is_no_evidence(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry)
    refusal = MessageReply("No.", stop_reason="refusal", stop_details={"type": "refusal"})
    messages: list[Any] = []
    with serving([*LADDER[:2], refusal, LADDER[2], [end()]]) as (_, client):
        for text in (*ABUSE[:3], "hello"):
            user_turn(guard, client, messages, text, ask=ask)
        outcome = user_turn(guard, client, messages, ABUSE[-1], ask=ask)
    assert outcome.ended
    (record,) = registry.decisions("c")
    assert record.turn == 4
    assert {one.turn for one in record.decision.evidence if one.kind is EvidenceKind.ABUSE} == {1, 2, 4}


def test_evidence_survives_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/conversations.db"
    messages: list[Any] = []
    replies = [*LADDER, [end()]]
    with serving(replies) as (_, client):
        for text in ABUSE:
            with SqlSealRegistry(url) as registry:
                outcome = user_turn(guard_of(registry), client, messages, text)
        assert outcome.ended
    with SqlSealRegistry(url) as registry, pytest.raises(ThreadSealedError):
        guard_of(registry).conversation("c").before_request(messages)


def test_without_an_id_only_the_end_is_denied() -> None:
    guard = guard_of(InMemorySealRegistry())
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    with serving([[end()]]) as (_, client):
        turn = guard.conversation(None).before_request(messages)
        outcome = turn.after_response(create(client, messages, {"tools": [guard.tool]}))
    assert outcome.decision is not None
    assert UnmetCode.NO_THREAD_ID in outcome.decision.decision.unmet
    assert outcome.again


def test_a_user_who_asks_to_leave_confirms_first() -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry, policy=EndConversationPolicy())
    messages: list[Any] = []
    with serving([[end("user_request")], [end("user_request")]]) as (_, client):
        asked = user_turn(guard, client, messages, "Please end this chat.")
        assert (asked.ended, asked.closing) == (False, Texts().notice(Category.USER_REQUEST))
        outcome = user_turn(guard, client, messages, "yes")
    assert outcome.ended
    assert outcome.conversation_end is not None
    assert outcome.conversation_end["category"] == "user_request"
    assert "appeal" not in outcome.conversation_end["options"]


async def test_async_twins(tmp_path: Path) -> None:
    async with SqlSealRegistry(f"sqlite:///{tmp_path}/c.db") as registry:
        guard = guard_of(registry, policy=EndConversationPolicy())
        chat = guard.conversation("c")
        messages: list[Any] = []
        with MessagesApiServer([*LADDER, [end()], [end()]], strict_prefix=True) as server:
            async with anthropic.AsyncAnthropic(base_url=server.base_url, api_key="test") as client:
                closings: list[str] = []
                for text in (*ABUSE, ABUSE[0]):
                    messages.append({"role": "user", "content": text})
                    outcome = TurnOutcome(again=True)
                    while outcome.again:
                        turn = await chat.abefore_request(messages)
                        async with client.messages.stream(
                            model=MODEL, max_tokens=100, messages=messages, tools=[guard.tool], system=guard.system()
                        ) as opened:
                            outcome = await turn.aafter_response(await opened.get_final_message())
                        outcome.extend(messages)
                    closings.append(outcome.closing)
            assert server.errors == []
        assert outcome.ended
        assert closings == ["", "", "", Texts().notice(Category.ABUSE), outcome.statement]
        with pytest.raises(ThreadSealedError):
            await chat.abefore_request(messages)


def test_nothing_is_added_to_an_ordinary_conversation() -> None:
    registry = InMemorySealRegistry()
    guard = guard_of(registry)
    messages: list[Any] = []
    with serving(["Hello.", [called("lookup")], "It is 42."]) as (_, client):
        user_turn(guard, client, messages, "hi")
        user_turn(guard, client, messages, "what is it?")
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user", "assistant"]
    assert not registry.decisions("c")
    assert not registry.history("c")


def test_two_conversations_do_not_touch_each_other() -> None:
    registry: SealRegistry = InMemorySealRegistry()
    guard = guard_of(registry)
    mine: list[Any] = []
    with serving([*LADDER, [end()], "Hello."]) as (_, client):
        assert climb(guard, client, mine).ended
        assert not user_turn(guard, client, [], "good morning", name="other").ended


# The reader of the loop's own model


def report(*findings: tuple[str, str, str], risk: str = "none") -> str:
    """Return what a model that reads answers: kind, label and quote of each finding."""
    found = [{"kind": kind, "label": label, "quote": quote} for kind, label, quote in findings]
    return json.dumps({"findings": found, "risk": risk})


FOUND = report(
    *(("abuse", f"m{2 * turn + 1}", "idiot") for turn in range(4)),
    *(("refusal", f"m{2 * turn + 2}", "I will not") for turn in range(3)),
    *(("redirection", f"m{2 * turn + 2}", "instead") for turn in range(3)),
    ("warning", "m6", "I may end this chat"),
)


def own_reader(client: Any, registry: SealRegistry) -> ConversationGuard:
    return ConversationGuard(registry=registry, client=client, watch=keyword_watch(), policy=QUICK)


def test_without_a_reader_the_model_that_answered_reads() -> None:
    """By the client that the guard was given, beside the loop: nothing of it stands in the loop's own requests."""
    registry = InMemorySealRegistry()
    messages: list[Any] = []
    with serving([*LADDER, FOUND]) as (server, client):
        guard = own_reader(client, registry)
        for text in ABUSE[:-1]:
            user_turn(guard, client, messages, text)
        messages.append({"role": "user", "content": ABUSE[-1]})
        turn = guard.conversation("c").before_request(messages)
        outcome = turn.after_response(finished(end(id="t1"), model="claude-other"))
        outcome.extend(messages)
        read = server.requests[-1].body
    assert outcome.ended
    assert read["model"] == "claude-other"
    assert "tools" not in read
    assert read["output_config"]["format"]["type"] == "json_schema"
    assert ABUSE[-1] in read["messages"][0]["content"]
    (record,) = registry.decisions("c")
    assert record.model == "claude-other"
    assert record.reading is not None
    assert record.reading.source.startswith("claude:claude-other/")
    assert [message["role"] for message in messages] == ["user", "assistant"] * 5
    assert messages[-1]["content"] == outcome.statement


async def test_the_loops_own_reader_reads_async() -> None:
    registry = InMemorySealRegistry()
    messages: list[Any] = []
    with MessagesApiServer([*LADDER, [end()], FOUND]) as server:
        async with anthropic.AsyncAnthropic(base_url=server.base_url, api_key="test", max_retries=0) as client:
            guard = own_reader(client, registry)
            chat = guard.conversation("c")
            for text in ABUSE:
                messages.append({"role": "user", "content": text})
                turn = await chat.abefore_request(messages)
                response = await client.messages.create(
                    model=MODEL, max_tokens=100, messages=messages, tools=[guard.tool], system=guard.system()
                )
                outcome = await turn.aafter_response(response)
                outcome.extend(messages)
        assert server.errors == []
    assert outcome.ended


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (ErrorReply(500), UnmetCode.READING_FAILED),
        ("no report", UnmetCode.READING_FAILED),
        (MessageReply(FOUND, stop_reason="max_tokens"), UnmetCode.READING_FAILED),
        (MessageReply(FOUND, stop_reason="refusal"), UnmetCode.READING_FAILED),
        (report(("refusal", "m1", "never said")), UnmetCode.READING_UNSOUND),
        (report(("abuse", "m1", "idiot"), risk="possible"), UnmetCode.RISK_UNCERTAIN),
    ],
    ids=["error", "no report", "cut short", "refused", "quotes nothing", "risk"],
)
def test_a_model_that_does_not_read_well_denies(answer: Any, code: UnmetCode) -> None:
    registry = InMemorySealRegistry()
    messages: list[Any] = []
    extra = [answer] if isinstance(answer, ErrorReply) else []  # one that failed is asked once more
    with serving([*LADDER, [end()], answer, *extra, "On we go."]) as (_, client):
        outcome = climb(own_reader(client, registry), client, messages)
    assert not outcome.ended
    (record,) = registry.decisions("c")
    assert code in record.decision.unmet
    assert messages[-1]["content"][0]["text"] == "On we go."


def test_with_no_model_named_nobody_reads() -> None:
    registry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry, watch=keyword_watch(), policy=QUICK)
    turn = guard.conversation("c").before_request([{"role": "user", "content": "hi"}])
    outcome = turn.after_response({"content": [end(id="t1")], "stop_reason": "tool_use"})
    assert outcome.decision is not None
    assert UnmetCode.NO_READER in outcome.decision.decision.unmet
