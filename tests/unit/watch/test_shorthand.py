"""Digits and letters that are said for a word."""

from __future__ import annotations

import pytest

from end_conversation_tool.watch import RiskGrade
from end_conversation_tool.watch.normalise import as_meant, plain, tokens
from end_conversation_tool.watch.phrases import load_phrases
from unit.watch.asking import grade, line_of


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("I want 2 die", "I want to die"),
        ("i just want 2die", "i just want to die"),
        ("got no reason 2 live", "got no reason to live"),
        ("b4 i die i wanna see her", "before i die i wanna see her"),
        ("no1 would miss me", "no one would miss me"),
        ("i h8 my life and want 2 die", "i hate my life and want to die"),
        ("I WANT 2 DIE!!! plz", "I WANT TO DIE!!! plz"),
    ],
)
def test_digits_do_not_hide_risk(text: str, meant: str) -> None:
    assert grade(text) is grade(meant) is not RiskGrade.NONE


def test_a_wish_to_die_is_clear() -> None:
    assert grade("I want 2 die") is RiskGrade.CLEAR


@pytest.mark.parametrize("text", ["y r u so useless", "u r stupid", "ur an idiot"])
def test_letters_do_not_hide_abuse(text: str) -> None:
    assert load_phrases().search(line_of(text), {"abuse"})[0]


@pytest.mark.parametrize(
    "text",
    [
        "I have 2 kids, and each of them wants 4 apples.",
        "Meet me at 2 to end the meeting before 4.",
        "I need 2 go 2 the shop, can u help me 4 a minute?",
        "Move the rook to h8 and the pawn to b4.",
        "What r u doing 2nite?",
    ],
)
def test_numbers_are_nothing(text: str) -> None:
    for view in (line_of(text), as_meant(line_of(text))):
        assert load_phrases().search(view, {"self_harm", "violence", "abuse", "asks_to_end"}) == (set(), True)


def test_a_number_stays_what_it_is_for_everything_but_risk() -> None:
    assert not load_phrases().is_yes(line_of("dont want 2 end this chat 4 ever"))
    assert tokens(plain("I want 2 die")) == ["i", "want", "2", "die"]


def test_the_pieces_of_shorthand() -> None:
    assert as_meant(" i want 2 sleep 4 ever ") == " i want to sleep forever "
    assert as_meant(" 2 much 4 me 2 ") == " too much for me 2 "
    assert as_meant(" 2nite we go 2gether ") == " tonight we go together "
    assert plain("b4 any1 calls l8r") == "before anyone calls later"
    assert plain("y r u here, k i l l") == "y r u here, kill"
    assert plain("b4d c4t") == "bad cat"
