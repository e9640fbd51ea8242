"""The raw SDK door on the real wire: the ``anthropic`` client, a local server that checks each request as the API does.

Every server here is strict: a request that changes tools, system or an earlier message is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest

from end_conversation_tool._core.records import Outcome, UnmetCode
from end_conversation_tool.anthropic_sdk import ConversationGuard, TurnOutcome
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from end_conversation_tool.testing import MessageReply, MessagesApiServer
from support.wire import ABUSE, LADDER, MODEL, called, end

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
    guard = ConversationGuard(registry=registry)
    messages: list[Any] = []
    with serving([*LADDER, [end()], [{"type": "text", "text": "Goodbye."}, end(), called("lookup")]]) as (
        server,
        client,
    ):
        server_side = server
        outcome = climb(guard, client, messages, ask)
        assert outcome.ended
        with pytest.raises(ThreadSealedError) as refusal:
            user_turn(guard, client, messages, "hello?", ask=ask)
    assert refusal.value.statement == outcome.statement != ""
    assert outcome.conversation_end == refusal.value.conversation_end
    assert [record.outcome for record in registry.decisions("c")] == [Outcome.AWAITING_CONFIRMATION, Outcome.SEALED]
    assert registry.decisions("c")[0].model == MODEL
    results = messages[-2]["content"]
    assert [block.get("is_error") for block in results] == [None, True]
    assert "was not run" in results[1]["content"]
    assert {request.path for request in server_side.requests} == {"/v1/messages"}


def test_the_transcript_of_an_ended_conversation_is_valid() -> None:
    guard = ConversationGuard(registry=InMemorySealRegistry())
    messages: list[Any] = []
    with serving([*LADDER, [end()], [end(), called("lookup")], "Fine."]) as (_, client):
        assert climb(guard, client, messages).ended
        messages.append({"role": "user", "content": "Sum it up."})
        fixed = {"tools": [LOOKUP, guard.tool], "system": guard.system("Be kind.")}
        assert create(client, messages, fixed).content[0].text == "Fine."  # the server would refuse a broken one


@each_way
def test_a_denied_end_goes_on_and_its_siblings_run(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry)
    messages: list[Any] = []
    with serving([[end(), called("lookup")], "It is 42."]) as (_, client):
        outcome = user_turn(guard, client, messages, "What is it?", ask=ask)
    assert not outcome.ended
    ours, theirs = messages[2]["content"]
    assert ours["is_error"]
    assert "no_warning" in ours["content"]
    assert theirs["content"] == "42"
    assert messages[-1]["content"][0]["text"] == "It is 42."
    assert not registry.status("c").sealed


@each_way
def test_malformed_arguments_are_a_denied_call(ask: Ask) -> None:
    registry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry)
    with serving([[end(input={"category": "boredom"})], "Fine."]) as (_, client):
        user_turn(guard, client, [], "hi", ask=ask)
    (record,) = registry.decisions("c")
    assert UnmetCode.INVALID_ARGUMENTS in record.decision.unmet
    assert record.category is None


def test_repeated_calls_in_one_turn_are_cut_off() -> None:
    registry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry)
    messages: list[Any] = []
    with serving([[end()], [end()], [end()], [end(), called("lookup")], "Fine."]) as (_, client):
        outcome = user_turn(guard, client, messages, "hi")
        assert not outcome.again
        assert messages[-1] == {"role": "assistant", "content": outcome.notice}
        assert outcome.notice
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
    guard = ConversationGuard(registry=InMemorySealRegistry())
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
    guard = ConversationGuard(registry=registry)
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


def test_evidence_survives_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/conversations.db"
    messages: list[Any] = []
    replies = [*LADDER, [end()], [end()]]
    with serving(replies) as (_, client):
        for text in ABUSE:
            with SqlSealRegistry(url) as registry:
                outcome = user_turn(ConversationGuard(registry=registry), client, messages, text)
        assert outcome.ended
    with SqlSealRegistry(url) as registry, pytest.raises(ThreadSealedError):
        ConversationGuard(registry=registry).conversation("c").before_request(messages)


def test_without_an_id_only_the_end_is_denied() -> None:
    guard = ConversationGuard(registry=InMemorySealRegistry())
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    with serving([[end()]]) as (_, client):
        turn = guard.conversation(None).before_request(messages)
        outcome = turn.after_response(create(client, messages, {"tools": [guard.tool]}))
    assert outcome.decision is not None
    assert UnmetCode.NO_THREAD_ID in outcome.decision.decision.unmet
    assert outcome.again


def test_a_user_who_asks_to_leave_confirms_first() -> None:
    registry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry)
    question = "Do you understand that ending this chat is permanent, and that it takes no further messages?"
    messages: list[Any] = []
    with serving([[end("user_request")], question, [end("user_request")]]) as (_, client):
        assert not user_turn(guard, client, messages, "Please end this conversation.").ended
        outcome = user_turn(guard, client, messages, "Yes.")
    assert outcome.ended
    assert outcome.conversation_end is not None
    assert outcome.conversation_end["category"] == "user_request"


async def test_async_twins(tmp_path: Path) -> None:
    async with SqlSealRegistry(f"sqlite:///{tmp_path}/c.db") as registry:
        guard = ConversationGuard(registry=registry)
        chat = guard.conversation("c")
        messages: list[Any] = []
        with MessagesApiServer([*LADDER, [end()], [end()]], strict_prefix=True) as server:
            async with anthropic.AsyncAnthropic(base_url=server.base_url, api_key="test") as client:
                for text in ABUSE:
                    messages.append({"role": "user", "content": text})
                    outcome = TurnOutcome(again=True)
                    while outcome.again:
                        turn = await chat.abefore_request(messages)
                        async with client.messages.stream(
                            model=MODEL, max_tokens=100, messages=messages, tools=[guard.tool], system=guard.system()
                        ) as opened:
                            outcome = await turn.aafter_response(await opened.get_final_message())
                        outcome.extend(messages)
            assert server.errors == []
        assert outcome.ended
        with pytest.raises(ThreadSealedError):
            await chat.abefore_request(messages)


def test_nothing_is_added_to_an_ordinary_conversation() -> None:
    registry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry)
    messages: list[Any] = []
    with serving(["Hello.", [called("lookup")], "It is 42."]) as (_, client):
        user_turn(guard, client, messages, "hi")
        user_turn(guard, client, messages, "what is it?")
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user", "assistant"]
    assert not registry.decisions("c")
    assert not registry.history("c")


def test_two_conversations_do_not_touch_each_other() -> None:
    registry: SealRegistry = InMemorySealRegistry()
    guard = ConversationGuard(registry=registry)
    mine: list[Any] = []
    with serving([*LADDER, [end()], [end()], "Hello."]) as (_, client):
        assert climb(guard, client, mine).ended
        assert not user_turn(guard, client, [], "good morning", name="other").ended
