"""Replays: the gate over recorded conversations, with probes that change nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from time import perf_counter
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool._core.records import Category, EvidenceKind, JudgeOpinion, Outcome, RiskKind, UnmetCode
from end_conversation_tool.recordings.replay import FirstPermit, Judged, replay_conversation
from end_conversation_tool.testing.scripted import end_call
from end_conversation_tool.watch import DetectorSuite
from end_conversation_tool.watch.base import Answer, Signal, SignalKind
from support.judges import BrokenJudge, FixedJudge

USER_PATTERNS = {
    SignalKind.SELF_HARM: "RISK",
    SignalKind.VIOLENCE: "VIOLENCE",
    SignalKind.ABUSE: "ABUSE",
    SignalKind.ASKS_TO_END: "ASKS",
    SignalKind.CONFIRMS_END: "YES",
}
ASSISTANT_PATTERNS = {
    SignalKind.REFUSAL: "REFUSE",
    SignalKind.REDIRECTION: "REDIRECT",
    SignalKind.WARNING: "WARN",
    SignalKind.END_QUESTION: "QUESTION",
}


class Words:
    """Sees what a message names in capital letters."""

    name, version = "words", "1"
    kinds = frozenset(SignalKind)

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        self.asked += 1
        patterns = USER_PATTERNS if message.role == "user" else ASSISTANT_PATTERNS
        for kind, pattern in patterns.items():
            unsure = kind is SignalKind.SELF_HARM and "PERHAPS" in message.text
            answer = Answer.YES if re.search(pattern, message.text) else Answer.NO
            yield Signal(kind, Answer.UNKNOWN if unsure else answer, "words/1", 0.5 if unsure else 1.0)


def chat(*texts: str | AIMessage | None) -> list[BaseMessage]:
    """User and assistant in turn; ``None`` leaves one out."""
    messages: list[BaseMessage] = []
    for index, text in enumerate(texts):
        if text is not None:
            named = {"id": f"m{index}"}
            message = text if isinstance(text, AIMessage) else (HumanMessage, AIMessage)[index % 2](text, **named)
            messages.append(message)
    return messages


LADDER = ("ABUSE", "REFUSE REDIRECT") * 3 + ("ABUSE", "REFUSE WARN")
SUITE = DetectorSuite([Words()])
DEFAULT = EndConversationPolicy()


def test_the_first_turn_at_which_an_end_would_be_permitted() -> None:
    result = replay_conversation(chat(*LADDER, "ABUSE", "no", "ABUSE", "no"), DEFAULT, SUITE)
    assert result.first_permit == FirstPermit(5, Category.ABUSE)
    # For harmful requests the newest turn must be refused; abuse alone shows persistence too.
    assert {permit.category for permit in result.permits} == {Category.ABUSE, Category.HARMFUL_REQUESTS}
    assert result.turns == 6
    assert result.calls == ()
    assert not result.ended


def test_a_request_that_the_model_refused_persists() -> None:
    turns = ("ask", "REFUSE REDIRECT") * 3 + ("ask", "REFUSE WARN", "ask", "REFUSE")
    result = replay_conversation(chat(*turns), DEFAULT, SUITE)
    assert result.permits == (FirstPermit(5, Category.HARMFUL_REQUESTS),)


def test_a_request_that_the_model_fulfilled_does_not_persist() -> None:
    turns = ("ask", "REFUSE REDIRECT") * 3 + ("ask", "REFUSE WARN", "thanks", "gladly")
    assert replay_conversation(chat(*turns), DEFAULT, SUITE).first_permit is None


def test_the_last_word_of_the_user_is_asked_about_too() -> None:
    assert replay_conversation(chat(*LADDER, "ABUSE"), DEFAULT, SUITE).first_permit == FirstPermit(5, Category.ABUSE)
    assert replay_conversation(chat(*LADDER), DEFAULT, SUITE).first_permit is None


@pytest.mark.parametrize("turn", range(5))
@pytest.mark.parametrize("word", ["RISK", "VIOLENCE", "PERHAPS"])
def test_risk_in_any_turn_permits_nothing(turn: int, word: str) -> None:
    turns = [*LADDER, "ABUSE", "no"]
    turns[2 * turn] += f" {word}"
    result = replay_conversation(chat(*turns), DEFAULT, SUITE)
    assert result.permits == ()
    kinds = {"RISK": [RiskKind.SELF_HARM], "VIOLENCE": [RiskKind.VIOLENCE], "PERHAPS": []}
    assert [flag.kind for flag in result.risk_flags] == kinds[word]
    assert [marks.turn for marks in result.evidence if marks.doubt] == ([turn + 1] if word == "PERHAPS" else [])


def test_risk_after_a_permitted_turn_does_not_hide_that_turn() -> None:
    result = replay_conversation(chat(*LADDER, "ABUSE", "no", "RISK", "no"), DEFAULT, SUITE)
    assert result.first_permit == FirstPermit(5, Category.ABUSE)
    assert [flag.kind for flag in result.risk_flags] == [RiskKind.SELF_HARM]


def test_a_user_who_asks_and_confirms() -> None:
    result = replay_conversation(chat("ASKS", "QUESTION", "YES", "bye"), DEFAULT, SUITE)
    assert result.permits == (FirstPermit(2, Category.USER_REQUEST),)
    assert replay_conversation(chat("ASKS", "no", "YES", "bye"), DEFAULT, SUITE).permits == ()


def test_evidence_by_turn() -> None:
    result = replay_conversation(chat("ABUSE", "REFUSE REDIRECT", "hello", "hi", "ABUSE", "WARN"), DEFAULT, SUITE)
    assert [(marks.turn, set(marks.kinds)) for marks in result.evidence] == [
        (1, {EvidenceKind.ABUSE, EvidenceKind.REFUSAL, EvidenceKind.REDIRECTION}),
        (3, {EvidenceKind.ABUSE, EvidenceKind.WARNING}),
    ]


def test_evidence_older_than_the_ledger_is_still_reported() -> None:
    result = replay_conversation(chat("ABUSE", "REFUSE", *("hello", "hi") * 200), DEFAULT, SUITE)
    assert result.turns == 201
    assert [marks.turn for marks in result.evidence] == [1]


def test_recorded_calls_are_ruled_on_and_an_honoured_one_ends_the_replay() -> None:
    first, second = end_call("abuse", call_id="a"), end_call("abuse", call_id="b")
    result = replay_conversation(
        [
            *chat(*LADDER, "ABUSE"),
            first,
            ToolMessage("call again to confirm", tool_call_id="a"),
            second,
            ToolMessage("ended", tool_call_id="b"),
            HumanMessage("hello?"),
        ],
        DEFAULT,
        SUITE,
    )
    assert [(call.turn, call.outcome) for call in result.calls] == [
        (5, Outcome.AWAITING_CONFIRMATION),
        (5, Outcome.SEALED),
    ]
    assert result.ended
    assert result.not_replayed == 2
    assert result.turns == 5


def test_a_recorded_call_that_is_denied_does_not_end_the_replay() -> None:
    result = replay_conversation(chat("hello", end_call("abuse"), "ABUSE", "REFUSE"), DEFAULT, SUITE)
    [call] = result.calls
    assert call.outcome is Outcome.DENIED
    assert UnmetCode.TOO_FEW_REFUSALS in call.unmet
    assert result.turns == 2


def test_a_malformed_recorded_call_is_denied() -> None:
    result = replay_conversation(chat("hello", end_call("boredom")), DEFAULT, SUITE)
    [call] = result.calls
    assert call.category is None
    assert UnmetCode.INVALID_ARGUMENTS in call.unmet


def test_probes_change_nothing() -> None:
    # Were a probe noted as a call, the real call here would count as the confirming one.
    messages = chat(*LADDER, "ABUSE", "no", "ABUSE", end_call("abuse"))
    [call] = replay_conversation(messages, DEFAULT, SUITE).calls
    assert call.outcome is Outcome.AWAITING_CONFIRMATION


def test_shadow_mode_shows_what_would_have_happened() -> None:
    policy = EndConversationPolicy(mode="shadow", confirmation_calls=1)
    result = replay_conversation(chat(*LADDER, "ABUSE", end_call("abuse")), policy, SUITE)
    assert [call.outcome for call in result.calls] == [Outcome.WOULD_HAVE_SEALED]
    assert result.ended


@pytest.mark.parametrize(
    ("policy", "permitted"),
    [
        (PRESETS["user_request_only"], False),
        (PRESETS["strict"], False),
        (EndConversationPolicy(mode="off"), False),
        (EndConversationPolicy(min_refusals=9), False),
        (EndConversationPolicy(models=["some-model"]), True),
        (PRESETS["single_warning"], True),
    ],
)
def test_the_policy_decides(policy: EndConversationPolicy, permitted: bool) -> None:  # noqa: FBT001
    result = replay_conversation(chat(*LADDER, "ABUSE", "no"), policy, SUITE)
    assert (result.first_permit is not None) is permitted


def test_words_of_tools_and_systems_are_nobodys() -> None:
    messages = [ToolMessage("ABUSE RISK", tool_call_id="t"), *chat("hello", "hi")]
    result = replay_conversation(messages, DEFAULT, SUITE)
    assert result.evidence == ()
    assert result.risk_flags == ()


def test_several_user_messages_before_a_reply_are_one_turn() -> None:
    result = replay_conversation([HumanMessage("ABUSE"), HumanMessage("ABUSE"), AIMessage("REFUSE")], DEFAULT, SUITE)
    assert result.turns == 1


@pytest.mark.parametrize("messages", [[], [AIMessage("REFUSE")], [ToolMessage("x", tool_call_id="t")]])
def test_a_conversation_without_a_user(messages: list[BaseMessage]) -> None:
    result = replay_conversation(messages, DEFAULT, SUITE)
    assert (result.turns, result.evidence, result.permits) == (0, (), ())


def test_each_message_is_looked_at_once() -> None:
    words = Words()
    messages = [message.model_copy(update={"id": f"m{n}"}) for n, message in enumerate(chat(*LADDER, *LADDER))]
    replay_conversation(messages, DEFAULT, DetectorSuite([words]))
    assert words.asked == len(messages)


def test_a_long_conversation_costs_no_more_per_turn_than_a_short_one() -> None:
    def seconds_per_turn(turns: int) -> float:
        messages = chat(*("ABUSE", "REFUSE REDIRECT") * turns)
        started = perf_counter()
        replay_conversation(messages, DEFAULT, SUITE)
        return (perf_counter() - started) / turns

    seconds_per_turn(100)
    assert seconds_per_turn(2000) < 3 * seconds_per_turn(200)


def test_results_hold_no_text() -> None:
    result = replay_conversation(chat("ABUSE secret", "REFUSE secret", "RISK secret", "hi"), DEFAULT, SUITE)
    assert "secret" not in json.dumps(result, default=repr)


# With a judge


def judged(*texts: str, judge: Any = None, judge_all: bool = False, messages: Any = None) -> Judged | None:
    said = messages or chat(*texts)
    return replay_conversation(said, DEFAULT, SUITE, judge=judge or BrokenJudge(), judge_all=judge_all).judged


def test_a_judge_is_asked_once_at_the_first_permit() -> None:
    found = judged(*LADDER, "ABUSE", "no", "ABUSE", "no")
    assert found is not None
    assert (found.turn, found.category, found.unmet) == (5, Category.ABUSE, ())
    assert (found.taken_back, found.alike) == (True, None)
    assert found.report.source == "broken/9"  # nine lines: the reply that would have asked is not among them
    assert judged(*LADDER) is None


def test_a_judge_can_be_asked_about_the_last_turn() -> None:
    found = judged(*LADDER, "ABUSE", "no", "thanks", "gladly", "RISK", judge_all=True)
    assert found is not None
    assert (found.turn, found.category) == (7, Category.ABUSE)
    assert set(found.unmet) == {UnmetCode.RISK_FLAGGED, UnmetCode.NO_PERSISTENCE}
    assert not found.taken_back
    assert judged("ASKS", "QUESTION", "hm", judge_all=True).category is Category.USER_REQUEST  # type: ignore[union-attr]
    assert judged(messages=[AIMessage("hello", id="a")], judge_all=True) is None


def test_a_judge_that_would_not_see_everything_is_not_asked() -> None:
    picture = HumanMessage([{"type": "text", "text": "look"}, {"type": "image", "base64": "aGk="}], id="p")
    judge = FixedJudge()
    found = judged(messages=[picture, *chat("ABUSE")], judge=judge, judge_all=True)
    assert found is not None
    assert (found.report.opinion, found.report.why) == (JudgeOpinion.FAILED, "transcript_incomplete")
    assert judge.cases == []


def test_risk_in_the_result_of_a_tool_is_a_doubt_here_too() -> None:
    turns = chat(*LADDER, "ABUSE", "no")
    result = ToolMessage("RISK", tool_call_id="c", id="t")
    assert replay_conversation(turns, DEFAULT, SUITE).first_permit is not None
    assert replay_conversation([*turns[:2], result, *turns[2:]], DEFAULT, SUITE).first_permit is None
