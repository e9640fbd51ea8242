"""The parts for hand-written graphs: the whole ending in the user's own nodes, and no superstep more."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.runtime import Runtime
from langgraph.types import CachePolicy, Command, Overwrite, Send
from pydantic import BaseModel

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Category, Outcome, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.errors import InvalidInputError, RegistryError, StaleRunError, ThreadSealedError
from end_conversation_tool.graph_parts import add_end_conversation
from end_conversation_tool.middleware import hide_private_state
from end_conversation_tool.readers import ModelReader
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import in_one_message
from support.agents import INSULT, LADDER, REFUSE, config, ending, ending_and_search, kinds, said, search_call
from support.graphs import Guarded, Parts, State, assert_every_call_is_answered, speaking, strict_saver, written
from support.keywords import QUICK, KeywordReader
from support.registries import FlakyRegistry

WHOLE = [*LADDER, ending_and_search(), "after"]
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def assert_ended(parts: Guarded, result: dict[str, Any]) -> None:
    assert parts.registry.status("t").sealed
    assert result["conversation_end"]["category"] == "abuse"
    assert kinds(result["messages"][-4:]) == ["ai", "tool", "tool", "ai"]
    assert [message.status for message in result["messages"][-3:-1]] == ["success", "error"]
    assert "was not run" in result["messages"][-2].text
    assert result["messages"][-1].text == result["conversation_end"]["statement"]
    assert parts.counter.runs == []
    assert len(parts.model.calls) == len(LADDER) + 1
    assert_every_call_is_answered(result["messages"])


@pytest.mark.parametrize("sealed_saver", [False, True], ids=["plain saver", "sealed saver"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@both
def test_the_whole_ending(asynchronous: bool, durability: str, sealed_saver: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts(WHOLE, asynchronous=asynchronous, sealed_saver=sealed_saver)
    parts.climb(durability=durability)
    assert_ended(parts, parts.say(INSULT, durability=durability))
    with pytest.raises(ThreadSealedError):
        parts.say("hello?", durability=durability)
    assert len(parts.model.calls) == len(LADDER) + 1
    assert parts.say("hello", where=config("other"))["messages"][-1].text == "after"
    assert parts.decisions() == [Outcome.SEALED]


@pytest.mark.parametrize("sealed_saver", [False, True], ids=["plain saver", "sealed saver"])
@both
def test_notice_first_and_the_end_at_the_second_request(asynchronous: bool, sealed_saver: bool) -> None:  # noqa: FBT001 - both ways
    replies = [REFUSE, REFUSE, REFUSE, ending_and_search(), "glad to help", ending(call_id="e3"), "after"]
    parts = Parts(replies, asynchronous=asynchronous, sealed_saver=sealed_saver, policy=EndConversationPolicy()).climb()
    noticed = parts.say(INSULT)
    assert kinds(noticed["messages"][-4:]) == ["ai", "tool", "tool", "ai"]
    assert noticed["messages"][-1].text == Texts().notice(Category.ABUSE)
    assert noticed["messages"][-1].response_metadata == {"end_conversation": "noticed"}
    assert [message.status for message in noticed["messages"][-3:-1]] == ["error", "error"]
    assert parts.counter.runs == []
    assert noticed.get("conversation_end") is None
    assert parts.say("sorry, let us go on")["messages"][-1].text == "glad to help"
    ended = parts.say(INSULT)
    assert ended["messages"][-1].text == ended["conversation_end"]["statement"]
    assert_every_call_is_answered(ended["messages"])
    assert parts.decisions() == [Outcome.NOTICED, Outcome.SEALED]
    assert [record.turn for record in parts.registry.decisions("t")] == [4, 6]
    with pytest.raises(ThreadSealedError):
        parts.say("hello?")


@both
def test_a_user_who_minds_the_notice_is_not_ended(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    replies = [REFUSE, REFUSE, REFUSE, ending(), ending(call_id="e2"), "on we go"]
    parts = Parts(replies, asynchronous=asynchronous, policy=EndConversationPolicy()).climb()
    parts.say(INSULT)
    assert parts.say("sorry, that was wrong of me")["messages"][-1].text == "on we go"
    assert parts.decisions() == [Outcome.NOTICED, Outcome.DENIED]
    assert UnmetCode.NO_PERSISTENCE in parts.unmet()[-1]


@both
def test_a_user_who_asks_and_confirms(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    calls = [ending("", "user_request"), ending("", "user_request")]
    parts = Parts(calls, asynchronous=asynchronous, policy=EndConversationPolicy())
    assert parts.say("please end this chat")["messages"][-1].text == Texts().notice(Category.USER_REQUEST)
    ended = parts.say("yes")
    assert ended["conversation_end"]["category"] == "user_request"
    assert "appeal" not in ended["conversation_end"]["options"]


@both
def test_after_a_denial_the_graph_goes_on_and_siblings_run(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts([ending_and_search(), "as I was saying"], asynchronous=asynchronous)
    result = parts.say("hello")
    assert kinds(result["messages"]) == ["human", "ai", "tool", "tool", "ai"]
    assert parts.counter.runs == ["q"]
    by_call = {message.tool_call_id: message for message in result["messages"] if message.type == "tool"}
    assert "too_few_refusals" in by_call["e2"].text
    assert by_call["e2"].status == "error"


@both
def test_a_person_at_risk_is_not_cut_off(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts([*LADDER, ending(), "I am here"], asynchronous=asynchronous).climb()
    assert parts.say(f"{INSULT} I will kill myself")["messages"][-1].text == "I am here"
    assert UnmetCode.RISK_FLAGGED in parts.unmet()[0]


@both
def test_too_many_requests_end_the_run_with_an_answer(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts(lambda _: ending_and_search(), asynchronous=asynchronous)
    result = parts.say("hello")
    assert len(parts.model.calls) == 4
    assert_every_call_is_answered(result["messages"])
    assert (result["messages"][-1].type, result["messages"][-1].text) == ("ai", Texts().still_here)


def test_two_calls_in_one_message_are_one_request() -> None:
    twice = in_one_message(ending(call_id="x"), ending(call_id="y"))
    parts = Parts([*LADDER, twice]).climb()
    assert [message.status for message in parts.say(INSULT)["messages"][-3:-1]] == ["success", "success"]
    assert parts.decisions() == [Outcome.SEALED]


@both
def test_no_superstep_more(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    steps = []
    for with_parts in (True, False):
        parts = Parts([search_call(), "found", "more"], with_parts=with_parts, asynchronous=asynchronous)
        counts = []
        for turn in ("hi", "and?"):
            parts.say(turn)
            history = [snapshot.metadata["step"] for snapshot in parts.graph.get_state_history(config())]
            counts.append((len(history), max(history)))
        steps.append((counts, len(parts.model.calls), kinds(parts.state()["messages"])))
    assert steps[0] == steps[1]


@both
def test_respond_keeps_nothing_of_what_comes_after(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts(WHOLE, on_sealed="respond", asynchronous=asynchronous).climb()
    parts.say(INSULT)
    before = parts.state()
    result = parts.say("hello?", "anybody?")
    assert result["messages"] == before["messages"]
    assert parts.state() == before
    assert len(parts.model.calls) == len(LADDER) + 1


@pytest.mark.parametrize("failing", ["status", "seal", "record_decision"])
@both
def test_a_registry_that_fails(failing: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    registry = FlakyRegistry()
    parts = Parts([*LADDER, ending(), "on we go"], registry=registry, asynchronous=asynchronous).climb()
    registry.failing.add(failing)
    if failing == "status":
        with pytest.raises(RegistryError):
            parts.say(INSULT)
    else:
        result = parts.say(INSULT if failing == "seal" else f"{INSULT} I will kill myself")
        assert result["messages"][-1].text == "on we go"
        assert "registry_unavailable" in result["messages"][-2].text
    registry.failing.clear()
    assert not registry.status("t").sealed


def test_the_allow_list_names_the_calling_model() -> None:
    policy = EndConversationPolicy(models=frozenset({"other"}), require_notice=False)
    parts = Parts([*LADDER, ending(), "on we go"], policy=policy).climb()
    parts.say(INSULT)
    assert parts.unmet() == [(UnmetCode.MODEL_NOT_ENABLED,)]
    policy = EndConversationPolicy(models=frozenset({"scripted"}), require_notice=False)
    assert Parts([*LADDER, ending()], policy=policy).climb().say(INSULT)["conversation_end"]["ended"]


def test_a_reopened_thread_shows_no_end() -> None:
    parts = Parts(WHOLE, sealed_saver=True).climb()
    parts.say(INSULT)
    parts.registry.reopen("t", operator="operator", reason="appeal")
    result = parts.say("hello")
    assert result["messages"][-1].text == "after"
    assert "conversation_end" not in result


# Nodes as people write them


def as_command(bound: Any) -> Any:
    def node(state: State) -> Command[Literal["tools", "__end__"]]:
        reply = bound.invoke(state["messages"])
        go: Literal["tools", "__end__"] = "tools" if reply.tool_calls else "__end__"
        return Command(update={"messages": reply}, goto=go)

    return node


def with_narrow_input(bound: Any) -> Any:
    def node(state: MessagesState, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        assert set(state) == {"messages"}
        assert runtime.execution_info is not None
        assert config["configurable"]["thread_id"] == "t"
        return {"messages": [bound.invoke(state["messages"])], "log": ["spoke"]}

    return node


def as_several(bound: Any) -> Any:
    def node(state: State) -> list[Any]:
        return [Command(update={"log": ["spoke"]}), {"messages": [bound.invoke(state["messages"])]}]

    return node


def overwriting(bound: Any) -> Any:
    def node(state: State) -> dict[str, Any]:
        return {"messages": Overwrite([*state["messages"], bound.invoke(state["messages"])])}

    return node


def without_ids(bound: Any) -> Any:
    def node(state: State) -> dict[str, Any]:
        return {"messages": [bound.invoke(state["messages"]).model_copy(update={"id": None})]}

    return node


def by_command(model: Any, tools: list[Any]) -> Any:
    builder: Any = StateGraph(State)
    builder.add_node("model", as_command(model.bind_tools(tools)))
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")
    builder.add_edge("tools", "model")
    return builder


def in_a_row(model: Any, tools: list[Any]) -> Any:
    """Return a graph whose model node is left by plain edges."""
    builder: Any = StateGraph(State)
    builder.add_node("model", speaking(model, tools))
    builder.add_node("tools", ToolNode(tools))
    builder.add_node("choose", lambda _state: {"log": ["chose"]})
    builder.add_edge(START, "model")
    builder.add_edge("model", "choose")
    builder.add_conditional_edges("choose", tools_condition)
    builder.add_edge("tools", "model")
    return builder


def by_attribute(model: Any, tools: list[Any]) -> Any:
    """Return a graph whose routes trip over a message that has no tool calls, and have names of their own."""
    builder: Any = StateGraph(State)
    builder.add_node("model", speaking(model, tools))
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")

    def route(state: MessagesState) -> str:
        return "act" if state["messages"][-1].tool_calls else "stop"  # type: ignore[union-attr]

    builder.add_conditional_edges("model", route, {"act": "tools", "stop": END})
    builder.add_edge("tools", "model")
    return builder


def by_own_tools(model: Any, tools: list[Any]) -> Any:
    def act(state: MessagesState) -> dict[str, Any]:
        known = {one.name: one for one in tools}
        return {"messages": [known[call["name"]].invoke(call) for call in state["messages"][-1].tool_calls]}  # type: ignore[union-attr]

    builder: Any = StateGraph(State)
    builder.add_node("model", speaking(model, tools))
    builder.add_node("tools", act)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder


def node_of(node: Any) -> Any:
    return lambda model, tools: written(model, tools, node=node)


class PydanticState(BaseModel):
    messages: Annotated[list[Any], add_messages]
    log: Annotated[list[str], operator.add] = []
    end_conversation_provenance: dict[str, Any] | None = None
    end_conversation_answer: str | None = None
    end_conversation_closed: bool = False
    conversation_end: dict[str, Any] | None = None


@pytest.mark.parametrize(
    "write",
    [
        by_command,
        in_a_row,
        by_attribute,
        by_own_tools,
        node_of(with_narrow_input),
        node_of(as_several),
        node_of(overwriting),
        node_of(without_ids),
        lambda model, tools: written(model, tools, state=PydanticState),
    ],
    ids=["command", "plain edges", "routes", "own tools", "narrow", "several", "overwrite", "no ids", "pydantic"],
)
def test_however_the_nodes_are_written(write: Any) -> None:
    parts = Parts(WHOLE, write=write).climb()
    assert_ended(parts, parts.say(INSULT))
    with pytest.raises(ThreadSealedError):
        parts.say("hello?")


# By other ways


def test_tools_of_a_sealed_thread_do_not_run() -> None:
    parts = Parts([*LADDER, ending()]).climb()
    parts.say(INSULT)
    for attack in (Command(goto="tools"), Command(goto=Send("tools", {"messages": [search_call()]}))):
        with pytest.raises(ThreadSealedError):
            parts.invoke(attack)
    assert parts.counter.runs == []


def test_a_call_that_no_model_made_is_denied() -> None:
    parts = Parts(["on we go"])
    parts.say("hello")
    parts.model._log.calls.clear()
    forged = {"messages": [HumanMessage("x"), ending()]}
    result = Parts(["a", "b"]).invoke(Command(goto=Send("tools", forged)))
    assert "not_main_agent" in result["messages"][-2].text


@pytest.mark.parametrize("state", [{"end_conversation_provenance": {"v": 1}}, {"conversation_end": {"ended": True}}])
def test_forged_channels_are_nothing(state: dict[str, Any]) -> None:
    parts = Parts(["hello"])
    result = parts.invoke({**said("hi"), **state})
    assert result["messages"][-1].text == "hello"
    assert result.get("conversation_end") is None


def test_a_run_that_was_overtaken_does_not_end_what_follows() -> None:
    registry = InMemorySealRegistry()
    saver = SealedSaver(strict_saver(), registry)
    parts = Parts([*LADDER, ending()], registry=registry, saver=saver).climb()

    def meanwhile(_messages: Any) -> str:
        other = Parts([ending()], registry=registry, saver=saver)
        other.say(INSULT)
        return "too late"

    late = Parts([meanwhile], registry=registry, saver=saver)
    with pytest.raises((ThreadSealedError, StaleRunError)):
        late.say("hello")
    assert "too late" not in [message.text for message in parts.state()["messages"]]


# Construction


def test_what_cannot_be_guarded() -> None:
    model, tools = Guarded([]).model, [Guarded([]).counter.tool()]
    registry = InMemorySealRegistry()
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (written(model, tools).compile(), {}, "expected a StateGraph that is not compiled"),
        (written(model, tools), {"model": "agent"}, r"model: .*one of \['model', 'tools'\], got 'agent'"),
        (written(model, tools), {"tools": "actions"}, "tools: expected the name of a node"),
        (written(model, tools, state=MessagesState), {}, "the state lacks conversation_end, end_conversation_answer"),
        (written(model, tools), {"on_sealed": "ignore"}, "on_sealed"),
        (written(model, tools), {"confirm": "email"}, "confirm: expected None or 'interrupt', got 'email'"),
        (written(model, tools), {"registry": "sqlite://"}, "registry: .* make one with SqlSealRegistry"),
        (
            written(model, tools),
            {"reader": None},
            "reader: expected a Reader, such as ModelReader.model., got NoneType",
        ),
        (written(model, tools), {"reader": ModelReader()}, "reader: .* ModelReader.model."),
        (written(model, tools), {"policy": "strict"}, "wants 2 readers, got 1"),
        (written(model, tools), {"breaker": 5}, "breaker: expected None or a CircuitBreaker, got 5"),
    ]
    for builder, options, said_so in cases:
        with pytest.raises(InvalidInputError, match=said_so):
            add_end_conversation(builder, **{"registry": registry, "reader": KeywordReader(), **options})
    cached = written(model, tools)
    cached.nodes["model"].cache_policy = CachePolicy()
    with pytest.raises(InvalidInputError, match="is cached"):
        add_end_conversation(cached, registry=registry, reader=KeywordReader())
    twice = written(model, tools)
    add_end_conversation(twice, registry=registry, reader=KeywordReader())
    with pytest.raises(InvalidInputError, match="guarded already"):
        add_end_conversation(twice, registry=registry, reader=KeywordReader())


def test_a_model_node_that_says_nothing() -> None:
    def silent(_bound: Any) -> Any:
        return lambda _state: None

    parts = Parts([], write=node_of(silent))
    assert kinds(parts.say("I will kill myself")["messages"]) == ["human"]
    assert parts.registry.status("t").risk_flags
    quoting = Parts([], write=node_of(lambda _bound: lambda _state: {"messages": AIMessage("hello")}))
    assert quoting.say("hi")["messages"][-1].text == "hello"


# Nodes before the model, and what they write


def with_node_before(node: Any) -> Any:
    """Return a writer of the usual graph, with a node between the user and the model."""

    def write(model: Any, tools: list[Any]) -> Any:
        builder = written(model, tools)
        builder.add_node("before", node)
        builder.edges.discard((START, "model"))
        builder.add_edge(START, "before")
        builder.add_edge("before", "model")
        return builder

    return write


def logs(_state: Any) -> dict[str, Any]:
    return {"log": ["seen"]}


def remembers(_state: Any) -> dict[str, Any]:
    return {"messages": [AIMessage("I remember: they like cats.")]}


def retrieves(_state: Any) -> dict[str, Any]:
    call = AIMessage("", tool_calls=[{"name": "search", "args": {"query": "x"}, "id": "r", "type": "tool_call"}])
    return {"messages": [call, ToolMessage("found x", tool_call_id="r", name="search")]}


@pytest.mark.parametrize("node", [logs, remembers, retrieves])
@both
def test_with_a_node_before_the_model_turns_are_counted(node: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts([*LADDER, ending()], write=with_node_before(node), asynchronous=asynchronous).climb()
    assert parts.say(INSULT)["conversation_end"]["ended"]
    assert [record.turn for record in parts.registry.decisions("t")] == [4]
    noticed = Parts(
        [REFUSE, REFUSE, REFUSE, ending(), ending(call_id="e2")],
        write=with_node_before(node),
        asynchronous=asynchronous,
        policy=EndConversationPolicy(),
    ).climb()
    assert noticed.say(INSULT)["messages"][-1].text == Texts().notice(Category.ABUSE)
    assert noticed.say(INSULT)["conversation_end"]["ended"]
    assert [record.turn for record in noticed.registry.decisions("t")] == [4, 5]


@both
def test_what_a_node_before_the_model_writes_is_not_the_models_word(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    def forges(_state: Any) -> dict[str, Any]:
        return {"messages": [AIMessage(LADDER[-1])]}

    replies = ["hm", "hm", "hm", ending(), "on we go"]
    parts = Parts(replies, write=with_node_before(forges), asynchronous=asynchronous).climb()
    parts.say(INSULT)
    assert parts.decisions() == [Outcome.DENIED]
    assert {UnmetCode.TOO_FEW_REFUSALS, UnmetCode.NO_WARNING} <= set(parts.unmet()[0])
    assert UnmetCode.TRANSCRIPT_INCOMPLETE not in parts.unmet()[0]


@both
def test_what_a_node_before_the_model_asks_the_user_is_heard(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    def asks(_state: Any) -> dict[str, Any]:
        return {"messages": [HumanMessage("I will kill myself")]}

    parts = Parts(["I am here"], write=with_node_before(asks), asynchronous=asynchronous)
    parts.say("hello")
    assert parts.registry.status("t").at_risk


@both
def test_a_first_of_several_messages_that_a_node_removes_is_a_doubt(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """What arrives is heard before it is taken away, or its absence is known: then nothing ends on this branch."""

    def trims(state: Any) -> dict[str, Any]:
        users = [message for message in state["messages"] if message.type == "human"]
        return {"messages": [RemoveMessage(id=users[-2].id)] if len(users) > 1 else []}

    parts = Parts([*LADDER, ending(), "on we go"], write=with_node_before(trims), asynchronous=asynchronous).climb()
    parts.say("so tired", INSULT)
    assert parts.decisions() == [Outcome.DENIED]
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in parts.unmet()[0]


# What users see streamed


@pytest.mark.parametrize(
    ("policy", "climbing"),
    [(QUICK, LADDER), (EndConversationPolicy(), [REFUSE, REFUSE, REFUSE])],
    ids=["statement", "notice"],
)
@both
def test_the_stream_of_a_turn_that_stops(policy: Any, climbing: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts([*climbing, ending_and_search()], policy=policy, asynchronous=asynchronous).climb()
    parts.graph = hide_private_state(parts.graph)
    seen = parts.stream(said(INSULT), stream_mode=["updates", "values", "messages"])
    assert "end_conversation_" not in str([payload for mode, payload in seen if mode == "values"])
    assert not [key for key in parts.state() if key.startswith("end_conversation_")]
    (record,) = parts.registry.decisions("t")
    closing = record.statement or Texts().notice(Category.ABUSE)
    shown = [payload for mode, payload in seen if mode == "messages"]
    assert [message for message, _ in shown if message.type == "tool"] == []
    printed = "".join(message.text for message, metadata in shown if metadata["langgraph_node"] == "model")
    assert printed == f"I will not.{closing}"
    (update,) = [payload for mode, payload in seen if mode == "updates"]
    assert kinds(update["model"]["messages"]) == ["ai", "tool", "tool", "ai"]
    assert update["model"]["messages"][-1].text == closing
    values = [payload for mode, payload in seen if mode == "values"]
    assert values[-1]["messages"][-1].text == closing


# A user who types on, and mistakes


@both
def test_a_user_who_types_on_instead_of_answering_is_answered(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    given: list[list[Any]] = []

    def reply(messages: list[Any]) -> Any:
        given.append(messages)
        return ending("", "user_request") if len(given) == 1 else "on we go"

    parts = Parts(reply, confirm="interrupt", policy=EndConversationPolicy(), asynchronous=asynchronous)
    assert parts.say("please end this chat")["__interrupt__"]
    result = parts.say("wait, what is 2 + 2?")
    assert kinds(result["messages"]) == ["human", "ai", "tool", "human", "ai"]
    assert_every_call_is_answered(given[1])
    assert_every_call_is_answered(result["messages"])
    assert parts.say("thanks")["messages"][-1].text == "on we go"
    assert_every_call_is_answered(given[-1])
    assert not parts.registry.status("t").sealed


def test_mistakes_are_told_once_with_their_cure(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(["hello", "hello"])
    for _ in range(2):
        parts.say("hi")
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "SealedSaver(saver, registry)" in told


def test_saver_and_parts_with_different_registries_are_an_error() -> None:
    parts = Parts(["hello"], saver=SealedSaver(strict_saver(), InMemorySealRegistry()))
    with pytest.raises(InvalidInputError, match="another registry"):
        parts.say("hi")


@both
def test_an_older_provenance_of_the_same_thread_fits_no_other_history(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    parts = Parts([*LADDER, "hm", ending(), "on we go"], asynchronous=asynchronous).climb()
    older = parts.state()["end_conversation_provenance"]
    parts.say("hello")
    wiped = [RemoveMessage(id=message.id) for message in parts.state()["messages"]]
    parts.invoke({"messages": [*wiped, HumanMessage(INSULT)], "end_conversation_provenance": older})
    assert parts.decisions() == [Outcome.DENIED]
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in parts.unmet()[0]
