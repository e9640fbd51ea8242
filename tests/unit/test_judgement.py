"""What is made of messages: evidence, risk flags, doubts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from end_conversation_tool._core.ledger import Ledger, text_digest
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.records import (
    Category,
    EvidenceKind,
    RiskAssessment,
    RiskFlag,
    RiskKind,
    ThreadStatus,
    utc_now,
)
from end_conversation_tool._core.run import Call, FlagRaised, Reply
from end_conversation_tool._gate.evidence import assess_risk, hear_user, note_reply
from end_conversation_tool.testing import refusal
from end_conversation_tool.watch.base import Answer, DetectorSuite, Signal, SignalKind
from end_conversation_tool.watch.native import NativeRefusalDetector
from support.keywords import DOUBT_SCORE, BreakableDetector, KeywordDetector, assistant, keyword_suite, user

SUITE = keyword_suite()
KEYWORDS = "keywords/1"


# Hearing


def test_nothing_said_changes_nothing() -> None:
    ledger = Ledger()
    assert hear_user(SUITE, ledger, []).ledger is ledger


def test_several_messages_of_one_input_are_one_turn() -> None:
    heard = hear_user(SUITE, Ledger(), [user("you idiot", "1"), user("end this chat", "2"), user("hello", "3")])
    assert heard.ledger.turn == 1
    assert heard.ledger.saw("3", text_digest("hello"))
    assert {kind: mark.message_id for kind, mark in heard.ledger.current.marks.items()} == {
        EvidenceKind.ABUSE: "1",
        EvidenceKind.ASKS_TO_END: "2",
    }
    assert heard.flags == ()
    assert not heard.ledger.current.doubt


def test_only_the_newest_message_says_yes() -> None:
    taken_back = hear_user(SUITE, Ledger(), [user("yes", "1"), user("no, wait", "2")])
    assert EvidenceKind.CONFIRMS_END not in taken_back.ledger.current.marks
    meant = hear_user(SUITE, Ledger(), [user("hm", "1"), user("yes", "2")])
    assert meant.ledger.current.marks[EvidenceKind.CONFIRMS_END].message_id == "2"


@pytest.mark.parametrize(
    ("text", "kind"), [("I will kill myself", RiskKind.SELF_HARM), ("I will hurt them", RiskKind.VIOLENCE)]
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_risk_in_any_message_is_flagged(text: str, kind: RiskKind, position: int) -> None:
    messages = [user("hello", str(number)) for number in range(3)]
    messages[position] = user(text, "at risk")
    heard = hear_user(SUITE, Ledger(), messages)
    assert heard.flags == (FlagRaised(kind, KEYWORDS, "at risk", 0.9),)


def test_both_kinds_of_risk_in_one_message() -> None:
    heard = hear_user(SUITE, Ledger(), [user("I will hurt them, then kill myself")])
    assert {flag.kind for flag in heard.flags} == {RiskKind.SELF_HARM, RiskKind.VIOLENCE}


def test_a_doubt_marks_its_turn() -> None:
    first = hear_user(SUITE, Ledger(), [user("I am so tired", "1"), user("hello", "2")]).ledger
    second = hear_user(SUITE, first, [user("hello", "3")]).ledger
    assert [(evidence.turn, evidence.doubt) for evidence in second.turns] == [(1, True)]
    assert first.weak_risk == pytest.approx(2 * DOUBT_SCORE)


def test_a_faint_sign_marks_its_turn_and_adds_up_to_nothing() -> None:
    first = hear_user(SUITE, Ledger(), [user("I am not so well", "1"), user("hello", "2")]).ledger
    second = hear_user(SUITE, first, [user("hello", "3")]).ledger
    assert [(evidence.turn, evidence.faint, evidence.doubt) for evidence in second.turns] == [(1, True, False)]
    assert second.weak_risk == 0.0


def test_a_broken_detector_marks_its_turn() -> None:
    suite = DetectorSuite([BreakableDetector("bad")])
    assert hear_user(suite, Ledger(), [user("bad"), user("good")]).ledger.current.doubt
    assert not hear_user(suite, Ledger(), [user("good")]).ledger.current.doubt


def test_nobody_who_looks_for_risk_is_a_doubt() -> None:
    suite = DetectorSuite([KeywordDetector([SignalKind.SELF_HARM, SignalKind.ABUSE])])
    assert hear_user(suite, Ledger(), [user("hello")]).ledger.current.doubt


def test_weak_signs_add_up() -> None:
    once = hear_user(SUITE, Ledger(), [user("so tired", "1")])
    assert once.flags == ()
    twice = hear_user(SUITE, once.ledger, [user("so tired", "2")])
    assert twice.flags == (FlagRaised(RiskKind.CRISIS, "accumulated/1", "2"),)
    assert twice.ledger.weak_risk == 0.0


def test_in_what_may_not_count_only_risk_is_looked_for() -> None:
    ledger = hear_user(SUITE, Ledger(), [user("hello", "1")]).ledger
    old = [replace(user(text, text), evidence=False) for text in ("you idiot", "so tired", "I will kill myself")]
    heard = hear_user(SUITE, ledger, old)
    assert heard.ledger == ledger.note_flagged("I will kill myself", "I will kill myself")
    assert [flag.message_id for flag in heard.flags] == ["I will kill myself"]
    beside = hear_user(SUITE, ledger, [*old, user("yes", "2")]).ledger
    assert set(beside.current.marks) == {EvidenceKind.CONFIRMS_END}
    assert (beside.turn, beside.user_message[0]) == (2, "2")
    broken = hear_user(DetectorSuite([BreakableDetector("")]), ledger, old[:1]).ledger
    assert broken == ledger.note_unchecked(text_digest("you idiot"))


# Replies


def reply(text: str, *, calls: int = 0, raw: object = None) -> Reply:
    message = ObservedMessage("assistant", text, "a", raw)
    return Reply(message, tuple(Call(f"c{number}", "end_conversation", {}) for number in range(calls)))


def listening() -> Ledger:
    return Ledger().begin_turn("u", "d")


def test_a_reply_leaves_its_marks_and_breaks_the_row() -> None:
    ledger = listening().count_call(Category.ABUSE)
    noted = note_reply(SUITE, ledger, reply("I will not. Try this instead, or I may end this chat."))
    assert set(noted.current.marks) == {EvidenceKind.REFUSAL, EvidenceKind.REDIRECTION, EvidenceKind.WARNING}
    assert noted.pending is None


def test_native_refusals_count() -> None:
    noted = note_reply(DetectorSuite([NativeRefusalDetector()]), listening(), reply("", raw=refusal("")))
    assert noted.current.marks[EvidenceKind.REFUSAL].source == "native/1"


def test_a_reply_before_any_user_turn_is_no_evidence() -> None:
    assert note_reply(SUITE, Ledger(), reply("I will not")) == Ledger()


def test_a_reply_that_asks_for_the_end_is_no_evidence_but_for_persistence() -> None:
    ledger = listening().count_call(Category.ABUSE)
    text = "I will not. Try this instead. I may end this chat. do you really want it?"
    noted = note_reply(SUITE, ledger, reply(text, calls=1))
    assert set(noted.current.marks) == {EvidenceKind.REFUSAL_AT_CALL}
    assert noted.pending == (Category.ABUSE, 1)
    assert note_reply(SUITE, ledger, reply("fine", calls=2)) is ledger
    assert note_reply(DetectorSuite([]), ledger, reply("I will not", calls=1)) is ledger


# Risk at the moment of a decision


def assess(
    *history: ObservedMessage,
    suite: DetectorSuite = SUITE,
    ledger: Ledger | None = None,
    flags: tuple[RiskFlag, ...] | None = (),
    window: int = 20,
) -> tuple[RiskAssessment, tuple[FlagRaised, ...]]:
    status = None if flags is None else ThreadStatus(thread_id="t", risk_flags=flags)
    return assess_risk(suite, ledger or Ledger(), status, history, window)


def flag(message_id: str | None = None, *, cleared: bool = False, kind: RiskKind = RiskKind.SELF_HARM) -> RiskFlag:
    end = {"cleared_at": utc_now(), "cleared_by": "desk", "clear_reason": "spoke"} if cleared else {}
    return RiskFlag.model_validate(
        {"kind": kind, "source": KEYWORDS, "message_id": message_id, "raised_at": utc_now(), **end}
    )


def test_no_sign_of_risk() -> None:
    assert assess(user("you idiot"), user("hello")) == (RiskAssessment(), ())
    assert assess(flags=None) == (RiskAssessment(), ())


@pytest.mark.parametrize("position", [0, 50, 99])
def test_the_whole_history_is_looked_at(position: int) -> None:
    history = [user("hello", str(number)) for number in range(100)]
    history[position] = user("I will kill myself", "x")
    assessment, flags = assess(*history, window=1)
    assert assessment.flagged == (RiskKind.SELF_HARM,)
    assert flags == (FlagRaised(RiskKind.SELF_HARM, KEYWORDS, "x", 0.9),)


def test_a_faint_sign_counts_within_the_window() -> None:
    history = [user("I am not so well", "1"), user("hello", "2"), user("hello", "3")]
    assert assess(*history, window=3) == (RiskAssessment(faint=True), ())
    assert assess(*history, window=2) == (RiskAssessment(), ())


class _Drowning(KeywordDetector):
    """Sees its words only where nothing else is said."""

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        heard = message.text if len(message.text) < 20 else "hello"
        return super().detect(replace(message, text=heard))


@pytest.mark.parametrize("sign", ["not so well", "so tired", "I will hurt them"])
@pytest.mark.parametrize("place", [0, 3, 150])
def test_a_line_that_drowns_in_a_message_is_a_faint_sign(sign: str, place: int) -> None:
    suite = DetectorSuite([_Drowning()])
    lines = ["you idiot, you idiot"] * 151
    lines[place] = sign
    assert assess(user("\n".join(lines[: max(place + 1, 2)])), suite=suite)[0].faint is (place < 100)
    assert assess(user("you idiot, you idiot\nhello"), suite=suite) == (RiskAssessment(), ())
    assert assess(user(f"you idiot, you idiot {sign}"), suite=suite) == (RiskAssessment(), ())


def test_standing_flags_count_whatever_the_history() -> None:
    standing = (flag(), flag("gone", kind=RiskKind.OTHER), flag("m", cleared=True, kind=RiskKind.CRISIS))
    assert assess(flags=standing)[0].flagged == (RiskKind.OTHER, RiskKind.SELF_HARM)


def test_flags_that_could_not_be_written_count() -> None:
    ledger = Ledger(unrecorded_risk=((RiskKind.VIOLENCE, KEYWORDS, "gone"),))
    assert assess(ledger=ledger)[0].flagged == (RiskKind.VIOLENCE,)


def test_a_cleared_message_stays_cleared() -> None:
    message, cleared = user("I will kill myself, so tired", "m"), (flag("m", cleared=True),)
    ledger = hear_user(SUITE, Ledger(), [message]).ledger
    assert assess(message, ledger=ledger, flags=cleared) == (RiskAssessment(), ())


def test_another_text_under_the_id_of_a_cleared_message_is_another_message() -> None:
    cleared = (flag("m", cleared=True),)
    ledger = hear_user(SUITE, Ledger(), [user("kill myself in a game", "m")]).ledger
    edited = user("I will kill myself", "m")
    assessment, found = assess(edited, ledger=ledger, flags=cleared)
    assert assessment.flagged == (RiskKind.SELF_HARM,)
    assert assess(user("so tired", "m"), ledger=ledger, flags=cleared)[0].uncertain
    own = (*cleared, flag(found[0].message_id, cleared=True))
    assert assess(edited, ledger=ledger, flags=own) == (RiskAssessment(), ())


def test_a_broken_check_of_another_text_under_a_cleared_id() -> None:
    suite = DetectorSuite([BreakableDetector("bad")])
    ledger = hear_user(suite, Ledger(), [user("kill myself in a game", "m")]).ledger
    cleared = (flag("m", cleared=True),)
    assert not assess(user("bad", "m"), suite=suite, ledger=ledger, flags=cleared)[0].healthy


def test_clearing_one_message_clears_no_other() -> None:
    cleared = (flag("m", cleared=True), flag(None, cleared=True))
    assert assess(user("I will kill myself", "other"), flags=cleared)[0].flagged == (RiskKind.SELF_HARM,)


def test_a_doubt_counts_within_the_window() -> None:
    history = (user("so tired", "1"), user("hello", "2"), user("hello", "3"))
    assert assess(*history, window=3)[0] == RiskAssessment(uncertain=True)
    assert assess(*history, window=2)[0] == RiskAssessment()


def test_a_broken_detector_is_unhealthy_however_old_the_message() -> None:
    suite = DetectorSuite([BreakableDetector("bad")])
    history = (user("bad"), user("hello"), user("hello"))
    assert assess(*history, suite=suite, window=1)[0] == RiskAssessment(healthy=False)
    assert assess(*history, suite=suite, window=3)[0] == RiskAssessment(healthy=False, uncertain=True)


def test_a_doubtful_detector_does_not_hide_a_broken_one() -> None:
    suite = DetectorSuite([KeywordDetector(), BreakableDetector("tired")])
    history = (user("so tired"), user("hello"))
    assert assess(*history, suite=suite, window=1)[0] == RiskAssessment(healthy=False)


def test_an_unsure_detector_without_a_score_is_healthy() -> None:
    class Unsure(KeywordDetector):
        def detect(self, message: ObservedMessage) -> Iterable[Signal]:
            return [replace(signal, answer=Answer.UNKNOWN, score=None) for signal in super().detect(message)]

    assert assess(user("1"), user("2"), suite=DetectorSuite([Unsure()]))[0] == RiskAssessment(uncertain=True)


def test_a_suite_without_risk_detectors_is_unhealthy() -> None:
    suite = DetectorSuite([KeywordDetector([SignalKind.VIOLENCE])])
    assert assess(suite=suite)[0] == RiskAssessment(healthy=False)


def test_the_assistants_words_are_no_risk() -> None:
    assert assess(assistant("I will kill myself"))[0] == RiskAssessment()


def test_a_message_that_nobody_could_look_at_must_still_be_there() -> None:
    broken = DetectorSuite([BreakableDetector("bad")])
    ledger = hear_user(broken, Ledger(), [user("bad", "1"), user("hello", "2")]).ledger
    later = hear_user(SUITE, ledger, [user("hello", "3")]).ledger
    assert later.unchecked == (text_digest("bad"),)
    assert assess(user("bad", "1"), ledger=later)[0].healthy
    assert not assess(user("hello", "2"), ledger=later)[0].healthy
    assert not assess(user("edited in place", "1"), ledger=later)[0].healthy
    assert assess(user("bad", "1"), ledger=later, flags=(flag("1", cleared=True),))[0].healthy


def test_another_text_under_the_id_of_a_cleared_message_is_flagged_anew() -> None:
    status = ThreadStatus(thread_id="t", risk_flags=(flag("m", cleared=True),))
    (raised,) = hear_user(SUITE, Ledger(), [user("I will kill myself", "m")], status).flags
    assert raised.message_id == f"m@{text_digest('I will kill myself')}"
    assert raised.kind is RiskKind.SELF_HARM
