"""A model node that runs twice in one step: everybody is served, nobody is ended, and both are listened to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send

from end_conversation_tool._core.records import Outcome, UnmetCode
from end_conversation_tool.graph_parts import add_end_conversation
from end_conversation_tool.registry import InMemorySealRegistry
from support.agents import INSULT, LADDER, Agent, ending
from support.graphs import Guarded, Parts, State, speaking, written
from support.keywords import QUICK, KeywordReader, keyword_watch

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def sent(state: Any, *texts: str) -> list[Send]:
    """Send the model node each of the texts as a message more, with the state as it stands."""
    return [Send("model", {**state, "messages": [*state["messages"], HumanMessage(text)]}) for text in texts]


def fanning(route: Callable[[Any], Any]) -> Callable[[Any, list[Any]], Any]:
    """Return how to write a graph of which a turn that says "both" takes another way to the model."""

    def write(model: Any, tools: list[Any]) -> Any:
        builder: Any = StateGraph(State)
        builder.add_node("model", speaking(model, tools))
        builder.add_node("tools", ToolNode(tools))

        def begin(state: Any) -> Any:
            return route(state) if "both" in state["messages"][-1].text else "model"

        builder.add_conditional_edges(START, begin, ["model"])
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        return builder

    return write


TWICE = [
    lambda state: [Send("model", state), Send("model", state)],
    lambda state: [Send("model", state), "model"],
    lambda state: sent(state, "one", "two"),
    lambda state: [Send("model", {"messages": state["messages"]}), Send("model", {"messages": state["messages"]})],
]
twice = pytest.mark.parametrize("route", TWICE, ids=["two sends", "send and edge", "two texts", "messages alone"])


@pytest.mark.parametrize("sealed_saver", [False, True], ids=["plain saver", "sealed saver"])
@twice
@both
def test_a_model_node_that_runs_twice_in_a_step_serves_everybody_and_ends_nothing(
    asynchronous: bool,  # noqa: FBT001 - both ways
    route: Any,
    sealed_saver: bool,  # noqa: FBT001 - both ways
) -> None:
    replies = ["one answer", "one answer", *LADDER, ending(), "still here", "and here"]
    parts = Parts(replies, write=fanning(route), asynchronous=asynchronous, sealed_saver=sealed_saver)
    assert [message.text for message in parts.say("both")["messages"][1:]] == ["one answer", "one answer"]
    assert parts.climb().say(INSULT)["messages"][-1].text == "still here"
    assert parts.say("hello?")["messages"][-1].text == "and here"
    assert parts.decisions() == [Outcome.DENIED]
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in parts.registry.decisions("t")[0].decision.unmet


@twice
@both
def test_neither_of_two_runs_in_a_step_ends_what_the_other_hears(
    asynchronous: bool,  # noqa: FBT001 - both ways
    route: Any,
) -> None:
    replies = [*LADDER, ending(), ending(), "still here", "still here", "and here"]
    parts = Parts(replies, write=fanning(route), asynchronous=asynchronous).climb()
    assert parts.say(f"{INSULT} both")["messages"][-1].text == "still here"
    assert set(parts.decisions()) == {Outcome.DENIED}
    assert parts.say("hello?")["messages"][-1].text


@pytest.mark.parametrize("texts", [("kill myself", "fine"), ("fine", "kill myself")], ids=["first", "second"])
@both
def test_risk_that_one_of_two_runs_hears_is_flagged(asynchronous: bool, texts: tuple[str, str]) -> None:  # noqa: FBT001 - both ways
    route = fanning(lambda state: sent(state, *texts))
    parts = Parts(["one answer", "one answer", "after"], write=route, asynchronous=asynchronous)
    parts.say("both")
    assert [flag.active for flag in parts.registry.status("t").risk_flags] == [True]
    assert parts.say("well")["messages"][-1].text == "after"


DOORS = {
    "create_agent": (Agent, "model"),
    "guarded graph": (Guarded, "agent"),
    "graph parts": (Parts, "model"),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@both
def test_every_door_takes_two_runs_of_its_node(asynchronous: bool, door: tuple[Any, str]) -> None:  # noqa: FBT001 - both ways
    guard, node = door
    guarded = guard(["hi", "one answer", "one answer", *LADDER, ending(), "still here"], asynchronous=asynchronous)
    messages = guarded.say("hello")["messages"]
    guarded.invoke(Command(goto=[Send(node, {"messages": messages}), Send(node, {"messages": messages})]))
    assert guarded.climb().say(INSULT)["messages"][-1].text == "still here"
    assert [record.outcome for record in guarded.registry.decisions("t")] == [Outcome.DENIED]


@both
def test_guarded_subgraphs_side_by_side_that_share_our_channels(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """Each runs alone in its own graph: only the channels of the outer one see both."""
    registry = InMemorySealRegistry()

    def build(model: Any, tools: list[Any]) -> Any:
        def guarded() -> Any:
            builder = written(model, tools)
            add_end_conversation(
                builder, registry=registry, reader=KeywordReader(), watch=keyword_watch(), policy=QUICK
            )
            return builder

        outer = guarded()
        inner = guarded().compile()
        outer.add_node("left", inner)
        outer.add_node("right", inner)
        outer.edges.discard((START, "model"))
        outer.add_conditional_edges(
            START, lambda state: ["left", "right"] if state["messages"][-1].text == "both" else "model"
        )
        return outer.compile()

    replies = ["one answer", "one answer", *LADDER, ending(), "still here"]
    graph = Guarded(replies, build=build, guarded=False, registry=registry, asynchronous=asynchronous)
    assert [type(message) for message in graph.say("both")["messages"]] == [HumanMessage, AIMessage, AIMessage]
    assert graph.climb().say(INSULT)["messages"][-1].text == "still here"
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in registry.decisions("t")[0].decision.unmet
