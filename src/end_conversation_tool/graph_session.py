"""One run of a wrapped graph: what the gate knows of it, and the callbacks by which it watches.

The wrapped graph is not changed. Three things happen while it runs:

1. When a model's reply asks for the end, the gate rules at once, before any tool of that reply starts.
2. When a tool or a model is about to start after an *honoured* reply, the run leaves the wrapped graph: neither
   ``end_conversation`` nor its siblings run. The hand-off is LangGraph's own ``ParentCommand``, addressed to nobody
   inside.
3. When the reply was *denied*, ``end_conversation`` answers with the codes, its siblings run as usual, and the wrapped
   graph goes on as it would after any tool.

What the wrapped graph said counts as evidence when it stands in its ``messages`` and was not there when the run began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.outputs import LLMResult
from langgraph.errors import ParentCommand
from langgraph.types import Command

from end_conversation_tool.gate import Gate
from end_conversation_tool.judgement import note_reply
from end_conversation_tool.messages import reply_of, said_messages, with_id
from end_conversation_tool.models import EndRequest
from end_conversation_tool.prompts import denial_text
from end_conversation_tool.tool import TOOL_NAME
from end_conversation_tool.visit import Call, Reply, Ruling, RunContext, Visit
from end_conversation_tool.vocabulary import UnmetCode

__all__ = ["AsyncRule", "Rule", "Session", "Verdict", "Watch", "is_hand_off"]

_HAND_OFF = "end_conversation"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruled reply.

    Attributes:
        reply: The model's message.
        ruling: What became of its request.
        step: Where and when in the wrapped graph it was made.
    """

    reply: AIMessage
    ruling: Ruling
    step: tuple[str, Any]


class Session:
    """What the gate knows of one run.

    Args:
        gate: The gate.
        visit: The admitted run, after ``hear``.
        messages: The thread's messages when the run began.
        speakers: Names of nested agents that speak with the user themselves, as in a swarm.
    """

    def __init__(self, gate: Gate, visit: Visit, messages: Sequence[AnyMessage], speakers: frozenset[str]) -> None:
        self.gate, self.visit, self.speakers = gate, visit, speakers
        self.values: Mapping[str, Any] = {"messages": list(messages)}
        self.verdicts: list[Verdict] = []
        self._seen = {message.id for message in messages}

    @property
    def messages(self) -> list[AnyMessage]:
        """The wrapped graph's messages as far as it has come."""
        return list(self.values.get("messages", ()))

    @property
    def ended(self) -> Verdict | None:
        """The verdict by which the run leaves the wrapped graph."""
        return next((verdict for verdict in self.verdicts if verdict.ruling.ends_run), None)

    def note_replies(self) -> None:
        """Note what was said since the run began and is not noted yet."""
        for message in self.messages:
            if isinstance(message, AIMessage) and message.id not in self._seen:
                self._seen.add(message.id)
                reply = replace(reply_of(message), end_calls=())
                ledger = note_reply(self.gate.detectors, self.visit.ledger, reply)
                self.visit = replace(self.visit, ledger=ledger)

    def prepare(self, reply: AIMessage, place: Place) -> tuple[Visit, Reply]:
        """Return what the gate needs to rule on a reply."""
        self._seen.add(reply.id)
        self.note_replies()
        nested = self.visit.context.nested or not place.speaks(self.speakers)
        context: RunContext = replace(self.visit.context, nested=nested, model=place.model)
        return replace(self.visit, context=context), reply_of(reply)

    def keep(self, reply: AIMessage, place: Place, visit: Visit, ruling: Ruling | None) -> None:
        """Keep what the gate said."""
        self.visit = replace(visit, context=self.visit.context)
        if ruling is not None:
            self.verdicts.append(Verdict(reply, ruling, place.step))

    def decided(self, place: Place) -> bool:
        """Whether another branch of the same step has asked already: parallel calls are one request."""
        return any(verdict.step == place.step for verdict in self.verdicts)

    def history(self) -> Any:
        """All that was said, for the gate."""
        return said_messages(self.messages)

    def answer(self, request: EndRequest) -> str:
        """Return the tool's answer to a call that was not honoured; leave the wrapped graph at one that was."""
        self.leave_if_ended()
        for verdict in reversed(self.verdicts):
            if any(call["name"] == TOOL_NAME for call in verdict.reply.tool_calls):
                return verdict.ruling.text
        # No model of LangChain made this call, so nobody has ruled on it yet.
        arguments = request.model_dump(mode="json")
        reply = Reply(replace(reply_of(AIMessage("")).message, message_id="unknown"), (Call("", TOOL_NAME, arguments),))
        self.visit, ruling = self.gate.rule(self.visit, reply, self.history)
        if ruling is None:
            return denial_text([UnmetCode.INVALID_ARGUMENTS])
        if ruling.seal is not None:
            self.verdicts.append(Verdict(AIMessage("", id="unknown"), ruling, ("", None)))
            raise hand_off()
        return ruling.text

    def leave_if_ended(self) -> None:
        """Leave the wrapped graph if a reply has ended the run: nothing more is run or said (R9)."""
        if self.ended is not None:
            raise hand_off()


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the wrapped graph a model was called.

    Attributes:
        namespace: LangGraph's checkpoint namespace of the calling node.
        step: Number of the superstep.
        model: Name of the model, where it is known.
    """

    namespace: str
    number: Any
    model: str | None

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> Place:
        """Read the callback's metadata."""
        known = metadata or {}
        namespace = str(known.get("langgraph_checkpoint_ns") or known.get("checkpoint_ns") or "")
        return cls(namespace, known.get("langgraph_step"), known.get("ls_model_name"))

    @property
    def step(self) -> tuple[str, Any]:
        """The graph instance and its superstep."""
        return self.namespace.rpartition("|")[0], self.number

    def speaks(self, speakers: frozenset[str]) -> bool:
        """Whether the node belongs to the wrapped graph itself, or to a nested agent that is named a speaker."""
        names = [part.partition(":")[0] for part in self.namespace.split("|")]
        return all(name in speakers for name in names[1:-1])


