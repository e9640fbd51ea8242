"""The ledger: what each observation does, that it is bounded, and that no forgery is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from end_conversation_tool._core.ledger import MAX_TURNS, MAX_UNCHECKED, Ledger, Mark, TurnEvidence, text_digest
from end_conversation_tool._core.records import Category, EvidenceKind, RiskKind
from support.ledgers import FULL, ledger_of

KEY = b"k" * 32
ABUSE, REFUSAL = EvidenceKind.ABUSE, EvidenceKind.REFUSAL
MARK = Mark("m", "test/1", 0.5)


def full_ledger() -> Ledger:
    """Return a ledger in which no field has its default."""
    ledger = ledger_of(f"{FULL}?", pending=Category.ABUSE).count_denial().count_call(Category.ABUSE)
    return Ledger(
        turn=ledger.turn,
        user_message=ledger.user_message,
        turns=ledger.turns,
        weak_risk=1.25,
        unrecorded_risk=((RiskKind.SELF_HARM, "d/1", "m1"), (RiskKind.OTHER, "e/2", "")),
        unchecked=("d1", "d2"),
        pending=ledger.pending,
        denials=ledger.denials,
        last_message="last",
    )


# Observations


def test_an_empty_ledger_shows_nothing() -> None:
    ledger = Ledger()
    assert (ledger.turn, ledger.turns, ledger.recent(64), ledger.denials, ledger.weak_risk) == (0, (), (), 0, 0.0)
    assert ledger.current == TurnEvidence(0)
    assert ledger.calls_pending(Category.ABUSE) == 0
    assert not ledger.saw("m", text_digest(""))


def test_a_new_turn_forgets_what_pended_and_what_was_denied() -> None:
    before = full_ledger()
    after = before.begin_turn("u9", "digest9")
    assert after.turn == before.turn + 1
    assert (after.pending, after.denials) == (None, 0)
    assert after.saw("u9", "digest9")
    assert not after.saw("u9", "digest")
    assert not after.saw("u", "digest9")
    assert after.turns == before.turns
    assert (after.weak_risk, after.unrecorded_risk) == (before.weak_risk, before.unrecorded_risk)


def test_marks_count_once_a_turn_and_the_first_stays() -> None:
    ledger = Ledger().begin_turn("u1", "d").mark(REFUSAL, MARK)
    again = ledger.mark(REFUSAL, Mark("other", "test/2"))
    assert again is ledger
    assert ledger.current.marks == {REFUSAL: MARK}
    both = ledger.mark(ABUSE, MARK)
    assert set(both.current.marks) == {ABUSE, REFUSAL}
    assert len(both.turns) == 1


def test_nothing_is_evidence_before_the_first_user_turn() -> None:
    assert Ledger().mark(REFUSAL, MARK) == Ledger()


def test_doubt() -> None:
    ledger = Ledger().begin_turn("u1", "d").mark(ABUSE, MARK).mark_doubt()
    assert ledger.current == TurnEvidence(1, {ABUSE: MARK}, doubt=True)
    assert ledger.mark_doubt() is ledger
    assert not ledger.begin_turn("u2", "d").current.doubt


def test_a_faint_sign() -> None:
    ledger = Ledger().begin_turn("u1", "d").mark(ABUSE, MARK).mark_faint()
    assert ledger.current == TurnEvidence(1, {ABUSE: MARK}, faint=True)
    assert ledger.mark_faint() is ledger
    assert not ledger.begin_turn("u2", "d").current.faint
    assert Ledger.load(ledger.dump(KEY, "t"), KEY, "t") == ledger
    assert ledger.seen_at(2, 2).current == TurnEvidence(1, faint=True), "what bears on risk stays after a reopening"


def test_only_turns_that_show_something_are_kept() -> None:
    ledger = ledger_of("- a - - r -")
    assert [evidence.turn for evidence in ledger.turns] == [2, 5]
    assert ledger.turn == 6


def test_consecutive_calls() -> None:
    once = Ledger().begin_turn("u", "d").count_call(Category.ABUSE)
    assert once.calls_pending(Category.ABUSE) == 1
    assert once.calls_pending(Category.USER_REQUEST) == 0
    twice = once.count_call(Category.ABUSE)
    assert twice.calls_pending(Category.ABUSE) == 2
    other = twice.count_call(Category.USER_REQUEST)
    assert (other.calls_pending(Category.ABUSE), other.calls_pending(Category.USER_REQUEST)) == (0, 1)
    assert (twice.denials, other.denials) == (0, 1)
    assert twice.break_row().calls_pending(Category.ABUSE) == 0
    assert Ledger().break_row() == Ledger()


def test_a_denial_breaks_the_row() -> None:
    denied = Ledger().begin_turn("u", "d").count_call(Category.ABUSE).count_denial()
    assert (denied.pending, denied.denials) == (None, 1)
    assert denied.count_denial().denials == 2


def test_observations_leave_the_ledger_as_it_was() -> None:
    ledger = full_ledger()
    before = ledger.dump(KEY, "t")
    ledger.begin_turn("x", "y").mark(ABUSE, MARK).mark_doubt().count_call(Category.ABUSE).count_denial().break_row()
    ledger.mark(EvidenceKind.CONFIRMS_END, MARK)
    assert ledger.dump(KEY, "t") == before


def test_messages_that_nobody_looked_at_are_kept_and_bounded() -> None:
    ledger = Ledger().note_unchecked("d1").note_unchecked("d2")
    assert ledger.unchecked == ("d1", "d2")
    assert ledger.note_unchecked("d1") is ledger
    assert ledger.begin_turn("u", "d").unchecked == ("d1", "d2")
    for number in range(100):
        ledger = ledger.note_unchecked(text_digest(str(number)))
    assert len(ledger.unchecked) == MAX_UNCHECKED + 1
    assert ledger.unchecked[-1] == "more"


@pytest.mark.parametrize(("window", "turns"), [(1, [4]), (2, [3, 4]), (4, [1, 2, 3, 4]), (64, [1, 2, 3, 4])])
def test_recent(window: int, turns: list[int]) -> None:
    assert [evidence.turn for evidence in ledger_of("a a a a").recent(window)] == turns


def test_recent_counts_user_turns_and_not_kept_ones() -> None:
    assert [evidence.turn for evidence in ledger_of("a - - a").recent(3)] == [4]


def test_records_of_a_turn() -> None:
    (record,) = TurnEvidence(3, {ABUSE: MARK}).records()
    assert record.model_dump() == {"kind": ABUSE, "turn": 3, "message_id": "m", "source": "test/1", "score": 0.5}


# Bounds


def test_it_is_bounded() -> None:
    ledger = ledger_of(["ardwkqyc?"] * 300)
    assert ledger.turn == 300
    assert len(ledger.turns) == MAX_TURNS
    assert [evidence.turn for evidence in ledger.turns] == list(range(300 - MAX_TURNS + 1, 301))


def test_an_old_turn_is_dropped_however_few_are_kept() -> None:
    ledger = ledger_of(["a", *["-"] * 63])
    assert [evidence.turn for evidence in ledger.turns] == [1]
    assert ledger.begin_turn("u", "d").turns == ()


@pytest.mark.parametrize("turns", [1, 20, 10_000])
def test_an_ordinary_conversation_carries_less_than_200_bytes(turns: int) -> None:
    ledger = Ledger()
    for number in range(turns):
        ledger = ledger.begin_turn(f"lc_run--{number:0>32}", text_digest("some text"))
    assert len(json.dumps(ledger.dump(KEY, "thread")).encode()) < 200


def test_the_cost_of_a_turn_does_not_grow() -> None:
    sizes = {len(json.dumps(ledger_of(["ard"] * turns).dump(KEY, "t"))) for turns in (1_200, 1_201, 9_000)}
    assert len(sizes) == 1


# Graph state


@pytest.mark.parametrize("ledger", [Ledger(), ledger_of("-"), ledger_of(FULL), full_ledger()])
def test_round_trip(ledger: Ledger) -> None:
    dumped = ledger.dump(KEY, "thread")
    assert Ledger.load(dumped, KEY, "thread") == ledger
    assert Ledger.load(json.loads(json.dumps(dumped)), KEY, "thread") == ledger
    assert ledger.dump(KEY, "thread") == dumped


def test_the_order_of_keys_does_not_matter() -> None:
    dumped = full_ledger().dump(KEY, "thread")
    assert Ledger.load(dict(reversed(dumped.items())), KEY, "thread") == full_ledger()


def test_a_dumped_ledger_is_plain_json() -> None:
    def plain(value: Any) -> bool:
        if type(value) is dict:
            return all(type(name) is str and plain(item) for name, item in value.items())
        if type(value) is list:
            return all(plain(item) for item in value)
        return value is None or type(value) in (str, int, float, bool)

    assert plain(full_ledger().dump(KEY, "thread"))


@pytest.mark.parametrize(("key", "thread"), [(KEY, "other"), (b"x" * 32, "thread"), (b"", "thread"), (KEY, "")])
def test_another_thread_or_another_key_reads_nothing(key: bytes, thread: str) -> None:
    assert Ledger.load(full_ledger().dump(KEY, "thread"), key, thread) is None


@pytest.mark.parametrize("field", sorted(full_ledger().dump(KEY, "t")))
@pytest.mark.parametrize("value", [None, 0, 99, "x", [], {}, [["x"]], True, float("nan")])
def test_any_change_of_any_field_reads_nothing(field: str, value: Any) -> None:
    dumped = full_ledger().dump(KEY, "t")
    assert Ledger.load({**dumped, field: value}, KEY, "t") is None
    without = {name: kept for name, kept in dumped.items() if name != field}
    assert Ledger.load(without, KEY, "t") is None
    assert Ledger.load({**dumped, "more": value}, KEY, "t") is None


def deep() -> dict[str, Any]:
    inner: list[Any] = []
    for _ in range(100_000):
        inner = [inner]
    return {"turns": inner}


def circular() -> dict[str, Any]:
    body: dict[str, Any] = {}
    body["self"] = body
    return body


@pytest.mark.parametrize(
    "state",
    [
        None,
        "",
        b"",
        0,
        True,
        [],
        (),
        {},
        set(),
        object(),
        {"sig": None},
        {"sig": "é" * 64},
        {"sig": b"0" * 64},
        {"sig": ["0"]},
        {"v": 1, "turn": 1, "user": ["", ""], "sig": "0" * 64},
        {1: 2, "sig": "0"},
        {1: 2, "a": 3, "sig": "0"},
        {"x": b"bytes", "sig": "0"},
        {"x": object(), "sig": "0"},
        {"x": "\ud800", "sig": "\ud800"},
        deep(),
        circular(),
    ],
    ids=lambda state: type(state).__name__,
)
def test_malformed_state_reads_nothing_and_never_raises(state: object) -> None:
    assert Ledger.load(state, KEY, "t") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": None},
        {"turn": "many"},
        {"turn": None},
        {"user": []},
        {"user": 5},
        {"turns": [{}]},
        {"turns": [5]},
        {"turns": [{"turn": 1, "abuse": [1, 2, 3, 4]}]},
        {"turns": 5},
        {"weak_risk": "much"},
        {"unrecorded_risk": [["hunger", "a", "b"]]},
        {"unrecorded_risk": [["other"]]},
        {"unchecked": 5},
        {"pending": ["rudeness", 1]},
        {"pending": ["abuse"]},
        {"denials": []},
    ],
)
def test_a_genuine_signature_over_nonsense_reads_nothing(changes: dict[str, Any]) -> None:
    from end_conversation_tool._core.ledger import _signature  # noqa: PLC0415

    body: dict[str, Any] = {"v": 1, "turn": 1, "user": ["a", "b"], **changes}
    assert Ledger.load({**body, "sig": _signature(body, KEY, "t")}, KEY, "t") is None


def test_a_forged_empty_ledger_equals_no_evidence() -> None:
    body = {"v": 1, "turn": 1, "user": ["", ""], "sig": Ledger().dump(KEY, "t")["sig"]}
    assert Ledger.load(body, KEY, "t") is None


def test_digests() -> None:
    assert text_digest("a") == text_digest("a") != text_digest("b")
    assert len(text_digest("a" * 100_000)) == 16
    assert text_digest("\ud800") != text_digest("\ud801")
