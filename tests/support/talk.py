"""A conversation with the gate, without any framework: what a door does, in a few lines, sync or async."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from end_conversation_tool._core.flow import Flow, arun_flow, run_flow
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.provenance import Provenance
from end_conversation_tool._core.records import UnmetCode
from end_conversation_tool._core.run import Call, Reply, Ruling, Run, RunContext
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.readers import Reader
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.watch import RiskWatch
from support.keywords import QUICK, KeywordReader, keyword_watch, user

TOOL = "end_conversation"
REFUSE = "I will not do that. Try this instead."
WARN = "I will not do that. Try this instead, or I may end this chat."
ENDING_REFUSAL = "I will not."


def call(category: Any = "abuse", reason: Any = "why", call_id: str = "c") -> Call:
    return Call(call_id, TOOL, {"category": category, "reason": reason})


@dataclass
class Talk:
    """One thread: user messages go in, replies go in, rulings come out. What is known travels in its dumped form."""

    registry: SealRegistry
    policy: EndConversationPolicy = QUICK
    reader: Reader = field(default_factory=KeywordReader)
    watch: RiskWatch = field(default_factory=keyword_watch)
    context: RunContext = field(default_factory=lambda: RunContext("t"))
    asynchronous: bool = False
    state: Any = None
    history: list[ObservedMessage] = field(default_factory=list)
    run: Run | None = None
    replies: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def gate(self) -> Gate:
        return Gate(policy=self.policy, registry=self.registry, reader=self.reader, watch=self.watch, **self.options)

    @property
    def known(self) -> Provenance:
        assert self.run is not None
        return self.run.provenance

    def _do(self, flow: Flow[Any]) -> Any:
        return asyncio.run(arun_flow(flow)) if self.asynchronous else run_flow(flow)

    def says(self, *texts: str) -> Run:
        """Let the user send one input of several messages."""
        start = len(self.history)
        fresh = [user(text, f"u{start + number}") for number, text in enumerate(texts, start=1)]
        return self.hears(fresh)

    def hears(self, fresh: Sequence[ObservedMessage]) -> Run:
        run = self._do(self.gate.admit(self.context, self.state))
        self.history += fresh
        self.run = self._do(self.gate.hear(run, reversed(self.history)))
        assert self.run is not None
        self.state = self.gate.dump(self.run)
        return self.run

    def replies_with(self, text: str = "", *calls: Call, refused: bool = False) -> Ruling | None:
        """Let the model answer; a further answer in the same turn is admitted anew, as a door does."""
        self.replies += 1
        message = ObservedMessage("assistant", text, f"a{self.replies}")
        run = self._do(self.gate.admit(self.context, self.state))
        run = self._do(self.gate.hear(run, reversed(self.history)))
        reply = Reply(message, calls, refused)
        run, ruling = self._do(self.gate.rule(run, reply, lambda: tuple(self.history)))
        self.run, self.state = run, self.gate.dump(run)
        self.history.append(message)
        if ruling is not None:
            self.history += [ObservedMessage("tool", ruling.text, f"r{self.replies}.{n}") for n, _ in enumerate(calls)]
            if ruling.closing:
                self.history.append(ObservedMessage("assistant", ruling.closing, f"c{self.replies}"))
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
        """Let the user ask for the end, get the notice where the policy wants one, and say yes."""
        self.says("please end this chat")
        self.ends("user_request", "")
        self.says("yes")
        return self

    def edits(self, number: int, text: str) -> ObservedMessage:
        """Put another text under the id of an earlier user message."""
        self.history[number] = self.history[number]._replace(text=text)
        return self.history[number]


def unmet(ruling: Ruling) -> tuple[UnmetCode, ...]:
    return ruling.record.decision.unmet


def reply_of_calls(*calls: Call) -> Reply:
    return Reply(ObservedMessage("assistant", "", "a"), calls)
