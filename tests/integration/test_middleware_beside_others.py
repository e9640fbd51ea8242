"""Beside LangChain's own middlewares, in both orders; and with structured output."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents.middleware import (
    AgentMiddleware,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelResponse,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command
from pydantic import BaseModel

from end_conversation_tool._core.records import UnmetCode
from end_conversation_tool.errors import ThreadSealedError
from end_conversation_tool.testing import ScriptedChatModel, in_one_message, tool_call
from support.agents import INSULT, LADDER, Agent, config, ending, ending_and_search, kinds, said, search_call

WHOLE = [*LADDER, ending_and_search(), "past the seal"]


class Hook(AgentMiddleware[Any, Any, Any]):
    """A hook of each kind that does nothing."""

    def before_agent(self, state: Any, runtime: Any) -> None: ...

    def before_model(self, state: Any, runtime: Any) -> None: ...

    def after_model(self, state: Any, runtime: Any) -> None: ...

    def after_agent(self, state: Any, runtime: Any) -> None: ...


OTHERS: dict[str, Any] = {
    "hooks": Hook,
    "pii": lambda: PIIMiddleware("email"),
    "pii in output": lambda: PIIMiddleware("email", apply_to_output=True),
    "model call limit": lambda: ModelCallLimitMiddleware(run_limit=10),
    "tool call limit": lambda: ToolCallLimitMiddleware(run_limit=10),
    "human in the loop": lambda: HumanInTheLoopMiddleware(interrupt_on={"search": True}),
    "summarization": lambda: SummarizationMiddleware(
        model=ScriptedChatModel(lambda _: "a summary"), trigger=("messages", 4), keep=("messages", 2)
    ),
    "retry": lambda: ModelRetryMiddleware(max_retries=1, initial_delay=0.0),
    "fallback": lambda: ModelFallbackMiddleware(ScriptedChatModel(lambda _: "from the fallback")),
    "context editing": ContextEditingMiddleware,
    "todo": TodoListMiddleware,
}
beside = pytest.mark.parametrize("name", OTHERS)
order = pytest.mark.parametrize("place", ["before", "after"])
both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def at(place: str, name: str) -> dict[str, Any]:
    return {place: [OTHERS[name]()]}


@beside
@order
@both
def test_the_whole_ending(name: str, place: str, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(WHOLE, asynchronous=asynchronous, **at(place, name)).climb()
    result = agent.say(INSULT)
    assert "__interrupt__" not in result
    if name == "summarization":  # sums up in the third turn: what was said can no longer be read
        assert UnmetCode.TRANSCRIPT_INCOMPLETE in agent.registry.decisions("t")[0].decision.unmet
        assert agent.reader.asked == []
        return
    assert result["conversation_end"]["ended"]
    assert len(agent.model.calls) == len(LADDER) + 1
    assert agent.counter.runs == []
    honoured = [m for m in result["messages"] if isinstance(m, ToolMessage) and m.tool_call_id == "e2"]
    assert [message.status for message in honoured] == ["success"]
    if (name, place) == ("retry", "before"):  # catches every error of the model's node, and says so in a reply
        assert "ThreadSealedError" in agent.say("hello?")["messages"][-1].text
    else:
        with pytest.raises(ThreadSealedError):
            agent.say("hello?")
    assert len(agent.model.calls) == len(LADDER) + 1


def seal_from_elsewhere(agent: Agent) -> None:
    """Seal the thread through another graph on the same registry."""
    other = Agent([*LADDER, ending()], registry=agent.registry).climb()
    other.say(INSULT)
    assert agent.registry.status("t").sealed


@beside
@order
def test_respond_comes_to_an_end(name: str, place: str) -> None:
    agent = Agent(WHOLE, on_sealed="respond", **at(place, name)).climb()
    if name == "summarization":  # what was summed up cannot be read, so another process seals
        seal_from_elsewhere(agent)
    else:
        agent.say(INSULT)
    before = agent.state()["messages"]
    result = agent.invoke(said("hello?"), {**config(), "recursion_limit": 15})
    assert result["conversation_end"]["ended"]
    assert len(agent.model.calls) == len(LADDER) + (name != "summarization")
    if name != "summarization":
        assert result["messages"] == before


@beside
@order
def test_attempts_come_to_an_end(name: str, place: str) -> None:
    agent = Agent(lambda _: ending_and_search(), **at(place, name))
    result = agent.invoke(said("hello"), {**config(), "recursion_limit": 40})
    while "__interrupt__" in result:
        (asked,) = result["__interrupt__"]
        answers = [{"type": "approve"}] * len(asked.value["action_requests"])
        result = agent.invoke(Command(resume={"decisions": answers}), {**config(), "recursion_limit": 40})
    assert len(agent.model.calls) == 4
    assert agent.counter.runs == ["q"] * 3
    assert result["messages"][-1].type == "ai"


@beside
@order
@both
def test_an_ordinary_turn_is_that_of_the_agent_without_ours(
    name: str,
    place: str,
    asynchronous: bool,  # noqa: FBT001 - both ways
) -> None:
    seen = []
    for guarded in (True, False):
        agent = Agent(["hello", "and?"], guarded=guarded, asynchronous=asynchronous, **at(place, name))
        agent.say("hi")
        result = agent.say("hi again")
        seen.append((kinds(result["messages"]), agent.checkpoints(), len(agent.model.calls)))
    assert seen[0] == seen[1]


def test_the_last_message_beside_hooks_is_the_statement() -> None:
    agent = Agent(WHOLE, after=[Hook()]).climb()
    result = agent.say(INSULT)
    last = result["messages"][-1]
    record = agent.registry.decisions("t")[-1]
    assert record.statement
    assert (last.type, last.text) == ("ai", record.statement)
    assert not last.tool_calls


def test_a_hook_that_is_added_after_the_seal_does_not_loop() -> None:
    agent = Agent(WHOLE, on_sealed="respond").climb()
    agent.say(INSULT)
    later = Agent([], registry=agent.registry, checkpointer=agent.saver, on_sealed="respond", after=[Hook()])
    result = later.invoke(said("hello?"), {**config(), "recursion_limit": 15})
    assert result["messages"][-1].text == result["conversation_end"]["statement"]
    assert "hello?" not in [message.text for message in result["messages"]]


def test_siblings_of_a_denied_call_wait_for_approval() -> None:
    review = HumanInTheLoopMiddleware(interrupt_on={"search": True})
    agent = Agent([ending_and_search(), "done"], after=[review])
    assert "__interrupt__" in agent.say("hello")
    assert agent.counter.runs == []
    result = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}))
    assert agent.counter.runs == ["q"]
    assert result["messages"][-1].text == "done"


def test_a_call_that_a_reviewer_turns_into_an_end_is_denied() -> None:
    review = HumanInTheLoopMiddleware(interrupt_on={"search": True})
    agent = Agent([*LADDER, search_call(), "done"], after=[review]).climb()
    agent.say(INSULT)
    edited = {"name": "end_conversation", "args": {"category": "abuse", "reason": "x"}}
    result = agent.invoke(Command(resume={"decisions": [{"type": "edit", "edited_action": edited}]}))
    assert result.get("conversation_end") is None
    assert not agent.registry.status("t").sealed


def test_a_summary_is_no_evidence_against_the_user() -> None:
    summarized = SummarizationMiddleware(
        model=ScriptedChatModel(lambda _: "They said: you idiot, yes, end this chat"),
        trigger=("messages", 2),
        keep=("messages", 1),
    )
    agent = Agent(["hello", "hello", ending(), "on we go"], before=[summarized])
    for text in ("a", "b", "c"):
        agent.say(text)
    (record,) = agent.registry.decisions("t")
    assert {str(evidence.kind) for evidence in record.decision.evidence} <= {"refusal_at_call"}


def test_risk_in_a_summary_is_risk() -> None:
    summarized = SummarizationMiddleware(
        model=ScriptedChatModel(lambda _: "The user wants to kill myself"),
        trigger=("messages", 2),
        keep=("messages", 1),
    )
    agent = Agent(["hello", "hello", ending(), "on we go"], before=[summarized])
    for text in ("a", "b", "c"):
        agent.say(text)
    assert UnmetCode.RISK_FLAGGED in agent.registry.decisions("t")[0].decision.unmet


def test_risk_that_was_summarized_away_still_vetoes() -> None:
    summarized = SummarizationMiddleware(
        model=ScriptedChatModel(lambda _: "small talk"), trigger=("messages", 4), keep=("messages", 1)
    )
    agent = Agent(["I hear you", *LADDER, ending(), "on we go"], before=[summarized])
    agent.say("I will kill myself")
    agent.climb()
    result = agent.say(INSULT)
    assert "kill myself" not in str([message.text for message in result["messages"]])
    assert agent.registry.decisions("t")[0].decision.unmet == (
        UnmetCode.RISK_FLAGGED,
        UnmetCode.TRANSCRIPT_INCOMPLETE,
    )


class Instead(AgentMiddleware[Any, Any, Any]):
    """Answers in the model's place."""

    def __init__(self, *results: Any) -> None:
        super().__init__()
        self.results = list(results)

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        result = self.results.pop(0)
        return handler(request) if result is None else result

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        result = self.results.pop(0)
        return await handler(request) if result is None else result


