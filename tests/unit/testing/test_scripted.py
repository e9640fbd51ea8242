"""The scripted chat model, alone and inside a real agent."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.tools import tool
from pydantic import BaseModel, ValidationError

import end_conversation_tool.testing as public
from end_conversation_tool.errors import EndConversationError, InvalidInputError
from end_conversation_tool.testing import (
    ScriptedChatModel,
    ScriptExhaustedError,
    end_call,
    in_one_message,
    refusal,
    tool_call,
)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def whole(chunks: list[Any]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return cast("AIMessageChunk", total)


def test_answers_in_order_and_records_what_it_was_asked() -> None:
    model = ScriptedChatModel(["one", AIMessage("two"), lambda messages: f"three: {messages[-1].text}"])
    assert [model.invoke(text).text for text in ("a", "b", "c")] == ["one", "two", "three: c"]
    assert [[message.text for message in call] for call in model.calls] == [["a"], ["b"], ["c"]]


def test_a_script_that_is_used_up_says_so() -> None:
    model = ScriptedChatModel(["only"])
    model.invoke("a")
    with pytest.raises(ScriptExhaustedError, match=r"has 1 replies .* after a message of type human") as caught:
        model.invoke("b")
    assert isinstance(caught.value, EndConversationError)
    assert caught.value.replies == 1
    assert len(model.calls) == 2


def test_one_function_answers_every_call() -> None:
    model = ScriptedChatModel(lambda messages: AIMessage(str(len(messages))))
    assert [model.invoke("a").text for _ in range(3)] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ("text", "replies: expected a sequence .* got str"),
        (7, "replies: expected a sequence .* got int"),
        (["fine", HumanMessage("no")], r"replies\[1\]: expected a str, an AIMessage or a function, got HumanMessage"),
    ],
)
def test_what_cannot_be_a_script_is_refused(replies: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ScriptedChatModel(replies)


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="modelname"):
        ScriptedChatModel(["a"], modelname="x")


def test_a_function_that_returns_something_else_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a function returned int"):
        ScriptedChatModel([cast("Any", lambda _: 3)]).invoke("a")


def test_a_scripted_message_is_never_handed_out_itself() -> None:
    scripted = AIMessage("hello", response_metadata={"mine": 1})
    model = ScriptedChatModel([scripted, scripted], model_name="claude-test")
    first, second = model.invoke("a"), model.invoke("a")
    assert first is not scripted
    assert first.id != second.id
    assert scripted.id is None
    assert scripted.response_metadata == {"mine": 1}
    assert first.response_metadata == {"mine": 1, "model_name": "claude-test"}


def test_bind_tools_returns_the_model_and_records_the_tools() -> None:
    model = ScriptedChatModel(["a"])
    assert model.bound_tools == []
    assert model.bind_tools([add], tool_choice="any") is model
    assert model.bound_tools == [add]
    assert model.bindings == [[add]]


MESSAGES = {
    "text": AIMessage("Two words,  and  spaces.\n"),
    "empty": AIMessage(""),
    "whitespace": AIMessage("  \n"),
    "call": tool_call(
        "add", {"a": 1, "b": 2, "note": 'long enough for {pieces} "of" it, é'}, text="I add.", call_id="c"
    ),
    "no arguments": tool_call("now", {}, call_id="c"),
    "siblings": in_one_message(end_call(call_id="c1"), tool_call("add", {"a": 1, "b": 2}, call_id="c2")),
    "invalid call": AIMessage("x", invalid_tool_calls=[invalid_tool_call(name="add", args="]not json", id="c")]),
    "blocks": AIMessage(
        [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "hi there"}]
    ),
    "refusal": refusal("I will not.", category="bio", explanation="why"),
    "usage": AIMessage("a b", id="m-1", usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}),
}


@pytest.mark.parametrize("name", list(MESSAGES))
async def test_every_way_of_asking_gives_the_same_message(name: str) -> None:
    model = ScriptedChatModel([MESSAGES[name]] * 4)
    pieces = list(model.stream("a"))
    apieces = [chunk async for chunk in model.astream("a")]
    for got in (model.invoke("a"), await model.ainvoke("a"), whole(pieces), whole(apieces)):
        assert got.content == MESSAGES[name].content
        assert got.tool_calls == MESSAGES[name].tool_calls
        assert [call["args"] for call in got.invalid_tool_calls] == [
            call["args"] for call in MESSAGES[name].invalid_tool_calls
        ]
        assert got.response_metadata == MESSAGES[name].response_metadata | {"model_name": "scripted"}
        assert got.usage_metadata == MESSAGES[name].usage_metadata


def test_a_stream_comes_in_pieces() -> None:
    pieces = list(ScriptedChatModel([MESSAGES["call"]]).stream("a"))
    assert len([piece for piece in pieces if piece.content]) == 2
    calls = [chunk for piece in pieces for chunk in piece.tool_call_chunks]
    assert (calls[0]["name"], calls[0]["id"], calls[0]["args"]) == ("add", "c", "")
    assert len(calls) > 3
    assert {call["name"] for call in calls[1:]} == {None}


def test_threads_share_one_script_and_lose_nothing() -> None:
    model = ScriptedChatModel([str(number) for number in range(400)])
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: model.invoke("a").text, range(400)))
    assert sorted(said, key=int) == [str(number) for number in range(400)]
    assert len(model.calls) == 400


def test_helpers_build_the_calls_they_name() -> None:
    call = end_call("user_request", "They asked.", text="Goodbye.", call_id="c")
    assert call.text == "Goodbye."
    assert call.tool_calls == [
        {
            "name": "end_conversation",
            "args": {"category": "user_request", "reason": "They asked."},
            "id": "c",
            "type": "tool_call",
        }
    ]
    assert end_call().tool_calls[0]["id"] != end_call().tool_calls[0]["id"]
    both = in_one_message(end_call(text="one"), tool_call("add", {"a": 1}, text="two"))
    assert both.text == "one\ntwo"
    assert [call["name"] for call in both.tool_calls] == ["end_conversation", "add"]


def test_structured_output_reads_a_scripted_call() -> None:
    class Answer(BaseModel):
        number: int

    model = ScriptedChatModel([tool_call("Answer", {"number": 4})])
    assert model.with_structured_output(Answer).invoke("a") == Answer(number=4)


def script() -> list[Any]:
    def report(messages: list[BaseMessage]) -> str:
        return f"The sum is {messages[-1].text}."

    return [tool_call("add", {"a": 2, "b": 3}, text="Let me add.", call_id="c"), report]


QUESTION: Any = {"messages": [HumanMessage("2 + 3?")]}


async def test_an_agent_runs_on_it() -> None:
    model = ScriptedChatModel(script() * 2)
    agent: Any = create_agent(model, [add])
    for result in (agent.invoke(QUESTION), await agent.ainvoke(QUESTION)):
        kinds = [message.type for message in result["messages"]]
        assert kinds == ["human", "ai", "tool", "ai"]
        assert result["messages"][-1].text == "The sum is 5."
    assert [tool.name for tool in cast("Any", model.bound_tools)] == ["add"]
    assert len(model.calls) == 4


async def test_an_agent_streams_it() -> None:
    agent: Any = create_agent(ScriptedChatModel(script() * 3), [add])
    updates = list(agent.stream(QUESTION, stream_mode="updates"))
    assert [next(iter(update)) for update in updates] == ["model", "tools", "model"]
    messages = [message for message, _ in agent.stream(QUESTION, stream_mode="messages")]
    amessages = [message async for message, _ in agent.astream(QUESTION, stream_mode="messages")]
    for got in (messages, amessages):
        assert len(got) > 6
        assert "".join(piece.text for piece in got if isinstance(piece, AIMessageChunk)) == "Let me add.The sum is 5."
        assert any(piece.tool_call_chunks for piece in got if isinstance(piece, AIMessageChunk))
        assert any(isinstance(piece, ToolMessage) for piece in got)


def test_exported_names_are_lazy_and_all_there() -> None:
    assert all(getattr(public, name) is not None for name in public.__all__)
    assert dir(public) == sorted(public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = public.nothing
    code = (
        "import sys; import end_conversation_tool.testing as t; "
        "assert not {'langchain', 'langchain_core', 'anthropic'} & set(sys.modules), 'not lazy'; "
        "t.ScriptedChatModel; assert 'langchain' not in sys.modules, 'needs langchain'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
