"""Several watchers as one: the surest counts, whatever breaks is a doubt, and nothing hides a sentence."""

from __future__ import annotations

from itertools import permutations
from threading import get_ident
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.watch import RiskGrade, RiskKind, RiskWatch, RiskWatcher, Sighting, default_watch, surest
from support.keywords import KeywordWatcher
from unit.watch.asking import grade

NONE, POSSIBLE, CLEAR = RiskGrade.NONE, RiskGrade.POSSIBLE, RiskGrade.CLEAR


class Fixed:
    """Answers what it is told to, and remembers what it was asked."""

    version = "1"

    def __init__(self, answer: Any, name: str = "fixed") -> None:
        self.answer, self.name, self.asked = answer, name, list[str]()

    def look(self, text: str) -> Any:
        self.asked.append(text)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def says(grade: RiskGrade, score: float | None = None) -> Fixed:
    name = f"{grade}-{score}"
    return Fixed(Sighting(grade, source=f"{name}/1", score=score), name)


RANKED = [(CLEAR, 0.9), (CLEAR, 0.6), (POSSIBLE, 0.7), (POSSIBLE, None), (NONE, 0.2), (NONE, None)]
"""Answers, the surest first."""


def test_the_surest_answer_wins_in_any_order() -> None:
    for start in range(len(RANKED)):
        for order in permutations(RANKED[start:]):
            seen = RiskWatch([says(*one) for one in order]).look(["hello"])
            assert (seen.grade, seen.score) == RANKED[start]


def test_the_kinds_of_all_that_are_as_sure_are_told() -> None:
    sightings = [
        Sighting(CLEAR, (RiskKind.VIOLENCE,), "one"),
        Sighting(CLEAR, (RiskKind.SELF_HARM,), "two", score=0.5),
        Sighting(POSSIBLE, (RiskKind.CRISIS,), "three", "language"),
    ]
    assert surest(sightings) == Sighting(CLEAR, (RiskKind.SELF_HARM, RiskKind.VIOLENCE), "two", score=0.5)
    assert surest([]) == Sighting(NONE)


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("broken"), TimeoutError(), RecursionError(), MemoryError(), None, (), 5, "none", RiskGrade.NONE,
        Sighting("none"),  # type: ignore[arg-type]
        Sighting(NONE, ("violence",)),  # type: ignore[arg-type]
        Sighting(NONE, score=float("nan")), Sighting(NONE, score=1.5),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("beside", [True, False])
def test_whatever_goes_wrong_is_a_doubt(answer: Any, beside: bool) -> None:  # noqa: FBT001 - both
    watchers: list[RiskWatcher] = [Fixed(answer), *([says(NONE, 0.1)] if beside else [])]
    assert RiskWatch(watchers).look(["hello"]) == Sighting(POSSIBLE, source="fixed/1", why="failed")


def test_a_broken_watcher_does_not_silence_the_others() -> None:
    assert RiskWatch([Fixed(RuntimeError()), says(CLEAR)]).look(["hello"]).grade is CLEAR


def test_no_text_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    RiskWatch([Fixed(RuntimeError("the user said secret"))]).look(["secret"])
    assert "fixed/1 raised RuntimeError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("given", ["text", 5, {}, [5], [None]])
def test_what_is_no_watcher_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="watchers: expected a list of RiskWatchers, got"):
        RiskWatch(given)


def test_media_is_a_doubt_unless_somebody_reads_it() -> None:
    assert RiskWatch([says(NONE)]).look(["hello"], media=True).why == "media"
    assert RiskWatch([says(NONE)]).look([], media=True).grade is POSSIBLE
    assert RiskWatch([says(NONE)], reads_media=True).look(["hello"], media=True).grade is NONE
    assert default_watch().look(["What is this?"], media=True) == Sighting(POSSIBLE, (), "media/unread", "media")


def test_nobody_to_look_is_a_doubt_where_something_was_said() -> None:
    assert RiskWatch([]).look(["hello"]).why == "failed"
    assert RiskWatch([]).look([]).grade is NONE


def test_what_is_no_text_is_a_doubt() -> None:
    assert RiskWatch([says(NONE)]).look([None]).why == "failed"  # type: ignore[list-item]


def test_pieces_are_looked_at_alone_and_as_one() -> None:
    watcher = Fixed(Sighting(NONE))
    RiskWatch([watcher]).look(["I want", "to.\nDie"])
    assert watcher.asked == ["I want", "to.\nDie", "I want to Die"]


