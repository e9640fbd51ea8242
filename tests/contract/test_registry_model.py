"""Any sequence of calls: SQLite, closed and opened in between, answers as the registry in memory does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import BaseModel

from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import InMemorySealRegistry, SealRegistry, SqlSealRegistry
from support.records import denial, notice, permit

THREADS = ("one", "two")
TIMES = {"sealed_at", "raised_at", "cleared_at", "given_at", "at"}

threads = st.sampled_from(THREADS)
branches = st.integers(0, 3)
messages = st.sampled_from([None, "m1", "m2"])


def without_times(value: Any) -> Any:
    """Return plain data without the moments at which things happened."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, (list, tuple)) else value


class Registries(RuleBasedStateMachine):
    """The same calls on both."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.model = InMemorySealRegistry()
        self.tested = self.open()
        self.known = {thread: ThreadStatus(thread_id=thread) for thread in THREADS}
        self.calls = dict.fromkeys(THREADS, 0)
        self.unsealing = False

    def open(self) -> SqlSealRegistry:
        return SqlSealRegistry(f"sqlite:///{self.folder}/registry.db")

    def teardown(self) -> None:
        if hasattr(self, "tested"):
            self.tested.close()
            shutil.rmtree(self.folder)

    def same(self, call: Callable[[SealRegistry], Any]) -> Any:
        """Make a call on both and show that they answer alike."""
        answers: list[Any] = []
        for registry in (self.model, self.tested):
            try:
                answers.append(call(registry))
            except InvalidInputError as error:
                answers.append(str(error))
        assert without_times(answers[0]) == without_times(answers[1])
        return answers[1]

    @rule(thread=threads, branch=branches, held=st.none() | st.integers(0, 6))
    def seal(self, thread: str, branch: int, held: int | None) -> None:
        record, at_risk = permit(thread, branch=branch), self.known[thread].at_risk
        outcome = self.same(lambda registry: registry.seal(record, held_sequence=held))
        assert not (outcome.created and at_risk)
        self.calls[thread] += 1

    @rule(thread=threads, branch=branches, held=st.none() | st.integers(0, 6))
    def notice(self, thread: str, branch: int, held: int | None) -> None:
        record, before = notice(thread, branch=branch), self.known[thread]
        outcome = self.same(lambda registry: registry.give_notice(record, held_sequence=held))
        assert outcome.notice is None or not (before.at_risk or before.on_branch(branch).seal)
        self.calls[thread] += 1

    @rule(thread=threads)
    def record(self, thread: str) -> None:
        record = denial(thread)
        self.same(lambda registry: registry.record_decision(record))
        self.calls[thread] += 1

    @rule(thread=threads, kind=st.sampled_from(["crisis", "violence"]), message=messages)
    def flag(self, thread: str, kind: str, message: str | None) -> None:
        self.same(lambda registry: registry.flag_risk(thread, kind=kind, source="a", message_id=message))

    @rule(thread=threads)
    def clear(self, thread: str) -> None:
        self.same(lambda registry: registry.clear_risk(thread, operator="Kim", reason="looked"))

    @rule(thread=threads, parent=branches)
    def branch(self, thread: str, parent: int) -> None:
        self.same(lambda registry: registry.open_branch(thread, parent=parent, forked_from="c"))

    @rule(thread=threads)
    def reopen(self, thread: str) -> None:
        self.unsealing = True
        self.same(lambda registry: registry.reopen(thread, operator="Kim", reason="upheld"))

    @precondition(lambda self: hasattr(self, "tested"))
    @rule()
    def restart(self) -> None:
        key = self.tested.signing_key
        self.tested.close()
        self.tested = self.open()
        assert self.tested.signing_key == key

    @invariant()
    def what_is_sealed_stays_sealed(self) -> None:
        for thread in THREADS:
            before, after = self.known[thread], self.same(lambda registry, thread=thread: registry.status(thread))  # type: ignore[misc]
            assert after.sequence >= before.sequence
            assert len(after.risk_flags) >= len(before.risk_flags)
            if not self.unsealing:
                for known in before.branches:
                    assert known.seal is None or after.on_branch(known.branch).seal == known.seal
            self.known[thread] = after
        self.unsealing = False

    @invariant()
    def everything_is_kept_once(self) -> None:
        for thread in THREADS:
            kept = self.same(lambda registry, thread=thread: registry.decisions(thread))  # type: ignore[misc]
            assert len(kept) == len({record.id for record in kept}) == self.calls[thread]
            self.same(lambda registry, thread=thread: registry.history(thread))  # type: ignore[misc]
            self.same(lambda registry, thread=thread: registry.seals(thread))  # type: ignore[misc]


Registries.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestRegistries = Registries.TestCase
