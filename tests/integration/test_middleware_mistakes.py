"""Mistakes of a set-up are told once, with their cure; what a client sees of a run is what is meant for it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware, LLMToolSelectorMiddleware, ModelFallbackMiddleware
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Outcome, UnmetCode
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.middleware import EndConversationMiddleware, hide_private_state
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from end_conversation_tool.testing import ScriptedChatModel
from support.agents import INSULT, LADDER, Agent, config, ending, said

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Any:
    """What was logged as a warning, as texts."""
    caplog.set_level(logging.WARNING, logger="end_conversation_tool")
    return lambda: [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("checkpointer", "where", "cure"),
    [
        (False, {"configurable": {}}, "compile it with checkpointer=SealedSaver(saver, registry)"),
        (False, config(), "compile it with checkpointer=SealedSaver(saver, registry)"),
        (None, config(), "wrap it: checkpointer=SealedSaver(saver, registry)"),
    ],
    ids=["neither", "no checkpointer", "plain saver"],
)
@both
def test_what_is_missing_is_told_once(
    asynchronous: bool,  # noqa: FBT001 - both ways
    checkpointer: Any,
    where: Any,
    cure: str,
    told: Any,
) -> None:
    agent = Agent(lambda _: "hello", checkpointer=checkpointer, asynchronous=asynchronous)
    assert told() == []
    for _ in range(2):
        agent.invoke(said("hi"), where)
    (warning,) = told()
    assert cure in warning


def test_a_run_without_a_thread_id_is_told_of_it(told: Any) -> None:
    """LangGraph itself refuses one with a checkpointer; where a parent brings the saver, only we can tell."""
    agent = Agent(lambda _: "hello", checkpointer=False)
    agent.invoke(said("hi"), {"configurable": {"__pregel_checkpointer": InMemorySaver(), "thread_id": None}})
    assert any("thread_id" in warning for warning in told())


@both
def test_a_sound_set_up_is_told_nothing(asynchronous: bool, told: Any) -> None:  # noqa: FBT001 - both ways
    registry = InMemorySealRegistry()
    saver: Any = SealedSaver(InMemorySaver(), registry)
    agent = Agent(lambda _: "hello", registry=registry, checkpointer=saver, asynchronous=asynchronous)
    agent.say("hi")
    assert told() == []


@both
def test_saver_and_middleware_with_different_registries_are_an_error(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    saver: Any = SealedSaver(InMemorySaver(), InMemorySealRegistry())
    agent = Agent(["hello"], checkpointer=saver, asynchronous=asynchronous)
    with pytest.raises(InvalidInputError, match="registry: the SealedSaver of this graph has another registry"):
        agent.say("hi")
    assert agent.model.calls == []


def test_two_openings_of_one_database_are_one_registry(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    with SqlSealRegistry(url) as first, SqlSealRegistry(url) as second:
        saver: Any = SealedSaver(InMemorySaver(), first)
        assert Agent(["hello"], registry=second, checkpointer=saver).say("hi")["messages"][-1].text == "hello"


def test_a_sealed_saver_round_another_is_an_error() -> None:
    registry = InMemorySealRegistry()
    with pytest.raises(InvalidInputError, match="inner: expected a saver that is not guarded yet, got a SealedSaver"):
        SealedSaver(SealedSaver(InMemorySaver(), registry), registry)


@pytest.mark.parametrize(
    ("options", "said_so"),
    [
        ({"breaker": 5}, "breaker: "),
        ({"policy": "strictest"}, "preset: expected one of default"),
        ({"policy": 5}, "policy: expected an EndConversationPolicy, got int"),
        ({"registry": "sqlite:///x.db"}, "registry: expected a SealRegistry, got str: make one with SqlSealRegistry("),
        ({"registry": InMemorySealRegistry}, "got the class InMemorySealRegistry: call it first"),
        ({"policy": {"min_refusals": 2}}, "got dict: make one with EndConversationPolicy.from_mapping(...)"),
        ({"reader": ScriptedChatModel([])}, "expected a Reader, such as ModelReader(model), got ScriptedChatModel"),
        ({"confirmation": True}, "confirmation: unknown option; known: policy, mode,"),
        ({"languages": "de"}, "languages: unknown option; did you mean language?"),
        ({"policy": "strict"}, "reader=AllReaders(first, second)"),
        ({"reader": "claude"}, "expected a Reader, such as ModelReader(model), got str"),
        ({"watch": "offline"}, "watch: expected an instance of RiskWatch, got 'offline'"),
    ],
)
def test_a_bad_option_names_the_right_call(options: dict[str, Any], said_so: str) -> None:
    from end_conversation_tool.errors import EndConversationError  # noqa: PLC0415

    with pytest.raises(EndConversationError) as caught:
        EndConversationMiddleware(**{"registry": InMemorySealRegistry(), **options})
    assert said_so in str(caught.value)


def test_a_preset_goes_by_its_name() -> None:
    agent = Agent([*LADDER, ending(), "on we go"], policy="user_request_only").climb()
    agent.say(INSULT)
    assert UnmetCode.CATEGORY_NOT_ALLOWED in agent.registry.decisions("t")[0].decision.unmet


# A tool that the model is never offered


def selector(**options: Any) -> Any:
    """Return LangChain's selector; its model picks the search alone."""

    class Picking(ScriptedChatModel):
        def with_structured_output(self, schema: Any, **_: Any) -> Any:  # noqa: ARG002 - the name is LangChain's
            from langchain_core.runnables import RunnableLambda  # noqa: PLC0415

            return RunnableLambda(lambda _: {"tools": ["search"]})

    return LLMToolSelectorMiddleware(model=Picking(replies=[]), **options)


