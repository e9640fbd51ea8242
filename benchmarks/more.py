"""What a turn's cost depends on: the length of the thread and of the message; sealed threads, imports."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from typing import Any

from intervals import compared
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from texts import REPLIES, SAID, of_length
from turn import turn_times
from variants import BARE, OURS, agent, measured

from end_conversation_tool import InMemorySealRegistry, ThreadSealedError
from end_conversation_tool._core.records import Decision, DecisionRecord, utc_now
from end_conversation_tool._core.vocabulary import Category, Mode, Outcome, Verdict
from end_conversation_tool.middleware import EndConversationMiddleware

__all__ = ["by_message", "import_seconds", "refusal", "shares_by_turn", "watch_milliseconds"]

IMPORTS = {
    "langgraph and langchain_core": "import langgraph.graph, langchain_core.messages",
    "the same, and end_conversation_tool": (
        "import langgraph.graph, langchain_core.messages; from end_conversation_tool import SealedSaver, decide,"
        " EndConversationPolicy, InMemorySealRegistry, create_end_conversation_tool"
    ),
}

_THREAD: Any = {"configurable": {"thread_id": "t"}}


class Stopwatch(EndConversationMiddleware):
    """Measures its own share of a turn: what it does besides letting the model speak.

    Processor time of its own thread: LangGraph writes checkpoints in another, and a long thread keeps that one busy.

    Attributes:
        shares: Seconds, one entry for each turn.
        calls: How many functions were called, Python's own too, in the turns in which they are counted.
        counts: Whether calls are counted; that takes time of its own.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shares: list[float] = []
        self.calls, self.counts = 0, False

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Time the whole call, less the model's part of it."""
        spoken = 0.0

        def timed(given: Any) -> Any:
            nonlocal spoken
            started = time.thread_time()
            sys.setprofile(None)
            try:
                return handler(given)
            finally:
                sys.setprofile(self._count if self.counts else None)
                spoken = time.thread_time() - started

        started = time.thread_time()
        sys.setprofile(self._count if self.counts else None)
        try:
            return super().wrap_model_call(request, timed)
        finally:
            sys.setprofile(None)
            self.shares.append(time.thread_time() - started - spoken)

    def _count(self, _frame: object, event: str, _argument: object) -> None:
        self.calls += event in ("call", "c_call")


def shares_by_turn(
    lengths: tuple[int, ...] = (10, 100, 1_000, 10_000), repeats: int = 24
) -> dict[int, tuple[float, int]]:
    """Return our own share of a turn in milliseconds, and the calls in it, by how many turns the thread had before.

    One turn of each thread after the other, so that whatever else the machine does falls on all alike.
    """
    threads = {turns: _grown(turns) for turns in lengths}
    for number in range(repeats):
        for graph, _ in threads.values():
            graph.invoke({"messages": [("user", SAID[number])]}, _THREAD)
    shares = {}
    for turns, (graph, watch) in threads.items():
        watch.counts = True
        graph.invoke({"messages": [("user", SAID[0])]}, _THREAD)
        shares[turns] = statistics.median(watch.shares[:repeats]) * 1000, watch.calls
    return shares


def _grown(turns: int) -> tuple[Any, Stopwatch]:
    """Return an agent with a thread of so many turns, and its stopwatch."""
    watch = Stopwatch(registry=InMemorySealRegistry())
    graph = agent(InMemorySaver(), watch)
    pairs = islice(zip(cycle(SAID), cycle(REPLIES), strict=True), turns)
    before = [message for said, reply in pairs for message in (HumanMessage(said), AIMessage(reply))]
    graph.invoke({"messages": before}, _THREAD)  # hears them all, once
    watch.shares.clear()
    return graph, watch


def by_message(lengths: tuple[int, ...] = (100, 500, 5_000, 50_000), turns: int = 60) -> dict[int, tuple[float, float]]:
    """Return milliseconds and ratio to bare on SQLite, by characters of the user's message."""
    found = {}
    for length in lengths:
        with measured("sqlite", BARE, OURS) as (_, graphs):
            rows = compared(turn_times(graphs, turns, text=partial(of_length, length), per_thread=3), BARE)
        found[length] = next((row.milliseconds, row.ratio) for row in rows if row.name == OURS)
    return found


def refusal(turns: int = 100) -> float:
    """Return the cost of refusing a message to a sealed thread, as a ratio to a turn of the bare agent, on SQLite."""
    with measured("sqlite", BARE, OURS) as (_, graphs):
        ours = graphs[OURS]
        config: Any = {"configurable": {"thread_id": "sealed"}}
        ours.invoke({"messages": [("user", SAID[0])]}, config)
        ours.checkpointer.registry.seal(end_record())
        ratios = []
        for number in range(turns):
            given = {"messages": [("user", SAID[number % len(SAID)])]}
            started = time.perf_counter()
            graphs[BARE].invoke(given, {"configurable": {"thread_id": str(number // 10)}})
            bare, started = time.perf_counter() - started, time.perf_counter()
            try:
                ours.invoke(given, config)
                raise AssertionError("a sealed thread answered")
            except ThreadSealedError:
                ratios.append((time.perf_counter() - started) / bare)
        return statistics.median(ratios)


def end_record() -> DecisionRecord:
    """Return a permitted decision about the thread ``sealed``."""
    return DecisionRecord(
        id="bench",
        thread_id="sealed",
        turn=1,
        category=Category.ABUSE,
        reason="bench",
        decision=Decision(verdict=Verdict.PERMIT, policy_version="bench"),
        outcome=Outcome.SEALED,
        mode=Mode.ENFORCE,
        model=None,
        prompt_version="1",
        decided_at=utc_now(),
    )


def import_seconds(repeats: int = 9) -> dict[str, float]:
    """Return how long imports take in a fresh process, interleaved; medians."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(measurements) for name, measurements in times.items()}


def watch_milliseconds(repeats: int = 400) -> float:
    """Return how long the watch takes for a message of 500 characters; median."""
    from end_conversation_tool import default_watch  # noqa: PLC0415

    watch, times = default_watch(), []
    for number in range(-50, repeats):
        pair = SAID[number % len(SAID)] + " " + SAID[(number + 1) % len(SAID)]
        started = time.perf_counter()
        watch.look([pair[:500]])
        if number >= 0:
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000
