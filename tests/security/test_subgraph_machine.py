"""Whatever is done to the checkpoints that a subgraph has of its own: nothing enters a sealed branch by a namespace.

The rules: runs, ends, forks, reopenings, updates of a subgraph's checkpoint, runs from one, readings with subgraphs,
and, where the database guards itself, writes beside the guard.
The invariants, after every step:

1. A sealed branch has the checkpoints that it had, in every namespace.
2. Registry and readers agree on whether the thread is sealed.
3. Only a fork opens a branch.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool.errors import StaleRunError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from end_conversation_tool.registry.sql.triggers import refused_by_trigger
from support.records import permit

REFUSED = (ThreadSealedError, StaleRunError)
WHICH = st.integers(min_value=0, max_value=50)


class Heard(TypedDict, total=False):
    """What was said, what the subgraph counted, and the end."""

    said: str
    seen: int
    conversation_end: dict[str, Any]


def count(state: Heard) -> Heard:
    return {"seen": state.get("seen", 0) + 1}


class ThreadWithSubgraph(RuleBasedStateMachine):
    """One thread in memory, of a graph whose subgraph keeps checkpoints of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.cleanup = ExitStack()
        self.kept: dict[int, set[str]] = {}
        self.open_places()
        saver = SealedSaver(self.inner, self.registry)
        saver.setup()
        child: Any = StateGraph(Heard).add_node("count", count).add_edge(START, "count").compile(checkpointer=True)
        parent: Any = StateGraph(Heard).add_node("child", child).add_edge(START, "child")
        self.graph: Any = parent.compile(checkpointer=saver)
        self.run({"thread_id": "t"})

    def open_places(self) -> None:
        self.registry: Any = InMemorySealRegistry()
        self.inner: Any = InMemorySaver()

    def teardown(self) -> None:
        self.cleanup.close()

    @property
    def status(self) -> ThreadStatus:
        status: ThreadStatus = self.registry.status("t")
        return status

    def raw(self) -> list[Any]:
        """Return all checkpoints, in every namespace, as they are kept."""
        return list(self.inner.list({"configurable": {"thread_id": "t"}}))

    def within(self, which: int) -> Any:
        """Return one of the checkpoints that the subgraph has."""
        inside = [one for one in self.raw() if one.config["configurable"]["checkpoint_ns"]]
        return inside[which % len(inside)]

    def run(self, configurable: dict[str, Any]) -> bool:
        """Say something, and return whether it was let in; what is refused is not written."""
        before = len(self.raw())
        try:
            self.graph.invoke({"said": "hello"}, {"configurable": dict(configurable)})
        except REFUSED:
            assert len(self.raw()) == before
            return False
        return True

    @rule()
    def turn(self) -> None:
        sealed = self.status.sealed
        assert self.run({"thread_id": "t"}) is not sealed

    @precondition(lambda self: not self.status.sealed)
    @rule()
    def seal(self) -> None:
        newest = self.graph.get_state({"configurable": {"thread_id": "t"}}).config["configurable"]["checkpoint_id"]
        self.registry.seal(permit("t", branch=self.status.branch), checkpoint_id=newest)

    @precondition(lambda self: self.status.sealed)
    @rule()
    def reopen(self) -> None:
        self.registry.reopen("t", operator="ops", reason="a test")

    @rule(which=WHICH)
    def fork(self, which: int) -> None:
        history = list(self.graph.get_state_history({"configurable": {"thread_id": "t"}}))
        before, chosen = self.status, history[which % len(history)].config["configurable"]
        self.run(chosen)
        assert len(self.status.branches) <= len(before.branches) + 1

    @rule(which=WHICH)
    def update_the_subgraph(self, which: int) -> None:
        found, before, there = self.within(which), self.status, len(self.raw())
        branch = found.metadata["end_conversation_branch"]
        try:
            self.graph.update_state(found.config, {"seen": 7})
        except REFUSED:
            assert len(self.raw()) == there
        else:
            assert branch == before.branch
            assert not before.sealed
        assert self.status == before

    @rule(which=WHICH)
    def run_from_the_subgraph(self, which: int) -> None:
        """LangGraph leaves the namespace aside: such a run goes on from where the thread stands, like any turn."""
        before, there = self.status, {one.checkpoint["id"] for one in self.raw()}
        assert self.run(self.within(which).config["configurable"]) is not before.sealed
        written = [one for one in self.raw() if one.checkpoint["id"] not in there]
        assert {one.metadata["end_conversation_branch"] for one in written} <= {before.branch}
        assert self.status == before

    @rule(which=WHICH)
    def read_with_subgraphs(self, which: int) -> None:
        before, there = self.status, len(self.raw())
        self.graph.get_state({"configurable": {"thread_id": "t"}}, subgraphs=True)
        self.graph.get_state(self.within(which).config, subgraphs=True)
        assert (self.status, len(self.raw())) == (before, there)

    @invariant()
    def a_sealed_branch_has_what_it_had(self) -> None:
        sealed = {known.branch for known in self.status.branches if known.seal is not None}
        self.kept = {branch: ids for branch, ids in self.kept.items() if branch in sealed}
        for branch in sealed:
            marked = {one.checkpoint["id"] for one in self.raw() if one.metadata["end_conversation_branch"] == branch}
            assert self.kept.setdefault(branch, marked) == marked

    @invariant()
    def registry_and_readers_agree(self) -> None:
        shown = self.graph.get_state({"configurable": {"thread_id": "t"}}).values
        assert bool(shown.get("conversation_end")) is self.status.sealed


class ThreadWithSubgraphInSqlite(ThreadWithSubgraph):
    """The same, in one SQLite file with triggers."""

    def open_places(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.cleanup.callback(shutil.rmtree, folder)
        self.registry = self.cleanup.enter_context(SqlSealRegistry(f"sqlite:///{folder}/one.db"))
        self.inner = self.cleanup.enter_context(SqliteSaver.from_conn_string(f"{folder}/one.db"))

    @precondition(lambda self: self.status.sealed)
    @rule(which=WHICH)
    def write_beside_the_guard(self, which: int) -> None:
        found = self.within(which)
        late = {**found.checkpoint, "id": "ffffffff-ffff-6fff-8fff-000000000000"}
        marked = {**found.metadata, "end_conversation_branch": self.status.branch, "end_conversation_run": "late"}
        with pytest.raises(Exception, match="sealed") as refused:
            self.inner.put(found.config, late, marked, {})
        assert refused_by_trigger(refused.value)


TestThreadWithSubgraph = ThreadWithSubgraph.TestCase
TestThreadWithSubgraphInSqlite = ThreadWithSubgraphInSqlite.TestCase
_OPTIONS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": True,
    "database": None,
}
TestThreadWithSubgraph.settings = settings(max_examples=40, stateful_step_count=20, **_OPTIONS)
TestThreadWithSubgraphInSqlite.settings = settings(max_examples=10, stateful_step_count=15, **_OPTIONS)
