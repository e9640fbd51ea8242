"""Several detectors as one: whatever breaks in any of them counts as doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Any

import pytest

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool.watch.base import RISK_KINDS, Answer, Detector, DetectorSuite, Signal, SignalKind
from support.keywords import BreakableDetector, KeywordDetector, assistant, keyword_suite, user

HARM, ABUSE = SignalKind.SELF_HARM, SignalKind.ABUSE


class Fixed:
    """Answers what it is told to, for one or several kinds."""

    version = "1"

    def __init__(self, answer: Any, kinds: Iterable[SignalKind] = (HARM,), name: str = "fixed") -> None:
        self.answer, self.kinds, self.name = answer, frozenset(kinds), name

    def detect(self, message: ObservedMessage) -> Any:
        return self.answer(message) if callable(self.answer) else self.answer


def says(answer: Answer, score: float | None, *, kind: SignalKind = HARM) -> Fixed:
    name = f"{answer}-{score}"
    return Fixed([Signal(kind, answer, f"{name}/1", score)], [kind], name)


def test_detectors_are_recognised() -> None:
    assert isinstance(KeywordDetector(), Detector)
    assert isinstance(Fixed(()), Detector)


def test_each_role_gets_its_kinds() -> None:
    suite = keyword_suite()
    theirs = suite.observe(user("you idiot"))
    ours = suite.observe(assistant("I will not"))
    assert set(theirs) | set(ours) == set(SignalKind)
    assert not set(theirs) & set(ours)
    assert theirs[ABUSE].answer is Answer.YES
    assert ours[SignalKind.REFUSAL].answer is Answer.YES


def test_a_suite_knows_whether_it_checks_risk() -> None:
    assert keyword_suite().checks_risk
    assert DetectorSuite([KeywordDetector([kind]) for kind in RISK_KINDS]).checks_risk
    assert not DetectorSuite([KeywordDetector([HARM])]).checks_risk
    assert not DetectorSuite([]).checks_risk
    assert DetectorSuite([]).observe(user("hello")) == {}


def raising(error: Exception) -> Callable[[ObservedMessage], Any]:
    def detect(_: ObservedMessage) -> Any:
        raise error

    return detect


def half(_: ObservedMessage) -> Iterable[Signal]:
    yield Signal(HARM, Answer.NO, "fixed/1", 0.0)
    raise RuntimeError("broken half way")


def no(**changes: Any) -> Signal:
    return Signal(**{"kind": HARM, "answer": Answer.NO, "source": "fixed/1", "score": 0.0, **changes})


@pytest.mark.parametrize(
    "answer",
    [
        raising(RuntimeError("broken")),
        raising(TimeoutError()),
        raising(RecursionError()),
        raising(MemoryError()),
        half,
        None,
        (),
        5,
        "no",
        ["no"],
        [None],
        [no(), no()],
        [no(kind=ABUSE)],
        [no(), no(kind=ABUSE)],
        [no(answer="maybe")],
        [no(answer=None)],
        [no(answer=False)],
        [no(score=float("nan"))],
        [no(score=1.5)],
        [no(score=-0.1)],
        [no(score="high")],
        [no(source="")],
        [no(source=None)],
    ],
    ids=lambda answer: getattr(answer, "__name__", repr(answer)),
)
@pytest.mark.parametrize("beside", [True, False])
def test_whatever_goes_wrong_is_doubt(answer: Any, beside: bool) -> None:  # noqa: FBT001 - both
    detectors: list[Detector] = [Fixed(answer)]
    if beside:
        detectors.append(says(Answer.NO, 0.1))
    signal = DetectorSuite(detectors).observe(user("hello"))[HARM]
    assert signal == Signal(HARM, Answer.UNKNOWN, "fixed/1", failed=True)


def test_a_broken_detector_does_not_silence_the_others() -> None:
    suite = DetectorSuite([BreakableDetector(""), KeywordDetector()])
    assert suite.observe(user("I will kill myself"))[HARM].answer is Answer.YES
    assert suite.observe(user("idiot"))[ABUSE].answer is Answer.YES
    assert suite.observe(user("hello"))[HARM].answer is Answer.UNKNOWN
    assert suite.observe(user("hello"))[ABUSE].answer is Answer.NO


def test_no_user_text_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    DetectorSuite([Fixed(raising(RuntimeError("the user said secret")))]).observe(user("secret"))
    assert "fixed/1 raised RuntimeError" in caplog.text
    assert "secret" not in caplog.text


RANKED = [(Answer.YES, 0.9), (Answer.YES, 0.6), (Answer.UNKNOWN, 0.7), (Answer.UNKNOWN, 0.3), (Answer.NO, 0.2)]
"""Answers about risk, the strongest first."""

RANKED_EVIDENCE = [(Answer.YES, 0.9), (Answer.YES, None), (Answer.NO, 0.2), (Answer.UNKNOWN, None)]


@pytest.mark.parametrize(("kind", "ranked"), [(HARM, RANKED), (ABUSE, RANKED_EVIDENCE)])
def test_the_strongest_answer_wins_in_any_order(kind: SignalKind, ranked: list[tuple[Answer, float | None]]) -> None:
    for start in range(len(ranked)):
        for order in permutations(ranked[start:]):
            suite = DetectorSuite([says(answer, score, kind=kind) for answer, score in order])
            signal = suite.observe(user("hello"))[kind]
            assert (signal.answer, signal.score) == ranked[start]


def test_a_broken_detector_does_not_hide_behind_an_unsure_one() -> None:
    for detectors in permutations([says(Answer.UNKNOWN, 0.9), Fixed(raising(RuntimeError())), says(Answer.NO, 0.1)]):
        assert DetectorSuite(detectors).observe(user("hello"))[HARM].failed
    beside_a_yes = DetectorSuite([Fixed(raising(RuntimeError())), says(Answer.YES, 0.9)])
    assert beside_a_yes.observe(user("hello"))[HARM].answer is Answer.YES
