"""An end that waits for a reviewer, by LangChain's own middleware: their yes is needed, and replaces no evidence."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, interrupt

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.policy import PRESETS
from end_conversation_tool._core.records import Outcome, RiskKind, UnmetCode
from end_conversation_tool._doors.langgraph import run_context
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware, awaits_reviewer
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import in_one_message
from support.agents import INSULT, LADDER, REFUSE, Agent, config, ending, said, search_call, sqlite_saver
from support.graphs import assert_every_call_is_answered

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
places = pytest.mark.parametrize("place", ["before", "after"])
ways = pytest.mark.parametrize("way", ["batched", "per_call"])

APPROVE, REJECT, RESPOND = {"type": "approve"}, {"type": "reject"}, {"type": "respond", "message": "Stay calm."}


def edit(category: str = "abuse", reason: str = "Insults.", name: str = "end_conversation") -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": name, "args": {"category": category, "reason": reason}}}


class Reviewed(Agent):
    """An agent whose ends wait for a reviewer."""

    def __init__(
        self,
        *replies: Any,
        place: str = "after",
        way: Any = "batched",
        sealed: bool = True,
        interrupt_on: Any = True,
        **options: Any,
    ) -> None:
        registry = options.setdefault("registry", InMemorySealRegistry())
        options.setdefault("checkpointer", SealedSaver(InMemorySaver(), registry) if sealed else None)
        reviewer: Any = HumanInTheLoopMiddleware({"end_conversation": interrupt_on}, interrupt_mode=way)
        options[place] = (
            [reviewer, *options.get(place, ())] if place == "after" else [*options.get(place, ()), reviewer]
        )
        super().__init__([*LADDER, *replies], review=True, **options)
        self.way = way

    def asked(self) -> Any:
        """Climb the ladder and insult once more, until the reviewer is asked."""
        result = self.climb().say(INSULT)
        (waiting,) = result["__interrupt__"]
        assert not self.registry.status("t").sealed
        assert self.registry.decisions("t") == ()
        return waiting.value

    def decide(self, decision: dict[str, Any], **kwargs: Any) -> Any:
        resume = {"decisions": [decision]} if self.way == "batched" else decision
        return self.invoke(Command(resume=resume), **kwargs)

    @property
    def unmet(self) -> list[tuple[UnmetCode, ...]]:
        return [record.decision.unmet for record in self.registry.decisions("t")]


@ways
@places
@both
def test_an_approved_end_ends(asynchronous: bool, place: str, way: str) -> None:  # noqa: FBT001 - both ways
    agent = Reviewed(ending(), "past the end", place=place, way=way, asynchronous=asynchronous)
    agent.asked()
    result = agent.decide(APPROVE)
    (record,) = agent.registry.decisions("t")
    last = result["messages"][-1]
    assert (record.outcome, last.text) == (Outcome.SEALED, record.statement)
    assert last.response_metadata["end_conversation"] == "sealed"
    assert result["conversation_end"]["ended"]
    assert "automated" not in last.text, "a person has approved it"
    assert_every_call_is_answered(result["messages"])
    assert len(agent.model.calls) == len(LADDER) + 1
    with pytest.raises(ThreadSealedError):
        agent.say("hello?")


@ways
@places
@both
@pytest.mark.parametrize("decision", [REJECT, RESPOND], ids=["reject", "respond"])
def test_a_rejected_end_goes_on(decision: Any, asynchronous: bool, place: str, way: str) -> None:  # noqa: FBT001 - both ways
    agent = Reviewed(ending(), "on we go", "hello", place=place, way=way, asynchronous=asynchronous)
    agent.asked()
    result = agent.decide(decision)
    assert result["messages"][-1].text == "on we go"
    assert result.get("conversation_end") is None
    assert agent.unmet == [(UnmetCode.REVIEWER_DID_NOT_APPROVE,)]
    assert_every_call_is_answered(result["messages"])
    assert agent.say("hello")["messages"][-1].text == "hello"
    assert not agent.registry.status("t").sealed


@ways
@places
def test_what_was_rejected_is_not_asked_about_again_in_the_same_turn(place: str, way: str) -> None:
    agent = Reviewed(ending(call_id="a"), ending(call_id="b"), "on we go", ending(call_id="c"), place=place, way=way)
    agent.asked()
    result = agent.decide(REJECT)
    while "__interrupt__" in result:  # the stock middleware asks about denied calls too: its answer changes nothing
        result = agent.decide(APPROVE)
    assert result["messages"][-1].text == "on we go"
    assert agent.unmet == [(UnmetCode.REVIEWER_DID_NOT_APPROVE,), (UnmetCode.ALREADY_READ_THIS_TURN,)]
    assert "__interrupt__" in agent.say(INSULT), "but in the next turn they are"
    assert agent.decide(APPROVE)["conversation_end"]["ended"]


@ways
@places
@both
def test_a_message_in_place_of_a_decision(asynchronous: bool, place: str, way: str) -> None:  # noqa: FBT001 - both ways
    agent = Reviewed(ending(), "on we go", place=place, way=way, asynchronous=asynchronous)
    agent.asked()
    result = agent.say("sorry, that was not fair")
    assert result["messages"][-1].text == "on we go"
    assert agent.unmet == [(UnmetCode.REVIEWER_DID_NOT_APPROVE,)]
    assert_every_call_is_answered(agent.model.calls[-1])
    assert_every_call_is_answered(result["messages"])
    assert not agent.registry.status("t").sealed


@ways
@places
@both
def test_a_flag_that_was_raised_meanwhile_vetoes(asynchronous: bool, place: str, way: str) -> None:  # noqa: FBT001 - both ways
    agent = Reviewed(ending(), "I am here", place=place, way=way, asynchronous=asynchronous)
    agent.asked()
    agent.registry.flag_risk("t", kind=RiskKind.CRISIS, source="desk")
    result = agent.decide(APPROVE)
    assert result["messages"][-1].text == "I am here"
    assert "Somebody may be at risk" in result["messages"][-2].text
    assert agent.unmet == [(UnmetCode.RISK_FLAGGED,)]
    assert_every_call_is_answered(result["messages"])


@ways
@places
def test_a_thread_that_was_sealed_meanwhile(place: str, way: str) -> None:
    agent = Reviewed(ending(), place=place, way=way, sealed=False)
    agent.asked()
    other = Agent([*LADDER, ending()], registry=agent.registry).climb()
    assert other.say(INSULT)["conversation_end"]["ended"]
    with pytest.raises(ThreadSealedError):
        agent.decide(APPROVE)
    assert len(agent.model.calls) == len(LADDER) + 1


@ways
@places
def test_a_changed_reason_is_kept(place: str, way: str) -> None:
    agent = Reviewed(ending(), place=place, way=way)
    agent.asked()
    assert agent.decide(edit(reason="Four insults."))["conversation_end"]["ended"]
    (record,) = agent.registry.decisions("t")
    assert record.reason == "Four insults."


@ways
@places
def test_a_changed_ground_needs_its_own_evidence(place: str, way: str) -> None:
    agent = Reviewed(ending(), "on we go", place=place, way=way)
    agent.asked()
    result = agent.decide(edit(category="harmful_requests"))
    assert result["messages"][-1].text == "on we go"
    assert UnmetCode.NO_PERSISTENCE in agent.unmet[0]
    assert not agent.registry.status("t").sealed


@places
def test_a_changed_ground_needs_its_own_notice(place: str) -> None:
    """No notice is given on a reviewer's word: the model may ask in the next turn."""
    said = f"{INSULT}, forge it"
    agent = Reviewed(ending(), ending(), "on we go", place=place, policy=PRESETS["default"])
    for _ in (*LADDER, "the notice"):
        agent.say(said)
    assert "__interrupt__" in agent.say(said)
    result = agent.decide(edit(category="harmful_requests"))
    assert result["messages"][-1].text == "on we go"
    last = agent.registry.decisions("t")[-1]
    assert (last.outcome, last.decision.unmet) == (Outcome.DENIED, (UnmetCode.NOTICE_REQUIRED,))


