"""Turns side by side in one run: LangChain's agent, ours, every stock middleware, guardrails of other frameworks.

    python benchmarks/peers.py [--turns 150] [--write]

Runs where ``nemoguardrails`` and ``openai-agents`` are installed beside this package (``make bench-peers``). Every
model is scripted; nothing goes over the network. Each variant is compared with its own framework's bare turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

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
PER_THREAD = WARM_UP = 10
MODELS = {0.0: "answers at once", 0.05: "answers after 50 ms", 0.3: "answers after 300 ms"}
SHARES = {0.0: 1.0, 0.05: 0.25, 0.3: 0.1}
"""Share of the turns that are measured, by how many seconds the model takes."""

PACKAGES = ("langchain", "langgraph", "openai-agents", "nemoguardrails")

Variant = tuple[str, str]
"""A framework and what its agent has."""


class Talk(NamedTuple):
    """An agent, by the two ways to talk with it: a text in a thread goes in, what was answered comes out."""

    say: Callable[[int, str], str]
    asay: Callable[[int, str], Awaitable[str]]


def langchain_agent(graph: Any) -> Talk:
    """Return an agent of LangChain."""

    def given(thread: int, text: str) -> Any:
        return {"messages": [("user", text)]}, {"configurable": {"thread_id": str(thread)}}

    def say(thread: int, text: str) -> str:
        return str(graph.invoke(*given(thread, text))["messages"][-1].content)

    async def asay(thread: int, text: str) -> str:
        return str((await graph.ainvoke(*given(thread, text)))["messages"][-1].content)

    return Talk(say, asay)


class Scripted(Model):
    """A model of the OpenAI Agents SDK that says what it is told to, after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._replies, self._seconds = replies(), seconds

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        """Return the next reply."""
        await asyncio.sleep(self._seconds)
        return ModelResponse(output=[assistant_message(next(self._replies))], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        """Refuse: nothing is streamed here."""
        raise NotImplementedError


def words_of(given: Any) -> str:
    """Return the newest text of what a guardrail is given."""
    return given if isinstance(given, str) else str(given[-1]["content"])


def openai_agent(guardrails: str, seconds: float) -> Talk:
    """Return an agent of the OpenAI Agents SDK, its threads in SQLite in memory."""

    def heard(_context: Any, _agent: Any, given: Any) -> GuardrailFunctionOutput:
        found = FORBIDDEN.search(words_of(given)) is not None
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=found)

    before = [] if guardrails == BARE else [InputGuardrail(guardrail_function=heard, name="words")]
    after = [OutputGuardrail(guardrail_function=heard, name="words")] if guardrails == BOTH else []
    agent = Agent(name="bench", model=Scripted(seconds), input_guardrails=before, output_guardrails=after)
    sessions: dict[int, SQLiteSession] = {}

    def session(thread: int) -> SQLiteSession:
        if thread not in sessions:
            sessions[thread] = SQLiteSession(str(thread))
        return sessions[thread]

    def say(thread: int, text: str) -> str:
        try:
            return str(Runner.run_sync(agent, text, session=session(thread)).final_output)
        except InputGuardrailTripwireTriggered:
            return "blocked"

    async def asay(thread: int, text: str) -> str:
        try:
            return str((await Runner.run(agent, text, session=session(thread))).final_output)
        except InputGuardrailTripwireTriggered:
            return "blocked"

    return Talk(say, asay)


class ScriptedRails:
    """A model of NeMo Guardrails that says what it is told to, after so many seconds."""

    model_name, provider_name, provider_url = "scripted", "bench", None

    def __init__(self, seconds: float) -> None:
        self._replies, self._seconds = replies(), seconds

    async def generate_async(self, *_: Any, **__: Any) -> LLMResponse:
        """Return the next reply."""
        await asyncio.sleep(self._seconds)
        return LLMResponse(content=next(self._replies))

    async def stream_async(self, *_: Any, **__: Any) -> Any:
        """Refuse: nothing is streamed here."""
        raise NotImplementedError
        yield


