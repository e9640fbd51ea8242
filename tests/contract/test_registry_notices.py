"""Notices: an act that is recorded in one transaction, on every engine, sync and async."""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from contract.conftest import Calls
from end_conversation_tool._core.records import (
    Category,
    EvidenceKind,
    EvidenceRecord,
    Mode,
    Notice,
    NoticeOutcome,
    Outcome,
    RiskKind,
    ThreadStatus,
    UnmetCode,
    Verdict,
    utc_now,
)
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import SealRegistry, SqlSealRegistry
from end_conversation_tool.registry.checks import new_flag
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.operations import change_thread
from end_conversation_tool.registry.transitions import RaisingFlag, Sealing, Transition
from support.records import denial, notice, permit

SHADOW: dict[str, Any] = {"outcome": Outcome.WOULD_HAVE_NOTICED, "mode": Mode.SHADOW}
FLAGGED, STALE = (NoticeOutcome(refusal=code) for code in (UnmetCode.RISK_FLAGGED, UnmetCode.STALE_RUN))


async def test_a_notice_stands_with_its_decision_and_an_event(calls: Calls) -> None:
    record, before = notice(turn=4), utc_now()
    outcome = await calls.give_notice(record, held_sequence=0)
    (given,) = (await calls.status("thread")).on_branch(0).notices
    assert outcome == NoticeOutcome(notice=given)
    assert given == Notice(id=record.id, category=Category.ABUSE, turn=4, sequence=0, given_at=given.given_at)
    assert before <= given.given_at <= utc_now()
    assert await calls.decisions("thread") == (record,)
    (event,) = await calls.history("thread")
    assert (event.kind, event.subject, event.actor) == (EventKind.NOTICE_GIVEN, "abuse", "policy")
    assert (event.policy_version, event.model, event.branch, event.sequence) == ("policy-1", "model-1", 0, 0)


async def test_a_notice_leaves_the_thread_as_open_as_it_was(calls: Calls) -> None:
    await calls.give_notice(notice())
    status = await calls.status("thread")
    assert (status.sequence, status.branch, status.sealed, status.reopened) == (0, 0, False, 0)
    assert status.on_branch(0).model_copy(update={"notices": ()}) == ThreadStatus(thread_id="thread").on_branch(0)
    assert await calls.seals("thread") == ()
    assert (await calls.seal(permit(), held_sequence=0)).created  # by a run from before the notice, too
    opened = await calls.open_branch("thread", parent=0, forked_from="c")
    assert opened.branch == 1


async def test_a_newer_notice_takes_the_place_of_an_older_of_its_kind(calls: Calls) -> None:
    given: list[dict[str, Any]] = [{}, SHADOW, {"category": Category.HARMFUL_REQUESTS}, {}, SHADOW]
    for turn, changes in enumerate(given, start=1):
        assert (await calls.give_notice(notice(turn=turn, **changes))).notice.turn == turn
    standing = (await calls.status("thread")).on_branch(0).notices
    assert {(known.category, known.shadow, known.turn) for known in standing} == {
        (Category.HARMFUL_REQUESTS, False, 3),
        (Category.ABUSE, False, 4),
        (Category.ABUSE, True, 5),
    }
    assert len(standing) == 3
    assert len(await calls.decisions("thread")) == 5


async def test_the_same_record_again_is_the_same_notice(calls: Calls) -> None:
    record = notice()
    first = await calls.give_notice(record)
    await calls.flag_risk("thread", kind="crisis", source="test")
    assert await calls.give_notice(record) == first
    assert await calls.decisions("thread") == (record,)
    assert [event.kind for event in await calls.history("thread")] == [EventKind.NOTICE_GIVEN, EventKind.RISK_RAISED]


