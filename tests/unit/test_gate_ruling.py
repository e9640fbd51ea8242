"""The gate rules: what is denied, how it is recorded, shadow and breaker, attempts, asking by an interrupt."""

from __future__ import annotations

from typing import Any

import pytest

from end_conversation_tool._core.flow import run_flow
from end_conversation_tool._core.operations import CircuitBreaker
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import denial_text, shadow_text
from end_conversation_tool._core.records import Category, Mode, Outcome, RiskKind, UnmetCode
from end_conversation_tool._core.run import Call, Reply, Ruling, RunContext
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._core.vocabulary import Asked
from end_conversation_tool._gate.gate import is_counted
from support.keywords import QUICK, KeywordReader, assistant
from support.listener import Listener
from support.registries import FlakyRegistry
from support.talk import ENDING_REFUSAL, Talk, call, unmet

DEFAULT = EndConversationPolicy()


# What is denied, and how it is recorded


def test_a_reply_without_a_call_is_no_request(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("hello")
    assert talk.replies_with("hello") is None
    assert registry.decisions("t") == ()


def test_a_denied_call_says_codes_and_no_thresholds(talk: Talk) -> None:
    for _ in range(3):
        talk.says("hello")
        talk.replies_with("hello")
    ruling = talk.ends()
    assert ruling.record.outcome is Outcome.DENIED
    assert ruling.text == denial_text(unmet(ruling))
    assert not any(char.isdigit() for char in ruling.text)
    shown = {code for code in UnmetCode if f"{code}," in ruling.text or f"{code}." in ruling.text}
    assert shown == set(unmet(ruling))
    assert len(shown) == 5


SURROUNDINGS = {
    UnmetCode.NO_THREAD_ID: RunContext(None),
    UnmetCode.NO_CHECKPOINTER: RunContext("t", persisted=False),
    UnmetCode.REGISTRY_UNAVAILABLE: RunContext("t", readable=False),
    UnmetCode.NOT_MAIN_AGENT: RunContext("t", nested=True),
}


@pytest.mark.parametrize("code", SURROUNDINGS)
@pytest.mark.parametrize("policy", [QUICK, DEFAULT])
def test_the_surroundings_rule_an_end_out(
    talk: Talk, registry: FlakyRegistry, code: UnmetCode, policy: EndConversationPolicy
) -> None:
    talk.context, talk.policy = SURROUNDINGS[code], policy
    ruling = talk.climbs().ends()
    assert unmet(ruling) == (code,)
    assert ruling.record.reading is None
    assert not registry.status("t").sealed
    assert len(registry.decisions("t")) == (0 if code is UnmetCode.NO_THREAD_ID else 1)


def test_a_refused_reply_rules_its_own_calls_out(talk: Talk) -> None:
    talk.climbs()
    ruling = talk.replies_with("I will not", call(), refused=True)
    assert ruling is not None
    assert unmet(ruling) == (UnmetCode.REFUSED_REPLY,)


def test_refusals_that_the_provider_reports_count(talk: Talk) -> None:
    talk.policy = EndConversationPolicy(min_redirections=0)
    for _ in range(3):
        talk.says("you idiot")
        talk.replies_with("", refused=True)
    talk.says("you idiot")
    assert talk.ends().record.outcome is Outcome.NOTICED


@pytest.mark.parametrize(("model", "permitted"), [("claude", True), ("other", False), (None, False)])
def test_the_allow_list(talk: Talk, model: str | None, permitted: bool) -> None:  # noqa: FBT001 - a table
    talk.policy = EndConversationPolicy(require_notice=False, models=frozenset({"claude"}))
    talk.context = RunContext("t", model=model)
    assert talk.climbs().ends().record.decision.permitted is permitted


def test_off_denies_and_records(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = EndConversationPolicy(mode=Mode.OFF)
    assert unmet(talk.climbs().ends()) == (UnmetCode.MODE_OFF,)
    assert registry.decisions("t")[0].mode is Mode.OFF


@pytest.mark.parametrize("arguments", [None, "{", {}, [], {"category": "abuse"}, {"category": "x", "reason": "y"}])
def test_malformed_arguments_are_a_denied_call(talk: Talk, registry: FlakyRegistry, arguments: Any) -> None:
    talk.climbs()
    ruling = talk.replies_with("", Call("c", "end_conversation", arguments))
    assert ruling is not None
    assert unmet(ruling) == (UnmetCode.INVALID_ARGUMENTS,)
    assert "harmful_requests" in ruling.text
    assert (ruling.record.category, ruling.record.reason, ruling.record.reading) == (None, "", None)
    assert talk.known.denials == 1
    assert registry.decisions("t") == (ruling.record,)


def test_several_calls_in_one_reply_are_one_request(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = DEFAULT
    talk.climbs()
    malformed = Call("m", "end_conversation", "{")
    ruling = talk.replies_with("", malformed, call("abuse"), call("user_request"), call("abuse"))
    assert ruling is not None
    assert (ruling.record.category, ruling.record.outcome) == (Category.ABUSE, Outcome.NOTICED)
    assert len(registry.decisions("t")) == 1
    talk.says("you idiot")
    again = talk.replies_with("", call("abuse"), call("abuse"))
    assert again is not None
    assert again.seal is not None
    assert len(registry.decisions("t")) == 2


# Attempts


def test_attempts_are_used_up(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("hello")
    rulings = [talk.ends() for _ in range(5)]
    assert [ruling.closing for ruling in rulings] == ["", "", "", Texts().still_here, Texts().still_here]
    assert [UnmetCode.TOO_MANY_ATTEMPTS in unmet(ruling) for ruling in rulings] == [False, False, False, True, True]
    assert ["Answer the user now" in ruling.text for ruling in rulings] == [False, False, True, True, True]
    assert len(registry.decisions("t")) == 5
    talk.says("hello")
    assert not talk.ends().ends_run
    assert talk.known.denials == 1


# Shadow mode


def test_shadow_decides_and_records_and_shows_and_seals_nothing(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = EndConversationPolicy(mode=Mode.SHADOW)
    first = talk.climbs().ends()
    assert (first.record.outcome, first.text, first.closing) == (Outcome.WOULD_HAVE_NOTICED, shadow_text(), "")
    (notice,) = registry.status("t").on_branch(0).notices
    assert (notice.shadow, notice.turn, notice.id) == (True, 4, first.record.id)
    talk.replies_with("I will not")
    talk.says("you idiot")
    ruling = talk.ends()
    assert (ruling.record.outcome, ruling.text, ruling.seal) == (Outcome.WOULD_HAVE_SEALED, shadow_text(), None)
    assert ruling.record.decision.permitted
    assert (ruling.record.mode, ruling.closing) == (Mode.SHADOW, "")
    assert not registry.status("t").sealed
    assert [record.outcome for record in registry.decisions("t")][-1] is Outcome.WOULD_HAVE_SEALED
    assert "seal" not in registry.called
    assert talk.says("hello").provenance.turn == 6


def test_a_notice_of_shadow_mode_does_not_count_when_ends_are_enforced(talk: Talk) -> None:
    talk.policy = EndConversationPolicy(mode=Mode.SHADOW)
    talk.climbs().ends()
    talk.replies_with("I will not")
    talk.policy = DEFAULT
    talk.says("you idiot")
    assert talk.ends().record.outcome is Outcome.NOTICED


# The circuit breaker


def test_a_breaker_lets_ends_pass_below_its_limit_and_none_above(talk: Talk, registry: FlakyRegistry) -> None:
    listener = Listener()
    talk.options = {"breaker": CircuitBreaker(max_ends_per_hour=1), "sinks": [listener]}
    assert talk.climbs().ends().seal is not None
    talk.context, talk.state, talk.history = RunContext("u"), None, []
    second = talk.climbs().ends()
    assert (second.record.outcome, second.seal, second.closing) == (Outcome.WOULD_HAVE_SEALED, None, "")
    assert (second.record.breaker_tripped, second.record.mode) == (True, Mode.SHADOW)
    assert not registry.status("u").sealed
    assert listener.names().count("end_conversation.alarm") == 1
    talk.says("you idiot")
    third = talk.ends()
    assert (third.record.outcome, third.record.breaker_tripped) == (Outcome.WOULD_HAVE_SEALED, True)
    assert listener.names().count("end_conversation.alarm") == 1
    registry.reset_breaker(operator="desk", reason="looked")


def test_a_tripped_breaker_shows_no_notice(talk: Talk, registry: FlakyRegistry) -> None:
    talk.options = {"breaker": CircuitBreaker(max_ends_per_hour=1)}
    talk.climbs().ends()
    talk.context, talk.state, talk.history = RunContext("u"), None, []
    talk.climbs().ends()
    talk.context, talk.state, talk.history, talk.policy = RunContext("v"), None, [], DEFAULT
    ruling = talk.climbs().ends()
    assert (ruling.record.outcome, ruling.closing) == (Outcome.WOULD_HAVE_NOTICED, "")
    assert [notice.shadow for notice in registry.status("v").on_branch(0).notices] == [True]


@pytest.mark.parametrize(("failing", "outcome"), [("breaker", Outcome.SEALED), ("seal_within", Outcome.DENIED)])
def test_a_breaker_that_cannot_be_read_is_looked_at_again_when_it_comes_to_sealing(
    talk: Talk, registry: FlakyRegistry, failing: str, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    talk.options = {"breaker": CircuitBreaker(max_ends_per_hour=1)}
    talk.climbs()
    registry.failing = {failing}
    assert talk.ends().record.outcome is outcome
    assert "RegistryError" in caplog.text


# Counting threads


@pytest.mark.parametrize("thread_id", ["t", None])
def test_a_thread_is_counted_once_when_it_begins(talk: Talk, registry: FlakyRegistry, thread_id: str | None) -> None:
    talk.options = {"count_threads": 1}
    talk.context = RunContext(thread_id)
    talk.says("hello")
    talk.replies_with("hello")
    talk.says("hello")
    assert registry.called.count("count_thread") == (1 if thread_id else 0)


def test_a_share_of_the_threads_is_counted_the_same_ones_everywhere(talk: Talk, registry: FlakyRegistry) -> None:
    talk.options = {"count_threads": 0.3}
    names = [f"thread {number}" for number in range(1_000)]
    counted = [name for name in names if is_counted(name, 0.3)]
    assert 250 < len(counted) < 350
    assert set(counted) <= {name for name in names if is_counted(name, 0.6)}
    assert all(is_counted(name, 1) and not is_counted(name, 0) for name in names)
    for name in names[:20]:
        talk.context, talk.state, talk.history = RunContext(name), None, []
        talk.says("hello")
    assert registry.called.count("count_thread") == len([name for name in names[:20] if name in counted])


def test_a_count_that_cannot_be_kept_turns_nobody_away(
    talk: Talk, registry: FlakyRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    talk.options = {"count_threads": 1}
    registry.failing = {"count_thread"}
    assert talk.says("hello").provenance.turn == 1
    assert "could not be counted" in caplog.text


# Asking by an interrupt


def ask_app(talk: Talk) -> None:
    """Let the user ask for the end, and have the app ask them."""
    talk.options, talk.policy = {"asks": True}, DEFAULT
    talk.says("please end this chat")
    asking = talk.ends("user_request", "")
    assert (asking.asks, asking.text, asking.closing) == (True, "", "")
    assert talk.known.asking is Asked.USER
    assert talk.registry.decisions("t") == ()


def settle(talk: Talk, answer: object) -> Ruling:
    """Let the user ask for the end, have the app ask them, and resume with their answer."""
    ask_app(talk)
    reply = Reply(assistant("", "a1"), (call("user_request"),))
    run = talk._do(talk.gate.admit(talk.context, talk.state))
    history = talk.history[:2]
    run = talk._do(talk.gate.hear(run, reversed(history)))
    talk.run, ruling = talk._do(talk.gate.settle(run, reply, lambda: history, answer))
    assert isinstance(ruling, Ruling)
    assert talk.known.asking is None
    return ruling


@pytest.mark.parametrize("answer", [True, "yes", " YES ", {"confirmed": True}, {"confirmed": True, "at": 3}])
def test_an_explicit_yes_to_the_app_ends(talk: Talk, answer: object) -> None:
    ruling = settle(talk, answer)
    assert ruling.record.outcome is Outcome.SEALED
    assert ruling.seal == talk.registry.status("t").seal is not None


@pytest.mark.parametrize(
    "answer",
    [None, False, "no", "", "yes please, I am tired", 1, [], {}, {"confirmed": "yes"}, {"confirmed": True, "why": "x"}],
)
def test_anything_else_is_a_no(talk: Talk, answer: object) -> None:
    ruling = settle(talk, answer)
    assert (ruling.record.outcome, unmet(ruling)) == (Outcome.DENIED, (UnmetCode.USER_DID_NOT_CONFIRM,))
    assert not talk.registry.status("t").sealed
    assert talk.registry.decisions("t") == (ruling.record,)


@pytest.mark.parametrize("answer", ["I will kill myself", {"text": ["no", "I will kill myself"]}])
def test_words_in_an_answer_are_looked_at_for_risk(talk: Talk, answer: object) -> None:
    ruling = settle(talk, answer)
    assert unmet(ruling) == (UnmetCode.RISK_FLAGGED, UnmetCode.USER_DID_NOT_CONFIRM)
    assert [flag.kind for flag in talk.registry.status("t").risk_flags] == [RiskKind.SELF_HARM]


def test_a_yes_ends_nothing_while_a_flag_stands(talk: Talk) -> None:
    talk.registry.flag_risk("t", kind="crisis", source="desk")
    talk.options, talk.policy = {"asks": True}, DEFAULT
    talk.says("please end this chat")
    ruling = talk.ends("user_request", "")
    assert (ruling.asks, unmet(ruling)) == (False, (UnmetCode.RISK_FLAGGED,))


@pytest.mark.parametrize("said", ["hello", "please end this chat, I am so tired"])
def test_nobody_is_asked_where_something_else_is_missing(talk: Talk, said: str) -> None:
    talk.options, talk.policy = {"asks": True}, DEFAULT
    talk.says(said)
    assert not talk.ends("user_request", "").asks


def test_nobody_is_asked_for_an_end_for_conduct_or_in_shadow_mode(talk: Talk) -> None:
    talk.options, talk.policy = {"asks": True}, DEFAULT
    ruling = talk.climbs().ends()
    assert (ruling.asks, ruling.record.outcome) == (False, Outcome.NOTICED)
    talk.context, talk.state, talk.history = RunContext("u"), None, []
    talk.policy = EndConversationPolicy(mode=Mode.SHADOW)
    talk.says("please end this chat")
    shadow = talk.ends("user_request", "")
    assert (shadow.asks, shadow.record.outcome) == (False, Outcome.WOULD_HAVE_NOTICED)


def test_the_same_request_with_the_same_answer_comes_to_the_same_in_another_process() -> None:
    """A run that is resumed elsewhere knows only what the state holds."""
    talk = Talk(FlakyRegistry())
    ruling = settle(talk, answer=True)
    assert isinstance(talk.reader, KeywordReader)
    assert len(talk.reader.asked) == 2, "read again with what stands there now"
    assert ruling.record.turn == 1
    assert ENDING_REFUSAL not in ruling.text
    assert run_flow(talk.gate.admit(RunContext("other"), None)).provenance.turn == 0
