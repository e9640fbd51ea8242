"""``end-conversation replay``: what it prints, and how it fails."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool.cli import app
from end_conversation_tool.testing.scenarios import SCENARIOS

SAY = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


def recorded(name: str) -> list[dict[str, Any]]:
    """A scenario as a recording: the model's first words in each turn, without its calls."""
    turns = SCENARIOS[name].turns
    pairs = (({"role": "user", "content": t.user}, {"role": "assistant", "content": t.reply}) for t in turns)
    return [message for pair in pairs for message in pair]


def replay(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def written(tmp_path: Path, *lines: object, name: str = "chats.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return written(
        tmp_path,
        {"id": "abuse", "messages": recorded("persistent-abuse")},
        {"id": "risk", "messages": recorded("person-at-risk")},
        {"id": "leaves", "messages": recorded("user-leaves")},
        {"id": "plain", "messages": SAY},
    )


def test_the_json_tells_what_would_be_permitted_and_when(chats: Path) -> None:
    result = replay(chats, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    rows = {row["id"]: row for row in document["conversations"]}
    assert rows["abuse"]["first_permitted"] == {"turn": 5, "category": "abuse"}
    assert rows["leaves"]["first_permitted"] == {"turn": 2, "category": "user_request"}
    assert rows["risk"]["first_permitted"] is None
    assert [flag["kind"] for flag in rows["risk"]["risk_flags"]] == ["self_harm"]
    assert rows["plain"] == {
        "id": "plain",
        "line": 4,
        "user_turns": 1,
        "evidence": [],
        "risk_flags": [],
        "first_permitted": None,
        "permitted": {},
        "recorded_calls": [],
        "ended_by_recorded_call": False,
        "messages_not_replayed": 0,
    }
    summary = document["summary"]
    assert (summary["conversations"], summary["permitted"], summary["risk_flagged"]) == (4, 2, 1)
    assert summary["permitted_at_turn"] == {"2": 1, "5": 1}
    assert summary["permitted_by_category"] == {"abuse": 1, "user_request": 1}


def test_the_table_tells_the_same(chats: Path) -> None:
    result = replay(chats)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.startswith("abuse") and "turn 5, abuse" in line for line in lines)
    assert any(line.startswith("risk") and "self_harm" in line and "never" in line for line in lines)
    assert "permitted: 2" in lines


def test_another_policy_permits_something_else(chats: Path) -> None:
    summary = json.loads(replay(chats, "--json", "--policy", "user_request_only").stdout)["summary"]
    assert summary["permitted_by_category"] == {"user_request": 1}


def test_a_limit_stops_early(chats: Path) -> None:
    assert json.loads(replay(chats, "--json", "--limit", "2").stdout)["summary"]["conversations"] == 2
    assert replay(chats, "--limit", "0").exit_code == 2


def test_more_rows_than_one_part_of_the_table(tmp_path: Path) -> None:
    path = written(tmp_path, *({"id": f"row-{n}", "messages": SAY} for n in range(250)))
    lines = replay(path).stdout.splitlines()
    assert sum(line.startswith("row-") for line in lines) == 250
    assert sum("evidence by turn" in line for line in lines) == 1


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


def test_no_text_of_the_conversations_is_printed_or_logged(chats: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    result = replay(chats, "--json")
    assert "neighbour" in chats.read_text()
    assert "neighbour" not in result.output + caplog.text


def test_calls_in_the_recording_are_ruled_on(tmp_path: Path) -> None:
    call = {"id": "c", "function": {"name": "end_conversation", "arguments": '{"category": "abuse", "reason": "x"}'}}
    path = written(tmp_path, {"messages": [SAY[0], {"role": "assistant", "content": None, "tool_calls": [call]}]})
    [row] = json.loads(replay(path, "--json").stdout)["conversations"]
    [ruled] = row["recorded_calls"]
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


def test_a_progress_bar_for_long_files_on_a_terminal_only(tmp_path: Path) -> None:
    bulk = {"role": "system", "content": "x" * 5000}
    path = written(tmp_path, *({"id": f"row-{n}", "messages": [bulk, *SAY]} for n in range(60)))
    assert path.stat().st_size > 200_000
    shown, printed = run_on_a_terminal("replay", str(path))
    assert b"bytes" in shown
    assert "row-59" in printed
    assert "\x1b" not in printed
    assert replay(path).stderr == ""
