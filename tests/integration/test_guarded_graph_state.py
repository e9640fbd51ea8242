"""The state of a wrapped graph passes through unchanged: reducers, private channels, schemas, a rewritten history."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState, ModelCallLimitMiddleware
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.managed import RemainingSteps
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.types import Command, Send
from pydantic import BaseModel

from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ScriptedChatModel
from support.agents import INSULT, LADDER, config, ending, kinds, said, search_call
from support.graphs import Guarded, hand_written, speaking, strict_saver
from support.keywords import KeywordReader, keyword_watch

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def append(old: list[int], new: int | list[int]) -> list[int]:
    return [*old, *new] if isinstance(new, list) else [*old, new]


def keep_largest(old: int, new: int) -> int:
    return max(old, new)


class Rich(MessagesState):
    log: Annotated[list[str], operator.add]
    numbers: Annotated[list[int], append]
    largest: Annotated[int, keep_largest]
    plain: str
    steps: RemainingSteps


class Private(TypedDict):
    secret: str


class Asked(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    question: str


def first(state: Rich) -> dict[str, Any]:
    number = len(state["messages"])
    return {"log": [f"first {number}"], "numbers": number, "largest": -number, "secret": f"s{number}"}


def second(state: Private) -> dict[str, Any]:
    return {"plain": state["secret"], "log": ["second"], "messages": [AIMessage("ok")]}


def rich(**options: Any) -> Any:
    builder = StateGraph(Rich, input_schema=Asked)
    builder.add_node("first", first)
    builder.add_node("second", second, input_schema=Private)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile(**options)


def guard(inner: Any, **options: Any) -> Any:
    options = {"registry": InMemorySealRegistry(), "checkpointer": strict_saver(), **options}
    return create_guarded_graph(inner, reader=KeywordReader(), watch=keyword_watch(), **options)


def run_turns(graph: Any, *turns: Any) -> list[Any]:
    """Return what a caller gets from each turn, and the state after it, without what is named by chance."""
    seen = []
    for turn in turns:
        result = graph.invoke(turn, config())
        state = {key: value for key, value in graph.get_state(config()).values.items() if not key.startswith("end_con")}
        seen += [plain(result), plain(state)]
    return seen


def plain(values: Any) -> Any:
    return {
        key: [(message.type, message.content) for message in value] if key == "messages" else value
        for key, value in dict(values).items()
    }


def test_reducers_private_channels_and_inputs_of_their_own() -> None:
    turns = [{"messages": [HumanMessage(text)], "question": text} for text in ("a", "b", "c")]
    bare, guarded = rich(checkpointer=strict_saver()), guard(rich())
    assert run_turns(bare, *turns) == run_turns(guarded, *turns)
    assert guarded.get_state(config()).values["secret"] == "s5"
    assert guarded.get_state(config()).values["numbers"] == [1, 3, 5]


def test_what_a_caller_may_put_in_is_the_graphs_own_input() -> None:
    forged = {"messages": [HumanMessage("a")], "question": "q", "log": ["forged"], "plain": "forged",
              "end_conversation_provenance": {"v": 1}, "conversation_end": {"ended": True}}  # fmt: skip
    bare, guarded = rich(checkpointer=strict_saver()), guard(rich())
    assert run_turns(bare, forged) == run_turns(guarded, forged)
    assert guarded.get_state(config()).values.get("conversation_end") is None
    assert set(guarded.get_input_jsonschema()["properties"]) == {"messages", "question"}


def test_update_state_reduces_as_the_bare_graph_does() -> None:
    seen = []
    for graph in (rich(checkpointer=strict_saver()), guard(rich())):
        graph.invoke({"messages": [HumanMessage("a")]}, config())
        graph.update_state(config(), {"log": ["by hand"]})
        seen.append(run_turns(graph, {"messages": [HumanMessage("b")]}))
    assert seen[0] == seen[1]


def test_a_thread_count_of_another_middleware_goes_on_between_turns() -> None:
    seen = []
    for guarded in (False, True):
        limit = ModelCallLimitMiddleware(thread_limit=3, exit_behavior="end")
        agent = create_agent(ScriptedChatModel(lambda _: "hello"), [], middleware=[limit])
        graph = guard(agent) if guarded else agent.copy(update={"checkpointer": strict_saver()})
        seen.append(run_turns(graph, *[said("hi")] * 5))
    assert seen[0] == seen[1]
    assert "limit" in seen[1][-1]["messages"][-1][1]


class SummingUp(AgentMiddleware[AgentState[Any], Any, Any]):
    """Rewrites the history as LangChain's own summarization does: all removed, a summary first, the newest kept."""

    def before_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002
        messages = state["messages"]
        if len(messages) < 5:
            return None
        summary = HumanMessage("summary", additional_kwargs={"lc_source": "summarization"})
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), summary, *messages[-2:]]}