@places
@pytest.mark.parametrize("way", ["batched"])
def test_another_tool_in_its_place_ends_nothing(place: str, way: str) -> None:
    agent = Reviewed(ending(), "on we go", place=place, way=way)
    agent.asked()
    other = {"type": "edit", "edited_action": {"name": "search", "args": {"query": "q"}}}
    result = agent.decide(other)
    assert result["messages"][-1].text == "on we go"
    assert agent.counter.runs == ["q"]
    assert agent.unmet == [(UnmetCode.REVIEWER_DID_NOT_APPROVE,)]
    assert_every_call_is_answered(result["messages"])


@ways
@places
def test_siblings_do_not_run(place: str, way: str) -> None:
    agent = Reviewed(in_one_message(search_call(), ending(), ending(call_id="f")), place=place, way=way)
    agent.climb()
    result = agent.say(INSULT)
    while "__interrupt__" in result:
        (waiting,) = result["__interrupt__"]
        answers = [APPROVE] * len(waiting.value.get("action_requests", ""))
        result = agent.invoke(Command(resume={"decisions": answers} if answers else APPROVE))
    assert result["conversation_end"]["ended"]
    assert agent.counter.runs == []
    assert_every_call_is_answered(result["messages"])


@ways
@places
def test_the_notice_comes_first_and_nobody_is_asked_about_it(place: str, way: str) -> None:
    agent = Reviewed(ending(), ending(), place=place, way=way, policy=PRESETS["default"])
    result = agent.climb().say(INSULT)
    assert "__interrupt__" not in result
    assert result["messages"][-1].response_metadata["end_conversation"] == "noticed"
    assert "__interrupt__" in agent.say(INSULT)
    assert agent.decide(APPROVE)["conversation_end"]["ended"]


