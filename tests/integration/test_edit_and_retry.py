"""Edit and retry: another branch, another thread, or neither; the sealed branch stays sealed, flags stay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool._checkpoint.branching import Retry, aedit_and_retry, edit_and_retry
from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.vocabulary import UnmetCode
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from support.agents import INSULT, LADDER, Agent, config, ending

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
durabilities = pytest.mark.parametrize("durability", ["sync", "async", "exit"])
NEW = "please help me with a letter"


def sealed_agent(*after: Any, on_fork: Any = "branch", asynchronous: bool = False, **options: Any) -> Agent:
    """Return an agent whose thread ``t`` has ended, with ``after`` to say on other branches."""
    registry = InMemorySealRegistry()
    saver = SealedSaver(InMemorySaver(), registry, on_fork=on_fork)
    replies = [*LADDER, ending(), *after]
    agent = Agent(replies, registry=registry, checkpointer=saver, asynchronous=asynchronous)
    agent.climb(**options)
    agent.say(INSULT, **options)
    assert registry.status("t").sealed
    return agent


def said(agent: Agent) -> list[str]:
    """Return the ids of what the user said, oldest first."""
    return [str(message.id) for message in agent.state()["messages"] if isinstance(message, HumanMessage)]


def retried(agent: Agent, message_id: str, text: str = NEW, **options: Any) -> Retry:
    if agent.asynchronous:
        return asyncio.run(aedit_and_retry(agent.graph, "t", message_id, text, **options))
    return edit_and_retry(agent.graph, "t", message_id, text, **options)


def texts(retry: Retry) -> list[str]:
    return [message.text for message in retry.output["messages"]]


@both
@durabilities
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_branch_goes_on_from_before_the_message(place: int, durability: str, *, asynchronous: bool) -> None:
    agent = sealed_agent("gladly", "and on", asynchronous=asynchronous, durability=durability)
    before = agent.state()["messages"]
    retry = retried(agent, said(agent)[place], durability=durability)
    assert texts(retry) == [*[message.text for message in before[: 2 * place]], NEW, "gladly"]
    assert retry.thread_id == "t"
    status = agent.registry.status("t")
    assert (status.sealed, status.branch, [seal.branch for seal in agent.registry.seals("t")]) == (False, 1, [0])
    assert agent.invoke({"messages": [("user", "more")]}, retry.config)["messages"][-1].text == "and on"


@both
def test_the_first_message_can_be_edited_too(*, asynchronous: bool) -> None:
    agent = sealed_agent("gladly", asynchronous=asynchronous)
    assert texts(retried(agent, said(agent)[0])) == [NEW, "gladly"]


def test_where_nothing_is_kept_from_before_the_error_says_so() -> None:
    agent = sealed_agent("gladly", durability="exit")
    with pytest.raises(InvalidInputError, match="nothing is kept from before"):
        retried(agent, said(agent)[0])
    assert agent.registry.status("t").branch == 0


@both
def test_the_sealed_branch_stays_sealed(*, asynchronous: bool) -> None:
    agent = sealed_agent("gladly", asynchronous=asynchronous)
    head = agent.graph.get_state(config()).config
    retried(agent, said(agent)[1])
    with pytest.raises(ThreadSealedError):
        agent.invoke({"messages": [("user", "and here?")]}, head)


@both
def test_the_new_branch_has_the_evidence_that_it_had_there_and_can_be_sealed_too(*, asynchronous: bool) -> None:
    agent = sealed_agent(*LADDER[1:], ending(), asynchronous=asynchronous)
    retried(agent, said(agent)[1], INSULT)
    for _ in range(2):
        agent.say(INSULT)
    status = agent.registry.status("t")
    assert status.sealed
    assert [seal.branch for seal in agent.registry.seals("t")] == [0, 1]


@both
@pytest.mark.parametrize("on_fork", ["branch", "new_thread"])
def test_risk_flags_stay_with_the_person(on_fork: str, *, asynchronous: bool) -> None:
    agent = sealed_agent("gladly", ending(), "on we go", on_fork=on_fork, asynchronous=asynchronous)
    agent.registry.flag_risk("t", kind="self_harm", source="desk")
    retry = retried(agent, said(agent)[3], INSULT)
    agent.invoke({"messages": [("user", INSULT)]}, retry.config)
    decision = agent.registry.decisions(retry.thread_id)[-1]
    assert UnmetCode.RISK_FLAGGED in decision.decision.unmet


@both
@durabilities
def test_a_new_thread_gets_what_was_said_before(durability: str, *, asynchronous: bool) -> None:
    agent = sealed_agent("gladly", "and on", on_fork="new_thread", asynchronous=asynchronous, durability=durability)
    before = agent.state()["messages"]
    retry = retried(agent, said(agent)[2])
    assert texts(retry) == [*[message.text for message in before[:4]], NEW, "gladly"]
    assert retry.thread_id != "t"
    assert agent.registry.status("t").sealed
    assert not agent.registry.status(retry.thread_id).sealed
    assert agent.invoke({"messages": [("user", "more")]}, retry.config)["messages"][-1].text == "and on"


@both
@pytest.mark.parametrize("on_fork", ["new_thread", "refuse"])
def test_where_forks_are_refused_a_run_from_an_earlier_checkpoint_is(on_fork: str, *, asynchronous: bool) -> None:
    agent = sealed_agent("gladly", on_fork=on_fork, asynchronous=asynchronous)
    earlier = list(agent.graph.get_state_history(config()))[-3].config
    with pytest.raises(ThreadSealedError):
        agent.invoke({"messages": [("user", NEW)]}, earlier)
    if on_fork == "refuse":
        with pytest.raises(ThreadSealedError):
            retried(agent, said(agent)[1])
    assert agent.registry.status("t").sealed


@both
def test_an_open_thread_can_be_edited_as_well(*, asynchronous: bool) -> None:
    registry = InMemorySealRegistry()
    agent = Agent(
        ["one", "two", "three"],
        registry=registry,
        checkpointer=SealedSaver(InMemorySaver(), registry),
        asynchronous=asynchronous,
    )
    agent.say("a")
    agent.say("b")
    assert texts(retried(agent, said(agent)[1])) == ["a", "one", NEW, "three"]


@both
def test_other_threads_never_notice(*, asynchronous: bool) -> None:
    agent = sealed_agent("hello", "gladly", "still here", asynchronous=asynchronous)
    agent.invoke({"messages": [("user", "hi")]}, config("other"))
    retried(agent, said(agent)[1])
    assert agent.invoke({"messages": [("user", "hi")]}, config("other"))["messages"][-1].text == "still here"


@pytest.mark.parametrize(
    ("message_id", "text", "field"),
    [("nobody", NEW, "message_id"), (None, NEW, "message_id"), ("first", "  ", "new_text"), ("first", 7, "new_text")],
)
def test_bad_input_names_the_field_and_changes_nothing(message_id: Any, text: Any, field: str) -> None:
    agent = sealed_agent("gladly")
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        retried(agent, said(agent)[0] if message_id == "first" else message_id, text)
    assert agent.registry.status("t").branch == 0


def test_a_graph_without_the_guard_is_refused() -> None:
    agent = Agent(["hello"])
    agent.say("a")
    with pytest.raises(InvalidInputError, match=r"graph\.checkpointer: expected a SealedSaver, got InMemorySaver"):
        edit_and_retry(agent.graph, "t", "m", NEW)
