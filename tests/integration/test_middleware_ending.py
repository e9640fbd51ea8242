"""The whole ending in a real ``create_agent`` graph: what runs, what is kept, and what a sealed thread takes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Outcome, UnmetCode
from end_conversation_tool.errors import InvalidInputError, PolicyConfigurationError, RegistryError, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import in_one_message
from support.agents import (
    INSULT,
    LADDER,
    Agent,
    config,
    ending,
    ending_and_search,
    kinds,
    said,
    sqlite_saver,
)
from support.registries import FlakyRegistry

WHOLE = [*LADDER, ending_and_search(), "after"]
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def assert_ended(agent: Agent, result: dict[str, Any]) -> None:
    """Check everything that an honoured end leaves behind."""
    seal = agent.registry.status("t").seal
    assert seal is not None
    end = result["conversation_end"]
    assert end == agent.state()["conversation_end"]
    assert end["ended"] is True
    assert end["category"] == "abuse"
    assert end["ended_at"] == seal.sealed_at.isoformat()
    assert "start a new chat" in end["statement"]
    assert end["options"] == ["new_chat", "edit_and_retry", "feedback", "appeal"]
    call, honoured, sibling, closing = result["messages"][-4:]
    assert [one["id"] for one in call.tool_calls] == ["e2", "s"]
    assert (honoured.tool_call_id, honoured.status) == ("e2", "success")
    assert (sibling.tool_call_id, sibling.status) == ("s", "error")
    assert "was not run" in sibling.text
    assert isinstance(closing, AIMessage)
    assert (closing.text, closing.tool_calls) == (end["statement"], [])
    assert agent.counter.runs == []
    assert len(agent.model.calls) == len(LADDER) + 1
    assert "end_conversation_provenance" not in result


@both
def test_the_whole_ending(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(WHOLE, asynchronous=asynchronous).climb()
    assert_ended(agent, agent.say(INSULT))
    with pytest.raises(ThreadSealedError) as caught:
        agent.say("hello?")
    assert caught.value.conversation_end == agent.state()["conversation_end"]
    assert len(agent.model.calls) == len(LADDER) + 1
    assert agent.say("hello", where=config("other"))["messages"][-1].text == "after"
    outcomes = [record.outcome for record in agent.registry.decisions("t")]
    assert outcomes == [Outcome.SEALED]


def without_provenance(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "end_conversation_provenance"}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@both
def test_durability(durability: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(WHOLE, asynchronous=asynchronous).climb(durability=durability)
    assert_ended(agent, agent.say(INSULT, durability=durability))
    with pytest.raises(ThreadSealedError):
        agent.say("hello?", durability=durability)


def test_on_sqlite(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        agent = Agent(WHOLE, checkpointer=saver).climb()
        assert_ended(agent, agent.say(INSULT))
        with pytest.raises(ThreadSealedError):
            agent.say("hello?")


def test_on_async_sqlite(tmp_path: Path) -> None:
    async def run() -> None:
        async with sqlite_saver(tmp_path / "threads.db") as saver:
            agent = Agent(WHOLE, checkpointer=saver)
            for _ in range(4):
                result = await agent.graph.ainvoke(said(INSULT), config())
            assert result["conversation_end"]["ended"]
            assert agent.counter.runs == []
            with pytest.raises(ThreadSealedError):
                await agent.graph.ainvoke(said("hello?"), config())

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"])
@both
def test_stream_modes(mode: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(WHOLE, asynchronous=asynchronous).climb()

    async def stream() -> list[Any]:
        return [chunk async for chunk in agent.graph.astream(said(INSULT), config(), stream_mode=mode)]

    chunks = (
        asyncio.run(stream()) if asynchronous else list(agent.graph.stream(said(INSULT), config(), stream_mode=mode))
    )
    assert chunks
    if mode == "custom":  # the telemetry of the decision
        outcomes = [chunk["end_conversation"]["outcome"] for chunk in chunks]
        assert outcomes == ["sealed"]
    assert_ended(agent, without_provenance(agent.state()))
    if mode == "values":
        assert chunks[-1]["conversation_end"]["ended"]
    if mode == "updates":
        assert [list(chunk) for chunk in chunks] == [["model"]]


def test_two_end_calls_in_one_message_are_one_request() -> None:
    twice = in_one_message(ending(call_id="x"), ending(call_id="y"))
    agent = Agent([*LADDER, twice]).climb()
    result = agent.say(INSULT)
    assert kinds(result["messages"])[-5:] == ["human", "ai", "tool", "tool", "ai"]
    assert [message.status for message in result["messages"][-3:-1]] == ["success", "success"]
    assert len(agent.registry.decisions("t")) == 1
    with pytest.raises(ThreadSealedError):
        agent.say("hello?")


@both
def test_a_user_who_asks_and_confirms(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(["do you really want that?", ending("", "user_request")], asynchronous=asynchronous)
    agent.say("please end this chat")
    assert agent.say("yes")["conversation_end"]["category"] == "user_request"


# Denials


@both
def test_after_a_denial_the_model_goes_on_and_siblings_run(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([ending_and_search(), "as I was saying"], asynchronous=asynchronous)
    result = agent.say("hello")
    assert kinds(result["messages"]) == ["human", "ai", "tool", "tool", "ai"]
    assert agent.counter.runs == ["q"]
    by_call = {message.tool_call_id: message for message in result["messages"] if isinstance(message, ToolMessage)}
    assert by_call["s"].text == "found q"
    assert by_call["e2"].status == "error"
    assert "too_few_refusals" in by_call["e2"].text
    assert result.get("conversation_end") is None


@both
def test_three_denials_end_the_attempts_of_a_run(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(lambda _: ending_and_search(), asynchronous=asynchronous)
    result = agent.say("hello")
    assert len(agent.model.calls) == 4
    assert len(agent.registry.decisions("t")) == 4
    assert UnmetCode.TOO_MANY_ATTEMPTS in agent.registry.decisions("t")[-1].decision.unmet
    assert agent.counter.runs == ["q", "q", "q"]
    assert_every_call_is_answered(result["messages"])
    last = result["messages"][-1]
    assert isinstance(last, AIMessage)
    assert last.text
    assert not last.tool_calls
    assert len(agent.say("hello")["messages"]) == 2 * len(result["messages"])


def assert_every_call_is_answered(messages: list[Any]) -> None:
    """Check what providers check: each call has one result, before the next message that is no result."""
    waiting: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            waiting.remove(message.tool_call_id)
            continue
        assert waiting == []
        if isinstance(message, AIMessage):
            waiting = [str(call["id"]) for call in [*message.tool_calls, *message.invalid_tool_calls]]
    assert waiting == []


@both
def test_arguments_that_are_no_json_go_back_to_the_model(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    broken = AIMessage("", invalid_tool_calls=[invalid_tool_call(name="end_conversation", args="{", id="i", error="x")])
    agent = Agent([broken, "sorry"], asynchronous=asynchronous)
    result = agent.say("hello")
    assert kinds(result["messages"]) == ["human", "ai", "tool", "ai"]
    assert "invalid_arguments" in result["messages"][2].text
    (record,) = agent.registry.decisions("t")
    assert record.decision.unmet[0] is UnmetCode.INVALID_ARGUMENTS
    assert_every_call_is_answered(result["messages"])


# Modes


@both
def test_shadow_decides_and_seals_nothing(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*LADDER, ending(), "on we go", "hello"], mode="shadow", asynchronous=asynchronous).climb()
    result = agent.say(INSULT)
    assert result["messages"][-1].text == "on we go"
    assert result.get("conversation_end") is None
    assert agent.registry.decisions("t")[-1].outcome is Outcome.WOULD_HAVE_SEALED
    assert agent.say("hello")["messages"][-1].text == "hello"


def test_off_denies() -> None:
    agent = Agent([*LADDER, ending(), "on we go"], mode="off").climb()
    assert agent.say(INSULT)["messages"][-1].text == "on we go"
    assert agent.registry.decisions("t")[-1].decision.unmet == (UnmetCode.MODE_OFF,)
    assert agent.reader.asked == []


def test_the_allow_list_names_the_calling_model() -> None:
    policy = EndConversationPolicy(models=frozenset({"other"}), require_notice=False)
    agent = Agent([*LADDER, ending(), "on we go"], policy=policy).climb()
    agent.say(INSULT)
    (record,) = agent.registry.decisions("t")
    assert (record.decision.unmet, record.model) == ((UnmetCode.MODEL_NOT_ENABLED,), "scripted")


@both
def test_respond_keeps_nothing_of_what_comes_after(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(WHOLE, on_sealed="respond", asynchronous=asynchronous).climb()
    agent.say(INSULT)
    before = agent.state()
    result = agent.say("hello?", "anybody?")
    assert result["messages"] == before["messages"]
    assert result["conversation_end"] == before["conversation_end"]
    assert agent.state() == before
    assert len(agent.model.calls) == len(LADDER) + 1


@pytest.mark.parametrize("failing", ["status", "flag_risk", "seal", "record_decision"])
@both
def test_a_registry_that_fails(failing: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    registry = FlakyRegistry()
    agent = Agent([*LADDER, ending(), "on we go"], registry=registry, asynchronous=asynchronous).climb()
    registry.failing.add(failing)
    if failing == "status":
        with pytest.raises(RegistryError):
            agent.say(INSULT)
        assert len(agent.model.calls) == len(LADDER)
    else:
        result = agent.say(f"{INSULT} I will kill myself")
        assert result["messages"][-1].text == "on we go"
    registry.failing.clear()
    assert not registry.status("t").sealed


# Construction


@pytest.mark.parametrize(
    ("options", "error", "said_so"),
    [
        ({"on_sealed": "ignore"}, InvalidInputError, "on_sealed: expected 'raise' or 'respond', got 'ignore'"),
        ({"mode": "on"}, PolicyConfigurationError, "mode: Input should be 'enforce', 'shadow' or 'off'"),
        ({"registry": "sqlite://"}, InvalidInputError, "registry: expected a SealRegistry, got str"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], said_so: str) -> None:
    with pytest.raises(error) as caught:
        EndConversationMiddleware(**{"registry": InMemorySealRegistry(), **options})
    assert said_so in str(caught.value)


def test_the_strict_serializer_keeps_the_state() -> None:
    serde = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
    agent = Agent(WHOLE, checkpointer=InMemorySaver(serde=serde)).climb()
    agent.say(INSULT)
    ours = {name: value for name, value in agent.state().items() if name != "messages"}
    assert ours.pop("jump_to") == "end"  # LangChain's own, gone with the next step
    assert set(ours) == {"end_conversation_provenance", "conversation_end"}
    assert_plain(ours)


def assert_plain(value: Any) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            assert type(name) is str
            assert_plain(item)
    elif isinstance(value, list):
        for item in value:
            assert_plain(item)
    else:
        assert value is None or type(value) in (str, int, float, bool)


@both
def test_after_a_reopening_readers_no_longer_see_an_end(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*LADDER, ending(), "Welcome back."], asynchronous=asynchronous).climb()
    assert agent.say(INSULT)["conversation_end"]["ended"]
    agent.registry.reopen("t", operator="ops", reason="upheld")
    assert agent.say("hello")["conversation_end"] is None
    assert agent.state()["conversation_end"] is None
