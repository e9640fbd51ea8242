"""Whatever is done to a few threads, in whatever order: what must hold of a seal holds.

The rules: user turns, notices, ends, runs that stand still and go on later, forks, reopenings, risk flags, deletions,
restarts.
The invariants, after every step:

1. A sealed branch becomes open only by a reopening; a fork opens another branch, and is recorded.
2. What a sealed thread shows does not change, and says that it has ended.
3. Every call of the tool is recorded exactly once.
4. No seal is made, and no notice given, while a risk flag stands.
5. Registry and readers agree on whether the thread is sealed, whichever branch was written last.
6. Every seal has a notice before it: on its branch, in an earlier turn, since the branch was opened or reopened.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool.errors import StaleRunError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from support.chats import END_IT, WARN, answer, guarded, texts_of
from support.savers import Place

THREADS = st.sampled_from(["a", "b"])
DURABILITIES = st.sampled_from(["sync", "exit"])
NOTICED = EndConversationPolicy(name="noticed", min_refusals=1, min_redirections=0)
REFUSED = (ThreadSealedError, StaleRunError)


class Threads(RuleBasedStateMachine):
    """Two threads in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.cleanup = ExitStack()
        self.calls: dict[str, int] = {"a": 0, "b": 0}
        self.asking = ""
        self.waiting: list[tuple[str, Iterator[Any]]] = []
        self.before: dict[str, ThreadStatus] = {}
        self.shown: dict[str, list[str]] = {}
        self.open_places()
        self.start()

    def open_places(self) -> None:
        self.registry: Any = InMemorySealRegistry()
        self.inner: Any = InMemorySaver()
        self.engine = "memory"

    def start(self) -> None:
        place = Place(self.engine, twin=False, inner=self.inner, registry=self.registry)
        self.saver = SealedSaver(self.inner, self.registry)
        self.saver.setup()
        self.graph = guarded(place, self.saver, replies=self._answer, policy=NOTICED).graph

    def _answer(self, messages: list[Any]) -> Any:
        last = messages[-1]
        if isinstance(last, HumanMessage) and "!end" in str(last.content):
            self.calls[str(last.content).split("@")[-1]] += 1
        return answer(messages)

    def teardown(self) -> None:
        for _, stream in self.waiting:
            stream.close()  # type: ignore[attr-defined]
        self.cleanup.close()

    def config(self, thread: str, **more: Any) -> Any:
        return {"configurable": {"thread_id": thread, **more}}

    def say(self, thread: str, text: str, durability: str = "sync", **more: Any) -> bool:
        """Say something, and return whether it was let in."""
        words = {"messages": [HumanMessage(f"{text}@{thread}")]}
        try:
            self.graph.invoke(words, self.config(thread, **more), durability=durability)
        except REFUSED:
            return False
        return True

    def effective(self, thread: str) -> bool:
        """Whether what the thread shows is a sealed branch."""
        return bool(self.graph.get_state(self.config(thread)).values.get("conversation_end"))

    @rule(thread=THREADS, text=st.sampled_from(["hello", WARN, "!tool"]), durability=DURABILITIES)
    def turn(self, thread: str, text: str, durability: str) -> None:
        sealed = self.effective(thread)
        assert self.say(thread, text, durability) is not sealed

    @rule(thread=THREADS, durability=DURABILITIES)
    def seal(self, thread: str, durability: str) -> None:
        """Warn, ask for the end, which gives the notice, and ask again in the next turn."""
        at_risk, sealed = self.registry.status(thread).at_risk, self.effective(thread)
        for text in (WARN, END_IT, END_IT):
            if self.effective(thread):
                break
            assert self.say(thread, text, durability)
        assert self.effective(thread) is (sealed or not at_risk)

    @rule(thread=THREADS, durability=DURABILITIES)
    def ask_for_the_end(self, thread: str, durability: str) -> None:
        """One request: a notice, an end, or a denial, as what came before permits."""
        status, sealed = self.registry.status(thread), self.effective(thread)
        noticed = bool(status.on_branch(status.branch).notices)
        assert self.say(thread, END_IT, durability) is not sealed
        assert sealed or noticed or not self.effective(thread)

    @rule(thread=THREADS, text=st.sampled_from(["late", f"{END_IT} late"]))
    def begin_a_run_that_stands_still(self, thread: str, text: str) -> None:
        words = {"messages": [HumanMessage(f"{text}@{thread}")]}
        stream = self.graph.stream(words, self.config(thread), stream_mode="values", durability="sync")
        try:
            next(stream)
        except REFUSED:
            return
        self.waiting.append((thread, stream))

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(min_value=0))
    def let_it_go_on(self, which: int) -> None:
        _, stream = self.waiting.pop(which % len(self.waiting))
        try:
            for _ in stream:
                pass
        except REFUSED:
            return

    @rule(thread=THREADS, which=st.integers(min_value=0))
    def fork(self, thread: str, which: int) -> None:
        history = list(self.graph.get_state_history(self.config(thread)))
        if not history:
            return
        chosen = history[which % len(history)].config["configurable"]["checkpoint_id"]
        status = self.registry.status(thread)
        let_in = self.say(thread, "another way", checkpoint_id=chosen)
        after = self.registry.status(thread)
        opened = len(after.branches) - len(status.branches)
        if self.shown.get(thread) is not None and let_in:
            assert opened <= 1
            self.shown.pop(thread)

    @rule(thread=THREADS)
    def reopen(self, thread: str) -> None:
        if not self.registry.status(thread).sealed:
            return
        self.registry.reopen(thread, operator="ops", reason="a test")
        self.before.pop(thread, None)
        self.shown.pop(thread, None)

    @rule(thread=THREADS)
    def flag(self, thread: str) -> None:
        self.registry.flag_risk(thread, kind="crisis", source="host")

    @rule(thread=THREADS)
    def clear(self, thread: str) -> None:
        self.registry.clear_risk(thread, operator="ops", reason="spoke to them")

    @rule(thread=THREADS)
    def delete(self, thread: str) -> None:
        self.saver.delete_thread(thread)
        self.shown.pop(thread, None)

    @rule()
    def restart(self) -> None:
        """What was standing still dies with the program."""
        while self.waiting:
            _, stream = self.waiting.pop()
            stream.close()  # type: ignore[attr-defined]
        self.start()

    @rule(thread=THREADS)
    def write_from_outside(self, thread: str) -> None:
        sealed = self.effective(thread)
        try:
            self.graph.update_state(self.config(thread), {"messages": [HumanMessage("outside")]}, as_node="model")
        except REFUSED:
            assert sealed
        else:
            assert not sealed

    @invariant()
    def a_sealed_branch_stays_sealed(self) -> None:
        for thread in self.calls:
            status = self.registry.status(thread)
            before = self.before.get(thread)
            for branch in before.branches if before else ():
                if branch.seal is not None:
                    assert status.on_branch(branch.branch).seal == branch.seal
            assert not before or status.sequence >= before.sequence
            self.before[thread] = status

    @invariant()
    def a_sealed_thread_shows_the_same_and_its_end(self) -> None:
        for thread in self.calls:
            state = self.graph.get_state(self.config(thread))
            if not state.values.get("conversation_end"):
                self.shown.pop(thread, None)
                continue
            assert (state.next, state.values["conversation_end"]["ended"]) == ((), True)
            texts = texts_of(state)
            assert self.shown.setdefault(thread, texts) == texts

    @invariant()
    def registry_and_readers_agree(self) -> None:
        for thread in self.calls:
            assert self.effective(thread) is self.registry.status(thread).sealed

    @invariant()
    def every_call_is_recorded_once(self) -> None:
        for thread, calls in self.calls.items():
            assert len(self.registry.decisions(thread)) == calls

    @invariant()
    def nothing_was_done_while_a_flag_stood(self) -> None:
        for thread in self.calls:
            standing = 0
            for one in self.registry.history(thread):
                kind = str(one.kind)
                standing += {"risk_raised": 1, "risk_cleared": -1}.get(kind, 0)
                assert kind not in ("sealed", "notice_given") or standing == 0

    @invariant()
    def every_seal_has_its_notice(self) -> None:
        for thread in self.calls:
            noticed: set[tuple[int, str]] = set()
            for one in self.registry.history(thread):
                kind = str(one.kind)
                if kind == "notice_given":
                    noticed.add((one.branch, one.subject))
                elif kind == "reopened":
                    noticed = {known for known in noticed if known[0] != one.branch}
                assert kind != "sealed" or (one.branch, one.subject) in noticed
            records = self.registry.decisions(thread)
            turns = {record.id: record.turn for record in records if str(record.outcome) == "noticed"}
            for record in records:
                acts = [found for found in record.decision.evidence if str(found.kind) == "notice"]
                assert str(record.outcome) != "sealed" or acts
                assert all(turns[act.message_id] == act.turn for act in acts)
                assert str(record.outcome) != "sealed" or all(act.turn < record.turn for act in acts)


class ThreadsInSqlite(Threads):
    """The same, in one SQLite file with triggers; a restart opens it anew."""

    def open_places(self) -> None:
        self.engine = "sqlite"
        self.folder = Path(tempfile.mkdtemp())
        self.cleanup.callback(shutil.rmtree, self.folder)
        self.opened = self.cleanup.enter_context(ExitStack())
        self._open()

    def _open(self) -> None:
        self.registry = self.opened.enter_context(SqlSealRegistry(f"sqlite:///{self.folder}/one.db"))
        self.inner = self.opened.enter_context(SqliteSaver.from_conn_string(f"{self.folder}/one.db"))

    @rule()
    def restart(self) -> None:
        while self.waiting:
            _, stream = self.waiting.pop()
            stream.close()  # type: ignore[attr-defined]
        self.opened.close()
        self._open()
        self.start()


TestThreads = Threads.TestCase
TestThreadsInSqlite = ThreadsInSqlite.TestCase
_OPTIONS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": True,
    "database": None,
}
TestThreads.settings = settings(max_examples=40, stateful_step_count=20, **_OPTIONS)
TestThreadsInSqlite.settings = settings(max_examples=10, stateful_step_count=15, **_OPTIONS)