def warned_of_hiding(told: Any) -> list[str]:
    return [warning for warning in told() if "always_include=['end_conversation']" in warning]


@both
def test_a_selector_that_hides_the_tool_is_told_of(asynchronous: bool, told: Any) -> None:  # noqa: FBT001 - both ways
    agent = Agent(lambda _: "hello", before=[selector()], asynchronous=asynchronous)
    agent.say("hi")
    agent.say("hi")
    assert [getattr(tool, "name", "") for tool in agent.model.bound_tools] == ["search"]
    assert len(warned_of_hiding(told)) == 1


def test_its_cure_works(told: Any) -> None:
    agent = Agent(lambda _: "hello", before=[selector(always_include=["end_conversation"])])
    agent.say("hi")
    assert {getattr(tool, "name", "") for tool in agent.model.bound_tools} == {"search", "end_conversation"}
    assert warned_of_hiding(told) == []


# Private state


@pytest.mark.parametrize("mode", ["updates", "values", "checkpoints"])
@both
def test_private_state_shows_in_no_stream_of_a_graph_that_hides_it(mode: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*LADDER, ending()], asynchronous=asynchronous).climb()
    agent.graph = hide_private_state(agent.graph)

    async def stream() -> list[Any]:
        return [chunk async for chunk in agent.graph.astream(said(INSULT), config(), stream_mode=mode)]

    chunks = (
        asyncio.run(stream()) if asynchronous else list(agent.graph.stream(said(INSULT), config(), stream_mode=mode))
    )
    for name in ("end_conversation_provenance", "end_conversation_stage", "jump_to"):
        assert name not in str(chunks)
    assert "conversation_end" in str(chunks)
    assert set(agent.state()) == {"messages", "conversation_end"}
    assert agent.registry.status("t").sealed  # what is hidden is kept: three turns of it have counted


HIDDEN = ["end_conversation_provenance", "end_conversation_stage", "jump_to"]


@pytest.mark.parametrize("hidden", [False, True], ids=["as it is", "hidden"])
@pytest.mark.parametrize("mode", ["messages", "custom"])
def test_streams_for_users_show_nothing_private(mode: Any, hidden: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*LADDER, ending()]).climb()
    graph = hide_private_state(agent.graph) if hidden else agent.graph
    chunks = list(graph.stream(said(INSULT), config(), stream_mode=mode))
    assert chunks
    assert not [name for name in HIDDEN if name in str(chunks)]


@pytest.mark.parametrize("mode", ["tasks", "debug", "events"])
def test_streams_for_developers_show_what_a_node_was_given_and_no_words_in_it(mode: Any) -> None:
    """As the guide says; the provenance in it is all digests and counts."""
    agent = Agent([*LADDER, ending()]).climb()
    graph = hide_private_state(agent.graph)

    async def streamed() -> list[Any]:
        if mode == "events":
            return [event async for event in graph.astream_events(said(INSULT), config(), version="v2")]
        return [chunk async for chunk in graph.astream(said(INSULT), config(), stream_mode=mode)]

    chunks = asyncio.run(streamed())
    assert "end_conversation_provenance" in str(chunks)
    kept = agent.state()["end_conversation_provenance"]
    assert not [word for word in (INSULT, *LADDER) if word in str(kept)]


def test_only_a_compiled_graph_can_hide_it() -> None:
    with pytest.raises(InvalidInputError, match="graph: expected a compiled graph, got str"):
        hide_private_state("graph")  # type: ignore[type-var]


# Who spoke


@pytest.mark.parametrize("place", ["before", "after"])
@both
def test_the_record_names_the_model_that_answered(place: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    def fail(_: Any) -> Any:
        raise ConnectionError("no network")

    other: Any = ScriptedChatModel([*LADDER, ending(), ending()], model_name="fallback")
    policy = EndConversationPolicy(models=frozenset({"fallback"}), require_notice=False)
    layers: Any = {place: [ModelFallbackMiddleware(other)]}
    agent = Agent(fail, policy=policy, asynchronous=asynchronous, **layers).climb()
    agent.say(INSULT)
    (record,) = agent.registry.decisions("t")
    assert (record.outcome, record.model) == (Outcome.SEALED, "fallback")


@both
def test_a_model_that_is_not_enabled_does_not_end_by_answering_for_one_that_is(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    class Routing(AgentMiddleware[Any, Any, Any]):
        """A router within: nobody outside of it sees which model it asks."""

        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(model=routed))

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request.override(model=routed))

    routed = ScriptedChatModel([*LADDER, ending(), "on we go"], model_name="small")
    policy = EndConversationPolicy(models=frozenset({"scripted"}), require_notice=False)
    agent = Agent([], policy=policy, after=[Routing()], asynchronous=asynchronous).climb()
    agent.say(INSULT)
    (record,) = agent.registry.decisions("t")
    assert (record.decision.unmet, record.model) == ((UnmetCode.MODEL_NOT_ENABLED,), "small")
