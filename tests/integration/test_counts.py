"""What an ordinary turn costs, in counts that do not depend on the machine."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from support.agents import INSULT, LADDER, Agent, config, ending
from support.postgres import fresh_database

MAX_ADDED_BYTES = 1_024


class Counted:
    """Counts what is asked of a registry, by name."""

    def __init__(self, registry: Any) -> None:
        self.registry, self.asked = registry, list[str]()
        for name in (
            "status",
            "seal",
            "record_decision",
            "flag_risk",
            "open_branch",
            "load_provenance",
            "save_provenance",
        ):
            setattr(registry, name, self._counting(name, getattr(registry, name)))

    def _counting(self, name: str, method: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.asked.append(name)
            return method(*args, **kwargs)

        return counted


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Counted, SealedSaver]]:
    """Registry and checkpoints in one database, which guards itself."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            path = tmp_path / "one.db"
            connection = sqlite3.connect(path, check_same_thread=False)
            stack.callback(connection.close)
            inner: Any = SqliteSaver(connection)
            registry = SqlSealRegistry(f"sqlite:///{path}")
        else:
            url = stack.enter_context(fresh_database(request.getfixturevalue("postgres")))
            inner = stack.enter_context(PostgresSaver.from_conn_string(url.replace("+psycopg", "")))
            registry = SqlSealRegistry(url)
        stack.callback(registry.close)
        saver = SealedSaver(inner, registry)
        saver.setup()
        yield Counted(registry), saver


def agent_at(place: tuple[Counted, SealedSaver], replies: Any) -> Agent:
    counted, saver = place
    return Agent(replies, registry=counted.registry, checkpointer=saver)


def test_an_ordinary_turn_reads_the_registry_once_and_writes_nothing(place: tuple[Counted, SealedSaver]) -> None:
    agent = agent_at(place, lambda _messages: "Gladly.")
    for _ in range(3):
        place[0].asked.clear()
        agent.say("Could you suggest a soup?")
        assert place[0].asked == ["status"]


def test_a_turn_of_an_abusive_conversation_costs_no_more(place: tuple[Counted, SealedSaver]) -> None:
    agent = agent_at(place, LADDER)
    for _ in LADDER:
        place[0].asked.clear()
        agent.say(INSULT)
        assert place[0].asked.count("status") == 1


def test_a_refusal_is_one_read_and_nothing_else(place: tuple[Counted, SealedSaver]) -> None:
    counted, saver = place
    agent = agent_at(place, [*LADDER, ending()]).climb()
    agent.say(INSULT)
    calls, checkpoints = len(agent.model.calls), len(list(saver.inner.list(config())))
    counted.asked.clear()
    with pytest.raises(ThreadSealedError):
        agent.say("Hello?")
    assert counted.asked == ["status"]
    assert len(agent.model.calls) == calls
    assert len(list(saver.inner.list(config()))) == checkpoints


def test_without_a_guarding_database_every_write_asks_for_itself() -> None:
    registry = Counted(InMemorySealRegistry())
    agent = Agent(["Gladly."], registry=registry.registry, checkpointer=SealedSaver(InMemorySaver(), registry.registry))
    agent.say("Could you suggest a soup?")
    assert set(registry.asked) == {"status"}
    assert len(registry.asked) > 2


def bytes_of(saver: Any, thread: str = "t") -> int:
    """Return the size of what a thread's checkpoints hold, as SQLite has it."""
    sizes = "SELECT sum(length(checkpoint) + length(metadata)) FROM checkpoints WHERE thread_id = ?"
    return int(saver.conn.execute(sizes, (thread,)).fetchone()[0])


def test_bytes_added_by_a_turn_stay_below_a_kilobyte_however_long_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What LangGraph writes differently from run to run is not measured here: random numbers in its versions, and the id
    # of an input's message, which its first checkpoint holds or not, by which of two threads is faster.
    monkeypatch.setattr(random, "random", lambda: 0.5)
    sizes: dict[bool, list[int]] = {}
    for guarded in (True, False):
        path = tmp_path / f"{guarded}.db"
        connection = sqlite3.connect(path, check_same_thread=False)
        inner = SqliteSaver(connection)
        with SqlSealRegistry(f"sqlite:///{path}") as registry:
            saver = SealedSaver(inner, registry) if guarded else inner
            agent = Agent(lambda _messages: "Gladly.", registry=registry, checkpointer=saver, guarded=guarded)
            grown: list[int] = []
            for turn in range(30):
                before = bytes_of(inner) if grown else 0
                agent.invoke({"messages": [HumanMessage("Could you suggest a soup?", id=f"message-{turn:03}")]})
                grown.append(bytes_of(inner) - before)
        connection.close()
        sizes[guarded] = grown
    added = [ours - bare for ours, bare in zip(sizes[True], sizes[False], strict=True)]
    checkpoints = 3
    assert max(added[1:]) / checkpoints < MAX_ADDED_BYTES
    marks = 9 * 2 * checkpoints  # a letter for message and reply, in each checkpoint of nine turns
    assert max(added[20:]) - min(added[20:]) <= marks + checkpoints  # between turn 21 and turn 30