@pytest.mark.parametrize("kind", list(RiskKind))
@pytest.mark.parametrize("changes", [{}, SHADOW], ids=["enforced", "shadow"])
async def test_a_flag_vetoes_every_notice(calls: Calls, kind: RiskKind, changes: dict[str, Any]) -> None:
    await calls.flag_risk("thread", kind=kind, source="test")
    record = notice(**changes)
    assert await calls.give_notice(record, held_sequence=7) == FLAGGED  # named before the stale run
    status = await calls.status("thread")
    assert (status.on_branch(0).notices, status.sequence) == ((), 0)
    (kept,) = await calls.decisions("thread")
    assert (kept.id, kept.outcome, kept.risk_kinds) == (record.id, Outcome.DENIED, (kind,))
    assert (kept.decision.verdict, kept.decision.unmet) == (Verdict.DENY, (UnmetCode.RISK_FLAGGED,))
    assert kept.decision.evidence == record.decision.evidence
    assert EventKind.NOTICE_GIVEN not in [event.kind for event in await calls.history("thread")]


async def refused_as_stale(calls: Calls, record: Any, **fields: Any) -> None:
    before, happened = await calls.status("thread"), await calls.history("thread")
    assert await calls.give_notice(record, **fields) == STALE
    assert await calls.status("thread") == before
    assert await calls.history("thread") == happened
    kept = (await calls.decisions("thread"))[-1]
    assert (kept.id, kept.outcome, kept.decision.unmet) == (record.id, Outcome.DENIED, (UnmetCode.STALE_RUN,))


async def test_a_sealed_branch_takes_no_notice(calls: Calls) -> None:
    await calls.seal(permit())
    await refused_as_stale(calls, notice(), held_sequence=1)
    await refused_as_stale(calls, notice())


async def test_an_unknown_branch_takes_no_notice(calls: Calls) -> None:
    await refused_as_stale(calls, notice(branch=3))


@pytest.mark.parametrize("held", [0, 2, 99])
async def test_a_run_that_was_overtaken_gives_no_notice(calls: Calls, held: int) -> None:
    await calls.open_branch("thread", parent=0, forked_from="c")
    await refused_as_stale(calls, notice(branch=1), held_sequence=held)
    assert (await calls.give_notice(notice(branch=1), held_sequence=1)).notice is not None


async def test_a_reopening_and_a_fork_leave_no_notice(calls: Calls) -> None:
    await calls.give_notice(notice())
    await calls.seal(permit())
    (kept,) = (await calls.status("thread")).on_branch(0).notices
    forked = await calls.open_branch("thread", parent=0, forked_from="c")
    assert (forked.on_branch(1).notices, forked.on_branch(0).notices) == ((), (kept,))
    await calls.give_notice(notice(branch=1))
    await calls.seal(permit(branch=1))
    reopened = await calls.reopen("thread", operator="Kim", reason="upheld")
    assert reopened.on_branch(1).notices == ()
    again = (await calls.give_notice(notice(branch=1), held_sequence=reopened.sequence)).notice
    assert again.sequence == reopened.sequence == reopened.reopened


async def test_a_copy_takes_notices_along_only_with_the_seals(calls: Calls) -> None:
    await calls.give_notice(notice())
    await calls.flag_risk("thread", kind="crisis", source="test")
    assert (await calls.copy_status("thread", "flags", seals=False)).on_branch(0).notices == ()
    copied = await calls.copy_status("thread", "whole")
    assert copied.on_branch(0).notices == (await calls.status("thread")).on_branch(0).notices != ()


async def test_a_thread_that_holds_a_notice_only_can_be_copied_to(calls: Calls) -> None:
    await calls.seal(permit("source"))
    await calls.give_notice(notice("target"))
    assert (await calls.copy_status("source", "target")).sealed


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.SEALED},
        {"outcome": Outcome.DENIED},
        {"outcome": Outcome.WOULD_HAVE_NOTICED},
        {"mode": Mode.SHADOW},
        {"mode": Mode.OFF},
        {"category": None},
        {"turn": 0},
        {"decision": denial().decision},
    ],
)
async def test_only_a_record_of_a_notice_gives_one(calls: Calls, changes: dict[str, Any]) -> None:
    bad: Any
    for bad in (notice(**changes), None, {}):
        with pytest.raises(InvalidInputError, match=r"^record"):
            await calls.give_notice(bad)
    assert await calls.status("thread") == ThreadStatus(thread_id="thread")
    assert await calls.decisions("thread") == ()


