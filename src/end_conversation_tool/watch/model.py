"""Small linear models over hashed n-grams and phrase counts, and the file that holds their weights.

A model's score is ``sum of the weights of letters / sqrt(number of letter n-grams) + sum of the weights of words, pairs
and triples / sqrt(their number) + dense weights * dense features + bias``; made a probability by a logistic function
that was fitted on held-out scores. Where a role's models look at the beginning of a text apart, its first words count
once more, with weights of their own.

What a word adds by itself is summed up when it is first met and remembered, for all models of a role at once: weights
and words alone decide it, so that it cannot go out of date. The memory is bounded and begins anew when it is full.

The file is a numpy archive of plain arrays (read with ``allow_pickle=False``): bucket weights as 8-bit integers with
a scale for each model, everything else as 32-bit floats.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from end_conversation_tool.watch.ngrams import BUCKETS, MAX_WORD_CHARS, Array, neighbours, spell, words_of

__all__ = ["HEAD_WORDS", "LinearModels", "RoleModels", "load_models", "read_models", "save_models"]

HEAD_WORDS = 40
"""Words at the beginning of a reply that count once more, as its beginning."""

MAX_REMEMBERED = 1 << 15
"""Words that a role's models remember at most."""

_Floats = npt.NDArray[np.float32]
_Table = npt.NDArray[np.int8]


WEIGHTS_FILE = "weights.npz"
"""Name of the file with the weights, beside this module."""


class _Memory:
    """What words add by themselves: a row of sums for each word met, and its hash.

    A row holds, for each table, the letters' sum and the word's own weight, for each kind; last, how many n-grams of
    letters the word has. Rows are written before their word can be found, and never changed: readers need no lock.
    """

    def __init__(self, tables: Sequence[_Table]) -> None:
        self._tables, self._adding = tables, threading.Lock()
        self._places: dict[str, int] = {}
        width = sum(2 * table.shape[1] for table in tables) + 1
        self.rows = np.zeros((MAX_REMEMBERED, width), np.float32)
        self.hashes = np.zeros(MAX_REMEMBERED, np.uint32)

    def places(self, words: Sequence[str]) -> list[int] | None:
        """Return the row of each word, adding those not met before; None where there is no room left for them."""
        try:
            return [self._places[word] for word in words]
        except KeyError:
            words = [word[:MAX_WORD_CHARS] for word in words]  # a longer one would take memory without end
            with self._adding:
                fits = self._add([word for word in dict.fromkeys(words) if word not in self._places])
        return [self._places[word] for word in words] if fits else None

    def _add(self, words: list[str]) -> bool:
        first, last = len(self._places), len(self._places) + len(words)
        if last > MAX_REMEMBERED:
            return False
        if words:
            letters, owners, hashes = spell(words)
            own = words_of(hashes)
            columns = []
            for table in self._tables:
                weights = table.take(letters, axis=0)
                columns += [np.bincount(owners, column, len(words)) for column in weights.T]
                columns += list(table.take(own, axis=0).T)
            columns.append(np.bincount(owners, minlength=len(words)))
            self.rows[first:last] = np.stack(columns, axis=1)
            self.hashes[first:last] = hashes
            self._places.update(zip(words, range(first, last), strict=True))
        return True


