"""A guarded agent and an unguarded graph that understand the same few words, and one way to talk to either.

Words in a user's message tell the scripted model what to do: ``!warn``, ``!end``, ``!tool``, ``!both`` (the tool beside
the end), ``!two`` (two ends). "idiot" is abuse. So ``warn`` and then ``end`` seals a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call, in_one_message, tool_call
from support.keywords import KeywordReader, keyword_watch
from support.savers import Place

__all__ = ["EASY", "END_IT", "WARN", "Chat", "guarded", "naive", "texts_of"]

WARN = "idiot !warn"
END_IT = "idiot !end"

EASY = EndConversationPolicy(name="easy", min_refusals=1, min_redirections=0, require_notice=False)
"""One warning, then abuse: the shortest way to a seal, so that what is tested is the seal."""


ANSWERS: dict[str, Callable[[str], str | AIMessage]] = {
    "!warn": lambda _: "I will not. I may end this chat.",
    "!end": lambda _: end_call(),
    "!both": lambda _: in_one_message(tool_call("note", {"text": "sibling"}), end_call()),
    "!two": lambda _: in_one_message(end_call(), end_call("harmful_requests")),
    "!tool": lambda words: tool_call("note", {"text": words}),
}


def answer(messages: list[BaseMessage]) -> str | AIMessage:
    """Say what the newest user message tells the model to say."""
    if not isinstance(messages[-1], HumanMessage):
        return "done"
    words = str(messages[-1].content)
    made = next((make for mark, make in ANSWERS.items() if mark in words), None)
    return f"heard {words}" if made is None else made(words)


@dataclass
class Chat:
    """A graph, and how to talk to it: through its sync or its async half.

    Attributes:
        graph: The compiled graph.
        twin: Whether the async half is used.
        model_calls: How often the model spoke.
        notes: What the tool wrote down.
    """

    graph: Any
    twin: bool
    model_calls: Callable[[], int]
    notes: list[str] = field(default_factory=list)

    async def run(self, given: Any, thread: str | dict[str, Any], **options: Any) -> Any:
        """Invoke the graph; ``thread`` is an id, or all of ``configurable``."""
        config = options.pop("config", {})
        configurable = {"thread_id": thread} if isinstance(thread, str) else thread
        config = {**config, "configurable": configurable}
        if self.twin:
            return await self.graph.ainvoke(given, config, **options)
        return self.graph.invoke(given, config, **options)

    async def say(self, text: str, thread: str | dict[str, Any] = "t", **options: Any) -> Any:
        """Say something in a thread."""
        return await self.run({"messages": [HumanMessage(text)]}, thread, **options)

    async def seal(self, thread: str = "t", **options: Any) -> Any:
        """Have a thread sealed by the model."""
        await self.say(WARN, thread, **options)
        return await self.say(END_IT, thread, **options)

    async def stream_until(self, node: str, text: str, thread: str = "t") -> None:
        """Say something, and drop the stream as soon as a node has answered, as a client that goes away does."""
        config = {"configurable": {"thread_id": thread}}
        given = {"messages": [HumanMessage(text)]}
        if self.twin:
            stream = self.graph.astream(given, config, stream_mode="updates")
            async for part in stream:
                if node in part:
                    break
            await stream.aclose()
            return
        stream = self.graph.stream(given, config, stream_mode="updates")
        next(part for part in stream if node in part)
        stream.close()

    async def state(self, thread: str | dict[str, Any] = "t") -> Any:
        """Return the state that readers see."""
        config = {"configurable": {"thread_id": thread} if isinstance(thread, str) else thread}
        return await self.graph.aget_state(config) if self.twin else self.graph.get_state(config)

    async def history(self, thread: str = "t") -> list[Any]:
        """Return the states that readers see, newest first."""
        config = {"configurable": {"thread_id": thread}}
        if self.twin:
            return [snapshot async for snapshot in self.graph.aget_state_history(config)]
        return list(self.graph.get_state_history(config))

    async def update(self, values: Any, thread: str | dict[str, Any] = "t", **options: Any) -> Any:
        """Write into the state from outside."""
        config = {"configurable": {"thread_id": thread} if isinstance(thread, str) else thread}
        if self.twin:
            return await self.graph.aupdate_state(config, values, **options)
        return self.graph.update_state(config, values, **options)


def guarded(
    place: Place,
    saver: Any,
    *,
    replies: Any = answer,
    tools: Sequence[Any] = (),
    before: Sequence[AgentMiddleware[Any, Any, Any]] = (),
    middleware: Sequence[AgentMiddleware[Any, Any, Any]] = (),
    **options: Any,
) -> Chat:
    """Return an agent behind the guard."""
    notes: list[str] = []

    @tool
    def note(text: str) -> str:
        """Write something down."""
        notes.append(text)
        return "noted"

    model = ScriptedChatModel(replies)
    create = options.pop("create", {})
    settings = {"policy": EASY, "reader": KeywordReader(), "watch": keyword_watch(), **options}
    guard = EndConversationMiddleware(registry=place.registry, **settings)
    layers = [*before, guard, *middleware]
    graph: Any = create_agent(model, tools=[note, *tools], middleware=layers, checkpointer=saver, **create)
    return Chat(graph, place.twin, lambda: len(model.calls), notes)


class NaiveState(TypedDict, total=False):
    """Messages and a flag."""

    messages: Annotated[list[AnyMessage], add_messages]
    ended: bool


def naive(
    place: Place,
    *,
    replies: Callable[[list[BaseMessage]], str | AIMessage] = answer,
    needs_warning: bool = False,
    **options: Any,
) -> Chat:
    """Return what people build first: a flag in the state, and a route to END while it is set. The control.

    Args:
        place: Where its threads are kept; no guard is in between.
        replies: What the model says.
        needs_warning: Whether an end needs a warning among the assistant's messages in the state.
        options: For ``compile``; ``model_cache`` is the cache policy of the model's node.
    """
    notes: list[str] = []
    calls: list[int] = []

    def model(state: NaiveState) -> NaiveState:
        calls.append(1)
        said = replies(list(state["messages"]))
        return {"messages": [AIMessage(said) if isinstance(said, str) else said]}

    def seal(_: Any) -> NaiveState:
        return {"ended": True}

    def tools(call: Any) -> NaiveState:
        notes.append(call["args"]["text"])
        return {}

    def entry(state: NaiveState) -> str:
        return END if state.get("ended") else "model"

    def onward(state: NaiveState) -> list[Send]:
        said = [message for message in state["messages"] if isinstance(message, AIMessage)]
        permitted = not needs_warning or any("may end this chat" in message.text for message in said)
        nodes = {"note": "tools", **({"end_conversation": "seal"} if permitted else {})}
        return [Send(nodes[call["name"]], call) for call in said[-1].tool_calls if call["name"] in nodes]

    graph: Any = StateGraph(NaiveState)
    graph.add_node("model", model, cache_policy=options.pop("model_cache", None))
    graph.add_node("seal", seal)
    graph.add_node("tools", tools)
    graph.add_conditional_edges(START, entry, ["model", END])
    graph.add_conditional_edges("model", onward, ["tools", "seal"])
    compiled = graph.compile(checkpointer=place.inner, **options)
    return Chat(compiled, place.twin, lambda: len(calls), notes)


def texts_of(snapshot: Any) -> list[str]:
    """Return the texts of all messages that a state shows."""
    return [str(message.content) for message in snapshot.values.get("messages", ())]
