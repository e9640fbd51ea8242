"""What an operator's reopening means for an agent on a guarded checkpointer."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.records import Outcome, UnmetCode
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from support.agents import INSULT, LADDER, Agent, ending


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def sealed(request: pytest.FixtureRequest) -> Agent:
    """An agent whose thread was ended after the whole ladder; the model goes on as it did before."""
    registry = InMemorySealRegistry()
    saver: Any = SealedSaver(InMemorySaver(), registry)
    replies = [*LADDER, ending(), ending(call_id="e2"), "hello", *LADDER, ending(call_id="e3"), "hello"]
    agent = Agent(replies, registry=registry, checkpointer=saver, asynchronous=request.param)
    agent.climb()
    agent.say(INSULT)
    with pytest.raises(ThreadSealedError):
        agent.say("hello?")
    return agent


def test_old_evidence_ends_nothing_and_new_evidence_does(sealed: Agent) -> None:
    status = sealed.registry.reopen("t", operator="Kim", reason="upheld")
    sealed.say(INSULT)  # the model asks for the end at once, and is denied
    denied = sealed.registry.decisions("t")[-1]
    assert denied.outcome is Outcome.DENIED
    assert {UnmetCode.NO_WARNING, UnmetCode.TOO_FEW_REFUSALS} <= set(denied.decision.unmet)
    assert not sealed.registry.status("t").sealed
    for _ in LADDER:
        sealed.say(INSULT)
    sealed.say(INSULT)
    again = sealed.registry.status("t")
    assert again.seal is not None
    assert again.sequence == status.sequence + 1
    assert min(item.turn for item in again.seal.record.decision.evidence) >= denied.turn
    with pytest.raises(ThreadSealedError):
        sealed.say("hello?")


def test_a_risk_flag_outlives_the_reopening(sealed: Agent) -> None:
    sealed.registry.flag_risk("t", kind="crisis", source="desk")
    sealed.registry.reopen("t", operator="Kim", reason="upheld")
    for _ in range(2 + len(LADDER)):
        sealed.say(INSULT)
    assert not sealed.registry.status("t").sealed
    assert UnmetCode.RISK_FLAGGED in sealed.registry.decisions("t")[-1].decision.unmet