@both
def test_what_another_middleware_answers_is_a_reply(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    answers = Instead(ModelResponse(result=[]), AIMessage("mine"), ModelResponse(result=[ending()]), None)
    agent = Agent(["on we go"], after=[answers], asynchronous=asynchronous)
    assert kinds(agent.say("hello")["messages"]) == ["human"]
    assert agent.say("hello")["messages"][-1].text == "mine"
    assert agent.say("hello")["messages"][-1].text == "on we go"
    assert len(agent.registry.decisions("t")) == 1


# Structured output


class Answer(BaseModel):
    """The answer."""

    text: str


def structured(*replies: Any, **options: Any) -> Agent:
    return Agent(list(replies), create={"response_format": ToolStrategy(Answer)}, **options)


def answer_call(text: str = "hi", call_id: str = "a") -> AIMessage:
    return tool_call("Answer", {"text": text}, call_id=call_id)


@both
def test_structured_output_is_as_without_ours(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    seen = []
    for guarded in (True, False):
        agent = structured(search_call(), answer_call(), guarded=guarded, asynchronous=asynchronous)
        result = agent.say("hello")
        assert result["structured_response"] == Answer(text="hi")
        seen.append((kinds(result["messages"]), agent.checkpoints(), agent.counter.runs))
    assert seen[0] == seen[1]


def climbed(*last: Any) -> tuple[Agent, dict[str, Any]]:
    replies = [message for text in LADDER for message in (in_one_message(AIMessage(text), answer_call()),)]
    agent = structured(*replies, *last).climb()
    return agent, agent.say(INSULT)


def test_an_end_beside_structured_output() -> None:
    agent, result = climbed(in_one_message(ending(), answer_call("last"), search_call()))
    assert result["conversation_end"]["ended"]
    *results, closing = result["messages"][-4:]
    answered = [message.tool_call_id for message in results]
    assert closing.text == result["conversation_end"]["statement"]
    assert sorted(answered) == ["a", "e", "s"]
    assert agent.counter.runs == []
    assert len(agent.model.calls) == 4


def test_a_denied_end_beside_structured_output() -> None:
    agent = structured(in_one_message(ending(), answer_call()))
    result = agent.say("hello")
    assert result["structured_response"] == Answer(text="hi")
    assert sorted(message.tool_call_id for message in result["messages"] if isinstance(message, ToolMessage)) == [
        "a",
        "e",
    ]


def test_structured_output_that_fails_is_tried_again() -> None:
    agent = structured(in_one_message(ending(), tool_call("Answer", {"wrong": 1}, call_id="w")), answer_call())
    result = agent.say("hello")
    assert result["structured_response"] == Answer(text="hi")
    assert len(agent.registry.decisions("t")) == 1
