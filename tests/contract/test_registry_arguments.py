"""What every registry takes as an argument, and what it refuses, on every engine, sync and async."""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from uuid import UUID

import pytest

from end_conversation_tool._core.records import (
    MAX_THREAD_ID_CHARS,
    EvidenceKind,
    EvidenceRecord,
    Mode,
    Outcome,
    ReadingReport,
    ThreadStatus,
    UnmetCode,
)
from end_conversation_tool.errors import InvalidInputError
from support.records import denial, notice, permit

Calls = Any  # of conftest: any method of a registry, awaited

LONG = "x" * MAX_THREAD_ID_CHARS
ODD_IDS = [
    "\u00e9",
    "e\u0301",
    "Thread",
    "thread",
    "thread ",
    " thread",
    "THREAD",
    "\u202ethread",
    "thread\u200b",
    "\u0442hread",  # a Cyrillic letter
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "'; DROP TABLE ect_threads; --",
    "%s %(key)s :key ?",
    "\n",
    "\ufb01",  # a ligature
    "fi",
    LONG,
    LONG[:-1] + "y",
    "\U0001f600" * MAX_THREAD_ID_CHARS,
]


async def refused(attempt: Any, field: str) -> None:
    """Show that an attempt is refused with an error that names the field."""
    with pytest.raises(InvalidInputError, match=re.escape(field)) as caught:
        await attempt
    assert str(caught.value).startswith(field)


async def untouched(calls: Calls, thread_id: str = "thread") -> None:
    """Show that nothing was written."""
    assert await calls.status(thread_id) == ThreadStatus(thread_id=thread_id)
    assert await calls.history(thread_id) == ()
    assert await calls.decisions(thread_id) == ()


async def test_ids_are_compared_exactly(calls: Calls) -> None:
    assert unicodedata.normalize("NFC", ODD_IDS[1]) == ODD_IDS[0]
    for number, thread_id in enumerate(ODD_IDS):
        status = await calls.status(thread_id)
        assert not status.sealed
        assert status.thread_id == thread_id
        assert (await calls.seal(permit(thread_id, turn=number))).created
    for number, thread_id in enumerate(ODD_IDS):
        status = await calls.status(thread_id)
        assert status.seal.thread_id == thread_id
        assert status.seal.record.turn == number


async def test_an_int_and_a_uuid_are_thread_ids(calls: Calls) -> None:
    await calls.flag_risk(7, kind="crisis", source="a")
    assert (await calls.status("7")).at_risk
    uuid = UUID(int=9)
    await calls.flag_risk(uuid, kind="crisis", source="a")
    assert (await calls.status(str(uuid))).at_risk


async def test_a_bad_thread_id_is_refused_everywhere(calls: Calls) -> None:
    for bad in ["", None, 1.5, True, b"thread", LONG + "x", "a\x00b", "\ud800", ["thread"]]:
        await refused(calls.status(bad), "thread_id")
        await refused(calls.decisions(bad), "thread_id")
        await refused(calls.history(bad), "thread_id")
        await refused(calls.seals(bad), "thread_id")
        await refused(calls.flag_risk(bad, kind="crisis", source="a"), "thread_id")
        await refused(calls.clear_risk(bad, operator="Kim", reason="r"), "thread_id")
        await refused(calls.open_branch(bad, parent=0, forked_from="c"), "thread_id")
        await refused(calls.reopen(bad, operator="Kim", reason="r"), "thread_id")
        await refused(calls.seal(permit().model_copy(update={"thread_id": bad})), "thread_id")
        await refused(calls.record_decision(denial().model_copy(update={"thread_id": bad})), "thread_id")


