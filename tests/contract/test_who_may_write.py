"""Every row of the table of who may write, asked of the Python check and of the triggers of both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool._core.fence import WHO_MAY_WRITE, Answer, BranchState, Fence, Writer, check_write
from end_conversation_tool.errors import StaleRunError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from support.postgres import fresh_schema
from support.records import notice, permit
from support.savers import saver_url

OPENER, FORKER, SOMEBODY = "opener", "forker", "somebody"


class Mark(NamedTuple):
    """What a writer says of itself: the branch, its run, and the sequence number that it started at."""

    branch: int | None
    run: str | None = None
    started: int | None = None

    def metadata(self) -> dict[str, Any]:
        marks = {"branch": self.branch, "run": self.run, "sequence": self.started}
        return {f"end_conversation_{name}": value for name, value in marks.items() if value is not None}


Write = Callable[[str, Mark], Answer]


class Where(NamedTuple):
    """A registry, and a way to try to write a checkpoint beside it."""

    registry: SealRegistry
    write: Write


def checked_in_python(registry: SealRegistry) -> Write:
    def write(thread_id: str, mark: Mark) -> Answer:
        status = registry.status(thread_id)
        branch = status.on_branch(status.branch if mark.branch is None else mark.branch)
        fence = None
        if mark.run is not None and mark.started is not None:
            fence = Fence(thread_id, mark.started, branch.branch, mark.run)
        try:
            check_write(status, branch, fence)
        except ThreadSealedError:
            return Answer.SEALED
        except StaleRunError:
            return Answer.STALE
        return Answer.ADMITTED

    return write


def checked_by_trigger(saver: Any) -> Write:
    def write(thread_id: str, mark: Mark) -> Answer:
        config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        before = len(list(saver.list(config)))
        metadata: Any = {"source": "loop", "step": 1, "parents": {}, **mark.metadata()}
        answer = Answer.ADMITTED
        try:
            saver.put(config, empty_checkpoint(), metadata, {})
        except sqlite3.IntegrityError as error:
            answer = Answer(str(error).removeprefix("end_conversation: "))
        except psycopg.Error as error:
            answer = {"ECT01": Answer.SEALED, "ECT02": Answer.STALE}[str(error.sqlstate)]
        assert len(list(saver.list(config))) == before + (answer is Answer.ADMITTED)
        return answer

    return write


@pytest.fixture(params=["python", "sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    with ExitStack() as stack:
        if request.param == "python":
            memory = InMemorySealRegistry()
            yield Where(memory, checked_in_python(memory))
            return
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/registry.db"
            saver: Any = stack.enter_context(SqliteSaver.from_conn_string(saver_url(url)))
        else:
            url = stack.enter_context(fresh_schema(request.getfixturevalue("postgres")))
            saver = stack.enter_context(PostgresSaver.from_conn_string(saver_url(url)))
        saver.setup()
        registry = stack.enter_context(SqlSealRegistry(url))
        registry.guard_checkpoints()
        yield Where(registry, checked_by_trigger(saver))


def set_up(registry: SealRegistry, state: BranchState) -> int:
    """Have a thread with a branch in a state, opened by ``OPENER`` at 3, beside one that ``FORKER`` opened at 2."""
    registry.seal(permit("t"), run_token="sealer")  # noqa: S106
    registry.open_branch("t", parent=0, forked_from="c", run_token=FORKER)
    registry.open_branch("t", parent=0, forked_from="c", run_token=OPENER)
    if state is BranchState.SEALED:
        registry.seal(permit("t", branch=2), run_token=OPENER)
    status = registry.status("t")
    assert (status.branch, status.sequence) == (2, 4 if state is BranchState.SEALED else 3)
    assert status.sealed is (state is BranchState.SEALED)
    return 7 if state is BranchState.UNKNOWN else 2


def mark_of(writer: Writer, branch: int, now: int) -> Mark:
    if writer is Writer.NO_FENCE:
        return Mark(None if branch == 2 else branch)
    run, started = {
        Writer.OWN_RUN: (OPENER, 2),  # it was reading when it opened the branch
        Writer.RUN_BEFORE: (SOMEBODY, 2),
        Writer.RUN_SINCE: (SOMEBODY, now),
        Writer.RUN_AHEAD: (SOMEBODY, now + 1),
        Writer.FORKED_RUN: (FORKER, now),
    }[writer]
    return Mark(branch, run, started)


def test_the_table_is_whole() -> None:
    assert set(WHO_MAY_WRITE) == {(state, writer) for state in BranchState for writer in Writer}


@pytest.mark.parametrize(
    ("row", "answer"), WHO_MAY_WRITE.items(), ids=lambda row: " - ".join(row) if isinstance(row, tuple) else row
)
def test_a_row(where: Where, row: tuple[BranchState, Writer], answer: Answer) -> None:
    state, writer = row
    branch = set_up(where.registry, state)
    assert where.write("t", mark_of(writer, branch, where.registry.status("t").sequence)) is answer


def test_nothing_on_record_is_branch_0_from_the_start(where: Where) -> None:
    where.registry.flag_risk("flagged", kind="crisis", source="test")
    where.registry.give_notice(notice("noticed"))
    for thread in ("never heard of", "flagged", "noticed"):
        for mark, answer in [
            (Mark(None), Answer.ADMITTED),
            (Mark(0), Answer.ADMITTED),
            (Mark(0, SOMEBODY, 0), Answer.ADMITTED),
            (Mark(0, "", 0), Answer.ADMITTED),
            (Mark(0, SOMEBODY, 1), Answer.STALE),
            (Mark(1, SOMEBODY, 0), Answer.STALE),
            (Mark(1), Answer.STALE),
        ]:
            assert where.write(thread, mark) is answer, (thread, mark)


def test_the_run_that_opened_a_branch_is_overtaken_by_its_reopening(where: Where) -> None:
    branch = set_up(where.registry, BranchState.OPEN)
    where.registry.seal(permit("t", branch=branch), run_token=SOMEBODY)
    where.registry.reopen("t", operator="Kim", reason="upheld")
    for run in (OPENER, SOMEBODY):
        for started in (2, 3, 4):
            assert where.write("t", Mark(branch, run, started)) is Answer.STALE
    assert where.write("t", Mark(branch, "new", 5)) is Answer.ADMITTED
    assert where.write("t", Mark(0, "new", 5)) is Answer.SEALED


def test_a_seal_without_a_run_admits_nobody(where: Where) -> None:
    where.registry.seal(permit("t"))
    for mark in (Mark(None), Mark(0, SOMEBODY, 1), Mark(0, "", 1)):
        assert where.write("t", mark) is Answer.SEALED


@pytest.mark.parametrize("where", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("mark", [True, "0", "x", 1.5, -1, 10**30, [0], {"branch": 0}])
def test_a_mark_that_is_no_branch_is_unknown(where: Where, mark: Any) -> None:
    assert where.write("never heard of", Mark(mark, SOMEBODY, 0)) is Answer.STALE
    set_up(where.registry, BranchState.OPEN)
    assert where.write("t", Mark(mark, SOMEBODY, 3)) is Answer.STALE


def test_words_that_no_database_stores_break_no_answer(where: Where) -> None:
    where.registry.flag_risk("t", kind="other", source="a\x00", reason="\x00", message_id="\x00")
    where.registry.clear_risk("t", operator="Kim", reason="looked")
    where.registry.seal(permit("t", reason="\x00 \ud800"), run_token=OPENER)
    assert where.write("t", Mark(0, OPENER, 0)) is Answer.ADMITTED
    assert where.write("t", Mark(0, SOMEBODY, 0)) is Answer.SEALED
