"""From LangChain's messages to what the gate understands, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

import pytest
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.provenance import Provenance
from end_conversation_tool._core.records import Outcome, Seal, utc_now
from end_conversation_tool._core.run import Ruling
from end_conversation_tool._doors.langgraph.messages import (
    arrived_after,
    awaiting_results,
    mended,
    newest_first,
    reply_of,
    said_messages,
    text_of,
    tool_results,
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


SAID: list[BaseMessage] = [
    SystemMessage("s"),
    HumanMessage("one", id="1"),
    AIMessage("a", id="a"),
    ToolMessage("t", tool_call_id="c", id="t"),
    HumanMessageChunk(content="two", id="2"),
    ChatMessage(content="three", role="user", id="3"),
    ChatMessage(content="four", role="Human", id="4"),
    ChatMessage(content="five", role="speaker", id="5"),
    ChatMessage(content="found", role="Tool", id="r1"),
    ChatMessage(content="found", role="function", id="r2"),
    FunctionMessage(content="found", name="f", id="r3"),
    *(ChatMessage(content="x", role=role) for role in ("assistant", "ai", "system", "developer")),
    RemoveMessage(id="1"),
    HumanMessage("six"),
]
HEARD = [
    ("user", "one", "1"),
    ("assistant", "a", "a"),
    ("tool", "t", "t"),
    ("user", "two", "2"),
    ("user", "three", "3"),
    ("user", "four", "4"),
    ("user", "five", "5"),
    ("tool", "found", "r1"),
    ("tool", "found", "r2"),
    ("tool", "found", "r3"),
    ("user", "six", ""),
]


def spoken(messages: Iterable[ObservedMessage]) -> list[tuple[str, str, str]]:
    return [(message.role, message.text, message.message_id) for message in messages]


def test_what_users_assistant_and_tools_say_is_heard_and_nothing_else() -> None:
    assert spoken(said_messages(SAID)) == HEARD
    assert [message.raw for message in said_messages(SAID)] == [SAID[at] for at in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1)]


def test_the_newest_comes_first_and_no_more_is_looked_at_than_is_asked_for() -> None:
    assert spoken(newest_first(SAID)) == HEARD[::-1]
    broken = cast("BaseMessage", object())  # whoever looks at it fails
    lazily = newest_first([broken, *SAID])
    assert spoken(islice(lazily, len(HEARD))) == HEARD[::-1]
    assert list(newest_first([])) == []


def test_a_summary_is_told_from_the_users_own_words() -> None:
    summary = HumanMessage("a summary", id="s", additional_kwargs={"lc_source": "summarization"})
    other = HumanMessage("mine", id="o", additional_kwargs={"lc_source": "app"})
    assert [message.summary for message in said_messages([summary, other])] == [True, False]


@pytest.mark.parametrize("kind", [HumanMessage, ToolMessage])
def test_words_between_think_marks_are_hidden_reasoning_of_the_assistant_alone(kind: type[BaseMessage]) -> None:
    text, more = "<think>I will kill myself</think>hello", {"tool_call_id": "c"} if kind is ToolMessage else {}
    (heard,) = said_messages([kind(text, **more)])
    assert heard.text == text
    (heard,) = said_messages([kind([{"type": "text", "text": text}], **more)])
    assert heard.text == text
    (heard,) = said_messages([AIMessage(text)])
    assert heard.text == "hello"


@pytest.mark.parametrize(
    ("content", "media"),
    [
        ("hello", False),
        ([{"type": "text", "text": "hello"}], False),
        ([{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "data:"}}], True),
    ],
)
def test_parts_that_nobody_here_can_read_are_told_of(content: Any, media: bool) -> None:  # noqa: FBT001 - a table
    heard = list(said_messages([HumanMessage(content), ToolMessage(content, tool_call_id="c")]))
    assert [(message.role, message.text, message.media) for message in heard] == [
        ("user", "hello", media),
        ("tool", "hello", media),
    ]


@pytest.mark.parametrize("given", ["x" * 129, "\ud800", "a\x00b"])
def test_an_id_that_cannot_be_kept_is_a_digest_and_tells_messages_apart_still(given: str) -> None:
    same, again, other = said_messages(
        [HumanMessage("a", id=given), AIMessage("b", id=given), AIMessage("b", id="y" + given)]
    )
    assert same.message_id == again.message_id != other.message_id
    assert re.fullmatch("digest:[0-9a-f]{32}", same.message_id)
    (kept,) = said_messages([HumanMessage("a", id="x" * 128)])
    assert kept.message_id == "x" * 128


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
    return Ruling(record, "ended", Seal(thread_id="t", sequence=1, sealed_at=utc_now(), record=record), "bye")


def not_sealed(*, closing: str = "") -> Ruling:
    record = denial()
    assert record.outcome is Outcome.DENIED
    return Ruling(record, "denied", closing=closing)


MIXED = in_one_message(
    tool_call("search", {}, call_id="s1"),
    end_call(call_id="e1"),
    end_call(call_id="e2"),
    tool_call("x", {}, call_id="x1"),
)


def answered(ruling: Ruling, message: AIMessage = MIXED, *done: str) -> dict[str, tuple[str, str]]:
    results = tool_results(message, ruling, done)
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
    results = answered(not_sealed(closing="still here"))
    assert list(results) == ["s1", "e1", "e2", "x1"]
    assert results["e1"] == ("error", "denied")
    assert results["s1"][0] == "error"
    assert "search was not run" in results["s1"][1]
    assert "has ended" not in results["s1"][1]


def test_malformed_calls_have_a_result_too() -> None:
    message = AIMessage("", invalid_tool_calls=[invalid_tool_call(name=None, args="{", id="i1")])
    assert answered(sealed(), message) == {"i1": ("error", "the tool was not run: the conversation has ended.")}


@pytest.mark.parametrize("ruling", [sealed(), not_sealed(), not_sealed(closing="still here")])
def test_a_call_that_has_a_result_gets_no_second_one(ruling: Ruling) -> None:
    everything = answered(ruling)
    assert answered(ruling, MIXED, "s1", "e2") == {
        call: result for call, result in everything.items() if call not in ("s1", "e2")
    }
    assert answered(ruling, MIXED, *everything) == {}


def test_a_reply_that_waits_for_the_users_yes_leaves_one_request_open() -> None:
    results = awaiting_results(MIXED)
    assert [(result.tool_call_id, result.status) for result in results] == [
        ("s1", "error"),
        ("e2", "error"),
        ("x1", "error"),
    ]
    assert [result.tool_call_id for result in awaiting_results(MIXED, ["x1"])] == ["s1", "e2"]
    assert all("has ended" not in result.text for result in results)


# Histories that every provider takes


ASKED = end_call(call_id="e1")


def result_of(call_id: str, text: str = "a result") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call_id)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [HumanMessage("hi")],
        [HumanMessage("hi"), ASKED, result_of("e1")],
        [HumanMessage("hi"), MIXED, result_of("e1"), result_of("e2")],  # the others are not ours to answer
        [HumanMessage("hi"), tool_call("search", {}, call_id="s1"), HumanMessage("well?")],
        [HumanMessage("hi"), ASKED, AIMessage("bye"), HumanMessage("one"), AIMessage("a"), HumanMessage("two")],
    ],
)
def test_messages_in_which_nothing_is_amiss_are_left_as_they_are(messages: list[AnyMessage]) -> None:
    assert mended(messages) is messages


def test_an_open_call_gets_one_result_right_after_it() -> None:
    messages: list[AnyMessage] = [HumanMessage("hi"), ASKED, HumanMessage("never mind"), HumanMessage("well?")]
    whole = mended(messages)
    assert [whole[0], whole[1], *whole[3:]] == messages
    result = whole[2]
    assert isinstance(result, ToolMessage)
    assert (result.tool_call_id, result.name, result.status) == ("e1", "end_conversation", "error")
    assert "has ended" not in result.text
    assert mended(whole) is whole


def test_every_open_call_of_ours_and_every_malformed_one_gets_a_result() -> None:
    reply = in_one_message(end_call(call_id="e1"), tool_call("search", {}, call_id="s1"), end_call(call_id="e2"))
    reply.invalid_tool_calls = [invalid_tool_call(name="search", args="{", id="i1")]
    whole = mended([HumanMessage("hi"), reply, result_of("s1"), HumanMessage("well?")])
    assert [one.tool_call_id for one in whole if isinstance(one, ToolMessage)] == ["e1", "e2", "i1", "s1"]


def test_a_result_that_the_model_is_to_see_already_is_taken_over() -> None:
    put_in = result_of("e1", "somebody else's result")
    messages: list[AnyMessage] = [HumanMessage("hi"), ASKED, HumanMessage("well?")]
    assert mended(messages, [*messages[:2], put_in, messages[2]]) == [*messages[:2], put_in, messages[2]]


def test_of_two_results_the_last_one_counts() -> None:
    first, last = result_of("e1", "limit reached"), result_of("e1", "Not ended.")
    messages: list[AnyMessage] = [HumanMessage("hi"), ASKED, first, last, AIMessage("on we go")]
    assert mended(messages) == [*messages[:2], last, messages[4]]


def test_a_call_without_an_id_waits_for_no_result() -> None:
    """Nothing could be paired with it, and a result that is paired with nothing is refused by a provider."""
    reply = AIMessage("", id="a1")
    reply.invalid_tool_calls = [invalid_tool_call(name=one, args="{") for one in ("search", "end_conversation")]
    messages: list[AnyMessage] = [HumanMessage("hi"), reply, HumanMessage("well?")]
    assert mended(messages) is messages


# What came in after the end


LEFT: list[AnyMessage] = [HumanMessage("one", id="1"), AIMessage("bye", id="2")]
LATE: list[AnyMessage] = [HumanMessage("three", id="3"), AIMessage("a", id="4"), HumanMessage("five", id="5")]


@pytest.mark.parametrize(
    ("messages", "last", "arrived"),
    [
        (LEFT, "2", []),
        ([*LEFT, *LATE], "2", ["3", "4", "5"]),
        ([*LEFT, HumanMessage("no id"), *LATE], "2", ["3", "4", "5"]),
        ([*LEFT, *LATE], "gone", ["5"]),
        ([*LEFT, *LATE, HumanMessage("six", id="6")], "", ["5", "6"]),
        ([*LEFT, ChatMessage(content="c", role="speaker", id="c")], "", ["c"]),
        (LEFT, "", []),
        ([], "2", []),
    ],
)
def test_what_arrived_after_the_end(messages: list[AnyMessage], last: str, arrived: list[str]) -> None:
    assert arrived_after(messages, Provenance(last_message=last)) == arrived
