"""Lists of threads and of comments, and an operator's end despite risk: every registry, sync and async."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.conftest import Calls
from end_conversation_tool._core.operations import BreakerLimits
from end_conversation_tool._core.records import Category, Mode, Outcome, RiskKind, UnmetCode, utc_now
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.listing import ListedThread, ThreadKind
from end_conversation_tool.registry.sql.schema import INDEX_NAMES
from support.damage import execute
from support.records import denial, notice, permit

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WOULD: dict[str, Any] = {"outcome": Outcome.WOULD_HAVE_SEALED, "mode": Mode.SHADOW}


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


async def ids(calls: Calls, kind: str, **options: Any) -> list[str]:
    return [one.thread_id for one in await calls.threads(kind, **options)]


async def filled(calls: Calls) -> None:
    """Make a thread of each kind, and some that no longer are of it."""
    for name in ("sealed", "appealed", "resolved", "reopened", "sealed at risk"):
        await calls.seal(permit(name))
    for name in ("appealed", "resolved"):
        await calls.open_appeal(name, text="no")
    await calls.resolve_appeal("resolved", upheld=False, operator="Kim", reason="looked")
    await calls.reopen("reopened", operator="Kim", reason="looked")
    await calls.copy_status("sealed", "copy")
    for name in ("flagged", "cleared", "sealed at risk"):
        await calls.flag_risk(name, kind="crisis", source="test")
    await calls.clear_risk("cleared", operator="Kim", reason="looked")
    await calls.give_notice(notice("noticed"))
    await calls.record_decision(denial("denied"))
    await calls.record_decision(denial("shadow", **WOULD))
    shadow: dict[str, Any] = {"outcome": Outcome.WOULD_HAVE_NOTICED, "mode": Mode.SHADOW}
    await calls.give_notice(notice("shadow notice", **shadow))
    await calls.seal_within(permit("breaker"), BreakerLimits(per_hour=0))


KINDS = {
    "sealed": ["copy", "sealed at risk", "resolved", "appealed", "sealed"],
    "shadow": ["breaker", "shadow notice", "shadow"],
    "noticed": ["noticed"],
    "at_risk": ["sealed at risk", "flagged"],
    "denied": ["denied"],
    "appealed": ["appealed"],
}


async def test_each_kind_lists_its_threads_newest_first_and_no_others(calls: Calls) -> None:
    assert {kind: await ids(calls, kind) for kind in ThreadKind} == {kind: [] for kind in KINDS}
    await filled(calls)
    assert {str(kind): await ids(calls, kind) for kind in ThreadKind} == KINDS


async def test_a_row_holds_what_an_operator_needs(calls: Calls) -> None:
    before = utc_now()
    await calls.record_decision(denial("t"))
    await calls.seal(permit("t", category=Category.HARMFUL_REQUESTS, model=None))
    await calls.flag_risk("t", kind="crisis", source="test")
    for kind in ("sealed", "at_risk", "denied"):
        (row,) = await calls.threads(kind)
        assert isinstance(row, ListedThread)
        assert before <= row.at <= utc_now()
        expected = ("t", True, True, "harmful_requests", "policy-1", None)
        assert (row.thread_id, row.sealed, row.at_risk, row.category, row.policy_version, row.model) == expected
    await calls.flag_risk("new", kind="crisis", source="test")
    row = (await calls.threads("at_risk"))[0]
    assert row[2:7] == (False, True, None, None, None)


async def test_a_thread_is_listed_once_for_the_newest_of_its_kind(calls: Calls) -> None:
    for minute, name in ((1, "a"), (2, "b"), (3, "a"), (0, "c")):
        await calls.record_decision(denial(name, decided_at=at(minute)))
    await calls.record_decision(denial("b", decided_at=at(9), **WOULD))
    assert [(one.thread_id, one.at) for one in await calls.threads("denied")] == [
        ("a", at(3)), ("b", at(2)), ("c", at(0)),
    ]  # fmt: skip


async def test_time_policy_and_model_narrow_a_list(calls: Calls) -> None:
    for minute in range(6):
        decision = denial().decision.model_copy(update={"policy_version": f"policy-{minute % 2}"})
        record = denial(f"t{minute}", decided_at=at(minute), decision=decision, model=f"model-{minute % 3}")
        await calls.record_decision(record)
    assert await ids(calls, "denied", since=at(2), until=at(4)) == ["t3", "t2"]
    assert await ids(calls, "denied", policy="policy-1") == ["t5", "t3", "t1"]
    assert await ids(calls, "denied", model="model-0") == ["t3", "t0"]
    assert await ids(calls, "denied", model="model-0", policy="policy-1", since=at(0)) == ["t3"]
    assert await ids(calls, "denied", policy="policy") == []
    await calls.record_decision(denial("t3", model="model-9", **WOULD))  # its newest decision is another one now
    assert await ids(calls, "denied", model="model-0") == ["t0"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_follow_each_other_without_a_gap_also_within_one_moment(calls: Calls, limit: int) -> None:
    for number in range(7):
        await calls.record_decision(denial(f"t{number}", decided_at=at(number // 4)))
        kept = denial(f"s{number}", decided_at=at(number // 4), **WOULD)
        await calls.record_decision(kept)
    for kind in ("denied", "shadow"):
        whole, paged = await ids(calls, kind), []
        after: str | None = None
        while page := await calls.threads(kind, limit=limit, after=after):
            assert len(page) <= limit
            paged += [one.thread_id for one in page]
            after = page[-1].cursor
        assert paged == whole
        assert len(set(whole)) == 7
        assert {name[1:] for name in whole[:3]} == {"4", "5", "6"}


async def test_an_erased_thread_is_listed_without_its_id(calls: Calls) -> None:
    await calls.seal(permit("secret"))
    await calls.flag_risk("secret", kind="crisis", source="test")
    await calls.erase("secret", operator="Kim", reason="asked")
    for kind in ("sealed", "at_risk"):
        (row,) = await calls.threads(kind)
        assert row.thread_id.startswith("erased:")
        assert (row.sealed, row.at_risk, row.category) == (True, True, "abuse")
    await calls.flag_risk("secret", kind="violence", source="test")
    (row,) = await calls.threads("at_risk")
    assert row.thread_id == "secret"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "open"), ("kind", None), ("since", "2026-03-01"), ("since", datetime(2026, 3, 1)), ("until", 5),  # noqa: DTZ001
        ("policy", ""), ("policy", 5), ("model", "x" * 201), ("limit", 0), ("limit", 10_001), ("limit", True),
        ("limit", "5"), ("after", ""), ("after", "secret"), ("after", "1-" + "g" * 16), ("after", 5),
        ("after", "1" * 18 + "-" + "0" * 16),
    ],
)  # fmt: skip
async def test_what_is_no_list_is_refused_by_field(calls: Calls, field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{field}: expected") as caught:
        await calls.threads(**{"kind": "sealed", field: value})
    assert "secret" not in str(caught.value)


async def test_a_period_that_ends_before_it_begins_is_refused(calls: Calls) -> None:
    for method, given in ((calls.threads, ["denied"]), (calls.comments, [])):
        with pytest.raises(InvalidInputError, match=r"^since: expected a moment before until"):
            await method(*given, since=at(1), until=at(0))


# Comments


async def test_what_users_wrote_newest_first_without_what_has_no_words(calls: Calls) -> None:
    assert await calls.comments() == ()
    given = [
        await calls.give_feedback("a", rating=1, comment='"reason":"" \\ is what I wrote'),
        await calls.give_feedback("b", rating=5),
        await calls.give_feedback("c", rating=3, comment="fine"),
    ]
    assert await calls.comments() == (given[2], given[0])
    assert await calls.comments(limit=1) == (given[2],)
    assert await calls.comments(until=given[2].given_at) == (given[0],)
    assert await calls.comments(since=given[2].given_at) == (given[2],)
    await calls.erase("c", operator="Kim", reason="asked")
    assert await calls.comments() == (given[0],)
    for limit in (0, 10_001, "5", True):
        with pytest.raises(InvalidInputError, match=r"^limit: expected an int"):
            await calls.comments(limit=limit)


# An operator's end despite risk


async def test_an_operator_ends_a_thread_while_flags_stand_and_they_stay(calls: Calls) -> None:
    flag = await calls.flag_risk("thread", kind="crisis", source="test")
    record = permit(decided_by="Kim", reason="threats against staff")
    assert (await calls.seal(permit())).refusal is UnmetCode.RISK_FLAGGED
    outcome = await calls.seal_despite_risk(record)
    kept = record.model_copy(update={"risk_kinds": (RiskKind.CRISIS,)})
    assert (outcome.created, outcome.seal.record) == (True, kept)
    status = await calls.status("thread")
    assert (status.sealed, status.risk_flags) == (True, (flag,))
    assert (await calls.decisions("thread"))[-1] == kept
    event = (await calls.history("thread"))[-1]
    assert (event.kind, event.actor, event.reason) == (EventKind.SEALED, "Kim", "threats against staff")
    assert await calls.seal_despite_risk(record) == outcome.model_copy(update={"created": False})
    with pytest.raises(ThreadSealedError):
        await calls.save_provenance("thread", "{}", replaces=0)
    await calls.erase("thread", operator="Lee", reason="asked")
    assert "threats" not in " ".join(one.model_dump_json() for one in await calls.history("thread"))


async def test_an_operator_ends_a_thread_without_a_flag_as_well_and_a_sealed_one_once(calls: Calls) -> None:
    outcome = await calls.seal_despite_risk(permit(decided_by="Kim"))
    assert (outcome.created, outcome.seal.record.risk_kinds) == (True, ())
    again = await calls.seal_despite_risk(permit(decided_by="Lee"))
    assert (again.created, again.seal) == (False, outcome.seal)
    assert (await calls.seal_despite_risk(permit(branch=3, decided_by="Kim"))).refusal is UnmetCode.STALE_RUN


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "record.decided_by"), ({"decided_by": " Policy "}, "record.decided_by"), ({"decided_by": " "}, "record"),
        ({"decided_by": "Kim", "reason": " "}, "record.reason"),
        ({"decided_by": "Kim", "outcome": Outcome.DENIED}, "record"),
        ({"decided_by": "Kim", "mode": Mode.SHADOW}, "record"), ({"decided_by": "Kim", "category": None}, "record"),
        ({"decided_by": "Kim", "decision": denial().decision}, "record"),
    ],
)  # fmt: skip
async def test_only_a_named_operator_with_a_reason_overrides(calls: Calls, changes: dict[str, Any], field: str) -> None:
    await calls.flag_risk("thread", kind="crisis", source="test")
    with pytest.raises(InvalidInputError, match=rf"^{field}"):
        await calls.seal_despite_risk(permit(**changes))
    assert not (await calls.status("thread")).sealed
    assert await calls.decisions("thread") == ()


# Databases of an older version


def test_an_older_database_gets_its_indexes_when_it_is_opened_and_loses_nothing(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.record_decision(denial("t"))
        before = registry.decisions("t")
    execute(url, "DROP INDEX ect_decisions_outcome")
    with SqlSealRegistry(url, create=False) as looking:  # changes nothing, and lists nevertheless
        assert [one.thread_id for one in looking.threads("denied")] == ["t"]
        assert indexes(looking) == {*INDEX_NAMES} - {"ect_decisions_outcome"}
    for _ in range(2):
        with SqlSealRegistry(url) as registry:
            assert indexes(registry) == {*INDEX_NAMES}
            assert registry.decisions("t") == before
            assert [one.thread_id for one in registry.threads("denied")] == ["t"]


def test_an_index_that_cannot_be_made_keeps_nobody_out(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with SqlSealRegistry(url) as registry:
        for _ in range(2):
            registry.record_decision(denial("t"))
    execute(url, "DROP INDEX ect_decisions_id", "UPDATE ect_decisions SET id = 'same'")  # unique it cannot be again
    with SqlSealRegistry(url) as registry:
        assert not registry.status("t").sealed
        assert "ect_decisions_id" not in indexes(registry)
    assert "an index is lacking and could not be made" in caplog.text


def indexes(registry: SqlSealRegistry) -> set[str]:
    from sqlalchemy import text  # noqa: PLC0415

    with registry._store._engine.connect() as connection:
        return {str(row[0]) for row in connection.execute(text(registry._store.indexes))}
