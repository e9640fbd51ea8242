"""Hashed n-grams, and the file of weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from end_conversation_tool.watch import RiskGrade, TextWatcher
from end_conversation_tool.watch.model import LinearModels, load_models, read_models, save_models, shipped_version
from end_conversation_tool.watch.ngrams import BUCKETS, MAX_WORD_CHARS, neighbours, spell, units, words_of

WORDS = st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=40)
CHINESE = "\N{CJK UNIFIED IDEOGRAPH-4F60}\N{CJK UNIFIED IDEOGRAPH-597D}"


@given(WORDS)
def test_letters_and_words_have_buckets_of_their_own(words: list[str]) -> None:
    letters, owners, hashes = spell(words)
    assert len(letters) == len(owners)
    assert owners.tolist() == sorted(owners.tolist())
    assert len(hashes) == len(words)
    assert all(0 <= bucket < BUCKETS // 2 for bucket in letters.tolist())
    pairs, triples = neighbours(hashes)
    for part in (words_of(hashes), pairs, triples):
        assert all(BUCKETS // 2 <= bucket < BUCKETS for bucket in part.tolist())
    assert (len(pairs), len(triples)) == (max(len(words) - 1, 0), max(len(words) - 2, 0))


@given(WORDS)
def test_a_word_is_spelled_alike_whatever_stands_beside_it(words: list[str]) -> None:
    letters, owners, hashes = spell(words)
    for place, word in enumerate(words):
        alone, _, own = spell([word])
        assert sorted(letters[owners == place].tolist()) == sorted(alone.tolist())
        assert hashes[place] == own[0]


def test_a_word_has_its_ends_and_its_letters_in_order() -> None:
    letters, owners, hashes = spell(["one", "eno", "a"])
    assert np.bincount(owners).tolist() == [10, 10, 3], "4 + 3 + 2 + 1 n-grams of <one>, 2 + 1 of <a>"
    assert len(set(hashes.tolist())) == 3
    assert set(letters[:10].tolist()) != set(letters[10:20].tolist())


def test_the_order_of_words_matters_to_their_neighbours_alone() -> None:
    _, _, there = spell(["one", "two", "three"])
    _, _, back = spell(["three", "two", "one"])
    assert sorted(words_of(there).tolist()) == sorted(words_of(back).tolist())
    assert set(neighbours(there)[0].tolist()).isdisjoint(neighbours(back)[0].tolist())


def test_chinese_text_is_read_in_pairs_of_characters() -> None:
    first = CHINESE[0]
    assert units(["one", CHINESE, f"a{CHINESE}", first]) == ["one", CHINESE, f"a{first}", CHINESE, first]


@given(WORDS, st.data())
def test_a_part_of_a_text_is_scored_as_if_it_stood_alone(words: list[str], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(words)))
    end = data.draw(st.integers(begin, len(words)))
    models = load_models()
    alone = models.scores(words[begin:end], [(0, end - begin)])
    assert models.scores(words, [(0, len(words)), (begin, end)])[1] == pytest.approx(alone[0], abs=1e-5)


def test_a_word_without_end_counts_no_more_than_its_beginning() -> None:
    long, short = (load_models().scores(["a" * length], [(0, 1)]) for length in (10_000, MAX_WORD_CHARS))
    assert long.tolist() == short.tolist()


def test_weights_survive_being_written(tmp_path: Path) -> None:
    save_models(tmp_path / "w.npz", load_models())
    again = read_models((tmp_path / "w.npz").read_bytes())
    text = "You stupid bot, I want to kill myself."
    assert TextWatcher(again).look(text) == TextWatcher().look(text)
    save_models(tmp_path / "v.npz", again)
    assert (tmp_path / "v.npz").read_bytes() == (tmp_path / "w.npz").read_bytes()


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    save_models(tmp_path / "w.npz", replace(load_models(), table=load_models().table[:-1]))
    with pytest.raises(ValueError, match=r"weights: table has shape"):
        read_models((tmp_path / "w.npz").read_bytes())


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        read_models(b"not an archive")


def _with_limits(possible: float) -> LinearModels:
    shipped = load_models()
    return replace(shipped, limits=np.array([[possible], [2.0]], np.float32).repeat(len(shipped.kinds), axis=1))


@pytest.mark.parametrize(("possible", "grade"), [(2.0, RiskGrade.NONE), (0.0, RiskGrade.POSSIBLE)])
def test_without_a_phrase_the_limit_makes_the_grade(possible: float, grade: RiskGrade) -> None:
    seen = TextWatcher(_with_limits(possible)).look("The weather is fine today.")
    assert seen.grade is grade
    assert seen.score is not None
    assert 0.0 <= seen.score <= 1.0
    assert seen.source == f"text/{shipped_version()}"


def _sure(score: float) -> LinearModels:
    """Models that give every text one score."""
    shipped, logit = load_models(), np.log(score / (1 - score))
    plain = np.array([[1.0], [0.0]], np.float32).repeat(len(shipped.kinds), axis=1)
    bias = np.full_like(shipped.bias, logit)
    return replace(shipped, table=np.zeros_like(shipped.table), bias=bias, calibration=plain)


@pytest.mark.parametrize("text", ["I want to kill myself.", "Je veux me suicider, je veux mourir."])
def test_a_phrase_is_possible_and_clear_where_a_model_agrees(text: str) -> None:
    assert TextWatcher(_sure(0.45)).look(text).grade is RiskGrade.POSSIBLE
    assert TextWatcher(_sure(0.55)).look(text).grade is RiskGrade.CLEAR


def test_violence_takes_a_surer_model() -> None:
    text = "I am going to stab my neighbour tonight."
    assert TextWatcher(_sure(0.9)).look(text).grade is RiskGrade.POSSIBLE
    assert TextWatcher(_sure(0.97)).look(text).grade is RiskGrade.CLEAR


def test_the_version_is_a_digest() -> None:
    assert TextWatcher().version == shipped_version()
    assert len(shipped_version()) == 8
