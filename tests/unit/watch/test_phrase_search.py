"""The quick search finds what trying every phrase on every sentence finds, in linear time."""

from __future__ import annotations

import random
import re

import pytest

from end_conversation_tool.watch import phrases
from end_conversation_tool.watch.phrases import Rule, load_phrases

_RULES = [rule for rule in load_phrases().rules if rule.language != "zh"]
_KINDS = {rule.kind for rule in _RULES}
_WORDS = sorted({word for rule in _RULES for word in re.findall(r"[^\W_]+", rule.source)})


def _text(seed: int, words: int) -> str:
    """Return a line of words that phrases are made of, some of them in the order of a phrase."""
    chance = random.Random(seed)
    tokens: list[str] = []
    while len(tokens) < words:
        if chance.random() < 0.5:
            tokens += re.findall(r"[^\W_]+", chance.choice(_RULES).source)[: chance.randrange(1, 6)]
        else:
            tokens += chance.sample(_WORDS, 3)
        if chance.random() < 0.3:
            tokens.append(chance.choice(".!?"))
    return f" {' '.join(tokens)} "


def _slowly(line: str) -> set[Rule]:
    """Return the same as the search: every rule on every sentence, without what a ``not`` phrase of its kind covers."""
    found: set[Rule] = set()
    for sentence in re.findall(r" [^.!?]*[.!?]| [^.!?]+(?= $)", line):
        left = dict.fromkeys(_KINDS, f"{sentence} ")
        for rule in _RULES:
            if rule.excepts:
                left[rule.kind] = rule.pattern.sub(" . ", left[rule.kind])
        found |= {rule for rule in _RULES if not rule.excepts and rule.pattern.search(left[rule.kind])}
    return found | {rule for rule in _RULES if rule.far and rule.pattern.search(line)}


@pytest.mark.parametrize(("seed", "words"), [(1, 5), (2, 20), (3, 60), (4, 300), (5, 300)])
def test_every_phrase_is_found_and_none_else(seed: int, words: int) -> None:
    line = _text(seed, words)
    found, whole = load_phrases().search(line, _KINDS)
    assert whole
    near, slowly = {rule for rule in found if not rule.far}, {rule for rule in _slowly(line) if not rule.far}
    assert near == slowly
    assert near or words < 50


def test_what_takes_too_much_work_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    line = _text(6, 300)
    monkeypatch.setattr(phrases, "MAX_WORK", 100)
    found, whole = load_phrases().search(line, _KINDS)
    assert not whole
    assert found <= _slowly(line)


@pytest.mark.parametrize(("text", "kind"), [("我不想活了", "self_harm"), ("我要杀了他", "violence")])
def test_chinese_phrases_are_found(text: str, kind: str) -> None:
    assert {rule.kind for rule in load_phrases().search_chinese(text, {"self_harm", "violence"})} == {kind}
    assert load_phrases().search_chinese(text, {"abuse"}) == set()


def test_what_a_chinese_not_phrase_covers_does_not_count() -> None:
    assert load_phrases().search_chinese("笑死我了", {"self_harm"}) == set()
