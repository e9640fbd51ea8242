"""What a turn's cost depends on: the length of the thread and of the message; sealed threads, many at once, imports."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents import BARE, OURS, REPLY, USER, agent, measured, model, sealed
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from turn import turn_times

from end_conversation_tool import InMemorySealRegistry, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.models import Decision, DecisionRecord, utc_now
from end_conversation_tool.vocabulary import Category, Mode, Outcome, Verdict

IMPORTS = {
    "langgraph and langchain_core": "import langgraph.graph, langchain_core.messages",
    "the same, and end_conversation_tool": (
        "import langgraph.graph, langchain_core.messages; from end_conversation_tool import SealedSaver, decide,"
        " EndConversationPolicy, InMemorySealRegistry, create_end_conversation_tool"
    ),
}


class Stopwatch(EndConversationMiddleware):
    """Measures its own share of a turn: what it does besides letting the model speak.

    Processor time of its own thread: LangGraph writes checkpoints in another, and a long thread keeps that one busy.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shares: list[float] = []

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Time the whole call, less the model's part of it."""
        spoken = 0.0

        def timed(given: Any) -> Any:
            nonlocal spoken
            started = time.thread_time()
            try:
                return handler(given)
            finally:
                spoken = time.thread_time() - started

        started = time.thread_time()
        try:
            return super().wrap_model_call(request, timed)
        finally:
            self.shares.append(time.thread_time() - started - spoken)


def shares_by_turn(lengths: tuple[int, ...] = (10, 100, 1_000, 10_000), repeats: int = 30) -> dict[int, float]:
    """Return our own share of a turn in milliseconds, by how many turns the thread had before."""
    shares = {}
    for turns in lengths:
        registry = InMemorySealRegistry()
        watch = Stopwatch(registry=registry)
        graph = agent(InMemorySaver(), watch)
        config: Any = {"configurable": {"thread_id": "t"}}
        said = [kind(text) for _ in range(turns) for kind, text in ((HumanMessage, USER), (AIMessage, REPLY))]
        graph.invoke({"messages": said}, config)  # hears them all, once
        watch.shares.clear()
        for _ in range(repeats if turns < 10_000 else repeats // 3):
            graph.invoke({"messages": [("user", USER)]}, config)
        shares[turns] = statistics.median(watch.shares) * 1000
    return shares


def by_message(lengths: tuple[int, ...] = (100, 500, 5_000, 50_000), turns: int = 60) -> dict[int, tuple[float, float]]:
    """Return milliseconds and ratio to bare on SQLite, by characters of the user's message."""
    found = {}
    for length in lengths:
        text = (USER * (length // len(USER) + 1))[:length]
        with measured("sqlite") as graphs:
            times = turn_times({name: graphs[name] for name in (BARE, OURS)}, turns, text=text, per_thread=3)
        ratios = [ours / bare for ours, bare in zip(times[OURS], times[BARE], strict=True)]
        found[length] = (statistics.median(times[OURS]) * 1000, statistics.median(ratios))
    return found


def refusal(turns: int = 100) -> float:
    """Return the cost of refusing a message to a sealed thread, as a ratio to a turn of the bare agent, on SQLite."""
    with measured("sqlite") as graphs:
        ours = graphs[OURS]
        config: Any = {"configurable": {"thread_id": "sealed"}}
        ours.invoke({"messages": [("user", USER)]}, config)
        ours.checkpointer.registry.seal(end_record())
        ratios = []
        for number in range(turns):
            started = time.perf_counter()
            graphs[BARE].invoke({"messages": [("user", USER)]}, {"configurable": {"thread_id": str(number // 10)}})
            bare, started = time.perf_counter() - started, time.perf_counter()
            try:
                ours.invoke({"messages": [("user", USER)]}, config)
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


def at_once(conversations: int = 1_000, turns: int = 2) -> dict[str, float]:
    """Return turns a second of many conversations in one process, a process for each variant."""
    found = {}
    for name in (BARE, OURS):
        program = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import more;"
            f"print(more.crowd({name!r}, {conversations}, {turns}))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        found[name] = float(done.stdout)
    return found


def crowd(name: str, conversations: int, turns: int) -> float:
    """Run many conversations at once; return turns a second."""
    saver, registry = InMemorySaver(), InMemorySealRegistry()
    place = (saver, registry)
    graph = agent(saver) if name == BARE else agent(sealed(place), EndConversationMiddleware(registry=registry))

    async def talk(thread: int) -> None:
        for _ in range(turns):
            await graph.ainvoke({"messages": [("user", USER)]}, {"configurable": {"thread_id": str(thread)}})

    async def all_talk() -> float:
        await talk(-1)
        started = time.perf_counter()
        await asyncio.gather(*(talk(thread) for thread in range(conversations)))
        return conversations * turns / (time.perf_counter() - started)

    return asyncio.run(all_talk())


def import_seconds(repeats: int = 9) -> dict[str, float]:
    """Return how long imports take in a fresh process, interleaved; medians."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(measurements) for name, measurements in times.items()}


def detector_milliseconds(repeats: int = 400) -> dict[str, float]:
    """Return how long all detectors take for a message of 500 characters, by role; medians."""
    from end_conversation_tool import default_detectors  # noqa: PLC0415
    from end_conversation_tool.detectors.base import ObservedMessage  # noqa: PLC0415

    suite, found = default_detectors(), {}
    for role, text in (("user", USER * 2), ("assistant", REPLY * 2)):
        message = ObservedMessage(role, text[:500], "m")  # type: ignore[arg-type]
        times = []
        for number in range(-50, repeats):
            started = time.perf_counter()
            suite.observe(message)
            if number >= 0:
                times.append(time.perf_counter() - started)
        found[role] = statistics.median(times) * 1000
    return found


__all__ = ["at_once", "by_message", "detector_milliseconds", "import_seconds", "model", "refusal", "shares_by_turn"]
