"""The decision as a truth table: from a case in which everything holds, one thing is taken away at a time."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from end_conversation_tool._core.policy import _BEFORE, _READ, PRESETS, EndConversationPolicy, Facts, decide
from end_conversation_tool._core.records import Category, EvidenceKind, Mode, RiskGrade, RiskKind, UnmetCode, Verdict
from support.decisions import LADDERS, evidence_of, facts_of, notice_of, request, ruling

ABUSE, HARM, USER = Category.ABUSE, Category.HARMFUL_REQUESTS, Category.USER_REQUEST
WARNED = EndConversationPolicy(require_notice=False)
ELSEWHERE = [code for code in UnmetCode if code not in {*_BEFORE, *_READ, UnmetCode.TOO_FEW_READERS}]
"""Codes that the surroundings find, and those of version 0.1."""


@pytest.mark.parametrize("category", Category)
def test_everything_holds(category: Category) -> None:
    decision = ruling(category)
    assert (decision.verdict, decision.unmet, decision.permitted) == (Verdict.PERMIT, (), True)
    assert decision.policy_version == EndConversationPolicy().version


Case = tuple[Category | None, dict[str, Any]]

BEFORE: dict[UnmetCode, list[Case]] = {
    UnmetCode.RISK_FLAGGED: [(category, {"flagged": [RiskKind.SELF_HARM]}) for category in Category],
    UnmetCode.MODE_OFF: [(category, {"policy": EndConversationPolicy(mode=Mode.OFF)}) for category in Category],
    UnmetCode.MODEL_NOT_ENABLED: [
        (category, {"policy": EndConversationPolicy(models=frozenset({"m"})), "model": model})
        for category in Category
        for model in ("n", "M", "", None)
    ],
    UnmetCode.TOO_MANY_ATTEMPTS: [(category, {"denials": denials}) for category in Category for denials in (3, 4)],
    UnmetCode.CATEGORY_NOT_ALLOWED: [
        (category, {"policy": EndConversationPolicy(categories=frozenset(Category) - {category})})
        for category in Category
    ],
    UnmetCode.NOTICE_NOT_ANSWERED: [(ABUSE, {"notice": 5}), (HARM, {"notice": 5}), (USER, {"notice": 2})],
}
"""What is told with and without evidence."""


@pytest.mark.parametrize(("code", "case"), [(code, case) for code, cases in BEFORE.items() for case in cases])
@pytest.mark.parametrize("read", [True, False])
def test_what_is_known_before_reading_denies_alone(code: UnmetCode, case: Case, read: bool) -> None:  # noqa: FBT001
    category, options = case
    decision = ruling(category, evidence=() if read else None, **options)
    assert (decision.verdict, decision.unmet) == (Verdict.DENY, (code,))


def test_malformed_arguments_are_denied_before_anybody_reads() -> None:
    assert ruling(None, evidence=None).unmet == (UnmetCode.INVALID_ARGUMENTS,)
    assert UnmetCode.INVALID_ARGUMENTS in ruling(None).unmet


@pytest.mark.parametrize("category", [ABUSE, HARM])
@pytest.mark.parametrize(
    ("counts", "turns", "holds"),
    [
        ({}, 2, False),
        ({}, 3, True),
        ({"min_refusals": 1, "min_redirections": 4}, 3, False),
        ({"min_refusals": 1, "min_redirections": 4}, 4, True),
        ({"min_misconduct_turns": 5}, 4, False),
        ({"min_misconduct_turns": 5}, 5, True),
    ],
)
def test_nobody_reads_before_there_were_turns_enough(
    category: Category,
    counts: dict[str, int],
    turns: int,
    holds: bool,  # noqa: FBT001 - a table
) -> None:
    decision = ruling(category, "- " * turns, notice=None, evidence=None, policy=EndConversationPolicy(**counts))
    assert decision.unmet == (() if holds else (UnmetCode.TOO_FEW_REFUSALS,))


def test_a_user_who_asks_needs_no_number_of_turns() -> None:
    assert ruling(USER, "k", notice=None, evidence=None).permitted


@pytest.mark.parametrize("category", Category)
def test_without_evidence_nothing_is_missed_that_only_a_reader_can_tell(category: Category) -> None:
    assert ruling(category, "- - - - -", notice=None, evidence=None).permitted
    assert not ruling(category, "- - - - -", notice=None).permitted


THREE = EndConversationPolicy(min_misconduct_turns=3)
READ: dict[UnmetCode, list[Case]] = {
    UnmetCode.RISK_UNCERTAIN: [
        (category, {"risk": grade}) for category in Category for grade in (RiskGrade.POSSIBLE, RiskGrade.CLEAR)
    ],
    UnmetCode.TOO_FEW_READERS: [(category, {"policy": EndConversationPolicy(min_readers=2)}) for category in Category],
    UnmetCode.TOO_FEW_TURNS_OF_MISCONDUCT: [
        (ABUSE, {"turns": "rd rd r a a", "policy": THREE}),
        (ABUSE, {"turns": "hrd hrd hr ha ha", "policy": THREE}),
        (HARM, {"turns": "rd rd r h h", "policy": THREE}),
        (HARM, {"turns": "ard ard ar ha ha", "policy": THREE}),
    ],
    UnmetCode.TOO_FEW_REFUSALS: [
        (ABUSE, {"turns": "ard ard a a a"}),
        (ABUSE, {"turns": "arrrd ad a a ar"}),
        (HARM, {"turns": "hrd hrd hd h h"}),
    ],
    UnmetCode.TOO_FEW_REDIRECTIONS: [
        (ABUSE, {"turns": "ard ar ar a a"}),
        (ABUSE, {"turns": "arddd ar ar a a"}),
        (HARM, {"turns": "hrd hr hr h h"}),
    ],
    UnmetCode.NOTICE_REQUIRED: [
        (ABUSE, {"notice": None}),
        (HARM, {"notice": None}),
        (USER, {"notice": None}),
        (USER, {"notice": None, "turns": "k"}),
        (USER, {"turns": "k - y", "notice": 1}),  # a yes is one to the question that was asked last
        (USER, {"turns": "k k k k y", "notice": 3}),
        (USER, {"turns": "- k y", "notice": 1}),
        (USER, {"turns": "k y -", "notice": 1}),
        (ABUSE, {"notices": (notice_of(4, HARM),)}),
        (HARM, {"notices": (notice_of(4, ABUSE), notice_of(3, USER))}),
        (ABUSE, {"notices": (notice_of(4, shadow=True),)}),
    ],
    UnmetCode.NO_WARNING: [
        (ABUSE, {"policy": WARNED, "notice": None}),
        (ABUSE, {"policy": WARNED, "notice": None, "turns": "ard ard ar a aw"}),
        (HARM, {"policy": WARNED, "notice": None}),
    ],
    UnmetCode.NO_PERSISTENCE: [
        (ABUSE, {"turns": "ard ard ar a -"}),
        (ABUSE, {"turns": "ard ard ar a h"}),
        (ABUSE, {"turns": "ard ard ar a r"}),
        (ABUSE, {"newest_message": "another"}),
        (ABUSE, {"newest_message": ""}),
        (HARM, {"turns": "hrd hrd hr h a"}),
    ],
    UnmetCode.USER_DID_NOT_ASK: [
        (USER, {"turns": "- k", "confirmed": True}),
        (USER, {"turns": "- y", "confirmed": True}),
    ],
    UnmetCode.USER_DID_NOT_CONFIRM: [
        (USER, {"turns": "k -"}),
        (USER, {"turns": "k y -", "notice": 2}),
        (USER, {"turns": "k k"}),
        (USER, {"newest_message": "another"}),
        (USER, {"policy": WARNED, "notice": None, "turns": "k"}),
        (USER, {"policy": WARNED, "notice": None, "turns": "ky"}),
    ],
}
"""What somebody must have read for."""


@pytest.mark.parametrize(("code", "case"), [(code, case) for code, cases in READ.items() for case in cases])
def test_what_a_reader_did_not_find_denies_alone(code: UnmetCode, case: Case) -> None:
    category, options = case
    decision = ruling(category, **options)
    assert (decision.verdict, decision.unmet) == (Verdict.DENY, (code,))


@pytest.mark.parametrize("code", ELSEWHERE)
@pytest.mark.parametrize("read", [True, False])
def test_what_the_surroundings_rule_out_denies_alone(code: UnmetCode, read: bool) -> None:  # noqa: FBT001 - a table
    assert ruling(ruled_out=[code], evidence=() if read else None).unmet == (code,)


def test_the_tables_hold_every_condition() -> None:
    assert {*BEFORE, UnmetCode.INVALID_ARGUMENTS, UnmetCode.TOO_FEW_REFUSALS} == set(_BEFORE)
    assert {*READ} - {UnmetCode.TOO_FEW_READERS} == set(_READ)


def test_a_request_without_any_evidence_at_all_is_told_everything_in_order() -> None:
    policy = EndConversationPolicy(
        mode=Mode.OFF, models=frozenset({"m"}), categories=frozenset({USER}), min_readers=2, min_misconduct_turns=2
    )
    decision = ruling(
        ABUSE,
        "-",
        notice=1,
        policy=policy,
        risk=RiskGrade.CLEAR,
        flagged=[RiskKind.CRISIS],
        denials=9,
        ruled_out=[*reversed(ELSEWHERE)],
    )
    left_out = {
        UnmetCode.INVALID_ARGUMENTS,
        UnmetCode.NOTICE_REQUIRED,
        UnmetCode.NO_WARNING,
        UnmetCode.USER_DID_NOT_ASK,
        UnmetCode.USER_DID_NOT_CONFIRM,
    }
    assert decision.unmet == tuple(code for code in UnmetCode if code not in left_out)


# The window


@pytest.mark.parametrize("category", [ABUSE, HARM])
@pytest.mark.parametrize(
    ("window", "unmet"), [(5, ()), (4, (UnmetCode.TOO_FEW_REFUSALS, UnmetCode.TOO_FEW_REDIRECTIONS))]
)
def test_evidence_counts_within_the_window_only(category: Category, window: int, unmet: tuple[UnmetCode, ...]) -> None:
    decision = ruling(category, policy=EndConversationPolicy(window_turns=window))
    assert decision.unmet == unmet
    assert min(record.turn for record in decision.evidence) == 6 - window


def test_a_notice_counts_within_the_window_only() -> None:
    turns = "- ard ard ar a"
    assert ruling(ABUSE, turns, notice=1, policy=EndConversationPolicy(window_turns=5)).permitted
    late = ruling(ABUSE, turns, notice=1, policy=EndConversationPolicy(window_turns=4))
    assert late.unmet == (UnmetCode.NOTICE_REQUIRED,)
    assert EvidenceKind.NOTICE not in {record.kind for record in late.evidence}


def test_a_request_of_the_user_outside_the_window_is_forgotten() -> None:
    assert ruling(USER, "k - y", notice=2, policy=EndConversationPolicy(window_turns=4)).permitted
    forgotten = ruling(USER, "k - - - y", notice=2, policy=EndConversationPolicy(window_turns=4))
    assert UnmetCode.USER_DID_NOT_ASK in forgotten.unmet


def test_misconduct_outside_the_window_does_not_count() -> None:
    policy = EndConversationPolicy(min_misconduct_turns=3, window_turns=4)
    assert ruling(ABUSE, "a rd rda ra a", policy=policy).permitted
    assert ruling(ABUSE, "a ard rd ra a", policy=policy).permitted
    assert ruling(ABUSE, "a rd rd ra a", policy=policy).unmet == (UnmetCode.TOO_FEW_TURNS_OF_MISCONDUCT,)


# Notices and warnings


@pytest.mark.parametrize("category", Category)
def test_a_notice_that_was_given_again_in_this_turn_takes_nothing_from_the_answered_one(category: Category) -> None:
    turns, given = LADDERS[category]
    now = len(turns.split())
    decision = ruling(category, notices=(notice_of(given, category), notice_of(now, category)))
    assert decision.permitted


def test_a_recorded_notice_counts_where_nothing_is_enforced() -> None:
    only_recorded = (notice_of(4, shadow=True),)
    assert ruling(notices=only_recorded, shadow=True).permitted
    assert ruling(notices=only_recorded, shadow=False).unmet == (UnmetCode.NOTICE_REQUIRED,)
    assert ruling(notices=(notice_of(4),), shadow=True).permitted


@pytest.mark.parametrize("category", [ABUSE, HARM])
def test_a_quoted_warning_does_where_no_notice_is_required(category: Category) -> None:
    turns, _ = LADDERS[category]
    warned = turns.replace("d ", "dw ", 1)
    assert ruling(category, warned, notice=None, policy=WARNED).permitted
    assert ruling(category, warned, notice=None).unmet == (UnmetCode.NOTICE_REQUIRED,)
    assert ruling(category, turns, notice=4, policy=WARNED).permitted, "a notice is a warning"


def test_a_warning_outside_the_window_does_not_do() -> None:
    policy = EndConversationPolicy(require_notice=False, window_turns=4)
    assert ruling(ABUSE, "w ard ard ar a", notice=None, policy=policy).unmet == (UnmetCode.NO_WARNING,)
    assert ruling(ABUSE, "- ardw ard ar a", notice=None, policy=policy).permitted


def test_the_evidence_of_a_decision_names_the_notice() -> None:
    (notice,) = [record for record in ruling().evidence if record.kind is EvidenceKind.NOTICE]
    assert (notice.turn, notice.message_id, notice.source, notice.quote) == (4, "n4", "app", "")


# Refusals that the provider reported


def test_a_refusal_that_the_provider_reported_counts_once_a_turn() -> None:
    assert ruling(ABUSE, "ad ad a a a", refused_turns=[1, 2, 3]).permitted
    assert ruling(ABUSE, "ad ad a a a", refused_turns=[1, 2]).unmet == (UnmetCode.TOO_FEW_REFUSALS,)
    assert ruling(ABUSE, "ard ard a a a", refused_turns=[1, 2]).unmet == (UnmetCode.TOO_FEW_REFUSALS,)
    reported = [record for record in ruling(refused_turns=[2]).evidence if record.source == "provider"]
    assert [(record.kind, record.turn, record.message_id) for record in reported] == [(EvidenceKind.REFUSAL, 2, "")]


def test_a_reported_refusal_outside_the_window_does_not_count() -> None:
    policy = EndConversationPolicy(window_turns=4)
    assert ruling(ABUSE, "- ard ard a a", refused_turns=[1], policy=policy).unmet == (UnmetCode.TOO_FEW_REFUSALS,)
    assert ruling(ABUSE, "- ard ard a a", refused_turns=[4], policy=policy).permitted


# The user's own request


@pytest.mark.parametrize("order", sorted({" ".join(order) for order in permutations("ky-")}))
def test_only_asking_and_then_a_yes_ends(order: str) -> None:
    permitted = [notice for notice in (1, 2) if ruling(USER, order, notice=notice).permitted]
    assert permitted == {"k - y": [2], "- k y": [2]}.get(order, [])


@pytest.mark.parametrize(
    ("turns", "notice", "unmet"),
    [
        ("k ky", 1, ()),
        ("ky y", 1, ()),
        ("ky -", 1, (UnmetCode.USER_DID_NOT_CONFIRM,)),
        ("k - - y", 1, (UnmetCode.NOTICE_REQUIRED,)),
        ("k - - y", 2, (UnmetCode.NOTICE_REQUIRED,)),
        ("k - - y", 3, ()),
        ("- y", 1, (UnmetCode.USER_DID_NOT_ASK, UnmetCode.USER_DID_NOT_CONFIRM)),
        ("- ky", 1, (UnmetCode.USER_DID_NOT_ASK, UnmetCode.USER_DID_NOT_CONFIRM)),
        ("- -", None, (UnmetCode.NOTICE_REQUIRED, UnmetCode.USER_DID_NOT_ASK)),
        ("k y", 2, (UnmetCode.NOTICE_NOT_ANSWERED,)),
    ],
)
def test_the_users_own_request_over_turns(turns: str, notice: int | None, unmet: tuple[UnmetCode, ...]) -> None:
    assert ruling(USER, turns, notice=notice).unmet == unmet


def test_a_yes_to_the_app_does_in_place_of_notice_and_message() -> None:
    assert ruling(USER, "k", notice=None, confirmed=True).permitted
    assert ruling(USER, "-", notice=None, confirmed=True).unmet == (UnmetCode.USER_DID_NOT_ASK,)
    for veto in ({"risk": RiskGrade.POSSIBLE}, {"flagged": [RiskKind.OTHER]}):
        assert not ruling(USER, "k", notice=None, confirmed=True, **veto).permitted


@pytest.mark.parametrize("category", Category)
def test_a_yes_to_the_app_before_anything_was_said_is_none(category: Category) -> None:
    assert not ruling(category, "", notice=None, confirmed=True, policy=WARNED).permitted


def test_a_yes_without_notice_does_where_none_is_required() -> None:
    assert ruling(USER, "k y", notice=None, policy=WARNED).permitted


def test_no_conduct_is_needed_where_the_user_asks_and_no_request_for_conduct() -> None:
    assert ruling(USER).permitted
    assert UnmetCode.NO_PERSISTENCE in ruling(ABUSE, "k y k y y").unmet


# Several readers


def test_each_reader_must_find_enough_by_itself() -> None:
    full, _ = LADDERS[ABUSE]
    strict = PRESETS["strict"]
    both = [evidence_of(full, source="one/1"), evidence_of(full, source="two/1")]
    assert ruling(evidence=both, policy=strict).permitted
    assert {record.source for record in ruling(evidence=both).evidence} == {"one/1", "two/1", "app"}
    halves = [evidence_of("ard ard - a a"), evidence_of("- - ard a a")]
    assert ruling(evidence=halves, policy=strict).unmet == (
        UnmetCode.TOO_FEW_REFUSALS,
        UnmetCode.TOO_FEW_REDIRECTIONS,
    )
    doubt = [evidence_of(full), evidence_of(full, risk=RiskGrade.POSSIBLE)]
    assert ruling(evidence=doubt, policy=strict).unmet == (UnmetCode.RISK_UNCERTAIN,)


@pytest.mark.parametrize("needed", [1, 2, 5])
def test_as_many_readers_as_the_policy_wants(needed: int) -> None:
    policy = EndConversationPolicy(min_readers=needed)
    full, _ = LADDERS[ABUSE]
    assert ruling(evidence=[evidence_of(full)] * needed, policy=policy).permitted
    if needed > 1:
        short = ruling(evidence=[evidence_of(full)] * (needed - 1), policy=policy)
        assert short.unmet == (UnmetCode.TOO_FEW_READERS,)
    assert ruling(evidence=None, policy=policy).permitted, "nobody has read yet"


def test_no_reader_at_all_is_too_few() -> None:
    """An empty list of findings is a reading by nobody, and no reading to come."""
    decision = decide(EndConversationPolicy(), facts_of("a a a a a", notice_of(4)), request(), [])
    assert UnmetCode.TOO_FEW_READERS in decision.unmet


# Presets, attempts, models


@pytest.mark.parametrize(
    ("preset", "category", "turns", "notice", "permitted"),
    [
        ("default", ABUSE, None, 4, True),
        ("default", ABUSE, "ard a", 1, False),
        ("single_warning", ABUSE, "ard a", 1, True),
        ("single_warning", ABUSE, "ard a", None, False),
        ("single_warning", ABUSE, "ar a", 1, False),
        ("abuse_only", HARM, None, 4, False),
        ("abuse_only", ABUSE, "rd rd r a a", 4, False),
        ("abuse_only", ABUSE, None, 4, True),
        ("abuse_only", USER, None, 1, True),
        ("user_request_only", ABUSE, None, 4, False),
        ("user_request_only", HARM, None, 4, False),
        ("user_request_only", USER, None, 1, True),
        ("strict", ABUSE, None, 4, False),
    ],
)
def test_what_presets_permit(
    preset: str,
    category: Category,
    turns: str | None,
    notice: int | None,
    permitted: bool,  # noqa: FBT001 - a table
) -> None:
    policy = EndConversationPolicy.preset(preset)
    assert ruling(category, turns, notice=notice, policy=policy).permitted is permitted


@pytest.mark.parametrize("allowed", [1, 3, 10])
def test_attempts_within_a_turn(allowed: int) -> None:
    policy = EndConversationPolicy(max_denials=allowed)
    assert ruling(policy=policy, denials=allowed - 1).permitted
    assert ruling(policy=policy, denials=allowed).unmet == (UnmetCode.TOO_MANY_ATTEMPTS,)


def test_the_allow_list_of_models() -> None:
    assert ruling(policy=EndConversationPolicy(models=frozenset({"m", "n"})), model="n").permitted
    assert not ruling(policy=EndConversationPolicy(models=frozenset()), model="n").permitted
    assert ruling(policy=EndConversationPolicy(models=None), model=None).permitted


def test_before_any_user_turn_nothing_ends() -> None:
    for category in Category:
        decision = decide(EndConversationPolicy(), Facts(0), request(category), [evidence_of("")])
        assert not decision.permitted
        assert UnmetCode.NOTICE_REQUIRED in decision.unmet
