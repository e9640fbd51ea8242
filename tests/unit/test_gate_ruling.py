"""The gate rules: what is denied, how it is recorded, when attempts are used up."""

from __future__ import annotations

from typing import Any

import pytest

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import denial_text, shadow_text
from end_conversation_tool._core.records import Category, Mode, Outcome, UnmetCode
from end_conversation_tool._core.run import Call, RunContext
from support.registries import FlakyRegistry
from support.talk import Talk, call, unmet

SINGLE = EndConversationPolicy(confirmation_calls=1)


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
