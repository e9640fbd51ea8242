"""The user's own yes by an interrupt, over the LangGraph doors: only an explicit yes counts, nothing runs twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.confirmation import is_yes, question
from end_conversation_tool._core.evidence import APP
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import EvidenceKind, Outcome, RiskKind, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._doors.tool import create_end_conversation_tool
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.graph import create_guarded_graph
from end_conversation_tool.graph_parts import add_end_conversation
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import in_one_message
from support.agents import Counter, config, ending, kinds, said, search_call
from support.graphs import assert_every_call_is_answered, hand_written, model_of, strict_saver, written
from support.keywords import QUICK, KeywordReader, keyword_watch

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
doors = pytest.mark.parametrize("door", ["middleware", "wrapped", "parts"])
ASKS = "please end this chat"


def ask(call_id: str = "e") -> AIMessage:
    return ending("", "user_request", call_id=call_id)


class Asked:
    """A graph behind one of the doors, with ``confirm="interrupt"``."""

    def __init__(
        self,
        door: str,
        replies: Any,
        *,
        asynchronous: bool = False,
        saver: Any = None,
        sealed: bool = True,
        **options: Any,
    ) -> None:
        self.registry = options.get("registry") or InMemorySealRegistry()
        self.model, self.counter, self.asynchronous = model_of(replies), Counter(), asynchronous
        inner = strict_saver() if saver is None else saver
        kept = SealedSaver(inner, self.registry) if sealed else inner
        tools = [self.counter.tool(), create_end_conversation_tool()]
        self.reader = KeywordReader()
        ours = {"registry": self.registry, "confirm": "interrupt", "reader": self.reader, "watch": keyword_watch()}
        options = {**ours, **options}
        self.graph: Any
        if door == "middleware":
            middleware = [EndConversationMiddleware(**options)]
            self.graph = create_agent(self.model, tools[:1], middleware=middleware, checkpointer=kept)
        elif door == "wrapped":
            self.graph = create_guarded_graph(hand_written(self.model, tools), checkpointer=kept, **options)
        else:
            builder = written(self.model, tools)
            add_end_conversation(builder, **options)
            self.graph = builder.compile(checkpointer=kept)

    def invoke(self, given: Any, **kwargs: Any) -> Any:
        if self.asynchronous:
            return asyncio.run(self.graph.ainvoke(given, config(), **kwargs))
        return self.graph.invoke(given, config(), **kwargs)

    def say(self, text: str, **kwargs: Any) -> Any:
        return self.invoke(said(text), **kwargs)

    def answer(self, answer: Any, **kwargs: Any) -> Any:
        return self.invoke(Command(resume=answer), **kwargs)

    @property
    def records(self) -> Any:
        return self.registry.decisions("t")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed saver", "plain saver"])
@doors
@both
def test_a_yes_ends(asynchronous: bool, door: str, sealed: bool, durability: Any) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [ask()], asynchronous=asynchronous, sealed=sealed)
    stopped = chat.say(ASKS, durability=durability)
    (asked,) = stopped["__interrupt__"]
    assert asked.value == question(Texts())
    assert asked.value["category"] == "user_request"
    assert not chat.registry.status("t").sealed
    assert chat.records == ()
    result = chat.answer("yes", durability=durability)
    assert result["conversation_end"]["category"] == "user_request"
    assert chat.registry.status("t").sealed
    assert kinds(result["messages"]) == ["human", "ai", "tool", "ai"]
    assert result["messages"][-2].status == "success"
    assert result["messages"][-1].text == result["conversation_end"]["statement"]
    assert len(chat.model.calls) == 1
    (record,) = chat.records
    assert record.outcome is Outcome.SEALED
    assert (APP, EvidenceKind.CONFIRMS_END) in {(one.source, one.kind) for one in record.decision.evidence}
    with pytest.raises(ThreadSealedError):
        chat.say("hello?")
    assert len(chat.model.calls) == 1


@pytest.mark.parametrize("yes", ["yes", " Yes ", True, {"confirmed": True}], ids=repr)
def test_what_is_a_yes(yes: Any) -> None:
    assert is_yes(yes)


NO = [
    "no",
    False,
    None,
    "",
    "maybe",
    "yes please",
    "ja",
    1,
    ["yes"],
    {"confirmed": "yes"},
    {"confirmed": 1},
    {"yes": True},
]


@pytest.mark.parametrize("no", NO, ids=repr)
def test_what_is_none(no: Any) -> None:
    assert not is_yes(no)


@pytest.mark.parametrize("no", ["no", False, "whatever", {"confirmed": False}], ids=repr)
@doors
@both
def test_anything_else_goes_on(asynchronous: bool, door: str, no: Any) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [ask(), "then let us go on", "hello"], asynchronous=asynchronous)
    chat.say(ASKS)
    result = chat.answer(no)
    assert result["messages"][-1].text == "then let us go on"
    assert "user_did_not_confirm" in result["messages"][-2].text
    assert result.get("conversation_end") is None
    (record,) = chat.records
    assert record.decision.unmet == (UnmetCode.USER_DID_NOT_CONFIRM,)
    assert len(chat.model.calls) == 2
    assert chat.say("hello")["messages"][-1].text == "hello"
    assert_every_call_is_answered(result["messages"])


@doors
@both
def test_after_a_no_they_are_not_asked_again_in_this_turn(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [ask("a"), ask("b"), "on we go"], asynchronous=asynchronous)
    chat.say(ASKS)
    result = chat.answer("no")
    assert "__interrupt__" not in result
    assert result["messages"][-1].text == "on we go"
    assert [record.outcome for record in chat.records] == [Outcome.DENIED, Outcome.DENIED]


@doors
@both
def test_siblings_do_not_run_before_a_yes(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [in_one_message(search_call(), ask("a"), ask("b"))], asynchronous=asynchronous)
    chat.say(ASKS)
    assert chat.counter.runs == []
    result = chat.answer("yes")
    assert result["conversation_end"]["ended"]
    assert chat.counter.runs == []
    assert_every_call_is_answered(result["messages"])


@doors
@both
def test_siblings_after_a_no(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [in_one_message(search_call(), ask("a")), "on we go"], asynchronous=asynchronous)
    chat.say(ASKS)
    result = chat.answer("no")
    assert result["messages"][-1].text == "on we go"
    assert_every_call_is_answered(result["messages"])


@doors
@both
def test_a_user_who_did_not_ask_is_not_asked(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [ask(), "on we go"], asynchronous=asynchronous)
    result = chat.say("hello")
    assert "__interrupt__" not in result
    assert "user_did_not_ask" in result["messages"][-2].text


@doors
@both
def test_a_person_at_risk_is_not_asked(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [ask(), "I am here"], asynchronous=asynchronous)
    result = chat.say(f"{ASKS}, I want to kill myself")
    assert "__interrupt__" not in result
    assert result["messages"][-1].text == "I am here"


@doors
@both
def test_a_risk_that_came_up_while_they_were_asked(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [ask(), "I am here"], asynchronous=asynchronous)
    chat.say(ASKS)
    chat.registry.flag_risk("t", kind=RiskKind.CRISIS, source="host", message_id=None)
    result = chat.answer("yes")
    assert result["messages"][-1].text == "I am here"
    assert UnmetCode.RISK_FLAGGED in chat.records[0].decision.unmet


@doors
@both
def test_what_they_type_in_place_of_a_yes_is_looked_at_for_risk(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    chat = Asked(door, [ask(), "I am here"], asynchronous=asynchronous)
    chat.say(ASKS)
    assert chat.answer("no, I will kill myself")["messages"][-1].text == "I am here"
    assert chat.registry.status("t").risk_flags


@doors
@both
@pytest.mark.parametrize(
    "answer",
    [
        {"confirmed": True, "comment": "I will kill myself"},
        {"confirmed": False, "why": ["kill myself"]},
        ["kill myself"],
    ],
    ids=["yes", "no", "list"],
)
def test_what_they_type_beside_an_answer_is_looked_at_for_risk(
    asynchronous: bool,  # noqa: FBT001 - both ways
    door: str,
    answer: Any,
) -> None:
    chat = Asked(door, [ask(), "I am here"], asynchronous=asynchronous)
    chat.say(ASKS)
    assert chat.answer(answer)["messages"][-1].text == "I am here"
    assert chat.registry.status("t").risk_flags
    assert chat.registry.status("t").seal is None


@doors
def test_a_yes_with_a_doubt_beside_it_is_none(door: str) -> None:
    chat = Asked(door, [ask(), "I am here"])
    chat.say(ASKS)
    assert chat.answer({"confirmed": True, "comment": "so tired"})["messages"][-1].text == "I am here"
    assert chat.registry.status("t").seal is None


@doors
def test_a_yes_to_a_conversation_needs_no_interrupt(door: str) -> None:
    chat = Asked(door, ["do you really want that?", ask()], policy=QUICK)
    chat.say(ASKS)
    result = chat.say("yes")
    assert "__interrupt__" not in result
    assert result["conversation_end"]["ended"]


@doors
def test_shadow_asks_nobody(door: str) -> None:
    policy = EndConversationPolicy.from_mapping({"mode": "shadow"})
    chat = Asked(door, [ask(), "on we go"], policy=policy)
    assert "__interrupt__" not in chat.say(ASKS)


@doors
def test_a_yes_on_a_thread_that_was_sealed_meanwhile(door: str) -> None:
    chat = Asked(door, [ask(), "on we go"])
    chat.say(ASKS)
    second = Asked("wrapped", ["do you really want that?", ask()], registry=chat.registry, sealed=False, policy=QUICK)
    second.say(ASKS)
    assert second.say("yes")["conversation_end"]["ended"]
    with pytest.raises(ThreadSealedError):
        chat.answer("yes")
    assert len(chat.model.calls) == 1


@doors
@both
def test_a_new_message_in_place_of_an_answer(asynchronous: bool, door: str) -> None:  # noqa: FBT001 - both ways
    """The user types on, and leaves the dialogue alone: the call gets its result, and the chat goes on."""
    chat = Asked(door, [ask(), "on we go", "and on"], asynchronous=asynchronous)
    chat.say(ASKS)
    assert chat.say("never mind")["messages"][-1].text == "on we go"
    unmet = [record.decision.unmet for record in chat.records]
    # A wrapped graph was left in the midst of its node, which keeps nothing of what it asked.
    assert unmet == ([] if door == "wrapped" else [(UnmetCode.USER_DID_NOT_CONFIRM,)])
    assert not chat.registry.status("t").sealed
    assert_every_call_is_answered(chat.model.calls[1])
    result = chat.say("well")
    assert_every_call_is_answered(result["messages"])
    assert [message.text for message in result["messages"] if message.type == "human"] == [ASKS, "never mind", "well"]


@doors
def test_on_sqlite(door: str, tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        chat = Asked(door, [ask()], saver=saver)
        chat.say(ASKS)
        assert chat.answer({"confirmed": True})["conversation_end"]["ended"]
        with pytest.raises(ThreadSealedError):
            chat.say("hello?")


def test_bad_option() -> None:
    with pytest.raises(InvalidInputError, match="confirm: expected None or 'interrupt', got 'email'"):
        EndConversationMiddleware(registry=InMemorySealRegistry(), confirm="email")  # type: ignore[arg-type]
