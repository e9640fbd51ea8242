"""Humans in the loop inside a wrapped graph: each way of stopping and going on works, and what is known stays right."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from langgraph.types import Command, interrupt

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Outcome, UnmetCode
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.testing import in_one_message, tool_call
from support.agents import INSULT, LADDER, ending, ending_and_search, kinds, said, search_call
from support.graphs import Guarded, assert_every_call_is_answered, shape

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@tool
def ask(question: str) -> str:
    """Ask a human."""
    return f"they said {interrupt({'question': question})}"


def ask_call(call_id: str = "a") -> AIMessage:
    return tool_call("ask", {"question": "why?"}, call_id=call_id)


def in_a_node(builder: Any) -> None:
    def review(_state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"reviewed: {interrupt('look')}")]}

    builder.add_node("review", review)
    builder.add_edge("model", "review")


@both
def test_an_interrupt_in_a_tool(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    seen = []
    for guarded in (False, True):
        graph = Guarded([ask_call(), "I see"], tools=[ask], guarded=guarded, asynchronous=asynchronous)
        stopped = graph.say("hi")
        assert [one.value for one in stopped["__interrupt__"]] == [{"question": "why?"}]
        waiting = [one.value for one in graph.graph.get_state({"configurable": {"thread_id": "t"}}).interrupts]
        result = graph.invoke(Command(resume="because"))
        seen.append((kinds(stopped["messages"]), waiting, [message.content for message in result["messages"]]))
        assert len(graph.model.calls) == 2
    assert seen[0] == seen[1]
    assert seen[1][2] == ["hi", "", "they said because", "I see"]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("keys", [None, ["messages"], "messages"], ids=str)
@both
def test_an_interrupted_invoke_returns_what_the_bare_graph_returns(keys: Any, version: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    seen = []
    for guarded in (False, True):
        graph = Guarded([ask_call(), "I see", "more"], tools=[ask], guarded=guarded, asynchronous=asynchronous)
        options: Any = {"version": version, "output_keys": keys}
        stopped = graph.say("hi", **options)
        found = [stopped, graph.invoke(Command(resume="because"), **options), graph.say("and?", output_keys=keys)]
        values = [one.value if version == "v2" and hasattr(one, "interrupts") else one for one in found]
        seen.append(shape(values))
    assert seen[0] == seen[1]


@both
def test_an_interrupt_in_a_node(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    graph = Guarded(["hello"], inner={"change": in_a_node}, asynchronous=asynchronous)
    assert graph.say("hi")["__interrupt__"][0].value == "look"
    assert graph.invoke(Command(resume="fine"))["messages"][-1].content == "reviewed: fine"
    assert len(graph.model.calls) == 1


@pytest.mark.parametrize("where", ["compiled", "called"])
@pytest.mark.parametrize("kind", ["interrupt_before", "interrupt_after"])
@both
def test_static_interrupts(where: str, kind: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    names = {kind: ["tools" if kind == "interrupt_before" else "model"]}
    inner, called = (names, {}) if where == "compiled" else ({}, names)
    seen = []
    for guarded in (False, True):
        graph = Guarded([search_call(), "found"], inner=inner, guarded=guarded, asynchronous=asynchronous)
        stopped = graph.say("hi", **called)
        assert graph.counter.runs == []
        result = graph.invoke(None)
        seen.append((kinds(stopped["messages"]), kinds(result["messages"]), graph.counter.runs, len(graph.model.calls)))
    assert seen[0] == seen[1]
    assert seen[1][2] == ["q"]


@pytest.mark.parametrize(
    "decision", [{"type": "approve"}, {"type": "reject", "message": "no"}], ids=["approve", "reject"]
)
@both
def test_human_in_the_loop_middleware(decision: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    def build(model: Any, tools: list[Any]) -> Any:
        return create_agent(model, tools, middleware=[HumanInTheLoopMiddleware({"search": True})])

    seen = []
    for guarded in (False, True):
        graph = Guarded([search_call(), "done"], build=build, guarded=guarded, asynchronous=asynchronous)
        stopped = graph.say("hi")
        assert stopped["__interrupt__"][0].value["action_requests"][0]["name"] == "search"
        result = graph.invoke(Command(resume={"decisions": [decision]}))
        seen.append(([message.content for message in result["messages"]], graph.counter.runs))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("mode", ["values", "updates", "tasks"])
@both
def test_the_stream_of_an_interrupt(mode: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    seen = []
    for guarded in (False, True):
        graph = Guarded([ask_call(), "I see"], tools=[ask], guarded=guarded, asynchronous=asynchronous)
        parts = graph.stream(said("hi"), stream_mode=mode) + graph.stream(Command(resume="x"), stream_mode=mode)
        seen.append([shape(part) for part in parts])
    assert seen[0] == seen[1]


@both
def test_what_is_known_is_right_after_an_interrupt(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """Refusals after an interrupt are what an end needs, and no turn counts twice."""
    refuse, warn = LADDER[0], LADDER[-1]
    replies = [ask_call("a"), refuse, ask_call("b"), refuse, warn, ending()]
    graph = Guarded(replies, tools=[ask], asynchronous=asynchronous)
    for _ in range(2):
        graph.say(INSULT)
        graph.invoke(Command(resume="x"))
    graph.say(INSULT)
    assert graph.say(INSULT)["conversation_end"]["ended"]
    turns = {record.turn for record in graph.registry.decisions("t")}
    assert turns == {4}


@both
def test_what_was_said_before_an_interrupt_is_no_evidence_and_hides_none(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """The run that saw it said was cut off before anything could be kept: nobody can vouch for it afterwards."""
    refuse, warn = LADDER[0], LADDER[-1]
    before = in_one_message(AIMessage(refuse), ask_call())
    graph = Guarded([before, "so", refuse, warn, ending(), "on we go"], tools=[ask], asynchronous=asynchronous)
    graph.say(INSULT)
    graph.invoke(Command(resume="x"))
    for _ in range(3):
        graph.say(INSULT)
    (record,) = graph.registry.decisions("t")
    assert record.decision.unmet == (UnmetCode.TOO_FEW_REFUSALS,)
    assert record.turn == 4


@both
def test_an_honoured_end_stops_for_no_review(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    graph = Guarded(
        [*LADDER, ending_and_search()],
        inner={"interrupt_before": ["tools"]},
        asynchronous=asynchronous,
        sealed_saver=True,
    ).climb()
    result = graph.say(INSULT)
    assert result["conversation_end"]["ended"]
    assert "__interrupt__" not in result
    assert_every_call_is_answered(result["messages"])
    assert graph.counter.runs == []
    with pytest.raises(ThreadSealedError):
        graph.invoke(None)


@both
def test_a_graph_that_stops_after_each_reply_ends_what_the_user_wants_ended(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """Each of its replies was made before an interrupt, so that none of them is evidence against the user."""
    inner = {"interrupt_after": ["model"]}
    abused = Guarded([*LADDER, ending_and_search(), "on we go"], inner=inner, asynchronous=asynchronous)
    for _ in LADDER:
        abused.say(INSULT)
        abused.invoke(None)
    abused.say(INSULT)
    while abused.graph.get_state({"configurable": {"thread_id": "t"}}).next:
        abused.invoke(None)
    assert set(abused.decisions()) == {Outcome.DENIED}
    assert all(UnmetCode.TOO_FEW_REFUSALS in unmet for unmet in abused.unmet())
    calls = [ending("", "user_request"), ending("", "user_request")]
    wanted = Guarded(calls, inner=inner, asynchronous=asynchronous, policy=EndConversationPolicy(), sealed_saver=True)
    wanted.say("please end this chat")
    result = wanted.say("yes")
    assert result["conversation_end"]["ended"]
    assert_every_call_is_answered(result["messages"])
    with pytest.raises(ThreadSealedError):
        wanted.invoke(None)


@both
def test_an_interrupt_beside_a_denied_call(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    both_calls = in_one_message(ending(call_id="e"), ask_call())
    graph = Guarded([both_calls, "I see"], tools=[ask], asynchronous=asynchronous)
    assert graph.say("hi")["__interrupt__"]
    result = graph.invoke(Command(resume="x"))
    assert_every_call_is_answered(result["messages"])
    assert set(graph.decisions()) == {Outcome.DENIED}
    assert result["messages"][-1].text == "I see"


def test_a_new_message_in_place_of_a_resume() -> None:
    graph = Guarded([ask_call(), "hello again"], tools=[ask])
    graph.say("hi")
    assert graph.say("never mind")["messages"][-1].text == "hello again"


def test_a_sealed_thread_cannot_be_resumed() -> None:
    graph = Guarded([ask_call(), "I see"], tools=[ask], sealed_saver=True)
    graph.say("hi")
    other = Guarded([*LADDER, ending()], registry=graph.registry).climb()
    other.say(INSULT)
    with pytest.raises(ThreadSealedError):
        graph.invoke(Command(resume="x"))
    assert len(graph.model.calls) == 1
