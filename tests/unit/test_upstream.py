"""Risk that the host or a moderation service has seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from end_conversation_tool._core.run import FlagRaised
from end_conversation_tool._core.vocabulary import RiskKind, UnmetCode
from end_conversation_tool._doors.upstream import (
    RISK_CONTEXT_KEY,
    context_flags,
    openai_moderation_flags,
)
from end_conversation_tool.errors import InvalidInputError
from support.agents import INSULT, LADDER, Agent, ending, said

UNREADABLE = FlagRaised(RiskKind.OTHER, "host-context/unreadable", "")


def moderation(flagged: dict[str, bool], scores: dict[str, float]) -> dict[str, Any]:
    return {"flagged": any(flagged.values()), "categories": flagged, "category_scores": scores}


def test_a_flagged_category_is_a_flag() -> None:
    result = moderation({"self-harm": True, "violence": False}, {"self-harm": 0.8, "violence": 0.01})
    assert openai_moderation_flags(result, message_id="u1") == [
        FlagRaised(RiskKind.SELF_HARM, "openai-moderation/omni-moderation", "u1", 0.8)
    ]


def test_a_score_below_the_services_own_threshold_can_be_a_flag() -> None:
    result = moderation({"self-harm/intent": False}, {"self-harm/intent": 0.31})
    assert [flag.kind for flag in openai_moderation_flags(result)] == [RiskKind.SELF_HARM]
    assert openai_moderation_flags(result, threshold=0.32) == []


def test_a_flag_without_a_score_counts_fully() -> None:
    assert openai_moderation_flags({"categories": {"harassment/threatening": True}})[0].score == 1.0


def test_an_object_with_the_sdks_names_is_read() -> None:
    result = SimpleNamespace(
        categories=SimpleNamespace(self_harm_intent=True), category_scores=SimpleNamespace(self_harm_intent=0.9)
    )
    assert openai_moderation_flags(result)[0].score == 0.9


def test_other_categories_raise_no_flag() -> None:
    assert openai_moderation_flags({"categories": {"hate": True}}) == []


@pytest.mark.parametrize(
    "result", [None, {}, {"categories": None}, {"results": [moderation({"self-harm": True}, {})]}, "nonsense", 7]
)
def test_what_is_no_result_is_refused(result: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"result: expected one entry of results.*{type(result).__name__}"):
        openai_moderation_flags(result)


def test_a_score_that_was_rounded_up_counts() -> None:
    result = moderation({"self-harm": False}, {"self-harm": 1.0000001})
    assert [flag.score for flag in openai_moderation_flags(result)] == [1.0]


@pytest.mark.parametrize("context", [None, {}, object(), {"other": 1}, {RISK_CONTEXT_KEY: []}])
def test_a_context_without_risk(context: Any) -> None:
    assert context_flags(context) == ()


def test_a_context_as_mapping_and_as_object() -> None:
    entry = {"kind": "crisis", "source": "desk", "message_id": "u1", "score": 0.7}
    flag = FlagRaised(RiskKind.CRISIS, "desk", "u1", 0.7)
    assert context_flags({RISK_CONTEXT_KEY: [entry, flag]}) == (flag, flag)
    assert context_flags({RISK_CONTEXT_KEY: entry}) == (flag,)
    assert context_flags(SimpleNamespace(**{RISK_CONTEXT_KEY: (entry,)})) == (flag,)


@pytest.mark.parametrize(
    "entry",
    ["self_harm", 1, {}, {"kind": "sadness", "source": "x"}, {"kind": "crisis"}, {"kind": "crisis", "source": ""}],
)
def test_an_entry_that_cannot_be_read_is_a_flag(entry: Any) -> None:
    assert context_flags({RISK_CONTEXT_KEY: [entry]}) == (UNREADABLE,)
    assert context_flags({RISK_CONTEXT_KEY: 3}) == (UNREADABLE,)
    assert context_flags({RISK_CONTEXT_KEY: "crisis"}) == (UNREADABLE,)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_flag_in_the_context_of_one_run_vetoes_every_later_end(*, asynchronous: bool) -> None:
    agent = Agent(
        [*LADDER, "I hear you.", ending(), ending(), "All right."],
        asynchronous=asynchronous,
        create={"context_schema": dict},
    )
    agent.climb()
    told = {RISK_CONTEXT_KEY: [{"kind": "self_harm", "source": "school-counsellor"}]}
    agent.invoke(said(INSULT), context=told)
    agent.say(INSULT)
    status = agent.registry.status("t")
    assert not status.sealed
    assert [flag.source for flag in status.risk_flags] == ["school-counsellor"]
    assert agent.registry.decisions("t")[-1].decision.unmet[0] is UnmetCode.RISK_FLAGGED
