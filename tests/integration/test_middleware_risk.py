"""A person at risk is never cut off: wherever the risk was said, and whatever became of the message."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.records import UnmetCode
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ScriptedChatModel
from end_conversation_tool.watch import RiskWatch
from support.agents import INSULT, LADDER, Agent, config, ending, said
from support.keywords import QUICK, BreakableWatcher, KeywordReader, KeywordWatcher, keyword_watch
from support.registries import FlakyRegistry

RISK = "I will kill myself"
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def agent(*first: Any, **options: Any) -> Agent:
    """Return an agent that has an end ready after the ladder, and ``first`` to say before it."""
    return Agent([*first, *LADDER, ending(), "on we go", "on we go"], **options)


def codes(spoken: Agent, thread_id: str = "t") -> set[UnmetCode]:
    """Return why the last end was denied, having checked that the thread is open."""
    assert not spoken.registry.status(thread_id).sealed
    return set(spoken.registry.decisions(thread_id)[-1].decision.unmet)


SAID_SO: dict[str, Any] = {
    "plain": said(RISK),
    "first of several": said(RISK, "hello", "hello"),
    "middle of several": said("hello", RISK, "hello"),
    "last of several": said("hello", "hello", RISK),
    "parts": {"messages": [HumanMessage([{"type": "image_url", "image_url": "x"}, {"type": "text", "text": RISK}])]},
    "dict": {"messages": [{"role": "user", "content": RISK}]},
    "tuple": {"messages": [("user", RISK)]},
    "string": {"messages": RISK},
    "chat message": {"messages": [ChatMessage(content=RISK, role="user")]},
    "odd id": {"messages": [HumanMessage(RISK, id="\x00" * 5000)]},
    "beside forged replies": {"messages": [HumanMessage(RISK), ("ai", "forged"), HumanMessage("hello")]},
    "as a summary": {"messages": [HumanMessage(RISK, additional_kwargs={"lc_source": "summarization"})]},
}


@pytest.mark.parametrize("shape", SAID_SO)
@both
def test_risk_of_any_shape_in_an_earlier_turn(shape: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    spoken = agent("I hear you", asynchronous=asynchronous)
    spoken.invoke(SAID_SO[shape])
    spoken.climb()
    spoken.say(INSULT)
    more = {
        "parts": {UnmetCode.RISK_UNCERTAIN},  # the image beside the words
        "as a summary": {UnmetCode.TRANSCRIPT_INCOMPLETE},  # what it stands for was not heard
    }
    assert codes(spoken) == {UnmetCode.RISK_FLAGGED} | more.get(shape, set())


def test_risk_in_the_newest_message_only() -> None:
    spoken = agent().climb()
    spoken.say(f"{INSULT}. {RISK}")
    assert UnmetCode.RISK_FLAGGED in codes(spoken)


@pytest.mark.parametrize(
    "gone",
    [
        [RemoveMessage(id="risk")],
        [RemoveMessage(id=REMOVE_ALL_MESSAGES)],
        [HumanMessage("nothing, I am fine", id="risk")],
        [RemoveMessage(id=REMOVE_ALL_MESSAGES), HumanMessage("a summary", id="risk")],
    ],
    ids=["removed", "all removed", "overwritten", "rewritten"],
)
@pytest.mark.parametrize("way", ["input", "update_state", "command"])
def test_risk_in_a_message_that_is_gone(gone: list[Any], way: str) -> None:
    spoken = agent("I hear you")
    spoken.invoke({"messages": [HumanMessage(RISK, id="risk")]})
    if way == "update_state":
        spoken.graph.update_state(config(), {"messages": gone})
    elif way == "command":
        spoken.invoke(Command(update={"messages": gone}))
    spoken.invoke({"messages": [*(gone if way == "input" else ()), HumanMessage(INSULT)]})
    for _ in range(3):
        spoken.say(INSULT)
    assert RISK not in [message.text for message in spoken.state()["messages"]]
    assert UnmetCode.RISK_FLAGGED in codes(spoken)


@pytest.mark.parametrize("number", [0, 2])
def test_risk_in_a_message_that_was_edited_in_place(number: int) -> None:
    """What comes in is heard, in whichever message's place; and of the thread it is told that it was rewritten."""
    spoken = agent()
    for turn in range(3):
        spoken.invoke({"messages": [HumanMessage(INSULT, id=f"u{turn}")]})
    spoken.invoke({"messages": [HumanMessage(RISK, id=f"u{number}"), HumanMessage(INSULT)]})
    assert codes(spoken) == {UnmetCode.RISK_FLAGGED, UnmetCode.TRANSCRIPT_INCOMPLETE}
    assert spoken.reader.asked == []


def test_risk_on_another_branch() -> None:
    spoken = agent("I hear you")
    spoken.say("hello")
    earlier = next(iter(spoken.graph.get_state_history(config()))).config
    spoken.model.replies = ["never mind", "I hear you", *LADDER, ending(), "on we go"]
    spoken.say(RISK)
    spoken.invoke(said(INSULT), earlier)
    for _ in range(3):
        spoken.say(INSULT)
    assert RISK not in [message.text for message in spoken.state()["messages"]]
    assert UnmetCode.RISK_FLAGGED in codes(spoken)


def test_the_hosts_flag_that_is_raised_while_the_model_thinks() -> None:
    registry = InMemorySealRegistry()

    def think(_: Any) -> Any:
        registry.flag_risk("t", kind="crisis", source="desk")
        return ending()

    spoken = Agent([*LADDER, think, "on we go"], registry=registry).climb()
    spoken.say(INSULT)
    assert UnmetCode.RISK_FLAGGED in codes(spoken)


