"""Many threads, tasks, event loops and processes at one registry: one seal, and no seal after a flag."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from end_conversation_tool._core.operations import BreakerLimits
from end_conversation_tool._core.records import Outcome, RiskFlag, SealOutcome, UnmetCode, utc_now
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import SealRegistry, SqlSealRegistry
from end_conversation_tool.registry.checks import new_flag
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.operations import change_thread
from end_conversation_tool.registry.transitions import RaisingFlag, Sealing, Transition
from support.racer import race
from support.records import denial, permit

WORKERS = 8


def assert_consistent(registry: SealRegistry, thread_id: str, *, attempts: int) -> None:
    """Show that seal, flags, decisions and history of a thread tell the same story."""
    status, history, decisions = registry.status(thread_id), registry.history(thread_id), registry.decisions(thread_id)
    kinds = [event.kind for event in history]
    assert kinds.count(EventKind.SEALED) == (1 if status.sealed else 0)
    if status.sealed and status.at_risk:
        assert kinds.index(EventKind.SEALED) < kinds.index(EventKind.RISK_RAISED)
    assert len({record.id for record in decisions}) == len(decisions) == attempts
    sealing = [record for record in decisions if record.outcome is Outcome.SEALED]
    assert sealing == ([status.seal.record] if status.seal is not None else [])
    expected = UnmetCode.THREAD_ALREADY_SEALED if status.sealed else UnmetCode.RISK_FLAGGED
    others = {record.decision.unmet for record in decisions if record.outcome is Outcome.DENIED}
    assert others <= {(expected,), (UnmetCode.RISK_FLAGGED,)}


def test_threads_that_seal_at_once_make_one_seal(registry: SealRegistry) -> None:
    barrier = Barrier(WORKERS)
    registry.flag_risk("thread", kind="other", source="earlier")
    registry.clear_risk("thread", operator="Kim", reason="looked")

    def attempt(_: int) -> SealOutcome:
        barrier.wait()
        return registry.seal(permit())

    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(attempt, range(WORKERS)))
    assert sum(outcome.created for outcome in outcomes) == 1
    assert len({outcome.seal.record.id for outcome in outcomes if outcome.seal is not None}) == 1
    assert_consistent(registry, "thread", attempts=WORKERS)


def test_threads_that_flag_and_seal_at_once(registry: SealRegistry) -> None:
    names = [f"thread-{number}" for number in range(25)]
    barrier = Barrier(2)

    def flag() -> None:
        barrier.wait()
        for name in names:
            registry.flag_risk(name, kind="crisis", source="test")

    def seal() -> None:
        barrier.wait()
        for name in names:
            registry.seal(permit(name))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(flag), pool.submit(seal)]:
            done.result()
    for name in names:
        assert registry.status(name).at_risk
        assert_consistent(registry, name, attempts=1)


def test_threads_that_read_while_others_seal(registry: SealRegistry) -> None:
    names = [f"thread-{number}" for number in range(40)]

    def read(_: int) -> None:
        seen: set[str] = set()
        for _ in range(5):
            for name in names:
                sealed = registry.status(name).sealed
                assert sealed or name not in seen  # once sealed, never open again
                seen |= {name} if sealed else set()

    with ThreadPoolExecutor(WORKERS + 1) as pool:
        sealing = pool.submit(lambda: [registry.seal(permit(name)) for name in names])
        list(pool.map(read, range(WORKERS)))
        assert all(outcome.created for outcome in sealing.result())
    assert all(registry.status(name).sealed for name in names)


async def test_tasks_that_seal_at_once_make_one_seal(registry: SealRegistry) -> None:
    outcomes = await asyncio.gather(*(registry.aseal(permit(), held_sequence=0) for _ in range(30)))
    assert sum(outcome.created for outcome in outcomes) == 1
    assert_consistent(registry, "thread", attempts=30)


async def test_one_id_at_once_is_kept_once(registry: SealRegistry) -> None:
    record = denial()
    answers = await asyncio.gather(*(registry.arecord_decision(record) for _ in range(10)), return_exceptions=True)
    assert sum(answer is None for answer in answers) == 1
    assert await registry.adecisions("thread") == (record,)


async def test_a_cancelled_seal_is_whole_or_absent(registry: SealRegistry) -> None:
    for number in range(40):
        name, record = f"thread-{number}", permit(f"thread-{number}")
        task = asyncio.create_task(registry.aseal(record))
        await asyncio.sleep(number * 0.0001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.3)  # SQLite: a worker thread finishes what it began
    for number in range(40):
        name = f"thread-{number}"
        status = await registry.astatus(name)
        kept = await registry.adecisions(name)
        assert len(kept) == len(await registry.ahistory(name)) == (1 if status.sealed else 0)
        assert (await registry.aseal(permit(name))).created is not status.sealed


def test_one_registry_serves_one_event_loop_after_another(url: str) -> None:
    with SqlSealRegistry(url) as registry:

        async def use(number: int) -> None:
            assert (await registry.aseal(permit(f"thread-{number}"))).created
            assert (await registry.astatus(f"thread-{number}")).sealed

        for number in range(3):
            asyncio.run(use(number))
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda number: asyncio.run(use(number)), range(3, 9)))
        assert all(registry.status(f"thread-{number}").sealed for number in range(9))
    gc.collect()  # a connection left open would warn here, and a warning is an error


def test_processes_that_seal_at_once_make_one_seal_each(url: str) -> None:
    threads = 20
    told = race(url, ["seal"] * 3 + ["aseal"] * 2, threads=threads)
    assert len({one["key"] for one in told}) == 1  # they created the database at once, too
    assert sum(one["created"] for one in told) == threads
    with SqlSealRegistry(url, create=False) as registry:
        assert registry.signing_key.hex() == told[0]["key"]
        for number in range(threads):
            assert registry.status(f"thread-{number}").sealed
            assert_consistent(registry, f"thread-{number}", attempts=5)


def test_processes_that_flag_and_seal_at_once(url: str) -> None:
    threads = 30
    told = race(url, ["seal", "flag", "aseal"], threads=threads)
    with SqlSealRegistry(url, create=False) as registry:
        sealed = 0
        for number in range(threads):
            assert registry.status(f"thread-{number}").at_risk
            assert_consistent(registry, f"thread-{number}", attempts=2)
            sealed += registry.status(f"thread-{number}").sealed
    assert sealed == sum(one.get("created", 0) for one in told)


@pytest.mark.parametrize("known", [False, True], ids=["new thread", "known thread"])
@pytest.mark.parametrize("first", ["flag", "seal"])
def test_who_comes_second_waits_for_the_first(url: str, first: str, *, known: bool) -> None:
    """Forced: the first has changed the thread but not committed when the second begins."""
    flag = RaisingFlag(new_flag(kind="crisis", source="test"))
    record = permit()
    seal = Sealing(record=record, held_sequence=None, checkpoint_id=None, run_token=None, now=utc_now())
    with SqlSealRegistry(url) as registry, ThreadPoolExecutor(1) as pool:
        if known:
            registry.flag_risk("thread", kind="other", source="earlier")
            registry.clear_risk("thread", operator="Kim", reason="looked")

        def changing_while_the_other_waits() -> Flow[Future[Any]]:
            change: Transition[Any] = flag if first == "flag" else seal
            yield from change_thread(registry._store.dialect, "thread", change)
            other = pool.submit(registry.seal, permit()) if first == "flag" else pool.submit(flag_risk)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.3)
            return other

        def flag_risk() -> RiskFlag:
            return registry.flag_risk("thread", kind="crisis", source="test")

        second = registry._store.run(changing_while_the_other_waits(), writes=True).result(timeout=10)
        status = registry.status("thread")
        assert status.at_risk
        if first == "flag":
            assert second == SealOutcome(refusal=UnmetCode.RISK_FLAGGED)
            assert not status.sealed
        else:
            assert second.active
            assert status.seal is not None
            assert status.seal.record == record


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_registry_in_use_survives_a_fork(url: str) -> None:
    with SqlSealRegistry(url) as registry:
        registry.seal(permit("before"))
        asyncio.run(registry.astatus("before"))
        child = os.fork()
        if child == 0:  # pragma: no cover - measured in the parent only
            failed = True
            try:
                failed = not (registry.status("before").sealed and registry.seal(permit("child")).created)
            finally:
                os._exit(int(failed))
        for number in range(20):
            assert registry.status("before").sealed
            assert registry.seal(permit(f"parent-{number}")).created
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert registry.status("child").sealed
        assert registry.status("before").sealed


@pytest.mark.parametrize("rivals", [8])
def test_the_breaker_counts_exactly_between_rivals(url: str, rivals: int) -> None:
    """Every rival has connections of its own, as processes have: never is one end more sealed than the limit."""
    limits = BreakerLimits(per_hour=3)

    def attempt(number: int) -> SealOutcome:
        with SqlSealRegistry(url) as own:
            return own.seal_within(permit(f"t{number}"), limits)

    with SqlSealRegistry(url) as registry:
        with ThreadPoolExecutor(rivals) as pool:
            outcomes = list(pool.map(attempt, range(rivals)))
        assert sum(outcome.created for outcome in outcomes) == 3
        assert sum(outcome.alarm for outcome in outcomes) == 1
        assert sum(outcome.shadowed for outcome in outcomes) == rivals - 3
        assert len(registry.breaker_history()) == 1


def test_one_of_many_appeals_at_once_is_opened(url: str) -> None:
    def attempt(number: int) -> bool:
        with SqlSealRegistry(url) as own:
            try:
                own.open_appeal("thread", text=f"appeal {number}")
            except InvalidInputError:
                return False
            return True

    with SqlSealRegistry(url) as registry:
        registry.seal(permit())
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(8))) == 1
        assert len(registry.appeals("thread")) == 1
