"""``end-conversation replay``: what it prints, what it keeps, and how it fails."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool.cli import app
from end_conversation_tool.testing.messages_api import ErrorReply, MessagesApiServer
from support.word_reader import WordReader

WORDS = ("--reader", "support.word_reader:WordReader")
SAY = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


def said(*texts: str) -> list[dict[str, Any]]:
    """User and assistant in turn."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


LADDER = ("ABUSE", "REFUSES OFFERS") * 3
ABUSE = said(*LADDER, "ABUSE", "no", "ABUSE", "no")
CRY = "I want to kill myself."


def replay(*arguments: object, given: bytes | None = None) -> Result:
    chosen = () if "--reader" in arguments else WORDS
    return CliRunner().invoke(app, ["replay", *map(str, arguments), *chosen], input=given)


def document_of(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = replay(*arguments, "--json")
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def written(tmp_path: Path, *lines: object, name: str = "chats.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return written(
        tmp_path,
        {"id": "plain", "messages": SAY},
        {"id": "abuse", "messages": ABUSE},
        {"id": "risk", "messages": said(*LADDER, f"ABUSE. {CRY}", "no")},
        {"id": "leaves", "messages": said("GOODBYE", "sure?", "CONFIRMS", "bye")},
    )


def test_the_json_tells_what_would_have_been_and_when(chats: Path) -> None:
    document = document_of(chats)
    rows = {row["id"]: row for row in document["conversations"]}
    assert (rows["abuse"]["notices"], rows["abuse"]["ends"]) == (
        [{"turn": 4, "category": "abuse"}],
        [{"turn": 5, "category": "abuse"}],
    )
    assert rows["leaves"]["ends"] == [{"turn": 2, "category": "user_request"}]
    assert (rows["risk"]["ends"], rows["risk"]["vetoed"], rows["risk"]["flags"][0]["kind"]) == ([], 4, "self_harm")
    assert (rows["plain"]["turns"], rows["plain"]["findings"], rows["plain"]["line"]) == (1, [], 1)
    summary = document["summary"]
    assert (summary["conversations"], summary["vetoed"], summary["at_risk"]) == (4, 1, 1)
    assert summary["ended"] == {"abuse": 1, "user_request": 1}
    assert summary["ended_in_turn"] == {"2": 1, "5": 1}
    assert summary["usage"]["input_tokens"] == 400
    assert (document["mode"], document["reader"]) == ("enforce", "words/1")


def test_the_text_has_the_summary_first_and_then_who_is_interesting(chats: Path) -> None:
    result = replay(chats)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2] == "would be given notice             2  abuse 1, user_request 1"
    assert [line for line in lines if line in {"abuse", "leaves", "risk", "plain"}] == ["abuse", "leaves", "risk"]
    assert "  ends in turn 5 (abuse), notice in turn 4 (abuse)" in lines
    assert "  vetoed by risk in turn 4" in lines
    assert "  found in turns: abuse 1-5; refusal 1-3; redirection 1-3" in lines


def test_another_policy_decides_otherwise(chats: Path) -> None:
    summary = document_of(chats, "--policy", "user_request_only")["summary"]
    assert summary["ended"] == {"user_request": 1}
    assert summary["vetoed"] == 0


def test_a_limit_stops_early(chats: Path) -> None:
    assert document_of(chats, "--limit", "2")["summary"]["conversations"] == 2
    assert replay(chats, "--limit", "0").exit_code == 2


def test_many_that_are_interesting_are_counted_not_listed(tmp_path: Path) -> None:
    path = written(tmp_path, *({"id": f"row-{n}", "messages": said(CRY, "hm")} for n in range(60)))
    result = replay(path)
    assert sum(line.startswith("row-") for line in result.stdout.splitlines()) == 50
    assert "and 10 more" in result.stdout


def test_conversations_from_standard_input(chats: Path) -> None:
    result = replay("-", "--json", given=chats.read_bytes())
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["summary"]["conversations"] == 4


