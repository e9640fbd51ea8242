"""What holds for every policy, every ledger and every conversation."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool._core.ledger import Ledger, Mark
from end_conversation_tool._core.policy import EndConversationPolicy, decide
from end_conversation_tool._core.records import (
    Category,
    EndRequest,
    EvidenceKind,
    JudgeOpinion,
    Mode,
    Outcome,
    RiskAssessment,
    RiskKind,
    UnmetCode,
)
from end_conversation_tool._core.run import Call, RunContext
from end_conversation_tool.errors import RegistryError, ThreadSealedError
from support.keywords import WORDS
from support.registries import METHODS, FlakyRegistry
from support.talk import REFUSE, WARN, Talk, call

MORE = settings(max_examples=150, deadline=None)
FEWER = settings(max_examples=40, deadline=None)

few = st.integers(0, 2)
policies = st.builds(
    EndConversationPolicy,
    categories=st.sampled_from([frozenset(Category)] * 4 + [frozenset({Category.ABUSE}), frozenset()]),
    min_refusals=few,
    min_redirections=few,
    min_warnings=st.integers(0, 2),
    min_abusive_turns=few,
    min_persistent_turns=st.integers(0, 2),
    window_turns=st.sampled_from([20, 20, 1, 2, 3]),
    confirmation_calls=st.integers(1, 3),
    max_denials=st.sampled_from([3, 3, 1]),
    require_judge=st.booleans(),
    mode=st.sampled_from([*[Mode.ENFORCE] * 4, Mode.SHADOW, Mode.OFF]),
)
marks = st.builds(
    Mark,
    st.text(max_size=8),
    st.text(min_size=1, max_size=8),
    st.none() | st.floats(0, 1),
)
risks = st.builds(
    RiskAssessment,
    flagged=st.sets(st.sampled_from(RiskKind)).map(lambda kinds: tuple(sorted(kinds))),
    uncertain=st.booleans(),
    healthy=st.booleans(),
)
judges = st.sampled_from([*[JudgeOpinion.AGREES] * 4, None, JudgeOpinion.DISAGREES, JudgeOpinion.FAILED])
CONDUCT = ["ardw", "ard", "ar", "ad", "rd", "w", "ac", "a", "-", "r?"]
ASKING = ["k", "kq", "q", "qk", "y", "-"]
LAST_CONDUCT = [["ard", "ardw", "a"], ["ardw", "rd", "ar"], ["rdw", "rd"], ["ardw", "-"], []]
LAST_ASKING = [["kq", "y"], ["q", "ky"], ["k", "q", "y"], ["k", "y"], ["q", "y"], []]
KIND_OF = {
    "a": EvidenceKind.ABUSE,
    "r": EvidenceKind.REFUSAL,
    "d": EvidenceKind.REDIRECTION,
    "w": EvidenceKind.WARNING,
    "k": EvidenceKind.ASKS_TO_END,
    "q": EvidenceKind.END_QUESTION,
    "y": EvidenceKind.CONFIRMS_END,
    "c": EvidenceKind.REFUSAL_AT_CALL,
}


Case = tuple[EndConversationPolicy, Ledger, EndRequest]


@st.composite
def ledgers(draw: st.DrawFn, category: Category = Category.ABUSE) -> Ledger:
    """Draw a ledger that a run of observations can lead to; often one that is worth an end."""
    asking = category is Category.USER_REQUEST
    first = draw(st.lists(st.sampled_from(ASKING if asking else CONDUCT), max_size=4))
    ledger = Ledger()
    for word in [*first, *draw(st.sampled_from(LAST_ASKING if asking else LAST_CONDUCT))]:
        ledger = ledger.begin_turn(draw(st.text(max_size=4)), "digest")
        for letter in word:
            if letter == "?":
                ledger = ledger.mark_doubt()
            elif letter != "-":
                ledger = ledger.mark(KIND_OF[letter], draw(marks))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        ledger = ledger.count_denial()
    for _ in range(draw(st.sampled_from([2, 2, 1, 0]))):
        ledger = ledger.count_call(category)
    return replace(
        ledger,
        weak_risk=draw(st.floats(0, 2)),
        unchecked=tuple(draw(st.lists(st.text(max_size=4), max_size=2))),
        last_message=draw(st.text(max_size=4)),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a policy, a request, and a ledger that may meet it."""
    category = draw(st.sampled_from(Category))
    return draw(policies), draw(ledgers(category)), EndRequest(category=category, reason="why")


