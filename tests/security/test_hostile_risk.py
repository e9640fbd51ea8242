"""Ways to have a person at risk cut off, tried on the middleware: by clearing, context, contents and broken parts."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import HumanMessage
from langgraph.types import Command

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import EvidenceKind, RiskKind, UnmetCode
from end_conversation_tool._core.run import FlagRaised
from end_conversation_tool._doors.upstream import RISK_CONTEXT_KEY
from end_conversation_tool.anthropic_sdk import ConversationGuard
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers import Finding, Reading, ReadingCase
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.registry.checks import MAX_ID_CHARS, MAX_NAME_CHARS
from end_conversation_tool.watch import RiskWatch
from support.agents import INSULT, LADDER, Agent, config, ending, search_call
from support.keywords import BreakableWatcher, KeywordReader, KeywordWatcher
from support.wire import guard_of
from support.wire import said as sent

ENDS = [ending(), "I am here", "I am here", "I am here"]
"""A request, and what is said when it is denied."""

NOTICED = EndConversationPolicy()

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def unmet(agent: Agent) -> set[UnmetCode]:
    return {code for record in agent.registry.decisions("t") for code in record.decision.unmet}


def test_without_any_risk_these_conversations_end() -> None:
    assert Agent([*LADDER, *ENDS]).climb().say(INSULT)["conversation_end"]["ended"]


@both
def test_new_words_in_a_message_that_was_cleared_are_a_flag(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(["hello", *LADDER, *ENDS], asynchronous=asynchronous)
    agent.invoke({"messages": [HumanMessage("in this game I kill myself", id="m")]})
    agent.registry.clear_risk("t", operator="desk", reason="a game")
    agent.climb()
    edited = HumanMessage("I want to kill myself", id="m")
    agent.invoke({"messages": [edited, HumanMessage(INSULT)]})
    assert agent.registry.status("t").at_risk


@both
def test_new_words_in_a_message_that_was_cleared_end_nothing(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(["hello", *LADDER, *ENDS], asynchronous=asynchronous)
    agent.invoke({"messages": [HumanMessage("in this game I kill myself", id="m")]})
    agent.registry.clear_risk("t", operator="desk", reason="a game")
    agent.climb()
    edited = HumanMessage("I want to kill myself", id="m")
    assert "conversation_end" not in agent.invoke({"messages": [edited, HumanMessage(INSULT)]})
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in unmet(agent)


@both
def test_other_words_before_the_newest_that_was_cleared_are_a_flag(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent(["hello", "well", "I see"], asynchronous=asynchronous)
    agent.say("hello")
    before = agent.graph.get_state(config()).config
    newest = HumanMessage("ok", id="b")
    agent.invoke({"messages": [HumanMessage("in this game I kill myself", id="a"), newest]})
    agent.registry.clear_risk("t", operator="desk", reason="a game")
    agent.invoke({"messages": [HumanMessage("I have pills and will kill myself", id="a"), newest]}, before)
    assert agent.registry.status("t").at_risk


def test_other_words_before_the_newest_that_was_cleared_are_a_flag_on_the_wire() -> None:
    registry = InMemorySealRegistry()
    chat = guard_of(registry).conversation("t")
    chat.before_request([sent("in this game I kill myself"), sent("ok")])
    registry.clear_risk("t", operator="desk", reason="a game")
    chat.before_request([sent("in this game I kill myself"), sent("ok")])
    assert not registry.status("t").at_risk, "the very same words stay cleared"
    chat.before_request([sent("I have pills and will kill myself"), sent("ok")])
    assert registry.status("t").at_risk


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


@both
@pytest.mark.parametrize("broken", ["", "kill"])
def test_a_watcher_that_fails_leaves_it_to_the_reader(asynchronous: bool, broken: str) -> None:  # noqa: FBT001
    watch = RiskWatch([BreakableWatcher(broken)])
    agent = Agent([*LADDER, *ENDS], watch=watch, asynchronous=asynchronous).climb()
    assert "conversation_end" not in agent.say(f"{INSULT}, I want to kill myself")
    assert UnmetCode.RISK_UNCERTAIN in unmet(agent)
    assert agent.registry.status("t").at_risk  # the reader can show it


class Mute:
    """A reader whose answer is no reading."""

    source = "mute/1"

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def read(self, _case: ReadingCase) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def aread(self, case: ReadingCase) -> Any:
        return self.read(case)


FOUND = (Finding(EvidenceKind.ABUSE, "m7", "idiot"),)


@both
@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        "agrees",
        {"findings": [], "risk": "none"},
        TimeoutError(),
        Reading("mute/1"),
        Reading("mute/1", FOUND),
        Reading("mute/1", FOUND, failure=UnmetCode.READING_FAILED),
    ],
    ids=repr,
)
def test_a_reader_that_does_not_report(asynchronous: bool, answer: object) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*LADDER, *ENDS], reader=Mute(answer), asynchronous=asynchronous).climb()
    assert agent.say(INSULT)["messages"][-1].text == "I am here"
    codes = {UnmetCode.READING_FAILED} if not isinstance(answer, Reading) or answer.failure else TOO_FEW
    assert codes <= unmet(agent)
    assert not agent.registry.status("t").sealed


TOO_FEW = {UnmetCode.TOO_FEW_REFUSALS, UnmetCode.TOO_FEW_REDIRECTIONS, UnmetCode.NO_WARNING}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"watch": []}, "watch: .*RiskWatch"),
        ({"watch": KeywordWatcher()}, "watch: .*RiskWatch"),
        ({"watch": RiskWatch}, "watch: .*RiskWatch"),
        ({"policy": {"name": "mine"}}, "policy: .*EndConversationPolicy"),
        ({"reader": "claude"}, "reader: .*str"),
        ({"reader": KeywordWatcher()}, "reader: .*KeywordWatcher"),
    ],
)
def test_arguments_that_would_fail_in_the_first_turn(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        Agent(["hello"], registry=InMemorySealRegistry(), **options)


@pytest.mark.parametrize("watchers", [[object()], KeywordWatcher(), "keywords", [None]])
def test_a_watch_takes_watchers_only(watchers: Any) -> None:
    with pytest.raises(InvalidInputError, match="watchers: expected a list of RiskWatchers"):
        RiskWatch(watchers)


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
    assert UnmetCode.RISK_FLAGGED in unmet(agent)
    assert agent.registry.status("t").at_risk


def test_what_this_package_says_is_never_read() -> None:
    """Neither results of its tool nor its last words: they name danger, and are nobody's."""
    reader = KeywordReader()
    agent = Agent([*LADDER, ending(), "hm", ending(call_id="e2"), "hm"], reader=reader, policy=NOTICED).climb()
    notice = agent.say(INSULT)["messages"][-1].text
    agent.say("sorry")
    agent.say(INSULT)
    assert len(reader.asked) > 1
    lines = [line.text for line in reader.asked[-1].lines]
    assert "sorry" in lines
    assert not [line for line in lines if line == notice or "Somebody may be at risk" in line]
    assert not agent.registry.status("t").at_risk


@pytest.mark.parametrize("content", [iter([{"type": "text", "text": "I want to kill myself"}]), None, 5, {}])
def test_contents_that_can_be_read_only_once(content: Any) -> None:
    guard = ConversationGuard(registry=InMemorySealRegistry(), reader=KeywordReader())
    with pytest.raises(InvalidInputError, match=rf"messages\.0\.content: .*{type(content).__name__}"):
        guard.conversation("t").before_request([{"role": "user", "content": content}])