def nemo_rails(guardrails: str, seconds: float) -> Talk:
    """Return NeMo Guardrails with its own rail of regular expressions, which has no thread: it is given the history."""
    flows = {BARE: (), INPUT: ("input",), BOTH: ("input", "output")}[guardrails]
    rails = {side: {"flows": [f"regex check {side}"]} for side in flows}
    patterns = {side: {"patterns": [f"(?i){FORBIDDEN.pattern}"]} for side in flows}
    config = {"models": [], "passthrough": True, "rails": {**rails, "config": {"regex_detection": patterns}}}
    app = LLMRails(RailsConfig.parse_object(config), llm=ScriptedRails(seconds))
    threads: dict[int, list[dict[str, Any]]] = {}

    def asked(thread: int, text: str) -> list[dict[str, Any]]:
        threads.setdefault(thread, []).append({"role": "user", "content": text})
        return threads[thread]

    def kept(thread: int, answer: Any) -> str:
        threads[thread].append(answer)
        return str(answer["content"])

    def say(thread: int, text: str) -> str:
        return kept(thread, app.generate(messages=asked(thread, text)))

    async def asay(thread: int, text: str) -> str:
        return kept(thread, await app.generate_async(messages=asked(thread, text)))

    return Talk(say, asay)


def guarded(make: Callable[[str, float], Talk], seconds: float) -> dict[str, Talk]:
    """Return a framework's agent, bare and guarded.

    Raises:
        RuntimeError: A guardrail does not block, or a bare turn does.
    """
    variants = {kind: make(kind, seconds) for kind in (BARE, INPUT, BOTH)}
    for kind, talk in variants.items():
        if (talk.say(-2, INSULT) in REPLIES) is not (kind == BARE):
            raise RuntimeError(f"{make.__name__}, {kind}: the guardrail does not do what it is there for")
    return variants


def measure(says: dict[Variant, Callable[[int, str], str]], turns: int) -> dict[Variant, list[Spent]]:
    """Return what turns take, each round in another order, lest one follow the same other; the first thread warms up.

    Raises:
        RuntimeError: An ordinary message was blocked.
    """
    spent: dict[Variant, list[Spent]] = {variant: [] for variant in says}
    chance = random.Random(1)
    for number in range(-WARM_UP, turns):
        for variant in chance.sample(list(says), len(says)):
            start = Spent.so_far()
            answer = says[variant](number // PER_THREAD, SAID[number % len(SAID)])
            took = Spent.so_far().since(start)
            if number >= 0:
                spent[variant].append(took)
            if answer not in REPLIES:
                raise RuntimeError(f"{variant}: an ordinary message was blocked")
    return spent


def lines(turns: int, seconds: float, *, asynchronous: bool) -> list[str]:
    """Return the lines of a table, with a model that takes so many seconds."""
    with measured("memory", BARE, AGAIN, OURS, *stock(), asynchronous=True, seconds=seconds) as (runner, graphs):
        frameworks = {
            "LangChain": {name: langchain_agent(graph) for name, graph in graphs.items()},
            "OpenAI Agents": guarded(openai_agent, seconds),
            "NeMo Guardrails": guarded(nemo_rails, seconds),
        }
        every = {(of, name): talk for of, variants in frameworks.items() for name, talk in variants.items()}
        if asynchronous:
            spent = measure({one: partial(_awaited, runner, talk) for one, talk in every.items()}, turns)
        else:
            spent = measure({one: talk.say for one, talk in every.items()}, turns)
    tables = {of: compared({name: spent[of, name] for name in variants}, BARE) for of, variants in frameworks.items()}
    return [f"| {of} {row}" for of, rows in tables.items() for row in rows]


def _awaited(runner: asyncio.Runner, talk: Talk, thread: int, text: str) -> str:
    async def answered() -> str:
        return await talk.asay(thread, text)

    return runner.run(answered())


def page(turns: int) -> str:
    """Return the page."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    tables = "\n\n".join(
        "\n".join(
            [
                f"## {'Async' if asynchronous else 'Sync'}, a model that {MODELS[seconds]}\n",
                "| framework " + HEADER.replace("\n", "\n|---"),
                *lines(max(round(turns * share), 2), seconds, asynchronous=asynchronous),
            ]
        )
        for seconds, share in SHARES.items()
        for asynchronous in (False, True)
    )
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

{turns} turns of each with a model that answers at once, and fewer with one that does not, interleaved in an order that
changes, in threads of {PER_THREAD} turns, kept in memory (by OpenAI Agents in SQLite in memory).

{tables}
"""


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=150)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = page(options.turns)
    print(text)
    if options.write:
        OUTPUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
