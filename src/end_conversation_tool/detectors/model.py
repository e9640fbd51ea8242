"""Small linear models over hashed n-grams and phrase counts, and the file that holds their weights.

A model's score is, for character n-grams and for words, ``sum of the bucket weights / sqrt(number of buckets)``, plus
``dense weights * dense features + bias``; made a probability by a logistic function that was fitted on held-out scores.
All models of one role share the buckets, so that one gather fetches the weights of all of them.

The file is a numpy archive of plain arrays (read with ``allow_pickle=False``): bucket weights as 8-bit integers with
a scale for each model, everything else as 32-bit floats.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from end_conversation_tool.detectors.ngrams import BUCKETS, buckets

__all__ = ["HEAD_CHARS", "HEAD_SEED", "LinearModels", "RoleModels", "load_models", "read_models", "save_models"]

HEAD_CHARS = 200
"""Characters at the beginning of a reply whose features count once more, as features of the beginning."""

HEAD_SEED = 0x5BD1E995

_Floats = npt.NDArray[np.float32]


WEIGHTS_FILE = "weights.npz"
"""Name of the file with the weights, beside this module."""


@dataclass(frozen=True)
class RoleModels:
    """The models for the messages of one role.

    Attributes:
        kinds: Names of the kinds, in the order of the columns.
        table: Bucket weights, 8 bits, ``(buckets, kinds)``.
        scale: What one step of the table means, for each kind.
        dense: Weights of the dense features, ``(features, kinds)``.
        bias: One for each kind.
        calibration: Slope and offset of the logistic function, ``(2, kinds)``.
        thresholds: Scores, calibrated, from which on the answer is *don't know* and *yes*, for texts without and with
            Chinese characters: ``(2, 2, kinds)``.
        head: Whether the beginning of the text counts once more.
    """

    kinds: tuple[str, ...]
    table: npt.NDArray[np.int8]
    scale: _Floats
    dense: _Floats
    bias: _Floats
    calibration: _Floats
    thresholds: _Floats
    head: bool

    def scores(self, line: str, dense: Sequence[float]) -> _Floats:
        """Return a calibrated score, 0 to 1, for each kind.

        Args:
            line: Tokens joined by single spaces.
            dense: The dense features of the text.
        """
        raw = np.asarray(dense, np.float32) @ self.dense + self.bias + self._bucket_score(buckets(line))
        if self.head:
            raw += self._bucket_score(buckets(line[:HEAD_CHARS], seed=HEAD_SEED))
        return np.asarray(1.0 / (1.0 + np.exp(-raw * self.calibration[0] - self.calibration[1])), np.float32)

    @cached_property
    def limits(self) -> dict[str, list[list[float]]]:
        """For each kind, ``[[doubt, yes], [doubt, yes]]`` without and with Chinese characters."""
        return {kind: self.thresholds[:, :, column].tolist() for column, kind in enumerate(self.kinds)}

    def _bucket_score(self, found: tuple[npt.NDArray[np.uint32], ...]) -> _Floats:
        """Sum the weights of the buckets: as a product, which is quicker than a sum along the long axis."""
        shares = [np.full(len(part), max(len(part), 1) ** -0.5, np.float32) for part in found]
        weights = self.table.take(np.concatenate(found), axis=0).astype(np.float32)
        total: _Floats = np.concatenate(shares) @ weights * self.scale
        return total


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


_FIELDS = ("table", "scale", "dense", "bias", "calibration", "thresholds")


def save_models(path: Path, user: RoleModels, assistant: RoleModels) -> None:
    """Write the weights of both roles to ``path``; the same weights give the same bytes."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, role in (("user", user), ("assistant", assistant)):
        arrays |= {f"{name}_{field}": getattr(role, field) for field in _FIELDS}
        arrays[f"{name}_kinds"] = np.array(role.kinds)
        arrays[f"{name}_head"] = np.array(role.head)
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
    if fields["table"].shape != (BUCKETS, len(kinds)):
        raise ValueError(f"weights of {name}: the table has shape {fields['table'].shape}, not {(BUCKETS, len(kinds))}")
    return RoleModels(kinds=kinds, head=bool(archive[f"{name}_head"]), **fields)


@cache
def load_models() -> LinearModels:
    """Return the weights shipped with the package, read once a process."""
    return read_models((resources.files(__package__) / WEIGHTS_FILE).read_bytes())
