"""Folds in which no near-duplicate, conversation or prompt is on both sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from datasets import Row

from end_conversation_tool.watch.ngrams import BUCKETS, neighbours, spell, units, words_of
from end_conversation_tool.watch.normalise import plain, tokens

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


def units_of(text: str) -> list[str]:
    """Return a text as the models see it."""
    return units(tokens(plain(text)))


def bucket_matrix(texts: list[list[str]]) -> sp.csr_matrix:
    """Return a matrix of texts by buckets; as in the models, letters, and words, count ``1 / sqrt(their number)``."""
    rows, columns, values = [], [], []
    for number, words in enumerate(texts):
        if not words:
            continue
        letters, _, hashes = spell(words)
        for part in (letters, np.concatenate([words_of(hashes), *neighbours(hashes)])):
            rows.append(np.full(len(part), number))
            columns.append(part)
            values.append(np.full(len(part), max(len(part), 1) ** -0.5, np.float32))
    joined = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns).astype(np.int64)))
    return sp.csr_matrix(joined, shape=(len(texts), BUCKETS))


def unlike(candidates: list[Row], rows: list[Row]) -> list[Row]:
    """Return the candidates that are no near-duplicates of any of the rows."""
    matrix = (bucket_matrix([units_of(row.text) for row in [*candidates, *rows]]) > 0).astype(np.float32)
    sizes = np.asarray(matrix.sum(axis=1)).ravel()
    count, kept = len(candidates), []
    for start in range(0, count, _BLOCK):
        own = matrix[start : min(start + _BLOCK, count)]
        common = (own @ matrix[count:].T).tocoo()
        jaccard = common.data / (sizes[start + common.row] + sizes[count + common.col] - common.data)
        alike = set(common.row[jaccard >= SIMILAR].tolist())
        kept += [candidates[start + place] for place in range(own.shape[0]) if place not in alike]
    return kept


def assign_folds(rows: list[Row]) -> npt.NDArray[np.int64]:
    """Return a fold for each row; rows that are alike, or share a group, are in one fold."""
    union = _Union(len(rows))
    for name in dict.fromkeys(row.source for row in rows):
        numbers = [number for number, row in enumerate(rows) if row.source == name]
        _join_alike(union, numbers, [units_of(rows[number].text) for number in numbers])
        _join_equal(union, numbers, [rows[number].group for number in numbers])
    return _balance([union.find(number) for number in range(len(rows))])


def _join_equal(union: _Union, numbers: list[int], keys: list[str]) -> None:
    first: dict[str, int] = {}
    for number, key in zip(numbers, keys, strict=True):
        if key:
            union.join(number, first.setdefault(key, number))


def _join_alike(union: _Union, numbers: list[int], texts: list[list[str]]) -> None:
    """Join near-duplicates, block by block."""
    matrix = (bucket_matrix(texts) > 0).astype(np.float32)
    sizes = np.asarray(matrix.sum(axis=1)).ravel()
    for start in range(0, len(texts), _BLOCK):
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
