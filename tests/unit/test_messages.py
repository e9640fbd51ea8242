"""From LangChain's messages to what the gate understands, and back."""

from __future__ import annotations

from typing import Any

import pytest
from end_conversation_tool._core.ledger import Ledger, text_digest
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    ChatMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call

from end_conversation_tool._core.records import Outcome, Seal, utc_now
from end_conversation_tool._core.run import Ruling
from end_conversation_tool._doors.langgraph.messages import (
    new_user_messages,
    reply_of,
    text_of,
    tool_results,
    user_messages,
    with_id,
)
from end_conversation_tool.testing import end_call, in_one_message, refusal, tool_call
from support.records import denial, permit


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hello", "hello"),
        ("", ""),
        ([], ""),
        (["a", "b"], "a\nb"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}], "a\nb"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
        ([{"text": "untyped"}], "untyped"),
        ([{"type": "text"}], ""),
        ([{"type": "text", "text": None}], ""),
        ([{"type": "text", "text": ["nested"]}], ""),
        ([{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "a"}], "a"),
        ([{"type": "tool_use", "id": "t", "name": "x", "input": {"text": "b"}}], ""),
        ([{"type": "thinking", "thinking": "b"}], ""),
        ([{"type": ["odd"], "text": "b"}], ""),
        ([None, 5, b"bytes", ["list"]], ""),
        (({"type": "text", "text": "a"}, "b"), "a\nb"),
        ({"type": "text", "text": "a"}, ""),
        (b"bytes", ""),
        (None, ""),
        (5, ""),
    ],
)
def test_text_of_every_shape_of_content(content: Any, text: str) -> None:
    assert text_of(content) == text


def test_user_messages_are_all_that_users_say() -> None:
    messages: list[AnyMessage] = [
        SystemMessage("s"),
        HumanMessage("one", id="1"),
        AIMessage("a"),
        ToolMessage("t", tool_call_id="c"),
        HumanMessageChunk(content="two", id="2"),
        ChatMessage(content="three", role="user", id="3"),
        ChatMessage(content="four", role="Human", id="4"),
        ChatMessage(content="five", role="speaker", id="5"),
        *(
            ChatMessage(content="x", role=role)
            for role in ("assistant", "ai", "system", "developer", "tool", "function")
        ),
        HumanMessage("six"),
    ]
    seen = [(message.role, message.text, message.message_id) for message in user_messages(messages)]
    assert seen == [
        ("user", "one", "1"),
        ("user", "two", "2"),
        ("user", "three", "3"),
        ("user", "four", "4"),
        ("user", "five", "5"),
        ("user", "six", ""),
    ]


def ledger_that_saw(message_id: str, text: str) -> Ledger:
    return Ledger().begin_turn(message_id, text_digest(text))


THREAD: list[AnyMessage] = [
    HumanMessage("one", id="1"),
    AIMessage("a", id="a"),
    HumanMessage("two", id="2"),
    HumanMessage("three", id="3"),
    AIMessage("b", id="b"),
]


LAST: list[AnyMessage] = [*THREAD, HumanMessage("four", id="4"), HumanMessage("five", id="5")]


@pytest.mark.parametrize(
    ("messages", "ledger", "ids", "evidence"),
    [
        (LAST, ledger_that_saw("3", "three"), "45", "45"),
        (LAST, ledger_that_saw("4", "four"), "5", "5"),
        (LAST, ledger_that_saw("5", "five"), "", ""),
        (LAST, ledger_that_saw("5", "edited"), "12345", "45"),  # the newest one was edited in place
        (THREAD, ledger_that_saw("3", "edited"), "123", "3"),
        (LAST, ledger_that_saw("gone", "gone"), "12345", "45"),  # the one that was seen is no longer there
        (THREAD, ledger_that_saw("gone", "gone"), "123", ""),
        (LAST, Ledger(), "12345", "45"),  # what was said before this package was there
        (THREAD, ledger_that_saw("1", "one"), "23", ""),  # answered without us
    ],
)
def test_new_user_messages(messages: list[AnyMessage], ledger: Ledger, ids: str, evidence: str) -> None:
    found = new_user_messages(messages, ledger)
    assert "".join(message.message_id for message in found) == ids
    assert "".join(message.message_id for message in found if message.evidence) == evidence


def test_instructions_after_the_users_words_change_nothing() -> None:
    found = new_user_messages([*LAST, SystemMessage("context")], ledger_that_saw("3", "three"))
    assert [(message.message_id, message.evidence) for message in found] == [("4", True), ("5", True)]


