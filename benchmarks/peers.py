"""Turns side by side in one run: LangChain's agent, ours, every stock middleware, guardrails of other frameworks.

    python benchmarks/peers.py [--turns 200] [--write]

Runs where ``nemoguardrails`` and ``openai-agents`` are installed beside this package (``make bench-peers``). Every
model is scripted; nothing goes over the network. Each variant is compared with its own framework's bare turn.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["NEMO_GUARDRAILS_NO_USAGE_STATS"] = os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailTripwireTriggered,
    Model,
    ModelResponse,
    OutputGuardrail,
    Runner,
    SQLiteSession,
    Usage,
)
from agents.testing import assistant_message
from intervals import HEADER, Spent, compared
from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.types import LLMResponse
from texts import REPLIES, SAID, replies
from variants import AGAIN, BARE, OURS, measured, stock

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "peers.md"
INPUT, BOTH = "input guardrail", "input and output guardrails"
FORBIDDEN = re.compile(r"\b(idiot|moron|shut up|kill yourself|build a bomb)\b", re.IGNORECASE)
INSULT = "You are a moron."
PER_THREAD = 10
PACKAGES = ("langchain", "langgraph", "openai-agents", "nemoguardrails")

Variant = tuple[str, str]
"""A framework and what its agent has."""

Say = Callable[[int, str], Awaitable[str]]
"""Say a text in a thread; what was answered."""


def langchain_agent(graph: Any) -> Say:
    """Return an agent of LangChain."""

    async def say(thread: int, text: str) -> str:
        config = {"configurable": {"thread_id": str(thread)}}
        return str((await graph.ainvoke({"messages": [("user", text)]}, config))["messages"][-1].content)

    return say


class Scripted(Model):
    """A model of the OpenAI Agents SDK that says what it is told to."""

    def __init__(self) -> None:
        self._replies = replies()

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        """Return the next reply."""
        return ModelResponse(output=[assistant_message(next(self._replies))], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        """Refuse: nothing is streamed here."""
        raise NotImplementedError


def words_of(given: Any) -> str:
    """Return the newest text of what a guardrail is given."""
    return given if isinstance(given, str) else str(given[-1]["content"])


def openai_agent(guardrails: str) -> Say:
    """Return an agent of the OpenAI Agents SDK, its threads in SQLite in memory."""

    def heard(_context: Any, _agent: Any, given: Any) -> GuardrailFunctionOutput:
        found = FORBIDDEN.search(words_of(given)) is not None
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=found)

    before = [] if guardrails == BARE else [InputGuardrail(guardrail_function=heard, name="words")]
    after = [OutputGuardrail(guardrail_function=heard, name="words")] if guardrails == BOTH else []
    agent = Agent(name="bench", model=Scripted(), input_guardrails=before, output_guardrails=after)
    sessions: dict[int, SQLiteSession] = {}

    async def say(thread: int, text: str) -> str:
        if thread not in sessions:
            sessions[thread] = SQLiteSession(str(thread))
        try:
            return str((await Runner.run(agent, text, session=sessions[thread])).final_output)
        except InputGuardrailTripwireTriggered:
            return "blocked"

    return say


class ScriptedRails:
    """A model of NeMo Guardrails that says what it is told to."""

    model_name, provider_name, provider_url = "scripted", "bench", None

    def __init__(self) -> None:
        self._replies = replies()

    async def generate_async(self, *_: Any, **__: Any) -> LLMResponse:
        """Return the next reply."""
        return LLMResponse(content=next(self._replies))

    async def stream_async(self, *_: Any, **__: Any) -> Any:
        """Refuse: nothing is streamed here."""
        raise NotImplementedError
        yield


def nemo_rails(guardrails: str) -> Say:
    """Return NeMo Guardrails with its own rail of regular expressions, which has no thread: it is given the history."""
    flows = {BARE: (), INPUT: ("input",), BOTH: ("input", "output")}[guardrails]
    rails = {side: {"flows": [f"regex check {side}"]} for side in flows}
    patterns = {side: {"patterns": [f"(?i){FORBIDDEN.pattern}"]} for side in flows}
    config = {"models": [], "passthrough": True, "rails": {**rails, "config": {"regex_detection": patterns}}}
    app = LLMRails(RailsConfig.parse_object(config), llm=ScriptedRails())
    threads: dict[int, list[dict[str, Any]]] = {}

    async def say(thread: int, text: str) -> str:
        history = threads.setdefault(thread, [])
        history.append({"role": "user", "content": text})
        answer = await app.generate_async(messages=history)
        history.append(answer)
        return str(answer["content"])

    return say


async def guarded(make: Callable[[str], Say]) -> dict[str, Say]:
    """Return a framework's agent, bare and guarded.

    Raises:
        RuntimeError: A guardrail does not block, or a bare turn does.
    """
    variants = {kind: make(kind) for kind in (BARE, INPUT, BOTH)}
    for kind, say in variants.items():
        if (await say(-2, INSULT) in REPLIES) is not (kind == BARE):
            raise RuntimeError(f"{make.__name__}, {kind}: the guardrail does not do what it is there for")
    return variants


async def measure(variants: dict[Variant, Say], turns: int) -> dict[Variant, list[Spent]]:
    """Return what turns take, each round in another order, lest one follow the same other; the first thread warms up.

    Raises:
        RuntimeError: An ordinary message was blocked.
    """
    spent: dict[Variant, list[Spent]] = {variant: [] for variant in variants}
    chance = random.Random(1)
    for number in range(-PER_THREAD, turns):
        for variant in chance.sample(list(variants), len(variants)):
            start = Spent.so_far()
            answer = await variants[variant](number // PER_THREAD, SAID[number % len(SAID)])
            took = Spent.so_far().since(start)
            if number >= 0:
                spent[variant].append(took)
            if answer not in REPLIES:
                raise RuntimeError(f"{variant}: an ordinary message was blocked")
    return spent


def lines(turns: int) -> list[str]:
    """Return the lines of a table."""
    with measured("memory", BARE, AGAIN, OURS, *stock(), asynchronous=True) as (runner, graphs):
        frameworks = {
            "LangChain": {name: langchain_agent(graph) for name, graph in graphs.items()},
            "OpenAI Agents": runner.run(guarded(openai_agent)),
            "NeMo Guardrails": runner.run(guarded(nemo_rails)),
        }
        every = {(of, name): say for of, variants in frameworks.items() for name, say in variants.items()}
        spent = runner.run(measure(every, turns))
    tables = {of: compared({name: spent[of, name] for name in variants}, BARE) for of, variants in frameworks.items()}
    return [f"| {of} {row}" for of, rows in tables.items() for row in rows]


def page(turns: int) -> str:
    """Return the page."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    table = "\n".join(["| framework " + HEADER.replace("\n", "\n|---"), *lines(turns)])
    return f"""\
# Beside other middlewares and other frameworks' guardrails

{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {os.cpu_count()} cores; {versions}.
Written by `make bench-peers`, with which `make bench` ends.

One turn of each: LangChain's agent bare, with ours, and with each of LangChain's own middlewares; the OpenAI Agents SDK
and NeMo Guardrails bare, and with guardrails that are rules alone. **Added and ratio are to the bare turn of the same
framework**, so that what a framework itself costs is not held against its guardrails.

They do not do the same. The guardrails look for five phrases with a regular expression; the middlewares do what their
names say. None of them keeps evidence or seals a thread. Ours looks for people at risk in what is said, signs what it
has seen as evidence for a later end, and lets nobody write to a sealed thread.

One run: {turns} turns of each, interleaved in an order that changes, async, in threads of {PER_THREAD} turns, kept in
memory (by OpenAI Agents in SQLite in memory), with a scripted model that answers at once.

{table}
"""


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = page(options.turns)
    print(text)
    if options.write:
        OUTPUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
