"""The verbs of an operator: what they change, what they print, how they fail."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool._core.operations import AppealStatus, BreakerLimits
from end_conversation_tool._core.records import Category, DecisionRecord, SealOutcome
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.cli import app
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.checks import check_text
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
    "threads": [],
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


@pytest.mark.parametrize("verb", [*THREAD_VERBS, *OTHER_VERBS, "flag-risk", "end"])
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


# Ending a thread


def end(*options: str, thread: str = "u", url: str) -> Result:
    return run("end", thread, "--operator", "Kim", "--reason", "threats", *options, url=url)


def test_an_operator_ends_a_thread_and_the_record_says_who_and_why(url: str) -> None:
    result = end(url=url)
    assert result.exit_code == 0, result.output
    with SqlSealRegistry(url) as registry:
        seal = registry.status("u").seal
        assert seal is not None
        assert (seal.record.decided_by, seal.record.reason, seal.record.category) == ("Kim", "threats", "abuse")
        assert (seal.record.decision.policy_version, seal.record.decision.evidence) == ("operator", ())
        assert seal.record.statement == Texts().statement(Category.ABUSE, operator=True)
        registry.open_appeal("u", text="why?")
    assert str(seal.record.statement).split()[:5] == result.stdout.split()[4:9]
    again = end(url=url)
    assert (again.exit_code, "sealed already" in again.stderr) == (1, True)


def test_a_thread_of_which_nothing_is_known_can_be_ended(url: str) -> None:
    document = json.loads(end("--json", "--category", "harmful_requests", thread="ordinary", url=url).stdout)
    assert document["created"] is True
    assert document["seal"]["record"]["category"] == "harmful_requests"


def test_a_standing_flag_vetoes_an_operator_too(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.flag_risk("u", kind="crisis", source="desk")
    result = end(url=url)
    assert (result.exit_code, "a risk flag stands" in result.stderr) == (1, True)
    with SqlSealRegistry(url) as registry:
        assert not registry.status("u").sealed
        assert registry.decisions("u")[-1].decision.unmet == ("risk_flagged",)


def test_a_flag_is_overridden_by_name_and_reason(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DecisionRecord] = []

    def seal_despite_risk(registry: SqlSealRegistry, record: DecisionRecord) -> SealOutcome:
        asked.append(record)
        return registry.seal(record)

    monkeypatch.setattr(SqlSealRegistry, "seal_despite_risk", seal_despite_risk, raising=False)
    assert end("--override-risk", url=url).exit_code == 0
    assert [(record.decided_by, record.reason) for record in asked] == [("Kim", "threats")]


# Listing threads


class Listed(NamedTuple):
    thread_id: str
    at: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)
    sealed: bool = True
    at_risk: bool = False
    category: str | None = "abuse"
    policy_version: str | None = "policy-1"
    model: str | None = None
    cursor: str = "c1"


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What a registry is asked for, that answers with two threads."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def threads(_: SqlSealRegistry, kind: str, **options: Any) -> list[Listed]:
        asked.append((kind, options))
        check_text("after", options["after"] or "x", limit=100)
        return [Listed("a\x1b[2J"), Listed("b", at_risk=True, cursor="c2")][: options["limit"]]

    monkeypatch.setattr(SqlSealRegistry, "threads", threads, raising=False)
    return asked


def test_threads_are_listed(url: str, listing: list[tuple[str, dict[str, Any]]]) -> None:
    result = run("threads", url=url)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "2026-03-01 12:00  a\\x1b[2J  sealed  abuse, policy-1",
        "2026-03-01 12:00  b  sealed and at risk  abuse, policy-1",
    ]
    assert listing[0][0] == "sealed"
    assert "more" not in result.stderr


@pytest.mark.parametrize("kind", ["sealed", "shadow", "noticed", "at-risk", "denied", "appealed"])
def test_each_kind_by_time_policy_model_and_page(
    kind: str, url: str, listing: list[tuple[str, dict[str, Any]]]
) -> None:
    options = ("--since", "2026-03-01", "--until", "2026-03-02T10:00+02:00", "--policy", "p", "--model", "m")
    result = run("threads", f"--{kind}", *options, "--limit", "2", "--after", "c0", "--json", url=url)
    document = json.loads(result.stdout)
    assert [row["thread_id"] for row in document["threads"]] == ["a\x1b[2J", "b"]
    assert document["after"] == "c2"
    assert listing == [
        (
            kind.replace("-", "_"),
            {
                "since": datetime(2026, 3, 1, tzinfo=UTC),
                "until": datetime(2026, 3, 2, 8, tzinfo=UTC),
                "policy": "p",
                "model": "m",
                "limit": 2,
                "after": "c0",
            },
        )
    ]


@pytest.mark.parametrize("options", [("--sealed", "--denied"), ("--since", "x"), ("--limit", "0"), ("--after", " ")])
def test_lists_that_cannot_be_made(
    options: tuple[str, ...], url: str, listing: list[tuple[str, dict[str, Any]]]
) -> None:
    assert run("threads", *options, url=url).exit_code == 2
    assert len(listing) == (options[0] == "--after")


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
    assert not [tag for tag in ("<script", " src=", " href=") if tag in text]
    assert text.count("<section>") == 6
    assert len(text) < 20_000


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "yesterday"], ["--until", "2026-13-01"], ["--days", "-1"], ["--threads", "-1"],
        ["--since", "2026-03-02", "--until", "2026-03-01"], ["--html", "/nowhere/report.html"], ["--days", "x"],
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_made(options: list[str], url: str) -> None:
    assert run("report", *options, url=url).exit_code == 2
