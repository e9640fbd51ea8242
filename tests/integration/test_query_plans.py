"""No statement reads a table from end to end, however many threads the registry knows: asked of the database itself.

The same checks run at ten million threads in ``benchmarks/registry.py``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.listing import ThreadKind
from support.agents import Agent, config
from support.multitude import Multitude, fill_postgres, fill_sqlite
from support.plans import Said, SequentialScans, listening, plan, scanned
from support.postgres import fresh_database
from support.workload import SUBJECT, Action, Draw, everyday, reports, turns

CROWD = Multitude(threads=20_000, seals=2_000)

_SCAN = "ON checkpoints BEGIN SELECT count(*) FROM ect_threads WHERE sequence = 99; END"
_FUNCTION = """
CREATE FUNCTION scan() RETURNS trigger LANGUAGE plpgsql AS $scan$ BEGIN
PERFORM count(*) FROM ect_threads WHERE sequence = 99; RETURN NEW; END $scan$
"""
SCANNING = {
    True: [f"CREATE TRIGGER scanning AFTER INSERT {_SCAN}"],
    False: [_FUNCTION, "CREATE TRIGGER scanning BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION scan()"],
}


class Filled(NamedTuple):
    """A filled registry with a guarded checkpointer in the same database, all that they say, and a way to ask."""

    url: str
    registry: SqlSealRegistry
    saver: SealedSaver
    heard: list[Said]
    asked: Any
    draw: Draw

    def scanned(self, action: Action) -> list[str]:
        return scanned(self.heard, self.asked, action)


def sqlite(path: Path, stack: ExitStack, *, analyze: bool) -> Filled:
    SqlSealRegistry(f"sqlite:///{path}").close()
    fill_sqlite(str(path), CROWD, analyze=analyze)
    asked = stack.enter_context(closing(sqlite3.connect(path)))
    heard = stack.enter_context(listening())
    connection = stack.enter_context(closing(sqlite3.connect(path, check_same_thread=False)))
    registry = stack.enter_context(SqlSealRegistry(f"sqlite:///{path}"))
    return Filled(
        f"sqlite:///{path}", registry, SealedSaver(SqliteSaver(connection), registry), heard, asked, Draw(CROWD)
    )


def postgres(url: str, stack: ExitStack) -> Filled:
    plain = url.replace("+psycopg", "")
    SqlSealRegistry(url).close()
    fill_postgres(url, CROWD)
    asked = stack.enter_context(psycopg.connect(plain, autocommit=True))
    heard = stack.enter_context(listening())
    inner = stack.enter_context(PostgresSaver.from_conn_string(plain))
    registry = stack.enter_context(SqlSealRegistry(url))
    return Filled(url, registry, SealedSaver(inner, registry), heard, asked, Draw(CROWD))


@pytest.fixture(scope="module", params=["sqlite", "sqlite, never analyzed", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with ExitStack() as stack:
        if request.param == "postgres":
            made = postgres(stack.enter_context(fresh_database(request.getfixturevalue("postgres"))), stack)
        else:
            path = tmp_path_factory.mktemp("plans") / "registry.db"
            made = sqlite(path, stack, analyze=request.param == "sqlite")
        made.saver.setup()
        yield made


def test_no_statement_of_a_conversation_scans(filled: Filled) -> None:
    for what, action in turns(filled.registry, filled.saver).items():
        assert filled.scanned(action) == [], what


def test_no_statement_of_any_method_scans(filled: Filled) -> None:
    for what, action in everyday(filled.registry, filled.draw).items():
        assert filled.scanned(action) == [], what


def test_a_report_reads_its_period_by_indexes(filled: Filled) -> None:
    day, _ = reports(filled.registry).values()
    assert filled.scanned(day) == []


def said_by_triggers(filled: Filled) -> list[str]:
    """Let a thread speak; return what is scanned, by statements or by the triggers that they set off."""
    if filled.url.startswith("sqlite"):
        agent = Agent(lambda _messages: "Gladly.", registry=filled.registry, checkpointer=filled.saver)
        return filled.scanned(lambda: agent.say("Hello?", where=config("other")))
    scans = SequentialScans(filled.asked)
    with ExitStack() as stack:  # sessions of its own, that end and so can be counted
        inner = stack.enter_context(PostgresSaver.from_conn_string(filled.url.replace("+psycopg", "")))
        registry = stack.enter_context(SqlSealRegistry(filled.url))
        agent = Agent(lambda _messages: "Gladly.", registry=registry, checkpointer=SealedSaver(inner, registry))
        agent.say("Hello?", where=config("other"))
    return scans.so_far()


def test_no_trigger_scans(filled: Filled) -> None:
    assert said_by_triggers(filled) == []


def test_a_missing_index_is_found(filled: Filled) -> None:
    history = everyday(filled.registry, filled.draw)["history"]
    filled.asked.execute("DROP INDEX ect_events_thread")
    try:
        (found,) = filled.scanned(history)
    finally:
        filled.asked.execute("CREATE INDEX ect_events_thread ON ect_events (thread_key, number)")
    assert found.startswith("SCAN ect_events")
    assert filled.scanned(history) == []


def test_lists_of_every_kind_are_asked_for(filled: Filled) -> None:
    listed = [what for what in everyday(filled.registry, filled.draw) if what.startswith("threads, ")]
    assert len(listed) == 4 * len(ThreadKind)
    assert len(filled.registry.threads("sealed", limit=50)) == len(filled.registry.threads("denied", limit=50)) == 50


def index_of(filled: Filled, kind: ThreadKind) -> set[str]:
    """Return which of the indexes that lists walk a list of a kind walks."""
    filled.heard.clear()
    filled.registry.threads(kind)
    steps = [step for said in filled.heard for step in plan(filled.asked, said)]
    return {index for index in ("ect_events_kind", "ect_decisions_outcome") if any(index in step for step in steps)}


def test_a_list_walks_the_index_of_its_kind(filled: Filled) -> None:
    """Another index that begins with the time could be walked from end to end, and no plan of PostgreSQL says so."""
    decided = {ThreadKind.SHADOW, ThreadKind.NOTICED, ThreadKind.DENIED}
    for kind in ThreadKind:
        assert index_of(filled, kind) == {"ect_decisions_outcome" if kind in decided else "ect_events_kind"}, kind
    filled.asked.execute("DROP INDEX ect_decisions_outcome")
    try:
        assert index_of(filled, ThreadKind.DENIED) == set()
    finally:
        filled.asked.execute("CREATE INDEX ect_decisions_outcome ON ect_decisions (outcome, decided_at, thread_key)")


def test_what_is_asked_of_a_subject_is_found_by_its_own_index_and_by_its_threads(filled: Filled) -> None:
    """To walk the index of a kind, however many threads are of it, would be no scan in any plan.

    Asked of kinds with many threads: of a kind with none its index is as good as any.
    """
    for name in ("t1", "t2"):
        filled.registry.attribute(name, subject=SUBJECT)
    asked: dict[str, Action] = {
        "sealed": lambda: filled.registry.threads("sealed", subject=SUBJECT),
        "denied": lambda: filled.registry.threads("denied", subject=SUBJECT),
        "history": lambda: filled.registry.subject_history(SUBJECT),
    }
    walked = ("ect_events_kind", "ect_events_time", "ect_decisions_outcome", "ect_decisions_report")
    for what, action in asked.items():
        filled.heard.clear()
        action()
        steps = [step for said in filled.heard for step in plan(filled.asked, said)]
        assert any("ect_events_subject" in step for step in steps), what
        assert not [step for step in steps if any(index in step for index in walked)], what


def test_a_trigger_that_scans_is_found(filled: Filled) -> None:
    for statement in SCANNING[filled.url.startswith("sqlite")]:
        filled.asked.execute(statement)
    try:
        found = said_by_triggers(filled)
    finally:
        filled.asked.execute(f"DROP TRIGGER scanning{'' if filled.url.startswith('sqlite') else ' ON checkpoints'}")
    assert "ect_threads" in found[0]