@MORE
@given(cases(), risks, risks, judges)
def test_more_risk_never_turns_deny_into_permit(
    case: Case, risk: RiskAssessment, more: RiskAssessment, judge: JudgeOpinion | None
) -> None:
    policy, ledger, request = case
    worse = RiskAssessment(
        flagged=tuple(sorted({*risk.flagged, *more.flagged})),
        uncertain=risk.uncertain or more.uncertain,
        healthy=risk.healthy and more.healthy,
    )
    before = decide(policy, ledger, request, risk=risk, judge=judge)
    after = decide(policy, ledger, request, risk=worse, judge=judge)
    assert set(before.unmet) <= set(after.unmet)
    if worse != RiskAssessment():
        assert not after.permitted


@MORE
@given(cases(), judges)
def test_less_evidence_never_turns_deny_into_permit(case: Case, judge: JudgeOpinion | None) -> None:
    policy, ledger, request = case
    before = decide(policy, ledger, request, risk=RiskAssessment(), judge=judge)
    for index, turn in enumerate(ledger.turns):
        for kind in turn.marks:
            left = replace(turn, marks={known: mark for known, mark in turn.marks.items() if known is not kind})
            less = replace(ledger, turns=(*ledger.turns[:index], left, *ledger.turns[index + 1 :]))
            after = decide(policy, less, request, risk=RiskAssessment(), judge=judge)
            assert before.permitted or not after.permitted


def count(ledger: Ledger, policy: EndConversationPolicy, kind: EvidenceKind, *, before: int | None = None) -> int:
    """Count the turns in the window that show a kind, told apart from the policy's own way of counting."""
    first = ledger.turn - policy.window_turns + 1
    last = ledger.turn if before is None else before - 1
    return sum(kind in turn.marks for turn in ledger.turns if first <= turn.turn <= last)


@MORE
@given(cases(), judges)
def test_a_permit_has_every_evidence_that_it_needs(case: Case, judge: JudgeOpinion | None) -> None:
    policy, ledger, request = case
    decision = decide(policy, ledger, request, risk=RiskAssessment(), judge=judge)
    assert decision.permitted == (decision.unmet == ())
    assert list(decision.unmet) == [code for code in UnmetCode if code in decision.unmet]
    if not decision.permitted:
        return
    assert request.category in policy.categories
    assert policy.mode is not Mode.OFF
    assert judge in ({JudgeOpinion.AGREES} if policy.require_judge else {None, JudgeOpinion.AGREES})
    assert ledger.denials < policy.max_denials
    assert not any(turn.doubt for turn in ledger.recent(policy.window_turns))
    if request.category is Category.USER_REQUEST:
        assert EvidenceKind.CONFIRMS_END in ledger.current.marks
        assert count(ledger, policy, EvidenceKind.ASKS_TO_END, before=ledger.turn) >= 1
        assert any(turn.turn == ledger.turn - 1 and EvidenceKind.END_QUESTION in turn.marks for turn in ledger.turns)
        return
    assert policy.requires_something
    assert count(ledger, policy, EvidenceKind.REFUSAL) >= policy.min_refusals
    assert count(ledger, policy, EvidenceKind.REDIRECTION) >= policy.min_redirections
    assert count(ledger, policy, EvidenceKind.WARNING, before=ledger.turn) >= policy.min_warnings
    assert ledger.calls_pending(request.category) >= policy.confirmation_calls - 1
    if request.category is Category.ABUSE:
        assert count(ledger, policy, EvidenceKind.ABUSE) >= policy.min_abusive_turns
    if policy.min_persistent_turns:
        bad = {EvidenceKind.ABUSE, EvidenceKind.REFUSAL, EvidenceKind.REFUSAL_AT_CALL}
        assert bad & set(ledger.current.marks)


@MORE
@given(ledgers(), st.binary(min_size=1, max_size=32), st.text(min_size=1, max_size=8))
def test_a_dumped_ledger_is_read_as_it_was(ledger: Ledger, key: bytes, thread_id: str) -> None:
    dumped = ledger.dump(key, thread_id)
    assert Ledger.load(dumped, key, thread_id) == ledger
    assert Ledger.load(dumped, key + b"x", thread_id) is None
    assert Ledger.load(dumped, key, thread_id + "x") is None


@MORE
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_state_that_was_not_signed_is_read(state: Any) -> None:
    assert Ledger.load(state, b"key", "t") is None


