"""What holds for every policy, whatever was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from end_conversation_tool._core.evidence import Evidence
from end_conversation_tool._core.policy import MISCONDUCT, EndConversationPolicy, Facts, decide
from end_conversation_tool._core.records import (
    Category,
    EndRequest,
    EvidenceKind,
    EvidenceRecord,
    Mode,
    RiskGrade,
    RiskKind,
    UnmetCode,
)
from support.decisions import LADDERS, evidence_of, facts_of, notice_of

MORE = settings(max_examples=100, deadline=None)
GRADES = list(RiskGrade)

policies = st.builds(
    EndConversationPolicy,
    categories=st.sampled_from([frozenset(Category)] * 3 + [frozenset({Category.ABUSE, Category.USER_REQUEST})]),
    min_refusals=st.integers(0, 3),
    min_redirections=st.integers(1, 3),
    min_misconduct_turns=st.integers(1, 3),
    require_notice=st.booleans(),
    window_turns=st.sampled_from([20, 20, 4, 5]),
    min_readers=st.sampled_from([1, 1, 2]),
    max_denials=st.sampled_from([3, 3, 1]),
    mode=st.sampled_from([*[Mode.ENFORCE] * 4, Mode.SHADOW, Mode.OFF]),
)
flags = st.sets(st.sampled_from(RiskKind), max_size=2).map(lambda kinds: tuple(sorted(kinds)))
grades = st.sampled_from([RiskGrade.NONE] * 3 + GRADES)
words = st.sampled_from(
    ["ard", "ardw", "hrd", "hrdw", "ahrd", "ar", "hd", "a", "h", "ah", "k", "ky", "y", "rd", "w", "-"]
)

Case = tuple[EndConversationPolicy, Facts, EndRequest, list[Evidence]]


@st.composite
def cases(draw: st.DrawFn, policy: EndConversationPolicy | None = None) -> Case:
    """Draw a request with what was found; often one that is worth an end."""
    category = draw(st.sampled_from(Category))
    full, _ = LADDERS[category]
    turns = [*draw(st.lists(words, max_size=3)), *draw(st.sampled_from([full.split()] * 2 + [[]]))]
    turns = turns + draw(st.lists(words, max_size=0 if draw(st.booleans()) else 2))
    numbers = st.integers(1, max(len(turns), 1))
    notices = draw(
        st.lists(
            st.builds(notice_of, numbers, st.sampled_from([category] * 3 + list(Category)), shadow=st.booleans()),
            max_size=3,
        )
    )
    facts = facts_of(
        " ".join(turns),
        *notices,
        flagged=draw(st.just(()) | flags),
        denials=draw(st.sampled_from([0, 0, 0, 1, 3])),
        refused_turns=sorted(draw(st.sets(numbers, max_size=2))) if turns else [],
        confirmed=draw(st.sampled_from([False, False, True])),
        shadow=draw(st.booleans()),
    )
    readers = draw(st.sampled_from([1, 1, 2]))
    evidence = [evidence_of(" ".join(turns), risk=draw(grades)) for _ in range(readers)]
    return policy or draw(policies), facts, EndRequest(category=category, reason="why"), evidence


DEFAULT = EndConversationPolicy()


@pytest.mark.parametrize("category", Category)
def test_the_cases_hold_ends_on_every_ground(category: Category) -> None:
    """Or the properties below would say nothing."""
    policy, facts, request, evidence = find(
        cases(DEFAULT), lambda case: case[2].category is category and decide(*case).permitted
    )
    assert decide(policy, facts, request, evidence).permitted


@MORE
@given(cases(), flags, st.lists(st.sampled_from(GRADES), min_size=2, max_size=2))
def test_more_risk_never_turns_deny_into_permit(case: Case, more: Sequence[RiskKind], worse: list[RiskGrade]) -> None:
    policy, facts, request, evidence = case
    risen = [
        replace(one, risk=max(one.risk, grade, key=GRADES.index)) for one, grade in zip(evidence, worse, strict=False)
    ]
    alarmed = replace(facts, flagged=(*facts.flagged, *more))
    before, after = decide(policy, facts, request, evidence), decide(policy, alarmed, request, risen)
    assert set(before.unmet) <= set(after.unmet)
    if alarmed.flagged or any(one.risk is not RiskGrade.NONE for one in risen):
        assert not after.permitted


@MORE
@given(cases())
def test_less_evidence_never_turns_deny_into_permit(case: Case) -> None:
    policy, facts, request, evidence = case
    before = decide(policy, facts, request, evidence)
    for number, found in enumerate(evidence):
        for left in range(len(found.records)):
            records = (*found.records[:left], *found.records[left + 1 :])
            less = [*evidence[:number], replace(found, records=records), *evidence[number + 1 :]]
            assert before.permitted or not decide(policy, facts, request, less).permitted
    for turn in facts.refused_turns:
        fewer = replace(facts, refused_turns=[other for other in facts.refused_turns if other != turn])
        assert before.permitted or not decide(policy, fewer, request, evidence).permitted
    assert before.permitted or not decide(policy, facts, request, evidence[:-1]).permitted


@MORE
@given(cases(DEFAULT))
def test_fewer_notices_never_turn_deny_into_permit(case: Case) -> None:
    policy, facts, request, evidence = case
    facts = replace(facts, confirmed=False)
    before = decide(policy, facts, request, evidence)
    for notice in facts.notices:
        fewer = replace(facts, notices=tuple(other for other in facts.notices if other is not notice))
        assert before.permitted or not decide(policy, fewer, request, evidence).permitted


@MORE
@given(cases(), st.sampled_from(list(UnmetCode)))
def test_more_that_is_ruled_out_is_only_more_unmet(case: Case, code: UnmetCode) -> None:
    before, after = decide(*case), decide(*case, ruled_out=[code])
    assert set(after.unmet) == {*before.unmet, code}
    assert not after.permitted


@MORE
@given(cases())
def test_what_denies_before_reading_denies_after_it(case: Case) -> None:
    policy, facts, request, evidence = case
    before, after = decide(policy, facts, request), decide(policy, facts, request, evidence)
    assert before.permitted or not after.permitted
    # Too few turns for anything is told by the name of one count before the counts themselves are known.
    assert {*before.unmet} - {UnmetCode.TOO_FEW_REFUSALS} <= {*after.unmet}


@MORE
@given(cases())
def test_a_verdict_and_its_codes_agree(case: Case) -> None:
    decision = decide(*case)
    assert decision.permitted == (decision.unmet == ())
    assert list(decision.unmet) == [code for code in UnmetCode if code in decision.unmet]
    assert decision == decide(*case)


def turns_with(records: Sequence[EvidenceRecord], kind: EvidenceKind, oldest: int) -> set[int]:
    return {record.turn for record in records if record.kind is kind and record.turn > oldest}


@MORE
@given(cases(DEFAULT))
def test_an_end_by_the_default_policy_rests_on_everything_that_it_needs(case: Case) -> None:
    """Told apart from the policy's own way of counting."""
    policy, facts, request, evidence = case
    decision = decide(policy, facts, request, evidence)
    if not decision.permitted:
        return
    oldest = facts.turn - policy.window_turns
    assert not facts.flagged
    assert facts.denials < policy.max_denials
    noticed = [
        notice.turn
        for notice in facts.notices
        if notice.category is request.category and (facts.shadow or not notice.shadow) and notice.turn > oldest
    ]
    for found in evidence:
        assert found.risk is RiskGrade.NONE
        newest = {record.kind for record in found.records if record.message_id == facts.newest_message}
        if request.category is Category.USER_REQUEST:
            asked = turns_with(found.records, EvidenceKind.ASKS_TO_END, oldest)
            assert facts.confirmed or (min(noticed) < facts.turn and EvidenceKind.CONFIRMS_END in newest)
            assert asked
            # Whoever answers the app itself was asked by it, whatever notice there was before.
            assert facts.confirmed or min(asked) <= max(noticed)
            continue
        assert MISCONDUCT[request.category] in newest
        assert min(noticed) < facts.turn
        refused = turns_with(found.records, EvidenceKind.REFUSAL, oldest)
        assert len(refused | {turn for turn in facts.refused_turns if turn > oldest}) >= 3
        assert len(turns_with(found.records, EvidenceKind.REDIRECTION, oldest)) >= 2


@MORE
@given(cases(DEFAULT))
def test_an_end_for_conduct_always_has_misconduct_in_the_newest_message_and_an_earlier_notice(case: Case) -> None:
    _, facts, request, _ = case
    decision = decide(*case)
    if not decision.permitted or request.category is Category.USER_REQUEST:
        return
    kind = MISCONDUCT[request.category]
    shown = [(one.kind, one.message_id, one.turn) for one in decision.evidence]
    assert (kind, facts.newest_message, facts.turn) in shown
    assert any(one.kind is EvidenceKind.NOTICE and one.turn < facts.turn for one in decision.evidence)


@pytest.mark.parametrize("category", [Category.ABUSE, Category.HARMFUL_REQUESTS])
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_yes_to_the_app_ends_nothing_for_conduct(category: Category, confirmed: bool) -> None:  # noqa: FBT001
    """The app asks only those who want the end themselves."""
    turns, _ = LADDERS[category]
    request = EndRequest(category=category, reason="why")
    decision = decide(DEFAULT, facts_of(turns, confirmed=confirmed), request, [evidence_of(turns)])
    assert decision.unmet == (UnmetCode.NOTICE_REQUIRED,)