def test_a_summary_is_looked_at_for_risk_only() -> None:
    summary = HumanMessage("a summary", id="s", additional_kwargs={"lc_source": "summarization"})
    found = new_user_messages([summary, HumanMessage("new", id="9")], ledger_that_saw("3", "three"))
    assert [(message.message_id, message.evidence) for message in found] == [("s", False), ("9", True)]


def test_a_wiped_history_holds_only_what_is_left() -> None:
    assert new_user_messages([], ledger_that_saw("3", "three")) == []
    (left,) = new_user_messages([HumanMessage("new", id="9")], ledger_that_saw("3", "three"))
    assert (left.message_id, left.evidence) == ("9", True)


def test_messages_without_an_id_are_new_unless_seen() -> None:
    answered: list[AnyMessage] = [HumanMessage("a"), HumanMessage("b"), AIMessage("hi", id="x")]
    assert new_user_messages(answered, ledger_that_saw("", "b")) == []
    assert len(new_user_messages([HumanMessage("a"), HumanMessage("c")], ledger_that_saw("", "b"))) == 2
    assert len(new_user_messages([HumanMessage("")], Ledger())) == 1


def test_a_reply_without_calls() -> None:
    message = AIMessage([{"type": "text", "text": "hello"}], id="a")
    reply = reply_of(message)
    assert (reply.message.text, reply.message.message_id, reply.message.raw) == ("hello", "a", message)
    assert reply.message.role == "assistant"
    assert (reply.end_calls, reply.refused) == ((), False)
    assert reply_of(refusal("no")).refused


def test_a_reply_with_calls() -> None:
    message = in_one_message(end_call(call_id="c1"), tool_call("search", {}), end_call("x", call_id="c2"))
    message.invalid_tool_calls = [
        invalid_tool_call(name="end_conversation", args="{", id=None),
        invalid_tool_call(name=None, args=None, id=None),
    ]
    calls = reply_of(message).end_calls
    assert [call.id for call in calls] == ["c1", "c2", ""]
    assert [call.arguments for call in calls][1:] == [message.tool_calls[2]["args"], "{"]


def test_a_reply_gets_an_id_once() -> None:
    named = AIMessage("a", id="x")
    assert with_id(named) is named
    nameless = AIMessage("a")
    assert with_id(nameless).id
    assert nameless.id is None


def sealed() -> Ruling:
    record = permit()
    return Ruling(record, "ended", Seal(thread_id="t", sequence=1, sealed_at=utc_now(), record=record))


def not_sealed(*, cut_off: bool = False) -> Ruling:
    record = denial()
    assert record.outcome is Outcome.DENIED
    return Ruling(record, "denied", cut_off=cut_off)


MIXED = in_one_message(
    tool_call("search", {}, call_id="s1"),
    end_call(call_id="e1"),
    end_call(call_id="e2"),
    tool_call("x", {}, call_id="x1"),
)


def answered(ruling: Ruling, message: AIMessage = MIXED) -> dict[str, tuple[str, str]]:
    results = tool_results(message, ruling)
    assert len({result.id for result in results}) == len(results)
    return {result.tool_call_id: (result.status, result.text) for result in results}


def test_after_an_honoured_call_every_call_has_one_result() -> None:
    results = answered(sealed())
    assert list(results) == ["s1", "e1", "e2", "x1"]
    assert results["e1"] == results["e2"] == ("success", "ended")
    assert results["s1"] == ("error", "search was not run: the conversation has ended.")


def test_after_a_denied_call_only_its_own_calls_have_a_result() -> None:
    assert answered(not_sealed()) == {"e1": ("error", "denied"), "e2": ("error", "denied")}


def test_after_the_last_attempt_no_call_is_left_without_a_result() -> None:
    results = answered(not_sealed(cut_off=True))
    assert list(results) == ["s1", "e1", "e2", "x1"]
    assert results["e1"] == ("error", "denied")
    assert results["s1"][0] == "error"
    assert "search was not run" in results["s1"][1]
    assert "has ended" not in results["s1"][1]


def test_malformed_calls_have_a_result_too() -> None:
    message = AIMessage("", invalid_tool_calls=[invalid_tool_call(name=None, args="{", id="i1")])
    assert answered(sealed(), message) == {"i1": ("error", "the tool was not run: the conversation has ended.")}


def test_a_text_without_an_id_that_nobody_has_answered_is_said_anew() -> None:
    """Deep agents give users' messages no id. A repeated text must hide nothing that was said just before it."""
    heard: list[AnyMessage] = [HumanMessage("hello"), AIMessage("hi", id="x")]
    again = [*heard, HumanMessage("I will kill myself"), HumanMessage("hello")]
    found = new_user_messages(again, ledger_that_saw("", "hello"))
    assert [(message.text, message.evidence) for message in found] == [("I will kill myself", True), ("hello", True)]
