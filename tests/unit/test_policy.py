"""The policy and the decision: a truth table over every condition, and what makes a policy."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from end_conversation_tool._core.policy import _CONDITIONS, EndConversationPolicy
from end_conversation_tool._core.records import (
    Category,
    JudgeOpinion,
    Mode,
    RiskAssessment,
    RiskKind,
    UnmetCode,
    Verdict,
)
from support.ledgers import ASKED, ASKED_IN_TWO_TURNS, FULL, denied_ledger, ledger_of, ruling

ABUSE, HARMFUL, USER = Category.ABUSE, Category.HARMFUL_REQUESTS, Category.USER_REQUEST
RULED_OUT_BY_THE_DOORS = [code for code in UnmetCode if code not in _CONDITIONS]


# Each condition alone unmet


@pytest.mark.parametrize(
    ("turns", "category"), [(FULL, ABUSE), (FULL, HARMFUL), (ASKED, USER), (ASKED_IN_TWO_TURNS, USER)]
)
def test_everything_holds(turns: str, category: Category) -> None:
    decision = ruling(turns, category)
    assert decision.permitted
    assert decision.verdict is Verdict.PERMIT
    assert decision.unmet == ()


ALONE: dict[UnmetCode, dict[str, Any]] = {
    UnmetCode.RISK_FLAGGED: {"risk": RiskAssessment(flagged=(RiskKind.SELF_HARM,))},
    UnmetCode.RISK_UNCERTAIN: {"risk": RiskAssessment(uncertain=True)},
    UnmetCode.RISK_CHECK_FAILED: {"risk": RiskAssessment(healthy=False)},
    UnmetCode.MODE_OFF: {"policy": EndConversationPolicy(mode=Mode.OFF)},
    UnmetCode.MODEL_NOT_ENABLED: {"policy": EndConversationPolicy(models=frozenset({"a"})), "model": "b"},
    UnmetCode.INVALID_ARGUMENTS: {"category": None},
    UnmetCode.TOO_MANY_ATTEMPTS: {"turns": denied_ledger(3)},
    UnmetCode.CATEGORY_NOT_ALLOWED: {"policy": EndConversationPolicy(categories=frozenset({HARMFUL}))},
    UnmetCode.POLICY_REQUIRES_NOTHING: {
        "policy": EndConversationPolicy(min_refusals=0, min_redirections=0, min_warnings=0)
    },
    UnmetCode.NO_ABUSE_OBSERVED: {"turns": "rd rd rdw r"},
    UnmetCode.TOO_FEW_REFUSALS: {"turns": "ard ard adw a"},
    UnmetCode.TOO_FEW_REDIRECTIONS: {"turns": "ar ard arw a"},
    UnmetCode.WARNING_NOT_ANSWERED: {"turns": "ard ard ardw", "policy": EndConversationPolicy(min_persistent_turns=0)},
    UnmetCode.NO_PERSISTENCE: {"turns": "ard ard ardw -"},
    UnmetCode.USER_DID_NOT_ASK: {"turns": "q y", "category": USER},
    UnmetCode.USER_NOT_QUESTIONED: {"turns": "k y", "category": USER},
    UnmetCode.USER_DID_NOT_CONFIRM: {"turns": "k q -", "category": USER},
    UnmetCode.JUDGE_DISAGREES: {"judge": JudgeOpinion.DISAGREES},
    UnmetCode.JUDGE_FAILED: {"judge": JudgeOpinion.FAILED},
    UnmetCode.CONFIRMATION_CALL_REQUIRED: {"pending": 0},
    **{code: {"ruled_out": [code]} for code in RULED_OUT_BY_THE_DOORS},
}
IMPLIES = {UnmetCode.NO_WARNING: {UnmetCode.NO_WARNING, UnmetCode.WARNING_NOT_ANSWERED}}
"""A warning that was never given was never answered either: the one code that cannot stand alone."""


@pytest.mark.parametrize("code", [code for code in UnmetCode if code not in IMPLIES])
def test_each_condition_alone_unmet(code: UnmetCode) -> None:
    decision = ruling(**ALONE[code])
    assert decision.verdict is Verdict.DENY
    assert decision.unmet == (code,)
    assert not decision.permitted


def test_a_missing_warning_is_also_an_unanswered_one() -> None:
    assert set(ruling("ard ard ard a").unmet) == IMPLIES[UnmetCode.NO_WARNING]


def test_every_code_is_in_the_table() -> None:
    assert set(ALONE) | set(IMPLIES) == set(UnmetCode)


@pytest.mark.parametrize("category", [ABUSE, None])
def test_all_that_can_be_unmet_together_is_reported_in_order(category: Category | None) -> None:
    ledger = ledger_of("-")
    for _ in range(3):
        ledger = ledger.count_denial()
    nothing = EndConversationPolicy(
        mode=Mode.OFF, models=frozenset({"a"}), categories=frozenset(), min_refusals=1, min_abusive_turns=1
    )
    decision = ruling(
        ledger,
        category,
        policy=nothing,
        risk=RiskAssessment(flagged=(RiskKind.VIOLENCE,), uncertain=True, healthy=False),
        ruled_out=reversed(RULED_OUT_BY_THE_DOORS),
        judge=JudgeOpinion.FAILED,
    )
    on_request = {UnmetCode.USER_DID_NOT_ASK, UnmetCode.USER_NOT_QUESTIONED, UnmetCode.USER_DID_NOT_CONFIRM}
    left_out = {*on_request, UnmetCode.POLICY_REQUIRES_NOTHING, UnmetCode.JUDGE_DISAGREES}
    if category is None:
        left_out |= {
            UnmetCode.CATEGORY_NOT_ALLOWED,
            UnmetCode.NO_ABUSE_OBSERVED,
            UnmetCode.CONFIRMATION_CALL_REQUIRED,
        }
    else:
        left_out |= {UnmetCode.INVALID_ARGUMENTS}
    assert decision.unmet == tuple(code for code in UnmetCode if code not in left_out)


def test_the_codes_of_the_user_path_are_reported_together() -> None:
    decision = ruling("-", USER, pending=0, judge=JudgeOpinion.DISAGREES)
    assert decision.unmet == (
        UnmetCode.USER_DID_NOT_ASK,
        UnmetCode.USER_NOT_QUESTIONED,
        UnmetCode.USER_DID_NOT_CONFIRM,
        UnmetCode.JUDGE_DISAGREES,
    )


# Evidence for conduct


@pytest.mark.parametrize(
    ("turns", "unmet"),
    [
        ("ardw ard ard -", (UnmetCode.NO_PERSISTENCE,)),
        ("ardw ard ard a", ()),
        ("ardw ard ard r", ()),
        ("ardw ard ard c", ()),
        ("ardw ard ard q", (UnmetCode.NO_PERSISTENCE,)),
        ("ardw ard ardw", ()),  # the newest turn holds a second warning; the first one was answered
        ("aaaa rrrr dddd wwww a", (UnmetCode.TOO_FEW_REFUSALS, UnmetCode.TOO_FEW_REDIRECTIONS)),
    ],
)
def test_ladders(turns: str, unmet: tuple[UnmetCode, ...]) -> None:
    assert ruling(turns).unmet == unmet


def test_evidence_outside_the_window_does_not_count() -> None:
    policy = EndConversationPolicy(window_turns=4)
    assert ruling(FULL, policy=policy).permitted
    late = ruling(f"{FULL} a", policy=policy)
    assert late.unmet == (UnmetCode.TOO_FEW_REFUSALS,)
    assert min(record.turn for record in late.evidence) == 2


def test_a_doubt_counts_within_the_window_only() -> None:
    policy = EndConversationPolicy(window_turns=4)
    assert ruling(f"?{FULL}", policy=policy).unmet == (UnmetCode.RISK_UNCERTAIN,)
    assert ruling(f"? {FULL}", policy=policy).permitted


@pytest.mark.parametrize("category", [ABUSE, HARMFUL])
def test_a_faint_sign_forbids_an_end_for_conduct(category: Category) -> None:
    policy = EndConversationPolicy(window_turns=4)
    uncertain = (UnmetCode.RISK_UNCERTAIN,)
    assert ruling(FULL, category, risk=RiskAssessment(faint=True)).unmet == uncertain
    assert ruling(f"~{FULL}", category, policy=policy).unmet == uncertain
    assert ruling(f"~ {FULL}", category, policy=policy).permitted, "outside the window"


def test_a_faint_sign_does_not_keep_a_user_who_wants_to_go() -> None:
    assert ruling(f"~{ASKED}", USER, risk=RiskAssessment(faint=True)).permitted
    assert ruling(f"?{ASKED}", USER).unmet == (UnmetCode.RISK_UNCERTAIN,)


def test_persistence_is_counted_after_the_required_warning() -> None:
    policy = EndConversationPolicy(min_warnings=2, min_persistent_turns=2)
    assert ruling("ardw ardw ard a", policy=policy).permitted
    assert ruling("ardw ard ardw a", policy=policy).unmet == (UnmetCode.NO_PERSISTENCE,)
    assert ruling("ard ard ardw a", policy=policy).unmet == (
        UnmetCode.NO_WARNING,
        UnmetCode.WARNING_NOT_ANSWERED,
    )


def test_without_a_required_warning_any_bad_turn_persists() -> None:
    policy = EndConversationPolicy(min_warnings=0)
    assert ruling("ard ard ar", policy=policy).permitted
    assert ruling("ard ard ar -", policy=policy).unmet == (UnmetCode.NO_PERSISTENCE,)


def test_the_evidence_of_a_decision_is_what_the_window_holds() -> None:
    decision = ruling()
    assert [(record.turn, str(record.kind)) for record in decision.evidence][:3] == [
        (1, "abuse"),
        (1, "refusal"),
        (1, "redirection"),
    ]
    assert len(decision.evidence) == 11
    assert all(record.source == "test/1" and record.message_id for record in decision.evidence)


# The user's own request


@pytest.mark.parametrize("order", sorted({" ".join(order) for order in permutations("kqy-")}))
def test_only_ask_question_yes_in_this_order_ends(order: str) -> None:
    permitted = ruling(order, USER, pending=0).permitted
    assert permitted == (order in {"- k q y", "k - q y"})


@pytest.mark.parametrize(
    ("turns", "permitted"),
    [
        ("k q y", True),
        ("kq y", True),  # asked and questioned in one turn
        ("kqy", False),  # all at once: nobody waited for an answer
        ("k qy", False),  # the yes came before the question
        ("k q - y", False),  # the yes answers something else by now
        ("k q y -", False),  # went on after the yes
        ("q ky", False),  # asked only after the question
        ("kq -", False),
        ("k y", False),
        ("kq q y", True),  # questioned again
        ("kq y y", False),  # the question is not the turn before any more
        ("kq y q y", True),
        ("", False),
    ],
)
def test_the_user_path_across_turns(turns: str, permitted: bool) -> None:  # noqa: FBT001 - a table
    assert ruling(turns, USER, pending=0).permitted is permitted


def test_a_users_yes_needs_no_second_call_and_no_bad_conduct() -> None:
    assert ruling(ASKED, USER, pending=0).permitted
    assert ruling(ASKED, ABUSE).unmet[:1] == (UnmetCode.NO_ABUSE_OBSERVED,)


def test_an_ask_outside_the_window_is_forgotten() -> None:
    policy = EndConversationPolicy(window_turns=2)
    assert ruling("k q y", USER, policy=policy).unmet == (UnmetCode.USER_DID_NOT_ASK,)
    assert ruling("kq y", USER, policy=policy).permitted


# Confirmation, judge, models, attempts


@pytest.mark.parametrize(("calls", "needed"), [(0, 1), (1, 2), (4, 5)])
def test_the_last_of_the_consecutive_calls_ends(calls: int, needed: int) -> None:
    policy = EndConversationPolicy(confirmation_calls=needed)
    assert ruling(pending=calls, policy=policy).permitted
    more = EndConversationPolicy(confirmation_calls=min(needed + 1, 5))
    assert ruling(pending=calls, policy=more).permitted is (needed == 5)


def test_a_call_of_another_category_confirms_nothing() -> None:
    ledger = ledger_of(FULL, pending=ABUSE)
    assert ruling(ledger, HARMFUL).unmet == (UnmetCode.CONFIRMATION_CALL_REQUIRED,)


@pytest.mark.parametrize(
    ("require", "judge", "unmet"),
    [
        (True, None, (UnmetCode.JUDGE_FAILED,)),
        (True, JudgeOpinion.AGREES, ()),
        (False, JudgeOpinion.AGREES, ()),
        (False, None, ()),
        (True, JudgeOpinion.DISAGREES, (UnmetCode.JUDGE_DISAGREES,)),
    ],
)
def test_the_judge(require: bool, judge: JudgeOpinion | None, unmet: tuple[UnmetCode, ...]) -> None:  # noqa: FBT001
    assert ruling(policy=EndConversationPolicy(require_judge=require), judge=judge).unmet == unmet


@pytest.mark.parametrize(("model", "permitted"), [("a", True), ("b", False), (None, False), ("A", False)])
def test_the_allow_list_of_models(model: str | None, permitted: bool) -> None:  # noqa: FBT001
    policy = EndConversationPolicy(models=frozenset({"a"}))
    assert ruling(policy=policy, model=model).permitted is permitted
    assert not ruling(policy=EndConversationPolicy(models=frozenset()), model=model).permitted


def test_two_denials_leave_one_attempt() -> None:
    assert ruling(denied_ledger(2)).permitted


@pytest.mark.parametrize("category", [ABUSE, HARMFUL])
@pytest.mark.parametrize("turns", ["", "-", FULL])
def test_a_policy_that_requires_nothing_permits_nothing(turns: str, category: Category) -> None:
    policy = EndConversationPolicy(
        min_refusals=0,
        min_redirections=0,
        min_warnings=0,
        min_abusive_turns=0,
        min_persistent_turns=0,
        confirmation_calls=1,
    )
    assert not policy.requires_something
    assert ruling(turns, category, policy=policy).unmet == (UnmetCode.POLICY_REQUIRES_NOTHING,)


@pytest.mark.parametrize("field", ["min_refusals", "min_redirections", "min_warnings"])
def test_any_single_requirement_is_something(field: str) -> None:
    policy = EndConversationPolicy(**{"min_refusals": 0, "min_redirections": 0, "min_warnings": 0, field: 1})
    assert policy.requires_something
    assert not ruling("a", policy=policy).permitted
