"""The notice through ``create_agent``, with the policy that everybody gets: the first request never ends anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool._checkpoint.branching import edit_and_retry
from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Category, Outcome, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from support.agents import INSULT, REFUSE, Agent, config, ending, ending_and_search, kinds, said, search_call
from support.keywords import RISKS

NOTICE = Texts().notice(Category.ABUSE)
DEFAULT = EndConversationPolicy()
HARD = [REFUSE, REFUSE, REFUSE]
MODES = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"]
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def noticed(*after: Any, **options: Any) -> tuple[Agent, Any]:
    """Return an agent whose user was given notice in the fourth turn, and what that turn left."""
    agent = Agent([*HARD, ending_and_search(), *after], policy=DEFAULT, **options)
    agent.climb()
    return agent, agent.say(INSULT)


def outcomes(agent: Agent) -> list[Outcome]:
    return [record.outcome for record in agent.registry.decisions("t")]


@both
def test_the_notice_is_the_last_word_of_its_turn_and_the_end_comes_in_a_later_one(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent, result = noticed(ending(), asynchronous=asynchronous)
    assert kinds(result["messages"])[-5:] == ["human", "ai", "tool", "tool", "ai"]
    last = result["messages"][-1]
    assert (last.text, last.tool_calls) == (NOTICE, [])
    assert last.response_metadata == {"end_conversation": "noticed"}
    assert result.get("conversation_end") is None
    assert agent.counter.runs == []  # the sibling
    assert len(agent.model.calls) == 4
    assert not agent.registry.status("t").sealed
    result = agent.say(INSULT)
    assert result["messages"][-1].text == result["conversation_end"]["statement"]
    assert result["messages"][-1].response_metadata == {"end_conversation": "sealed"}
    assert outcomes(agent) == [Outcome.NOTICED, Outcome.SEALED]
    with pytest.raises(ThreadSealedError):
        agent.say("hello?")


@both
def test_it_costs_no_step_and_no_checkpoint(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """A turn with a notice, or with an end, is as long as a plain answer."""
    agent, _ = noticed(ending(), asynchronous=asynchronous)
    bare = Agent([*HARD, "well", "well"], guarded=False, asynchronous=asynchronous).climb()
    bare.say(INSULT)
    assert agent.checkpoints() == bare.checkpoints()
    assert agent.say(INSULT)["conversation_end"]["ended"]
    bare.say(INSULT)
    assert agent.checkpoints() == bare.checkpoints()


def streamed(agent: Agent, mode: Any, text: str = INSULT) -> list[Any]:
    async def stream() -> list[Any]:
        return [chunk async for chunk in agent.graph.astream(said(text), config(), stream_mode=mode)]

    if agent.asynchronous:
        return asyncio.run(stream())
    return list(agent.graph.stream(said(text), config(), stream_mode=mode))


def last_text(mode: str, chunks: list[Any]) -> str | None:
    """Return the text of the last message that a stream shows; ``None`` where its mode shows none."""
    if mode == "values":
        return str(chunks[-1]["messages"][-1].text)
    if mode == "updates":
        return str(chunks[-1]["model"]["messages"][-1].text)
    if mode == "messages":
        return str(chunks[-1][0].text)
    if mode == "checkpoints":
        return str(chunks[-1]["values"]["messages"][-1].text)
    if mode == "tasks":
        return str(chunks[-1]["result"]["messages"][-1].text)
    return None


@pytest.mark.parametrize("mode", MODES)
@both
def test_every_stream_ends_with_the_notice_and_with_the_statement(mode: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*HARD, ending_and_search(), ending()], policy=DEFAULT, asynchronous=asynchronous).climb()
    for word in (NOTICE, Texts().statement(Category.ABUSE)):
        chunks = streamed(agent, mode)
        assert last_text(mode, chunks) in (word, None)
        assert agent.state()["messages"][-1].text == word
        if mode == "custom":
            assert [chunk["end_conversation"]["outcome"] for chunk in chunks] == [
                "noticed" if word == NOTICE else "sealed"
            ]


@pytest.mark.parametrize("outcome", ["denied", "noticed", "sealed"])
@both
def test_no_result_of_ours_is_among_the_streamed_messages(outcome: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """A loop that prints what ``stream_mode="messages"`` gives shows the user nothing that is meant for the model."""
    script = {"denied": [ending_and_search(), "as I said"], "noticed": [*HARD, ending_and_search()]}
    agent = Agent(
        script.get(outcome, [*HARD, ending(), ending_and_search()]), policy=DEFAULT, asynchronous=asynchronous
    )
    for _ in range({"denied": 0, "noticed": 3, "sealed": 4}[outcome]):
        agent.say(INSULT)
    before = len(agent.state().get("messages", ()))
    chunks = streamed(agent, "messages")
    results = [piece for piece, _ in chunks if isinstance(piece, ToolMessage)]
    assert [result.name for result in results] == (["search"] if outcome == "denied" else [])
    assert all(meta["langgraph_node"] == "tools" for piece, meta in chunks if isinstance(piece, ToolMessage))
    kept = [message for message in agent.state()["messages"][before:] if isinstance(message, ToolMessage)]
    assert len(kept) == 2  # the state has them, for the model
    spoken = "".join(piece.text for piece, _ in chunks if isinstance(piece, AIMessage | AIMessageChunk))
    assert spoken.endswith(agent.state()["messages"][-1].text)
    assert "Not ended" not in spoken


HARMLESS = ["I am sorry, that was rude of me.", "What is the capital of France?", "Thank you!", "my code is shit"]


@pytest.mark.parametrize("text", HARMLESS)
@both
def test_a_user_who_stops_goes_on(text: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """Apology, ordinary question, thanks, swearing at one's own bug: the second request is denied."""
    agent, _ = noticed(ending(), "gladly", "Paris", asynchronous=asynchronous)
    result = agent.say(text)
    assert result["messages"][-1].text == "gladly"
    assert agent.registry.decisions("t")[-1].decision.unmet == (UnmetCode.NO_PERSISTENCE,)
    assert agent.say("and now?")["messages"][-1].text == "Paris"
    assert not agent.registry.status("t").sealed


