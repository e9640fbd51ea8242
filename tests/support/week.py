"""A week of simulated traffic: many threads, several policies and models, through the real gate into a registry.

What people say and how models answer is scripted with the words of ``keywords``; everything else is the package's own:
the reading's check, the decision, the notice, the seal, feedback, appeals. Time is simulated: the registry's clock is
turned to when a thread speaks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from end_conversation_tool._core.flow import run_flow
from end_conversation_tool._core.messages import ObservedMessage, Role
from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool._core.records import Mode, Outcome
from end_conversation_tool._core.run import Call, Reply, Run, RunContext
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import EndConversationError
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry, operations
from support.keywords import KeywordReader, keyword_watch

__all__ = ["START", "Week", "simulate"]

START = datetime(2026, 3, 2, tzinfo=UTC)
MODELS = ("claude-opus-4-1", "claude-sonnet-4-5", None)
POLICIES = (
    PRESETS["default"],
    PRESETS["single_warning"],
    EndConversationPolicy(name="trial", min_refusals=1, min_redirections=1, mode=Mode.SHADOW),
)
REFUSE = "I will not do that. Try this instead."
WARN = "I will not do that. Try this instead, or I may end this chat."


@dataclass
class Week:
    """What was simulated.

    Attributes:
        threads: Every thread, with the policy's version and the model it had.
        began: When it began.
    """

    threads: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    began: dict[str, datetime] = field(default_factory=dict)


@contextmanager
def clock(now: list[datetime]) -> Iterator[None]:
    """Turn the registry's clock to ``now[0]``."""
    real = vars(operations)["utc_now"]
    vars(operations)["utc_now"] = lambda: now[0]
    try:
        yield
    finally:
        vars(operations)["utc_now"] = real


class Thread:
    """One thread of the traffic."""

    def __init__(self, gate: Gate, context: RunContext, now: list[datetime]) -> None:
        self.gate, self.context, self.now = gate, context, now
        self.state: object = None
        self.history: list[ObservedMessage] = []
        self.outcomes: list[Outcome] = []

    def turn(self, text: str, answer: str, *categories: str) -> None:
        """Let the user speak and the model answer; each category is a call of the tool, in an answer of its own."""
        self.now[0] += timedelta(seconds=20)
        self._say("user", text)
        run = run_flow(self.gate.admit(self.context, self.state))
        for category in categories:
            run = self._answers(run, "I will not.", category)
        if not categories:
            run = self._answers(run, answer, None)
        self.state = self.gate.dump(run)

    def _say(self, role: Role, text: str) -> ObservedMessage:
        message = ObservedMessage(role, text, f"{self.context.thread_id}-{len(self.history)}")
        self.history.append(message)
        return message

    def _answers(self, run: Run, text: str, category: str | None) -> Run:
        run = run_flow(self.gate.hear(run, reversed(self.history)))
        before = tuple(self.history)
        calls = () if category is None else (Call("c", "end_conversation", {"category": category, "reason": "why"}),)
        run, ruling = run_flow(self.gate.rule(run, Reply(self._say("assistant", text), calls), lambda: before))
        if ruling is not None:
            self.outcomes.append(ruling.record.outcome)
            self._say("tool", ruling.text)
            if ruling.closing:
                self._say("assistant", ruling.closing)
        return run


def ordinary(thread: Thread, chance: random.Random) -> None:
    """Somebody asks, and is answered."""
    for _ in range(chance.randint(1, 3)):
        thread.turn("how does this work", "like this")


def abusive(thread: Thread, chance: random.Random) -> None:
    """Somebody insults, is given notice, and goes on; the model asks for the end."""
    for _ in range(chance.randint(3, 5)):
        thread.turn("you idiot", REFUSE)
    thread.turn("you idiot", "", *["abuse"] * chance.randint(1, 2))
    for _ in range(chance.randint(0, 2)):
        thread.turn("you idiot", REFUSE)
    thread.turn("you idiot", "", "abuse")
    if thread.outcomes[-1] is Outcome.WOULD_HAVE_SEALED and chance.random() < 0.5:
        thread.turn("you idiot", "", "abuse")


def repentant(thread: Thread, chance: random.Random) -> None:
    """Somebody insults, is given notice, and changes course."""
    for _ in range(chance.randint(3, 4)):
        thread.turn("you idiot", REFUSE)
    thread.turn("you idiot", "", "abuse")
    thread.turn("sorry", "gladly")
    thread.turn("and now this", "gladly")


def hasty(thread: Thread, chance: random.Random) -> None:
    """The model asks for the end too early."""
    thread.turn("you idiot", "", chance.choice(["abuse", "harmful_requests", "user_request", "nonsense"]))
    thread.turn("hello", "hello")


def leaving(thread: Thread, chance: random.Random) -> None:
    """Somebody wants the end, is asked, and says yes, or does not."""
    thread.turn("please end this chat", "", "user_request")
    thread.turn("yes" if chance.random() < 0.8 else "no", "", "user_request")


def at_risk(thread: Thread, chance: random.Random) -> None:
    """Somebody is at risk; the model asks for the end nevertheless, or speaks of it."""
    thread.turn(chance.choice(["i want to kill myself", "i will hurt them", "so tired"]), "I am here.")
    if chance.random() < 0.4:
        thread.turn("you idiot", WARN)
    thread.turn("you idiot", "", "abuse")


KINDS: tuple[tuple[Callable[[Thread, random.Random], None], int], ...] = (
    (ordinary, 80), (abusive, 6), (repentant, 4), (hasty, 4), (leaving, 3), (at_risk, 3),
)  # fmt: skip


def simulate(registry: InMemorySealRegistry | SqlSealRegistry, count: int, *, seed: int = 1) -> Week:
    """Have ``count`` threads, within a week from ``START``, leave what they leave in a registry."""
    chance, now, week = random.Random(seed), [START], Week()
    gates = [
        Gate(
            policy=policy,
            registry=registry,
            reader=KeywordReader(),
            watch=keyword_watch(),
            clock=lambda: now[0],
            sinks=(),
            count_threads=1.0,
        )
        for policy in POLICIES
    ]
    kinds, weights = zip(*KINDS, strict=True)
    with clock(now):
        for number in range(count):
            gate, model = chance.choice(gates), chance.choice(MODELS)
            thread_id = f"thread-{number}"
            now[0] = START + timedelta(seconds=chance.uniform(0, 6.9 * 86_400))
            week.threads[thread_id] = gate.policy.version, model
            week.began[thread_id] = now[0] + timedelta(seconds=20)
            thread = Thread(gate, RunContext(thread_id, model=model), now)
            chance.choices(kinds, weights)[0](thread, chance)
            _afterwards(registry, thread_id, thread, chance)
    return week


def _afterwards(
    registry: InMemorySealRegistry | SqlSealRegistry, thread_id: str, thread: Thread, chance: random.Random
) -> None:
    """Let the user say what they think of it, and an operator look."""
    if chance.random() < (0.5 if thread.outcomes else 0.02):
        registry.give_feedback(thread_id, rating=chance.randint(1, 5), comment="a comment")
    if Outcome.SEALED not in thread.outcomes or chance.random() > 0.4:
        return
    thread.now[0] += timedelta(minutes=5)
    registry.open_appeal(thread_id, text="an appeal")
    if chance.random() < 0.7:
        upheld = chance.random() < 0.5
        registry.resolve_appeal(thread_id, upheld=upheld, operator="Kim", reason="looked", reopen=upheld)
        if upheld:
            try:
                thread.turn("hello again", "hello again")
            except EndConversationError as error:
                raise AssertionError("a reopened thread takes messages") from error
