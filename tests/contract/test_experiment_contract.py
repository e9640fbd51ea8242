"""Warnings, feedback, appeals, counts, erasure: every registry, on every engine, sync and async."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.conftest import Calls
from end_conversation_tool._core.operations import AppealStatus, BreakerLimits, DecisionCount, EndCount, EventCount
from end_conversation_tool._core.records import (
    Category,
    EvidenceKind,
    EvidenceRecord,
    Mode,
    Outcome,
    RiskKind,
    UnmetCode,
    utc_now,
)
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import ExperimentRegistry
from support.records import denial, permit

EVER = datetime(2000, 1, 1, tzinfo=UTC)


def seen(kind: EvidenceKind = EvidenceKind.WARNING, message: str = "m3") -> EvidenceRecord:
    return EvidenceRecord(kind=kind, turn=3, message_id=message, source="words/1", score=0.5)


async def happened(calls: Calls, thread_id: str = "thread") -> list[EventKind]:
    return [event.kind for event in await calls.history(thread_id)]


async def tally(calls: Calls, since: datetime = EVER, until: datetime | None = None) -> Any:
    return await calls.tally(since, until or utc_now() + timedelta(minutes=1))


def test_it_is_such_a_registry(calls: Calls) -> None:
    assert isinstance(calls.registry, ExperimentRegistry)


# Violations


@pytest.mark.parametrize("flagged", [False, True])
async def test_a_violation_is_recorded_once_with_its_evidence_whether_or_not_a_flag_stands(
    calls: Calls, *, flagged: bool
) -> None:
    if flagged:
        await calls.flag_risk("thread", kind="crisis", source="test")
    noted = await calls.note_violation("thread", evidence=seen(), branch=0, policy="policy-1", model="model-1")
    again = await calls.note_violation("thread", evidence=seen(), branch=0, policy="policy-1", model="model-1")
    event = (await calls.history("thread"))[-1]
    assert (noted, again) == ((event,), ())
    assert (event.kind, event.evidence, event.subject) == (EventKind.VIOLATION, seen(), "warning")
    assert (event.policy_version, event.model) == ("policy-1", "model-1")
    assert not (await calls.status("thread")).sealed
    await calls.note_violation("thread", evidence=seen(message="m4"))
    raised = [EventKind.RISK_RAISED] if flagged else []
    assert await happened(calls) == [*raised, EventKind.VIOLATION, EventKind.VIOLATION]


@pytest.mark.parametrize("evidence", [*(seen(kind) for kind in EvidenceKind if kind != "warning"), "secret", None])
async def test_other_evidence_than_a_warning_is_refused(calls: Calls, evidence: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^evidence") as caught:
        await calls.note_violation("thread", evidence=evidence)
    assert "secret" not in str(caught.value)
    assert await happened(calls) == []


# Feedback


async def test_feedback_is_kept_as_it_was_given(calls: Calls) -> None:
    await calls.seal(permit())
    given = [
        await calls.give_feedback("thread", rating=1, comment="Why? \x1b[31m é 漢"),
        await calls.give_feedback("thread", rating=5),
    ]
    assert list(await calls.feedback("thread")) == given
    assert [known.rating for known in given] == [1, 5]
    assert given[0].comment == "Why? \x1b[31m é 漢"
    event = (await calls.history("thread"))[-1]
    assert (event.policy_version, event.model) == ("policy-1", "model-1")


@pytest.mark.parametrize("rating", [0, 6, -1, 1.5, "5", None, True])
async def test_a_rating_outside_of_one_to_five_is_refused(calls: Calls, rating: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^rating: expected an int from 1 to 5"):
        await calls.give_feedback("thread", rating=rating)
    assert await happened(calls) == []


@pytest.mark.parametrize("comment", ["x" * 2_001, "x" * 1_000_000, "a\x00b", "\ud800", 5, None, b"secret"])
async def test_a_comment_that_cannot_be_kept_is_refused(calls: Calls, comment: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^comment: ") as caught:
        await calls.give_feedback("thread", rating=1, comment=comment)
    assert "secret" not in str(caught.value)
    assert await happened(calls) == []


async def test_a_comment_of_the_greatest_length_is_kept(calls: Calls) -> None:
    await calls.give_feedback("thread", rating=3, comment="漢" * 2_000)
    (kept,) = await calls.feedback("thread")
    assert len(kept.comment) == 2_000


async def test_feedback_on_one_thread_has_an_end(calls: Calls) -> None:
    for _ in range(100):
        await calls.give_feedback("thread", rating=1)
    with pytest.raises(InvalidInputError, match="less than 100"):
        await calls.give_feedback("thread", rating=1)
    await calls.give_feedback("another", rating=1)


# Appeals


async def test_an_appeal_goes_its_way(calls: Calls) -> None:
    await calls.seal(permit())
    opened = await calls.open_appeal("thread", text="I was quoting.")
    assert opened.status is AppealStatus.OPEN
    assert list(await calls.open_appeals()) == [opened]
    resolved = await calls.resolve_appeal("thread", upheld=False, operator="Kim", reason="it was not a quote")
    assert (resolved.status, resolved.resolved_by, resolved.resolution) == (
        AppealStatus.REJECTED, "Kim", "it was not a quote",
    )  # fmt: skip
    assert list(await calls.appeals("thread")) == [resolved]
    assert list(await calls.open_appeals()) == []
    assert (await calls.status("thread")).sealed
    again = await calls.open_appeal("thread", text="Please look again.")
    assert list(await calls.appeals("thread")) == [resolved, again]


async def test_one_appeal_is_open_at_a_time(calls: Calls) -> None:
    await calls.seal(permit())
    await calls.open_appeal("thread", text="one")
    with pytest.raises(InvalidInputError, match="without an open appeal"):
        await calls.open_appeal("thread", text="two")
    assert [known.text for known in await calls.appeals("thread")] == ["one"]


async def test_an_upheld_appeal_reopens_when_asked(calls: Calls) -> None:
    for thread in ("kept", "reopened"):
        await calls.seal(permit(thread))
        await calls.open_appeal(thread, text="no")
        await calls.resolve_appeal(thread, upheld=True, operator="Kim", reason="right", reopen=thread == "reopened")
    assert (await calls.status("kept")).sealed
    status = await calls.status("reopened")
    assert not status.sealed
    assert status.reopened == status.sequence == 2
    assert (await happened(calls, "reopened"))[-2:] == [EventKind.APPEAL_UPHELD, EventKind.REOPENED]


async def test_what_cannot_be_appealed_or_resolved_changes_nothing(calls: Calls) -> None:
    with pytest.raises(InvalidInputError, match="expected a sealed thread"):
        await calls.open_appeal("thread", text="no")
    with pytest.raises(InvalidInputError, match="open appeal, got one without"):
        await calls.resolve_appeal("thread", upheld=True, operator="Kim", reason="right")
    await calls.seal(permit())
    for text in ("", "  ", "x" * 2_001, None, "\x00"):
        with pytest.raises(InvalidInputError, match=r"^text: "):
            await calls.open_appeal("thread", text=text)
    await calls.open_appeal("thread", text="no")
    before = await calls.history("thread")
    for bad in ({"operator": ""}, {"reason": " "}, {"upheld": "yes"}, {"upheld": False, "reopen": True}):
        with pytest.raises(InvalidInputError):
            await calls.resolve_appeal("thread", **{"upheld": True, "operator": "Kim", "reason": "right", **bad})
    assert await calls.history("thread") == before
    # reopened by hand: upholding with reopening would open what is open, so all of it is refused
    await calls.reopen("thread", operator="Kim", reason="right")
    with pytest.raises(InvalidInputError, match="expected a sealed thread"):
        await calls.resolve_appeal("thread", upheld=True, operator="Kim", reason="right", reopen=True)
    assert len(await calls.open_appeals()) == 1


async def test_open_appeals_come_oldest_first_and_bounded(calls: Calls) -> None:
    for number in range(5):
        await calls.seal(permit(f"t{number}"))
        await calls.open_appeal(f"t{number}", text="no")
    await calls.resolve_appeal("t1", upheld=False, operator="Kim", reason="no")
    assert [known.thread_id for known in await calls.open_appeals(limit=3)] == ["t0", "t2", "t3"]


# Erasure


async def test_erasure_leaves_the_seal_and_no_word(calls: Calls) -> None:
    name = "kim@example.org"
    await calls.record_decision(denial(name, reason="They said: quiet"))
    await calls.flag_risk(name, kind="other", source="desk", reason="They said: help", digest="of what they said")
    await calls.clear_risk(name, operator="Kim", reason="They said: joking")
    await calls.seal(permit(name, reason="They said: insult"))
    await calls.give_feedback(name, rating=1, comment="They said: boo")
    await calls.open_appeal(name, text="They said: sorry")
    await calls.save_provenance("unsealed@example.org", "{}", replaces=0)
    assert await calls.erase(name, operator="Lee", reason="asked for on paper") == 7
    status = await calls.status(name)
    assert status.sealed
    assert status.thread_id == name
    left = [status.model_copy(update={"thread_id": ""}), *await calls.decisions(name), *await calls.history(name)]
    text = " ".join(record.model_dump_json() for record in left)
    assert "they said" not in text.lower()
    assert name not in text
    assert (await calls.history(name))[-1].kind is EventKind.ERASED
    assert (await calls.history(name))[-1].actor == "Lee"
    assert [flag.kind for flag in status.risk_flags] == [RiskKind.OTHER]
    assert (await calls.seal(permit(name))).created is False
    await calls.erase("unsealed@example.org", operator="Lee", reason="asked")
    assert await calls.load_provenance("unsealed@example.org") is None


async def test_erasing_twice_and_going_on_afterwards(calls: Calls) -> None:
    await calls.seal(permit())
    for _ in range(2):
        await calls.erase("thread", operator="Lee", reason="asked")
    assert (await happened(calls)).count(EventKind.ERASED) == 2
    status = await calls.reopen("thread", operator="Lee", reason="by mistake")
    assert not status.sealed
    assert not (await calls.status("thread")).sealed
    assert (await calls.seal(permit(), held_sequence=status.sequence)).created
    assert (await calls.status("thread")).sealed


async def test_an_unknown_thread_cannot_be_erased(calls: Calls) -> None:
    with pytest.raises(InvalidInputError, match="that it does not"):
        await calls.erase("nobody", operator="Lee", reason="asked")
    with pytest.raises(InvalidInputError, match=r"^operator: "):
        await calls.erase("nobody", operator="", reason="asked")
    assert await calls.history("nobody") == ()


# The circuit breaker


async def test_the_breaker_turns_enforcement_into_shadow_until_it_is_reset(calls: Calls) -> None:
    limits = BreakerLimits(per_hour=2)
    outcomes = [await calls.seal_within(permit(f"t{number}"), limits) for number in range(4)]
    assert [outcome.created for outcome in outcomes] == [True, True, False, False]
    assert [outcome.shadowed for outcome in outcomes] == [False, False, True, True]
    assert [outcome.alarm for outcome in outcomes] == [False, False, True, False]
    assert not (await calls.status("t2")).sealed
    (kept,) = await calls.decisions("t2")
    assert (kept.outcome, kept.mode, kept.breaker_tripped) == (Outcome.WOULD_HAVE_SEALED, Mode.SHADOW, True)
    state = await calls.breaker()
    assert (state.tripped, state.limit, state.ends) == (True, "per_hour", 3)
    assert await calls.reset_breaker(operator="Kim", reason="a new policy") == state
    assert not (await calls.breaker()).tripped
    assert (await calls.seal_within(permit("t5"), limits)).created
    assert [event.kind for event in await calls.breaker_history()] == [
        EventKind.BREAKER_TRIPPED,
        EventKind.BREAKER_RESET,
    ]


async def test_a_refused_end_does_not_trip_the_breaker(calls: Calls) -> None:
    await calls.flag_risk("thread", kind="crisis", source="test")
    outcome = await calls.seal_within(permit(), BreakerLimits(per_hour=0))
    assert outcome.refusal is UnmetCode.RISK_FLAGGED
    assert not (await calls.breaker()).tripped
    (kept,) = await calls.decisions("thread")
    assert kept.risk_kinds == (RiskKind.CRISIS,)


async def test_a_rate_counts_against_threads(calls: Calls) -> None:
    for number in range(3):
        await calls.count_thread(f"c{number}", policy="p", share=0.001)  # each stands for a thousand
    limits = BreakerLimits(per_10_000_threads=4, least_threads=1)  # 3,000 threads: one end is 3.3 per 10,000
    assert (await calls.seal_within(permit("t1"), limits)).created
    assert (await calls.seal_within(permit("t2"), limits)).shadowed
    assert (await calls.breaker()).limit == "per_10_000_threads"
    await calls.reset_breaker(operator="Kim", reason="looked")
    known = BreakerLimits(per_10_000_threads=4, threads=10_000)
    made = [(await calls.seal_within(permit(f"k{number}"), known)).created for number in range(5)]
    assert made == [True, True, True, True, False]


# Counts


async def test_the_counts_of_a_period(calls: Calls) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    for number in range(3):
        await calls.record_decision(denial("one", decided_at=day + timedelta(hours=number), turn=number))
    await calls.seal(permit("one", decided_at=day, turn=7))
    would = {"outcome": Outcome.WOULD_HAVE_SEALED, "mode": Mode.SHADOW, "model": None}
    for turn in (9, 8):
        await calls.record_decision(permit("two", decided_at=day, turn=turn, **would))
    await calls.record_decision(denial("late", decided_at=day + timedelta(days=1)))
    counts = await tally(calls, day, day + timedelta(days=1))
    assert set(counts.decisions) == {
        DecisionCount("policy-1", "model-1", Mode.ENFORCE, Outcome.DENIED, Category.ABUSE, (UnmetCode.NO_WARNING,), (), False, 3),  # noqa: E501, FBT003
        DecisionCount("policy-1", "model-1", Mode.ENFORCE, Outcome.SEALED, Category.ABUSE, (), (), False, 1),  # noqa: FBT003
        DecisionCount("policy-1", None, Mode.SHADOW, Outcome.WOULD_HAVE_SEALED, Category.ABUSE, (), (), False, 2),  # noqa: FBT003
    }  # fmt: skip
    assert set(counts.ends) == {
        EndCount("policy-1", "model-1", Outcome.SEALED, 7, 1),
        EndCount("policy-1", None, Outcome.WOULD_HAVE_SEALED, 8, 1),
    }
    assert {(row.model, row.deciding, row.ended, row.would_have_ended) for row in counts.threads} == {
        ("model-1", 1, 1, 0),
        (None, 1, 0, 1),
    }
    assert counts.total[2:] == (2, 1, 1, 0)


async def test_events_are_counted_alike_and_ids_are_not_told_apart(calls: Calls) -> None:
    for number in range(3):
        await calls.open_branch(f"t{number}", parent=0, forked_from=f"checkpoint-{number}")
        await calls.give_feedback(f"t{number}", rating=4)
    counts = await tally(calls)
    assert set(counts.events) == {
        EventCount(EventKind.BRANCH_OPENED, None, None, None, 3),
        EventCount(EventKind.FEEDBACK, "4", None, None, 3),
    }


async def test_a_thread_is_counted_once(calls: Calls) -> None:
    await calls.count_thread("one", policy="p", model="m")
    await calls.count_thread("one", policy="p", model="m")
    await calls.count_thread("two", policy="p", model="m", share=0.1)
    counts = await tally(calls)
    (row,) = counts.threads
    assert (row.policy, row.model, row.deciding, row.counted) == ("p", "m", 0, 11.0)
    assert counts.total.counted == 11.0
    for share in (0, -1, 2, "1", True):
        with pytest.raises(InvalidInputError, match=r"^share: "):
            await calls.count_thread("three", share=share)


async def test_nothing_happened(calls: Calls) -> None:
    counts = await tally(calls)
    assert counts[:4] == ((), (), (), ())
    assert counts.total[2:] == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("since", "until"),
    [(datetime(2026, 1, 1), EVER), (EVER, "now"), (utc_now(), EVER)],  # noqa: DTZ001
)
async def test_a_period_that_is_none_is_refused(calls: Calls, since: Any, until: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^(since|until): "):
        await calls.tally(since, until)