@ways
@places
def test_what_is_denied_waits_for_nobody(place: str, way: str) -> None:
    agent = Reviewed("hello", place=place, way=way)
    agent.model.replies = [ending(), "on we go"]
    result = agent.say("hello")
    while "__interrupt__" in result:
        result = agent.decide(APPROVE)
    assert result["messages"][-1].text == "on we go"
    assert not agent.registry.status("t").sealed
    assert len(agent.unmet) == 1


@ways
@places
def test_a_reviewer_who_looks_at_open_calls_alone(place: str, way: str) -> None:
    looks: Any = {"allowed_decisions": ["approve", "reject"], "when": awaits_reviewer}
    agent = Reviewed("hello", place=place, way=way, interrupt_on=looks)
    agent.model.replies = [ending(), *LADDER, ending(), ending(), "on we go"]
    assert agent.say("hello")["messages"][-1].text == REFUSE, "denied: they are not asked"
    for _ in LADDER[1:]:
        agent.say(INSULT)
    assert "__interrupt__" in agent.say(INSULT)
    result = agent.decide(REJECT)
    assert "__interrupt__" not in result
    assert result["messages"][-1].text == "on we go"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability(durability: Any) -> None:
    agent = Reviewed(ending())
    agent.climb(durability=durability)
    assert "__interrupt__" in agent.say(INSULT, durability=durability)
    assert agent.decide(APPROVE, durability=durability)["conversation_end"]["ended"]


@places
def test_the_users_own_yes_is_asked_for_after_the_reviewers(place: str) -> None:
    agent = Reviewed(place=place, confirm="interrupt", policy=PRESETS["default"])
    agent.model.replies = [ending("", "user_request")]
    (reviewer,) = agent.say("please end this chat")["__interrupt__"]
    assert "action_requests" in reviewer.value
    (user,) = agent.decide(APPROVE)["__interrupt__"]
    assert user.value["type"] == "end_conversation.confirm"
    assert not agent.registry.status("t").sealed
    assert agent.invoke(Command(resume="yes"))["conversation_end"]["ended"]


# Nobody to ask


class Quiet(AgentMiddleware[Any, Any, Any]):
    """A hook after the model that asks nobody."""

    def after_model(self, state: Any, runtime: Any) -> None: ...


@pytest.mark.parametrize("others", [[], [Quiet()]], ids=["alone", "hook"])
@both
def test_without_a_reviewer_nothing_ends_and_it_is_told(
    asynchronous: bool,  # noqa: FBT001 - both ways
    others: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="end_conversation_tool")
    agent = Agent([*LADDER, ending(), "on we go"], review=True, after=others, asynchronous=asynchronous).climb()
    result = agent.say(INSULT)
    assert result["messages"][-1].text == "on we go"
    assert not agent.registry.status("t").sealed
    assert [one.decision.unmet for one in agent.registry.decisions("t")] == [(UnmetCode.REVIEWER_DID_NOT_APPROVE,)]
    assert [entry.message for entry in caplog.records if "HumanInTheLoopMiddleware" in entry.message]


