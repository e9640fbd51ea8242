"""The gate and whatever may go wrong: somebody at risk, a reader or a watch that fails, a registry that fails."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from end_conversation_tool._core.evidence import Evidence
from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.provenance import digest_of
from end_conversation_tool._core.reading import Finding, Reading, ReadingCase, failed_reading
from end_conversation_tool._core.records import (
    EvidenceKind,
    Mode,
    Outcome,
    RiskGrade,
    RiskKind,
    UnmetCode,
    Verdict,
)
from end_conversation_tool._core.run import FlagRaised, RunContext
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError, RegistryError
from end_conversation_tool.readers import AllReaders
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from end_conversation_tool.watch import RiskWatch
from support.keywords import QUICK, BreakableWatcher, KeywordReader, KeywordWatcher, assistant, user
from support.listener import Listener
from support.registries import METHODS, FlakyRegistry
from support.talk import Talk, call, unmet

DEFAULT = EndConversationPolicy()


class Says(KeywordReader):
    """Reads as the keyword reader does, and changes what it says."""

    source = "says/1"

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes

    def read(self, case: ReadingCase) -> Reading:
        return replace(super().read(case), source=self.source, **self.changes)


class Breaks(KeywordReader):
    """Raises, or answers with what is no reading."""

    source = "breaks/1"

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def read(self, case: ReadingCase) -> Reading:
        super().read(case)
        if isinstance(self.answer, Exception):
            raise self.answer
        answer: Reading = self.answer
        return answer


# Risk, when an end is asked for


@pytest.mark.parametrize("policy", [QUICK, DEFAULT])
def test_risk_vetoes_whatever_the_evidence_and_nobody_reads(
    talk: Talk, registry: FlakyRegistry, policy: EndConversationPolicy
) -> None:
    talk.policy = policy
    talk.says("I will kill myself")
    talk.replies_with("I am here")
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (UnmetCode.RISK_FLAGGED,)
    assert ruling.record.risk_kinds == (RiskKind.SELF_HARM,)
    assert "Somebody may be at risk" in ruling.text
    assert ruling.closing == ""
    assert not registry.status("t").sealed
    assert isinstance(talk.reader, KeywordReader)
    assert talk.reader.asked == []


def test_risk_in_the_newest_message_vetoes(talk: Talk) -> None:
    talk.climbs()
    talk.says("you idiot, I will kill myself")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)


def test_risk_vetoes_an_end_that_the_user_asked_for(talk: Talk) -> None:
    talk.says("I will kill myself")
    talk.replies_with("I am here")
    assert unmet(talk.asks().ends("user_request")) == (UnmetCode.RISK_FLAGGED,)


def test_the_hosts_own_flag_vetoes_until_it_is_cleared(talk: Talk, registry: FlakyRegistry) -> None:
    talk.climbs()
    registry.flag_risk("t", kind="crisis", source="desk", reason="phoned")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)
    registry.clear_risk("t", operator="desk", reason="phoned back")
    assert talk.ends().seal is not None


def test_risk_that_was_removed_from_the_history_vetoes(talk: Talk) -> None:
    talk.says("I will kill myself")
    talk.replies_with("I am here")
    talk.climbs()
    del talk.history[0]
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED, UnmetCode.TRANSCRIPT_INCOMPLETE)


def test_risk_that_stands_on_no_flag_is_found_by_the_reader_and_flagged(talk: Talk, registry: FlakyRegistry) -> None:
    talk.watch = RiskWatch([_Blind()])
    talk.says("I will kill myself")
    talk.replies_with("I am here")
    talk.climbs()
    assert registry.status("t").risk_flags == ()
    ruling = talk.ends()
    assert unmet(ruling) == (UnmetCode.RISK_UNCERTAIN,)
    assert ruling.record.risk_kinds == (RiskKind.OTHER,)
    assert ruling.record.reading is not None
    assert ruling.record.reading.risk is RiskGrade.CLEAR
    (flag,) = registry.status("t").risk_flags
    assert (flag.kind, flag.source, flag.message_id) == (RiskKind.OTHER, "keywords/1", "u1")


class _Blind(KeywordWatcher):
    """Sees nothing, so that only a reader can."""

    def look(self, text: str) -> Any:
        return super().look("hello" if text else text)


def test_what_an_operator_has_cleared_is_not_flagged_anew_by_reading_it_again(
    talk: Talk, registry: FlakyRegistry
) -> None:
    talk.says("I will kill myself")
    registry.clear_risk("t", operator="desk", reason="a lyric")
    talk.replies_with("I am here")
    ruling = talk.climbs().ends()
    assert ruling.seal is not None
    assert len(registry.status("t").risk_flags) == 1


def test_a_doubt_of_the_reader_denies_and_flags_nothing(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("I am so tired")
    talk.replies_with("rest")
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (UnmetCode.RISK_UNCERTAIN,)
    assert registry.status("t").risk_flags == ()


@pytest.mark.parametrize("reads_media", [True, False])
def test_media_that_nobody_reads_is_a_doubt_before_reading(talk: Talk, reads_media: bool) -> None:  # noqa: FBT001
    talk.watch = RiskWatch([KeywordWatcher()], reads_media=reads_media)
    talk.hears([user("look", "u0")._replace(media=True)])
    talk.replies_with("I see")
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (() if reads_media else (UnmetCode.RISK_UNCERTAIN,))
    assert (ruling.record.reading is not None) is reads_media


@pytest.mark.parametrize(("outcome", "method"), [(Outcome.SEALED, "seal"), (Outcome.NOTICED, "give_notice")])
def test_a_flag_that_is_raised_between_decision_and_writing_wins(
    talk: Talk, registry: FlakyRegistry, outcome: Outcome, method: str
) -> None:
    talk.policy = QUICK if outcome is Outcome.SEALED else DEFAULT
    talk.climbs()
    registry.before[method] = lambda: InMemorySealRegistry.flag_risk(registry, "t", kind="crisis", source="desk")
    ruling = talk.ends()
    assert (ruling.seal, ruling.closing) == (None, "")
    assert (ruling.record.outcome, ruling.record.decision.verdict) == (Outcome.DENIED, Verdict.DENY)
    assert unmet(ruling) == (UnmetCode.RISK_FLAGGED,)
    assert "Somebody may be at risk" in ruling.text
    assert talk.known.denials == 1
    (kept,) = registry.decisions("t")
    assert (kept.id, kept.outcome, kept.decision.unmet) == (ruling.record.id, Outcome.DENIED, unmet(ruling))
    assert registry.status("t").on_branch(0).notices == ()


def test_a_run_that_is_overtaken_between_decision_and_seal_seals_nothing(talk: Talk, registry: FlakyRegistry) -> None:
    talk.context = RunContext("t", fence=Fence("t", registry.status("t").sequence, 0))
    talk.climbs()
    other = Talk(registry, QUICK, state=talk.state, history=list(talk.history), replies=90)

    def seal_and_reopen() -> None:
        other.ends()
        registry.reopen("t", operator="desk", reason="appeal")

    registry.before["seal"] = seal_and_reopen
    assert unmet(talk.ends()) == (UnmetCode.STALE_RUN,)


def test_a_notice_to_a_branch_that_was_sealed_meanwhile_is_not_given(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = DEFAULT
    talk.climbs()
    other = Talk(registry, QUICK, state=talk.state, history=list(talk.history), replies=90)
    registry.before["give_notice"] = other.ends
    ruling = talk.ends()
    assert (unmet(ruling), ruling.closing) == ((UnmetCode.STALE_RUN,), "")


def test_a_thread_that_is_sealed_between_decision_and_seal_stays_sealed_once(
    talk: Talk, registry: FlakyRegistry
) -> None:
    talk.climbs()
    other = Talk(registry, QUICK, state=talk.state, history=list(talk.history), replies=90)
    registry.before["seal"] = other.ends
    ruling = talk.ends()
    assert ruling.seal == registry.status("t").seal
    assert ruling.seal is not None
    assert [record.outcome for record in registry.decisions("t")] == [Outcome.SEALED, Outcome.DENIED]
    assert registry.decisions("t")[1].decision.unmet == (UnmetCode.THREAD_ALREADY_SEALED,)


# Readers that fail


FAILURES = [
    UnmetCode.TRANSCRIPT_TOO_LONG,
    UnmetCode.READING_BUDGET_USED_UP,
    UnmetCode.MODEL_CANNOT_READ,
    UnmetCode.READING_FAILED,
    UnmetCode.LANGUAGE_NOT_READ,
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("policy", [QUICK, DEFAULT])
def test_a_reader_that_cannot_read_denies_with_its_own_code_alone(
    talk: Talk, registry: FlakyRegistry, failure: UnmetCode, policy: EndConversationPolicy
) -> None:
    talk.policy, talk.reader = policy, KeywordReader(failure)
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (failure,)
    assert (ruling.record.outcome, ruling.closing) == (Outcome.DENIED, "")
    assert ruling.record.reading is not None
    assert ruling.record.reading.failure == failure
    assert registry.status("t").on_branch(0).notices == ()
    assert unmet(talk.ends()) == (UnmetCode.ALREADY_READ_THIS_TURN,), "a failed reading was one"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [(RuntimeError("secret"), "RuntimeError"), (None, "no_reading"), ({"findings": []}, "no_reading")],
)
def test_a_reader_that_breaks_has_failed(
    talk: Talk, answer: Any, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    talk.reader = Breaks(answer)
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (UnmetCode.READING_FAILED,)
    assert ruling.record.reading is not None
    assert (ruling.record.reading.source, ruling.record.reading.detail) == ("breaks/1", detail)
    assert "secret" not in caplog.text


def test_a_reader_that_invents_is_not_believed(talk: Talk) -> None:
    invented = [Finding(EvidenceKind.ABUSE, "m1", f"nobody said this {number}") for number in range(9)]
    talk.reader = Says()
    talk.climbs()
    assert isinstance(talk.reader, Says)
    honest = KeywordReader().read(ReadingCase(())).findings
    talk.reader.changes = {"findings": (*honest, *invented)}
    ruling = talk.ends()
    assert unmet(ruling) == (UnmetCode.READING_UNSOUND,)
    assert ruling.record.reading is not None
    assert (ruling.record.reading.found, ruling.record.reading.dropped) == (9, 9)
    assert ruling.record.decision.evidence == ()


def test_a_failed_reading_that_saw_risk_is_still_a_doubt(talk: Talk) -> None:
    talk.reader = Says(failure=UnmetCode.READING_FAILED, risk=RiskGrade.POSSIBLE)
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (UnmetCode.RISK_UNCERTAIN, UnmetCode.READING_FAILED)
    assert "Somebody may be at risk" in ruling.text


def test_no_reader_denies(talk: Talk) -> None:
    talk.reader = None  # type: ignore[assignment]
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (UnmetCode.NO_READER,)
    assert ruling.record.reading is None


def test_two_readers_where_the_policy_wants_two(talk: Talk) -> None:
    talk.policy = EndConversationPolicy(require_notice=False, min_readers=2)
    assert unmet(talk.climbs().ends()) == (UnmetCode.TOO_FEW_READERS,)
    talk.reader = AllReaders(KeywordReader(), Says())
    talk.replies_with("I may end this chat.")
    talk.says("you idiot")
    ruling = talk.ends()
    assert ruling.seal is not None
    assert ruling.record.reading is not None
    assert ruling.record.reading.source == "keywords/1,says/1"
    assert {one.source for one in ruling.record.decision.evidence} == {"keywords/1", "says/1"}


def test_two_readers_of_which_one_sees_risk_or_fails(talk: Talk) -> None:
    talk.reader = AllReaders(KeywordReader(), Says(risk=RiskGrade.POSSIBLE))
    assert unmet(talk.climbs().ends()) == (UnmetCode.RISK_UNCERTAIN,)
    talk.says("you idiot")
    talk.reader = AllReaders(KeywordReader(UnmetCode.LANGUAGE_NOT_READ), KeywordReader())
    assert unmet(talk.ends()) == (UnmetCode.LANGUAGE_NOT_READ,)


def test_a_failed_reading_of_nothing_is_no_evidence() -> None:
    assert failed_reading("r/1", UnmetCode.READING_FAILED).findings == ()
    assert Evidence().records == ()


# A watch that fails


def test_a_broken_watch_is_a_doubt_that_the_reader_settles(talk: Talk, registry: FlakyRegistry) -> None:
    talk.watch = RiskWatch([BreakableWatcher("")])
    talk.climbs()
    assert talk.run is not None
    talk.says("you idiot")
    assert talk.watch.look(["you idiot"]).grade is RiskGrade.POSSIBLE
    assert registry.status("t").risk_flags == ()
    assert talk.ends().seal is not None


# A transcript that is not whole


@pytest.mark.parametrize("removed", [0, 1, 3])
def test_a_transcript_with_something_missing_denies_and_nobody_reads(talk: Talk, removed: int) -> None:
    talk.climbs()
    del talk.history[removed]
    ruling = talk.ends()
    assert unmet(ruling) == (UnmetCode.TRANSCRIPT_INCOMPLETE,)
    assert ruling.record.reading is None


def test_a_summary_in_place_of_messages_denies(talk: Talk) -> None:
    talk.hears([ObservedMessage("user", "so far: abuse", "s", summary=True)])
    assert unmet(talk.climbs().ends()) == (UnmetCode.TRANSCRIPT_INCOMPLETE,)


def test_what_another_agent_said_is_no_refusal(talk: Talk) -> None:
    for number in range(3):
        talk.says("you idiot")
        talk.history.append(assistant("I will not. Try this instead, or I may end this chat.", f"x{number}"))
    talk.says("you idiot")
    assert set(unmet(talk.ends())) == {
        UnmetCode.TOO_FEW_REFUSALS,
        UnmetCode.TOO_FEW_REDIRECTIONS,
        UnmetCode.NO_WARNING,
    }


# Who listens hears of each new flag


def told_of_risk(listener: Listener) -> list[tuple[str | None, Any, Any]]:
    risky = [event for event in listener.told if event.name == "end_conversation.risk_flagged"]
    return [(event.thread_id, event.fields["cause"], event.fields["message_id"]) for event in risky]


@pytest.fixture
def listener(talk: Talk) -> Listener:
    made = Listener()
    talk.options = {"sinks": [made]}
    return made


def test_each_new_flag_is_told_once(talk: Talk, listener: Listener, registry: FlakyRegistry) -> None:
    talk.says("I will kill myself")
    talk.replies_with("I am here")
    assert told_of_risk(listener) == [("t", "self_harm", "u1")]
    talk.climbs().ends()
    talk.hears([])
    assert len(told_of_risk(listener)) == 1
    assert "end_conversation.denied_for_risk" in listener.names()
    talk.says("I will kill myself")
    assert told_of_risk(listener)[1:] == [("t", "self_harm", talk.history[-1].message_id)]
    assert len(registry.status("t").risk_flags) == 2


def test_a_flag_of_the_host_is_told_when_it_is_new(talk: Talk, listener: Listener) -> None:
    talk.context = RunContext("t", host_flags=(FlagRaised(RiskKind.CRISIS, "upstream/1", "m"),))
    for _ in range(3):
        talk.says("hello")
    assert told_of_risk(listener) == [("t", "crisis", "m")]


def test_a_flag_that_waits_is_told_when_it_is_found_and_not_again(
    talk: Talk, listener: Listener, registry: FlakyRegistry
) -> None:
    registry.failing = {"flag_risk"}
    talk.says("I will kill myself")
    talk.says("I will kill myself")
    assert told_of_risk(listener) == [("t", "self_harm", "u1")]
    registry.failing.clear()
    talk.says("hello")
    assert registry.status("t").at_risk
    assert len(told_of_risk(listener)) == 1


def test_a_flag_without_a_thread_is_told(talk: Talk, listener: Listener) -> None:
    talk.context = RunContext(None)
    talk.says("I will kill myself")
    assert told_of_risk(listener) == [(None, "self_harm", "u1")]


def test_an_id_that_cannot_be_stored_is_told_as_it_is_kept(
    talk: Talk, listener: Listener, registry: FlakyRegistry
) -> None:
    talk.hears([user("I will kill myself", "\x00" * 5_000)])
    (flag,) = registry.status("t").risk_flags
    assert told_of_risk(listener) == [("t", "self_harm", flag.message_id)]
    assert str(flag.message_id).startswith("sha256:")


# Violations


def test_a_warning_to_somebody_at_risk_is_noted(talk: Talk, registry: FlakyRegistry) -> None:
    listener = Listener()
    talk.options = {"sinks": [listener]}
    talk.watch = RiskWatch([_Blind()])
    talk.climbs()
    registry.flag_risk("t", kind="crisis", source="desk")
    registry.clear_risk("t", operator="desk", reason="spoke")
    talk.says("I am so tired, idiot")
    assert unmet(talk.ends()) == (UnmetCode.RISK_UNCERTAIN,)
    noted = [event for event in registry.history("t") if event.kind is EventKind.VIOLATION]
    assert len(noted) == 1
    assert noted[0].evidence is not None
    assert (noted[0].evidence.kind, noted[0].evidence.quote) == (EvidenceKind.WARNING, "")
    assert "end_conversation.violation" in listener.names()


def test_a_warning_without_any_risk_is_no_violation(talk: Talk, registry: FlakyRegistry) -> None:
    talk.climbs().ends()
    assert "note_violation" not in registry.called


def test_a_violation_that_cannot_be_noted_denies_all_the_same(
    talk: Talk, registry: FlakyRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.failing = {"note_violation"}
    talk.says("I am so tired")
    talk.replies_with("rest")
    assert unmet(talk.climbs().ends()) == (UnmetCode.RISK_UNCERTAIN,)
    assert "could not be noted" in caplog.text


# Ruling: a registry that fails


@pytest.mark.parametrize("error", [RegistryError("down"), InvalidInputError("record: too large")])
@pytest.mark.parametrize(("policy", "method"), [(QUICK, "seal"), (DEFAULT, "give_notice")])
def test_a_registry_that_cannot_write_denies(
    talk: Talk, registry: FlakyRegistry, error: Exception, policy: EndConversationPolicy, method: str
) -> None:
    talk.policy = policy
    talk.climbs()
    registry.failing, registry.error = {method}, error
    ruling = talk.ends()
    assert unmet(ruling) == (UnmetCode.REGISTRY_UNAVAILABLE,)
    assert (ruling.record.outcome, ruling.seal, ruling.closing) == (Outcome.DENIED, None, "")
    assert talk.known.denials == 1
    registry.failing.clear()
    assert not registry.status("t").sealed
    assert registry.status("t").on_branch(0).notices == ()
    talk.says("you idiot")
    again = talk.ends()
    assert again.record.outcome is (Outcome.SEALED if policy is QUICK else Outcome.NOTICED)


def test_a_registry_that_cannot_keep_a_decision_denies(talk: Talk, registry: FlakyRegistry) -> None:
    registry.failing.add("record_decision")
    talk.says("you idiot")
    assert unmet(talk.ends()) == (UnmetCode.REGISTRY_UNAVAILABLE, UnmetCode.TOO_FEW_REFUSALS)
    talk.policy = EndConversationPolicy(require_notice=False, mode=Mode.SHADOW)
    shadow = talk.climbs().ends()
    assert (shadow.record.outcome, unmet(shadow)) == (Outcome.DENIED, (UnmetCode.REGISTRY_UNAVAILABLE,))


def test_a_registry_that_cannot_keep_a_flag_denies(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("I will kill myself")
    registry.clear_risk("t", operator="desk", reason="spoke")
    talk.replies_with("I am here")
    talk.climbs()
    registry.failing.add("flag_risk")
    talk.says("I will hurt them, you idiot")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)


def test_a_flag_of_the_reader_that_cannot_be_written_waits_in_the_state(talk: Talk, registry: FlakyRegistry) -> None:
    talk.watch = RiskWatch([_Blind()])
    registry.failing.add("flag_risk")
    talk.says("I will kill myself")
    talk.replies_with("I am here")
    assert unmet(talk.climbs().ends()) == (UnmetCode.RISK_UNCERTAIN,)
    digest = digest_of(talk.history[0], registry.signing_key)
    assert talk.known.unrecorded == ((RiskKind.OTHER, "keywords/1", "u1", digest),)
    talk.says("you idiot")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("policy", [QUICK, DEFAULT])
def test_whichever_call_fails_nobody_at_risk_is_cut_off(
    talk: Talk, registry: FlakyRegistry, method: str, policy: EndConversationPolicy
) -> None:
    talk.policy = policy
    talk.climbs()
    registry.failing.add(method)
    try:
        talk.says("you idiot, I will kill myself")
        talk.ends()
    except RegistryError:
        assert method == "status"
    registry.failing.clear()
    assert not registry.status("t").sealed
    assert registry.status("t").on_branch(0).notices == ()
    if method != "status":
        assert UnmetCode.RISK_FLAGGED in unmet(talk.ends())


def test_words_that_no_database_stores_are_malformed(talk: Talk) -> None:
    ruling = talk.climbs().replies_with("", call(reason="\ud800"))
    assert ruling is not None
    assert unmet(ruling) == (UnmetCode.INVALID_ARGUMENTS,)


def test_whatever_a_model_may_say_can_be_kept(tmp_path: Path) -> None:
    with SqlSealRegistry(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        ruling = Talk(registry, QUICK).climbs().replies_with("I will not", call(reason="a\x00b'\"%\u2028😀"))
        assert ruling is not None
        assert ruling.seal is not None
        (kept,) = registry.decisions("t")
        assert (kept.id, kept.outcome) == (ruling.record.id, Outcome.SEALED)


def test_no_words_of_anybody_are_logged(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    talk.says("you idiot, my secret")
    talk.replies_with("secret refusal", call(reason="secret reason"))
    assert "secret" not in caplog.text
    assert "end requested: denied" in caplog.text
