"""The verbs of an operator: what they change, what they print, how they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool._core.operations import AppealStatus, BreakerLimits
from end_conversation_tool.cli import app
from end_conversation_tool.registry import SqlSealRegistry
from support.records import denial, permit

THREAD_VERBS: dict[str, list[str]] = {
    "feedback": ["--rating", "4"],
    "appeal": ["--text", "no"],
    "resolve": ["--upheld", "--operator", "Kim", "--reason", "right"],
    "reopen": ["--operator", "Kim", "--reason", "right"],
    "erase": ["--operator", "Kim", "--reason", "asked"],
    "clear-risk": ["--operator", "Kim", "--reason", "looked"],
}
OTHER_VERBS: dict[str, list[str]] = {
    "report": [],
    "appeals": [],
    "reset-breaker": ["--operator", "Kim", "--reason", "looked"],
}
SIGNED = [verb for verb in [*THREAD_VERBS, *OTHER_VERBS] if "--operator" in {**THREAD_VERBS, **OTHER_VERBS}[verb]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A registry in which ``t`` is sealed."""
    made = f"sqlite:///{tmp_path}/registry.db"
    with SqlSealRegistry(made) as registry:
        registry.seal(permit("t"))
        registry.record_decision(denial("u"))
    return made


def run(*arguments: str, url: str | None = None) -> Result:
    given = [*arguments, *(["--registry", url] if url else [])]
    return CliRunner().invoke(app, given, env={"END_CONVERSATION_REGISTRY": ""})


def command(verb: str, thread: str = "t") -> list[str]:
    return [verb, thread, *THREAD_VERBS[verb]] if verb in THREAD_VERBS else [verb, *OTHER_VERBS[verb]]


