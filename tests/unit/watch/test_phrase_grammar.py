"""The small language of the phrase files."""

from __future__ import annotations

import pytest

from end_conversation_tool.watch.phrase_grammar import read_sections
from end_conversation_tool.watch.phrases import PhraseBook, Rule, load_phrases

KIND = frozenset({"abuse"})


def found(phrase: str, text: str, *more: tuple[str, list[str]]) -> bool:
    book = PhraseBook([("en", "abuse sure", [phrase]), *(("en", section, phrases) for section, phrases in more)])
    return len(hits(book, text)) == 1


def hits(book: PhraseBook, text: str, kinds: frozenset[str] = KIND) -> set[Rule]:
    found, whole = book.search(f" {text} ", kinds)
    assert whole
    return found


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("bad cat", "a bad cat"),
        ("bad* cat", "badly cat"),
        ("(bad|very bad) cat", "very bad cat"),
        ("bad (old )?cat", "bad cat"),
        ("bad (old |grey )*cat", "bad old grey old cat"),
        ("bad ~ cat", "bad old grey cat"),
        ("bad ~~ cat", "bad old grey fat lazy mean cat"),
        ("bad ... cat", "bad . it is . cat"),
        ("^ cat", "cat here"),
        ("^ cat", "dog . cat here"),
        ("cat $", "a cat"),
        ("cat $", "a cat . dog"),
        ("cat ?", "a cat ?"),
        ("(the (big|old) cat|dog)", "the old cat"),
    ],
)
def test_a_phrase_finds(phrase: str, text: str) -> None:
    assert found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("bad cat", "bad cats"),
        ("bad cat", "cat bad"),
        ("bad ~ cat", "bad old grey fat cat"),
        ("bad ~ cat", "bad . cat"),
        ("^ cat", "a cat"),
        ("cat $", "cat here"),
        ("cat ?", "a cat ."),
        ("bad* cat", "abad cat"),
    ],
)
def test_a_phrase_does_not_find(phrase: str, text: str) -> None:
    assert not found(phrase, text)


def test_what_a_not_phrase_covers_does_not_count() -> None:
    exception = ("abuse not", ["good bad cat"])
    assert not found("bad cat", "good bad cat", exception)
    assert found("bad cat", "good bad cat . bad cat", exception)


def test_kinds_that_are_not_asked_for_are_not_looked_for() -> None:
    book = PhraseBook([("en", "abuse sure", ["bad cat"])])
    assert hits(book, "bad cat", frozenset({"refusal"})) == set()
    assert hits(book, "bad cat", frozenset({"refusal", "abuse"}))


def test_a_phrase_that_requires_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="without a required word"):
        PhraseBook([("en", "abuse sure", ["~ (cat)?"])])


def test_sections_are_read_in_order_without_comments() -> None:
    text = "# note\n[abuse sure]\n\nbad cat\n# note\n[abuse weak]\ncat\n"
    assert list(read_sections(text)) == [("abuse sure", ["bad cat"]), ("abuse weak", ["cat"])]
    assert list(read_sections("")) == []


def test_what_a_kind_finds_can_be_left_out() -> None:
    book = PhraseBook([("en", "abuse sure", ["bad cat"]), ("en", "warning sure", ["dog"])])
    assert book.without(" a bad cat . dog ", "abuse") == " a . dog "


def test_every_shipped_phrase_compiles_and_has_a_known_section() -> None:
    kinds = {"self_harm", "violence", "abuse", "asks_to_end", "refusal", "redirection", "warning"}
    rules = load_phrases().rules
    assert len(rules) > 500
    assert {rule.kind for rule in rules} == kinds
    assert {rule.section.split()[1] for rule in rules} == {"sure", "not"}
    assert all(rule.pattern.pattern.startswith(" ") for rule in rules if rule.language != "zh")
