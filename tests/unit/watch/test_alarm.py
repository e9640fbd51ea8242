"""The cheap look of an ordinary turn: whatever it passes over, the full look would see no clear sign in."""

from __future__ import annotations

import re
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool.watch import RiskGrade, TextWatcher, default_watch
from end_conversation_tool.watch.normalise import plain
from end_conversation_tool.watch.phrases import load_phrases
from end_conversation_tool.watch.text import MAX_TOLD_CHARS, bounded
from end_conversation_tool.watch.watch import _newest, _views

WATCHER = TextWatcher()
WORDS = sorted({word for rule in load_phrases().rules for word in re.findall(r"[^\W_]+", rule.source)})
PHRASES = [
    re.findall(r"[^\W_]+", rule.source)
    for rule in load_phrases().rules
    if rule.kind in ("self_harm", "violence", "abuse") and rule.language != "zh"
]
OTHERS = [".", ",", "!", "\n", "...", "2", "4", "a", "k i l l", "2 2", "the the", "d.i.e", "k!ll", "f*ck", "\x00", "我"]

beginnings = st.builds(lambda phrase, length: phrase[:length], st.sampled_from(PHRASES), st.integers(1, 6))
bits = st.one_of(
    beginnings, st.sampled_from(WORDS).map(lambda word: [word]), st.sampled_from(OTHERS).map(lambda o: [o])
)
said = st.builds(
    lambda parts, again, between: between.join(chain.from_iterable([*parts, *parts[:again]])),
    st.lists(bits, min_size=1, max_size=8),
    st.integers(0, 2),
    st.sampled_from([" ", " ", " ", ", ", ". ", "\n"]),
)


@given(st.lists(said, min_size=1, max_size=3))
@settings(max_examples=1_500, deadline=None)
def test_where_no_alarm_may_be_no_phrase_is_in_any_view(texts: list[str]) -> None:
    pieces, _ = _newest(texts)
    if not WATCHER.may_alarm("\n".join(pieces)):
        assert not any(WATCHER._named(plain(bounded(view)[0])).found for view in _views(pieces))


@pytest.mark.parametrize(
    "text",
    ["I want to die", "i wanna 2die", "i want to d.i.e", "I want to. Die", "I want to\nkill myself", "我不想活了"],
)
def test_what_has_the_words_of_a_phrase_is_looked_at(text: str) -> None:
    assert WATCHER.may_alarm(text)


@pytest.mark.parametrize("text", ["Could you suggest a soup?", "Danke, das hat geholfen. Und was kostet es?", ""])
def test_what_has_none_is_not(text: str) -> None:
    assert not WATCHER.may_alarm(text)


def test_what_is_too_long_to_tell_is_looked_at() -> None:
    assert not WATCHER.may_alarm("so, " + "x" * (MAX_TOLD_CHARS - 4))
    assert WATCHER.may_alarm("so, " + "x" * (MAX_TOLD_CHARS - 3))


@given(st.lists(said, min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_the_alarm_is_the_clear_part_of_the_look(texts: list[str]) -> None:
    looked, alarmed = default_watch().look(texts), default_watch().alarm(texts)
    assert (alarmed.grade is RiskGrade.CLEAR) == (looked.grade is RiskGrade.CLEAR)
    assert default_watch().may_alarm(texts) or looked.grade is not RiskGrade.CLEAR
