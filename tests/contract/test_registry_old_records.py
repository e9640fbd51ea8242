"""What version 0.1 wrote is read unchanged: states without notices, decisions with the field of its judge."""

from __future__ import annotations

import asyncio

import pytest

from end_conversation_tool._core.records import BranchStatus, DecisionRecord, Outcome, ThreadStatus, UnmetCode
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.sql.store import thread_key
from support.damage import execute
from support.records import notice, permit

_EVIDENCE = '{"kind":"warning","turn":2,"message_id":"m2","source":"words/1","score":0.75}'
_JUDGE = (
    '{"opinion":"disagrees","why":"no_abuse_observed","risk":false,"risk_message_id":null,"source":"claude/1",'
    '"input_tokens":900,"output_tokens":40,"cache_read_tokens":0,"cache_write_tokens":0,"seconds":1.5}'
)


def decision(number: int, outcome: str, verdict: str, unmet: str, judge: str) -> str:
    """Return a decision as version 0.1 wrote it."""
    return (
        f'{{"id":"d{number}","thread_id":"old","branch":0,"turn":3,"category":"abuse","reason":"Insults.",'
        f'"decision":{{"verdict":"{verdict}","unmet":[{unmet}],"evidence":[{_EVIDENCE}],"policy_version":"policy-1"}},'
        f'"outcome":"{outcome}","mode":"enforce","model":"model-1","prompt_version":"1","decided_by":"policy",'
        f'"risk_kinds":[],"breaker_tripped":false,"statement":null,"judge":{judge},'
        '"decided_at":"2026-10-01T12:00:00Z"}'
    )


DENIED = decision(1, "denied", "deny", '"judge_disagrees"', _JUDGE)
WAITING = decision(2, "awaiting_confirmation", "deny", '"confirmation_call_required"', "null")
SEALED = decision(3, "sealed", "permit", "", _JUDGE.replace("disagrees", "agrees"))
STATE = (
    '{"thread_id":"old","sequence":2,"branch":1,"reopened":0,"branches":[{"branch":0,"parent":null,'
    '"forked_from":null,"fence":0,"run_token":null,"seal":{"thread_id":"old","branch":0,"sequence":1,'
    f'"sealed_at":"2026-10-01T12:00:00Z","checkpoint_id":"c1","run_token":"r1","record":{SEALED}}},'
    '"past_seals":[]},{"branch":1,"parent":0,"forked_from":"c0","fence":2,"run_token":"r2","seal":null,'
    '"past_seals":[]}],"risk_flags":[{"kind":"crisis","source":"words/1","reason":"","message_id":"m1",'
    '"score":0.9,"raised_at":"2026-10-01T11:00:00Z","cleared_at":"2026-10-01T11:30:00Z","cleared_by":"Kim",'
    '"clear_reason":"looked"}]}'
)
EVENT = (
    '{"thread_id":"old","kind":"warning_given","at":"2026-10-01T11:50:00Z","branch":0,"sequence":0,'
    f'"subject":"warning","actor":"words/1","reason":"","evidence":{_EVIDENCE},"policy_version":"policy-1",'
    '"model":"model-1"}'
)


@pytest.fixture
def old(url: str) -> str:
    """The URL of a registry that holds what version 0.1 wrote."""
    SqlSealRegistry(url).close()
    key = thread_key("old")
    rows = [
        f"INSERT INTO ect_decisions (id, thread_key, decided_at, outcome, category, mode, policy_version, model, turn, "  # noqa: S608
        f"unmet, risk, breaker, record) VALUES ('d{number}', '{key}', 1, 'denied', 'abuse', 'enforce', 'policy-1', "
        f"'model-1', 3, '', '', false, '{record}')"
        for number, record in enumerate((DENIED, WAITING, SEALED), start=1)
    ]
    execute(
        url,
        f"INSERT INTO ect_threads VALUES ('{key}', 'old', 2, 1, false, false, '{STATE}')",  # noqa: S608
        f"INSERT INTO ect_events (thread_key, at, kind, event) VALUES ('{key}', 1, 'warning_given', '{EVENT}')",  # noqa: S608
        *rows,
    )
    return url


def test_an_old_database_is_read_as_it_is(old: str) -> None:
    with SqlSealRegistry(old, create=False) as registry:
        status = registry.status("old")
        assert (status.sequence, status.branch, status.sealed, status.at_risk) == (2, 1, False, False)
        assert [branch.notices for branch in status.branches] == [(), ()]
        (seal,) = registry.seals("old")
        assert (seal.checkpoint_id, seal.run_token, seal.record.id) == ("c1", "r1", "d3")
        kept = registry.decisions("old")
        assert [record.outcome for record in kept] == [Outcome.DENIED, Outcome.AWAITING_CONFIRMATION, Outcome.SEALED]
        assert kept[0].decision.unmet == (UnmetCode.JUDGE_DISAGREES,)
        assert kept[0].decision.evidence[0].score == 0.75
        assert kept[2] == seal.record
        (event,) = registry.history("old")
        assert event.evidence == kept[0].decision.evidence[0]
        assert asyncio.run(registry.astatus("old")) == status


def test_an_old_thread_goes_on(old: str) -> None:
    with SqlSealRegistry(old, create=False) as registry:
        before = registry.status("old")
        given = registry.give_notice(notice("old", branch=1), held_sequence=2).notice
        after = registry.status("old")
        assert after.on_branch(1).notices == (given,)
        assert after.model_copy(update={"branches": before.branches}) == before
        assert after.on_branch(0) == before.on_branch(0)
        assert registry.seal(permit("old", branch=1), held_sequence=2).created


def test_a_flag_that_was_cleared_before_words_were_known_clears_none(old: str) -> None:
    with SqlSealRegistry(old, create=False) as registry:
        (cleared,) = registry.status("old").risk_flags
        assert (cleared.digest, cleared.active) == (None, False)
        assert registry.flag_risk("old", kind="crisis", source="words/1", message_id="m1", digest="d").active
        assert registry.status("old").risk_flags[0] == cleared


def test_old_json_without_a_database() -> None:
    assert not hasattr(DecisionRecord.model_validate_json(DENIED), "judge")
    assert ThreadStatus.model_validate_json(STATE).on_branch(1).notices == BranchStatus().notices == ()
