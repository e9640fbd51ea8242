"""Small linear models over hashed n-grams, and the file that holds their weights.

A model's score of some words in a row is ``sum of the weights of their letters / sqrt(number of letter n-grams) + sum
of the weights of the words, pairs and triples / sqrt(their number) + bias``, made a probability by a logistic function
that was fitted on held-out scores. All sums are running ones: many parts of one text cost what the text does.

The file is a numpy archive of plain arrays (read with ``allow_pickle=False``): bucket weights as 8-bit integers with
a scale for each model, everything else as 32-bit floats.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from end_conversation_tool.watch.ngrams import BUCKETS, neighbours, spell, words_of

__all__ = ["LinearModels", "load_models", "read_models", "save_models", "shipped_version"]

WEIGHTS_FILE = "weights.npz"
"""Name of the file with the weights, beside this module."""

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinearModels:
    """Models that look at the same n-grams.

    Attributes:
        kinds: Names of the kinds, in the order of the columns.
        table: Bucket weights, 8 bits, ``(buckets, kinds)``.
        scale: What one step of the table means, for each kind.
        bias: One for each kind.
        calibration: Slope and offset of the logistic function, ``(2, kinds)``.
        limits: Calibrated scores from which on something is possible, and clear: ``(2, kinds)``. The watch
            takes a phrase for what is clear, and the first row alone from here.
    """

    kinds: tuple[str, ...]
    table: npt.NDArray[np.int8]
    scale: _Floats
    bias: _Floats
    calibration: _Floats
    limits: _Floats

    def scores(self, words: Sequence[str], spans: Sequence[tuple[int, int]]) -> _Floats:
        """Return calibrated scores, 0 to 1: a row for each span, a column for each kind.

        Args:
            words: Tokens, Chinese ones split into pairs of characters (see :func:`.ngrams.units`).
            spans: Parts of them, as first word and end. An empty one gets what the bias says.
        """
        raw = np.tile(self.bias, (len(spans), 1))
        if words and spans:
            raw += self._weigh(words, np.asarray(spans)) * self.scale
        return np.asarray(1.0 / (1.0 + np.exp(-raw * self.calibration[0] - self.calibration[1])), np.float32)

    def _weigh(self, words: Sequence[str], spans: npt.NDArray[Any]) -> _Floats:
        letters, owners, hashes = spell(words)
        begin, end = spans.T
        counts = np.searchsorted(owners, spans)
        weights = self.table.take(letters, axis=0)
        total = np.asarray(_between(weights, *counts.T) * _inverse_root(counts[:, 1] - counts[:, 0]), np.float32)
        own, number = np.zeros_like(total), np.zeros(len(spans), np.int64)
        for width, part in enumerate((words_of(hashes), *neighbours(hashes)), start=1):
            last = np.maximum(begin, end - width + 1)
            own += _between(self.table.take(part, axis=0), np.minimum(begin, len(part)), np.minimum(last, len(part)))
            number += last - begin
        return total + np.asarray(own * _inverse_root(number), np.float32)


def _between(weights: npt.NDArray[Any], begin: npt.NDArray[Any], end: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the sum of the rows of each span."""
    running = np.zeros((len(weights) + 1, weights.shape[1]), np.int64)
    np.cumsum(weights, axis=0, out=running[1:])
    return np.asarray(running[end] - running[begin])


def _inverse_root(number: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.maximum(number, 1) ** -0.5)[:, None]


def save_models(path: Path, models: LinearModels) -> None:
    """Write models to ``path``; the same weights give the same bytes."""
    arrays = {field.name: np.asarray(getattr(models, field.name)) for field in fields(models)}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_models(content: bytes) -> LinearModels:
    """Read models.

    Raises:
        ValueError: The content is no such archive, or its table does not fit this version's buckets.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        values = {field.name: archive[field.name] for field in fields(LinearModels)}
    kinds = tuple(map(str, values.pop("kinds")))
    if values["table"].shape != (BUCKETS, len(kinds)):
        raise ValueError(f"weights: table has shape {values['table'].shape}, not {(BUCKETS, len(kinds))}")
    return LinearModels(kinds, **values)


@cache
def load_models() -> LinearModels:
    """Return the weights shipped with the package, read once a process."""
    return read_models((resources.files(__package__) / WEIGHTS_FILE).read_bytes())


@cache
def shipped_version() -> str:
    """Return a digest of everything shipped that answers depend on, 8 hexadecimal digits."""
    folder = resources.files(__package__)
    entries = [*folder.joinpath("phrases").iterdir(), folder / WEIGHTS_FILE, folder / "look_alikes.txt"]
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.name):
        digest.update(entry.read_bytes())
    return digest.hexdigest()[:8]
