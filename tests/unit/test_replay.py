"""Replays: one reading of a recorded conversation, and a decision for each of its user turns."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool._core.reading import Reading, ReadingCase
from end_conversation_tool._core.records import Category, EvidenceKind, Outcome, RiskGrade, RiskKind, UnmetCode
from end_conversation_tool.readers.several import AllReaders
from end_conversation_tool.recordings.replay import (
    Reached,
    ReplayResult,
    SeenRisk,
    areplay_conversation,
    lines_to_read,
    replay_conversation,
)
from end_conversation_tool.testing.scripted import end_call
from support.word_reader import WordReader, word_watch

DEFAULT = EndConversationPolicy()
LADDER = ("ABUSE", "REFUSES OFFERS") * 3


def chat(*texts: str | AIMessage) -> list[BaseMessage]:
    """User and assistant in turn."""
    return [
        text if isinstance(text, AIMessage) else (HumanMessage, AIMessage)[index % 2](text, id=f"m{index}")
        for index, text in enumerate(texts)
    ]


def replay(*texts: str | AIMessage, policy: EndConversationPolicy = DEFAULT, reader: Any = None) -> ReplayResult:
    return replay_conversation(chat(*texts), policy, reader or WordReader(), word_watch())


def at(turn: int, category: Category = Category.ABUSE) -> Reached:
    return Reached(turn=turn, category=category)


def test_the_first_notice_and_the_first_end() -> None:
    result = replay(*LADDER, "ABUSE", "no", "ABUSE", "no", "ABUSE", "no")
    assert (result.turns, result.notices, result.ends) == (6, (at(4),), (at(5),))
    assert (result.notice, result.end) == (at(4), at(5))
    assert (result.vetoed, result.unread, result.calls, result.flags) == (None, None, (), ())


def test_what_the_assistant_answers_comes_too_late_for_its_own_turn() -> None:
    # The third refusal stands in the reply to turn 3, in which the model would have asked for the end.
    assert replay(*LADDER, "thanks", "gladly").notices == ()
    assert replay(*LADDER, "ABUSE").notices == (at(4),)


def test_who_changes_course_after_the_notice_is_not_left() -> None:
    result = replay(*LADDER, "ABUSE", "no", "sorry", "gladly", "a recipe please", "gladly")
    assert (result.notices, result.ends) == ((at(4),), ())


def test_the_notice_is_for_one_ground_and_each_ground_has_its_own() -> None:
    both = ("ABUSE HARMFUL", "REFUSES OFFERS") * 3
    result = replay(*both, "ABUSE", "no", "HARMFUL", "no", "ABUSE", "no")
    assert result.notices == (at(4), at(5, Category.HARMFUL_REQUESTS))
    assert result.ends == (at(6),)


def test_a_user_who_asks_and_says_yes() -> None:
    result = replay("GOODBYE", "sure?", "CONFIRMS", "bye")
    assert (result.notice, result.end) == (at(1, Category.USER_REQUEST), at(2, Category.USER_REQUEST))
    assert replay("GOODBYE", "sure?", "no", "fine").ends == ()


def test_a_notice_that_is_out_of_the_window_is_given_anew() -> None:
    policy = EndConversationPolicy(window_turns=5, categories=[Category.ABUSE])
    quiet = ("hello", "hi") * 5
    result = replay(*LADDER, "ABUSE", "no", *quiet, *LADDER, "ABUSE", "no", policy=policy)
    assert (result.notices, result.ends) == ((at(4),), ())
    assert replay(*LADDER, "ABUSE", "no", *quiet, *LADDER, *("ABUSE", "no") * 2, policy=policy).ends == (at(14),)


def test_without_a_notice_a_recorded_warning_counts() -> None:
    policy = EndConversationPolicy(require_notice=False)
    assert replay(*LADDER, "ABUSE", "no", "ABUSE", policy=policy).ends == ()
    warned = replay(*LADDER, "ABUSE", "WARNS them", "ABUSE", policy=policy)
    assert (warned.notices, warned.ends) == ((), (at(5),))


# Risk


@pytest.mark.parametrize("turn", range(5))
@pytest.mark.parametrize(("word", "kind"), [("SUICIDE", RiskKind.SELF_HARM), ("KNIFE", RiskKind.VIOLENCE)])
def test_a_flag_in_any_turn_up_to_the_end_vetoes_it(turn: int, word: str, kind: RiskKind) -> None:
    texts = [*LADDER, "ABUSE", "no", "ABUSE", "no"]
    texts[2 * turn] += f" {word}"
    result = replay(*texts)
    assert result.flags == (SeenRisk(turn=turn + 1, kind=kind, source="words/1"),)
    assert result.ends == ()
    assert result.notices == ((at(4),) if turn == 4 else ())
    assert result.vetoed == max(turn + 1, 4)
    assert result.at_risk


def test_risk_after_the_end_does_not_hide_it() -> None:
    result = replay(*LADDER, "ABUSE", "no", "ABUSE", "no", "SUICIDE", "no")
    assert (result.end, result.vetoed, [flag.turn for flag in result.flags]) == (at(5), None, [6])


def test_doubt_of_the_reader_counts_from_the_message_that_it_quotes() -> None:
    early = replay("DOUBT", "hm", *LADDER, "ABUSE", "no", "ABUSE")
    assert (early.notices, early.ends, early.vetoed) == ((), (), 5)
    late = replay(*LADDER, "ABUSE", "no", "ABUSE DOUBT", "no")
    assert (late.notices, late.ends, late.vetoed) == ((at(4),), (), 5)
    after = replay(*LADDER, "ABUSE", "no", "ABUSE", "no", "DOUBT")
    assert (after.end, after.at_risk) == (at(5), True)


def test_doubt_without_a_quote_counts_from_the_start() -> None:
    result = replay(*LADDER, "ABUSE", "no", "ABUSE", "UNEASY")
    assert result.reading is not None
    assert (result.reading.risk, result.notices, result.vetoed) == (RiskGrade.POSSIBLE, (), 4)


def test_risk_that_stands_in_nothing_s_way_is_no_veto() -> None:
    result = replay("SUICIDE", "I am here")
    assert (result.vetoed, result.at_risk) == (None, True)


def test_risk_in_the_result_of_a_tool_counts_where_it_stands() -> None:
    turns = chat(*LADDER, "ABUSE", "no", "ABUSE")
    result = ToolMessage("DOUBT", tool_call_id="c", id="t")
    assert replay_conversation([*turns[:2], result, *turns[2:]], DEFAULT, WordReader(), word_watch()).notices == ()


def test_what_nobody_can_see_is_a_veto() -> None:
    picture = HumanMessage([{"type": "text", "text": "ABUSE"}, {"type": "image", "base64": "aGk="}], id="p")
    result = replay_conversation([*chat(*LADDER), picture], DEFAULT, WordReader(), word_watch())
    assert (result.notices, result.vetoed) == ((), 4)


# Reading


def test_one_reading_and_its_cost() -> None:
    reader = WordReader()
    result = replay(*LADDER, "ABUSE", "no", "ABUSE", reader=reader)
    assert len(reader.cases) == 1
    assert len(reader.cases[0].lines) == 9
    assert result.reading is not None
    assert (result.reading.source, result.reading.input_tokens, result.reading.found) == ("words/1", 100, 11)


def test_findings_by_turn_with_their_quotes() -> None:
    found = replay("ABUSE", "REFUSES OFFERS", "hello", "hi", "ABUSE", "WARNS").findings
    assert [(one.turn, one.kind, one.quote, one.message_id) for one in found] == [
        (1, EvidenceKind.ABUSE, "ABUSE", "m0"),
        (1, EvidenceKind.REFUSAL, "REFUSES", "m1"),
        (1, EvidenceKind.REDIRECTION, "OFFERS", "m1"),
        (3, EvidenceKind.ABUSE, "ABUSE", "m4"),
        (3, EvidenceKind.WARNING, "WARNS", "m5"),
    ]


@pytest.mark.parametrize(
    ("word", "code"), [("FAILS", UnmetCode.READING_FAILED), ("INVENTS", UnmetCode.READING_UNSOUND)]
)
def test_a_reading_that_fails_ends_nothing(word: str, code: UnmetCode) -> None:
    result = replay(*LADDER, "ABUSE", "no", "ABUSE", word)
    assert (result.unread, result.notices, result.ends, result.findings) == (code, (), (), ())


class Raising(WordReader):
    def read(self, case: ReadingCase) -> Reading:
        raise ValueError(f"secret {len(case.lines)}")


def test_a_reader_that_raises_has_failed() -> None:
    result = replay(*LADDER, "ABUSE", reader=Raising())
    assert result.unread is UnmetCode.READING_FAILED
    assert "secret" not in result.model_dump_json()


def test_as_many_readers_as_the_policy_wants() -> None:
    texts = (*LADDER, "ABUSE", "no", "ABUSE")
    assert replay(*texts, policy=PRESETS["strict"]).unread is UnmetCode.TOO_FEW_READERS
    both = AllReaders(WordReader(), WordReader())
    assert replay(*texts, policy=PRESETS["strict"], reader=both).end == at(5)


@pytest.mark.parametrize(
    ("texts", "policy"),
    [
        (("ABUSE", "REFUSES"), EndConversationPolicy(categories=[Category.ABUSE])),
        ((*LADDER, "ABUSE", "no"), EndConversationPolicy(mode="off")),
        ((), DEFAULT),
    ],
)
def test_nobody_reads_for_nothing(texts: tuple[str, ...], policy: EndConversationPolicy) -> None:
    reader = WordReader()
    result = replay(*texts, policy=policy, reader=reader)
    assert (reader.cases, result.reading, result.ends) == ([], None, ())
    assert lines_to_read(chat(*texts), policy, word_watch()) == ()


def test_what_would_be_read_can_be_told_beforehand() -> None:
    reader, texts = WordReader(), (*LADDER, "ABUSE", "no", "ABUSE")
    replay(*texts, reader=reader)
    assert lines_to_read(chat(*texts), DEFAULT, word_watch()) == reader.cases[0].lines


def test_a_summary_in_place_of_what_was_said_is_not_read() -> None:
    summary = HumanMessage("ABUSE ABUSE", id="s", additional_kwargs={"lc_source": "summarization"})
    reader = WordReader()
    result = replay_conversation([summary, *chat(*LADDER, "ABUSE")], DEFAULT, reader, word_watch())
    assert (result.unread, reader.cases) == (UnmetCode.TRANSCRIPT_INCOMPLETE, [])


# The recording's own calls


def test_recorded_calls_are_decided_on_up_to_the_honoured_one() -> None:
    texts = (*LADDER, "ABUSE", end_call("abuse", call_id="a"), "ABUSE", end_call("abuse", call_id="b"), "x", "y")
    early = ("ABUSE", end_call("abuse", call_id="c"))
    result = replay(*early, *texts)
    assert [(call.turn, call.outcome) for call in result.calls] == [
        (1, Outcome.DENIED),
        (5, Outcome.NOTICED),
        (6, Outcome.SEALED),
    ]
    assert UnmetCode.TOO_FEW_REFUSALS in result.calls[0].unmet


def test_a_second_call_in_the_turn_of_the_notice_is_denied() -> None:
    calls = [end_call("abuse", call_id=name) for name in "ab"]
    messages = [*chat(*LADDER, "ABUSE"), calls[0], ToolMessage("Not ended.", tool_call_id="a", id="t"), calls[1]]
    result = replay_conversation(messages, DEFAULT, WordReader(), word_watch())
    assert [call.outcome for call in result.calls] == [Outcome.NOTICED, Outcome.DENIED]
    assert result.calls[1].unmet == (UnmetCode.NOTICE_NOT_ANSWERED,)


def test_a_malformed_call_and_one_too_many_are_denied() -> None:
    messages: list[BaseMessage] = [*chat("hello")]
    messages += [end_call("boredom", call_id=str(number)) for number in range(4)]
    result = replay_conversation(messages, DEFAULT, WordReader(), word_watch())
    assert [call.category for call in result.calls] == [None] * 4
    assert [UnmetCode.TOO_MANY_ATTEMPTS in call.unmet for call in result.calls] == [False, False, False, True]


def test_what_this_package_answered_is_no_part_of_the_transcript() -> None:
    reader = WordReader()
    call = end_call("abuse", call_id="a")
    messages = [
        *chat("ABUSE"),
        call,
        ToolMessage("Not ended. DOUBT", tool_call_id="a", id="t"),
        AIMessage("hm", id="b"),
    ]
    result = replay_conversation(messages, DEFAULT, reader, word_watch())
    assert [line.text for line in reader.cases[0].lines] == ["ABUSE", "hm"]
    assert not result.at_risk


def test_shadow_mode_says_what_would_have_been() -> None:
    policy = EndConversationPolicy(mode="shadow")
    result = replay(*LADDER, "ABUSE", end_call("abuse"), "ABUSE", end_call("abuse"), policy=policy)
    assert [call.outcome for call in result.calls] == [Outcome.WOULD_HAVE_NOTICED, Outcome.WOULD_HAVE_SEALED]
    assert result.end == at(5)


# Turns


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        (PRESETS["user_request_only"], None),
        (PRESETS["abuse_only"], 5),
        (PRESETS["single_warning"], 3),
        (EndConversationPolicy(min_refusals=9), None),
        (EndConversationPolicy(models=["some-model"]), 5),
    ],
)
def test_the_policy_decides(policy: EndConversationPolicy, ends: int | None) -> None:
    end = replay(*LADDER, "ABUSE", "no", "ABUSE", "no", policy=policy).end
    assert (end.turn if end else None) == ends


def test_several_user_messages_before_a_reply_are_one_turn() -> None:
    messages = [HumanMessage("ABUSE"), ToolMessage("x", tool_call_id="t"), HumanMessage("ABUSE"), AIMessage("REFUSES")]
    result = replay_conversation(messages, DEFAULT, WordReader(), word_watch())
    assert (result.turns, {one.turn for one in result.findings}) == (1, {1})


@pytest.mark.parametrize("messages", [[], [AIMessage("REFUSES")], [ToolMessage("ABUSE", tool_call_id="t")]])
def test_a_conversation_without_a_user(messages: list[BaseMessage]) -> None:
    result = replay_conversation(messages, DEFAULT, WordReader(), word_watch())
    assert result == ReplayResult(turns=0)


def test_what_was_said_before_the_first_user_message_is_no_evidence() -> None:
    opening = AIMessage("REFUSES OFFERS", id="a")
    result = replay_conversation([opening, *chat(*LADDER[:4], "ABUSE")], DEFAULT, WordReader(), word_watch())
    assert (result.notices, min(one.turn for one in result.findings)) == ((), 1)


async def test_the_twin_says_the_same() -> None:
    messages = chat(*LADDER, "ABUSE", end_call("abuse"), "ABUSE KNIFE")
    twin = await areplay_conversation(messages, DEFAULT, WordReader(), word_watch())
    assert twin == replay_conversation(messages, DEFAULT, WordReader(), word_watch())
    assert twin.calls


def test_a_result_survives_its_json() -> None:
    result = replay(*LADDER, "ABUSE", end_call("abuse"), "ABUSE KNIFE")
    assert ReplayResult.model_validate_json(result.model_dump_json()) == result