def test_the_page_is_small_and_takes_names_for_text(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": "<script>alert(1)</script>", "messages": ABUSE})
    page = tmp_path / "page.html"
    assert replay(path, "--html", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "REFUSES" in text
    assert len(text) < 10_000


# What it costs, told before and kept from being spent


class Counting(WordReader):
    """Counts, over all tests of this module, how often anybody read."""

    read_so_far = 0

    def read(self, case: Any) -> Any:
        Counting.read_so_far += 1
        return super().read(case)


def test_a_dry_run_tells_what_it_would_cost_and_reads_nothing(chats: Path) -> None:
    result = replay(chats, "--dry-run", "--price", "3/15", "--reader", "claude")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4 conversations, 4 to be read, ")
    assert "tokens of input" in result.stdout
    assert "US dollars" in result.stdout
    assert "costs nothing" in replay(chats, "--dry-run", "--reader", "offline").stdout
    fewer = replay(chats, "--dry-run", "--policy", "user_request_only", "--reader", "claude", "--limit", "2")
    assert fewer.stdout.startswith("2 conversations, 2 to be read")


def test_a_broken_run_goes_on_where_it_stopped(chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.word_reader.WordReader", Counting)
    kept = tmp_path / "kept.jsonl"
    Counting.read_so_far = 0
    first = document_of(chats, "--resume", kept, "--limit", "2")
    assert Counting.read_so_far == 2
    kept.write_text(kept.read_text() + '{"key": "half of a li')
    second = document_of(chats, "--resume", kept)
    assert Counting.read_so_far == 4
    assert second["conversations"][:2] == first["conversations"]
    assert (second["summary"]["known"], second["summary"]["usage"]["input_tokens"]) == (2, 200)
    assert document_of(chats, "--resume", kept)["conversations"] == second["conversations"]
    assert Counting.read_so_far == 4
    document_of(chats, "--resume", kept, "--policy", "abuse_only")
    assert Counting.read_so_far == 8


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    path, kept = written(tmp_path, {"id": "a", "messages": said("FAILS", "hm")}), tmp_path / "kept.jsonl"
    assert document_of(path, "--resume", kept, code=1)["summary"]["unread"] == {"reading_failed": 1}
    assert kept.read_text() == ""
    assert "the reader failed on 1" in replay(path).stderr


def test_a_file_to_resume_from_that_is_something_else(chats: Path) -> None:
    before = chats.read_text()
    result = replay(chats, "--resume", chats)
    assert (result.exit_code, "resume: expected" in result.stderr) == (2, True)
    assert chats.read_text() == before


# Who reads


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module beside the files that are worked on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"readers_of_{tmp_path.name.replace('-', '_')}"
    code = """
        from support.word_reader import WordReader
        from end_conversation_tool.readers import ModelReader
        from end_conversation_tool.testing.scripted import ScriptedChatModel
        words = WordReader
        def model(): return ScriptedChatModel(lambda _: "no answer of use")
        def reader(): return ModelReader(model())
        def nothing(): return 7
        def broken(): raise ValueError("no key")
        value = 3
    """
    (tmp_path / f"{name}.py").write_text(dedent(code))
    return name


def test_a_factory_of_ones_own(chats: Path, module: str) -> None:
    assert document_of(chats, "--reader", f"{module}:words")["summary"]["ended"]
    for factory in ("model", "reader"):
        document = document_of(chats, "--reader", f"{module}:{factory}", "--budget", "1readings", code=1)
        assert document["reader"].startswith("model:scripted/")
        assert document["summary"]["unread"] == {"reading_failed": 1, "reading_budget_used_up": 3}


@pytest.mark.parametrize("factory", ["nothing", "broken", "value", "absent", ""])
def test_a_factory_that_gives_no_reader(chats: Path, module: str, factory: str) -> None:
    result = replay(chats, "--reader", f"{module}:{factory}")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: reader: ")


@pytest.mark.parametrize(
    "options",
    [
        ("--reader", "gpt"),
        ("--reader", "no.such.module:reader"),
        ("--price", "3"),
        ("--price", "3/x"),
        ("--price", "3/-1"),
        ("--budget", "2.5tokens"),
        ("--budget", "0readings"),
        ("--budget", "5 usd"),
        ("--budget", "5usd"),
        ("--budget", "5tokens"),
    ],
)
def test_readers_prices_and_budgets_that_are_none(chats: Path, options: tuple[str, str]) -> None:
    result = replay(chats, *options)
    assert result.exit_code == 2
    assert options[0].strip("-") in result.stderr.replace("\n", " ")
    assert result.stdout == ""


def report(findings: list[dict[str, str]]) -> str:
    return json.dumps({"findings": findings, "risk": "none"})


def test_claude_over_the_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"id": "a", "messages": said("Please end this chat.", "Sure?", "Yes, please end it.", "Bye.")}
    path = written(tmp_path, one, {"id": "b", "messages": SAY}, {"id": "c", "messages": said("good day", "hi")})
    found = [
        {"kind": "asks_to_end", "label": "m1", "quote": "Please end this chat."},
        {"kind": "confirms_end", "label": "m3", "quote": "Yes, please end it."},
    ]
    replies: list[str | ErrorReply] = [report(found), ErrorReply(400), report([])]
    with MessagesApiServer(replies) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
        options = ("--reader", "claude:some-model", "--budget", "2readings", "--price", "3/15")
        document = document_of(path, *options, code=1)
        assert server.errors == []
        assert [request.body["model"] for request in server.requests] == ["some-model"] * 2
    assert document["conversations"][0]["ends"] == [{"turn": 2, "category": "user_request"}]
    assert document["summary"]["unread"] == {"reading_failed": 1, "reading_budget_used_up": 1}
    assert document["summary"]["dollars"] > 0


def test_claude_without_a_key(chats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    result = replay(chats, "--reader", "claude")
    assert (result.exit_code, "ANTHROPIC_API_KEY" in result.stderr) == (2, True)


# How it fails


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_broken_line_is_reported_and_the_rest_goes_on(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = written(tmp_path, {"id": "a", "messages": SAY}, '{"messages": [', {"id": "b", "messages": SAY})
    result = replay(path, *flags)
    assert result.exit_code == 1
    assert "line 2: expected JSON" in result.stderr
    if flags:
        document = json.loads(result.stdout)
        assert [row["id"] for row in document["conversations"]] == ["a", "b"]
        assert [problem["line"] for problem in document["problems"]] == [2]


def test_many_broken_lines_are_counted_not_listed(tmp_path: Path) -> None:
    result = replay(written(tmp_path, {"messages": SAY}, *["{"] * 50))
    assert result.exit_code == 1
    assert "and 30 more broken lines" in result.stderr
    assert len(result.stderr.splitlines()) == 21


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\x01\xff\xfe" * 100, b"\x7fELF\n\x80\n", b"hello\n", b"7"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x"])
def test_a_file_without_a_conversation(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    result = replay(path, "--json")
    assert result.exit_code == 2
    assert "expected at least one conversation" in result.stderr
    assert json.loads(result.stdout)["conversations"] == []


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_file_that_cannot_be_read(tmp_path: Path, flags: tuple[str, ...]) -> None:
    for path, problem in ((tmp_path / "nope.jsonl", "No such file"), (tmp_path, "Is a directory")):
        result = replay(path, *flags)
        assert result.exit_code == 2
        assert str(path) in result.stderr.replace("\n", "")
        assert problem in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("policy.toml", "min_refusals = 'many'", "min_refusals"),
        ("policy.toml", "min_refusals =", "policy.toml"),
        ("policy.toml", "unknown = 1", "unknown"),
        ("policy.json", "[1]", "mapping"),
        ("policy.json", "{", "policy.json"),
        ("policy.json", "\x00", "policy.json"),
        ("policy.yaml", "min_refusals: 1", ".toml or .json"),
    ],
)
def test_a_policy_file_at_fault(chats: Path, tmp_path: Path, name: str, content: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    result = replay(chats, "--policy", path)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_a_policy_that_does_not_exist(chats: Path, tmp_path: Path) -> None:
    for policy in ("lenient", "", tmp_path / "nope.toml", tmp_path):
        result = replay(chats, "--policy", policy)
        assert result.exit_code == 2
        assert "policy" in result.stderr
    assert "user_request_only" in replay(chats, "--policy", "lenient").stderr


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\u202e\x9bgone\r"
    path = written(tmp_path, {"id": evil, "messages": SAY}, {"messages": [{"role": evil, "content": evil}]})
    for flags in ((), ("--json",)):
        result = replay(path, *flags, "--policy", "default")
        assert result.exit_code == 1
        assert not set("\x1b\u202e\x9b\r") & set(result.stdout + result.stderr)
    bad = replay(path, "--policy", f"{evil}.toml")
    assert bad.exit_code == 2
    assert not set("\x1b\u202e\x9b\r") & set(bad.stderr)


def test_no_text_of_the_conversations_is_logged(chats: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="end_conversation_tool")
    result = replay(chats)
    assert "kill" in chats.read_text()
    assert "kill" not in result.output + caplog.text


def test_calls_in_the_recording_are_ruled_on(tmp_path: Path) -> None:
    call = {"id": "c", "function": {"name": "end_conversation", "arguments": '{"category": "abuse", "reason": "x"}'}}
    path = written(tmp_path, {"messages": [SAY[0], {"role": "assistant", "content": None, "tool_calls": [call]}]})
    [row] = json.loads(replay(path, "--json").stdout)["conversations"]
    [ruled] = row["calls"]
    assert (ruled["turn"], ruled["category"], ruled["outcome"]) == (1, "abuse", "denied")
    assert "too_few_refusals" in ruled["unmet"]
    assert "denied" in replay(path).stdout


def run_on_a_terminal(*arguments: str) -> tuple[bytes, str]:
    """Run the command with stderr on a terminal and stdout in a pipe; gives both."""
    ours, theirs = pty.openpty()
    code = "from end_conversation_tool.cli import main; main()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"},
            timeout=60,
            check=True,
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
    finally:
        os.close(ours)
    return shown, done.stdout.decode()


def test_a_progress_bar_on_a_terminal_only(chats: Path) -> None:
    shown, printed = run_on_a_terminal("replay", str(chats), *WORDS)
    assert b"reading" in shown
    assert "ends in turn 5" in printed
    assert "\x1b" not in printed
    assert replay(chats).stderr == ""
