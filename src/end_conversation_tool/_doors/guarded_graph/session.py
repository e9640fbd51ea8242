"""One run of a wrapped graph: what the gate knows of it, and the callbacks by which it watches.

The wrapped graph is not changed. Three things happen while it runs:

1. When a model's reply asks for the end, the gate rules at once, before any tool of that reply starts.
2. When the end is *honoured*, the run leaves the wrapped graph: after the step in which the reply was made, or, where a
   tool or a model is about to start within that step, by LangGraph's own ``ParentCommand``. Neither
   ``end_conversation`` nor its siblings run.
3. When it was *denied*, ``end_conversation`` answers with the codes, its siblings run as usual, and the wrapped graph
   goes on as it would after any tool.

What the wrapped graph said counts as evidence when a model call of this run made it, and it stands in its ``messages``:
nothing that a tool, a memory or another node wrote does. A model that is none of LangChain's is not seen to speak.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from threading import Lock, RLock
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall
from langchain_core.outputs import LLMResult
from langgraph.config import get_config
from langgraph.errors import ParentCommand
from langgraph.types import Command

from end_conversation_tool._core.flow import Flow, arun_flow, run_flow
from end_conversation_tool._core.prompts import denial_text
from end_conversation_tool._core.records import TOOL_NAME, EndRequest
from end_conversation_tool._core.run import Ruling, Run
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._core.vocabulary import UnmetCode
from end_conversation_tool._doors.guarded_graph.state import convert
from end_conversation_tool._doors.langgraph.messages import end_calls_of, newest_first, reply_of, said_messages, with_id
from end_conversation_tool._gate.gate import Gate

__all__ = ["AsyncRule", "HandOffError", "Rule", "Session", "Verdict", "Watch"]

_call_id: ContextVar[str | None] = ContextVar("end_conversation_call_id", default=None)
"""Id of the tool call that is being run, where LangChain knows it."""

_tools: ContextVar[int] = ContextVar("end_conversation_tools", default=0)
"""How many tools are being run here, one within the other."""


_reading: ContextVar[bool] = ContextVar("end_conversation_reading", default=False)
"""Whether the gate rules here: a model that is called then reads for it, and does not speak."""


class HandOffError(ParentCommand):
    """Leaves the wrapped graph: a command for a graph that no graph inside is."""

    def __init__(self) -> None:
        super().__init__(Command(graph="__end_conversation_hand_off__"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the wrapped graph something happens.

    Attributes:
        namespace: LangGraph's checkpoint namespace of the node.
        number: Number of the superstep.
        model: Name of the model, where it is known.
        in_tool: Whether a tool does it.
    """

    namespace: str = ""
    number: Any = None
    model: str | None = None
    in_tool: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None, *, in_tool: bool = False) -> Place:
        """Read the metadata of a callback or of a config."""
        known = metadata or {}
        namespace = str(known.get("langgraph_checkpoint_ns") or known.get("checkpoint_ns") or "")
        return cls(namespace, known.get("langgraph_step"), known.get("ls_model_name"), in_tool)

    @property
    def step(self) -> tuple[str, Any]:
        """The graph instance and its superstep."""
        return self.namespace.rpartition("|")[0], self.number

    def speaks(self, speakers: frozenset[str]) -> bool:
        """Whether the node belongs to the wrapped graph itself, or to a nested agent that is named a speaker."""
        names = [part.partition(":")[0] for part in self.namespace.split("|")]
        return not self.in_tool and all(name in speakers for name in names[1:-1])


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruled reply.

    Attributes:
        reply: The model's message.
        ruling: What became of its request.
        place: Where and when in the wrapped graph it was made.
        late: Whether it was ruled on only in the tool, no model of LangChain having made it.
    """

    reply: AIMessage
    ruling: Ruling
    place: Place
    late: bool = False

    def answers(self, call_id: str | None, place: Place) -> bool:
        """Whether a call that runs at ``place`` is one of this reply's."""
        if any(call["id"] == call_id for call in self.reply.tool_calls if call_id is not None):
            return True
        if self.late:
            return self.place.step == place.step
        here = self.place == Place() or self.place.step[0] == place.step[0]
        return call_id is None and here and bool(end_calls_of(self.reply))