async def test_a_notice_is_kept_by_give_notice_alone(calls: Calls) -> None:
    for keep in (calls.record_decision, calls.seal):
        with pytest.raises(InvalidInputError, match=r"^record"):
            await keep(notice())
    for held in (-1, "0", True):
        with pytest.raises(InvalidInputError, match=r"^held_sequence"):
            await calls.give_notice(notice(), held_sequence=held)
    kept = notice(decision=permit().decision)  # permitted, where the policy wants notice and nothing else is unmet
    await calls.give_notice(kept)
    with pytest.raises(InvalidInputError, match=re.escape("record.id")):
        await calls.give_notice(notice("another", id=kept.id))
    assert await calls.status("another") == ThreadStatus(thread_id="another")


async def test_erasure_takes_the_quotes(calls: Calls) -> None:
    words = EvidenceRecord(kind=EvidenceKind.ABUSE, turn=2, message_id="m2", source="r/1", quote="They said: boo")
    quoting: dict[str, Any] = {"decision": permit().decision.model_copy(update={"evidence": (words,)})}
    await calls.give_notice(notice())
    await calls.seal(permit(**quoting))
    await calls.record_decision(denial(**quoting))
    said = words.model_copy(update={"kind": EvidenceKind.WARNING})
    await calls.note_violation("thread", evidence=said)
    await calls.erase("thread", operator="Lee", reason="asked")
    status = await calls.status("thread")
    left = [status, *await calls.decisions("thread"), *await calls.history("thread")]
    assert "They said" not in " ".join(record.model_dump_json() for record in left)
    assert status.seal.record.decision.evidence == (words.model_copy(update={"quote": ""}),)
    assert len(status.on_branch(0).notices) == 1


async def test_notices_are_counted_by_outcome(calls: Calls) -> None:
    record = notice()
    await calls.give_notice(record)
    counts = await calls.tally(record.decided_at, utc_now())
    assert [(count.outcome, count.number) for count in counts.decisions] == [(Outcome.NOTICED, 1)]
    assert [(count.kind, count.number) for count in counts.events] == [(EventKind.NOTICE_GIVEN, 1)]
    assert counts.ends == ()


# Races


def test_threads_that_flag_and_give_notice_at_once(registry: SealRegistry) -> None:
    names = [f"thread-{number}" for number in range(25)]
    barrier = Barrier(2)

    def flag() -> None:
        barrier.wait()
        for name in names:
            registry.flag_risk(name, kind="crisis", source="test")

    def warn() -> list[bool]:
        barrier.wait()
        return [registry.give_notice(notice(name)).notice is not None for name in names]

    with ThreadPoolExecutor(2) as pool:
        flagging, warning = pool.submit(flag), pool.submit(warn)
        flagging.result()
        told = warning.result()
    for name, given in zip(names, told, strict=True):
        kinds = [event.kind for event in registry.history(name)]
        expected = [EventKind.NOTICE_GIVEN, EventKind.RISK_RAISED] if given else [EventKind.RISK_RAISED]
        assert kinds == expected
        assert bool(registry.status(name).on_branch(0).notices) is given


@pytest.mark.parametrize("first", ["flag", "seal"])
def test_a_notice_waits_for_who_came_first(url: str, first: str) -> None:
    """Forced: the first has changed the thread but not committed when the notice is to be given."""
    sealing = Sealing(record=permit(), held_sequence=None, checkpoint_id=None, run_token=None, now=utc_now())
    change: Transition[Any] = RaisingFlag(new_flag(kind="crisis", source="test")) if first == "flag" else sealing
    with SqlSealRegistry(url) as registry, ThreadPoolExecutor(1) as pool:

        def changing_while_the_other_waits() -> Flow[Future[NoticeOutcome]]:
            yield from change_thread(registry._store.dialect, "thread", change)
            other = pool.submit(registry.give_notice, notice(), held_sequence=0)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.3)
            return other

        second = registry._store.run(changing_while_the_other_waits(), writes=True).result(timeout=10)
        assert second == (FLAGGED if first == "flag" else STALE)
        assert registry.status("thread").on_branch(0).notices == ()
