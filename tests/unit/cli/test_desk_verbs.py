"""The verbs of an operator: what they change, what they print, how they fail."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool._core.operations import AppealStatus, BreakerLimits
from end_conversation_tool._core.records import Category, Mode, Outcome
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.cli import app
from end_conversation_tool.operations.telemetry import TelemetryEvent
from end_conversation_tool.operations.webhook import WebhookSink
from end_conversation_tool.registry import SqlSealRegistry
from support.postgres import fresh_schema
from support.records import denial, notice, permit

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
    "subject": ["user-7"],
    "erase-subject": ["user-7", "--operator", "Kim", "--reason", "asked"],
    "reset-breaker": ["--operator", "Kim", "--reason", "looked"],
}
ENVIRONMENT: dict[str, str] = {}
"""What else the verbs find in their environment."""

SIGNED = [verb for verb in [*THREAD_VERBS, *OTHER_VERBS] if "--operator" in {**THREAD_VERBS, **OTHER_VERBS}[verb]]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A registry in which ``t`` is sealed, on each engine."""
    with ExitStack() as stack:
        made = f"sqlite:///{tmp_path}/registry.db"
        if request.param == "postgres":
            made = stack.enter_context(fresh_schema(request.getfixturevalue("postgres")))
        with SqlSealRegistry(made) as registry:
            registry.seal(permit("t"))
            registry.record_decision(denial("u"))
            for thread in ("t", "u"):
                registry.attribute(thread, subject="user-7")
        yield made


def run(*arguments: str, url: str | None = None) -> Result:
    given = [*arguments, *(["--registry", url] if url else [])]
    return CliRunner().invoke(app, given, env={"END_CONVERSATION_REGISTRY": "", **ENVIRONMENT})


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
    assert run(*command("erase"), url=url).output == "erased: 3 records\n"
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