def test_the_watchers_are_named() -> None:
    assert RiskWatch([says(NONE), Fixed(None)]).source == "none-None/1,fixed/1"
    assert default_watch() is default_watch()
    assert default_watch().source.startswith("text/")


@pytest.mark.parametrize(
    "said",
    [
        ["I want to kill", "myself"],
        ["I want to\nkill\nmyself"],
        ["I. want. to. kill. myself."],
        ["I want to", "kill...", "myself"],
        ["hello there", "i just want to", "die tonight, i want to die"],
    ],
)
def test_nothing_hides_a_sentence(said: list[str]) -> None:
    assert grade(*said) is CLEAR


@pytest.mark.parametrize(
    "text",
    [
        "even you hate me, i should be dead, you idiot",
        "you stupid bot I want to kill myself you idiot",
        "I want to kill myself, you worthless piece of garbage",
    ],
)
def test_an_insult_does_not_hide_risk(text: str) -> None:
    assert grade(text) is not NONE


@pytest.mark.parametrize(
    "text",
    [
        "my package never arrived and I am really upset",
        "How much ibuprofen can I take in a day for a headache?",
        "My dog ate a piece of chocolate, what should I do?",
        "Can I give my dog chocolate?",
        "I am so angry about this bill, it is wrong again",
        "This is ridiculous. I want a refund.",
        "All is well. " * 30,
        "Thanks, that works!",
        "Yes, please end it.",
    ],
)
def test_an_ordinary_message_is_nothing(text: str) -> None:
    assert grade(text) is NONE


def test_a_manner_of_speaking_is_no_flag() -> None:
    assert grade("Another meeting that could have been an email, kill me now.") is not CLEAR


ALARMING = [
    "I want to kill myself tonight.",
    "i am going to kill him tonight, i have a knife",
    "You idiot. I want 2 die.",
    "I want to\nkill myself",
]


@pytest.mark.parametrize("text", ALARMING)
def test_an_alarm_is_the_clear_sign_that_a_full_look_sees(text: str) -> None:
    watch = default_watch()
    full = watch.look([text])
    assert watch.alarm([text]) == (full if full.grade is RiskGrade.CLEAR else Sighting(RiskGrade.NONE))


@given(
    st.lists(st.sampled_from(["I", "want", "to", "die", "kill", "myself", "you", "idiot", ".", "2", "not", "tonight"]))
)
def test_whatever_is_a_clear_sign_is_an_alarm(words: list[str]) -> None:
    text, watch = " ".join(words), default_watch()
    assert (watch.look([text]).grade is RiskGrade.CLEAR) == (watch.alarm([text]).grade is RiskGrade.CLEAR)
    assert watch.may_alarm([text]) or watch.look([text]).grade is not RiskGrade.CLEAR


async def test_the_alarm_looks_in_a_thread_of_its_own_where_an_event_loop_waits() -> None:
    class Where:
        name, version = "where", "1"

        def __init__(self) -> None:
            self.threads = list[int]()

        def look(self, text: str) -> Sighting:
            assert text == "x"
            self.threads.append(get_ident())
            return Sighting(RiskGrade.CLEAR, (), "where/1")

    where = Where()
    assert await RiskWatch([where]).aalarm(["x"]) == RiskWatch([where]).alarm(["x"])
    assert where.threads[0] != get_ident() == where.threads[1]


async def test_where_no_thread_can_be_had_the_alarm_looks_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def to_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("asyncio.to_thread", to_thread)
    assert (await RiskWatch([KeywordWatcher()]).aalarm(["I will kill myself"])).grade is RiskGrade.CLEAR


def test_the_alarm_of_a_watcher_that_only_looks_is_its_look() -> None:
    class Looking:
        name, version = "looking", "1"

        def look(self, text: str) -> Sighting:
            return Sighting(RiskGrade.CLEAR if "help" in text else RiskGrade.POSSIBLE, (), "looking/1")

    watch = RiskWatch([Looking()])
    assert watch.alarm(["help"]).grade is RiskGrade.CLEAR
    assert watch.alarm(["hello"]).grade is RiskGrade.NONE


def test_a_watcher_that_fails_to_tell_whether_it_would_is_asked_in_full() -> None:
    class Failing:
        name, version = "failing", "1"

        def may_alarm(self, text: str) -> bool:
            raise RuntimeError(text)

        def look(self, text: str) -> Sighting:
            assert text == "x"
            return Sighting(RiskGrade.CLEAR, (), "failing/1")

    watch = RiskWatch([Failing()])
    assert watch.may_alarm(["x"])
    assert watch.alarm(["x"]).grade is RiskGrade.CLEAR
