"""An ordinary conversation does not notice the middleware: no step, no call, no byte of the prefix."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from end_conversation_tool.prompts import PROMPT_SECTION
from end_conversation_tool.testing import tool_call
from support.agents import (
    INSULT,
    LADDER,
    Agent,
    config,
    ending,
    ending_and_search,
    kinds,
    search_call,
)

WHOLE = [*LADDER, ending(call_id="e1"), ending_and_search(), "after"]
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


# An ordinary conversation notices nothing


@pytest.mark.parametrize("turns", [["hi"], ["hi", "and?"]])
@both
def test_steps_checkpoints_and_model_calls_are_those_of_the_bare_agent(
    turns: list[str],
    asynchronous: bool,  # noqa: FBT001 - both ways
) -> None:
    counts = []
    for guarded in (True, False):
        agent = Agent([search_call(), "found", "more"], guarded=guarded, asynchronous=asynchronous)
        nodes = []
        for turn in turns:
            agent.say(turn)
            steps = [snapshot.metadata["step"] for snapshot in agent.graph.get_state_history(config())]
            nodes.append((len(steps), max(steps)))
        counts.append((nodes, len(agent.model.calls), agent.counter.runs, kinds(agent.state()["messages"])))
    assert counts[0] == counts[1]


def test_tools_and_system_prompt_are_byte_identical_over_a_thread() -> None:
    agent = Agent(WHOLE, create={"system_prompt": "Be brief."}).climb()
    agent.say(INSULT)
    prompts = {repr(call[0].content) for call in agent.model.calls}
    assert prompts == {repr(f"Be brief.\n\n{PROMPT_SECTION}")}
    tools = {tuple(map(repr, bound)) for bound in agent.model.bindings}
    assert len(tools) == 1


@pytest.mark.parametrize(
    ("prompt", "section", "expected"),
    [
        (None, PROMPT_SECTION, PROMPT_SECTION),
        (None, None, None),
        ("Be brief.", "", "Be brief."),
        ([{"type": "text", "text": "a"}], "b", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ],
)
def test_the_prompt_section(prompt: Any, section: str | None, expected: Any) -> None:
    from langchain_core.messages import SystemMessage  # noqa: PLC0415

    create = {} if prompt is None else {"system_prompt": SystemMessage(content=prompt)}
    agent = Agent(["hello"], create=create, prompt_section=section)
    agent.say("hello")
    first = agent.model.calls[0][0]
    assert (first.content if first.type == "system" else None) == expected
    assert isinstance(agent.model.calls[0][-1], HumanMessage)


def test_a_call_of_another_tool_costs_no_decision() -> None:
    agent = Agent([tool_call("search", {"query": "x"}), "done"])
    agent.say("hello")
    assert agent.counter.runs == ["x"]
    assert agent.registry.decisions("t") == ()
