"""A conversation with the gate, without any framework: what a door does, in a few lines, sync or async."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from end_conversation_tool._core.ledger import Ledger
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import UnmetCode
from end_conversation_tool._core.run import Call, Reply, Ruling, RunContext, Visit
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.watch.base import DetectorSuite
from support.keywords import keyword_suite, user

TOOL = "end_conversation"
REFUSE = "I will not do that. Try this instead."
WARN = "I will not do that. Try this instead, or I may end this chat."
ENDING_REFUSAL = "I will not."


def call(category: Any = "abuse", reason: Any = "why", call_id: str = "c") -> Call:
    return Call(call_id, TOOL, {"category": category, "reason": reason})


@dataclass
class Talk:
    """One thread: user messages go in, replies go in, rulings come out. The ledger travels through its dumped form."""

    registry: SealRegistry
    policy: EndConversationPolicy = field(default_factory=EndConversationPolicy)
    detectors: DetectorSuite = field(default_factory=keyword_suite)
    context: RunContext = field(default_factory=lambda: RunContext("t"))
    asynchronous: bool = False
    state: Any = None
    history: list[ObservedMessage] = field(default_factory=list)
    visit: Visit | None = None
    replies: int = 0

    @property
    def gate(self) -> Gate:
        return Gate(policy=self.policy, registry=self.registry, detectors=self.detectors)

    @property
    def ledger(self) -> Ledger:
        assert self.visit is not None
        return self.visit.ledger

    def _do(self, name: str, *args: Any) -> Any:
        method = getattr(self.gate, f"a{name}" if self.asynchronous else name)
        outcome = method(*args)
        return asyncio.run(_awaited(outcome)) if self.asynchronous else outcome

    def says(self, *texts: str) -> Visit:
        """Let the user send one input of several messages."""
        start = len(self.history)
        fresh = [user(text, f"u{start + number}") for number, text in enumerate(texts, start=1)]
        return self.hears(fresh)

    def hears(self, fresh: Sequence[ObservedMessage]) -> Visit:
        visit = self._do("admit", self.context, self.state)
        self.history += fresh
        self.visit = self._do("hear", visit, fresh)
        self.state = self.gate.dump(self.visit)
        assert self.visit is not None
        return self.visit

    def replies_with(self, text: str = "", *calls: Call, refused: bool = False) -> Ruling | None:
        """Let the model answer; a further answer in the same turn is admitted anew, as a door does."""
        self.replies += 1
        message = ObservedMessage("assistant", text, f"a{self.replies}")
        visit = self._do("admit", self.context, self.state)
        reply = Reply(message, calls, refused)
        visit, ruling = self._do("rule", visit, reply, lambda: iter(self.history))
        self.visit = visit
        self.state = self.gate.dump(visit)
        assert ruling is None or isinstance(ruling, Ruling)
        return ruling

    def ends(self, category: str = "abuse", text: str = ENDING_REFUSAL) -> Ruling:
        ruling = self.replies_with(text, call(category))
        assert ruling is not None
        return ruling

    def climbs(self) -> Talk:
        """Go through everything that the default policy needs before the first call."""
        for answer in (REFUSE, REFUSE, WARN):
            self.says("you idiot")
            self.replies_with(answer)
        self.says("you idiot")
        return self

    def asks(self) -> Talk:
        """Let the user ask for the end, be questioned, and say yes."""
        self.says("please end this chat")
        self.replies_with("do you really want that?")
        self.says("yes")
        return self

    def edits(self, number: int, text: str) -> ObservedMessage:
        """Put another text under the id of an earlier user message."""
        self.history[number] = replace(self.history[number], text=text)
        return self.history[number]


async def _awaited(outcome: Coroutine[Any, Any, Any]) -> Any:
    return await outcome


def unmet(ruling: Ruling) -> tuple[UnmetCode, ...]:
    return ruling.record.decision.unmet


def reply_of_calls(*calls: Call) -> Reply:
    return Reply(ObservedMessage("assistant", "", "a"), calls)
