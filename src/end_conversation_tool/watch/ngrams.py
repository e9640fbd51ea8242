"""What the linear models look at: the letters of words, the words, and words with their neighbours, hashed.

A word's n-grams of 2 to 5 letters, its ends included, the word itself, and pairs and triples of neighbouring words.
Chinese text, which has no spaces, is read as if each pair of neighbouring characters were a word. Each n-gram is hashed
to one of :data:`BUCKETS` buckets, those of letters to the lower half, those of words to the upper one, with numpy over
arrays of code points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["BUCKETS", "MAX_WORD_CHARS", "neighbours", "spell", "units", "words_of"]

_BITS = 17
BUCKETS = 2 << _BITS
"""Number of hash buckets, of letters and of words together."""

MAX_WORD_CHARS = 40
"""Characters of a word that count: no word of any language here is longer, and each costs time."""

_SHORTEST, _LONGEST = 2, 5
_ROLL = np.uint32(0x9E3779B1)
_MIX, _FINISH = np.uint32(0x85EBCA6B), np.uint32(0x2C1B3C6D)
_BY_LENGTH = [np.uint32(n * 0x27D4EB2F & 0xFFFFFFFF) for n in range(_LONGEST + 1)]
_IN_WORD = np.uint32(0xC2B2AE35)
_SECOND, _THIRD = np.uint32(0x165667B1), np.uint32(0x27220A95)
_FOLD, _SHIFT = np.uint32(15), np.uint32(32 - _BITS)
_OF_WORDS = np.uint32(1 << _BITS)
_ONE, _TWO = np.uint32(1), np.uint32(2)
_CJK_FIRST, _CJK_LAST = "\u3400", "\u9fff"

Array = npt.NDArray[np.uint32]


def units(words: Sequence[str]) -> list[str]:
    """Return words with runs that hold Chinese characters split into pairs of neighbouring characters, overlapping."""
    split: list[str] = []
    for word in words:
        if len(word) > 1 and max(word) >= _CJK_FIRST and any(_CJK_FIRST <= char <= _CJK_LAST for char in word):
            split += map("".join, pairwise(word))
        else:
            split.append(word)
    return split


def spell(words: Sequence[str]) -> tuple[Array, npt.NDArray[np.int64], Array]:
    """Return the buckets of the letters of words, the place in ``words`` of the word of each, and a hash of each word.

    The letters are in the order of the words.

    Args:
        words: At least one word; each of at least one character.
    """
    shown = [f"<{word[:MAX_WORD_CHARS]}>" for word in words]
    points = np.frombuffer("".join(shown).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    lengths = np.fromiter(map(len, shown), np.int64, len(shown))
    owner = np.repeat(np.arange(len(shown)), lengths)
    starts = np.cumsum(lengths) - lengths
    hashes, owners, rolled = [], [], points
    for length in range(_SHORTEST, min(_LONGEST, len(points)) + 1):
        rolled = rolled[:-1] * _ROLL + points[length - 1 :]
        inside = owner[: len(rolled)] == owner[length - 1 :]
        hashes.append((rolled * _MIX + _BY_LENGTH[length])[inside])
        owners.append(owner[: len(rolled)][inside])
    mixed = points * _ROLL
    mixed ^= mixed >> _FOLD
    place = (np.arange(len(points)) - starts[owner]).astype(np.uint32)
    mixed *= (place * _TWO + _ONE) * _IN_WORD
    whole: Array = np.add.reduceat(mixed, starts).astype(np.uint32, copy=False)
    order = np.argsort(joined := np.concatenate(owners), kind="stable")
    return _bucket(np.concatenate(hashes))[order], joined[order], whole


def words_of(hashes: Array) -> Array:
    """Return the buckets of single words, from their hashes."""
    return _bucket(hashes * _MIX) | _OF_WORDS


def neighbours(hashes: Array) -> tuple[Array, Array]:
    """Return the buckets of the pairs, and of the triples, of neighbouring words, from the words' hashes in order."""
    pairs = hashes[:-1] * _SECOND + hashes[1:]
    triples = pairs[:-1] * _THIRD + hashes[2:]
    return _bucket(pairs * _MIX) | _OF_WORDS, _bucket(triples * _MIX) | _OF_WORDS


def _bucket(hashed: Array) -> Array:
    """Scramble hashes, in place, and keep the bits of a bucket's number."""
    hashed ^= hashed >> _FOLD
    hashed *= _FINISH
    hashed >>= _SHIFT
    return hashed
