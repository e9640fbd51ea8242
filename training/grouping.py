"""Folds in which no near-duplicate, conversation or prompt is on both sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from datasets import Row

from end_conversation_tool.detectors.ngrams import BUCKETS, buckets
from end_conversation_tool.detectors.normalise import plain, tokens

FOLDS = 5
SIMILAR = 0.6
"""Share of common n-grams (Jaccard) from which on two texts are near-duplicates."""

_SEED = 20261124
_BLOCK = 400


class _Union:
    """Disjoint sets of row numbers."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def join(self, first: int, second: int) -> None:
        self._parent[self.find(first)] = self.find(second)


def line_of(text: str) -> str:
    """Return a text as the models see it: tokens joined by spaces."""
    return " ".join(tokens(plain(text)))


def bucket_matrix(lines: list[str], *, seed: int = 0) -> sp.csr_matrix:
    """Return a matrix of texts by buckets; as in the models, each part of a text counts ``1 / sqrt(its size)``."""
    parts = [part for line in lines for part in buckets(line, seed=seed)]
    indices = np.concatenate(parts).astype(np.int32)
    values = np.concatenate([np.full(len(part), max(len(part), 1) ** -0.5, np.float32) for part in parts])
    pointer = np.cumsum([0, *map(len, parts)])[::2]
    matrix = sp.csr_matrix((values, indices, pointer), shape=(len(lines), BUCKETS))
    matrix.sum_duplicates()
    return matrix


def assign_folds(rows: list[Row]) -> npt.NDArray[np.int64]:
    """Return a fold for each row; rows that are alike, or share a group, are in one fold."""
    union = _Union(len(rows))
    for name in dict.fromkeys(row.source for row in rows):
        numbers = [number for number, row in enumerate(rows) if row.source == name]
        _join_alike(union, numbers, [line_of(rows[number].text) for number in numbers])
        _join_equal(union, numbers, [rows[number].group for number in numbers])
        if rows[numbers[0]].role == "assistant":
            _join_alike(union, numbers, [line_of(rows[number].group) for number in numbers])
    return _balance([union.find(number) for number in range(len(rows))])


def _join_equal(union: _Union, numbers: list[int], keys: list[str]) -> None:
    first: dict[str, int] = {}
    for number, key in zip(numbers, keys, strict=True):
        if key:
            union.join(number, first.setdefault(key, number))


def _join_alike(union: _Union, numbers: list[int], lines: list[str]) -> None:
    """Join near-duplicates, block by block."""
    matrix = (bucket_matrix(lines) > 0).astype(np.float32)
    sizes = np.asarray(matrix.sum(axis=1)).ravel()
    for start in range(0, len(lines), _BLOCK):
        common = (matrix[start : start + _BLOCK] @ matrix.T).tocoo()
        left, right = common.row + start, common.col
        jaccard = common.data / (sizes[left] + sizes[right] - common.data)
        for one, other in zip(left[jaccard >= SIMILAR], right[jaccard >= SIMILAR], strict=True):
            union.join(numbers[one], numbers[other])


def _balance(groups: list[int]) -> npt.NDArray[np.int64]:
    """Deal groups to folds, in a random but fixed order, each to the fold that is smallest."""
    ids, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(_SEED).permutation(len(ids))
    order = order[np.argsort(-counts[order], kind="stable")]
    sizes, fold_of = np.zeros(FOLDS), np.zeros(len(ids), np.int64)
    for group in order:
        fold_of[group] = sizes.argmin()
        sizes[fold_of[group]] += counts[group]
    return fold_of[inverse]
