"""An ordinary conversation does not notice the middleware: no step, no call, no byte of the prefix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage

from end_conversation_tool._core.prompts import PROMPT_SECTION
from end_conversation_tool.testing import tool_call
from support.agents import (
    INSULT,
    LADDER,
    Agent,
    config,
    ending_and_search,
    kinds,
    search_call,
)

WHOLE = [*LADDER, ending_and_search(), "after"]
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


class Touched(list[Any]):
    """A list of messages that counts how many of them are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        return self._counted(super().__iter__())

    def __reversed__(self) -> Iterator[Any]:
        return self._counted(super().__reversed__())

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.looks += len(found) if isinstance(index, slice) else 1
        return found

    def _counted(self, messages: Iterator[Any]) -> Iterator[Any]:
        for message in messages:
            self.looks += 1
            yield message


class Looking(AgentMiddleware[Any, Any, Any]):
    """Stands before ours, and counts the messages that ours looks at besides the model's own reading."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[int] = []

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        messages = Touched(request.state["messages"])
        answer = handler(request.override(state={**request.state, "messages": messages}))
        self.looks.append(messages.looks)
        return answer


@pytest.mark.parametrize("turns", [10, 1_000])
def test_a_turn_looks_at_the_same_few_messages_however_long_the_thread(turns: int) -> None:
    """One for what came in, three for what was said: the new one, the reply before it, the one that is known; some more
    for open calls.
    """
    looking = Looking()
    agent = Agent(lambda _messages: "Gladly.", before=[looking])
    past = [made("Could you suggest a soup?") for _ in range(turns) for made in (HumanMessage, AIMessage)]
    agent.invoke({"messages": past})
    agent.say("And a salad?")
    agent.say("And a bread?")
    assert looking.looks[1:] == [9, 8]
    assert looking.looks[0] == 4 * turns + 6  # what came in as the past is found there, and read once, for risk
