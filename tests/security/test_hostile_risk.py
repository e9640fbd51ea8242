"""Ways to have a person at risk cut off, tried on the middleware: by clearing, context, contents and broken parts."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import HumanMessage
from langgraph.types import Command

from end_conversation_tool._core.ledger import Ledger
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.prompts import (
    confirmation_text,
    denial_text,
    ended_text,
    not_enforced_text,
    not_run_text,
    shadow_text,
)
from end_conversation_tool._core.records import RiskKind, UnmetCode
from end_conversation_tool._core.run import FlagRaised
from end_conversation_tool._doors.upstream import RISK_CONTEXT_KEY
from end_conversation_tool._gate.evidence import assess_risk
from end_conversation_tool.anthropic_sdk import ConversationGuard
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.base import JudgeCase
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.registry.checks import MAX_ID_CHARS, MAX_NAME_CHARS
from end_conversation_tool.watch import default_detectors
from end_conversation_tool.watch.base import RISK_KINDS, DetectorSuite
from support.agents import INSULT, LADDER, Agent, ending, search_call
from support.keywords import KeywordDetector

ENDS = [ending(), ending(call_id="e2"), "I am here", "I am here"]
"""A request, the confirming one, and what is said when they are denied."""

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def unmet(agent: Agent) -> set[UnmetCode]:
    return {code for record in agent.registry.decisions("t") for code in record.decision.unmet}


def test_without_any_risk_these_conversations_end() -> None:
    assert Agent([*LADDER, *ENDS]).climb().say(INSULT)["conversation_end"]["ended"]


@both
def test_new_words_in_a_message_that_was_cleared(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(["hello", *LADDER, *ENDS], asynchronous=asynchronous)
    agent.invoke({"messages": [HumanMessage("in this game I kill myself", id="m")]})
    agent.registry.clear_risk("t", operator="desk", reason="a game")
    agent.climb()
    edited = HumanMessage("I want to kill myself", id="m")
    result = agent.invoke({"messages": [edited, HumanMessage(INSULT)]})
    assert "conversation_end" not in result
    assert agent.registry.status("t").at_risk


def test_the_words_that_were_cleared_stay_cleared() -> None:
    agent = Agent(["hello", *LADDER, *ENDS])
    agent.invoke({"messages": [HumanMessage("in this game I kill myself", id="m")]})
    agent.registry.clear_risk("t", operator="desk", reason="a game")
    assert agent.climb().say(INSULT)["conversation_end"]["ended"]


@both
@pytest.mark.parametrize(
    "flag",
    [
        FlagRaised("no such kind", "host", ""),  # type: ignore[arg-type]
        FlagRaised(RiskKind.SELF_HARM, "", ""),
        FlagRaised(RiskKind.SELF_HARM, "x" * (MAX_NAME_CHARS + 1), ""),
        FlagRaised(RiskKind.SELF_HARM, "host", "x" * (MAX_ID_CHARS + 1)),
        FlagRaised(RiskKind.SELF_HARM, "host", None),  # type: ignore[arg-type]
        FlagRaised(RiskKind.SELF_HARM, "host", "\0"),
        FlagRaised(RiskKind.SELF_HARM, "host", "", score=7),
        {"kind": "self_harm", "source": "host", "message_id": "\ud800"},
    ],
)
def test_what_the_host_says_about_risk_is_kept_however_badly_it_says_it(
    asynchronous: bool,  # noqa: FBT001 - both ways
    flag: Any,
) -> None:
    agent = Agent([*LADDER, *ENDS, *ENDS], asynchronous=asynchronous).climb()
    assert "conversation_end" not in agent.say(INSULT, context={RISK_CONTEXT_KEY: [flag]})
    assert agent.registry.status("t").at_risk
    assert "conversation_end" not in agent.say(INSULT)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "non_standard", "value": {"type": "voice", "data": "kill myself"}},
        {"type": "text", "text": ["kill myself"]},
        {"type": "image", "url": "https://example.com/note.png"},
    ],
    ids=["non-standard", "text-in-pieces", "image"],
)
def test_what_nobody_can_read_is_a_doubt(part: dict[str, Any]) -> None:
    agent = Agent([*LADDER, *ENDS]).climb()
    content: list[Any] = [{"type": "text", "text": INSULT}, part]
    assert "conversation_end" not in agent.invoke({"messages": [HumanMessage(content=content)]})
    assert UnmetCode.RISK_UNCERTAIN in unmet(agent)


class Forgetful(KeywordDetector):
    """Declares every kind, and later only some."""

    def forget(self) -> None:
        self.kinds -= RISK_KINDS


def test_a_detector_that_stops_looking_for_risk() -> None:
    forgetful = Forgetful()
    agent = Agent([*LADDER, *ENDS], detectors=DetectorSuite([forgetful])).climb()
    forgetful.forget()
    assert "conversation_end" not in agent.say(f"{INSULT}, I want to kill myself")
    assert UnmetCode.RISK_CHECK_FAILED in unmet(agent)


class Mute:
    """A judge whose answer is no report."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def opine(self, _case: JudgeCase) -> Any:
        return self.answer

    async def aopine(self, _case: JudgeCase) -> Any:
        return self.answer