# Whole conversations

SAID = ["hello", *WORDS.values(), "so tired", "you idiot, yes"]
ANSWERS = [REFUSE, WARN, "fine", "do you really want that?"]
CALLS = [call("abuse"), call("harmful_requests"), call("user_request"), Call("m", "end_conversation", "{"), call("x")]
user_steps = st.tuples(st.just("user"), st.lists(st.sampled_from(SAID), min_size=1, max_size=2))
reply_steps = st.tuples(st.just("reply"), st.sampled_from(ANSWERS))
call_steps = st.tuples(st.just("call"), st.lists(st.sampled_from(CALLS), min_size=1, max_size=2))
insults = st.just(("user", ["you idiot"]))
steps = st.lists(user_steps | reply_steps | call_steps | insults, max_size=8)
QUICK = EndConversationPolicy(min_refusals=1, min_redirections=1, confirmation_calls=1)
contexts = st.sampled_from(
    [RunContext("t"), RunContext("t", nested=True), RunContext(None), RunContext("t", model="m")]
)


def play(talk: Talk, script: list[tuple[str, Any]]) -> list[Any]:
    """Play a script until the thread is sealed, and return what came of each step."""
    outcomes: list[Any] = []
    for kind, what in script:
        try:
            if kind == "user":
                outcomes.append(talk.says(*what).ledger)
            elif talk.visit is not None:
                ruling = talk.replies_with("I will not" if kind == "call" else what, *(what if kind == "call" else ()))
                outcomes.append(
                    (ruling and (ruling.record.outcome, ruling.record.decision, ruling.cut_off), talk.ledger)
                )
        except ThreadSealedError:
            outcomes.append("sealed")
            break
    return outcomes


LADDER = [step for answer in (REFUSE, WARN) for step in (("user", ["you idiot"]), ("reply", answer))]


@FEWER
@given(steps, st.booleans(), st.sampled_from([QUICK, EndConversationPolicy()]), contexts)
def test_sync_and_async_come_to_the_same(
    script: list[tuple[str, Any]],
    climbed: bool,  # noqa: FBT001
    policy: EndConversationPolicy,
    context: RunContext,
) -> None:
    whole = [*LADDER, *script] if climbed else script
    sync, twin = (Talk(FlakyRegistry(), policy, context=context, asynchronous=way) for way in (False, True))
    assert play(sync, whole) == play(twin, whole)


@FEWER
@given(steps, st.booleans())
def test_every_call_is_recorded_exactly_once(script: list[tuple[str, Any]], climbed: bool) -> None:  # noqa: FBT001
    registry = FlakyRegistry()
    outcomes = play(Talk(registry, QUICK), [*LADDER, *script] if climbed else script)
    ruled = [outcome[0] for outcome in outcomes if isinstance(outcome, tuple) and outcome[0] is not None]
    records = registry.decisions("t")
    assert [(record.outcome, record.decision) for record in records] == [(ruling[0], ruling[1]) for ruling in ruled]
    assert len({record.id for record in records}) == len(records)
    assert sum(record.outcome is Outcome.SEALED for record in records) == int(registry.status("t").sealed)


@FEWER
@given(
    steps,
    steps,
    st.sampled_from([WORDS[kind] for kind in list(WORDS)[:2]]),
    st.sampled_from(METHODS).map(lambda method: [{method}]) | st.lists(st.sets(st.sampled_from(METHODS)), min_size=1),
    st.booleans(),
)
def test_nobody_at_risk_is_ever_cut_off(
    before: list[tuple[str, Any]],
    after: list[tuple[str, Any]],
    risk: str,
    failures: list[set[str]],
    removed: bool,  # noqa: FBT001
) -> None:
    registry = FlakyRegistry()
    talk = Talk(registry, QUICK)
    play(talk, before)
    if registry.status("t").sealed:
        return
    heard = False
    for number, step in enumerate([("user", [risk]), *LADDER, *after, ("user", ["you idiot"]), ("call", [CALLS[0]])]):
        registry.failing = failures[number % len(failures)]
        with suppress(RegistryError):
            play(talk, [step])
            heard = heard or step[1] == [risk]
        if not heard:
            registry.failing = set()
            play(talk, [("user", [risk])])
            heard = True
        if removed:
            talk.history = [message for message in talk.history if risk not in message.text]
        registry.failing = set()
        assert not registry.status("t").sealed
