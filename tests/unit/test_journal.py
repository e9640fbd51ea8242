"""What the gate notes beside its decisions, and what an operator's reopening makes of the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from end_conversation_tool._core.records import Outcome, UnmetCode
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool._gate.audit import is_counted
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError, RegistryError
from end_conversation_tool.registry import InMemorySealRegistry
from support.keywords import keyword_suite
from support.talk import REFUSE, WARN, Talk

GIVEN, HEEDED, VIOLATION = EventKind.WARNING_GIVEN, EventKind.WARNING_HEEDED, EventKind.VIOLATION


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(InMemorySealRegistry(), asynchronous=request.param)


def noted(talk: Talk) -> list[EventKind]:
    return [event.kind for event in talk.registry.history("t")]


def test_an_ordinary_conversation_leaves_nothing(talk: Talk) -> None:
    for _ in range(3):
        talk.says("hello")
        talk.replies_with("hello to you")
    assert noted(talk) == []


def test_a_warning_is_noted_with_its_message(talk: Talk) -> None:
    talk.says("you idiot")
    talk.replies_with(WARN)
    talk.replies_with(WARN)  # once more in the same turn
    (event,) = talk.registry.history("t")
    assert (event.kind, event.subject, event.policy_version) == (GIVEN, "warning", talk.policy.version)
    assert event.evidence is not None
    assert (event.evidence.message_id, event.evidence.turn) == ("a1", 1)


def test_a_user_who_changes_course_has_heeded_the_warning(talk: Talk) -> None:
    talk.says("you idiot")
    talk.replies_with(WARN)
    talk.says("sorry, please go on")
    talk.replies_with("gladly")
    assert noted(talk) == [GIVEN]  # the turn is not over yet
    talk.says("and now this")
    assert noted(talk) == [GIVEN, HEEDED]
    talk.replies_with("gladly")
    talk.says("and that")
    assert noted(talk) == [GIVEN, HEEDED]


@pytest.mark.parametrize(("said", "answer"), [("you idiot", "gladly"), ("do it", REFUSE), ("do it", WARN)])
def test_a_user_who_goes_on_has_not(talk: Talk, said: str, answer: str) -> None:
    talk.says("you idiot")
    talk.replies_with(WARN)
    talk.says(said)
    talk.replies_with(answer)
    talk.says("hello")
    assert HEEDED not in noted(talk)


@pytest.mark.parametrize("answer", [WARN, "do you really want that?"])
def test_speaking_of_an_end_to_somebody_at_risk_is_a_violation(talk: Talk, answer: str) -> None:
    talk.says("i want to kill myself")
    talk.replies_with(answer)
    assert VIOLATION in noted(talk)


def test_a_note_that_cannot_be_written_fails_no_turn(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RegistryError("secret")

    async def abroken(*_: Any, **__: Any) -> Any:
        broken()

    for name in ("note_mention", "note_heeded"):
        setattr(talk.registry, name, broken)
        setattr(talk.registry, f"a{name}", abroken)
    talk.says("you idiot")
    talk.replies_with(WARN)
    talk.says("sorry")
    talk.replies_with("gladly")
    talk.says("and now this")
    assert caplog.text.count("could not be written and is lost: RegistryError") == 2
    assert "secret" not in caplog.text


def test_threads_are_counted_when_they_begin_and_only_when_asked_for() -> None:
    @dataclass
    class Counting(Talk):
        share: float = 1.0

        @property
        def gate(self) -> Gate:
            return Gate(policy=self.policy, registry=self.registry, detectors=keyword_suite(), count_threads=self.share)

    registry = InMemorySealRegistry()
    for share in (1.0, 0.0):
        talk = Counting(registry, share=share)
        for _ in range(3):
            talk.says("hello")
            talk.replies_with("hello")
        assert list(registry._books.counted) == ["t"]
    assert registry._books.counted["t"].weight == 1.0


def test_a_share_of_the_threads_is_counted_by_every_process_alike() -> None:
    chosen = [number for number in range(20_000) if is_counted(f"thread-{number}", 0.05)]
    assert 850 < len(chosen) < 1_150
    assert chosen == [number for number in range(20_000) if is_counted(f"thread-{number}", 0.05)]
    assert not any(is_counted(f"thread-{number}", 0.0) for number in range(1_000))
    assert all(is_counted(f"thread-{number}", 1.0) for number in range(1_000))


@pytest.mark.parametrize("share", [-0.1, 1.1, "1", None, True])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(InvalidInputError, match="count_threads: expected a float from 0 to 1"):
        Gate(policy=Talk(InMemorySealRegistry()).policy, registry=InMemorySealRegistry(), detectors=keyword_suite(),
             count_threads=share)  # fmt: skip


# Reopening


def test_evidence_from_before_a_reopening_no_longer_counts(talk: Talk) -> None:
    talk.climbs()
    talk.ends()
    assert talk.ends().record.outcome is Outcome.SEALED
    talk.registry.reopen("t", operator="Kim", reason="upheld")
    talk.says("you idiot")
    ruling = talk.ends()
    assert ruling.record.outcome is Outcome.DENIED
    assert {UnmetCode.NO_WARNING, UnmetCode.TOO_FEW_REFUSALS} <= set(ruling.record.decision.unmet)
    assert {item.turn for item in ruling.record.decision.evidence} == {5}
    # what comes after it counts as ever
    talk.climbs()
    talk.ends()
    assert talk.ends().record.outcome is Outcome.SEALED


def test_risk_from_before_a_reopening_still_vetoes(talk: Talk) -> None:
    talk.climbs()
    talk.ends()
    assert talk.ends().record.outcome is Outcome.SEALED
    talk.registry.flag_risk("t", kind="crisis", source="desk")
    talk.registry.reopen("t", operator="Kim", reason="upheld")
    talk.climbs()
    assert UnmetCode.RISK_FLAGGED in talk.ends().record.decision.unmet


def test_an_old_ledger_that_a_client_puts_back_does_not_bring_the_evidence_back(talk: Talk) -> None:
    talk.climbs()
    old = talk.state
    talk.ends()
    talk.ends()
    talk.registry.reopen("t", operator="Kim", reason="upheld")
    talk.says("hello")
    talk.state = old
    talk.says("you idiot")
    assert talk.ends().record.outcome is Outcome.DENIED