class Session:
    """What the gate knows of one run.

    Args:
        gate: The gate.
        run: The admitted run, after ``hear``.
        messages: The thread's messages when the run began.
        speakers: Names of nested agents that speak with the user themselves, as in a swarm.
    """

    def __init__(self, gate: Gate, run: Run, messages: Sequence[AnyMessage], speakers: frozenset[str]) -> None:
        self.gate, self.run, self.speakers = gate, run, speakers
        self.spoken: set[str] = set()
        self.prompted: list[AnyMessage] = []
        self.values: Mapping[str, Any] = {"messages": list(messages)}
        self.verdicts: list[Verdict] = []
        self.asking = False
        self.known = {message.id for message in messages}
        self.heard = set(self.known)
        self._given = {call["id"] for message in messages for call in getattr(message, "tool_calls", ())}
        self._noted = set(self.known)
        self._late = RLock()

    @property
    def messages(self) -> list[AnyMessage]:
        """The wrapped graph's messages as far as it has come."""
        return convert(self.values.get("messages"))

    @property
    def ended(self) -> Verdict | None:
        """The verdict by which the run leaves the wrapped graph."""
        return next((verdict for verdict in self.verdicts if verdict.ruling.ends_run), None)

    @property
    def question(self) -> Verdict | None:
        """The verdict for which the user is to be asked."""
        return next((verdict for verdict in self.verdicts if verdict.ruling.asks), None)

    @property
    def stops(self) -> bool:
        """Whether nothing more may run inside: the run has ended, or the user is to be asked first."""
        return self.ended is not None or self.question is not None

    def unruled(self) -> list[tuple[AIMessage, Place]]:
        """Return an end-seeking reply no callback told of: a foreign model's, or one from before an interrupt."""
        messages = self.messages
        reply = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
        if reply is None or reply.id in self.known or not (calls := {call.id for call in end_calls_of(reply)}):
            return []
        ruled = {call["id"] for verdict in self.verdicts for call in verdict.reply.tool_calls}
        answered = {getattr(message, "tool_call_id", None) for message in messages}
        return [(reply, Place())] if calls - ruled - answered else []

    def look(self, ask_user: Callable[[Texts], object]) -> Flow[None]:
        """Look at what the last step said: note it, rule on what nobody has ruled on, and have the user asked.

        Args:
            ask_user: Asks the user; called between two steps.
        """
        yield from self._hear()
        for reply, place in self.unruled():
            yield from self.rule(reply, place)
        yield from self.settle(ask_user)

    def _hear(self) -> Flow[None]:
        """Listen to what the last step has put in the user's name, as a node or a tool that asks them does."""
        messages, asking = self.messages, self.gate.asking_tools
        users = {one.id for one in messages if isinstance(one, HumanMessage) or (asking and one.name in asking)}
        if not users - self.heard:
            return
        self.heard |= users
        yield from self.note()
        self.run = yield from self.gate.hear(self.run, newest_first(messages))

    def rule(self, reply: AIMessage, place: Place, *, late: bool = False) -> Flow[None]:
        """Rule on a reply that asks for the end; parallel calls of one step are one request, with one ruling."""
        for verdict in self.verdicts:
            if not late and verdict.place.step == place.step and verdict.place.namespace != place.namespace:
                self.verdicts.append(replace(verdict, reply=reply, place=place))
                return
        self._noted.add(reply.id)
        yield from self.note()
        reading = _reading.set(True)
        try:
            run, ruling = yield from self.gate.rule(self._seen_from(place), reply_of(reply), self.history)
        finally:
            _reading.reset(reading)
        self._keep(run, None if ruling is None else Verdict(reply, ruling, place, late))

    def settle(self, ask_user: Callable[[Texts], object]) -> Flow[None]:
        """Ask the user, where a request waits for that, and rule on it anew."""
        waiting = self.question
        if waiting is None:
            return
        self.asking = True
        answer = ask_user(self.gate.texts)
        self.asking = False
        seen, reading = self._seen_from(waiting.place), _reading.set(True)
        try:
            run, ruling = yield from self.gate.settle(seen, reply_of(waiting.reply), self.history, answer)
        finally:
            _reading.reset(reading)
        self._keep(run, None)
        self.verdicts = [replace(one, ruling=ruling) if one.ruling.asks else one for one in self.verdicts]

    def note(self) -> Flow[None]:
        """Note what a model call made since the run began: nothing that a tool or a node wrote is the model's word."""
        for message in self.messages:
            if isinstance(message, AIMessage) and message.id not in self._noted:
                self._noted.add(message.id)
                reply = reply_of(message)._replace(end_calls=())
                if reply.message.text in self.spoken:
                    self.run, _ = yield from self.gate.rule(self.run, reply, self.history)

    def _keep(self, run: Run, verdict: Verdict | None) -> None:
        self.run = run._replace(context=self.run.context)
        if verdict is not None:
            self.verdicts.append(verdict)

    def history(self) -> Any:
        """All that was said, for the gate; with what a node asked the user for, and has told only its model so far."""
        known = self.messages
        ids = {message.id for message in known}
        return said_messages([*known, *(message for message in self.prompted if message.id not in ids)])

    def answer(self, request: EndRequest) -> str:
        """Return the tool's answer to a call that was not honoured; leave the wrapped graph at one that was."""
        call_id, place = _call_id.get(), _present_place()
        with self._late:
            self.leave_if_ended()
            for verdict in reversed(self.verdicts):
                if verdict.answers(call_id, place):
                    return verdict.ruling.text
            if call_id in self._given:
                return denial_text([UnmetCode.NOT_MAIN_AGENT])  # it came with the input: no model made it in this run
            return self._rule_late(request, call_id, place)

    def _rule_late(self, request: EndRequest, call_id: str | None, place: Place) -> str:
        """Rule on a call of which no callback told, its model being none of LangChain."""
        found = (message for message in reversed(self.messages) if isinstance(message, AIMessage))
        made = next((message for message in found if call_id in [call["id"] for call in message.tool_calls]), None)
        call = ToolCall(name=TOOL_NAME, args=request.model_dump(mode="json"), id=call_id or "", type="tool_call")
        run_flow(self.rule(made or AIMessage("", id="unknown", tool_calls=[call]), place, late=True))
        self.leave_if_ended()
        return self.verdicts[-1].ruling.text

    def _seen_from(self, place: Place) -> Run:
        nested = self.run.context.nested or not place.speaks(self.speakers)
        return self.run._replace(context=self.run.context._replace(nested=nested, model=place.model))

    def leave_if_ended(self) -> None:
        """Leave the wrapped graph if a reply has ended the run, or the user is asked: nothing more is run or said."""
        if self.stops:
            raise HandOffError


