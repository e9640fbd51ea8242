"""The gate: admit, hear, rule; sync and async; and whatever fails around it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from end_conversation_tool._core.breaker import CircuitBreaker
from end_conversation_tool._core.fence import Fence, new_fence
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import PROMPT_VERSION, confirmation_text, ended_text
from end_conversation_tool._core.records import Category, Mode, Outcome, RiskKind, UnmetCode
from end_conversation_tool._core.run import RunContext
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError, RegistryError, StaleRunError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.watch import DetectorSuite, NativeRefusalDetector
from support.keywords import user
from support.registries import FlakyRegistry
from support.talk import REFUSE, WARN, Talk, call, reply_of_calls, unmet

SINGLE = EndConversationPolicy(confirmation_calls=1)


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
    visit, ruling = gate.rule(talk.visit, reply_of_calls(call(reason="  the reason ")), lambda: talk.history)
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


@pytest.mark.parametrize(
    ("unusable", "message"),
    [
        ({"policy": {}}, "policy: expected an instance of EndConversationPolicy, got dict"),
        ({"detectors": []}, "detectors: expected an instance of DetectorSuite, got list"),
        ({"judge": "claude"}, "judge: expected None or a Judge, got str"),
        ({"registry": {}, "breaker": CircuitBreaker(max_ends_per_hour=1)}, "breaker: expected None with a dict"),
    ],
)
def test_an_unusable_argument_is_named(unusable: dict[str, Any], message: str) -> None:
    usable = {
        "policy": EndConversationPolicy(),
        "registry": InMemorySealRegistry(),
        "detectors": DetectorSuite([NativeRefusalDetector()]),
    }
    with pytest.raises(InvalidInputError, match=message):
        Gate(**{**usable, **unusable})