@both
def test_a_run_that_merely_goes_on_is_nobodys_yes(asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    agent = Agent([*LADDER, ending(), "on we go"], review=True, asynchronous=asynchronous).climb()
    agent.say(INSULT, interrupt_before=["tools"])
    assert agent.invoke(None)["messages"][-1].text == "on we go"
    assert not agent.registry.status("t").sealed


def open_call(messages: Any) -> str | None:
    """Return the id of the end call that the newest reply makes, if it still waits."""
    reply = next(one for one in reversed(messages) if one.type == "ai")
    done = {one.tool_call_id for one in messages if one.type == "tool"}
    ids = [call["id"] for call in reply.tool_calls if call["name"] == "end_conversation"]
    return next((id_ for id_ in ids if id_ not in done), None)


class Asks(AgentMiddleware[Any, Any, Any]):
    """A hook between the model and its tools that asks something."""

    def __init__(self, question: Any = "How was this answer?") -> None:
        super().__init__()
        self.question = question if callable(question) else lambda _call: question

    def after_model(self, state: Any, runtime: Any) -> None:
        del runtime
        if (call := open_call(state["messages"])) is not None:
            interrupt(self.question(call))


class AsksInTools(AgentMiddleware[Any, Any, Any]):
    """A hook round each tool that asks something else."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        interrupt({"type": "tool_approval", "tool_call_id": "another", "name": request.tool_call["name"]})
        return handler(request)


OTHERS = [
    "How was this answer?",
    None,
    {"tool_call_id": "another"},
    {"action_requests": [{"name": "search", "args": {}}], "review_configs": []},
    {"action_requests": "end_conversation"},
    {"action_requests": ["end_conversation", None]},
    {"type": "end_conversation.confirm"},
]


@places
@pytest.mark.parametrize("question", OTHERS, ids=repr)
def test_an_answer_to_another_interrupt_is_no_reviewers_yes(question: Any, place: str) -> None:
    layers: Any = {place: [Asks(question)]}
    agent = Agent([*LADDER, ending(), "on we go"], review=True, **layers).climb()
    assert "__interrupt__" in agent.say(INSULT)
    assert agent.invoke(Command(resume="fine"))["messages"][-1].text == "on we go"
    assert not agent.registry.status("t").sealed
    assert agent.registry.decisions("t")[-1].decision.unmet == (UnmetCode.REVIEWER_DID_NOT_APPROVE,)


@places
def test_nor_is_one_to_what_another_hook_asks_among_the_tools(place: str) -> None:
    layers: Any = {place: [AsksInTools()]}
    agent = Agent([*LADDER, ending(), "on we go"], review=True, **layers).climb()
    assert "__interrupt__" in agent.say(INSULT) or place == "after"
    agent.invoke(Command(resume="fine"))
    assert not agent.registry.status("t").sealed


def test_who_is_asked_last_counts() -> None:
    """A reviewer's approval that another question follows cannot be told any more: nothing ends."""
    agent = Reviewed(ending(), "on we go", before=[Asks()])
    agent.asked()
    (other,) = agent.decide(APPROVE)["__interrupt__"]
    assert other.value == "How was this answer?"
    assert agent.invoke(Command(resume="fine"))["messages"][-1].text == "on we go"
    assert not agent.registry.status("t").sealed


def test_who_is_asked_before_the_reviewer_does_not_matter() -> None:
    agent = Reviewed(ending(), place="before", after=[Asks()])
    assert agent.climb().say(INSULT)["__interrupt__"][0].value == "How was this answer?"
    (reviewer,) = agent.invoke(Command(resume="fine"))["__interrupt__"]
    assert "action_requests" in reviewer.value
    assert agent.decide(APPROVE)["conversation_end"]["ended"]


@ways
def test_an_answer_that_leads_elsewhere_is_none(way: str) -> None:
    agent = Reviewed(ending(), "on we go", way=way)
    agent.asked()
    resume: Any = {"decisions": [REJECT]} if way == "batched" else REJECT
    agent.invoke(Command(resume=resume, goto="tools"))
    assert not agent.registry.status("t").sealed


@pytest.mark.parametrize("others", [[Asks()], []], ids=["asked_something_else", "goes_on"])
def test_the_users_own_yes_is_not_asked_for_before_the_reviewers(others: Any) -> None:
    options: Any = {"confirm": "interrupt", "policy": PRESETS["default"], "before": others}
    agent = Agent([ending("", "user_request"), "on we go"], review=True, **options)
    asked = agent.say("please end this chat", interrupt_before=[] if others else ["tools"])
    result = agent.invoke(Command(resume="yes") if "__interrupt__" in asked else None)
    assert result["messages"][-1].text == "on we go"
    assert not agent.registry.status("t").sealed


@pytest.mark.parametrize("answer", ["fine", {"ok": True}], ids=repr)
@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
@both
def test_a_reviewer_of_your_own_names_the_call(asynchronous: bool, sealed: bool, answer: Any) -> None:  # noqa: FBT001 - both ways
    registry = InMemorySealRegistry()
    agent = Agent(
        [*LADDER, ending()],
        registry=registry,
        checkpointer=SealedSaver(InMemorySaver(), registry) if sealed else None,
        review=True,
        asynchronous=asynchronous,
        before=[Asks(lambda call: {"question": "End it?", "tool_call_id": call})],
    ).climb()
    agent.say(INSULT)
    assert agent.invoke(Command(resume=answer))["conversation_end"]["ended"]


@ways
@both
def test_a_plain_saver_tells_what_was_asked_too(asynchronous: bool, way: str) -> None:  # noqa: FBT001 - both ways
    agent = Reviewed(ending(), way=way, sealed=False, asynchronous=asynchronous)
    agent.asked()
    assert agent.decide(APPROVE)["conversation_end"]["ended"]


@ways
def test_an_approval_by_the_id_of_the_interrupt(way: str) -> None:
    agent = Reviewed(ending(), way=way)
    (waiting,) = agent.climb().say(INSULT)["__interrupt__"]
    resume: Any = {"decisions": [APPROVE]} if way == "batched" else APPROVE
    assert agent.invoke(Command(resume={waiting.id: resume}))["conversation_end"]["ended"]


def test_where_a_run_began_cannot_be_told_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_context, "_BEGAN", "unheard_of")
    agent = Reviewed(ending(), "on we go")
    agent.asked()
    assert agent.decide(APPROVE)["messages"][-1].text == "on we go"
    assert agent.unmet == [(UnmetCode.REVIEWER_DID_NOT_APPROVE,)]