_deaf = property(lambda _handler: True)
"""What a handler does not listen to. Told all the same, it would cost each model call a copy of the whole prompt."""


class _Handler(BaseCallbackHandler):
    """Runs where the event happens, and may stop what is going on."""

    raise_error = True
    run_inline = True
    ignore_chain = ignore_retriever = ignore_retry = ignore_custom_event = _deaf


class Watch(_Handler):
    """Knows where each model is called, and lets nothing start once the run has ended. For sync and async runs alike.

    A callback that raises is logged by LangChain, so ``end_conversation`` itself leaves the graph without one.
    """

    ignore_llm = _deaf

    def __init__(self, session: Session) -> None:
        self.session = session
        self.places: dict[UUID, Place] = {}

    def on_chat_model_start(self, *args: Any, run_id: UUID, metadata: Any = None, **_kwargs: Any) -> None:
        """Remember where a model is called; once the run has ended, none is.

        One that is called by a tool speaks for the tool, not with the user.
        """
        self.session.leave_if_ended()
        if _reading.get():
            return
        self.places[run_id] = place = Place.of(metadata, in_tool=_tools.get() > 0)
        if place.speaks(self.session.speakers):
            said = (message for prompt in args[1] for message in prompt)
            self.session.prompted = [message for message in said if isinstance(message, HumanMessage)]

    def on_tool_start(self, serialized: Any, *_args: Any, **kwargs: Any) -> None:
        """Leave the wrapped graph before another tool runs, once the run has ended."""
        if serialized and serialized.get("name") == TOOL_NAME:
            _call_id.set(kwargs.get("tool_call_id"))
        else:
            self.session.leave_if_ended()
        _tools.set(_tools.get() + 1)

    def on_tool_end(self, *_args: Any, **_kwargs: Any) -> None:
        """Note that a tool is done."""
        _tools.set(max(0, _tools.get() - 1))

    on_tool_error = on_tool_end

    def asking(self, response: LLMResult, run_id: UUID) -> tuple[AIMessage, Place] | None:
        """Note what a model said, and return a reply that asks for the end, and where it was made."""
        place = self.places.pop(run_id, None)
        if place is None:  # a reader's own call
            return None
        found = None
        for generations in response.generations:
            for generation in generations:
                message = getattr(generation, "message", None)
                if not isinstance(message, AIMessage):
                    continue
                reply = reply_of(message)
                if place.speaks(self.session.speakers):
                    self.session.spoken.add(reply.message.text)
                if reply.end_calls and found is None:
                    found = with_id(message), place
        return found


class Rule(_Handler):
    """Rules on replies as they come. For sync runs."""

    ignore_chat_model = ignore_agent = _deaf

    def __init__(self, watch: Watch) -> None:
        self._watch, self._session, self._lock = watch, watch.session, Lock()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        """Rule on a reply that asks for the end."""
        if (found := self._watch.asking(response, run_id)) is None:
            return
        with self._lock:
            run_flow(self._session.rule(*found))


class AsyncRule(_Handler, AsyncCallbackHandler):
    """Async twin of ``Rule``."""

    ignore_chat_model = ignore_agent = _deaf

    def __init__(self, watch: Watch) -> None:
        self._watch, self._session, self._lock = watch, watch.session, asyncio.Lock()

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        """Rule on a reply that asks for the end."""
        if (found := self._watch.asking(response, run_id)) is None:
            return
        async with self._lock:
            await arun_flow(self._session.rule(*found))


def _present_place() -> Place:
    """Return where the tool that asks is run."""
    config = get_config()
    namespace = config.get("configurable", {}).get("checkpoint_ns", "")
    return Place.of({"checkpoint_ns": namespace, **config.get("metadata", {})})
