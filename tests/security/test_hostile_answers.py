"""What a person says elsewhere than in a message, to an interrupt or a tool that asks them, is heard when it comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, interrupt

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.records import UnmetCode
from end_conversation_tool.anthropic_sdk import ConversationGuard
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import tool_call
from support.agents import INSULT, Agent, config, ending, said
from support.agents import LADDER as REFUSALS
from support.doors import GRAPHS, graph_behind
from support.keywords import QUICK, KeywordReader, keyword_watch
from support.wire import ABUSE, LADDER, called, end, finished, guard_of
from support.wire import said as sent

RISK = "I want to kill myself"

doors = pytest.mark.parametrize("door", GRAPHS)
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def behind(door: str, registry: InMemorySealRegistry, ask: BaseTool, **options: Any) -> Any:
    """Return a graph behind one of the doors, whose model calls ``ask`` and then says something."""
    replies: list[Any] = [tool_call("ask", {"question": "How are you?"}), "I see.", "Well."]
    guard = {"registry": registry, "policy": QUICK, "reader": KeywordReader(), "watch": keyword_watch(), **options}
    return graph_behind(door, replies, guard, tools=[ask])


def run(graph: Any, given: Any, *, asynchronous: bool = False) -> Any:
    return asyncio.run(graph.ainvoke(given, config())) if asynchronous else graph.invoke(given, config())


@both
@doors
@pytest.mark.parametrize(
    "answer", [RISK, {"decisions": [{"type": "reject", "message": RISK}]}, [RISK]], ids=["text", "decisions", "list"]
)
def test_the_answer_to_an_interrupt_is_heard_before_anything_is_made_of_it(
    door: str, answer: Any, *, asynchronous: bool
) -> None:
    registry, at_risk = InMemorySealRegistry(), []

    @tool
    def ask(question: str) -> str:
        """Ask the user."""
        interrupt(question)
        at_risk.append(registry.status("t").at_risk)
        return "They answered."

    graph = behind(door, registry, ask)
    run(graph, said("hello"), asynchronous=asynchronous)
    assert not registry.status("t").at_risk
    run(graph, Command(resume=answer), asynchronous=asynchronous)
    assert at_risk == [True]
    assert len(registry.status("t").risk_flags) == 1


@doors
def test_an_ordinary_answer_is_no_flag(door: str) -> None:
    registry = InMemorySealRegistry()

    @tool
    def ask(question: str) -> str:
        """Ask the user."""
        return str(interrupt(question))

    graph = behind(door, registry, ask)
    run(graph, said("hello"))
    run(graph, Command(resume={"approved": True, "note": "fine"}))
    assert registry.status("t").risk_flags == ()


@both
@doors
@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_the_result_of_a_tool_that_asks_is_heard_where_the_host_names_it(
    door: str, *, named: bool, asynchronous: bool
) -> None:
    """The same words found by a search are not the user's; a reader sees them when an end is asked for."""
    registry = InMemorySealRegistry()

    @tool
    def ask(question: str) -> str:
        """Ask the user on another screen, or search."""
        return f"{question} {RISK}"

    graph = behind(door, registry, ask, asking_tools=["ask"] if named else [])
    run(graph, said("hello"), asynchronous=asynchronous)
    assert registry.status("t").at_risk is named
    run(graph, said("well"), asynchronous=asynchronous)
    assert len(registry.status("t").risk_flags) == named


@both
@doors
@pytest.mark.parametrize("way", ["text", "command"])
def test_the_result_of_a_tool_that_asks_is_heard_though_the_run_ends_with_it(
    door: str, way: str, *, asynchronous: bool
) -> None:
    """By the next turn something may have summed it up."""
    registry = InMemorySealRegistry()

    @tool(return_direct=True)
    def ask(question: str, runtime: ToolRuntime) -> Any:
        """Ask the user on another screen."""
        if way == "text":
            return f"{question} {RISK}"
        result = ToolMessage(RISK, name="ask", tool_call_id=runtime.tool_call_id)
        return Command(update={"messages": [result]})

    graph = behind(door, registry, ask, asking_tools=["ask"])
    result = run(graph, said("hello"), asynchronous=asynchronous)
    if door == "create_agent":
        assert result["messages"][-1].type == "tool"
    assert registry.status("t").at_risk


@both
@doors
@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_a_result_that_does_not_say_of_which_tool_it_is_may_be_of_one_that_asks(
    door: str, *, named: bool, asynchronous: bool
) -> None:
    """So a client sends what its user has typed into a form of its own; LangChain asks for no name."""
    registry = InMemorySealRegistry()

    @tool
    def ask(question: str) -> str:
        """Ask the user on another screen."""
        return question

    graph = behind(door, registry, ask, asking_tools=["ask"] if named else [])
    asked = tool_call("ask", {"question": "How are you?"}, call_id="form")
    answered = [HumanMessage("hello"), asked, ToolMessage(RISK, tool_call_id="form")]
    run(graph, {"messages": answered}, asynchronous=asynchronous)
    assert registry.status("t").at_risk is named