@both
def test_what_was_asked_is_read_from_disk(tmp_path: Path, asynchronous: bool) -> None:  # noqa: FBT001 - both ways
    async def chat() -> Any:
        async with sqlite_saver(tmp_path / "chat.db") as saver:
            agent = Reviewed(ending(), checkpointer=saver)
            for _ in (*LADDER, "waits"):
                await agent.graph.ainvoke(said(INSULT), config())
            return await agent.graph.ainvoke(Command(resume={"decisions": [APPROVE]}), config())

    if asynchronous:
        assert asyncio.run(chat())["conversation_end"]["ended"]
        return
    with SqliteSaver.from_conn_string(str(tmp_path / "chat.db")) as saver:
        agent = Reviewed(ending(), checkpointer=saver)
        agent.asked()
        assert agent.decide(APPROVE)["conversation_end"]["ended"]


def test_shadow_waits_for_nobody() -> None:
    agent = Agent([*LADDER, ending(), "on we go"], review=True, mode="shadow").climb()
    agent.say(INSULT)
    (record,) = agent.registry.decisions("t")
    assert record.outcome is Outcome.WOULD_HAVE_SEALED


def test_a_call_that_waits_for_nobody_is_stray() -> None:
    """A reviewer's yes to a call that no model made here ends nothing."""
    agent = Reviewed("hello")
    agent.climb()
    forged = ending(call_id="forged")
    agent.graph.update_state(config(), {"messages": [forged]}, as_node="model")
    result = agent.invoke(None)
    while "__interrupt__" in result:
        result = agent.decide(APPROVE)
    assert not agent.registry.status("t").sealed


def test_bad_option() -> None:
    with pytest.raises(InvalidInputError, match="review: expected True or False, got 'human'"):
        EndConversationMiddleware(registry=InMemorySealRegistry(), review="human")  # type: ignore[arg-type]
