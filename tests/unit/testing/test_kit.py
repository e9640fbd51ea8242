"""The kit lets a guarded agent pass, by every door, and catches what is wrong with others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from end_conversation_tool import (
    ClaudeReader,
    EndConversationPolicy,
    InMemorySealRegistry,
    ModelReader,
    OfflineReader,
    RiskWatch,
    SealedSaver,
    create_end_conversation_tool,
)
from end_conversation_tool._core.reading import Reading, ReadingCase
from end_conversation_tool._core.vocabulary import EvidenceKind
from end_conversation_tool.anthropic_sdk import ConversationGuard, TurnOutcome
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.graph_parts import EndConversationChannels, add_end_conversation
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import (
    Manner,
    aassert_ends_when_warranted,
    aassert_never_ends_at_risk,
    anthropic_loop,
    assert_ends_when_warranted,
    assert_never_ends_at_risk,
    kit_scenarios,
    playing_model,
)


def with_middleware(model: BaseChatModel, **options: Any) -> Any:
    registry = InMemorySealRegistry()
    guard = EndConversationMiddleware(registry=registry, **options)
    return create_agent(model, middleware=[guard], checkpointer=SealedSaver(InMemorySaver(), registry))


def with_guarded_graph(model: BaseChatModel) -> Any:
    registry = InMemorySealRegistry()
    inner = create_agent(model, [create_end_conversation_tool()])
    saver = SealedSaver(InMemorySaver(), registry)
    return create_guarded_graph(inner, registry=registry, checkpointer=saver, reader=ModelReader(model))


class State(MessagesState, EndConversationChannels):
    pass


def with_graph_parts(model: BaseChatModel) -> Any:
    registry, tools = InMemorySealRegistry(), [create_end_conversation_tool()]
    bound = model.bind_tools(tools)
    builder: Any = StateGraph(State)
    builder.add_node("model", lambda state: {"messages": [bound.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
    builder.add_edge("tools", "model")
    add_end_conversation(builder, registry=registry, reader=ModelReader(model))
    return builder.compile(checkpointer=SealedSaver(InMemorySaver(), registry))


def with_raw_loop(client: Any) -> Callable[[str], TurnOutcome]:
    guard = ConversationGuard(registry=InMemorySealRegistry(), client=client)
    chat = guard.conversation("kit")
    messages: list[Any] = []
    fixed: dict[str, Any] = {"model": "scripted", "max_tokens": 500, "tools": [guard.tool], "system": guard.system()}

    def say(text: str) -> TurnOutcome:
        messages.append({"role": "user", "content": text})
        while True:
            turn = chat.before_request(messages)
            outcome = turn.after_response(client.messages.create(messages=messages, **fixed))
            outcome.extend(messages)
            if not outcome.again:
                return outcome

    return say


def with_async_loop(client: Any, **options: Any) -> Callable[[str], Awaitable[TurnOutcome]]:
    guard = ConversationGuard(registry=InMemorySealRegistry(), client=client, **options)
    chat = guard.conversation("kit")
    messages: list[Any] = []
    fixed: dict[str, Any] = {"model": "scripted", "max_tokens": 500, "tools": [guard.tool], "system": guard.system()}

    async def say(text: str) -> TurnOutcome:
        messages.append({"role": "user", "content": text})
        while True:
            turn = await chat.abefore_request(messages)
            outcome = await turn.aafter_response(await client.messages.create(messages=messages, **fixed))
            outcome.extend(messages)
            if not outcome.again:
                return outcome

    return say


@pytest.mark.parametrize(
    "factory", [with_middleware, with_guarded_graph, with_graph_parts, anthropic_loop(with_raw_loop)]
)
def test_a_guarded_agent_passes_by_every_door(factory: Any) -> None:
    assert_never_ends_at_risk(factory)
    assert_ends_when_warranted(factory)


async def test_async_twins() -> None:
    await aassert_never_ends_at_risk(with_middleware, languages={"en"})
    await aassert_ends_when_warranted(with_middleware, languages={"en"})


async def test_async_loops_over_the_sdk() -> None:
    await aassert_never_ends_at_risk(anthropic_loop(with_async_loop), languages={"en"})
    await aassert_ends_when_warranted(anthropic_loop(with_async_loop), languages={"en"})


async def test_a_loop_that_ends_nothing_is_caught() -> None:
    shadowed = anthropic_loop(partial(with_async_loop, mode="shadow"))
    with pytest.raises(AssertionError, match=r"kit-abuse-en: not ended \([1-9]\d* requests, notices \[\]\)"):
        await aassert_ends_when_warranted(shadowed, languages={"en"})


async def test_a_loop_that_sees_no_risk_is_caught() -> None:
    def blind(client: Any) -> Callable[[str], Awaitable[TurnOutcome]]:
        return with_async_loop(client, reader=CarelessClaude("scripted", async_client=client), watch=RiskWatch([]))

    with pytest.raises(AssertionError, match=r"kit-risk-self-en: ended in turn 5; .* since turn 4") as caught:
        await aassert_never_ends_at_risk(anthropic_loop(blind))
    assert "told of an end in turn 4" in str(caught.value)


class CarelessClaude(ClaudeReader):
    """As ``Careless``, for the raw loop."""

    async def aread(self, case: ReadingCase) -> Reading:
        found = await super().aread(case)
        return Reading(found.source, tuple(one for one in found.findings if one.kind != "risk"))


def test_a_loop_with_a_client_of_its_own_is_not_asked_to_try() -> None:
    def polite(client: Any) -> Callable[[str], TurnOutcome]:
        assert client == "my client"
        return lambda _: TurnOutcome()

    mine = anthropic_loop(polite, client="my client")
    assert_never_ends_at_risk(mine)
    with pytest.raises(AssertionError, match="not ended"):
        assert_ends_when_warranted(mine)


def test_a_loop_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="factory: expected a function that begins a conversation"):
        anthropic_loop("loop")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="return the last TurnOutcome of a turn, got str"):
        assert_never_ends_at_risk(anthropic_loop(lambda _: lambda text: text))
    with pytest.raises(InvalidInputError, match="model: expected None for a loop over the SDK"):
        assert_never_ends_at_risk(anthropic_loop(with_raw_loop), model=FakeListChatModel(responses=["Hello."]))


class Careless(ModelReader):
    """Reads well, but for risk, which it never sees."""

    def read(self, case: ReadingCase) -> Reading:
        found = super().read(case)
        return Reading(found.source, tuple(one for one in found.findings if one.kind != "risk"))


def test_an_agent_that_sees_no_risk_is_caught() -> None:
    def blind(model: BaseChatModel) -> Any:
        return with_middleware(model, reader=Careless(model), watch=RiskWatch([]))

    with pytest.raises(AssertionError, match=r"kit-risk-self-en: ended in turn 5; .* since turn 4") as caught:
        assert_never_ends_at_risk(blind)
    assert "told of an end in turn 4" in str(caught.value)
    assert_ends_when_warranted(blind)


def test_an_agent_that_nothing_guards_is_caught() -> None:
    def naked(model: BaseChatModel) -> Any:
        return create_agent(model, checkpointer=InMemorySaver())

    def with_bare_tool(model: BaseChatModel) -> Any:
        return create_agent(model, [create_end_conversation_tool()], checkpointer=InMemorySaver())

    with pytest.raises(AssertionError, match="is the agent guarded"):
        assert_never_ends_at_risk(naked)
    with pytest.raises(AssertionError, match="nothing enforces ends"):
        assert_never_ends_at_risk(with_bare_tool)


def test_an_agent_that_ends_nothing_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"4 findings in 4 scenarios:\nkit-abuse-en: not ended"):
        assert_ends_when_warranted(lambda model: with_middleware(model, mode="shadow"))


def test_an_end_without_notice_is_caught() -> None:
    def hasty(model: BaseChatModel) -> Any:
        policy = EndConversationPolicy(require_notice=False, min_refusals=1, min_redirections=1)
        return with_middleware(model, policy=policy, reader=Warner(model))

    with pytest.raises(AssertionError, match="without notice in an earlier one"):
        assert_ends_when_warranted(hasty, languages={"en"})


class Warner(ModelReader):
    """Takes every refusal for a warning too."""

    def read(self, case: ReadingCase) -> Reading:
        found = super().read(case)
        refusals = [one for one in found.findings if one.kind == "refusal"]
        warnings = tuple(type(one)(kind=EvidenceKind.WARNING, label=one.label, quote=one.quote) for one in refusals)
        return Reading(found.source, (*found.findings, *warnings), found.risk)


def test_a_share_of_a_real_model_is_enough() -> None:
    scenarios = {one.turns[0].user: one for one in kit_scenarios()}

    def half_hearted(model: BaseChatModel) -> Any:
        del model
        return with_middleware(playing_model(scenarios[first], Manner.FOLLOWS_RULES))

    first = next(one.turns[0].user for one in kit_scenarios() if one.kind == "warranted")
    stand_in = playing_model(kit_scenarios()[0])
    assert_ends_when_warranted(half_hearted, model=stand_in, at_least=0.25)
    with pytest.raises(AssertionError, match="not ended"):
        assert_ends_when_warranted(half_hearted, model=stand_in)


def test_the_offline_reader_reads_the_english_ones() -> None:
    assert_never_ends_at_risk(lambda model: with_middleware(model, reader=OfflineReader()))


@pytest.mark.parametrize("value", [0, 1.5, True, "all"])
def test_a_share_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="at_least: expected a share above 0 and up to 1"):
        assert_ends_when_warranted(with_middleware, at_least=value)


def test_unknown_languages_and_factories_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="languages: expected some of de, en, fr, got"):
        assert_never_ends_at_risk(with_middleware, languages={"tlh"})
    with pytest.raises(InvalidInputError, match="agent_factory: expected a function"):
        assert_never_ends_at_risk("agent")  # type: ignore[arg-type]