@both
def test_likewise_where_the_next_step_fails(*, asynchronous: bool) -> None:
    registry = InMemorySealRegistry()

    @tool
    def ask(question: str) -> str:
        """Ask the user on another screen."""
        return f"{question} {RISK}"

    graph = behind("parts", registry, ask, asking_tools=["ask"])
    with pytest.raises(GraphRecursionError):
        run(graph.with_config(recursion_limit=2), said("hello"), asynchronous=asynchronous)
    assert registry.status("t").at_risk


def nested(depth: int, core: Any) -> Any:
    for _ in range(depth):
        core = [core]
    return core


@both
@doors
def test_an_answer_that_is_too_deep_for_langgraph_is_heard_before_it_is_refused(
    door: str, *, asynchronous: bool
) -> None:
    registry = InMemorySealRegistry()

    @tool
    def ask(question: str) -> str:
        """Ask the user."""
        interrupt(question)
        return "They answered."

    answer: Any = RISK
    for _ in range(400):
        answer = [answer]
    graph = behind(door, registry, ask)
    run(graph, said("hello"), asynchronous=asynchronous)
    with pytest.raises(TypeError, match="Recursion limit reached"):  # LangGraph's own, in writing it
        run(graph, Command(resume=answer), asynchronous=asynchronous)
    assert registry.status("t").at_risk


@both
@pytest.mark.parametrize("answer", [["x"] * 20_000, b"a recording", ["fine"]], ids=["wide", "bytes", "ordinary"])
def test_an_answer_that_is_not_read_whole_is_a_doubt(answer: Any, *, asynchronous: bool) -> None:
    @tool
    def ask(question: str) -> str:
        """Ask the user."""
        interrupt(question)
        return "They answered."

    replies = [tool_call("ask", {"question": "How are you?"}), *REFUSALS, ending(), "on we go"]
    agent = Agent(replies, tools=[ask], asynchronous=asynchronous)
    agent.say("hello")
    agent.invoke(Command(resume=answer))
    for _ in REFUSALS:
        agent.say(INSULT)
    (record,) = agent.registry.decisions("t")
    unread = answer != ["fine"]
    assert record.decision.unmet == ((UnmetCode.TRANSCRIPT_INCOMPLETE,) if unread else ())


@both
def test_an_answer_that_becomes_no_message(*, asynchronous: bool) -> None:
    """A node asks, and puts the answer where no reader looks."""
    registry = InMemorySealRegistry()
    builder: Any = StateGraph(MessagesState)
    builder.add_node("form", lambda _state: {"messages": []} if interrupt("How are you?") else None)
    builder.add_edge(START, "form")
    graph = create_guarded_graph(
        builder.compile(),
        checkpointer=SealedSaver(InMemorySaver(), registry),
        registry=registry,
        reader=KeywordReader(),
    )
    run(graph, said("hello"), asynchronous=asynchronous)
    run(graph, Command(resume=RISK), asynchronous=asynchronous)
    assert registry.status("t").at_risk


@both
def test_a_tools_result_in_a_message_of_the_user(*, asynchronous: bool) -> None:
    agent = Agent(["I see."], asynchronous=asynchronous)
    part: dict[str, Any] = {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": RISK}]}
    agent.invoke({"messages": [HumanMessage([part])]})
    assert agent.registry.status("t").at_risk


@pytest.mark.parametrize("name", ["ask", "search"])
@pytest.mark.parametrize("beside", [[], [{"type": "text", "text": "well"}]], ids=["alone", "beside words"])
@pytest.mark.parametrize("content", [RISK, [{"type": "text", "text": RISK}]], ids=["text", "blocks"])
def test_a_tool_that_asks_on_the_wire(name: str, beside: list[Any], content: Any) -> None:
    registry = InMemorySealRegistry()
    chat = guard_of(registry, asking_tools=["ask"]).conversation("c")
    messages: list[Any] = [sent("hello")]
    outcome = chat.before_request(messages).after_response(finished(called(name, "toolu_1")))
    outcome.extend(messages, [{"type": "tool_result", "tool_use_id": "toolu_1", "content": content}])
    messages[-1]["content"] += beside
    assert not registry.status("c").at_risk
    chat.before_request(messages)
    assert registry.status("c").at_risk is (name == "ask")
    chat.before_request(messages)
    assert len(registry.status("c").risk_flags) == (name == "ask")


@pytest.mark.parametrize("kind", ["image", "document"])
def test_a_picture_in_the_result_of_a_tool_is_a_doubt_on_the_wire(kind: str) -> None:
    registry = InMemorySealRegistry()
    chat, messages = guard_of(registry).conversation("c"), list[Any]()
    replies: list[Any] = [*LADDER, called("ask", "toolu_1")]
    for words, reply in zip(ABUSE, replies, strict=True):
        messages.append(sent(words))
        outcome = chat.before_request(messages).after_response(finished(reply))
        outcome.extend(messages)
    part = {"type": kind, "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
    messages[-1]["content"][0]["content"] = [part]
    outcome = chat.before_request(messages).after_response(finished("I will not.", end()))
    assert outcome.decision is not None
    assert outcome.decision.decision.unmet == (UnmetCode.RISK_UNCERTAIN,)


@pytest.mark.parametrize("wrong", ["ask", 7, [7], [""], None])
def test_names_of_tools_that_are_none(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="asking_tools"):
        ConversationGuard(registry=InMemorySealRegistry(), asking_tools=wrong)
