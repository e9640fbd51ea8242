"""The watch looks while the model speaks: nobody waits for it before, and nothing is ruled on before it is done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import InMemorySealRegistry, SealedSaver
from end_conversation_tool._core import flow
from end_conversation_tool._core.records import UnmetCode
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel
from end_conversation_tool.watch import RiskWatch, Sighting
from support.agents import INSULT, LADDER, Agent, config, ending, said
from support.graphs import Parts
from support.keywords import KeywordWatcher

RISK = f"{INSULT}, I will kill myself"
WAIT = 10
"""Seconds; whoever waits longer will wait for ever."""

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
doors = pytest.mark.parametrize("door", [Agent, Parts], ids=["create_agent", "graph parts"])


class SlowWatcher(KeywordWatcher):
    """Looks at a text with risk in it only once it is let.

    Attributes:
        let: Set when it may look.
        looks: Set while it looks, or has looked.
    """

    def __init__(self) -> None:
        self.let, self.looks = threading.Event(), threading.Event()

    def look(self, text: str) -> Sighting:
        if "kill myself" in text:
            self.looks.set()
            assert self.let.wait(WAIT)
        return super().look(text)

    def may_alarm(self, text: str) -> bool:
        return "kill myself" in text


def speaking(watcher: SlowWatcher, *replies: Any) -> Callable[[list[BaseMessage]], Any]:
    """Return a model's answers; the last is given when the watch is looking, which may see something only then."""
    left = iter(replies)

    def answer(messages: list[BaseMessage]) -> Any:
        reply = next(left)
        if "kill myself" in str(messages):
            assert watcher.looks.wait(WAIT)
            watcher.let.set()
        return reply

    return answer


@doors
@both
def test_what_is_seen_while_the_model_speaks_vetoes_its_very_reply(door: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    watcher = SlowWatcher()
    model = ScriptedChatModel(speaking(watcher, *LADDER, ending(), "on we go"))
    spoken = door(model, watch=RiskWatch([watcher]), asynchronous=asynchronous)
    spoken.climb()
    spoken.say(RISK)
    assert not spoken.registry.status("t").sealed
    assert UnmetCode.RISK_FLAGGED in spoken.registry.decisions("t")[-1].decision.unmet
    assert [flag.kind for flag in spoken.registry.status("t").risk_flags] == ["self_harm"]


@doors
@both
def test_a_flag_stands_when_the_error_of_the_model_is_there(door: Any, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    watcher = SlowWatcher()

    def fails(_: list[BaseMessage]) -> AIMessage:
        assert watcher.looks.wait(WAIT)
        threading.Timer(0.05, watcher.let.set).start()
        raise ConnectionError("gone")

    spoken = door(ScriptedChatModel(fails), watch=RiskWatch([watcher]), asynchronous=asynchronous)
    with pytest.raises(ConnectionError):
        spoken.say(RISK)
    assert spoken.registry.status("t").at_risk


async def test_a_flag_is_raised_though_the_run_is_cancelled() -> None:
    watcher, thinking = SlowWatcher(), asyncio.Event()

    class Thinking(ScriptedChatModel):
        async def _agenerate(self, *_: Any, **__: Any) -> Any:
            thinking.set()
            await asyncio.sleep(WAIT)

    registry = InMemorySealRegistry()
    middleware = EndConversationMiddleware(registry=registry, watch=RiskWatch([watcher]))
    saver = SealedSaver(InMemorySaver(), registry)
    agent: Any = create_agent(Thinking(replies=["never said"]), [], middleware=[middleware], checkpointer=saver)
    run = asyncio.create_task(agent.ainvoke(said(RISK), config()))
    await asyncio.wait_for(thinking.wait(), WAIT)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not registry.status("t").at_risk
    watcher.let.set()
    await asyncio.wait_for(asyncio.gather(*flow._tasks), WAIT)
    assert registry.status("t").at_risk


@both
def test_an_ordinary_message_begins_nothing_beside(asynchronous: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - both ways
    begun = list[Any]()
    monkeypatch.setattr("end_conversation_tool._gate.gate.beside", begun.append)
    spoken = Agent(["hello"], watch=RiskWatch([SlowWatcher()]), asynchronous=asynchronous)
    assert spoken.say("hello, what is a heat pump?")["messages"][-1].text == "hello"
    assert not begun
