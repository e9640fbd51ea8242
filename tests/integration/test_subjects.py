"""Whose thread it is, by every door: recorded when something else is, never in an ordinary turn, and never a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from end_conversation_tool._doors.upstream import SUBJECT_KEY
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.graph_parts import add_end_conversation
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.registry.protocol import ThreadEvent
from support.agents import INSULT, LADDER, Agent, config, ending
from support.graphs import Guarded, written
from support.keywords import QUICK, KeywordReader, keyword_watch
from support.registries import FlakyRegistry
from support.wire import ABUSE, end, finished, guard_of, said

RISK = "kill myself"
WHOLE = [*LADDER, ending()]


def with_parts(replies: Any, *, asynchronous: bool = False) -> Guarded:
    """Return a hand-written graph with the parts in it."""
    registry = InMemorySealRegistry()

    def build(model: Any, tools: list[Any]) -> Any:
        builder = written(model, tools)
        add_end_conversation(builder, registry=registry, reader=KeywordReader(), watch=keyword_watch(), policy=QUICK)
        return builder.compile()

    return Guarded(replies, build=build, guarded=False, registry=registry, asynchronous=asynchronous)


doors = pytest.mark.parametrize(
    "door", [Agent, Guarded, with_parts], ids=["create_agent", "guarded graph", "graph parts"]
)
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
Door = Callable[..., Any]


def subjects(registry: Any, thread_id: str = "t") -> list[str | None]:
    events: list[ThreadEvent] = registry.history(thread_id)
    return [event.subject for event in events if event.kind == "attributed"]


@doors
@both
def test_a_subject_in_the_runs_context_is_recorded_with_the_first_record(door: Door, asynchronous: bool) -> None:  # noqa: FBT001
    agent, whose = door(WHOLE, asynchronous=asynchronous), {"context": {SUBJECT_KEY: "user-7"}}
    agent.climb(**whose)
    assert agent.registry.history("t") == ()
    agent.say(INSULT, **whose)
    assert agent.registry.status("t").sealed
    assert subjects(agent.registry) == ["user-7"]
    assert [one.what for one in agent.registry.subject_history("user-7")] == ["sealed"]


@doors
def test_a_subject_in_configurable_is_as_good(door: Door) -> None:
    agent = door(["Oh."])
    agent.say(RISK, where=config(**{SUBJECT_KEY: "user-7"}))
    assert agent.registry.status("t").at_risk
    assert subjects(agent.registry) == ["user-7"]


@dataclass
class Host:
    """A run's context that is an object."""

    end_conversation_subject: str


def test_a_context_can_be_an_object_and_goes_before_configurable() -> None:
    agent = Agent(["Oh."])
    agent.say(RISK, where=config(**{SUBJECT_KEY: "user-8"}), context=Host("user-7"))
    assert subjects(agent.registry) == ["user-7"]


@pytest.mark.parametrize("subject", ["", " ", "x" * 201, 7, ["user-7"], "\0"])
def test_what_is_no_id_fails_no_turn_and_is_told(subject: Any, caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent(["Oh."])
    with caplog.at_level(logging.WARNING):
        agent.say(RISK, context={SUBJECT_KEY: subject})
    assert agent.registry.status("t").at_risk
    assert subjects(agent.registry) == []
    assert f"{SUBJECT_KEY} is left out: subject: " in caplog.text
    assert "xxx" not in caplog.text


def test_a_subject_that_cannot_be_recorded_keeps_nobody_from_an_end() -> None:
    agent = Agent(WHOLE, registry=FlakyRegistry("attribute")).climb()
    agent.say(INSULT, context={SUBJECT_KEY: "user-7"})
    assert agent.registry.status("t").sealed
    assert subjects(agent.registry) == []


def test_nobody_is_judged_by_what_else_is_on_record_of_them() -> None:
    registry = InMemorySealRegistry()
    for thread in ("one", "two"):
        agent, where = Agent(WHOLE, registry=registry), config(thread)
        agent.climb(where=where)
        agent.say(INSULT, where=where, context={SUBJECT_KEY: "user-7"})
        assert registry.status(thread).sealed
    other = Agent(["Gladly.", ending(), "Gladly."], registry=registry)
    other.say("Could you suggest a soup?", where=config("three"), context={SUBJECT_KEY: "user-7"})
    other.say("And a dessert?", where=config("three"), context={SUBJECT_KEY: "user-7"})
    assert not registry.status("three").sealed
    assert sum(one.what == "sealed" for one in registry.subject_history("user-7")) == 2


def test_the_raw_door_takes_it_with_the_conversation() -> None:
    registry = InMemorySealRegistry()
    chat, messages = guard_of(registry).conversation("c", subject="user-7"), [said(ABUSE[0])]
    chat.before_request(messages).after_response(finished("Gladly."))
    assert registry.history("c") == ()
    chat.before_request(messages).after_response(finished(end()))
    assert [one.what for one in registry.subject_history("user-7")] == ["denied"]
    for wrong in ("", 7):
        with pytest.raises(InvalidInputError, match=r"^subject: "):
            guard_of(registry).conversation("c", subject=wrong)  # type: ignore[arg-type]
