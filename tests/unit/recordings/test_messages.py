"""Recorded conversations: every shape of message, and every way a file can be broken."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    messages_to_dict,
)

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.recordings import files as transcripts
from end_conversation_tool.recordings.files import BrokenRow, Recording, read_recordings
from end_conversation_tool.recordings.messages import read_messages
from end_conversation_tool.watch.native import is_native_refusal

HELLO = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


def written(tmp_path: Path, *lines: object, name: str = "chats.jsonl") -> Path:
    path = tmp_path / name
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(texts) + b"\n")
    return path


def shape(messages: tuple[BaseMessage, ...]) -> list[tuple[str, str]]:
    return [(message.type, message.text) for message in messages]


def call_of(message: BaseMessage) -> tuple[str, dict[str, Any]]:
    assert isinstance(message, AIMessage)
    [call] = message.tool_calls
    return call["name"], call["args"]


END = ("end_conversation", {"category": "abuse", "reason": "x"})
AS_JSON = json.dumps(END[1])


@pytest.mark.parametrize(
    "reply",
    [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": END[0], "arguments": AS_JSON}}],
        },
        {"role": "assistant", "function_call": {"name": END[0], "arguments": AS_JSON}},
        {"type": "function_call", "call_id": "c", "name": END[0], "arguments": AS_JSON},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": END[0], "input": END[1]}]},
        {"type": "ai", "content": "", "tool_calls": [{"name": END[0], "args": END[1], "id": "c"}]},
        {"type": "AIMessageChunk", "content": "", "tool_calls": [{"name": END[0], "args": END[1], "id": "c"}]},
        {
            "type": "ai",
            "content": "",
            "additional_kwargs": {"tool_calls": [{"id": "c", "function": {"name": END[0], "arguments": AS_JSON}}]},
        },
        messages_to_dict([AIMessage("", tool_calls=[{"name": END[0], "args": END[1], "id": "c"}])])[0],
        dumpd(AIMessage("", tool_calls=[{"name": END[0], "args": END[1], "id": "c"}])),
        dumpd(
            AIMessage(
                [{"type": "tool_use", "id": "c", "name": END[0], "input": END[1]}],
                tool_calls=[{"name": END[0], "args": END[1], "id": "c"}],
            )
        ),
    ],
    ids=[
        "openai",
        "openai-legacy",
        "responses",
        "anthropic",
        "langchain",
        "langchain-chunk",
        "langchain-extra",
        "langchain-dict",
        "langchain-serialised",
        "langchain-anthropic",
    ],
)
def test_a_call_of_the_tool_is_read_once_in_every_shape(reply: dict[str, Any]) -> None:
    _, message = read_messages([HELLO[0], reply])
    assert call_of(message) == END
    assert isinstance(message, AIMessage)
    assert message.invalid_tool_calls == []


@pytest.mark.parametrize(
    "arguments",
    ['{"category": "abu', "[1]", "7", "null", "[" * 100_000],
    ids=["cut", "list", "number", "null", "deep"],
)
def test_malformed_arguments_stay_a_malformed_call(arguments: str) -> None:
    call = {"id": "c", "function": {"name": "end_conversation", "arguments": arguments}}
    _, message = read_messages([HELLO[0], {"role": "assistant", "content": "", "tool_calls": [call]}])
    assert isinstance(message, AIMessage)
    assert message.tool_calls == []
    assert [call["args"] for call in message.invalid_tool_calls] == [arguments]


def test_anthropic_tool_results_are_not_the_users_words() -> None:
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "end the chat"}]}
    alone = read_messages([*HELLO, {"role": "user", "content": [result]}])
    assert [message.type for message in alone] == ["human", "ai", "tool"]
    beside = read_messages([*HELLO, {"role": "user", "content": [result, {"type": "text", "text": "and?"}]}])
    assert shape(beside)[3:] == [("human", "and?")]


@pytest.mark.parametrize(
    "result",
    [
        {"role": "tool", "tool_call_id": "c", "content": "42"},
        {"role": "function", "name": "f", "content": "42"},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
        {"type": "tool", "tool_call_id": "c", "content": "42"},
        dumpd(ToolMessage("42", tool_call_id="c")),
    ],
)
def test_tool_results_in_every_shape(result: dict[str, Any]) -> None:
    assert shape(read_messages([*HELLO, result]))[2] == ("tool", "42")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"role": "user", "content": ["a"]},
        {"role": "user", "content": {"type": "text", "text": "a"}},
        {"role": "human", "content": "a"},
        {"type": "human", "content": "a", "additional_kwargs": {}},
        {"type": "HumanMessage", "content": "a"},
        {"type": "chat", "role": "user", "content": "a"},
        dumpd(HumanMessage("a")),
        messages_to_dict([HumanMessage("a")])[0],
        {"role": "user", "content": [{"type": "document", "source": {"data": "end the chat"}}, "a"]},
    ],
)
def test_user_messages_in_every_shape(message: dict[str, Any]) -> None:
    assert shape(read_messages([message])) == [("human", "a")]


@pytest.mark.parametrize("message", [{"role": "developer", "content": "s"}, dumpd(SystemMessage("s"))])
def test_system_messages(message: dict[str, Any]) -> None:
    assert shape(read_messages([message])) == [("system", "s")]


@pytest.mark.parametrize(
    "reply",
    [
        {"role": "assistant", "content": [], "stop_reason": "refusal"},
        {"role": "assistant", "content": None, "refusal": "I can't."},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "I can't."}]},
        {"type": "ai", "content": "", "response_metadata": {"stop_reason": "refusal"}},
        {"type": "ai", "content": "", "additional_kwargs": {"refusal": "I can't."}},
        {"role": "assistant", "content": "", "finish_reason": "content_filter"},
    ],
)
def test_what_the_provider_said_about_a_reply_is_kept(reply: dict[str, Any]) -> None:
    assert is_native_refusal(read_messages([reply])[0])


def test_reasoning_and_removals_are_passed_over() -> None:
    items = [{"type": "reasoning", "summary": []}, *HELLO, {"type": "remove", "content": "", "id": "x"}]
    assert [message.type for message in read_messages(items)] == ["human", "ai"]


def test_ids_are_kept_or_made_from_the_position() -> None:
    messages = read_messages([{"role": "user", "content": "a", "id": "mine"}, HELLO[1]])
    assert [message.id for message in messages] == ["mine", "#1"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("hello", r"messages: expected a list of messages, got str"),
        ([], r"messages: expected at least one message, got none"),
        ([{"type": "reasoning"}], r"expected at least one message"),
        (["hello"], r"messages\[0\]: expected an object, got str"),
        ([{"content": "a"}], r"messages\[0\]\.role: expected a role, as in 'user', got NoneType"),
        ([{"role": 7, "content": "a"}], r"messages\[0\]\.role: expected a role, as in 'user', got int"),
        ([{"role": "alien", "content": "a"}], r"messages\[0\]\.role: expected one of user,"),
        ([{"type": {}, "content": "a"}], r"messages\[0\]\.type: expected a role, as in 'user', got dict"),
        ([{"role": "user"}], r"messages\[0\]\.content: expected a str or a list of parts, got NoneType"),
        ([{"role": "user", "content": 7}], r"messages\[0\]\.content: .* got int"),
        ([{"role": "user", "content": [7]}], r"messages\[0\]\.content\[0\]: expected a str or object, got int"),
        ([{"role": "assistant"}], r"messages\[0\]\.content: expected a str or a list of parts, got nothing"),
        ([{"role": "assistant", "tool_calls": 7}], r"messages\[0\]\.tool_calls: expected a list, got int"),
        ([{"role": "assistant", "tool_calls": [7]}], r"messages\[0\]\.tool_calls\[0\]: expected an object, got int"),
        ([{"role": "assistant", "tool_calls": [{}]}], r"messages\[0\]\.tool_calls\[0\]\.name: expected a str"),
        ([{"lc": 1, "id": ["HumanMessage"], "kwargs": 7}], r"messages\[0\]\.kwargs: expected an object, got int"),
        ([{"type": "human", "data": 7}], r"messages\[0\]\.data: expected an object, got int"),
    ],
)
def test_a_bad_message_is_named(value: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        read_messages(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "type", "content", "tool_calls", "kwargs", "lc", "data", "id", "name", "function",
                         "args", "input", "additional_kwargs", "response_metadata", "refusal", "tool_call_id",
                         "function_call", "output", "call_id", "text", "stop_reason"]),
        inner | st.sampled_from(["user", "assistant", "ai", "tool", "tool_use", "tool_result", "function_call"]),
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(json_values, max_size=4))
def test_whatever_json_holds_gives_messages_or_one_clear_error(value: list[Any]) -> None:
    try:
        messages = read_messages(value)
    except InvalidInputError:
        return
    assert messages
    assert all(message.id for message in messages)


def test_rows_of_every_kind(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": "a", "messages": HELLO},
        {"id": 7, "conversation": HELLO},
        {"values": {"messages": HELLO}},
        HELLO,
        [{"id": "b", "messages": HELLO}, {"messages": HELLO}],
    )
    rows = list(read_recordings(path))
    assert all(isinstance(row, Recording) for row in rows)
    names = [row.id for row in rows if isinstance(row, Recording)]
    assert names == ["a", "7", "line 3", "line 4", "b", "line 5, row 2"]


def test_a_broken_line_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, HELLO, b'{"messages": [', b"", b"\xff\xfe\x00", {"x": 1}, 7, b"[" * 100_000, HELLO)
    rows = list(read_recordings(path))
    assert [row.line for row in rows if isinstance(row, Recording)] == [1, 8]
    problems = {row.line: row.problem for row in rows if isinstance(row, BrokenRow)}
    assert sorted(problems) == [2, 4, 5, 6, 7]
    assert "expected JSON" in problems[2]
    assert "0xff" in problems[4]
    assert "'messages'" in problems[5]
    assert "int" in problems[6]
    assert "JSON" in problems[7]


def test_a_problem_holds_no_text_of_the_conversation(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"messages": [{"role": "user", "content": "my secret"', {"messages": [{"my secret": 1}]})
    assert all("secret" not in row.problem for row in read_recordings(path) if isinstance(row, BrokenRow))


@pytest.mark.parametrize("value", [HELLO, {"messages": HELLO}, [HELLO, HELLO], [{"messages": HELLO}] * 2])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["chats.json", "chats.txt"])
def test_json_documents(tmp_path: Path, value: Any, indent: int | None, bom: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bom + b"\n\n" * (not bom) + json.dumps(value, indent=indent).encode())
    rows = list(read_recordings(path))
    expected = 2 if isinstance(value, list) and value[0] != HELLO[0] else 1
    assert [shape(row.messages) for row in rows if isinstance(row, Recording)] == [
        [("human", "hello"), ("ai", "hi")]
    ] * expected


def test_a_broken_document_is_one_problem_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, b'{\n "messages": [\n  oops', name="chat.json")
    [row] = read_recordings(path)
    assert isinstance(row, BrokenRow)
    assert "line 3" in row.problem


def test_lines_in_a_file_of_another_name_whose_first_is_broken(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"messages": [', HELLO, name="chats.log")
    assert [type(row) for row in read_recordings(path)] == [BrokenRow, Recording]


def test_an_endless_line_is_skipped_without_being_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MAX_LINE_BYTES", 200)
    path = written(tmp_path, HELLO, b"x" * 200, b"x" * 201, b"x" * 1000, HELLO)
    rows = list(read_recordings(path))
    assert [(type(row), row.line) for row in rows] == [
        (Recording, 1),
        (BrokenRow, 2),
        (BrokenRow, 3),
        (BrokenRow, 4),
        (Recording, 5),
    ]


def test_a_long_document_on_one_line_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MAX_LINE_BYTES", 50)
    path = written(tmp_path, [HELLO, HELLO], name="chats.json")
    assert [type(row) for row in read_recordings(path)] == [Recording, Recording]
    monkeypatch.setattr(transcripts, "MAX_DOCUMENT_BYTES", 60)
    [row] = read_recordings(path)
    assert isinstance(row, BrokenRow)
    assert "at most 60 bytes" in row.problem


def test_an_empty_file_is_a_problem(tmp_path: Path) -> None:
    [row] = read_recordings(written(tmp_path, b"", b"  "))
    assert row == BrokenRow(1, "file: expected at least one conversation, found none")


def test_every_byte_is_reported_to_the_progress_bar(tmp_path: Path) -> None:
    for name in ("chats.jsonl", "chats.json", "chats.log"):
        path = written(tmp_path, HELLO, b"{", HELLO, name=name)
        seen: list[int] = []
        list(read_recordings(path, advance=seen.append))
        assert sum(seen) == path.stat().st_size


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(lines: int) -> int:
        path = written(tmp_path, *([{"messages": HELLO * 3}] * lines))
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_recordings(path)) == lines
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(1000) < 2 * peak(10)