@both
def test_a_helped_user_who_insults_again_much_later_gets_no_end_on_an_old_notice(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    policy = EndConversationPolicy(window_turns=5)
    agent = Agent([*HARD, ending(), *["gladly"] * 5, ending(), "on we go"], policy=policy, asynchronous=asynchronous)
    agent.climb().say(INSULT)
    for _ in range(5):
        agent.say("what about this?")
    assert agent.say(INSULT)["messages"][-1].text == "on we go"
    assert UnmetCode.NOTICE_REQUIRED in agent.registry.decisions("t")[-1].decision.unmet


@pytest.mark.parametrize("risk", RISKS)
def test_whoever_is_at_risk_after_the_notice_is_not_ended(risk: str) -> None:
    agent, _ = noticed(ending(), "I am here")
    assert agent.say(f"{INSULT}, I will {risk}")["messages"][-1].text == "I am here"
    assert UnmetCode.RISK_FLAGGED in agent.registry.decisions("t")[-1].decision.unmet


@both
def test_two_requests_in_one_turn_are_never_notice_and_end(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    """After the notice the turn is over, so the model is not even asked again."""
    agent, _ = noticed(ending(), "on we go", asynchronous=asynchronous)
    assert len(agent.model.calls) == 4
    agent.invoke({"messages": []})  # the same turn goes on
    assert not agent.registry.status("t").sealed
    assert UnmetCode.NOTICE_NOT_ANSWERED in agent.registry.decisions("t")[-1].decision.unmet


def test_the_notice_is_for_one_ground() -> None:
    agent, _ = noticed(ending(category="harmful_requests"))
    agent.say("forge it")
    assert outcomes(agent)[-1] is not Outcome.SEALED
    assert not agent.registry.status("t").sealed


@both
def test_a_user_who_wants_the_end_is_asked_by_the_notice(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([ending("", "user_request"), ending("", "user_request")], policy=DEFAULT, asynchronous=asynchronous)
    result = agent.say("please end this chat")
    assert result["messages"][-1].text == Texts().notice(Category.USER_REQUEST)
    assert agent.say("yes")["conversation_end"]["category"] == "user_request"


# A notice that is void


def forked(agent: Agent, *, before: str) -> Any:
    """Return the config of the newest checkpoint that does not hold a text yet."""
    return next(
        snapshot.config
        for snapshot in agent.graph.get_state_history(config())
        if not snapshot.next and before not in [message.text for message in snapshot.values.get("messages", ())]
    )


@pytest.mark.parametrize("guarded", [True, False], ids=["sealed saver", "plain saver"])
@both
def test_a_fork_from_before_the_notice_makes_it_void(guarded: bool, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    registry = InMemorySealRegistry()
    inner = InMemorySaver()
    saver: Any = SealedSaver(inner, registry) if guarded else inner
    agent, _ = noticed(ending(), ending(), registry=registry, checkpointer=saver, asynchronous=asynchronous)
    result = agent.invoke(said(INSULT), forked(agent, before=NOTICE))
    assert outcomes(agent) == [Outcome.NOTICED, Outcome.NOTICED]  # given anew, nothing ended
    assert result["messages"][-1].text == NOTICE
    assert agent.say(INSULT)["conversation_end"]["ended"]


def test_an_edited_message_before_the_notice_makes_it_void() -> None:
    registry = InMemorySealRegistry()
    saver: Any = SealedSaver(InMemorySaver(), registry)
    agent, result = noticed(ending(), ending(), registry=registry, checkpointer=saver)
    newest = [message for message in result["messages"] if isinstance(message, HumanMessage)][-1]
    retry = edit_and_retry(agent.graph, "t", str(newest.id), f"{INSULT} again")
    assert retry.output["messages"][-1].text == NOTICE
    assert outcomes(agent) == [Outcome.NOTICED, Outcome.NOTICED]


@both
def test_a_reopening_makes_it_void(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    registry = InMemorySealRegistry()
    saver: Any = SealedSaver(InMemorySaver(), registry)
    agent, _ = noticed(ending(), *HARD, ending(), registry=registry, checkpointer=saver, asynchronous=asynchronous)
    agent.say(INSULT)
    assert registry.status("t").sealed
    registry.reopen("t", operator="Kim", reason="upheld")
    for _ in HARD:
        agent.say(INSULT)
    assert agent.say(INSULT)["messages"][-1].text == NOTICE
    assert outcomes(agent) == [Outcome.NOTICED, Outcome.SEALED, Outcome.NOTICED]


@both
def test_a_notice_that_was_removed_from_the_thread_does_not_count(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent, result = noticed(ending(), asynchronous=asynchronous)
    agent.graph.update_state(config(), {"messages": [RemoveMessage(id=result["messages"][-1].id)]})
    assert agent.say(INSULT)["messages"][-1].text == NOTICE
    assert outcomes(agent) == [Outcome.NOTICED, Outcome.NOTICED]


# Shadow mode, and a registry that refuses


@both
def test_shadow_mode_shows_the_user_nothing(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(
        [*HARD, ending(), "on we go", ending(), "and on"], policy=DEFAULT, mode="shadow", asynchronous=asynchronous
    ).climb()
    assert agent.say(INSULT)["messages"][-1].text == "on we go"
    result = agent.say(INSULT)
    assert result["messages"][-1].text == "and on"
    assert outcomes(agent) == [Outcome.WOULD_HAVE_NOTICED, Outcome.WOULD_HAVE_SEALED]
    assert NOTICE not in [message.text for message in result["messages"]]


@both
def test_a_flag_that_comes_while_the_model_thinks_refuses_the_notice(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    registry = InMemorySealRegistry()

    def think(_: Any) -> Any:
        registry.flag_risk("t", kind="crisis", source="desk")
        return ending()

    agent = Agent([*HARD, think, "I am here"], policy=DEFAULT, registry=registry, asynchronous=asynchronous).climb()
    result = agent.say(INSULT)
    assert result["messages"][-1].text == "I am here"
    assert NOTICE not in [message.text for message in result["messages"]]
    assert UnmetCode.RISK_FLAGGED in registry.decisions("t")[-1].decision.unmet


@both
def test_too_many_requests_close_the_turn_with_an_answer(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(lambda _: ending_and_search(), policy=DEFAULT, asynchronous=asynchronous)
    result = agent.say("hello")
    assert result["messages"][-1].text == Texts().still_here
    assert result["messages"][-1].response_metadata == {"end_conversation": "denied"}
    assert outcomes(agent) == [Outcome.DENIED] * 4


def test_an_ordinary_turn_asks_no_reader() -> None:
    agent = Agent([search_call(), "found", "more"], policy=DEFAULT)
    agent.say("hello")
    agent.say("hello")
    assert agent.reader.asked == []