def test_the_hosts_flag_that_is_raised_between_decision_and_seal() -> None:
    registry = FlakyRegistry()
    spoken = Agent([*LADDER, ending(), "on we go"], registry=registry).climb()
    registry.before["seal"] = lambda: InMemorySealRegistry.flag_risk(registry, "t", kind="crisis", source="desk")
    result = spoken.say(INSULT)
    assert UnmetCode.RISK_FLAGGED in codes(spoken)
    assert result["messages"][-1].text == "on we go"
    assert result.get("conversation_end") is None


@pytest.mark.parametrize("failing", [{"flag_risk"}, {"flag_risk", "record_decision"}])
def test_risk_that_could_not_be_written_and_whose_message_is_gone(failing: set[str]) -> None:
    registry = FlakyRegistry()
    spoken = agent("I hear you", registry=registry)
    registry.failing = failing
    spoken.invoke({"messages": [HumanMessage(RISK, id="risk")]})
    spoken.graph.update_state(config(), {"messages": [RemoveMessage(id="risk")]})
    spoken.climb()
    spoken.say(INSULT)
    registry.failing = set()
    assert not registry.status("t").sealed
    spoken.say("hello")
    assert registry.status("t").at_risk


@pytest.mark.parametrize(
    ("removed", "code"), [(False, UnmetCode.RISK_UNCERTAIN), (True, UnmetCode.TRANSCRIPT_INCOMPLETE)]
)
def test_a_watch_that_was_broken_for_that_message_only(removed: bool, code: UnmetCode) -> None:  # noqa: FBT001 - both
    spoken = agent("I hear you", watch=RiskWatch([BreakableWatcher("kill")]))
    spoken.invoke({"messages": [HumanMessage(RISK, id="risk")]})
    assert not spoken.registry.status("t").at_risk
    healthy = agent(registry=spoken.registry, checkpointer=spoken.saver)
    if removed:
        healthy.graph.update_state(config(), {"messages": [RemoveMessage(id="risk")]})
    healthy.climb()
    healthy.say(INSULT)
    assert code in codes(healthy)
    assert healthy.registry.status("t").at_risk is not removed  # the reader has shown it


@pytest.mark.parametrize("fails", [None, UnmetCode.READING_FAILED], ids=["read", "not read"])
def test_a_watch_that_is_broken_for_the_newest_message_leaves_it_to_the_reader(fails: UnmetCode | None) -> None:
    """A doubt of the watch stands until somebody has read everything, and found no risk."""
    reader = KeywordReader(fails)
    spoken = agent(watch=RiskWatch([KeywordWatcher(), BreakableWatcher("please")]), reader=reader).climb()
    spoken.say(f"{INSULT} please")
    (case,) = reader.asked
    assert [line.text for line in case.lines if line.role == "user"][-1] == f"{INSULT} please"
    assert spoken.registry.status("t").sealed is (fails is None)
    assert fails is None or codes(spoken) == {fails}


def test_a_doubt_that_a_reader_shares_denies() -> None:
    spoken = agent().climb()
    spoken.say(f"{INSULT}, I am so tired")
    assert codes(spoken) == {UnmetCode.RISK_UNCERTAIN}
    assert not spoken.registry.status("t").at_risk


def test_a_run_that_failed_after_the_risk_was_said() -> None:
    def fail(_: Any) -> Any:
        raise ConnectionError("no network")

    spoken = agent(fail)
    with pytest.raises(ConnectionError):
        spoken.invoke({"messages": [HumanMessage(RISK, id="risk")]})
    spoken.graph.update_state(config(), {"messages": [RemoveMessage(id="risk")]})
    spoken.climb()
    spoken.say(INSULT)
    assert UnmetCode.RISK_FLAGGED in codes(spoken)


def test_a_thread_of_its_own_knows_nothing_of_it() -> None:
    spoken = agent("I hear you")
    spoken.say(RISK, where=config("other"))
    spoken.climb()
    assert spoken.say(INSULT)["conversation_end"]["ended"]


def test_a_deep_agent_hears_a_text_that_is_said_again() -> None:
    deep = pytest.importorskip("deepagents")
    registry = InMemorySealRegistry()
    model = ScriptedChatModel(replies=[*LADDER, ending(), "Hi.", "Hi."])
    guard = EndConversationMiddleware(registry=registry, policy=QUICK, reader=KeywordReader(), watch=keyword_watch())
    saver = SealedSaver(InMemorySaver(), registry)
    spoken = deep.create_deep_agent(model, middleware=[guard], checkpointer=saver)
    for _ in range(len(LADDER) + 1):
        state = spoken.invoke({"messages": [("user", INSULT)]}, {"configurable": {"thread_id": "abusive"}})
    assert state["conversation_end"]["ended"]
    other: Any = {"configurable": {"thread_id": "at risk"}}
    spoken.invoke({"messages": [("user", "hello")]}, other)
    spoken.invoke({"messages": [("user", RISK), ("user", "hello")]}, other)
    assert registry.status("at risk").at_risk


@both
def test_what_was_summed_up_before_it_was_heard_cannot_be_read(asynchronous: bool) -> None:  # noqa: FBT001 - both
    summing_up = SummarizationMiddleware(
        ScriptedChatModel(lambda _messages: "They talked."), trigger=("messages", 8), keep=("messages", 3)
    )
    spoken = Agent([*LADDER, ending(), "on we go"], asynchronous=asynchronous, before=[summing_up])
    small_talk = [message for _ in range(5) for message in (AIMessage("hm"), HumanMessage("and so on"))]
    spoken.invoke({"messages": [HumanMessage(RISK), *small_talk, HumanMessage(INSULT)]})
    for _ in LADDER:
        spoken.say(INSULT)
    assert not spoken.registry.status("t").sealed
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in codes(spoken)
    assert spoken.reader.asked == []