@dataclass(frozen=True)
class RoleModels:
    """The models for the messages of one role.

    Attributes:
        kinds: Names of the kinds, in the order of the columns.
        table: Bucket weights, 8 bits, ``(buckets, kinds)``.
        beginning: The same for the first words of a text, or with no rows where they do not count apart.
        scale: What one step of the tables means, for each kind.
        dense: Weights of the dense features, ``(features, kinds)``.
        bias: One for each kind.
        calibration: Slope and offset of the logistic function, ``(2, kinds)``.
        thresholds: Scores, calibrated, from which on a *no* is faint, the answer is *don't know*, and it is *yes*, for
            texts without and with Chinese characters: ``(2, 3, kinds)``.
    """

    kinds: tuple[str, ...]
    table: _Table
    beginning: _Table
    scale: _Floats
    dense: _Floats
    bias: _Floats
    calibration: _Floats
    thresholds: _Floats

    def scores(self, words: Sequence[str], dense: Sequence[float]) -> _Floats:
        """Return a calibrated score, 0 to 1, for each kind.

        Args:
            words: Tokens, Chinese ones split into pairs of characters (see :func:`.ngrams.units`).
            dense: The dense features of the text.
        """
        raw = np.asarray(dense, np.float32) @ self.dense + self.bias
        if words:
            raw += self._bucket_score(words) * self.scale
        return np.asarray(1.0 / (1.0 + np.exp(-raw * self.calibration[0] - self.calibration[1])), np.float32)

    @cached_property
    def limits(self) -> dict[str, list[list[float]]]:
        """For each kind, ``[[faint, doubt, yes], [faint, doubt, yes]]`` without and with Chinese characters."""
        return {kind: self.thresholds[:, :, column].tolist() for column, kind in enumerate(self.kinds)}

    @cached_property
    def about(self) -> dict[str, list[tuple[str, list[list[float]]]]]:
        """For each subject, such as ``self_harm``, the models that are about it, with their limits."""
        subjects = {kind for kind in self.kinds if not any(kind.startswith(f"{other}_") for other in self.kinds)}
        return {
            subject: [(kind, limits) for kind, limits in self.limits.items() if kind.startswith(subject)]
            for subject in subjects
        }

    def _bucket_score(self, words: Sequence[str]) -> _Floats:
        memory = self._memory
        places = memory.places(words)
        while places is None:
            # Begin anew; who still reads the old memory is not disturbed. A text has fewer words than fit.
            self.__dict__["_memory"] = memory = _Memory(self._tables)
            places = memory.places(words)
        total = _score(self.table, places, memory, 0)
        if len(self.beginning):
            total += _score(self.beginning, places[:HEAD_WORDS], memory, 2 * len(self.kinds))
        return total

    @property
    def _tables(self) -> tuple[_Table, ...]:
        return (self.table, self.beginning) if len(self.beginning) else (self.table,)

    @cached_property
    def _memory(self) -> _Memory:
        return _Memory(self._tables)


def _score(table: _Table, places: list[int], memory: _Memory, column: int) -> _Floats:
    """Sum the weights of words, each counted once, and of their neighbours in order."""
    kinds = table.shape[1]
    different = list(set(places))
    sums = memory.rows.take(different, axis=0).sum(axis=0)
    near: Array = neighbours(memory.hashes.take(places))
    beside = table.take(near, axis=0).sum(axis=0, dtype=np.float32)
    letters, own = sums[column : column + kinds], sums[column + kinds : column + 2 * kinds]
    score: _Floats = letters * (sums[-1] or 1.0) ** -0.5 + (own + beside) * (len(different) + len(near)) ** -0.5
    return score


@dataclass(frozen=True, slots=True)
class LinearModels:
    """The models of both roles.

    Attributes:
        version: Digest of the weights, 8 hexadecimal digits.
        user: Models for messages of the user.
        assistant: Models for replies of the assistant.
    """

    version: str
    user: RoleModels
    assistant: RoleModels


_FIELDS = ("table", "beginning", "scale", "dense", "bias", "calibration", "thresholds")


def save_models(path: Path, user: RoleModels, assistant: RoleModels) -> None:
    """Write the weights of both roles to ``path``; the same weights give the same bytes."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, role in (("user", user), ("assistant", assistant)):
        arrays |= {f"{name}_{field}": getattr(role, field) for field in _FIELDS}
        arrays[f"{name}_kinds"] = np.array(role.kinds)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_models(content: bytes) -> LinearModels:
    """Read weights.

    Raises:
        ValueError: The content is no such archive, or its tables do not fit this version's buckets.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        user, assistant = (_role(archive, name) for name in ("user", "assistant"))
    return LinearModels(hashlib.sha256(content).hexdigest()[:8], user, assistant)


def _role(archive: Mapping[str, npt.NDArray[Any]], name: str) -> RoleModels:
    fields = {field: archive[f"{name}_{field}"] for field in _FIELDS}
    kinds = tuple(str(kind) for kind in archive[f"{name}_kinds"])
    for part, sizes in (("table", {BUCKETS}), ("beginning", {0, BUCKETS})):
        shape = fields[part].shape
        if len(shape) != 2 or shape[0] not in sizes or shape[1] != len(kinds):  # noqa: PLR2004 - rows and columns
            raise ValueError(f"weights of {name}: {part} has shape {shape}, not {(BUCKETS, len(kinds))}")
    return RoleModels(kinds=kinds, **fields)


@cache
def load_models() -> LinearModels:
    """Return the weights shipped with the package, read once a process."""
    return read_models((resources.files(__package__) / WEIGHTS_FILE).read_bytes())