@pytest.mark.parametrize("field", ["operator", "reason"])
async def test_an_operator_signs_with_name_and_reason(calls: Calls, field: str) -> None:
    await calls.seal(permit())
    await calls.flag_risk("thread", kind="crisis", source="a")
    for bad in ["", "   ", None, 3, "x" * 100_000, "a\x00", "\udfff"]:
        signed = {"operator": "Kim", "reason": "looked", field: bad}
        await refused(calls.clear_risk("thread", **signed), field)
        await refused(calls.reopen("thread", **signed), field)
    status = await calls.status("thread")
    assert status.sealed
    assert status.at_risk


async def test_a_bad_flag_is_refused_and_named(calls: Calls) -> None:
    bad_values: dict[str, list[Any]] = {
        "kind": ["boredom", None, "", "CRISIS", 3],
        "source": ["", " \t", "s" * 201, None, 5],
        "reason": ["r" * 2_001, None, b"\xff"],
        "message_id": [5, b"m1"],
        "digest": [5, b"d", "", "d" * 201, "\x00"],
        "score": [1.01, -0.1, float("nan"), float("inf"), True, "0.5"],
    }
    for field, values in bad_values.items():
        for bad in values:
            await refused(calls.flag_risk("thread", **{"kind": "crisis", "source": "a", field: bad}), field)
    await untouched(calls)


async def test_a_bad_branch_is_refused(calls: Calls) -> None:
    for bad in [-1, 2**31, "0", None, True, 0.0, 1]:
        await refused(calls.open_branch("thread", parent=bad, forked_from="c"), "parent")
    for bad in ["", None, 4, "c" * 1_001]:
        await refused(calls.open_branch("thread", parent=0, forked_from=bad), "forked_from")
    await untouched(calls)


async def test_a_bad_argument_of_seal_is_refused(calls: Calls) -> None:
    bad_values: dict[str, list[Any]] = {
        "held_sequence": [-1, "0", True, 2**31],
        "checkpoint_id": ["", 5],
        "run_token": ["", 3],
    }
    for field, values in bad_values.items():
        for bad in values:
            await refused(calls.seal(permit(), **{field: bad}), field)
    await untouched(calls)


async def test_only_a_permitted_and_enforced_record_seals(calls: Calls) -> None:
    for changes in (
        {"outcome": Outcome.DENIED},
        {"mode": Mode.SHADOW},
        {"mode": Mode.OFF},
        {"decision": denial().decision},
        {"category": None},
    ):
        await refused(calls.seal(permit(**changes)), "record")
    await refused(calls.record_decision(permit()), "record.outcome")
    await untouched(calls)


async def test_a_record_that_cannot_be_stored_is_refused(calls: Calls) -> None:
    bad_values: dict[str, list[Any]] = {
        "id": ["", "i" * 201, "\x00"],
        "model": ["m" * 201, "\x00"],
        "decided_by": [" "],
        "prompt_version": ["\ud800"],
        "reason": ["r" * 1_000_001],
        "branch": [2**31],
        "turn": [2**31],
    }
    for field, values in bad_values.items():
        for bad in values:
            await refused(calls.record_decision(denial().model_copy(update={field: bad})), "record")
            await refused(calls.seal(permit().model_copy(update={field: bad})), "record")
    for bad in [None, {}, "record", 3]:
        await refused(calls.seal(bad), "record: expected a DecisionRecord")
        await refused(calls.record_decision(bad), "record: expected a DecisionRecord")
    await untouched(calls)


async def test_what_is_missing_is_told_by_the_name_of_the_method(calls: Calls) -> None:
    with pytest.raises(
        TypeError, match=r"SealRegistry\.flag_risk\(\) missing 1 required keyword-only argument: 'source'"
    ):
        await calls.flag_risk("thread", kind="crisis")


async def test_a_kind_that_is_none_is_shown(calls: Calls) -> None:
    with pytest.raises(InvalidInputError, match=r"kind: expected one of self_harm, .*, got 'suicide'"):
        await calls.flag_risk("thread", kind="suicide", source="a")