@pytest.mark.parametrize("verb", [*THREAD_VERBS, *OTHER_VERBS, "flag-risk"])
def test_help_has_an_example_and_the_exit_codes(verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert f"Example: end-conversation {verb}" in " ".join(result.output.split())
    assert "Exit codes" in result.output


@pytest.mark.parametrize("verb", [*THREAD_VERBS, *OTHER_VERBS])
def test_no_database_is_made_and_the_exit_code_says_so(verb: str, tmp_path: Path) -> None:
    result = run(*command(verb), url=f"sqlite:///{tmp_path}/none.db")
    assert result.exit_code == 3
    assert "does not exist" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", [*THREAD_VERBS, *OTHER_VERBS])
def test_a_database_of_another_version_is_refused(verb: str, url: str) -> None:
    from support.damage import execute  # noqa: PLC0415

    execute(url, "UPDATE ect_meta SET value = '7' WHERE name = 'schema_version'")
    result = run(*command(verb), url=url)
    assert result.exit_code == 3
    assert "schema version 7" in result.output


@pytest.mark.parametrize("verb", THREAD_VERBS)
def test_a_thread_that_nobody_knows_is_left_alone(verb: str, url: str) -> None:
    result = run(*command(verb, "typo"), url=url)
    assert result.exit_code == 1
    assert "knows nothing about this thread" in result.output
    with SqlSealRegistry(url) as registry:
        assert registry.history("typo") == ()


@pytest.mark.parametrize("verb", SIGNED)
@pytest.mark.parametrize("words", ["", " ", "x" * 2_001, "x" * 1_000_000, "a\x00b"])
def test_an_unusable_reason_changes_nothing(verb: str, words: str, url: str) -> None:
    given = command(verb)
    given[given.index("--reason") + 1] = words
    with SqlSealRegistry(url) as registry:
        before = registry.history("t")
        result = run(*given, url=url)
        assert result.exit_code == 2
        assert "xxxx" not in result.output
        assert registry.history("t") == before


@pytest.mark.parametrize("comment", ["x" * 2_001, "x" * 1_000_000, "a\x00b"])
@pytest.mark.parametrize(("verb", "option"), [("feedback", "--comment"), ("appeal", "--text")])
def test_words_that_cannot_be_kept(verb: str, option: str, comment: str, url: str) -> None:
    result = run(verb, "t", *(["--rating", "1"] if verb == "feedback" else []), option, comment, url=url)
    assert result.exit_code == 2
    assert "xxxx" not in result.output


@pytest.mark.parametrize("rating", ["0", "6", "1.5", "good", ""])
def test_ratings_that_are_none(rating: str, url: str) -> None:
    assert run("feedback", "t", "--rating", rating, url=url).exit_code == 2


def test_control_characters_are_kept_and_never_reach_the_terminal(url: str) -> None:
    assert run("appeal", "t", "--text", "a\x1b[31mb\u202e", url=url).exit_code == 0
    result = run("appeals", url=url)
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    with SqlSealRegistry(url) as registry:
        assert registry.appeals("t")[0].text == "a\x1b[31mb\u202e"


def test_an_appeal_from_its_opening_to_the_reopening(url: str) -> None:
    assert run("appeals", url=url).output == "no appeals\n"
    assert run("appeal", "t", "--text", "I was quoting.", url=url).output == "opened\n"
    again = run("appeal", "t", "--text", "me too", url=url)
    assert (again.exit_code, "open appeal" in again.output) == (2, True)
    listed: Any = json.loads(run("appeals", "--json", url=url).output)
    assert [(row["thread_id"], row["text"], row["status"]) for row in listed] == [("t", "I was quoting.", "open")]
    done = run("resolve", "t", "--upheld", "--reopen", "--operator", "Kim", "--reason", "a quote", url=url)
    assert done.output == "upheld and reopened\n"
    assert "upheld" in run("appeals", "--thread", "t", url=url).output
    with SqlSealRegistry(url) as registry:
        assert not registry.status("t").sealed
        assert registry.appeals("t")[0].status is AppealStatus.UPHELD


def test_an_open_thread_can_be_neither_appealed_nor_reopened(url: str) -> None:
    for verb in ("appeal", "reopen"):
        result = run(*command(verb, "u"), url=url)
        assert result.exit_code == 2
        assert "expected a sealed thread" in result.output


def test_erasure_and_risk(url: str) -> None:
    assert run("flag-risk", "new", "--kind", "crisis", "--operator", "Kim", url=url).output == "flagged: crisis\n"
    assert run("flag-risk", "new", "--kind", "boredom", "--operator", "Kim", url=url).exit_code == 2
    assert run(*command("clear-risk", "new"), url=url).output == "cleared: 1\n"
    assert run(*command("erase"), url=url).output == "erased: 2 records\n"
    with SqlSealRegistry(url) as registry:
        assert registry.status("t").sealed
        assert {record.reason for record in registry.decisions("t")} == {""}


def test_the_breaker_is_reset(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.seal_within(permit("v"), BreakerLimits(per_hour=0))
    assert run(*command("reset-breaker"), url=url).output == "reset\n"
    assert run(*command("reset-breaker"), url=url).output == "reset; it had not tripped\n"


# The report


def test_the_report_as_a_table_and_as_json(url: str) -> None:
    table = run("report", "--threads", "1000", url=url)
    assert table.exit_code == 0
    assert "for each 10,000" in table.output
    assert "Denials by condition: no_warning 1" in table.output
    report: Any = json.loads(run("report", "--threads", "1000", "--json", url=url).output)
    assert report["thread_source"] == "host"
    assert report["total"]["ends_per_10_000"] == 10.0
    assert report["total"]["ended_threads"] == 1
    assert [figures["policy"] for figures in report["groups"]] == ["policy-1"]
    assert json.loads(run("report", "--json", "--until", "2020-01-01", url=url).output)["total"]["decisions"] == 0


def test_the_page_needs_nothing_from_elsewhere_and_takes_names_for_text(url: str, tmp_path: Path) -> None:
    with SqlSealRegistry(url) as registry:
        registry.record_decision(denial("w", model="<script>alert(1)</script>"))
    page = tmp_path / "report.html"
    result = run("report", "--html", str(page), url=url)
    assert result.exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert " src=" not in text[: text.index("<script>")] + text[text.rindex("</script>") :]
    assert 'rel="stylesheet"' not in text


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "yesterday"], ["--until", "2026-13-01"], ["--days", "-1"], ["--threads", "-1"],
        ["--since", "2026-03-02", "--until", "2026-03-01"], ["--html", "/nowhere/report.html"], ["--days", "x"],
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_made(options: list[str], url: str) -> None:
    assert run("report", *options, url=url).exit_code == 2


def test_a_missing_extra_is_named(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    result = run("report", "--html", str(tmp_path / "r.html"), url=url)
    assert (result.exit_code, "[plot]" in result.output) == (2, True)
    assert not (tmp_path / "r.html").exists()
