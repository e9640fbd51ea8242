"""What a person says in an answer to an interrupt, and how much of it is read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from time import process_time
from typing import Any
from uuid import UUID

import pytest

from end_conversation_tool._core.confirmation import MAX_STEPS, Words, asks_reviewer, is_yes, words_of

WORDLESS: list[Any] = [None, True, 7, 0.5, Decimal(1), datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1), (), {}, [[]], ""]


def nested(depth: int, core: Any, key: str | None = None) -> Any:
    for _ in range(depth):
        core = [core] if key is None else {key: core}
    return core


@pytest.mark.parametrize(
    "answer",
    [
        " help ",
        ["help"],
        {"a": {"b": ("help",)}},
        {"help"},
        [None, "help", 7],
        nested(400, "help"),
        nested(400, "help", "k"),
    ],
    ids=lambda one: repr(one)[:20],
)
def test_words_are_found_wherever_they_stand(answer: Any) -> None:
    assert words_of(answer) == Words("help", whole=True)


def test_words_keep_their_order() -> None:
    assert words_of({"a": ["one", ["two"]], "b": "three"}).text == "one\ntwo\nthree"


@pytest.mark.parametrize("answer", WORDLESS, ids=repr)
def test_what_holds_no_words(answer: Any) -> None:
    assert words_of(answer) == Words("", whole=True)


@pytest.mark.parametrize(
    "answer", [b"sound", object(), ["fine", object()], bytearray(1)], ids=lambda one: type(one).__name__
)
def test_what_nobody_can_read_is_not_read(answer: Any) -> None:
    assert not words_of(answer).whole


def endless() -> Any:
    ring: dict[str, Any] = {"words": "help"}
    ring["again"] = ring
    return ring


@pytest.mark.parametrize(
    "answer", [endless(), nested(100_000, "deep"), ["x"] * MAX_STEPS], ids=["endless", "deep", "wide"]
)
def test_what_lies_beyond_the_bound_is_not_read(answer: Any) -> None:
    assert not words_of(answer).whole
    while isinstance(answer, list) and answer:  # taken apart, lest it be freed by recursion
        answer = answer[0]


@pytest.mark.parametrize(
    "answer", ["a" * 2**20, ["a"] * 2**18, ["a" * 100] * 2**13, [[]] * 2**18], ids=["long", "short", "some", "empty"]
)
def test_a_megabyte_takes_little_time(answer: Any) -> None:
    began = process_time()
    words_of(answer)
    is_yes({"confirmed": True, "more": answer})
    assert process_time() - began < 0.05


def test_a_yes_with_what_is_not_read_is_none() -> None:
    assert is_yes({"confirmed": True, "at": datetime(2026, 1, 1, tzinfo=UTC)})
    assert not is_yes({"confirmed": True, "note": "please do not"})
    assert not is_yes({"confirmed": True, "more": [[]] * MAX_STEPS})
    assert not is_yes({"confirmed": True, "more": object()})


@pytest.mark.parametrize(
    "asked", [{"tool_call_id": "e"}, {"action_requests": [{"name": "end_conversation"}]}], ids=repr
)
def test_a_question_about_the_end(asked: Any) -> None:
    assert asks_reviewer(asked, "e")
    assert not asks_reviewer([asked], "e")
