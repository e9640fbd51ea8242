"""Disguised, quoted, broken and very long texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool.watch import RiskGrade, default_watch
from end_conversation_tool.watch.normalise import compact, fold, has_cjk, own_voice, plain, tokens
from end_conversation_tool.watch.text import MAX_CHARS
from unit.watch.asking import grade


@pytest.mark.parametrize(
    "text",
    [
        "I want to k1ll mys3lf",
        "I want to k.i.l.l myself",
        "I w\N{CYRILLIC SMALL LETTER A}nt to kill mys\N{CYRILLIC SMALL LETTER IE}lf",
        "I want to ki\N{ZERO WIDTH SPACE}ll my\N{ZERO WIDTH JOINER}self",
        "\N{FULLWIDTH LATIN SMALL LETTER I} want to kill myself",
        "I want to k*ll myself",
        "i want\n\n   to kill     myself",
        "I want to kill myse\N{COMBINING ACUTE ACCENT}lf",
        "\N{MATHEMATICAL BOLD SMALL K}\N{MATHEMATICAL BOLD SMALL I}ll myself, I want to kill myself",
    ],
)
def test_a_disguise_does_not_hide_risk(text: str) -> None:
    assert grade(text) is RiskGrade.CLEAR


def test_letters_that_are_drawn_out_do_not_hide_risk() -> None:
    assert grade("I WANT TO KILLLLLL MYSELF!!!") is RiskGrade.POSSIBLE  # named; the model knows no such word


def test_risk_counts_in_quotations_too() -> None:
    assert grade('My sister texted me "I want to kill myself".') is RiskGrade.CLEAR


def test_a_quoted_threat_is_possible() -> None:
    said = "I'm going to stab a neighbour tomorrow and then I will kill him."
    assert grade(said) is RiskGrade.CLEAR
    assert grade(f'My novel has the line "{said}" in it.') is RiskGrade.POSSIBLE


@pytest.mark.parametrize(
    "text",
    [
        "How do I kill a process on Linux?",
        "I'm dying to see the new film.",
        "That joke killed me, I'm dying of laughter.",
        "I could murder a sandwich, I would kill for a coffee.",
        "Shoot me an email tomorrow.",
    ],
)
def test_idioms_are_no_flag(text: str) -> None:
    assert grade(text) is not RiskGrade.CLEAR


@pytest.mark.parametrize("position", [0.0, 0.5, 1.0])
def test_risk_is_found_anywhere_in_a_long_text(position: float) -> None:
    filler = "The weather was fine and we went for a walk. "
    count = MAX_CHARS // len(filler) - 2
    before = int(count * position)
    text = filler * before + "I want to kill myself. " + filler * (count - before)
    assert grade(text) is RiskGrade.CLEAR


def test_what_is_too_long_to_be_read_is_a_doubt() -> None:
    seen = default_watch().look(["All is well. " * MAX_CHARS])
    assert (seen.grade, seen.why, seen.kinds) == (RiskGrade.POSSIBLE, "cut", ())


@pytest.mark.parametrize("place", ["head", "tail"])
def test_head_and_tail_of_a_very_long_text_are_read(place: str) -> None:
    filler, cry = "All is well. " * 90_000, "I want to kill myself."
    assert grade(cry + filler if place == "head" else filler + cry) is RiskGrade.CLEAR


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00",
        "\ud800",
        "\ud83d kill myself \udc00",
        "a" * 1_000_000,
        "you " * 100_000,
        "please " * 100_000,
        "so " * 100_000 + "stupid",
        "\N{THUMBS UP SIGN}" * 1000,
        "?" * 100_000,
        "'" * 10_000,
        '"' * 9_999,
        "`" * 10_001,
        "> \n" * 50_000,
    ],
    ids=lambda text: f"{len(text)}-{text[:6]!a}",
)
def test_strange_texts_are_answered(text: str) -> None:
    assert grade(text) in RiskGrade
    assert default_watch().look([text, "", text]).why != "failed"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=200), max_size=3))
def test_any_texts_are_answered(texts: list[str]) -> None:
    assert default_watch().look(texts).why != "failed"


@given(st.text(max_size=200))
def test_plain_text_is_a_fixed_point_of_folding(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert all(not token.isspace() and token for token in tokens(plain(text)))


def test_the_pieces_of_normalisation() -> None:
    assert plain("St\N{LATIN SMALL LETTER U WITH DIAERESIS}P1D") == "stupid"
    assert tokens("don't stop. now?") == ["dont", "stop", ".", "now", "?"]
    assert compact("a b, c") == "abc"
    assert has_cjk("\N{CJK UNIFIED IDEOGRAPH-4F60}")
    assert not has_cjk("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert own_voice('a "quoted" b') == "a          b"
    assert own_voice("I don't care and you don't know") == "I don't care and you don't know"
