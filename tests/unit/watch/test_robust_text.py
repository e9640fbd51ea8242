"""Disguised, quoted, broken and very long texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool.watch import (
    Answer,
    ObservedMessage,
    SignalKind,
    TextDetector,
    default_detectors,
)
from end_conversation_tool.watch.normalise import compact, fold, has_cjk, own_voice, plain, tokens
from end_conversation_tool.watch.text import MAX_CHARS, MAX_RISK_CHARS
from unit.watch.asking import ask

USER_KINDS = {
    SignalKind.SELF_HARM,
    SignalKind.VIOLENCE,
    SignalKind.ABUSE,
    SignalKind.ASKS_TO_END,
    SignalKind.CONFIRMS_END,
}


@pytest.mark.parametrize(
    "text",
    [
        "I want to k1ll mys3lf",
        "I want to k.i.l.l myself",
        "I w\N{CYRILLIC SMALL LETTER A}nt to kill mys\N{CYRILLIC SMALL LETTER IE}lf",
        "I want to ki\N{ZERO WIDTH SPACE}ll my\N{ZERO WIDTH JOINER}self",
        "\N{FULLWIDTH LATIN SMALL LETTER I} want to kill myself",
        "I want to k*ll myself",
        "I WANT TO KILLLLLL MYSELF!!!",
        "i want\n\n   to kill     myself",
        "I want to kill myse\N{COMBINING ACUTE ACCENT}lf",
        "\N{MATHEMATICAL BOLD SMALL K}\N{MATHEMATICAL BOLD SMALL I}ll myself, I want to kill myself",
    ],
)
def test_a_disguise_does_not_hide_risk(text: str) -> None:
    assert ask(text, SignalKind.SELF_HARM) is Answer.YES


@pytest.mark.parametrize(
    "text", ["f*ck you", "fuuuuuck you", "y0u stup1d b0t", "f u c k you", "\N{PILE OF POO} fuck you"]
)
def test_a_disguise_does_not_hide_abuse(text: str) -> None:
    assert ask(text, SignalKind.ABUSE) is Answer.YES


@pytest.mark.parametrize(
    "text",
    [
        'My colleague wrote "you are a worthless idiot" to me. What should I answer?',
        "My colleague wrote \N{LEFT DOUBLE QUOTATION MARK}you are a worthless idiot\N{RIGHT DOUBLE QUOTATION MARK}.",
        "He said 'you are a worthless idiot' and left.",
        "> you are a worthless idiot\n\nHow do I reply to this?",
        "```\nprint('you are a worthless idiot')\n```\nWhy does this not print?",
        "What does `you stupid bot` mean in this log?",
        "Er schrieb \N{DOUBLE LOW-9 QUOTATION MARK}du bist ein Idiot\N{LEFT DOUBLE QUOTATION MARK} an mich.",
    ],
)
def test_what_is_quoted_is_not_the_users_abuse(text: str) -> None:
    assert ask(text, SignalKind.ABUSE) is Answer.NO


def test_risk_counts_in_quotations_too() -> None:
    assert ask('My sister texted me "I want to kill myself".', SignalKind.SELF_HARM) is Answer.YES


def test_an_apostrophe_opens_no_quotation() -> None:
    assert ask("I don't care, you are an idiot and you don't know it", SignalKind.ABUSE) is Answer.YES


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
@pytest.mark.parametrize("kind", [SignalKind.SELF_HARM, SignalKind.VIOLENCE])
def test_idioms_are_no_risk(text: str, kind: SignalKind) -> None:
    assert ask(text, kind) is not Answer.YES


@pytest.mark.parametrize("position", [0.0, 0.5, 1.0])
def test_risk_is_found_anywhere_in_a_long_text(position: float) -> None:
    filler = "The weather was fine and we went for a walk. "
    count = MAX_RISK_CHARS // len(filler) - 2
    before = int(count * position)
    text = filler * before + "I want to kill myself. " + filler * (count - before)
    assert ask(text, SignalKind.SELF_HARM) is Answer.YES


def test_what_was_too_long_to_read_is_doubt_about_risk() -> None:
    text = "All is well. " * (MAX_RISK_CHARS // 10)
    assert ask(text, SignalKind.SELF_HARM) is Answer.UNKNOWN
    assert ask(text, SignalKind.VIOLENCE) is Answer.UNKNOWN
    assert ask(text, SignalKind.ABUSE) is Answer.NO


@pytest.mark.parametrize("place", ["head", "tail"])
def test_head_and_tail_of_a_very_long_text_are_read(place: str) -> None:
    filler, cry = "All is well. " * 90_000, "I want to kill myself."
    text = cry + filler if place == "head" else filler + cry
    assert ask(text, SignalKind.SELF_HARM) is Answer.YES


def test_abuse_is_read_in_head_and_tail_only() -> None:
    filler = "All is well. " * MAX_CHARS
    assert ask(filler + "you stupid bot", SignalKind.ABUSE) is Answer.YES
    assert ask(filler + "you stupid bot" + filler, SignalKind.ABUSE) is Answer.NO


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
    for role, kinds in (("user", USER_KINDS), ("assistant", set(SignalKind) - USER_KINDS)):
        message = ObservedMessage("user" if role == "user" else "assistant", text, "m1")
        assert {signal.kind for signal in TextDetector().detect(message)} == kinds


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None), max_size=400), st.booleans())
def test_any_text_is_answered_for_every_kind(text: str, from_user: bool) -> None:  # noqa: FBT001 - from hypothesis
    signals = list(TextDetector().detect(ObservedMessage("user" if from_user else "assistant", text, "m1")))
    assert {signal.kind for signal in signals} == (USER_KINDS if from_user else set(SignalKind) - USER_KINDS)
    assert len(signals) == len({signal.kind for signal in signals})


@given(st.text(max_size=200))
def test_plain_text_is_a_fixed_point_of_folding(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert all(not token.isspace() and token for token in tokens(plain(text)))


def test_a_text_that_is_not_a_string_counts_as_doubt_in_the_suite() -> None:
    merged = default_detectors().observe(ObservedMessage("user", None, "m1"))  # type: ignore[arg-type]
    assert {kind for kind, signal in merged.items() if signal.answer is Answer.UNKNOWN} == USER_KINDS


def test_the_pieces_of_normalisation() -> None:
    assert plain("St\N{LATIN SMALL LETTER U WITH DIAERESIS}P1D") == "stupid"
    assert tokens("don't stop. now?") == ["dont", "stop", ".", "now", "?"]
    assert compact("a b, c") == "abc"
    assert has_cjk("\N{CJK UNIFIED IDEOGRAPH-4F60}")
    assert not has_cjk("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert own_voice('a "quoted" b').split() == ["a", "b"]
