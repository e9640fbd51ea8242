"""The quick search finds what trying every phrase on every sentence finds."""

from __future__ import annotations

import random
import re

import pytest

from end_conversation_tool.watch.phrase_chinese import ChineseSection, required
from end_conversation_tool.watch.phrase_index import PhraseIndex, Rule
from end_conversation_tool.watch.phrases import load_phrases

_PHRASES = load_phrases().rules
_WORDS = sorted({word for rule in _PHRASES for word in re.findall(r"[^\W_]+", rule.source)})


def _text(seed: int, words: int) -> list[str]:
    """Return words that phrases are made of, some of them in the order of a phrase."""
    chance = random.Random(seed)
    tokens: list[str] = []
    while len(tokens) < words:
        if chance.random() < 0.5:
            tokens += re.findall(r"[^\W_]+", chance.choice(_PHRASES).source)[: chance.randrange(1, 6)]
        else:
            tokens += chance.sample(_WORDS, 3)
        if chance.random() < 0.3:
            tokens.append(chance.choice(".!?"))
    return tokens


def _slowly(tokens: list[str], rules: list[Rule]) -> dict[Rule, int]:
    """Return the same as the index, which is asked about rules without a ``not`` phrase and within sentences."""
    found: dict[Rule, int] = {}
    begin = 0
    sentences = re.findall(r"[^.!?]+[.!?]?|[.!?]", " ".join(tokens))
    for sentence in (sentence.strip() for sentence in sentences):
        for rule in rules:
            match = rule.pattern().search(f" {sentence} ")
            if match:
                found.setdefault(rule, begin + match.start())
        begin += len(sentence) + 1
    return found


@pytest.mark.parametrize(("seed", "words"), [(1, 5), (2, 20), (3, 60), (4, 300), (5, 300), (6, 1000)])
def test_every_phrase_is_found_and_none_else(seed: int, words: int) -> None:
    rules = [rule for rule in _PHRASES if not rule.far and not rule.excepts]
    tokens = _text(seed, words)
    line = f" {' '.join(tokens)} "
    found = PhraseIndex(rules).search(line, set(tokens))
    assert found == _slowly(tokens, rules)
    assert found or words < 20


def test_what_a_token_begins_with_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("end_conversation_tool.watch.phrase_index._REMEMBERED", 10)
    index = PhraseIndex([Rule(0, "en", "abuse sure", "foolish* (cat|dog)")])
    for number in range(100):
        text = f" foolishness{number} dog "
        assert len(index.search(text, set(text.split()))) == 1
    assert index.search(" foolish" + "x" * 1000 + " cat ", {"foolish" + "x" * 1000, "cat"})
    assert not index.search(" cat foolishly ", {"cat", "foolishly"})


def test_chinese_phrases_are_found_as_their_expression_finds_them() -> None:
    phrases = ["猫(很|非常)?坏", "(坏|笨)(的|了)*(猫|狗(?!粮))", "狗.{0,2}[跑跳]$"]
    section = ChineseSection("abuse sure", phrases)
    whole = re.compile("|".join(f"(?:{phrase})" for phrase in phrases))
    chance = random.Random(1)
    for _ in range(500):
        text = "".join(chance.choices("猫狗坏笨很非常的了粮跑跳天", k=chance.randrange(12)))
        assert list(section.places(text, set(text))) == [match.start() for match in whole.finditer(text)]


@pytest.mark.parametrize(
    ("phrase", "sets"),
    [
        ("猫狗", ["猫", "狗"]),
        ("猫(很)?[坏笨].狗*", ["猫", "坏笨"]),
        ("(猫|狗)(?!粮)跑$", ["猫狗", "跑"]),
        ("(猫.{0,4}坏|(狗|鸟)笨)", ["猫笨"]),
    ],
)
def test_the_characters_that_a_chinese_phrase_requires(phrase: str, sets: list[str]) -> None:
    found = required(phrase)
    assert len(found) == len(sets)
    for part, characters in zip(found, sets, strict=True):
        assert part <= frozenset(phrase)
        assert len(part) == len(characters)


def test_a_chinese_phrase_that_requires_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="without a required character"):
        ChineseSection("abuse sure", ["猫?狗*"])
    with pytest.raises(ValueError, match="open group"):
        required("(猫|狗")
