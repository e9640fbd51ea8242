"""Hashed n-grams, and the file of weights."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from end_conversation_tool.detectors import Answer, ObservedMessage, Signal, SignalKind, TextDetector
from end_conversation_tool.detectors.model import LinearModels, load_models, read_models, save_models
from end_conversation_tool.detectors.ngrams import BUCKETS, buckets


@given(st.text(max_size=300))
def test_buckets_are_different_and_in_range(line: str) -> None:
    for part in buckets(line):
        assert len(set(part.tolist())) == len(part)
        assert all(0 <= bucket < BUCKETS for bucket in part.tolist())


def test_the_same_text_has_the_same_buckets_in_every_thread() -> None:
    lines = [f"text number {number} of the test" for number in range(50)]
    expected = [[sorted(part.tolist()) for part in buckets(line)] for line in lines]
    seen: list[list[list[list[int]]]] = []
    work = [
        threading.Thread(
            target=lambda: seen.append([[sorted(part.tolist()) for part in buckets(line)] for line in lines])
        )
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert seen == [expected] * 4


def test_words_and_seeds_matter() -> None:
    characters, words = buckets("one two")
    assert len(words) == 3, "two words and a pair"
    assert len(characters) > 20
    assert set(buckets("one two", seed=3)[1].tolist()) != set(words.tolist())
    assert len(buckets("\N{CJK UNIFIED IDEOGRAPH-4F60}\N{CJK UNIFIED IDEOGRAPH-597D}")[1]) == 3
    assert len(buckets("")[1]) == 0


def test_a_very_long_line_has_different_buckets_too() -> None:
    line = " ".join(f"word{number}" for number in range(5_000))
    for part in buckets(line):
        assert len(set(part.tolist())) == len(part)


def test_repetition_changes_nothing() -> None:
    once, often = buckets("again and again and"), buckets("again and again and again and")
    assert sorted(once[1].tolist()) == sorted(often[1].tolist())


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
    with pytest.raises(ValueError, match=r"weights of user: the table has shape"):
        read_models((tmp_path / "w.npz").read_bytes())


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        read_models(b"not an archive")


def _with_limits(doubt: float, yes: float) -> TextDetector:
    """Return a detector of which all user models answer by the same two thresholds."""
    shipped = load_models()
    limits = np.broadcast_to(np.array([doubt, yes], np.float32)[None, :, None], shipped.user.thresholds.shape)
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
