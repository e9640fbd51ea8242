"""Nothing that somebody may type stops the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import pytest

from end_conversation_tool.watch import RiskGrade, default_watch
from end_conversation_tool.watch import normalise as module
from end_conversation_tool.watch.normalise import as_meant, own_voice, plain, tokens

SPECIAL = sorted({
    *module._LEET_LETTERS, *module._EMOJI, *module._MARKS, *module._PUNCTUATION, *" *#'`~>|.-_", *"aszl",
    *(mark for pair in module._QUOTE_PAIRS for mark in pair[0] + pair[1]),
    "\N{LEFT SINGLE QUOTATION MARK}", "\N{RIGHT SINGLE QUOTATION MARK}", "\N{GREEK CAPITAL LETTER SIGMA}",
    "\N{COMBINING ACUTE ACCENT}", "\N{HEBREW POINT SHEVA}", "\N{HEBREW ACCENT ETNAHTA}", "\N{ZERO WIDTH SPACE}",
    "\ud800", "\x00",
})  # fmt: skip
"""Every character that some table or pattern of the normaliser names, and some that fold in a way of their own."""

STEPS: dict[str, Callable[[str], object]] = {
    "plain": plain,
    "own voice": own_voice,
    "tokens": tokens,
    "as meant": as_meant,
}
SHORT, LONG = 2_000, 8_000
SLACK = 3.0
"""How much more than four times as long a text of four times the length may take."""


def _seconds(step: Callable[[str], object], text: str) -> float:
    def once() -> float:
        started = time.thread_time()
        step(text)
        return time.thread_time() - started

    return min(once() for _ in range(2))


@pytest.mark.parametrize("name", STEPS)
def test_every_step_takes_linear_time(name: str) -> None:
    step, slow = STEPS[name], []
    for unit in [*SPECIAL, *(f"{one}{other}" for one, other in product("@$*a", SPECIAL))]:
        short, long = (_seconds(step, (unit * length)[:length]) for length in (SHORT, LONG))
        if long > SLACK * LONG / SHORT * short + 0.002:
            slow.append((unit, short, long))
    assert slow == []


MEGABYTE = 1_000_000
HUGE = {
    "at": "@" * MEGABYTE,
    "dollars": "$" * MEGABYTE,
    "letters": "a" * MEGABYTE,
    "words": "i want to " * (MEGABYTE // 10),
    "triggers": "i im my me you kill die end life suicide myself " * (MEGABYTE // 48),
    "no sentence end": "you are a really very so stupid i want to kill my self or die " * (MEGABYTE // 62),
    "clauses": "a,b;c." * (MEGABYTE // 6),
    "chinese": "\u6211\u60f3\u6b7b\u4e86\u5417" * (MEGABYTE // 5),
    "quotes": "\u201c" * MEGABYTE,
    "starred": "f*s*" * (MEGABYTE // 4),
    "combining": "\u05b0\u0591" * (MEGABYTE // 2),
    "surrogates": "\ud800\udc00" * (MEGABYTE // 2),
    "lines": "> \n" * (MEGABYTE // 3),
    "emoji": "\N{HOCHO}" * MEGABYTE,
}


@pytest.mark.parametrize("space", [" ", "\t", "\u2028", "\x85", "\u3000"])
def test_a_gap_between_two_words_takes_no_time(space: str) -> None:
    watch = default_watch()
    watch.look(["warm up"])
    for gap in (3_000, MEGABYTE):
        assert _seconds(lambda text: watch.look([text]), f"a{space * gap}b") < 0.05


@pytest.mark.parametrize("name", HUGE)
def test_a_megabyte_takes_bounded_time_and_is_a_doubt(name: str) -> None:
    watch = default_watch()
    watch.look(["warm up", HUGE[name][:7000]])
    taken = _seconds(lambda text: watch.look([text]), HUGE[name])
    assert watch.look([HUGE[name]]).grade is not RiskGrade.NONE
    assert taken < 0.05


def test_many_pieces_take_bounded_time_and_are_a_doubt() -> None:
    pieces = ["i want to know, please"] * 50_000
    watch = default_watch()
    started = time.thread_time()
    seen = watch.look(pieces)
    assert time.thread_time() - started < 0.1
    assert (seen.grade, seen.why) == (RiskGrade.POSSIBLE, "cut")
