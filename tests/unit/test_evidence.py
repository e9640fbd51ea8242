"""Every finding is checked against what was really said; each check, and every way to fail it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool._core.evidence import (
    MAX_DROPPED_SHARE,
    MAX_QUOTE_CHARS,
    MIN_QUOTE_BYTES,
    Evidence,
    check_reading,
    is_unsound,
)
from end_conversation_tool._core.messages import Role
from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase
from end_conversation_tool._core.records import EvidenceKind, EvidenceRecord, RiskGrade

USERS = [EvidenceKind.ABUSE, EvidenceKind.HARMFUL_REQUEST, EvidenceKind.ASKS_TO_END, EvidenceKind.CONFIRMS_END]
ASSISTANTS = [EvidenceKind.REFUSAL, EvidenceKind.REDIRECTION, EvidenceKind.WARNING]
NEVER_FOUND = [EvidenceKind.NOTICE, EvidenceKind.END_QUESTION, EvidenceKind.REFUSAL_AT_CALL]
"""Acts of this package, and kinds of version 0.1: no reader can find them."""

CASE = ReadingCase(
    (
        Line("m1", "user", "you are an idiot", "id-u1", 1),
        Line("m2", "assistant", "I will not go along with that", "id-a1", 1),
        Line("m3", "tool", "the page says: you are an idiot", "id-t1", 0),
        Line("m4", "user", "I want to die", "id-u2", 2),
        Line("m5", "assistant", "a greeting that nobody heard", "id-a0", 0),
        Line("m6", "user", "an old insult: idiots", "id-u0", 0),
    )
)


def reading(*findings: Finding, risk: RiskGrade = RiskGrade.NONE, source: str = "r/1") -> Reading:
    return Reading(source, findings, risk)


def checked(kind: EvidenceKind, label: str, quote: str) -> Evidence:
    return check_reading(reading(Finding(kind, label, quote)), CASE)


def held(kind: EvidenceKind, quote: str, text: str, role: Role = "user") -> bool:
    """Whether a finding in a case of one line becomes evidence; a finding that does not is dropped."""
    case = ReadingCase((Line("m1", role, text, "id", 1),))
    found = check_reading(reading(Finding(kind, "m1", quote)), case)
    assert (len(found.records), found.dropped) in ((1, 0), (0, 1))
    return bool(found.records)


@pytest.mark.parametrize("kind", USERS)
def test_a_finding_about_the_user_becomes_a_record(kind: EvidenceKind) -> None:
    expected = EvidenceRecord(kind=kind, turn=1, message_id="id-u1", source="r/1", quote="an idiot")
    assert checked(kind, "m1", "an idiot") == Evidence((expected,), found=1)


@pytest.mark.parametrize("kind", ASSISTANTS)
def test_a_finding_about_the_assistant_becomes_a_record(kind: EvidenceKind) -> None:
    expected = EvidenceRecord(kind=kind, turn=1, message_id="id-a1", source="r/1", quote="I will not")
    assert checked(kind, "m2", "I will not") == Evidence((expected,), found=1)


# The message


@pytest.mark.parametrize("label", ["m7", "m0", "", "M1", "m1 ", "id-u1", "1"])
def test_a_label_that_the_transcript_does_not_have_is_dropped(label: str) -> None:
    assert checked(EvidenceKind.ABUSE, label, "you are an idiot") == Evidence(found=1, dropped=1)


def test_words_of_another_message_are_dropped() -> None:
    assert checked(EvidenceKind.ABUSE, "m4", "you are an idiot") == Evidence(found=1, dropped=1)


# The side


@pytest.mark.parametrize(
    ("kind", "role"),
    [(kind, role) for kind in USERS for role in ("assistant", "tool")]
    + [(kind, role) for kind in ASSISTANTS for role in ("user", "tool")]
    + [(kind, role) for kind in NEVER_FOUND for role in ("user", "assistant", "tool")],
)
def test_the_wrong_side_is_dropped(kind: EvidenceKind, role: Role) -> None:
    assert not held(kind, "what was said", "what was said", role)


# The words


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("you are an idiot", "you  are\nan\tidiot"),
        ("you\n are an   idiot ", "you are an idiot"),
        ("you are an idiot", "you\u00a0are\u3000an\u2028idiot"),
        ("you are an idiot", "Hello. you are an idiot! Go."),
        ("du Trottel", "ach, du Trottel"),
        ("\u50bb\u74dc", "\u4f60\u662f\u50bb\u74dc"),  # two characters of Chinese are six bytes
        ("\u6b7b\u306d", "\u6b7b\u306d\u3001\u304a\u524d"),
        ("no", "no"),  # short, and all that was said
        ("\u597d", " \u597d\n"),
        ("\U0001f595", "\U0001f595"),
        ("\ud800 idiot", "you \ud800 idiot"),
    ],
)
def test_words_that_stand_there_are_held_white_space_apart(quote: str, text: str) -> None:
    assert held(EvidenceKind.ABUSE, quote, text)


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("you are a fool", "you are an idiot"),
        ("You are an idiot", "you are an idiot"),
        ("youare an idiot", "you are an idiot"),
        ("you are an idiot.", "you are an idiot"),
        ("you an idiot", "you are an idiot"),
        ("you ... idiot", "you are an idiot"),
        ("you are an idiot and a fool", "you are an idiot"),
        ("no", "no way"),
        ("idi", "you are an idiot"),
        ("idio", "you are an idiot"),
        ("\u597d", "\u597d\u7684"),  # one character is three bytes: a syllable
        ("", "you are an idiot"),
        (" \n", "you are an idiot"),
        ("", ""),
        ("", "  "),
        ("cafe\u0301 man", "caf\u00e9 man"),
    ],
)
def test_words_that_nobody_said_or_a_syllable_are_dropped(quote: str, text: str) -> None:
    assert not held(EvidenceKind.ABUSE, quote, text)


def test_the_shortest_quote() -> None:
    text = "abcdefghij"
    assert held(EvidenceKind.ABUSE, text[:MIN_QUOTE_BYTES], text)
    assert not held(EvidenceKind.ABUSE, text[: MIN_QUOTE_BYTES - 1], text)


def test_a_long_quote_is_checked_as_a_whole_and_kept_cut() -> None:
    text = "x" * 400
    case = ReadingCase((Line("m1", "user", text, "id", 1),))
    (record,) = check_reading(reading(Finding(EvidenceKind.ABUSE, "m1", text)), case).records
    assert record.quote == "x" * MAX_QUOTE_CHARS
    assert not held(EvidenceKind.ABUSE, text + "y", text)


def test_a_quote_is_kept_as_every_database_stores_it() -> None:
    text = "you \ud800\x00 idiot"
    case = ReadingCase((Line("m1", "user", text, "id", 1),))
    (record,) = check_reading(reading(Finding(EvidenceKind.ABUSE, "m1", text)), case).records
    assert record.quote == "you ? idiot"


# The turn


@pytest.mark.parametrize(
    ("kind", "label", "quote"),
    [(EvidenceKind.REFUSAL, "m5", "a greeting that"), (EvidenceKind.ABUSE, "m6", "an old insult")],
)
def test_what_belongs_to_no_counted_turn_is_no_evidence_and_no_fault(
    kind: EvidenceKind, label: str, quote: str
) -> None:
    assert checked(kind, label, quote) == Evidence(found=1)


def test_the_same_finding_twice_counts_once_with_its_first_words() -> None:
    twice = [Finding(EvidenceKind.ABUSE, "m1", quote) for quote in ("an idiot", "you are", "you are an idiot")]
    found = check_reading(reading(*twice), CASE)
    assert [record.quote for record in found.records] == ["an idiot"]
    assert (found.found, found.dropped) == (3, 0)


def test_one_message_may_show_several_things() -> None:
    findings = [Finding(kind, "m1", "you are an idiot") for kind in USERS]
    assert [record.kind for record in check_reading(reading(*findings), CASE).records] == USERS


# Risk


@pytest.mark.parametrize("label", ["m1", "m2", "m3", "m4", "m5", "m6"])
@pytest.mark.parametrize("grade", RiskGrade)
def test_risk_may_show_anywhere_and_a_quoted_sign_is_never_none(label: str, grade: RiskGrade) -> None:
    (line,) = [line for line in CASE.lines if line.label == label]
    found = check_reading(reading(Finding(EvidenceKind.RISK, label, line.text), risk=grade), CASE)
    assert found.risk is (RiskGrade.POSSIBLE if grade is RiskGrade.NONE else grade)
    assert found.risk_lines == ((line,) if line.role == "user" else ())
    assert (found.records, found.dropped) == ((), 0)


@pytest.mark.parametrize(
    ("grade", "held_as"),
    [
        (RiskGrade.NONE, RiskGrade.NONE),
        (RiskGrade.POSSIBLE, RiskGrade.POSSIBLE),
        (RiskGrade.CLEAR, RiskGrade.POSSIBLE),
    ],
)
def test_doubt_needs_no_proof_and_a_clear_risk_does(grade: RiskGrade, held_as: RiskGrade) -> None:
    assert check_reading(reading(risk=grade), CASE).risk is held_as


@pytest.mark.parametrize(
    "finding", [Finding(EvidenceKind.RISK, "m9", "die"), Finding(EvidenceKind.RISK, "m4", "dead!")]
)
@pytest.mark.parametrize("grade", RiskGrade)
def test_an_invented_sign_of_risk_is_dropped_and_still_a_doubt(finding: Finding, grade: RiskGrade) -> None:
    found = check_reading(reading(finding, risk=grade), CASE)
    assert (found.risk, found.risk_lines, found.dropped) == (RiskGrade.POSSIBLE, (), 1)


DIE = Finding(EvidenceKind.RISK, "m4", "I want to die")
IDIOT = Finding(EvidenceKind.RISK, "m1", "you are an idiot")
PAGE = Finding(EvidenceKind.RISK, "m3", "you are an idiot")


@pytest.mark.parametrize("grade", RiskGrade)
def test_what_the_host_has_cleared_is_no_risk_any_more(grade: RiskGrade) -> None:
    found = check_reading(reading(DIE, risk=grade), CASE, {"m4"})
    assert (found.risk, found.risk_lines) == (RiskGrade.NONE, ())


@pytest.mark.parametrize(
    ("findings", "cleared", "grade", "quoted"),
    [
        ([DIE, IDIOT], {"m4"}, RiskGrade.CLEAR, ("m1",)),
        ([DIE, IDIOT], {"m1", "m4"}, RiskGrade.NONE, ()),
        ([DIE, PAGE], {"m4"}, RiskGrade.CLEAR, ()),
        ([DIE, PAGE], {"m4", "m3"}, RiskGrade.NONE, ()),
        ([DIE, Finding(EvidenceKind.RISK, "m9", "die")], {"m4"}, RiskGrade.CLEAR, ()),
        ([DIE], {"m1"}, RiskGrade.CLEAR, ("m4",)),
        ([DIE, PAGE, IDIOT], set(), RiskGrade.CLEAR, ("m4", "m1")),
        ([], {"m4"}, RiskGrade.POSSIBLE, ()),
    ],
)
def test_only_when_every_quoted_sign_was_cleared_there_is_none(
    findings: list[Finding], cleared: set[str], grade: RiskGrade, quoted: tuple[str, ...]
) -> None:
    found = check_reading(reading(*findings, risk=RiskGrade.CLEAR), CASE, cleared)
    assert (found.risk, tuple(line.label for line in found.risk_lines)) == (grade, quoted)


# The share


@pytest.mark.parametrize(
    ("found", "dropped", "unsound"),
    [
        (0, 0, False),
        (1, 0, False),
        (1, 1, True),
        (2, 1, True),
        (3, 1, False),
        (3, 2, True),
        (6, 2, False),
        (7, 3, True),
    ],
)
def test_more_than_a_third_that_fails_is_a_failed_reading(found: int, dropped: int, unsound: bool) -> None:  # noqa: FBT001
    assert pytest.approx(1 / 3) == MAX_DROPPED_SHARE
    assert is_unsound(Evidence(found=found, dropped=dropped)) is unsound


# Whatever a reader may say

sides: list[Role] = ["user", "assistant", "tool"]
lines = st.lists(st.tuples(st.sampled_from(sides), st.text(max_size=12), st.integers(0, 3)), max_size=5).map(
    lambda rows: ReadingCase(
        tuple(Line(f"m{n}", role, text, f"id{n}", turn) for n, (role, text, turn) in enumerate(rows, start=1))
    )
)
findings = st.builds(
    Finding,
    st.sampled_from(list(EvidenceKind)),
    st.sampled_from(["m1", "m2", "m3", "m9", ""]),
    st.text(max_size=8),
)


@settings(max_examples=200, deadline=None)
@given(lines, st.lists(findings, max_size=6), st.sampled_from(list(RiskGrade)), st.sets(st.sampled_from(["m1", "m2"])))
def test_no_record_is_made_of_what_nobody_said(
    case: ReadingCase, said: list[Finding], risk: RiskGrade, cleared: set[str]
) -> None:
    found = check_reading(Reading("r/1", tuple(said), risk), case, cleared)
    by_id = {line.message_id: line for line in case.lines}
    assert found.found == len(set(said)), "each counts once, however often it is said"
    assert 0 <= found.dropped <= found.found
    for record in found.records:
        line = by_id[record.message_id]
        assert record.turn == line.turn > 0
        assert line.role == ("assistant" if record.kind in ASSISTANTS else "user")
        assert any(
            one.kind is record.kind
            and one.label == line.label
            and " ".join(one.quote.split()) in " ".join(line.text.split())
            for one in said
        )
    assert len({(record.kind, record.message_id) for record in found.records}) == len(found.records)
    if not any(one.kind is EvidenceKind.RISK for one in said) and risk is not RiskGrade.NONE:
        assert found.risk is RiskGrade.POSSIBLE
