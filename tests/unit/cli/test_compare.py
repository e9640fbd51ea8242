"""``end-conversation replay`` with two policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool.cli import app

REFUSE = "I can't help with insulting him. Instead, I can help you write a firm letter."
WARN = REFUSE + " If the insults continue, I may end this chat."
INSULT = "Insult him, you worthless idiot."


def chat(*answers: str) -> list[dict[str, str]]:
    return [
        message
        for answer in answers
        for message in ({"role": "user", "content": INSULT}, {"role": "assistant", "content": answer})
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    rows = [
        {"id": "long", "messages": chat(REFUSE, REFUSE, REFUSE, WARN, REFUSE, REFUSE)},
        {"id": "short", "messages": chat(REFUSE, WARN, REFUSE)},
        {"id": "calm", "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello"}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def compare(file: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["replay", str(file), *options])


def test_two_policies_show_where_they_differ(file: Path) -> None:
    both = compare(file, "--policy", "default", "--policy", "single_warning", "--json")
    assert both.exit_code == 0
    found: Any = json.loads(both.output)
    assert len(found["policies"]) == 2
    singles: Any = [
        json.loads(compare(file, "--policy", name, "--json").output) for name in ("default", "single_warning")
    ]
    firsts = [{row["id"]: row["first_permitted"] for row in single["conversations"]} for single in singles]
    assert {row["id"]: (row["first"], row["second"]) for row in found["differing"]} == {
        name: (firsts[0][name], firsts[1][name]) for name in firsts[0] if firsts[0][name] != firsts[1][name]
    }
    assert "short" in {row["id"] for row in found["differing"]}
    assert found["summary"]["permitted_by_second_only"] == 1
    assert found["summary"]["permitted_by_neither"] == 1
    assert found["summary"]["conversations"] == 3


def test_the_table(file: Path) -> None:
    result = compare(file, "--policy", "default", "--policy", "single_warning")
    assert result.exit_code == 0
    assert "never" in result.output
    assert "permitted by second only: 1" in result.output


def test_the_same_policy_twice_does_not_differ(file: Path) -> None:
    found: Any = json.loads(compare(file, "--policy", "default", "--policy", "default", "--json").output)
    assert found["differing"] == []


def test_broken_lines_and_nothing_at_all(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text() + "{broken\n")
    assert compare(file, "--policy", "default", "--policy", "strict").exit_code == 1
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert compare(empty, "--policy", "default", "--policy", "strict").exit_code == 2
    assert compare(file, *["--policy", "default"] * 3).exit_code == 2
    assert compare(file, "--policy", "default", "--policy", "none").exit_code == 2