async def test_no_error_quotes_what_it_was_given(calls: Calls) -> None:
    words = "words of a person"
    for attempt in (
        calls.flag_risk("thread", kind=words, source="a"),
        calls.flag_risk("thread", kind="crisis", source=words * 100),
        calls.clear_risk("thread", operator=words * 100, reason=words),
        calls.seal(permit(reason=words, id=words * 100)),
        calls.seal(permit().model_copy(update={"prompt_version": words + "\ud800"})),
    ):
        with pytest.raises(InvalidInputError) as caught:
            await attempt
        error: BaseException | None = caught.value
        while error is not None:
            assert words not in str(error)
            error = None if error.__suppress_context__ else error.__cause__ or error.__context__


UNSTORABLE_IDS = ["", " ", "a\x00b", "\ud800", "\udfff\x00", "m" * 1_001, "\U0001f600" * 100_000]


async def test_the_id_of_a_message_never_makes_a_flag_fail(calls: Calls) -> None:
    for number, odd in enumerate(UNSTORABLE_IDS, start=1):
        flag = await calls.flag_risk("thread", kind="crisis", source="a", message_id=odd)
        assert re.fullmatch("sha256:[0-9a-f]{64}", flag.message_id)
        # The same message again is the same flag; another message is another.
        assert await calls.flag_risk("thread", kind="crisis", source="a", message_id=odd) == flag
        status = await calls.status("thread")
        assert status.risk_flags[-1] == flag
        assert len(status.risk_flags) == number
    assert (
        await calls.flag_risk("thread", kind="crisis", source="a", message_id="m" * 1_000)
    ).message_id == "m" * 1_000
    assert (await calls.seal(permit())).refusal is UnmetCode.RISK_FLAGGED


async def test_the_words_of_a_caller_never_make_a_flag_fail(calls: Calls) -> None:
    flag = await calls.flag_risk("thread", kind="crisis", source="desk\x00", reason="\ud800 said \udfff")
    assert (flag.source, flag.reason) == ("desk\ufffd", "\ufffd said \ufffd")
    assert (await calls.status("thread")).risk_flags == (flag,)
    (event,) = await calls.history("thread")
    assert (event.actor, event.reason) == (flag.source, flag.reason)


@pytest.mark.parametrize("odd", UNSTORABLE_IDS)
async def test_an_id_in_evidence_never_makes_a_record_fail(calls: Calls, odd: str) -> None:
    evidence = EvidenceRecord(kind=EvidenceKind.ABUSE, turn=1, message_id=odd, source="r/1\x00", quote="\ud800 quoted")
    reading = ReadingReport(source="r/1", detail="\x00Error")
    record = permit(reason="so \x00 it \udc00 was", statement="The \x00 end", reading=reading)
    decision = record.decision.model_copy(update={"evidence": (evidence,)})
    record = record.model_copy(update={"decision": decision})
    for attempt in (
        calls.record_decision(denial("denied").model_copy(update={"decision": decision})),
        calls.give_notice(notice("noticed").model_copy(update={"decision": decision})),
        calls.note_violation("mentioned", evidence=evidence.model_copy(update={"kind": EvidenceKind.WARNING})),
        calls.seal(record, run_token="\ud800"),  # noqa: S106
    ):
        await attempt
    seal = (await calls.status("thread")).seal
    (kept,) = seal.record.decision.evidence
    assert re.fullmatch("sha256:[0-9a-f]{64}", kept.message_id)
    assert (kept.source, kept.quote) == ("r/1\ufffd", "\ufffd quoted")
    assert (seal.record.reason, seal.record.statement) == ("so \ufffd it \ufffd was", "The \ufffd end")
    assert seal.record.reading.detail == "\ufffdError"
    assert seal.run_token.startswith("sha256:")
    assert await calls.decisions("thread") == (seal.record,)
    assert (await calls.decisions("denied"))[0].decision.evidence == (kept,)
    assert (await calls.decisions("noticed"))[0].decision.evidence == (kept,)
    (event,) = await calls.history("mentioned")
    assert event.evidence.message_id == kept.message_id
