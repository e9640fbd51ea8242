"""The whole ending in graphs that nobody built for it: what runs, what is kept, and what a sealed thread takes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypedDict
from unittest.mock import AsyncMock, Mock

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.messages.tool import invalid_tool_call
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.pregel.remote import RemoteGraph

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Category, Outcome, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.errors import InvalidInputError, RegistryError, ThreadSealedError
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import in_one_message, tool_call
from support.agents import (
    INSULT,
    LADDER,
    REFUSE,
    config,
    ending,
    ending_and_search,
    kinds,
    said,
    search_call,
    sqlite_saver,
)
from support.graphs import Guarded, assert_every_call_is_answered, hand_written, strict_saver
from support.keywords import QUICK, KeywordReader, keyword_watch
from support.registries import FlakyRegistry

WHOLE = [*LADDER, ending_and_search(), "after"]
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def agent(model: Any, tools: list[Any]) -> Any:
    return create_agent(model, tools)


graphs = pytest.mark.parametrize("build", [None, agent], ids=["hand-written", "create_agent"])


def assert_ended(guarded: Guarded, result: dict[str, Any]) -> None:
    """Check everything that an honoured end leaves behind."""
    seal = guarded.registry.status("t").seal
    assert seal is not None
    end = result["conversation_end"]
    assert end == guarded.state()["conversation_end"]
    assert (end["ended"], end["category"], end["ended_at"]) == (True, "abuse", seal.sealed_at.isoformat())
    call, honoured, sibling, last = result["messages"][-4:]
    assert [one["id"] for one in call.tool_calls] == ["e2", "s"]
    assert (honoured.tool_call_id, honoured.status) == ("e2", "success")
    assert (sibling.tool_call_id, sibling.status) == ("s", "error")
    assert "was not run" in sibling.text
    assert (last.type, last.tool_calls, last.text) == ("ai", [], end["statement"])
    assert guarded.counter.runs == []
    assert len(guarded.model.calls) == len(LADDER) + 1
    assert "end_conversation_provenance" not in result
    assert_every_call_is_answered(result["messages"])
    assert guarded.state()["messages"] == result["messages"]


@pytest.mark.parametrize("sealed_saver", [False, True], ids=["plain saver", "sealed saver"])
@graphs
@both
def test_the_whole_ending(asynchronous: bool, build: Any, sealed_saver: bool) -> None:  # noqa: FBT001 - both ways
    guarded = Guarded(WHOLE, asynchronous=asynchronous, build=build, sealed_saver=sealed_saver).climb()
    assert_ended(guarded, guarded.say(INSULT))
    with pytest.raises(ThreadSealedError) as caught:
        guarded.say("hello?")
    assert caught.value.conversation_end == guarded.state()["conversation_end"]
    assert len(guarded.model.calls) == len(LADDER) + 1
    assert guarded.say("hello", where=config("other"))["messages"][-1].text == "after"
    assert guarded.decisions() == [Outcome.SEALED]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@both
def test_durability(durability: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    guarded = Guarded(WHOLE, asynchronous=asynchronous, sealed_saver=True).climb(durability=durability)
    assert_ended(guarded, guarded.say(INSULT, durability=durability))
    with pytest.raises(ThreadSealedError):
        guarded.say("hello?", durability=durability)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_on_sqlite(tmp_path: Path, durability: str) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        guarded = Guarded(WHOLE, checkpointer=saver, sealed_saver=True).climb(durability=durability)
        assert_ended(guarded, guarded.say(INSULT, durability=durability))
        with pytest.raises(ThreadSealedError):
            guarded.say("hello?", durability=durability)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_on_async_sqlite(tmp_path: Path, durability: str) -> None:
    async def run() -> None:
        async with sqlite_saver(tmp_path / "threads.db") as saver:
            guarded = Guarded(WHOLE, checkpointer=saver, sealed_saver=True)
            for _ in range(4):
                result = await guarded.graph.ainvoke(said(INSULT), config(), durability=durability)
            assert result["conversation_end"]["ended"]
            assert guarded.counter.runs == []
            with pytest.raises(ThreadSealedError):
                await guarded.graph.ainvoke(said("hello?"), config(), durability=durability)

    asyncio.run(run())


# The notice


@pytest.mark.parametrize("sealed_saver", [False, True], ids=["plain saver", "sealed saver"])
@graphs
@both
def test_notice_first_and_the_end_at_the_second_request(asynchronous: bool, build: Any, sealed_saver: bool) -> None:  # noqa: FBT001 - both ways
    """By the default policy: the notice closes the turn, other words are answered, insults are the end."""
    replies = [REFUSE, REFUSE, REFUSE, ending_and_search(), "glad to help", ending(call_id="e3"), "after"]
    guarded = Guarded(
        replies, asynchronous=asynchronous, build=build, sealed_saver=sealed_saver, policy=EndConversationPolicy()
    ).climb()
    noticed = guarded.say(INSULT)
    call, told, sibling, notice = noticed["messages"][-4:]
    assert [one["id"] for one in call.tool_calls] == ["e2", "s"]
    assert (told.tool_call_id, told.status, "has been given notice" in told.text) == ("e2", "error", True)
    assert (sibling.tool_call_id, sibling.status) == ("s", "error")
    assert (notice.type, notice.tool_calls, notice.text) == ("ai", [], Texts().notice(Category.ABUSE))
    assert guarded.counter.runs == []
    assert noticed.get("conversation_end") is None
    assert guarded.state()["messages"] == noticed["messages"]
    assert guarded.say("sorry, let us go on")["messages"][-1].text == "glad to help"
    ended = guarded.say(INSULT)
    assert ended["messages"][-1].text == ended["conversation_end"]["statement"]
    assert_every_call_is_answered(ended["messages"])
    assert guarded.decisions() == [Outcome.NOTICED, Outcome.SEALED]
    assert [record.turn for record in guarded.registry.decisions("t")] == [4, 6]
    with pytest.raises(ThreadSealedError):
        guarded.say("hello?")


@both
def test_a_user_who_minds_the_notice_is_not_ended(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    replies = [REFUSE, REFUSE, REFUSE, ending(), ending(call_id="e2"), "on we go"]
    guarded = Guarded(replies, asynchronous=asynchronous, policy=EndConversationPolicy()).climb()
    guarded.say(INSULT)
    result = guarded.say("sorry, that was wrong of me")
    assert result["messages"][-1].text == "on we go"
    assert guarded.decisions() == [Outcome.NOTICED, Outcome.DENIED]
    assert UnmetCode.NO_PERSISTENCE in guarded.unmet()[-1]


@both
def test_a_person_at_risk_is_given_no_notice(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    replies = [REFUSE, REFUSE, REFUSE, ending(), "I am here"]
    guarded = Guarded(replies, asynchronous=asynchronous, policy=EndConversationPolicy()).climb()
    result = guarded.say(f"{INSULT} I will kill myself")
    assert result["messages"][-1].text == "I am here"
    assert guarded.decisions() == [Outcome.DENIED]
    assert not guarded.registry.status("t").on_branch(0).notices


@both
def test_a_notice_that_cannot_be_written_is_not_given(asynchronous: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - both ways
    registry = InMemorySealRegistry()
    monkeypatch.setattr(registry, "give_notice", Mock(side_effect=RegistryError("no disk")))
    monkeypatch.setattr(registry, "agive_notice", AsyncMock(side_effect=RegistryError("no disk")))
    guarded = Guarded(
        [REFUSE, REFUSE, REFUSE, ending(), "on we go"],
        registry=registry,
        asynchronous=asynchronous,
        policy=EndConversationPolicy(),
    ).climb()
    result = guarded.say(INSULT)
    assert result["messages"][-1].text == "on we go"
    assert "registry_unavailable" in result["messages"][-2].text
    assert not registry.status("t").on_branch(0).notices


@both
def test_a_user_who_asks_and_confirms(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    guarded = Guarded(
        [ending("", "user_request"), ending("", "user_request")],
        asynchronous=asynchronous,
        policy=EndConversationPolicy(),
    )
    asked = guarded.say("please end this chat")
    assert asked["messages"][-1].text == Texts().notice(Category.USER_REQUEST)
    ended = guarded.say("yes")
    assert ended["conversation_end"]["category"] == "user_request"
    assert "appeal" not in ended["conversation_end"]["options"]


@both
def test_two_calls_in_one_message_are_one_request(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    twice = in_one_message(ending(call_id="x"), ending(call_id="y"))
    guarded = Guarded([*LADDER, twice], asynchronous=asynchronous).climb()
    result = guarded.say(INSULT)
    assert kinds(result["messages"])[-4:] == ["ai", "tool", "tool", "ai"]
    assert [message.status for message in result["messages"][-3:-1]] == ["success", "success"]
    assert guarded.decisions() == [Outcome.SEALED]


def test_nothing_is_logged_at_an_honoured_end(caplog: pytest.LogCaptureFixture) -> None:
    guarded = Guarded(WHOLE, sealed_saver=True).climb()
    guarded.say(INSULT)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


# Denials


@graphs
@both
def test_after_a_denial_the_graph_goes_on_and_siblings_run(asynchronous: bool, build: Any) -> None:  # noqa: FBT001 - both ways
    guarded = Guarded([ending_and_search(), "as I was saying"], asynchronous=asynchronous, build=build)
    result = guarded.say("hello")
    assert kinds(result["messages"]) == ["human", "ai", "tool", "tool", "ai"]
    assert guarded.counter.runs == ["q"]
    by_call = {message.tool_call_id: message for message in result["messages"] if message.type == "tool"}
    assert by_call["s"].text == "found q"
    assert by_call["e2"].status == "error"
    assert "too_few_refusals" in by_call["e2"].text
    assert result.get("conversation_end") is None


@both
def test_a_person_at_risk_is_not_cut_off(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    guarded = Guarded([*LADDER, ending(), "I am here"], asynchronous=asynchronous).climb()
    assert guarded.say(f"{INSULT} I will kill myself")["messages"][-1].text == "I am here"
    assert UnmetCode.RISK_FLAGGED in guarded.unmet()[0]
    assert guarded.registry.status("t").risk_flags


@both
def test_too_many_requests_end_the_run_with_an_answer(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    guarded = Guarded(lambda _: ending_and_search(), asynchronous=asynchronous)
    result = guarded.say("hello")
    assert len(guarded.model.calls) == 4
    assert guarded.counter.runs == ["q", "q", "q"]
    assert_every_call_is_answered(result["messages"])
    last = result["messages"][-1]
    assert (last.type, last.tool_calls, bool(last.text)) == ("ai", [], True)
    assert last.text == Texts().still_here
    again = guarded.say("hello")
    assert len(again["messages"]) == 2 * len(result["messages"])
    assert UnmetCode.TRANSCRIPT_INCOMPLETE not in guarded.unmet()[-1]


def test_arguments_that_are_no_json_are_recorded() -> None:
    broken = AIMessage("", invalid_tool_calls=[invalid_tool_call(name="end_conversation", args="{", id="i", error="x")])
    guarded = Guarded([broken, "sorry"])
    guarded.say("hello")
    assert guarded.unmet()[0][0] is UnmetCode.INVALID_ARGUMENTS


def test_malformed_arguments_go_back_with_the_code() -> None:
    guarded = Guarded([tool_call("end_conversation", {"category": "boredom"}), "sorry"])
    result = guarded.say("hello")
    assert "invalid_arguments" in result["messages"][2].text
    assert guarded.unmet()[0][0] is UnmetCode.INVALID_ARGUMENTS


def test_shadow_decides_and_seals_nothing() -> None:
    replies = [REFUSE, REFUSE, REFUSE, ending(), "on we go", ending(call_id="e2"), "and on", "hello"]
    guarded = Guarded(replies, policy=EndConversationPolicy(mode="shadow")).climb()
    assert guarded.say(INSULT)["messages"][-1].text == "on we go"
    result = guarded.say(INSULT)
    assert result["messages"][-1].text == "and on"
    assert Texts().notice(Category.ABUSE) not in [message.text for message in result["messages"]]
    assert guarded.decisions() == [Outcome.WOULD_HAVE_NOTICED, Outcome.WOULD_HAVE_SEALED]
    assert guarded.say("hello")["messages"][-1].text == "hello"
    assert not guarded.registry.status("t").sealed


def test_the_allow_list_names_the_calling_model() -> None:
    policy = EndConversationPolicy(models=frozenset({"other"}), require_notice=False)
    guarded = Guarded([*LADDER, ending(), "on we go"], policy=policy).climb()
    guarded.say(INSULT)
    assert guarded.unmet() == [(UnmetCode.MODEL_NOT_ENABLED,)]


@pytest.mark.parametrize("failing", ["status", "flag_risk", "seal", "record_decision"])
@both
def test_a_registry_that_fails(failing: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    registry = FlakyRegistry()
    guarded = Guarded([*LADDER, ending(), "on we go"], registry=registry, asynchronous=asynchronous).climb()
    registry.failing.add(failing)
    if failing == "status":
        with pytest.raises(RegistryError):
            guarded.say(INSULT)
        assert len(guarded.model.calls) == len(LADDER)
    else:
        text = INSULT if failing == "seal" else f"{INSULT} I will kill myself"
        result = guarded.say(text)
        assert result["messages"][-1].text == "on we go"
        assert ("registry_unavailable" in result["messages"][-2].text) is (failing != "flag_risk")
    registry.failing.clear()
    assert not registry.status("t").sealed


def test_a_run_without_a_thread_cannot_end() -> None:
    inner = hand_written([ending(), "on we go"], Guarded([]).inner.nodes["tools"].bound.tools_by_name.values())
    guarded = create_guarded_graph(
        inner, registry=InMemorySealRegistry(), reader=KeywordReader(), watch=keyword_watch()
    )
    text = guarded.invoke(said("hello"))["messages"][2].text
    assert "no_thread_id" in text
    assert "no_checkpointer" in text


# A sealed thread


@pytest.mark.parametrize("sealed_saver", [False, True], ids=["plain saver", "sealed saver"])
@both
def test_respond_keeps_nothing_of_what_comes_after(asynchronous: bool, sealed_saver: bool) -> None:  # noqa: FBT001 - both ways
    registry = InMemorySealRegistry()
    saver: Any = SealedSaver(strict_saver(), registry, on_sealed="discard") if sealed_saver else strict_saver()
    options: dict[str, Any] = {"registry": registry, "checkpointer": saver, "on_sealed": "respond"}
    guarded = Guarded(WHOLE, asynchronous=asynchronous, **options).climb()
    guarded.say(INSULT)
    before = guarded.state()
    result = guarded.say("hello?", "anybody?")
    assert result["conversation_end"] == before["conversation_end"]
    assert result["messages"] == before["messages"]
    assert guarded.state() == before
    assert len(guarded.model.calls) == len(LADDER) + 1


# Mistakes


def test_mistakes_are_told_once_with_their_cure(caplog: pytest.LogCaptureFixture) -> None:
    guarded = Guarded(["hello", "hello"])
    for _ in range(2):
        guarded.say("hi")
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "SealedSaver(saver, registry)" in told


def test_saver_and_graph_with_different_registries_are_an_error() -> None:
    saver = SealedSaver(strict_saver(), InMemorySealRegistry())
    guarded = Guarded(["hello"], checkpointer=saver)
    with pytest.raises(InvalidInputError, match="another registry"):
        guarded.say("hi")


# Construction


class NoMessages(TypedDict):
    text: str


def without_messages() -> Any:
    builder = StateGraph(NoMessages)
    builder.add_node("a", lambda _state: {"text": "x"})
    builder.add_edge(START, "a")
    builder.add_edge("a", END)
    return builder.compile()


@entrypoint()
def functional(given: str) -> str:
    return given


@pytest.mark.parametrize(
    ("agent", "said_so"),
    [
        (RemoteGraph("agent", url="http://localhost:1"), "guard it where it runs"),
        (functional, "expected a compiled StateGraph, got Pregel"),
        (StateGraph(NoMessages), "expected a compiled StateGraph, got StateGraph"),
        (without_messages(), "expected a graph with a 'messages' channel"),
        (None, "got NoneType"),
    ],
    ids=["remote", "functional", "builder", "no messages", "nothing"],
)
def test_what_cannot_be_wrapped(agent: Any, said_so: str) -> None:
    with pytest.raises(InvalidInputError, match=said_so):
        create_guarded_graph(agent, registry=InMemorySealRegistry(), reader=KeywordReader())


@pytest.mark.parametrize(
    ("options", "said_so"),
    [
        ({"on_sealed": "ignore"}, "on_sealed: expected 'raise' or 'respond', got 'ignore'"),
        ({"registry": "sqlite://"}, "registry: expected a SealRegistry, got str: make one with SqlSealRegistry(...)"),
        ({"reader": None}, "reader: expected a Reader, such as ModelReader(model), got NoneType"),
        ({"reader": "claude"}, "reader: expected a Reader, such as ModelReader(model), got str"),
        ({"policy": "strict"}, "reader: the policy 'strict' wants 2 readers, got 1"),
        ({"policy": "kind"}, "preset: expected one of"),
        ({"breaker": 5}, "breaker: expected None or a CircuitBreaker, got 5"),
        ({"watch": 5}, "watch: expected an instance of RiskWatch, got 5"),
        ({"mode": "loud"}, "mode"),
    ],
)
def test_bad_options(options: dict[str, Any], said_so: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        create_guarded_graph(
            hand_written([], [Guarded([]).counter.tool()]),
            **{"registry": InMemorySealRegistry(), "reader": KeywordReader(), **options},
        )
    assert said_so in str(caught.value)


def test_a_graph_takes_one_guard() -> None:
    registry = InMemorySealRegistry()
    with_middleware = create_agent(Guarded([]).model, [], middleware=[EndConversationMiddleware(registry=registry)])
    for guarded in (with_middleware, Guarded([]).graph):
        with pytest.raises(InvalidInputError, match="guarded already"):
            create_guarded_graph(guarded, registry=registry, reader=KeywordReader())


def test_a_node_and_a_channel_may_have_our_nodes_name() -> None:
    class State(TypedDict):
        messages: list[Any]
        agent: str

    def node(state: State) -> dict[str, Any]:
        return {"messages": [*state["messages"], AIMessage("hello", id="a")], "agent": "me"}

    builder = StateGraph(State)
    builder.add_node("end_conversation", node)
    builder.add_edge(START, "end_conversation")
    guarded = create_guarded_graph(
        builder.compile(), registry=InMemorySealRegistry(), checkpointer=strict_saver(), reader=KeywordReader()
    )
    assert guarded.invoke(said("hi"), config())["agent"] == "me"
    named = Guarded(WHOLE, inner={"model_name": "end_conversation"}).climb()
    assert_ended(named, named.say(INSULT))
    same = Guarded(WHOLE, inner={"model_name": "agent"}).climb()
    assert_ended(same, same.say(INSULT))


def test_the_saver_of_the_graph_is_used_when_none_is_given() -> None:
    registry = InMemorySealRegistry()
    inner = Guarded(WHOLE, inner={"checkpointer": SealedSaver(strict_saver(), registry)}, registry=registry).inner
    guarded = create_guarded_graph(
        inner, registry=registry, reader=KeywordReader(), watch=keyword_watch(), policy=QUICK
    )
    for _ in range(4):
        result = guarded.invoke(said(INSULT), config())
    assert result["conversation_end"]["ended"]
    with pytest.raises(ThreadSealedError):
        guarded.invoke(said("hello?"), config())


def test_the_wrapped_graph_is_not_changed() -> None:
    guarded = Guarded(WHOLE, guarded=False)
    inner = guarded.inner
    before = (dict(inner.nodes), dict(inner.channels), inner.get_input_jsonschema(), inner.get_graph().draw_mermaid())
    schemas = (inner.builder.input_schema, inner.builder.output_schema, dict(inner.builder.schemas))
    builder = dict(vars(inner.builder))
    create_guarded_graph(inner, registry=InMemorySealRegistry(), reader=KeywordReader())
    assert before == (
        dict(inner.nodes), dict(inner.channels), inner.get_input_jsonschema(), inner.get_graph().draw_mermaid()
    )  # fmt: skip
    assert schemas == (inner.builder.input_schema, inner.builder.output_schema, dict(inner.builder.schemas))
    assert builder == vars(inner.builder)


# What it costs


@graphs
@both
def test_one_superstep_more_than_the_bare_graph(asynchronous: bool, build: Any) -> None:  # noqa: FBT001 - both ways
    steps = []
    for is_guarded in (True, False):
        guarded = Guarded([search_call(), "found", "more"], asynchronous=asynchronous, build=build, guarded=is_guarded)
        counts = []
        for turn in ("hi", "and?"):
            parts = guarded.stream(said(turn), stream_mode="tasks", subgraphs=True)
            counts.append(sum("result" in part[-1] for part in parts))
        steps.append((counts, len(guarded.model.calls), guarded.counter.runs, kinds(guarded.state()["messages"])))
    (with_guard, *rest), (bare, *bare_rest) = steps
    assert rest == bare_rest
    assert [count - 1 for count in with_guard] == bare


def test_a_call_of_another_tool_costs_no_decision() -> None:
    guarded = Guarded([tool_call("search", {"query": "x"}), "done"])
    guarded.say("hello")
    assert guarded.counter.runs == ["x"]
    assert guarded.registry.decisions("t") == ()


def test_copies_are_guarded_too() -> None:
    guarded = Guarded(WHOLE).climb()
    copied = guarded.graph.with_config({"tags": ["copy"]})
    assert type(copied) is type(guarded.graph)
    assert_ended(guarded, copied.invoke(said(INSULT), config()))
