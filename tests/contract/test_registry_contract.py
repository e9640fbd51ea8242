"""What every registry promises, on every engine, sync and async. The promises are in ``registry/protocol.py``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from end_conversation_tool._core.records import (
    Mode,
    Outcome,
    RiskKind,
    SealOutcome,
    ThreadStatus,
    UnmetCode,
    Verdict,
    utc_now,
)
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import SealRegistry
from support.records import denial, permit

Calls = Any  # of conftest: any method of a registry, awaited


async def test_is_a_registry(registry: SealRegistry) -> None:
    assert isinstance(registry, SealRegistry)
    assert len(registry.signing_key) == 32
    assert registry.signing_key == registry.signing_key


async def test_a_thread_never_heard_of_is_open(calls: Calls) -> None:
    status = await calls.status("thread")
    assert status == ThreadStatus(thread_id="thread", sequence=0, branch=0)
    assert not status.sealed
    assert not status.at_risk
    assert await calls.decisions("thread") == ()
    assert await calls.history("thread") == ()
    assert await calls.seals("thread") == ()


async def test_a_seal_stands_with_its_complete_record(calls: Calls) -> None:
    record = permit()
    before = utc_now()
    outcome = await calls.seal(record, held_sequence=0, checkpoint_id="checkpoint", run_token="run")  # noqa: S106
    assert outcome.created
    assert outcome.refusal is None
    status = await calls.status("thread")
    assert status.sealed
    assert status.sequence == 1
    assert status.seal == outcome.seal
    assert status.seal.record == record
    assert (status.seal.checkpoint_id, status.seal.run_token, status.seal.sequence) == ("checkpoint", "run", 1)
    assert before <= status.seal.sealed_at <= utc_now()
    assert await calls.seals("thread") == (outcome.seal,)
    assert await calls.decisions("thread") == (record,)


async def test_another_thread_is_not_touched(calls: Calls) -> None:
    await calls.seal(permit("one"))
    await calls.flag_risk("two", kind="crisis", source="test")
    assert await calls.status("three") == ThreadStatus(thread_id="three")
    assert not (await calls.status("one")).at_risk
    assert not (await calls.status("two")).sealed


async def test_a_second_seal_finds_the_first_and_is_kept_as_a_denial(calls: Calls) -> None:
    first, second = permit(), permit(reason="again")
    made = await calls.seal(first)
    found = await calls.seal(second)
    assert not found.created
    assert found.refusal is None
    assert found.seal == made.seal
    kept = await calls.decisions("thread")
    assert kept[0] == first
    assert [record.id for record in kept] == [first.id, second.id]
    assert kept[1].outcome is Outcome.DENIED
    assert kept[1].decision.verdict is Verdict.DENY
    assert kept[1].decision.unmet == (UnmetCode.THREAD_ALREADY_SEALED,)
    assert kept[1].decision.evidence == second.decision.evidence
    assert (await calls.status("thread")).sequence == 1


async def test_the_same_record_again_returns_its_seal_and_is_kept_once(calls: Calls) -> None:
    record = permit()
    made = await calls.seal(record)
    again = await calls.seal(record)
    assert again == SealOutcome(seal=made.seal, created=False)
    assert await calls.decisions("thread") == (record,)
    assert len(await calls.history("thread")) == 1


@pytest.mark.parametrize("kind", list(RiskKind))
async def test_a_flag_vetoes_every_seal(calls: Calls, kind: RiskKind) -> None:
    await calls.flag_risk("thread", kind=kind, source="test")
    record = permit()
    outcome = await calls.seal(record, held_sequence=0)
    assert outcome == SealOutcome(refusal=UnmetCode.RISK_FLAGGED)
    status = await calls.status("thread")
    assert not status.sealed
    assert status.sequence == 0
    (kept,) = await calls.decisions("thread")
    assert kept.id == record.id
    assert kept.outcome is Outcome.DENIED
    assert kept.decision.unmet == (UnmetCode.RISK_FLAGGED,)


async def test_risk_is_named_before_a_stale_run(calls: Calls) -> None:
    await calls.flag_risk("thread", kind="crisis", source="test")
    assert (await calls.seal(permit(), held_sequence=7)).refusal is UnmetCode.RISK_FLAGGED


@pytest.mark.parametrize("held", [0, 2, 99])
async def test_a_run_that_was_overtaken_cannot_seal(calls: Calls, held: int) -> None:
    status = await calls.open_branch("thread", parent=0, forked_from="checkpoint")
    assert status.sequence == 1
    outcome = await calls.seal(permit(branch=1), held_sequence=held)
    assert outcome == SealOutcome(refusal=UnmetCode.STALE_RUN)
    assert not (await calls.status("thread")).sealed
    (kept,) = await calls.decisions("thread")
    assert kept.decision.unmet == (UnmetCode.STALE_RUN,)
    assert (await calls.seal(permit(branch=1), held_sequence=1)).created


async def test_a_branch_that_the_thread_does_not_have_cannot_be_sealed(calls: Calls) -> None:
    assert (await calls.seal(permit(branch=3))).refusal is UnmetCode.STALE_RUN
    assert (await calls.status("thread")).branches == ()


async def test_a_flag_raised_after_the_seal_leaves_it(calls: Calls) -> None:
    await calls.seal(permit())
    await calls.flag_risk("thread", kind="self_harm", source="test")
    status = await calls.status("thread")
    assert status.sealed
    assert status.at_risk


async def test_a_flag_is_kept_with_all_it_was_given(calls: Calls) -> None:
    flag = await calls.flag_risk(
        "thread", kind="violence", source="words/2", reason="said so", message_id="m7", score=0.5
    )
    assert flag.active
    assert (flag.kind, flag.source, flag.reason, flag.message_id, flag.score) == (
        RiskKind.VIOLENCE, "words/2", "said so", "m7", 0.5,
    )  # fmt: skip
    assert (await calls.status("thread")).risk_flags == (flag,)
    (event,) = await calls.history("thread")
    assert (event.kind, event.subject, event.actor, event.reason) == (
        EventKind.RISK_RAISED, "violence", "words/2", "said so",
    )  # fmt: skip


@pytest.mark.parametrize("message_id", [None, "m1"])
async def test_the_same_flag_again_is_the_one_that_stands(calls: Calls, message_id: str | None) -> None:
    first = await calls.flag_risk("thread", kind="crisis", source="a", message_id=message_id)
    assert await calls.flag_risk("thread", kind="crisis", source="a", message_id=message_id, reason="again") == first
    assert (await calls.status("thread")).risk_flags == (first,)
    await calls.flag_risk("thread", kind="crisis", source="b", message_id=message_id)
    await calls.flag_risk("thread", kind="other", source="a", message_id=message_id)
    await calls.flag_risk("thread", kind="crisis", source="a", message_id="m2")
    assert len((await calls.status("thread")).risk_flags) == 4


async def test_flags_of_one_kind_and_source_are_bounded(calls: Calls) -> None:
    for number in range(100):
        await calls.flag_risk("thread", kind="crisis", source="a", message_id=f"m{number}")
    newest = (await calls.status("thread")).risk_flags[-1]
    assert await calls.flag_risk("thread", kind="crisis", source="a", message_id="one more") == newest
    status = await calls.status("thread")
    assert len(status.risk_flags) == 100
    await calls.flag_risk("thread", kind="crisis", source="b", message_id="one more")
    assert len((await calls.status("thread")).risk_flags) == 101


async def test_cleared_flags_stay_on_record_and_veto_no_more(calls: Calls) -> None:
    await calls.flag_risk("thread", kind="crisis", source="a", message_id="m1")
    await calls.flag_risk("thread", kind="violence", source="b")
    assert await calls.clear_risk("thread", operator="Kim", reason="a quotation") == 2
    assert await calls.clear_risk("thread", operator="Kim", reason="again") == 0
    status = await calls.status("thread")
    assert not status.at_risk
    assert [(flag.cleared_by, flag.clear_reason) for flag in status.risk_flags] == [("Kim", "a quotation")] * 2
    assert all(flag.cleared_at is not None for flag in status.risk_flags)
    assert (await calls.seal(permit(), held_sequence=0)).created
    cleared = [event for event in await calls.history("thread") if event.kind is EventKind.RISK_CLEARED]
    assert [(event.actor, event.reason, event.subject) for event in cleared] == [
        ("Kim", "a quotation", "crisis"),
        ("Kim", "a quotation", "violence"),
    ]


async def test_a_cleared_flag_stays_cleared_for_its_message_only(calls: Calls) -> None:
    await calls.flag_risk("thread", kind="crisis", source="a", message_id="m1")
    await calls.flag_risk("thread", kind="crisis", source="a")
    await calls.clear_risk("thread", operator="Kim", reason="looked")
    assert not (await calls.flag_risk("thread", kind="crisis", source="a", message_id="m1")).active
    assert not (await calls.status("thread")).at_risk
    assert (await calls.flag_risk("thread", kind="crisis", source="a", message_id="m2")).active
    assert (await calls.flag_risk("thread", kind="crisis", source="a")).active
    assert (await calls.seal(permit())).refusal is UnmetCode.RISK_FLAGGED


async def test_other_words_under_the_id_of_a_cleared_flag_are_another_flag(calls: Calls) -> None:
    same = {"kind": "crisis", "source": "a", "message_id": "m1"}
    await calls.flag_risk("thread", **same)
    first = await calls.flag_risk("thread", **same, digest="d1")
    assert await calls.flag_risk("thread", **same, digest="d1") == first
    await calls.clear_risk("thread", operator="Kim", reason="looked")
    assert not (await calls.flag_risk("thread", **same)).active
    assert (await calls.flag_risk("thread", **same, digest="d1")).model_dump()["digest"] == "d1"
    assert not (await calls.status("thread")).at_risk
    assert (await calls.flag_risk("thread", **same, digest="d2")).active
    assert [flag.digest for flag in (await calls.status("thread")).risk_flags] == [None, "d1", "d2"]


async def test_a_branch_takes_messages_and_the_sealed_one_stays_sealed(calls: Calls) -> None:
    sealed = (await calls.seal(permit())).seal
    status = await calls.open_branch("thread", parent=0, forked_from="checkpoint-3")
    assert status == await calls.status("thread")
    assert not status.sealed
    assert (status.branch, status.sequence) == (1, 2)
    assert status.on_branch(0).seal == sealed
    opened = status.on_branch(1)
    assert (opened.parent, opened.forked_from, opened.fence, opened.seal) == (0, "checkpoint-3", 2, None)
    second = await calls.seal(permit(branch=1), held_sequence=2)
    assert second.created
    assert await calls.seals("thread") == (sealed, second.seal)
    nested = await calls.open_branch("thread", parent=1, forked_from="checkpoint-5")
    assert (nested.branch, nested.sequence) == (2, 4)
    assert await calls.seals("thread") == (sealed, second.seal)


async def test_flags_survive_a_branch_and_a_reopening(calls: Calls) -> None:
    await calls.seal(permit())
    flag = await calls.flag_risk("thread", kind="crisis", source="a")
    assert (await calls.open_branch("thread", parent=0, forked_from="c")).risk_flags == (flag,)
    assert (await calls.seal(permit(branch=1))).refusal is UnmetCode.RISK_FLAGGED
    await calls.clear_risk("thread", operator="Kim", reason="looked")
    await calls.seal(permit(branch=1))
    again = await calls.flag_risk("thread", kind="crisis", source="a")
    assert (await calls.reopen("thread", operator="Kim", reason="appeal upheld")).risk_flags[-1] == again


async def test_reopening_unseals_the_current_branch_and_is_kept(calls: Calls) -> None:
    record = permit()
    first = (await calls.seal(record)).seal
    await calls.open_branch("thread", parent=0, forked_from="c")
    await calls.seal(permit(branch=1))
    status = await calls.reopen("thread", operator="Kim", reason="appeal upheld")
    assert status == await calls.status("thread")
    assert not status.sealed
    assert (status.branch, status.sequence, status.on_branch(1).fence) == (1, 4, 4)
    assert await calls.seals("thread") == (first,)
    assert (await calls.decisions("thread"))[0] == record
    event = (await calls.history("thread"))[-1]
    assert (event.kind, event.actor, event.reason) == (EventKind.REOPENED, "Kim", "appeal upheld")
    assert (event.branch, event.sequence) == (1, 4)
    assert (await calls.seal(permit(branch=1), held_sequence=3)).refusal is UnmetCode.STALE_RUN
    assert (await calls.seal(permit(branch=1), held_sequence=4)).created


async def test_an_open_thread_cannot_be_reopened(calls: Calls) -> None:
    with pytest.raises(InvalidInputError, match="sealed thread"):
        await calls.reopen("thread", operator="Kim", reason="why not")
    assert await calls.status("thread") == ThreadStatus(thread_id="thread")
    assert await calls.history("thread") == ()
    # The refusal left nothing locked behind.
    assert (await calls.seal(permit())).created


async def test_history_tells_every_change_in_order(calls: Calls) -> None:
    await calls.seal(permit(category="harmful_requests", decided_by="policy"))
    await calls.open_branch("thread", parent=0, forked_from="c9")
    await calls.flag_risk("thread", kind="other", source="desk")
    await calls.flag_risk("other thread", kind="other", source="desk")
    await calls.clear_risk("thread", operator="Kim", reason="looked")
    history = await calls.history("thread")
    assert [(event.kind.value, event.branch, event.sequence, event.subject) for event in history] == [
        ("sealed", 0, 1, "harmful_requests"),
        ("branch_opened", 1, 2, "c9"),
        ("risk_raised", 1, 2, "other"),
        ("risk_cleared", 1, 2, "other"),
    ]
    assert {event.thread_id for event in history} == {"thread"}


async def test_decisions_are_kept_in_order_and_complete(calls: Calls) -> None:
    tokyo = timezone(timedelta(hours=9))
    records = [
        denial(),
        denial(outcome=Outcome.AWAITING_CONFIRMATION, category=None, reason="", model=None, turn=0),
        permit(outcome=Outcome.WOULD_HAVE_SEALED, mode=Mode.SHADOW, decided_by="Kim"),
        denial(decided_at=datetime(1965, 1, 1, 9, tzinfo=tokyo), reason="é\u0301 \x07 \U0001f600 '\"\\ \u202e"),
        denial(decided_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), branch=7),
    ]
    for record in records:
        await calls.record_decision(record)
    await calls.record_decision(denial("another"))
    assert await calls.decisions("thread") == tuple(records)
    assert await calls.status("thread") == ThreadStatus(thread_id="thread")


async def test_a_decision_id_is_kept_once(calls: Calls) -> None:
    record = denial()
    await calls.record_decision(record)
    for again in (record, denial("another", id=record.id)):
        with pytest.raises(InvalidInputError, match="id"):
            await calls.record_decision(again)
    with pytest.raises(InvalidInputError, match="id"):
        await calls.seal(permit("another", id=record.id))
    assert await calls.decisions("thread") == (record,)
    assert await calls.decisions("another") == ()
    # Nothing of the refused seal was written.
    assert await calls.status("another") == ThreadStatus(thread_id="another")
    assert await calls.history("another") == ()
