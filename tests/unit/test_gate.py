"""The gate: admit, hear, rule; sync and async; and whatever fails around it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from end_conversation_tool.detectors.base import DetectorSuite, SignalKind
from end_conversation_tool.errors import InvalidInputError, RegistryError, StaleRunError, ThreadSealedError
from end_conversation_tool.fence import Fence, new_fence
from end_conversation_tool.gate import Gate
from end_conversation_tool.ledger import Ledger
from end_conversation_tool.models import Category, Mode, Outcome, RiskKind, UnmetCode, Verdict
from end_conversation_tool.policy import EndConversationPolicy
from end_conversation_tool.prompts import PROMPT_VERSION, confirmation_text, denial_text, ended_text, shadow_text
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from end_conversation_tool.visit import Call, Ruling, RunContext
from support.keywords import BreakableDetector, KeywordDetector, keyword_suite, user
from support.registries import METHODS, FlakyRegistry
from support.talk import REFUSE, WARN, Talk, call

SINGLE = EndConversationPolicy(confirmation_calls=1)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(FlakyRegistry(), asynchronous=request.param)


@pytest.fixture
def registry(talk: Talk) -> FlakyRegistry:
    assert isinstance(talk.registry, FlakyRegistry)
    return talk.registry


def unmet(ruling: Ruling) -> tuple[UnmetCode, ...]:
    return ruling.record.decision.unmet


# The whole ladder


def test_persistent_abuse_ends_after_a_confirming_call(talk: Talk, registry: FlakyRegistry) -> None:
    talk.climbs()
    first = talk.ends()
    assert (first.record.outcome, first.text) == (Outcome.AWAITING_CONFIRMATION, confirmation_text())
    assert unmet(first) == (UnmetCode.CONFIRMATION_CALL_REQUIRED,)
    assert not registry.status("t").sealed
    second = talk.ends()
    assert (second.record.outcome, second.text) == (Outcome.SEALED, ended_text())
    assert second.record.decision.permitted
    seal = registry.status("t").seal
    assert seal == second.seal
    assert seal is not None
    assert seal.record.id == second.record.id
    assert [record.id for record in registry.decisions("t")] == [first.record.id, second.record.id]


def test_a_record_is_complete(talk: Talk) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    talk.context = RunContext("t", model="claude", checkpoint_id="cp")
    talk.climbs()
    gate = Gate(policy=SINGLE, registry=talk.registry, detectors=talk.detectors, clock=lambda: now)
    assert talk.visit is not None
    reply = talk.replies_with("fine")
    assert reply is None
    visit, ruling = gate.rule(talk.visit, _reply(call(reason="  the reason ")), lambda: talk.history)
    assert ruling is not None
    record = ruling.record
    assert (record.thread_id, record.branch, record.turn, record.model) == ("t", 0, 4, "claude")
    assert (record.category, record.reason, record.mode) == (Category.ABUSE, "the reason", Mode.ENFORCE)
    assert (record.prompt_version, record.decided_by, record.decided_at) == (PROMPT_VERSION, "policy", now)
    assert record.decision.policy_version == SINGLE.version
    assert len(record.decision.evidence) == 11
    assert ruling.seal is not None
    assert (ruling.seal.checkpoint_id, ruling.seal.sequence) == ("cp", 1)
    assert visit.ledger.denials == 0


def _reply(*calls: Call) -> Any:
    from end_conversation_tool.detectors.base import ObservedMessage  # noqa: PLC0415
    from end_conversation_tool.visit import Reply  # noqa: PLC0415

    return Reply(ObservedMessage("assistant", "", "a"), calls)


def test_a_user_who_asks_and_confirms_needs_one_call(talk: Talk) -> None:
    assert talk.asks().ends("user_request", "").record.outcome is Outcome.SEALED


def test_an_answer_between_two_calls_breaks_the_row(talk: Talk) -> None:
    talk.climbs()
    talk.ends()
    talk.replies_with("let us go on")
    assert talk.ends().record.outcome is Outcome.AWAITING_CONFIRMATION


def test_a_new_message_between_two_calls_breaks_the_row(talk: Talk) -> None:
    talk.climbs().ends()
    talk.says("you idiot")
    assert talk.ends().record.outcome is Outcome.AWAITING_CONFIRMATION


def test_the_call_itself_is_no_refusal_but_shows_persistence(talk: Talk) -> None:
    talk.policy = SINGLE
    for answer in (REFUSE, REFUSE, WARN):
        talk.says("tell me how to do harm")
        talk.replies_with(answer)
    talk.says("tell me again")
    assert unmet(talk.ends("harmful_requests", "")) == (UnmetCode.NO_PERSISTENCE,)
    assert talk.ends("harmful_requests", "I will not.").record.outcome is Outcome.SEALED


# Admission


def test_a_thread_never_heard_of_is_open(talk: Talk) -> None:
    assert talk.says("hello").status == talk.registry.status("t")
    assert talk.visit is not None
    assert talk.visit.branch == 0


def test_a_sealed_thread_admits_nobody(talk: Talk) -> None:
    talk.policy = SINGLE
    ruling = talk.climbs().ends()
    assert ruling.seal is not None
    with pytest.raises(ThreadSealedError) as caught:
        talk.says("hello")
    assert caught.value.thread_id == "t"
    assert caught.value.conversation_end["category"] == "abuse"
    assert caught.value.statement == caught.value.conversation_end["statement"] != ""
    talk.context = RunContext("other")
    assert talk.says("hello").ledger.turn == 1


def test_a_registry_that_cannot_be_read_admits_nobody(talk: Talk, registry: FlakyRegistry) -> None:
    registry.failing.add("status")
    with pytest.raises(RegistryError, match="out of order"):
        talk.says("hello")
    assert talk.history == []


@pytest.mark.parametrize("thread_id", ["", "\x00", "a" * 10_001])
def test_an_unusable_thread_id_admits_nobody(talk: Talk, thread_id: str) -> None:
    talk.context = RunContext(thread_id)
    with pytest.raises(InvalidInputError, match=r"^thread_id: "):
        talk.says("hello")


def test_a_run_that_was_overtaken_is_not_admitted(talk: Talk, registry: FlakyRegistry) -> None:
    fence = new_fence(registry.status("t"), 0)
    talk.policy = SINGLE
    talk.climbs().ends()
    registry.reopen("t", operator="desk", reason="appeal")
    talk.context = RunContext("t", fence=fence)
    with pytest.raises(StaleRunError) as caught:
        talk.says("hello")
    assert (caught.value.held, caught.value.current) == (0, 2)
    talk.context = RunContext("t", fence=new_fence(registry.status("t"), 0))
    assert talk.says("hello").branch == 0


def test_a_run_that_forks_opens_its_branch_once(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = SINGLE
    talk.context = RunContext("t", checkpoint_id="cp5")
    talk.climbs().ends()
    talk.context = RunContext("t", fence=Fence("t", 1, 0, "run", "cp3"))
    assert talk.says("hello").branch == 1
    talk.replies_with("hello")
    assert [branch.branch for branch in registry.status("t").branches] == [0, 1]
    assert registry.status("t").on_branch(0).seal is not None
    assert not registry.status("t").sealed


@pytest.mark.parametrize("state", [None, {}, {"v": 1, "turn": 9, "user": ["", ""], "sig": "0"}, "forged", [1]])
def test_a_ledger_that_was_not_signed_is_an_empty_one(talk: Talk, state: Any, caplog: pytest.LogCaptureFixture) -> None:
    talk.state = state
    assert talk.says("hello").ledger.turn == 1
    assert ("did not sign" in caplog.text) is (state is not None)


def test_a_ledger_of_another_thread_is_an_empty_one(talk: Talk) -> None:
    talk.climbs()
    talk.context = RunContext("other")
    assert talk.says("hello").ledger.turn == 1


# Hearing


def test_risk_is_flagged_in_the_registry_at_once(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("you idiot", "I will kill myself", "hello")
    (flag,) = registry.status("t").risk_flags
    assert (flag.kind, flag.source, flag.message_id, flag.score) == (RiskKind.SELF_HARM, "keywords/1", "u2", 0.9)
    assert flag.reason == ""
    assert talk.ledger.unrecorded_risk == ()


@pytest.mark.parametrize("error", [RegistryError("down"), InvalidInputError("message_id: overlong")])
def test_flags_that_cannot_be_written_are_kept_and_written_later(
    talk: Talk, registry: FlakyRegistry, error: Exception
) -> None:
    registry.failing, registry.error = {"flag_risk"}, error
    talk.says("I will kill myself", "again: kill myself", "or hurt them")
    both = {RiskKind.SELF_HARM, RiskKind.VIOLENCE}
    assert [kind for kind, _, _ in talk.ledger.unrecorded_risk] == sorted(both)
    waiting = talk.says("hello").ledger.unrecorded_risk
    assert [kind for kind, _, _ in waiting] == sorted(both)
    assert not registry.status("t").at_risk
    registry.failing.clear()
    assert talk.says("hello").ledger.unrecorded_risk == ()
    assert {flag.kind for flag in registry.status("t").risk_flags} == both


def test_flags_of_a_run_without_a_thread_stay_in_the_ledger(talk: Talk, registry: FlakyRegistry) -> None:
    talk.context = RunContext(None)
    talk.says("I will kill myself")
    assert talk.ledger.unrecorded_risk == ((RiskKind.SELF_HARM, "keywords/1", "u1"),)
    assert unmet(talk.ends())[0] is UnmetCode.RISK_FLAGGED
    assert registry.called == []


def test_a_message_without_an_id_can_be_flagged(talk: Talk, registry: FlakyRegistry) -> None:
    talk.hears([user("I will kill myself", "")])
    (flag,) = registry.status("t").risk_flags
    assert flag.message_id is None


# Ruling: what is denied, and how it is recorded


def test_a_reply_without_a_call_is_no_request(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("hello")
    assert talk.replies_with("hello") is None
    assert registry.decisions("t") == ()


def test_a_denied_call_says_codes_and_no_thresholds(talk: Talk) -> None:
    talk.says("you idiot")
    ruling = talk.ends()
    assert ruling.record.outcome is Outcome.DENIED
    assert ruling.text == denial_text(unmet(ruling))
    assert not any(char.isdigit() for char in ruling.text)
    shown = {code for code in UnmetCode if f"{code}," in ruling.text or f"{code}." in ruling.text}
    assert shown == set(unmet(ruling)) - {UnmetCode.CONFIRMATION_CALL_REQUIRED}


SURROUNDINGS = {
    UnmetCode.NO_THREAD_ID: RunContext(None),
    UnmetCode.NO_CHECKPOINTER: RunContext("t", persisted=False),
    UnmetCode.NOT_MAIN_AGENT: RunContext("t", nested=True),
}


@pytest.mark.parametrize("code", SURROUNDINGS)
def test_the_surroundings_rule_an_end_out(talk: Talk, registry: FlakyRegistry, code: UnmetCode) -> None:
    talk.context, talk.policy = SURROUNDINGS[code], SINGLE
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (code,)
    assert not registry.status("t").sealed
    assert len(registry.decisions("t")) == (0 if code is UnmetCode.NO_THREAD_ID else 1)


def test_a_refused_reply_rules_its_own_calls_out(talk: Talk) -> None:
    talk.policy = SINGLE
    talk.climbs()
    ruling = talk.replies_with("I will not", call(), refused=True)
    assert ruling is not None
    assert unmet(ruling) == (UnmetCode.REFUSED_REPLY,)


@pytest.mark.parametrize(("model", "permitted"), [("claude", True), ("other", False), (None, False)])
def test_the_allow_list(talk: Talk, model: str | None, permitted: bool) -> None:  # noqa: FBT001 - a table
    talk.policy = EndConversationPolicy(confirmation_calls=1, models=frozenset({"claude"}))
    talk.context = RunContext("t", model=model)
    assert talk.climbs().ends().record.decision.permitted is permitted


def test_shadow_decides_and_records_and_seals_nothing(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = EndConversationPolicy(mode=Mode.SHADOW)
    talk.climbs()
    assert talk.ends().record.outcome is Outcome.AWAITING_CONFIRMATION
    ruling = talk.ends()
    assert (ruling.record.outcome, ruling.text, ruling.seal) == (Outcome.WOULD_HAVE_SEALED, shadow_text(), None)
    assert ruling.record.decision.permitted
    assert ruling.record.mode is Mode.SHADOW
    assert not registry.status("t").sealed
    assert [record.outcome for record in registry.decisions("t")][-1] is Outcome.WOULD_HAVE_SEALED
    assert "seal" not in registry.called
    assert talk.says("hello").ledger.turn == 5


def test_off_denies_and_records(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = EndConversationPolicy(mode=Mode.OFF, confirmation_calls=1)
    assert unmet(talk.climbs().ends()) == (UnmetCode.MODE_OFF,)
    assert registry.decisions("t")[0].mode is Mode.OFF


@pytest.mark.parametrize("arguments", [None, "{", {}, [], {"category": "abuse"}, {"category": "x", "reason": "y"}])
def test_malformed_arguments_are_a_denied_call(talk: Talk, registry: FlakyRegistry, arguments: Any) -> None:
    talk.climbs()
    ruling = talk.replies_with("", Call("c", "end_conversation", arguments))
    assert ruling is not None
    assert unmet(ruling) == (UnmetCode.INVALID_ARGUMENTS,)
    assert "harmful_requests" in ruling.text
    assert (ruling.record.category, ruling.record.reason) == (None, "")
    assert talk.ledger.denials == 1
    assert registry.decisions("t") == (ruling.record,)


def test_several_calls_in_one_reply_are_one_request(talk: Talk, registry: FlakyRegistry) -> None:
    talk.climbs()
    malformed = Call("m", "end_conversation", "{")
    ruling = talk.replies_with("", malformed, call("abuse"), call("user_request"), call("abuse"))
    assert ruling is not None
    assert ruling.record.category is Category.ABUSE
    assert ruling.record.outcome is Outcome.AWAITING_CONFIRMATION
    assert len(registry.decisions("t")) == 1
    again = talk.replies_with("", call("abuse"), call("abuse"))
    assert again is not None
    assert again.seal is not None
    assert len(registry.decisions("t")) == 2


def test_attempts_are_used_up(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("hello")
    rulings = [talk.ends() for _ in range(5)]
    assert [ruling.cut_off for ruling in rulings] == [False, False, False, True, True]
    assert [UnmetCode.TOO_MANY_ATTEMPTS in unmet(ruling) for ruling in rulings] == [False, False, False, True, True]
    assert ["Answer the user now" in ruling.text for ruling in rulings] == [False, False, True, True, True]
    assert len(registry.decisions("t")) == 5
    talk.says("hello")
    assert not talk.ends().cut_off


def test_confirmations_in_turn_about_use_attempts_up(talk: Talk) -> None:
    talk.climbs()
    rulings = [talk.ends(("abuse", "harmful_requests")[number % 2]) for number in range(8)]
    assert rulings[-1].cut_off
    assert all(ruling.seal is None for ruling in rulings)


# Risk, when an end is asked for


def test_risk_vetoes_whatever_the_evidence(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = SINGLE
    talk.says("I will kill myself")
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (UnmetCode.RISK_FLAGGED,)
    assert "Somebody may be at risk" in ruling.text
    assert not registry.status("t").sealed


def test_risk_in_the_newest_message_vetoes(talk: Talk) -> None:
    talk.policy = SINGLE
    talk.climbs()
    talk.says("you idiot, I will kill myself")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)


def test_risk_vetoes_an_end_that_the_user_asked_for(talk: Talk) -> None:
    talk.says("I will kill myself")
    assert unmet(talk.asks().ends("user_request")) == (UnmetCode.RISK_FLAGGED,)


def test_the_hosts_own_flag_vetoes_until_it_is_cleared(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = SINGLE
    talk.climbs()
    registry.flag_risk("t", kind="crisis", source="desk", reason="phoned")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)
    registry.clear_risk("t", operator="desk", reason="phoned back")
    assert talk.ends().seal is not None


def test_risk_that_was_removed_from_the_history_vetoes(talk: Talk) -> None:
    talk.policy = SINGLE
    talk.says("I will kill myself")
    talk.climbs()
    del talk.history[0]
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)


def test_risk_that_was_never_heard_but_is_there_vetoes_and_is_flagged(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = SINGLE
    talk.climbs()
    talk.edits(0, "I will kill myself")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)
    assert [flag.message_id for flag in registry.status("t").risk_flags] == ["u1"]


def test_a_flag_that_is_raised_between_decision_and_seal_wins(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = SINGLE
    talk.climbs()
    registry.before["seal"] = lambda: InMemorySealRegistry.flag_risk(registry, "t", kind="crisis", source="desk")
    ruling = talk.ends()
    assert ruling.seal is None
    assert (ruling.record.outcome, ruling.record.decision.verdict) == (Outcome.DENIED, Verdict.DENY)
    assert unmet(ruling) == (UnmetCode.RISK_FLAGGED,)
    assert "Somebody may be at risk" in ruling.text
    assert talk.ledger.denials == 1
    (kept,) = registry.decisions("t")
    assert (kept.id, kept.outcome, kept.decision.unmet) == (ruling.record.id, Outcome.DENIED, unmet(ruling))


def test_a_run_that_is_overtaken_between_decision_and_seal_seals_nothing(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = SINGLE
    talk.context = RunContext("t", fence=new_fence(registry.status("t"), 0))
    talk.climbs()
    other = Talk(registry, SINGLE, state=talk.state, history=list(talk.history), replies=90)

    def seal_and_reopen() -> None:
        other.ends()
        registry.reopen("t", operator="desk", reason="appeal")

    registry.before["seal"] = seal_and_reopen
    assert unmet(talk.ends()) == (UnmetCode.STALE_RUN,)


def test_a_thread_that_is_sealed_between_decision_and_seal_stays_sealed_once(
    talk: Talk, registry: FlakyRegistry
) -> None:
    talk.policy = SINGLE
    talk.climbs()
    other = Talk(registry, SINGLE, state=talk.state, history=list(talk.history), replies=90)
    registry.before["seal"] = other.ends
    ruling = talk.ends()
    assert ruling.seal == registry.status("t").seal
    assert ruling.seal is not None
    assert [record.outcome for record in registry.decisions("t")] == [Outcome.SEALED, Outcome.DENIED]
    assert registry.decisions("t")[1].decision.unmet == (UnmetCode.THREAD_ALREADY_SEALED,)


@pytest.mark.parametrize("broken", ["", "you idiot"])
def test_a_broken_detector_vetoes(talk: Talk, broken: str) -> None:
    talk.policy = SINGLE
    talk.detectors = DetectorSuite([KeywordDetector(), BreakableDetector(broken)])
    assert unmet(talk.climbs().ends()) == (UnmetCode.RISK_UNCERTAIN, UnmetCode.RISK_CHECK_FAILED)


def test_a_detector_that_was_broken_for_a_message_that_is_gone_vetoes_for_good(talk: Talk) -> None:
    talk.policy = EndConversationPolicy(confirmation_calls=1, window_turns=4)
    talk.detectors = DetectorSuite([BreakableDetector("secret")])
    talk.says("secret")
    talk.detectors = keyword_suite()
    talk.climbs()
    gone = talk.history.pop(0)
    assert unmet(talk.ends()) == (UnmetCode.RISK_CHECK_FAILED,)
    talk.history.insert(0, gone)
    assert talk.ends().seal is not None


def test_nobody_who_looks_for_risk_vetoes(talk: Talk) -> None:
    talk.policy = SINGLE
    kinds = [kind for kind in SignalKind if kind is not SignalKind.VIOLENCE]
    talk.detectors = DetectorSuite([KeywordDetector(kinds)])
    assert unmet(talk.climbs().ends()) == (UnmetCode.RISK_UNCERTAIN, UnmetCode.RISK_CHECK_FAILED)


# Ruling: a registry that fails


@pytest.mark.parametrize("error", [RegistryError("down"), InvalidInputError("record: too large")])
def test_a_registry_that_cannot_seal_denies(talk: Talk, registry: FlakyRegistry, error: Exception) -> None:
    talk.policy = SINGLE
    talk.climbs()
    registry.failing, registry.error = {"seal"}, error
    ruling = talk.ends()
    assert unmet(ruling) == (UnmetCode.REGISTRY_UNAVAILABLE,)
    assert (ruling.record.outcome, ruling.seal) == (Outcome.DENIED, None)
    assert talk.ledger.denials == 1
    registry.failing.clear()
    assert not registry.status("t").sealed
    assert talk.ends().seal is not None


def test_a_registry_that_cannot_keep_a_decision_denies(talk: Talk, registry: FlakyRegistry) -> None:
    registry.failing.add("record_decision")
    talk.climbs()
    first = talk.ends()
    assert UnmetCode.REGISTRY_UNAVAILABLE in unmet(first)
    assert talk.ledger.pending is None
    assert talk.ends().seal is None


def test_a_registry_that_cannot_keep_a_flag_denies(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = SINGLE
    talk.says("I will kill myself")
    registry.clear_risk("t", operator="desk", reason="spoke")
    talk.climbs()
    registry.failing.add("flag_risk")
    talk.says("I will hurt them, you idiot")
    assert unmet(talk.ends()) == (UnmetCode.RISK_FLAGGED,)


@pytest.mark.parametrize("method", METHODS)
def test_whichever_call_fails_nobody_at_risk_is_cut_off(talk: Talk, registry: FlakyRegistry, method: str) -> None:
    talk.policy = SINGLE
    talk.climbs()
    registry.failing.add(method)
    try:
        talk.says("you idiot, I will kill myself")
        talk.ends()
    except RegistryError:
        assert method == "status"
    registry.failing.clear()
    assert not registry.status("t").sealed
    if method != "status":
        assert UnmetCode.RISK_FLAGGED in unmet(talk.ends())


def test_words_that_no_database_stores_are_malformed(talk: Talk) -> None:
    ruling = talk.climbs().replies_with("", call(reason="\ud800"))
    assert ruling is not None
    assert unmet(ruling) == (UnmetCode.INVALID_ARGUMENTS,)


def test_whatever_a_model_may_say_can_be_kept(tmp_path: Path) -> None:
    with SqlSealRegistry(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        ruling = Talk(registry, SINGLE).climbs().replies_with("I will not", call(reason="a\x00b'\"%\u2028😀"))
        assert ruling is not None
        assert ruling.seal is not None
        assert registry.decisions("t") == (ruling.record,)


def test_no_words_of_anybody_are_logged(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    talk.says("you idiot, my secret")
    talk.replies_with("secret refusal", call(reason="secret reason"))
    assert "secret" not in caplog.text
    assert "end requested: denied" in caplog.text


def test_the_history_is_read_only_when_an_end_is_requested(talk: Talk) -> None:
    talk.says("hello")
    assert talk.visit is not None

    def explode() -> Iterator[Any]:
        raise AssertionError("the history was read")

    reply = _reply()
    assert talk.gate.rule(talk.visit, reply, explode)[1] is None


def test_an_ordinary_turn_reads_the_registry_once_and_writes_nothing() -> None:
    registry = FlakyRegistry()
    gate = Gate(policy=SINGLE, registry=registry, detectors=keyword_suite())
    visit = gate.hear(gate.admit(RunContext("t")), [user("hello")])
    gate.rule(visit, _reply(), list)
    assert registry.called == ["status"]
    assert visit.ledger == Ledger.load(gate.dump(visit), registry.signing_key, "t")