def test_a_rewritten_history_keeps_its_order() -> None:
    seen = []
    for guarded in (False, True):
        agent = create_agent(ScriptedChatModel(lambda _: "hello"), [], middleware=[SummingUp()])
        graph = guard(agent) if guarded else agent.copy(update={"checkpointer": strict_saver()})
        seen.append(run_turns(graph, *[said(f"hi {number}") for number in range(5)]))
    assert seen[0] == seen[1]
    assert seen[1][-1]["messages"][0][1] == "summary"


def test_messages_removed_and_changed_inside() -> None:
    def tidy(state: MessagesState) -> dict[str, Any]:
        oldest, *_, newest = state["messages"]
        changed = newest.model_copy(update={"content": f"{newest.content}!"})
        return {"messages": [RemoveMessage(id=str(oldest.id)), changed]}

    def build() -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("model", speaking(ScriptedChatModel(lambda _: "hello")))
        builder.add_node("tidy", tidy)
        builder.add_edge(START, "model")
        builder.add_edge("model", "tidy")
        return builder

    bare, guarded = build().compile(checkpointer=strict_saver()), guard(build().compile())
    turns = [said("a"), said("b"), said("c")]
    assert run_turns(bare, *turns) == run_turns(guarded, *turns)


class PydanticState(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages]
    count: Annotated[int, operator.add] = 0
    name: str = "nobody"


@dataclass
class DataclassState:
    messages: Annotated[list[AnyMessage], add_messages]
    count: Annotated[int, operator.add] = 0
    tags: list[str] = field(default_factory=list)


