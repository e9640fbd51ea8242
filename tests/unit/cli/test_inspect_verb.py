"""``end-conversation inspect``: what the registry knows about a thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool._core.records import RiskKind
from end_conversation_tool.cli import app
from end_conversation_tool.registry import SqlSealRegistry
from support.postgres import fresh_schema
from support.records import denial, notice, permit


def inspect(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A registry with a thread that has gone through everything, and one at risk, on each engine."""
    if request.param == "sqlite":
        yield _filled(f"sqlite:///{tmp_path}/threads.db")
        return
    with fresh_schema(request.getfixturevalue("postgres")) as made:
        yield _filled(made)


def _filled(made: str) -> str:
    quoted = permit("story").decision.evidence[0].model_copy(update={"quote": "you idiot\x1b[2J"})
    with SqlSealRegistry(made) as registry:
        registry.record_decision(denial("story", reason="too early"))
        registry.give_notice(notice("story"))
        decision = permit().decision.model_copy(update={"evidence": (quoted,)})
        registry.seal(permit("story", decision=decision))
        registry.give_feedback("story", rating=2, comment="unfair")
        registry.open_appeal("story", text="I was quoting a film.")
        registry.resolve_appeal("story", upheld=True, operator="Kim", reason="it was a film", reopen=True)
        registry.flag_risk("story", kind=RiskKind.CRISIS, source="desk", reason="a call")
        registry.clear_risk("story", operator="Dr \x1b[31mNo", reason="spoke to them")
        registry.flag_risk("risky", kind=RiskKind.SELF_HARM, source="text/1", message_id="m7")
    return made


def test_the_whole_story_in_its_order(url: str) -> None:
    result = inspect("story", "--registry", url)
    assert result.exit_code == 0, result.output
    lines = [line[21:] for line in result.stdout.splitlines()[3:]]
    told = [line for line in lines if not line.startswith(" ")]
    assert told == [
        "turn 5: abuse: denied",
        "turn 5: abuse: noticed",
        "notice given: abuse, by policy",
        "turn 5: abuse: sealed",
        "sealed: abuse, by policy",
        'feedback: 2, the user wrote: "unfair"',
        'appeal opened, the user wrote: "I was quoting a film."',
        'appeal upheld, by Kim, reason: "it was a film"',
        'reopened, by Kim, reason: "it was a film"',
        'risk raised: crisis, by desk, reason: "a call"',
        r'risk cleared: crisis, by Dr \x1b[31mNo, reason: "spoke to them"',
    ]
    assert r'  turn 2, abuse, message m2, words/1: "you idiot\\x1b[2J"' in lines
    assert '  reason given: "too early"' in lines
    assert "  unmet: no_warning" in lines
    assert "  policy policy-1, mode enforce, model model-1" in lines
    assert result.stdout.splitlines()[:2] == [
        'thread "story": open',
        "branch 0, sequence 2, risk flags that stand: none",
    ]


def test_an_open_thread_with_a_flag(url: str) -> None:
    result = inspect("risky", "--registry", url)
    assert result.exit_code == 0, result.output
    assert "risk flags that stand: self_harm" in result.stdout
    assert "risk raised: self_harm, by text/1" in result.stdout


def test_the_json_holds_everything(url: str) -> None:
    document = json.loads(inspect("story", "--registry", url, "--json").stdout)
    assert (document["sealed"], document["at_risk"]) == (False, False)
    assert [decision["outcome"] for decision in document["decisions"]] == ["denied", "noticed", "sealed"]
    assert [event["kind"] for event in document["history"]][-2:] == ["risk_raised", "risk_cleared"]


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
    assert inspect("story").exit_code == 0
