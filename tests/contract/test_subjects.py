"""Whose threads are on record: every registry, sync and async. Nothing is sealed by subject."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.conftest import Calls
from end_conversation_tool._core.records import Mode, Outcome
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.report import build_report
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.listing import ThreadKind
from support.damage import execute
from support.records import denial, notice, permit

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIGNED = {"operator": "Kim", "reason": "asked"}
WOULD: dict[str, Any] = {"outcome": Outcome.WOULD_HAVE_SEALED, "mode": Mode.SHADOW}


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


async def told(calls: Calls, subject: str, **options: Any) -> list[tuple[str, str]]:
    return [(one.thread_id, str(one.what)) for one in await calls.subject_history(subject, **options)]


async def test_a_thread_is_given_to_a_subject_once(calls: Calls) -> None:
    assert await calls.attribute("t", subject="user-7") is True
    assert await calls.attribute("t", subject="user-7") is False
    assert await calls.attribute("t", subject="user-8") is True
    events = await calls.history("t")
    assert [(event.kind, event.subject) for event in events] == [("attributed", "user-7"), ("attributed", "user-8")]
    status = await calls.status("t")
    assert (status.sealed, status.at_risk, status.sequence) == (False, False, 0)


async def test_what_is_on_record_of_all_threads_of_a_person(calls: Calls) -> None:
    for minute, record in enumerate([denial("a"), denial("b", **WOULD), denial("c"), denial("other")]):
        await calls.record_decision(record.model_copy(update={"decided_at": at(minute)}))
    await calls.give_notice(notice("a", decided_at=at(10)))
    await calls.seal(permit("a", decided_at=at(11)))
    await calls.flag_risk("b", kind="crisis", source="test")
    await calls.clear_risk("b", operator="Kim", reason="looked")
    await calls.open_appeal("a", text="no")
    await calls.give_feedback("a", rating=1)
    for name in ("a", "b"):
        await calls.attribute(name, subject="user-7")
    await calls.attribute("other", subject="user-70")
    assert await told(calls, "user-7") == [
        ("a", "appeal_opened"), ("b", "risk_cleared"), ("b", "risk_raised"),
        ("a", "sealed"), ("a", "noticed"), ("b", "would_have_sealed"), ("a", "denied"),
    ]  # fmt: skip
    assert await told(calls, "user-7", since=at(1), until=at(11)) == [("a", "noticed"), ("b", "would_have_sealed")]
    assert await told(calls, "user-7", limit=1) == [("a", "appeal_opened")]
    assert await told(calls, "user") == []
    entry = (await calls.subject_history("user-7", until=at(12)))[0]
    assert (entry.at, entry.about, entry.actor) == (at(11), "abuse", "policy")
    raised = (await calls.subject_history("user-7"))[2]
    assert (raised.about, raised.actor) == ("crisis", "test")


async def test_lists_can_be_of_one_person(calls: Calls) -> None:
    for number in range(6):
        await calls.record_decision(denial(f"t{number}", decided_at=at(number)))
        await calls.seal(permit(f"t{number}", decided_at=at(number)))
        await calls.attribute(f"t{number}", subject=f"user-{number % 2}")
    await calls.reopen("t3", **SIGNED)
    await calls.flag_risk("t1", kind="crisis", source="test")
    await calls.open_appeal("t5", text="no")
    found = {kind: [one.thread_id for one in await calls.threads(kind, subject="user-1")] for kind in ThreadKind}
    assert found == {
        "sealed": ["t5", "t1"], "shadow": [], "noticed": [], "at_risk": ["t1"], "denied": ["t5", "t3", "t1"],
        "appealed": ["t5"],
    }  # fmt: skip
    first = await calls.threads("denied", subject="user-1", limit=2)
    rest = await calls.threads("denied", subject="user-1", limit=2, after=first[-1].cursor)
    assert [one.thread_id for one in [*first, *rest]] == ["t5", "t3", "t1"]
    within = await calls.threads("denied", subject="user-1", since=at(1), until=at(5))
    assert [one.thread_id for one in within] == ["t3", "t1"]
    assert await calls.threads("denied", subject="user-1", policy="policy-9") == ()
    assert await calls.threads("denied", subject="nobody") == ()


async def test_an_erased_thread_is_nobodys(calls: Calls) -> None:
    await calls.seal(permit("t"))
    await calls.attribute("t", subject="user-7")
    await calls.erase("t", **SIGNED)
    assert await calls.subject_history("user-7") == ()
    assert await calls.threads("sealed", subject="user-7") == ()
    assert all(event.subject != "user-7" for event in await calls.history("t"))
    assert (await calls.status("t")).sealed


async def test_a_person_is_erased_with_all_their_threads_and_nobody_elses(calls: Calls) -> None:
    for name, subject in (("a", "user-7"), ("b", "user-7"), ("c", "user-8")):
        await calls.seal(permit(name))
        await calls.attribute(name, subject=subject)
    assert await calls.erase_subject("user-7", **SIGNED) == 2
    assert await calls.erase_subject("user-7", **SIGNED) == 0
    assert await calls.subject_history("user-7") == ()
    assert {one.thread_id[:7] for one in await calls.threads("sealed")} == {"erased:", "c"}
    assert await told(calls, "user-8") == [("c", "sealed")]
    for name in ("a", "b"):
        events = await calls.history(name)
        assert (events[-1].kind, events[-1].actor) == (EventKind.ERASED, "Kim")
        assert (await calls.status(name)).sealed


async def test_a_thread_has_at_most_a_hundred_subjects(calls: Calls) -> None:
    for number in range(100):
        await calls.attribute("t", subject=f"user-{number}")
    with pytest.raises(InvalidInputError, match="expected a thread with less than 100"):
        await calls.attribute("t", subject="one more")
    assert await calls.attribute("t", subject="user-99") is False


async def test_no_report_names_a_subject(calls: Calls) -> None:
    await calls.seal(permit("t"))
    await calls.attribute("t", subject="user-7")
    report = build_report(calls.registry, NOON - timedelta(days=1), datetime.now(UTC) + timedelta(days=1))  # type: ignore[arg-type]
    assert "user-7" not in report.model_dump_json()
    tally = await calls.tally(NOON - timedelta(days=1), datetime.now(UTC) + timedelta(days=1))
    assert [one.subject for one in tally.events if one.kind is EventKind.ATTRIBUTED] == [None]


@pytest.mark.parametrize("subject", ["", " ", "x" * 201, 7, None, "\x00"])
async def test_what_is_no_id_is_refused(calls: Calls, subject: Any) -> None:
    for asked in (
        calls.attribute("t", subject=subject),
        calls.subject_history(subject),
        calls.erase_subject(subject, **SIGNED),
        *([calls.threads("sealed", subject=subject)] if subject is not None else []),
    ):
        with pytest.raises(InvalidInputError, match=r"^subject: "):
            await asked
    assert await calls.history("t") == ()


async def test_arguments_that_are_not_usable_are_refused(calls: Calls) -> None:
    with pytest.raises(InvalidInputError, match="limit: expected an int"):
        await calls.subject_history("user-7", limit=0)
    with pytest.raises(InvalidInputError, match="since: expected a datetime with a time zone"):
        await calls.subject_history("user-7", since="yesterday")
    with pytest.raises(InvalidInputError, match="operator: expected"):
        await calls.erase_subject("user-7", operator="", reason="asked")


def test_an_older_database_gets_the_index_and_knows_subjects_from_then_on(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.seal(permit("old"))
    execute(url, "DROP INDEX ect_events_subject")
    with SqlSealRegistry(url, create=False) as registry:  # only looks: makes nothing, and finds what there is
        assert registry.subject_history("user-7") == ()
    with SqlSealRegistry(url) as registry:
        registry.attribute("old", subject="user-7")
    with SqlSealRegistry(url, create=False) as registry:
        assert [one.what for one in registry.subject_history("user-7")] == ["sealed"]
    with pytest.raises(Exception, match="ect_events_subject"):
        execute(url, "CREATE INDEX ect_events_subject ON ect_events (subject)")
