"""Hashed n-grams of a text, computed for the whole text at once: what the linear models look at.

Features are the character n-grams of 2 to 5 characters, and, counted apart, single words and pairs of neighbouring
words. (A Chinese character counts as a word.) Each is hashed to one of :data:`BUCKETS` buckets; a bucket counts once.
The hashes are rolled over an array of code points with numpy, so that a text of some hundred characters costs some tens
of microseconds; all models of a role share them.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

__all__ = ["BUCKETS", "buckets"]

_BITS = 17
BUCKETS = 1 << _BITS
"""Number of hash buckets."""

_LONGEST = 5
_ROLL = np.uint32(0x9E3779B1)
_MIX, _FINISH = np.uint32(0x85EBCA6B), np.uint32(0x2C1B3C6D)
_BY_LENGTH = [np.uint32(n * 0x27D4EB2F & 0xFFFFFFFF) for n in range(_LONGEST + 1)]
_IN_WORD, _OF_PAIR = np.uint32(0xC2B2AE35), np.uint32(0x165667B1)
_WORD, _PAIR = np.uint32(77), np.uint32(79)
_FOLD, _SHIFT = np.uint32(15), np.uint32(32 - _BITS)
_ONE, _TWO, _THIRTY_ONE = np.uint32(1), np.uint32(2), np.uint32(31)
_SPACE = 32
_CJK_FIRST, _CJK_END = 0x3400, 0xA000

_Array = npt.NDArray[np.uint32]


class _Scratch(threading.local):
    """One thread's table of who last wrote to a bucket: small, to stay in the cache; it need not be cleared."""

    def __init__(self) -> None:
        self.last = np.zeros(BUCKETS, dtype=np.uint16)


_NUMBERS = np.arange(1 << 16, dtype=np.uint16)
_scratch = _Scratch()


def buckets(line: str, *, seed: int = 0) -> tuple[_Array, _Array]:
    """Return the different buckets of the character n-grams, and those of the words, in no particular order.

    Args:
        line: Tokens joined by single spaces.
        seed: Another seed hashes the same text to other buckets.
    """
    points = np.frombuffer(f" {line} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return _different(_characters(points), seed), _different(_words(points), seed)


def _characters(points: _Array) -> list[_Array]:
    """Hash the character n-grams, longer ones rolled from shorter ones."""
    hashes, rolled = [], points
    for length in range(2, min(_LONGEST, len(points)) + 1):
        rolled = rolled[:-1] * _ROLL + points[length - 1 :]
        hashes.append(rolled * _MIX + _BY_LENGTH[length])
    return hashes


def _words(points: _Array) -> list[_Array]:
    """Hash words and pairs of words."""
    space = points == _SPACE
    cjk = (points >= _CJK_FIRST) & (points < _CJK_END)
    begins = ~space
    begins[1:] &= space[:-1] | cjk[1:] | cjk[:-1]
    starts = np.flatnonzero(begins)
    if not len(starts):
        return []
    place = np.arange(len(points), dtype=np.uint32) - starts.astype(np.uint32)[np.cumsum(begins) - 1]
    mixed = points * _ROLL
    mixed ^= mixed >> _FOLD
    mixed *= (place * _TWO + _ONE) * _IN_WORD
    mixed[space] = 0
    words: _Array = np.add.reduceat(mixed, starts).astype(np.uint32, copy=False)
    return [words * _MIX + _WORD, (words[:-1] * _THIRTY_ONE + words[1:] * _OF_PAIR) * _MIX + _PAIR]


def _different(hashes: list[_Array], seed: int) -> _Array:
    """Make hashes buckets and drop the repeated ones: of equal ones, only the last to write its number stays."""
    if not hashes:
        return np.zeros(0, dtype=np.uint32)
    hashed = np.concatenate(hashes)
    if seed:
        hashed *= np.uint32(2 * seed + 1)
    hashed ^= hashed >> _FOLD
    hashed *= _FINISH
    hashed >>= _SHIFT
    if len(hashed) > len(_NUMBERS):
        return np.unique(hashed)
    numbers, last = _NUMBERS[: len(hashed)], _scratch.last
    last[hashed] = numbers
    different: _Array = hashed[last[hashed] == numbers]
    return different
