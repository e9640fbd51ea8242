"""The gate and whatever may go wrong: somebody at risk, a broken detector, a registry that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_conversation_tool._core.fence import new_fence
from end_conversation_tool._core.ledger import Ledger
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Outcome, UnmetCode, Verdict
from end_conversation_tool._core.run import RunContext
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError, RegistryError
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from end_conversation_tool.watch.base import DetectorSuite, SignalKind
from support.keywords import BreakableDetector, KeywordDetector, keyword_suite, user
from support.registries import METHODS, FlakyRegistry
from support.talk import Talk, call, reply_of_calls, unmet

SINGLE = EndConversationPolicy(confirmation_calls=1)


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

    reply = reply_of_calls()
    assert talk.gate.rule(talk.visit, reply, explode)[1] is None


def test_an_ordinary_turn_reads_the_registry_once_and_writes_nothing() -> None:
    registry = FlakyRegistry()
    gate = Gate(policy=SINGLE, registry=registry, detectors=keyword_suite())
    visit = gate.hear(gate.admit(RunContext("t")), [user("hello")])
    gate.rule(visit, reply_of_calls(), list)
    assert registry.called == ["status"]
    assert visit.ledger == Ledger.load(gate.dump(visit), registry.signing_key, "t")