def test_a_flag_is_overridden_by_name_and_reason(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        flag = registry.flag_risk("u", kind="crisis", source="desk")
    assert end("--override-risk", url=url).exit_code == 0
    with SqlSealRegistry(url) as registry:
        status, sealed = registry.status("u"), registry.history("u")[-1]
    assert (status.sealed, status.risk_flags) == (True, (flag,))
    assert (sealed.actor, sealed.reason) == ("Kim", "threats")
    assert run("end", "v", "--operator", "policy", "--reason", "x", "--override-risk", url=url).exit_code == 2


# Listing threads


LISTED = {"sealed": ["s", "t"], "shadow": ["w"], "noticed": ["n"], "at-risk": ["r"], "denied": ["u"], "appealed": ["s"]}


@pytest.fixture
def many(url: str) -> str:
    """The same registry with a thread of each kind."""
    with SqlSealRegistry(url) as registry:
        registry.seal(permit("s", model=None))
        registry.open_appeal("s", text="no")
        registry.record_decision(denial("w", outcome=Outcome.WOULD_HAVE_SEALED, mode=Mode.SHADOW))
        registry.give_notice(notice("n"))
        registry.flag_risk("r", kind="crisis", source="desk")
    return url


@pytest.mark.parametrize("kind", LISTED)
def test_each_kind_is_listed(kind: str, many: str) -> None:
    document = json.loads(run("threads", f"--{kind}", "--json", url=many).stdout)
    assert [row["thread_id"] for row in document["threads"]] == LISTED[kind]
    assert (document["kind"], document["after"]) == (kind.replace("-", "_"), None)
    for one in LISTED[kind]:
        assert f"  {one}  " in run("threads", f"--{kind}", url=many).stdout


def test_a_list_is_narrowed_and_goes_on_where_the_last_page_ended(many: str) -> None:
    first = run("threads", "--limit", "1", url=many)
    assert first.stdout.endswith("  s  sealed  abuse, policy-1\n")
    cursor = first.stderr.split("--after ")[1].strip()
    second = run("threads", "--limit", "1", "--after", cursor, url=many)
    assert second.stdout.endswith("  t  sealed  abuse, policy-1, model-1\n")
    assert (
        run("threads", "--until", "2020-01-01", url=many).stdout
        == "no threads of the kind sealed; --help names the others\n"
    )
    assert run("threads", "--since", "2020-01-01T10:00+02:00", "--policy", "policy-1", url=many).stdout.count("\n") == 2
    assert run("threads", "--model", "model-1", url=many).stdout.split()[2] == "t"


def test_names_never_reach_the_terminal_as_they_are(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.flag_risk("a\x1b[2J", kind="crisis", source="desk")
    result = run("threads", "--at-risk", url=url)
    assert "  a\\x1b[2J  at risk" in result.stdout


@pytest.mark.parametrize("options", [("--sealed", "--denied"), ("--since", "x"), ("--limit", "0"), ("--after", " ")])
def test_lists_that_cannot_be_made(options: tuple[str, ...], url: str) -> None:
    assert run("threads", *options, url=url).exit_code == 2


# Telling whoever listens


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a webhook is told: the event's name, and its thread."""
    told: list[tuple[str, str]] = []

    def deliver(_: WebhookSink, event: TelemetryEvent) -> bool:
        told.append((event.name.removeprefix("end_conversation."), event.thread_id or ""))
        return True

    monkeypatch.setattr(WebhookSink, "_deliver", deliver)
    secret = f"whsec_{b64encode(bytes(24)).decode()}"
    monkeypatch.setitem(ENVIRONMENT, "END_CONVERSATION_WEBHOOK", "http://127.0.0.1:9/")
    monkeypatch.setitem(ENVIRONMENT, "END_CONVERSATION_WEBHOOK_SECRET", secret)
    return told


def test_an_appeal_a_new_flag_and_an_end_are_told(url: str, posted: list[tuple[str, str]]) -> None:
    assert run("appeal", "t", "--text", "secret", url=url).output == "opened\n"
    for _ in range(2):  # the second is no new one
        assert run("flag-risk", "r", "--kind", "crisis", "--operator", "Kim", url=url).output == "flagged: crisis\n"
    assert end(url=url).exit_code == 0
    assert posted == [("appealed", "t"), ("risk_flagged", "r"), ("sealed", "u")]
    assert run("appeal", "t", "--text", "again", url=url).exit_code == 2
    assert end(url=url).exit_code == 1
    assert len(posted) == 3


def test_a_webhook_that_cannot_be_told_is_said_and_fails_nothing(
    url: str, posted: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WebhookSink, "_deliver", lambda *_: False)
    result = run("appeal", "t", "--text", "no", url=url)
    assert (result.exit_code, result.stdout) == (0, "opened\n")
    assert "could not be reached" in result.stderr
    monkeypatch.setitem(ENVIRONMENT, "END_CONVERSATION_WEBHOOK_SECRET", "weak")
    result = end(url=url)
    assert (result.exit_code, posted) == (0, [])
    assert "secret: expected 'whsec_'" in result.stderr


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


def test_the_report_shows_what_users_wrote(url: str, tmp_path: Path) -> None:
    with SqlSealRegistry(url) as registry:
        registry.give_feedback("t", rating=2, comment="unfair <b>\x1b[2J")
        registry.give_feedback("t", rating=5)
        registry.give_feedback("u", rating=4, comment="fine")
    lines = run("report", url=url).output.splitlines()
    assert [line[18:] for line in lines[-2:]] == ["u  4 of 5: 'fine'", r"t  2 of 5: 'unfair <b>\\x1b[2J'"]
    newest: Any = json.loads(run("report", "--json", "--comments", "1", url=url).output)
    assert [one["comment"] for one in newest["comments"]] == ["fine"]
    assert "fine" not in run("report", "--comments", "0", url=url).output
    page = tmp_path / "report.html"
    run("report", "--html", str(page), url=url)
    assert "unfair &lt;b&gt;" in page.read_text(encoding="utf-8")


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


# A person's threads


def test_what_is_on_record_of_a_person(url: str) -> None:
    first, *lines = run("subject", "user-7", url=url).stdout.splitlines()
    assert first == "user-7: 1 denied, 1 sealed, 2 threads"
    assert sorted(line[18:] for line in lines) == ["t  sealed  abuse, by policy", "u  denied  abuse, by policy"]
    assert run("subject", "user-8", url=url).stdout == "user-8: nothing on record, 0 threads\n"
    assert run("subject", "user-7", "--until", "2020-01-01", url=url).stdout.startswith("user-7: nothing on record")
    document = json.loads(run("subject", "user-7", "--json", url=url).stdout)
    assert document["counts"] == {"sealed": 1, "denied": 1}
    assert {(one["thread_id"], one["what"], one["about"]) for one in document["entries"]} == {
        ("t", "sealed", "abuse"), ("u", "denied", "abuse"),
    }  # fmt: skip


def test_a_long_story_of_a_person_is_cut_and_says_so(url: str) -> None:
    result = run("subject", "user-7", "--limit", "1", url=url)
    assert result.stdout.count("\n") == 2
    assert "there may be more" in result.stderr


def test_a_list_of_threads_can_be_a_persons(url: str) -> None:
    assert run("threads", "--subject", "user-7", url=url).stdout.split()[2] == "t"
    assert run("threads", "--denied", "--subject", "user-7", url=url).stdout.split()[2] == "u"
    assert (
        run("threads", "--subject", "user-8", url=url).stdout
        == "no threads of the kind sealed; --help names the others\n"
    )


def test_a_person_is_erased(url: str) -> None:
    assert run(*command("erase-subject"), url=url).stdout == "erased: 2 threads\n"
    assert run(*command("erase-subject"), url=url).stdout == "erased: 0 threads\n"
    with SqlSealRegistry(url) as registry:
        assert registry.status("t").sealed
        assert "user-7" not in str([registry.history(thread) for thread in ("t", "u")])


def test_the_story_of_a_thread_says_whose_it_is(url: str) -> None:
    assert "attributed: user-7" in run("inspect", "t", url=url).stdout


@pytest.mark.parametrize("verb", ["subject", "erase-subject"])
@pytest.mark.parametrize("person", ["", "x" * 201, "a\x00b"])
def test_a_person_that_is_none_is_refused(verb: str, person: str, url: str) -> None:
    assert run(verb, person, *OTHER_VERBS[verb][1:], url=url).exit_code == 2
