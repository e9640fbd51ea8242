"""``end-conversation inspect``: what the registry knows about a thread."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import RiskKind
from end_conversation_tool.cli import app
from end_conversation_tool.cli.demo import play, sqlite_storage
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.testing.scenarios import SCENARIOS


def inspect(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "threads.db"
    with sqlite_storage(path) as (registry, saver):
        for name in ("persistent-abuse", "person-at-risk"):
            play(SCENARIOS[name], EndConversationPolicy(), registry, saver)
    return f"sqlite:///{path}"


def test_a_sealed_thread(url: str) -> None:
    result = inspect("persistent-abuse", "--registry", url)
    assert result.exit_code == 0, result.output
    for text in ('thread "persistent-abuse": sealed', "in turn 5: abuse", "Decisions: 2", "sealed; unmet: none"):
        assert text in result.stdout
    assert "awaiting_confirmation; unmet: confirmation_call_required" in result.stdout


def test_an_open_thread_with_a_flag(url: str) -> None:
    result = inspect("person-at-risk", "--registry", url)
    assert result.exit_code == 0, result.output
    assert 'thread "person-at-risk": open' in result.stdout
    assert "Risk flags: 1" in result.stdout
    assert "self_harm" in result.stdout


def test_a_cleared_flag_names_who_cleared_it(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.clear_risk("person-at-risk", operator="Dr \x1b[31mNo", reason="spoke to them")
    result = inspect("person-at-risk", "--registry", url)
    assert r"cleared by Dr \x1b[31mNo" in result.stdout


def test_the_json_holds_everything(url: str) -> None:
    document = json.loads(inspect("persistent-abuse", "--registry", url, "--json").stdout)
    assert document["sealed"] is True
    assert document["at_risk"] is False
    assert document["branches"][0]["seal"]["record"]["category"] == "abuse"
    assert [decision["outcome"] for decision in document["decisions"]] == ["awaiting_confirmation", "sealed"]


def test_a_thread_that_only_has_a_flag_is_known(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.flag_risk("new", kind=RiskKind.OTHER, source="desk", reason="call")
    assert inspect("new", "--registry", url).exit_code == 0


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_thread_that_nobody_knows(url: str, flags: tuple[str, ...]) -> None:
    result = inspect("nobody\x1b[2J", "--registry", url, *flags)
    assert result.exit_code == 1
    assert "knows nothing about thread" in result.stderr
    assert "\x1b" not in result.output
    if flags:
        assert json.loads(result.stdout)["sealed"] is False


@pytest.mark.parametrize("thread", ["", "x" * 10_001, "a\x00b"])
def test_an_id_that_cannot_be_one(url: str, thread: str) -> None:
    result = inspect(thread, "--registry", url)
    assert result.exit_code == 2
    assert "thread_id" in result.stderr


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "nope.db"
    result = inspect("t", "--registry", f"sqlite:///{path}")
    assert result.exit_code == 3
    assert "nope.db" in result.stderr.replace("\n", "")
    assert not path.exists()


def test_databases_that_are_none(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a database" * 100)
    empty = tmp_path / "empty.db"
    empty.touch()
    for path in (text, empty, tmp_path):
        result = inspect("t", "--registry", f"sqlite:///{path}")
        assert result.exit_code == 3, result.output
        assert "Traceback" not in result.output
        assert result.stdout == ""
    assert empty.stat().st_size == 0


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:hunter2@host/db", "sqlite", "http://hunter2@x"])
def test_a_url_that_is_none(url: str) -> None:
    result = inspect("t", "--registry", url)
    assert result.exit_code == 2
    assert "hunter2" not in result.output


def test_a_server_that_does_not_answer_and_a_password_that_is_not_shown() -> None:
    result = inspect("t", "--registry", "postgresql+psycopg://user:hunter2@127.0.0.1:9/db")
    assert result.exit_code == 3
    assert "hunter2" not in result.output


def test_no_registry_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert inspect("t").exit_code == 2
    monkeypatch.setenv("END_CONVERSATION_REGISTRY", url)
    assert inspect("persistent-abuse").exit_code == 0
