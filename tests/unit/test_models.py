"""The records, and what is a thread id."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from end_conversation_tool._core.records import (
    MAX_THREAD_ID_CHARS,
    BranchStatus,
    EndRequest,
    RiskFlag,
    RiskKind,
    ThreadStatus,
    is_storable,
    new_id,
    untouched,
    utc_now,
    validate_thread_id,
)
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import InMemorySealRegistry
from support.records import permit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("t", "t"),
        (" ", " "),
        ("É", "É"),
        ("E\u0301", "E\u0301"),
        ("😀", "😀"),
        ("a" * MAX_THREAD_ID_CHARS, "a" * MAX_THREAD_ID_CHARS),
        (0, "0"),
        (-5, "-5"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_thread_ids_are_taken_as_they_are(value: Any, text: str) -> None:
    assert validate_thread_id(value) == text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "expected a str, int or UUID, got NoneType"),
        (True, "expected a str, int or UUID, got bool"),
        (1.0, "expected a str, int or UUID, got float"),
        (b"t", "expected a str, int or UUID, got bytes"),
        (["t"], "expected a str, int or UUID, got list"),
        ("", "expected 1 to 10,000 characters, got a str of 0"),
        ("a" * 10_001, "expected 1 to 10,000 characters, got a str of 10,001"),
        ("a\x00", "NUL or a lone surrogate"),
        ("\ud800", "NUL or a lone surrogate"),
    ],
)
def test_other_thread_ids_are_refused(value: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^thread_id: ") as caught:
        validate_thread_id(value)
    assert said in str(caught.value)


@pytest.mark.parametrize(("text", "storable"), [("", True), ("é😀", True), ("\x00", False), ("a\udfff", False)])
def test_what_databases_store(text: str, storable: bool) -> None:  # noqa: FBT001 - a table
    assert is_storable(text) is storable


@pytest.mark.parametrize("reason", ["", "   ", "a" * 501, None, 5])
def test_a_request_needs_a_reason(reason: Any) -> None:
    with pytest.raises(ValidationError, match="reason"):
        EndRequest(category="abuse", reason=reason)


def test_a_request_is_frozen_closed_and_stripped() -> None:
    request = EndRequest.model_validate({"category": "abuse", "reason": f"  {'a' * 500}  "})
    assert request.reason == "a" * 500
    with pytest.raises(ValidationError, match="frozen"):
        request.reason = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="force"):
        EndRequest.model_validate({"category": "abuse", "reason": "a", "force": True})


def test_a_thread_never_heard_of_is_open() -> None:
    status = ThreadStatus(thread_id="t")
    assert (status.sealed, status.seal, status.at_risk, status.sequence) == (False, None, False, 0)
    assert status.on_branch(7) == BranchStatus(branch=7)


def test_only_a_standing_flag_puts_at_risk() -> None:
    flag = RiskFlag(kind=RiskKind.CRISIS, source="desk", raised_at=utc_now())
    cleared = flag.model_copy(update={"cleared_at": utc_now()})
    assert ThreadStatus(thread_id="t", risk_flags=(cleared, flag)).at_risk
    assert not ThreadStatus(thread_id="t", risk_flags=(cleared,)).at_risk
    assert (flag.active, cleared.active) == (True, False)


def test_ids_are_unique_and_the_clock_is_utc() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    offset = utc_now().utcoffset()
    assert offset is not None
    assert offset.total_seconds() == 0


def test_a_kept_open_branch_never_stands_for_a_sealed_one() -> None:
    """The state of a branch without a record is made once and kept: a record always goes before it."""
    unheard_of = ThreadStatus(thread_id="t")
    assert unheard_of.on_branch(1) == BranchStatus(branch=1)
    known = BranchStatus(branch=1, fence=7, parent=0)
    assert ThreadStatus(thread_id="t", branches=(known,)).on_branch(1) is known
    assert unheard_of.on_branch(1) == BranchStatus(branch=1)
    with pytest.raises(ValidationError):
        unheard_of.on_branch(1).seal = None  # type: ignore[misc]


def test_an_untouched_thread_is_one_record_that_nobody_can_change() -> None:
    first = untouched("t")
    assert untouched("t") is first
    assert first == ThreadStatus(thread_id="t")
    with pytest.raises(ValidationError):
        first.branch = 1  # type: ignore[misc]
    assert untouched("u").thread_id == "u"


def test_what_is_kept_of_untouched_threads_neither_unseals_nor_unflags() -> None:
    registry, other = InMemorySealRegistry(), InMemorySealRegistry()
    assert registry.status("t") is untouched("t")
    registry.flag_risk("t", kind="self_harm", source="host")
    assert registry.status("t").at_risk
    registry.clear_risk("t", operator="Kim", reason="talked to them")
    registry.seal(permit("t"))
    assert registry.status("t").sealed
    assert not untouched("t").sealed
    assert not other.status("t").sealed
