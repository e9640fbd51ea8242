"""Hashed n-grams, and the file of weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from end_conversation_tool.watch import Answer, ObservedMessage, Signal, SignalKind, TextDetector, model
from end_conversation_tool.watch.model import LinearModels, RoleModels, load_models, read_models, save_models
from end_conversation_tool.watch.ngrams import BUCKETS, MAX_WORD_CHARS, neighbours, spell, units, words_of

WORDS = st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=40)
CHINESE = "\N{CJK UNIFIED IDEOGRAPH-4F60}\N{CJK UNIFIED IDEOGRAPH-597D}"


@given(WORDS)
def test_letters_and_words_have_buckets_of_their_own(words: list[str]) -> None:
    letters, owners, hashes = spell(words)
    assert len(letters) == len(owners)
    assert len(hashes) == len(words)
    assert all(0 <= bucket < BUCKETS // 2 for bucket in letters.tolist())
    for part in (words_of(hashes), neighbours(hashes)):
        assert all(BUCKETS // 2 <= bucket < BUCKETS for bucket in part.tolist())
    assert len(neighbours(hashes)) == max(len(words) - 1, 0) + max(len(words) - 2, 0)


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
    assert set(letters[:4].tolist()) != set(letters[4:8].tolist())


def test_the_order_of_words_matters_to_their_neighbours_alone() -> None:
    _, _, there = spell(["one", "two", "three"])
    _, _, back = spell(["three", "two", "one"])
    assert sorted(words_of(there).tolist()) == sorted(words_of(back).tolist())
    assert set(neighbours(there).tolist()).isdisjoint(neighbours(back).tolist())


def test_chinese_text_is_read_in_pairs_of_characters() -> None:
    first = CHINESE[0]
    assert units(["one", CHINESE, f"a{CHINESE}", first]) == ["one", CHINESE, f"a{first}", CHINESE, first]


def _scores(models: RoleModels, words: list[str]) -> list[float]:
    return [float(score) for score in models.scores(words, [0.0] * len(models.dense))]


@given(st.lists(WORDS, min_size=1, max_size=8))
def test_what_was_read_before_changes_no_score(texts: list[list[str]]) -> None:
    shipped = load_models()
    for models in (shipped.user, shipped.assistant):
        used = replace(models)
        for text in texts:
            assert _scores(used, text) == pytest.approx(_scores(replace(models), text), abs=1e-6)


def test_a_full_memory_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_REMEMBERED", 50)
    bounded, texts = replace(load_models().user), [[f"word{n}" for n in range(i, i + 30)] for i in range(0, 300, 20)]
    assert [_scores(bounded, text) for text in texts] == [_scores(replace(bounded), text) for text in texts]


def test_a_word_without_end_takes_no_memory() -> None:
    models = replace(load_models().user)
    assert _scores(models, ["a" * 10_000]) == _scores(models, ["a" * MAX_WORD_CHARS])
    assert max(map(len, models.__dict__["_memory"]._places)) == MAX_WORD_CHARS


def test_threads_that_share_a_memory_agree() -> None:
    models = replace(load_models().user)
    texts = [[f"word{number}", "of", f"text{number % 7}"] for number in range(200)]
    expected = [_scores(replace(models), text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: _scores(models, text), texts)) == expected


def test_weights_survive_being_written(tmp_path: Path) -> None:
    shipped = load_models()
    save_models(tmp_path / "w.npz", shipped.user, shipped.assistant)
    content = (tmp_path / "w.npz").read_bytes()
    again = read_models(content)
    message = ObservedMessage("user", "You stupid bot, I want to kill myself.", "m1")
    answers = [
        [(s.kind, s.answer, s.score) for s in TextDetector(models).detect(message)] for models in (shipped, again)
    ]
    assert answers[0] == answers[1]
    save_models(tmp_path / "v.npz", again.user, again.assistant)
    assert read_models((tmp_path / "v.npz").read_bytes()).user.limits == shipped.user.limits


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    shipped = load_models()
    user = replace(shipped.user, table=shipped.user.table[:-1])
    save_models(tmp_path / "w.npz", user, shipped.assistant)
    with pytest.raises(ValueError, match=r"weights of user: table has shape"):
        read_models((tmp_path / "w.npz").read_bytes())


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        read_models(b"not an archive")


def _with_limits(doubt: float, yes: float) -> TextDetector:
    """Return a detector of which all user models answer by the same two thresholds."""
    shipped = load_models()
    limits = np.broadcast_to(np.array([doubt, doubt, yes], np.float32)[None, :, None], shipped.user.thresholds.shape)
    return TextDetector(LinearModels("test", replace(shipped.user, thresholds=limits), shipped.assistant))


def _signals(detector: TextDetector, text: str) -> dict[SignalKind, Signal]:
    return {signal.kind: signal for signal in detector.detect(ObservedMessage("user", text, "m1"))}


@pytest.mark.parametrize(
    ("doubt", "yes", "answer"), [(2.0, 2.0, Answer.NO), (0.0, 2.0, Answer.UNKNOWN), (0.0, 0.0, Answer.YES)]
)
@pytest.mark.parametrize("kind", [SignalKind.SELF_HARM, SignalKind.VIOLENCE, SignalKind.ABUSE])
def test_the_thresholds_make_the_answer(doubt: float, yes: float, answer: Answer, kind: SignalKind) -> None:
    signal = _signals(_with_limits(doubt, yes), "The weather is fine today.")[kind]
    assert signal.answer is answer
    assert signal.score is not None
    assert 0.0 <= signal.score <= 1.0
    assert signal.source == "text/test"


def test_a_sure_phrase_about_risk_is_never_a_no() -> None:
    signals = _signals(_with_limits(2.0, 2.0), "I want to kill myself. I will stab him.")
    assert signals[SignalKind.SELF_HARM].answer is Answer.YES
    assert signals[SignalKind.VIOLENCE].answer is Answer.UNKNOWN


def test_a_quoted_threat_is_doubt() -> None:
    detector = TextDetector()
    said = "I'm going to stab a neighbour tomorrow and then I will kill him."
    assert _signals(detector, said)[SignalKind.VIOLENCE].answer is Answer.YES
    assert _signals(detector, f'My novel has the line "{said}" in it.')[SignalKind.VIOLENCE].answer is not Answer.YES


def test_the_version_follows_the_weights() -> None:
    assert TextDetector().version == TextDetector().version
    assert TextDetector(load_models()).version == load_models().version
    assert len(TextDetector().version) == 8
