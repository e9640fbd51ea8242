"""How much longer is a turn under the rule-only guardrails of other frameworks? Each against its own bare turn.

    python benchmarks/peers.py [--turns 300] [--write]

Runs in an environment of its own, with ``nemoguardrails`` and ``openai-agents`` and without this package (``make
bench-peers``). Every model is scripted; nothing goes over the network. The guardrails look for a few words in a
message: they keep no evidence and no seal, and store nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import time
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
from intervals import HEADER, Row, compared
from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.types import LLMResponse
from texts import SAID, replies

OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "peers.md"
BARE, INPUT, BOTH = "bare", "input guardrail", "input and output guardrails"
FORBIDDEN = re.compile(r"\b(idiot|moron|shut up|kill yourself|build a bomb)\b", re.IGNORECASE)
INSULT = "You are a moron."
PER_THREAD = 10

Say = Callable[[int, str], Awaitable[bool]]
"""Say a text in a thread; whether it was answered, and not blocked."""


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

    async def say(thread: int, text: str) -> bool:
        if thread not in sessions:
            sessions[thread] = SQLiteSession(str(thread))
        try:
            return bool((await Runner.run(agent, text, session=sessions[thread])).final_output)
        except InputGuardrailTripwireTriggered:
            return False

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

    async def say(thread: int, text: str) -> bool:
        history = threads.setdefault(thread, [])
        history.append({"role": "user", "content": text})
        answer = await app.generate_async(messages=history)
        history.append(answer)
        return "can't respond" not in answer["content"]

    return say


async def measure(make: Callable[[str], Say], turns: int) -> list[Row]:
    """Return what turns take, interleaved; the first thread warms up.

    Raises:
        RuntimeError: A guardrail does not block, or a bare turn does.
    """
    variants = {kind: make(kind) for kind in (BARE, INPUT, BOTH)}
    for kind, say in variants.items():
        if await say(-2, INSULT) is not (kind == BARE):
            raise RuntimeError(f"{make.__name__}, {kind}: the guardrail does not do what it is there for")
    times: dict[str, list[float]] = {kind: [] for kind in variants}
    for number in range(-PER_THREAD, turns):
        for kind, say in variants.items():
            began = time.perf_counter()
            answered = await say(number // PER_THREAD, SAID[number % len(SAID)])
            if number >= 0:
                times[kind].append(time.perf_counter() - began)
            if not answered:
                raise RuntimeError(f"{make.__name__}, {kind}: an ordinary message was blocked")
    return compared(times, BARE)


def page(turns: int, tables: dict[str, list[Row]]) -> str:
    """Return the page."""
    parts = [f"## {name}\n\n{HEADER}\n" + "\n".join(map(str, rows)) for name, rows in tables.items()]
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {os.cpu_count()} cores."
        f" Written by `make bench-peers`.\n\n{turns} turns of each variant, interleaved, in threads of {PER_THREAD}"
        " in memory, a scripted model, no network. Each ratio is to the same framework's own bare turn, so that what a"
        " framework itself costs is not held against its guardrails. The guardrails look for five phrases by a regular"
        " expression; they keep no evidence and no seal. What this package costs is in [README.md](README.md)."
    )
    return "\n\n".join(["# Rule-only guardrails of other frameworks", about, *parts]) + "\n"


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    tables = {}
    for package, make in (("openai-agents", openai_agent), ("nemoguardrails", nemo_rails)):
        tables[f"{package} {version(package)}"] = asyncio.run(measure(make, options.turns))
    text = page(options.turns, tables)
    print(text)
    if options.write:
        OUTPUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