@pytest.mark.parametrize("schema", [PydanticState, DataclassState])
@both
def test_other_schemas(schema: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    def count(state: Any) -> dict[str, Any]:
        assert isinstance(state, schema)
        return {"count": 1}

    def build(model: Any, _tools: list[Any]) -> Any:
        builder = StateGraph(schema)
        builder.add_node("model", speaking(model))
        builder.add_node("count", count)
        builder.add_edge(START, "model")
        builder.add_edge("model", "count")
        return builder.compile()

    seen = []
    for is_guarded in (False, True):
        graph = Guarded(lambda _: "hello", build=build, asynchronous=asynchronous, guarded=is_guarded)
        results = [plain(graph.say("hi")) for _ in range(3)]
        results.append(plain(graph.invoke(schema(messages=[HumanMessage("typed")]))))
        seen.append(results)
    assert seen[0] == seen[1]
    assert seen[1][-1]["count"] == 4


@pytest.mark.parametrize("schema", [PydanticState, DataclassState])
def test_the_whole_ending_with_other_schemas(schema: Any) -> None:
    def build(model: Any, tools: list[Any]) -> Any:
        builder = StateGraph(schema)
        builder.add_node("model", speaking(model, tools))
        builder.add_node("tools", ToolNode(tools))
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", lambda state: "tools" if state.messages[-1].tool_calls else END)
        builder.add_edge("tools", "model")
        return builder.compile()

    guarded = Guarded([*LADDER, ending()], build=build).climb()
    assert guarded.say(INSULT)["conversation_end"]["ended"]
    with pytest.raises(ThreadSealedError):
        guarded.say("hello?")


class Added(TypedDict):
    messages: Annotated[list[Any], operator.add]


def test_messages_that_are_only_added_up() -> None:
    guarded = Guarded([*LADDER, ending()], inner={"state": Added}).climb()
    result = guarded.say(INSULT)
    assert kinds(result["messages"])[-4:] == ["human", "ai", "tool", "ai"]
    assert len(result["messages"]) == 2 * len(LADDER) + 4
    assert result["conversation_end"]["ended"]
    with pytest.raises(ThreadSealedError):
        guarded.say("hello?")


@pytest.mark.parametrize("given", [("user", INSULT), {"role": "user", "content": INSULT}], ids=["pair", "dict"])
def test_users_who_speak_in_pairs_and_dicts_are_heard(given: Any) -> None:
    guarded = Guarded([*LADDER, ending()], inner={"state": Added})
    for _ in range(4):
        result = guarded.invoke({"messages": [given]})
    assert result["conversation_end"]["ended"]
    at_risk = Guarded(["I am here"], inner={"state": Added})
    at_risk.invoke({"messages": [("user", "I will kill myself")]})
    assert at_risk.registry.status("t").risk_flags


def test_a_channel_that_cannot_be_kept_is_an_error() -> None:
    class WithTopic(MessagesState):
        topic: Annotated[list[str], Topic(str, True)]  # noqa: FBT003 - LangGraph's own

    with pytest.raises(InvalidInputError, match="'topic' is a Topic"):
        guard(hand_written([], Guarded([]).inner.nodes["tools"].bound.tools_by_name.values(), state=WithTopic))


@pytest.mark.parametrize("key", ["conversation_end", "end_conversation_provenance", "end_conversation_mine"])
def test_a_channel_with_a_name_of_ours_is_an_error(key: str) -> None:
    state: Any = TypedDict("state", {"messages": list[Any], key: str})  # type: ignore[misc]
    builder = StateGraph(state)
    builder.add_node("a", lambda _state: {})
    builder.add_edge(START, "a")
    with pytest.raises(InvalidInputError, match=key):
        guard(builder.compile())


@dataclass
class Who:
    name: str


@both
def test_context_store_and_config_reach_the_nodes(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    from langgraph.store.memory import InMemoryStore  # noqa: PLC0415

    seen: list[Any] = []

    def node(state: MessagesState, config: RunnableConfig, runtime: Runtime[Who]) -> dict[str, Any]:  # noqa: ARG001
        seen.append((runtime.context, runtime.store is store, config["configurable"]["mine"], config["tags"]))
        return {"messages": [AIMessage("hello")]}

    builder: Any = StateGraph(MessagesState, context_schema=Who)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    store = InMemoryStore()
    inner = builder.compile(store=store).with_config({"tags": ["bound"]})
    guarded = Guarded([], build=lambda _model, _tools: inner, asynchronous=asynchronous)
    guarded.invoke(said("hi"), config(mine=1), context={"name": "me"})
    guarded.invoke(said("hi"), {**config(mine=1), "tags": ["more"]}, context=Who("me"))
    assert seen[0][:3] == seen[1][:3] == (Who("me"), True, 1)
    assert "bound" in seen[0][3]
    assert {"bound", "more"} <= set(seen[1][3])


def test_the_recursion_limit_that_the_graph_was_bound_to_holds() -> None:
    from langgraph.errors import GraphRecursionError  # noqa: PLC0415

    def build(model: Any, tools: list[Any]) -> Any:
        return hand_written(model, tools).with_config({"recursion_limit": 4})

    with pytest.raises(GraphRecursionError):
        Guarded(lambda _: search_call(), build=build).say("hi")


def test_goto_and_send_inside() -> None:
    def split(_state: MessagesState) -> Command[Any]:
        return Command(goto=[Send("leaf", {"number": number}) for number in (1, 2)], update={"messages": ["splitting"]})

    def leaf(given: Any) -> Command[Any]:
        return Command(update={"messages": [SystemMessage(f"leaf {given['number']}")]}, goto="last")

    def build() -> Any:
        builder: Any = StateGraph(MessagesState)
        builder.add_node("split", split)
        builder.add_node("leaf", leaf)
        builder.add_node("last", lambda _state: {"messages": [AIMessage("done")]})
        builder.add_edge(START, "split")
        return builder

    bare, guarded = build().compile(checkpointer=strict_saver()), guard(build().compile())
    assert run_turns(bare, said("a"), said("b")) == run_turns(guarded, said("a"), said("b"))