class Watch(BaseCallbackHandler):
    """Knows where each model is called, and lets nothing start once the run has ended. For sync and async runs alike.

    A callback that raises is logged by LangChain, so ``end_conversation`` itself leaves the graph without one.
    """

    raise_error = True
    run_inline = True

    def __init__(self, session: Session) -> None:
        self.session = session
        self.places: dict[UUID, Place] = {}

    def on_chat_model_start(self, *_args: Any, run_id: UUID, metadata: Any = None, **_kwargs: Any) -> None:
        """Remember where a model is called; once the run has ended, none is."""
        self.session.leave_if_ended()
        self.places[run_id] = Place.of(metadata)

    def on_tool_start(self, serialized: Any, *_args: Any, **_kwargs: Any) -> None:
        """Leave the wrapped graph before another tool runs, once the run has ended."""
        if not serialized or serialized.get("name") != TOOL_NAME:
            self.session.leave_if_ended()

    def asking(self, response: LLMResult, run_id: UUID) -> tuple[AIMessage, Place] | None:
        """Return a reply that asks for the end and was not ruled on, and where it was made."""
        place = self.places.pop(run_id, Place("", None, None))
        for generations in response.generations:
            for generation in generations:
                message = getattr(generation, "message", None)
                if isinstance(message, AIMessage) and reply_of(message).end_calls:
                    return with_id(message), place
        return None


class Rule(BaseCallbackHandler):
    """Rules on replies as they come. For sync runs."""

    raise_error = True
    run_inline = True

    def __init__(self, watch: Watch) -> None:
        self._watch, self._session, self._lock = watch, watch.session, Lock()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        """Rule on a reply that asks for the end."""
        if (found := self._watch.asking(response, run_id)) is None:
            return
        with self._lock:
            if not self._session.decided(found[1]):
                prepared = self._session.prepare(*found)
                self._session.keep(*found, *self._session.gate.rule(*prepared, self._session.history))


class AsyncRule(AsyncCallbackHandler):
    """Async twin of ``Rule``."""

    raise_error = True
    run_inline = True

    def __init__(self, watch: Watch) -> None:
        self._watch, self._session, self._lock = watch, watch.session, asyncio.Lock()

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        """Rule on a reply that asks for the end."""
        if (found := self._watch.asking(response, run_id)) is None:
            return
        async with self._lock:
            if not self._session.decided(found[1]):
                prepared = self._session.prepare(*found)
                self._session.keep(*found, *await self._session.gate.arule(*prepared, self._session.history))


def hand_off() -> ParentCommand:
    """Return what leaves the wrapped graph: a command for a graph that no graph inside is."""
    return ParentCommand(Command(graph=_HAND_OFF))


def is_hand_off(error: ParentCommand) -> bool:
    """Whether the wrapped graph was left by ``hand_off``."""
    command = error.args[0] if error.args else None
    return isinstance(command, Command) and command.graph == _HAND_OFF
