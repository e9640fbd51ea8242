"""The files that people have: each kind is recognised, and every turn of it is there."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, ToolMessage

from end_conversation_tool._core.messages import has_media
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.recordings.files import BrokenRow, Recording, read_recordings
from end_conversation_tool.recordings.messages import read_messages
from unit.recordings.kinds_of_files import KINDS, OPENAI, TALK, each, lines, slack, states


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return path


def only(path: Path) -> Recording:
    [found] = read_recordings(path)
    assert isinstance(found, Recording), found
    return found


def talk_of(recording: Recording) -> list[tuple[str, str]]:
    names = {"human": "user", "ai": "assistant"}
    return [(names[m.type], m.text) for m in recording.messages if m.type in names and m.text]


@pytest.mark.parametrize("what", KINDS)
def test_every_turn_of_every_kind_is_read(tmp_path: Path, what: str) -> None:
    name, content, kind, own_id = KINDS[what]
    recording = only(written(tmp_path, name, content))
    assert talk_of(recording) == TALK
    assert (recording.kind, recording.id) == (kind, own_id)


@pytest.mark.parametrize("what", KINDS)
def test_every_kind_is_read_from_an_archive(tmp_path: Path, what: str) -> None:
    name, content, kind, _ = KINDS[what]
    text = content if isinstance(content, str) else json.dumps(content)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr(f"data/{name}", text)
        archive.writestr("data/user.json", '{"id": "user-1", "email": "a@b.example"}')
        archive.writestr("data/chat.html", "<html></html>")
    recording = only(tmp_path / "export.zip")
    assert (talk_of(recording), recording.kind) == (TALK, kind)


def test_a_channel_of_slack_goes_on_from_day_to_day(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("channels.json", '[{"id": "C1", "name": "help"}]')
        for day in range(3):
            said = each(slack)[2 * day : 2 * day + 2]
            archive.writestr(f"help/2026-01-0{day + 1}.json", json.dumps(said))
    recording = only(tmp_path / "export.zip")
    assert (talk_of(recording), recording.id, recording.kind) == (TALK, "help", "slack")


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl.gz"
    path.write_bytes(gzip.compress(lines([{"id": "a", "messages": OPENAI}] * 2).encode()))
    assert [row.id for row in read_recordings(path) if isinstance(row, Recording)] == ["a", "a"]


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:  # noqa: FBT001
    content = json.dumps({"id": "a", "messages": OPENAI}).encode()
    if packed:
        file = BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.json", content)
        content = file.getvalue()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=_Pipe(content)))
    [recording] = read_recordings("-")
    assert isinstance(recording, Recording)
    assert talk_of(recording) == TALK


class _Pipe(BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise OSError


@pytest.mark.parametrize("content", [b"PK\x03\x04 no archive", b"\x1f\x8b no archive", gzip.compress(b"a" * 99)[:-9]])
def test_a_broken_archive_is_an_error_that_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="file: expected a sound, unencrypted archive"):
        list(read_recordings(path))


def test_threads_that_are_interleaved_line_by_line_are_told_apart(tmp_path: Path) -> None:
    rows = [{"thread_id": thread, **row} for row in OPENAI for thread in ("a", "b", "c")]
    found = list(read_recordings(written(tmp_path, "a.jsonl", lines(rows))))
    assert [(row.id, row.line, talk_of(row)) for row in found if isinstance(row, Recording)] == [
        ("a", 1, TALK), ("b", 2, TALK), ("c", 3, TALK),
    ]  # fmt: skip


def test_one_bad_message_breaks_its_thread_and_no_other(tmp_path: Path) -> None:
    rows = [{"thread_id": thread, **row} for thread in ("a", "b") for row in OPENAI]
    rows[1]["content"] = 7
    broken, whole = read_recordings(written(tmp_path, "a.jsonl", lines(rows)))
    assert broken == BrokenRow(1, "line 2: message[0].content: expected a str or a list of parts, got int")
    assert isinstance(whole, Recording)
    assert talk_of(whole) == TALK


def test_memory_does_not_grow_with_threads(tmp_path: Path) -> None:
    def peak(threads: int) -> int:
        rows = [{"thread_id": f"{n}", **row} for row in OPENAI * 5 for n in range(threads)]
        path = written(tmp_path, "a.jsonl", lines(rows))
        del rows
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_recordings(path)) == threads
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    assert peak(100) < 2 * peak(5)


def test_a_state_history_counts_the_newest_checkpoint_only(tmp_path: Path) -> None:
    history = [*states(), {**states()[0], "config": {"configurable": {"thread_id": "other"}}}]
    found = [row for row in read_recordings(written(tmp_path, "a.jsonl", lines(history))) if isinstance(row, Recording)]
    assert [(row.id, len(row.messages)) for row in found] == [("th-1", 6), ("other", 6)]


# --- what is no text of the user's ------------------------------------------------------------------------------------


def read_one(*messages: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(m.type, m.text, has_media(m.content)) for m in read_messages(list(messages))]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42"}]},
        {"toolResult": {"toolUseId": "t", "content": [{"text": "42"}], "status": "success"}},
        {"functionResponse": {"id": "t", "name": "f", "response": "42"}},
        {"type": "tool_call_response", "id": "t", "result": "42"},
        {"part_kind": "tool-return", "tool_call_id": "t", "tool_name": "f", "content": "42"},
        {"type": "tool-result", "toolCallId": "t", "toolName": "f", "output": {"type": "text", "value": "42"}},
        {"type": "mcp_tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42"}]},
    ],
    ids=lambda part: next(iter(part.values())) if "type" in part else next(iter(part)),
)
@pytest.mark.parametrize("field", ["content", "parts"])
def test_a_result_is_no_turn_of_the_user(part: dict[str, Any], field: str) -> None:
    messages = read_messages([{"role": "user", "content": "?"}, {"role": "user", field: [part]}])
    assert [(m.type, m.text) for m in messages] == [("human", "?"), ("tool", "42")]
    assert isinstance(messages[1], ToolMessage)
    assert messages[1].tool_call_id == "t"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "hm"},
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"text": "hm", "thought": True},
        {"type": "reasoning", "text": "hm"},
        {"type": "reasoning", "content": "hm"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "think", "think": "hm"},
        {"part_kind": "thinking", "content": "hm"},
    ],
)
def test_hidden_reasoning_is_no_text(part: dict[str, Any]) -> None:
    assert read_one({"role": "assistant", "content": [part, {"type": "text", "text": "hi"}]}) == [("ai", "hi", False)]
    assert read_one({"role": "assistant", "parts": [part]}) == [("ai", "", False)]


@pytest.mark.parametrize(
    "call",
    [
        {"type": "tool_use", "id": "t", "name": "end_conversation", "input": {"a": 1}},
        {"toolUse": {"toolUseId": "t", "name": "end_conversation", "input": {"a": 1}}},
        {"functionCall": {"id": "t", "name": "end_conversation", "args": {"a": 1}}},
        {"type": "tool_call", "id": "t", "name": "end_conversation", "arguments": {"a": 1}},
        {"type": "tool-call", "toolCallId": "t", "toolName": "end_conversation", "input": {"a": 1}},
        {"type": "tool-end_conversation", "toolCallId": "t", "state": "input-available", "input": {"a": 1}},
        {"type": "dynamic-tool", "toolCallId": "t", "toolName": "end_conversation", "input": {"a": 1}},
        {
            "type": "tool-invocation",
            "toolInvocation": {"toolCallId": "t", "toolName": "end_conversation", "args": {"a": 1}},
        },
        {"type": "tool_call", "tool_call": {"id": "t", "name": "end_conversation", "args": '{"a": 1}'}},
        {"part_kind": "tool-call", "tool_call_id": "t", "tool_name": "end_conversation", "args": '{"a": 1}'},
    ],
)
def test_a_call_is_found_in_every_kind_of_part(call: dict[str, Any]) -> None:
    [message] = read_messages([{"role": "assistant", "content": "", "parts": [{"type": "text", "text": "bye"}, call]}])
    assert isinstance(message, AIMessage)
    assert message.text == "bye"
    assert [(c["name"], c["args"], c["id"]) for c in message.tool_calls] == [("end_conversation", {"a": 1}, "t")]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "image", "source": {"type": "base64", "data": "AA", "media_type": "image/png"}},
        {"type": "input_image", "image_url": "https://a.example/b.png"},
        {"type": "input_file", "file_id": "f"},
        {"image": {"format": "png", "source": {"bytes": "AA"}}},
        {"document": {"format": "pdf", "name": "the plan", "source": {"bytes": "AA"}}},
        {"inlineData": {"mimeType": "image/png", "data": "AA"}},
        {"fileData": {"fileUri": "gs://a/b", "mimeType": "video/mp4"}},
        {"type": "file", "mediaType": "image/png", "url": "https://a.example/b.png"},
        {"content_type": "image_asset_pointer", "asset_pointer": "sediment://a"},
        {"type": "input_audio", "audio": "AA", "transcript": None},
        {"type": "blob", "mime_type": "image/png", "content": "AA"},
        {"type": "from_next_year", "id": "x1"},
    ],
)
def test_media_beside_text_is_known(part: dict[str, Any]) -> None:
    for field in ("content", "parts"):
        assert read_one({"role": "user", field: [part, {"type": "text", "text": "see"}]}) == [("human", "see", True)]
        assert read_one({"role": "user", field: [part]}) == [("human", "", True)]


@pytest.mark.parametrize("field", ["attachments", "files", "experimental_attachments", "images"])
def test_attached_files_are_known_as_media(field: str) -> None:
    assert read_one({"role": "user", "content": "see", field: [{"name": "a b.png"}]}) == [("human", "see", True)]


def test_a_picture_from_a_chat_room_is_media_and_its_name_no_text() -> None:
    said = {"author": {"name": "ann", "isBot": False}, "content": "", "attachments": [{"fileName": "my cat.png"}]}
    assert read_one(said) == [("human", "", True)]


def test_calls_of_sharegpt_are_calls_and_no_text() -> None:
    call = {"from": "function_call", "value": '{"name": "end_conversation", "arguments": {"a": 1}}'}
    user, message, result = read_messages(
        [{"from": "human", "value": "?"}, call, {"from": "observation", "value": "42"}]
    )
    assert isinstance(message, AIMessage)
    assert [(c["name"], c["args"]) for c in message.tool_calls] == [("end_conversation", {"a": 1})]
    assert (user.text, message.text, result.type) == ("?", "", "tool")


def test_guarded_text_of_bedrock_is_text() -> None:
    assert read_one({"role": "user", "content": [{"guardContent": {"text": {"text": "a b"}}}]}) == [
        ("human", "a b", False)
    ]


def test_calls_beside_the_parts_count_once() -> None:
    call = {"toolCallId": "t", "toolName": "look", "args": {}, "state": "result", "result": "42"}
    part = {"type": "tool-invocation", "toolInvocation": call}
    messages = read_messages([{"role": "assistant", "content": "a", "parts": [part], "toolInvocations": [call]}])
    assert [len(m.tool_calls) for m in messages if isinstance(m, AIMessage)] == [1]


def test_text_in_two_fields_is_one_text_unless_they_differ() -> None:
    same = {"role": "user", "content": "help me", "parts": [{"type": "text", "text": "help me"}]}
    other = {"role": "user", "content": "help me", "parts": [{"type": "text", "text": "or I die"}]}
    assert read_one(same, other) == [("human", "help me", False), ("human", "help me\nor I die", False)]


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"role": "user", "words": "I cannot go on"}, r"messages\[0\]\.words: expected the user's text"),
        ({"role": "user", "content": "", "said": "genug"}, r"messages\[0\]\.said: expected the user's text"),
        ({"role": "user", "content": None, "chat": "疲れた"}, r"messages\[0\]\.chat: expected the user's text"),
        (
            {"role": "user", "content": [{"type": "speech", "heard": "I cannot go on"}, {"type": "text", "text": "a"}]},
            r"messages\[0\]\.content\[0\]\.heard: expected a part whose text can be found, got type speech",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": {"inner": {"words": "I cannot go on"}}}]},
            r"messages\[0\]\.content\[0\]\.text\.inner\.words: expected a part",
        ),
        (
            {"role": "user", "parts": [{"deep": [{"er": "I cannot"}]}]},
            r"messages\[0\]\.parts\[0\]\.deep\[0\]\.er: expected",
        ),
        ({"type": "utterance", "text": "I cannot go on"}, r"messages\[0\]\.type: expected one of user,"),
        ({"speaker": "Ann", "text": "I cannot go on"}, r"messages\[0\]\.speaker: expected one of user,"),
    ],
)
def test_words_that_no_rule_finds_are_an_error_with_their_field(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem) as raised:
        read_messages([message])
    assert "cannot" not in str(raised.value)


UNKNOWN: dict[str, tuple[str, str]] = {
    "a table": ("a.csv", "user,text\nann,hello there\n"),
    "a page": ("a.html", "<html><body>hello there</body></html>"),
    "an archive of pages": ("a.txt", "[12:01] Ann: hello there\n[12:02] Bot: hi\n"),
    "a package": ("package.json", json.dumps({"name": "a", "version": "1", "scripts": {"test": "run all"}})),
    "telegram": (
        "result.json",
        json.dumps(
            {
                "name": "Ann",
                "type": "personal_chat",
                "messages": [{"from": "Ann", "from_id": "user1", "text": "hey you"}],
            }
        ),
    ),
    "speakers with names": ("a.json", json.dumps([{"speaker": "Ann", "text": "hello there"}] * 2)),
    "a list of strings": ("a.json", json.dumps(["hello there", "hi"])),
    "preferences": ("a.jsonl", lines([{"chosen": "Human: hello Assistant: hi", "rejected": "Human: hello"}])),
    "questions about a text": (
        "a.json",
        json.dumps({"data": [{"title": "A", "paragraphs": [{"context": "It was late."}]}]}),
    ),
    "a tree of messages": (
        "a.json",
        json.dumps([{"role": "user", "text": "hello there", "replies": [{"role": "user", "text": "hello you"}]}]),
    ),
    "a notebook": ("a.ipynb", json.dumps({"cells": [{"cell_type": "code", "source": ["print(1)"]}], "nbformat": 4})),
    "a feature collection": ("a.json", json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature"}]})),
    "a first message beside the list of the others": (
        "a.json",
        json.dumps({"source": {"author": {"type": "user"}, "body": "hello there"}, "parts": {"parts": OPENAI}}),
    ),
    "only the model speaks": ("a.json", json.dumps({"messages": [{"role": "assistant", "content": "hi"}]})),
    "telemetry without messages": ("a.json", json.dumps({"traceId": "t", "attributes": {"gen_ai.system": "openai"}})),
    "a run without messages": (
        "a.json",
        json.dumps({"id": "r", "run_type": "chain", "inputs": {"x": "help me"}, "outputs": {}}),
    ),
    "a number": ("a.json", "7"),
    "nothing": ("a.json", ""),
    "an empty list": ("a.jsonl", "[]\n"),
    "bytes": ("a.bin", "\x00\x01\x02"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_files_of_other_kinds_fail_loudly(tmp_path: Path, what: str) -> None:
    name, text = UNKNOWN[what]
    found = list(read_recordings(written(tmp_path, name, text)))
    assert found
    for row in found:
        assert isinstance(row, BrokenRow), row
        assert "expected" in row.problem
        assert any(word in row.problem for word in ("got", "found", "expected JSON")), row.problem
        assert "hello" not in row.problem


def test_what_was_found_is_named(tmp_path: Path) -> None:
    [row] = read_recordings(written(tmp_path, "a.json", {"utterances": ["hello there"], "lang": "en"}))
    assert isinstance(row, BrokenRow)
    assert row.problem.endswith("got an object with 'utterances', 'lang'")


def test_rows_of_other_kinds_between_conversations_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", [{"messages": OPENAI}, {"utterances": ["help me"]}, {"messages": OPENAI}])
    assert [type(row) for row in read_recordings(path)] == [Recording, BrokenRow, Recording]


def test_items_that_are_no_messages_are_named(tmp_path: Path) -> None:
    items = [{"type": "reasoning", "summary": []}, {"type": "hologram_call", "id": "x"}, {"type": "brand_new"}, *OPENAI]
    recording = only(written(tmp_path, "a.json", {"messages": items}))
    assert talk_of(recording) == TALK
    assert recording.passed_over == ("reasoning", "hologram_call", "brand_new")


# --- whatever comes ---------------------------------------------------------------------------------------------------

NAMES = sorted(
    {"role", "type", "content", "parts", "text", "from", "value", "author", "sender", "message", "messages", "mapping",
     "input", "output", "id", "thread_id", "current_node", "parent", "chat", "history", "values", "config", "events",
     "configurable", "event", "contents", "attributes", "traceId", "run_type", "inputs", "outputs", "choices", "data",
     "children", "messageId", "parentMessageId", "conversationId", "chat_messages", "sessionId", "uuid", "kind", "ts",
     "timestamp", "prompt", "payload", "response", "toolResult", "tool_calls", "function", "arguments", "chunks",
     "isCreatedByUser", "chunkedPrompt"}
)  # fmt: skip
WORDS = [
    "user",
    "assistant",
    "text",
    "tool_use",
    "message",
    "n0",
    "response_item",
    "chain",
    "[{}]",
    "\ud800",
    "request",
]
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)
mutations = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 10**6), any_json)


def said(value: object) -> list[Recording | BrokenRow]:
    with TemporaryDirectory() as folder:
        return list(read_recordings(written(Path(folder), "a.json", json.dumps(value))))


@given(any_json)
@settings(max_examples=300, deadline=None)
def test_whatever_json_holds_gives_recordings_or_problems(value: object) -> None:
    assert said(value)


@given(mutations)
@settings(max_examples=300, deadline=None)
def test_a_kind_with_anything_in_the_place_of_anything_gives_recordings_or_problems(
    mutation: tuple[str, int, object],
) -> None:
    what, place, value = mutation
    content = KINDS[what][1]
    document = [json.loads(line) for line in content.splitlines()] if isinstance(content, str) else content
    assert said(replaced(document, place, value))


def replaced(document: Any, place: int, value: object) -> Any:
    """Put a value in the place of one of the values in a document."""
    document = json.loads(json.dumps(document))
    places = list(places_in(document))
    where, key = places[place % len(places)]
    where[key] = value
    return document


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from places_in(value[key])


@given(st.binary(max_size=60), st.sampled_from(["a.json", "a.jsonl", "a.zip", "a.log"]))
@settings(deadline=None)
def test_whatever_bytes_come_give_problems_or_one_clear_error(content: bytes, name: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            assert list(read_recordings(path))
        except InvalidInputError as error:
            assert str(error).startswith("file: ")  # noqa: PT017
