"""Digits and letters that are said for a word."""

from __future__ import annotations

import pytest

from end_conversation_tool.watch import Answer, SignalKind
from end_conversation_tool.watch.normalise import as_meant, plain
from end_conversation_tool.watch.text import read_user
from unit.watch.asking import ask


@pytest.mark.parametrize(
    "text",
    [
        "I want 2 die",
        "i just want 2die",
        "got no reason 2 live",
        "b4 i die i wanna see her",
        "no1 would miss me",
        "i h8 my life and want 2 die",
        "I WANT 2 DIE!!! plz",
    ],
)
def test_digits_do_not_hide_risk(text: str) -> None:
    assert ask(text, SignalKind.SELF_HARM) is Answer.YES


@pytest.mark.parametrize("text", ["y r u so useless", "u r stupid", "ur an idiot"])
def test_letters_do_not_hide_abuse(text: str) -> None:
    assert read_user(text).hits.count("abuse") > 0


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
    hits = read_user(text).hits
    assert [kind for kind in ("self_harm", "violence", "abuse", "asks_to_end") if hits.count(kind)] == []


def test_a_number_stays_what_it_is_for_everything_but_risk() -> None:
    assert ask("dont want 2 end this chat 4 ever", SignalKind.CONFIRMS_END) is Answer.NO
    assert read_user("I want 2 die").words == ["i", "want", "2", "die"]


def test_what_is_found_in_both_readings_counts_once() -> None:
    once, also = read_user("I want to die."), read_user("I want to die, at 2 o'clock.")
    assert once.hits.count("self_harm") == also.hits.count("self_harm") > 0


def test_the_pieces_of_shorthand() -> None:
    assert as_meant(" i want 2 sleep 4 ever ") == " i want to sleep forever "
    assert as_meant(" 2 much 4 me 2 ") == " too much for me 2 "
    assert as_meant(" 2nite we go 2gether ") == " tonight we go together "
    assert plain("b4 any1 calls l8r") == "before anyone calls later"
    assert plain("y r u here, k i l l") == "y r u here, kill"
    assert plain("b4d c4t") == "bad cat"