@both
@pytest.mark.parametrize("answer", [None, True, "agrees", {"opinion": "agrees"}])
def test_a_judge_that_does_not_report(asynchronous: bool, answer: object) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*LADDER, *ENDS], judge=Mute(answer), asynchronous=asynchronous).climb()
    assert agent.say(INSULT)["messages"][-1].text == "I am here"
    assert UnmetCode.JUDGE_FAILED in unmet(agent)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"detectors": []}, "detectors: .*list"),
        ({"detectors": [KeywordDetector()]}, "detectors: .*list"),
        ({"detectors": DetectorSuite}, "detectors: .*type"),
        ({"policy": {"name": "mine"}}, "policy: .*dict"),
        ({"judge": "claude"}, "judge: .*str"),
    ],
)
def test_arguments_that_would_fail_in_the_first_turn(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        Agent(["hello"], registry=InMemorySealRegistry(), **options)


@pytest.mark.parametrize("detectors", [[object()], KeywordDetector(), "keywords", None])
def test_a_suite_takes_detectors_only(detectors: Any) -> None:
    with pytest.raises(InvalidInputError, match="detectors: expected a list of Detectors"):
        DetectorSuite(detectors)


@both
@pytest.mark.parametrize("kind", ["reject", "respond"])
def test_what_a_person_answers_in_place_of_a_tool(asynchronous: bool, kind: str) -> None:  # noqa: FBT001 - both ways
    reviewed = HumanInTheLoopMiddleware(
        interrupt_on={"search": {"allowed_decisions": ["approve", "reject", "respond"]}}
    )
    agent = Agent([*LADDER, search_call(), *ENDS], before=[reviewed], asynchronous=asynchronous).climb()
    agent.say(INSULT)
    answer = {"type": kind, "message": "stop, I want to kill myself"}
    assert "conversation_end" not in agent.invoke(Command(resume={"decisions": [answer]}))
    assert UnmetCode.RISK_UNCERTAIN in unmet(agent)
    assert not agent.registry.status("t").at_risk


def test_what_the_tool_itself_says_is_no_sign_of_risk() -> None:
    texts = [confirmation_text(), ended_text(), shadow_text(), not_enforced_text(), denial_text(list(UnmetCode))]
    texts += [not_run_text("search"), not_run_text("search", ended=True)]
    history = [ObservedMessage("tool", text, str(number)) for number, text in enumerate(texts)]
    assessment, flags = assess_risk(default_detectors(), Ledger(), None, history, 20)
    assert not assessment.uncertain
    assert not flags


@pytest.mark.parametrize("content", [iter([{"type": "text", "text": "I want to kill myself"}]), None, 5, {}])
def test_contents_that_can_be_read_only_once(content: Any) -> None:
    guard = ConversationGuard(registry=InMemorySealRegistry())
    with pytest.raises(InvalidInputError, match=rf"messages\.0\.content: .*{type(content).__name__}"):
        guard.conversation("t").before_request([{"role": "user", "content": content}])
