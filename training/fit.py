"""Fit the linear models, fold by fold and on everything."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from datasets import KINDS, Row
from grouping import FOLDS, bucket_matrix
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from end_conversation_tool.watch.model import LinearModels
from end_conversation_tool.watch.normalise import plain
from end_conversation_tool.watch.text import units_and_clauses

STRENGTH = 10.0
"""Inverse of the L2 penalty."""

ORDINARY = (
    "xstest safe", "humanebench", "coconot", "convabuse clean", "written benign en", "written clean en",
    "written abuse en",
)  # fmt: skip
"""Groups of messages of people who are not at risk: the limits follow from what they may cost there."""

CLEAR, POSSIBLE = 0.001, 0.08
"""Share of each of these groups that may be found clear, and at least possible, by one model."""

PIECE = 0.3
"""How much a clause of a text without risk counts, as a text of its own: the watch looks at clauses too."""

_IDF_SCALE = 4.0
_Scores = npt.NDArray[np.float64]


@dataclass(slots=True)
class Fitted:
    """The models.

    Attributes:
        final: Fitted on every row.
        folds: One for each fold, fitted without any row of that fold.
    """

    final: LinearModels
    folds: list[LinearModels]


@dataclass(slots=True)
class _Part:
    """Weights and bias on everything and without each fold; the scores of the rows held out."""

    final: tuple[_Scores, float]
    folds: list[tuple[_Scores, float]]
    held_out: _Scores


def fit(rows: list[Row], folds: npt.NDArray[np.int64]) -> Fitted:
    """Fit all kinds; calibration and limits follow from the scores of rows held out."""
    owners, pieces = zip(*((owner, piece) for owner, row in enumerate(rows) for piece in _pieces(row)), strict=True)
    counts = bucket_matrix([words for words, _ in pieces])
    seen = np.asarray((counts > 0).sum(axis=0)).ravel()
    weight_scale = (np.log((1 + len(rows)) / (1 + seen)) + 1) / _IDF_SCALE
    features, shares = (counts @ sp.diags(weight_scale)).tocsr(), np.array([share for _, share in pieces])
    table = _Table(features, rows, np.array(owners), shares, folds)
    parts = Parallel(n_jobs=2)(delayed(_fit_kind)(table, kind) for kind in KINDS)
    settings = [_settings(table, kind, part.held_out) for kind, part in zip(KINDS, parts, strict=True)]
    return Fitted(
        _assemble([part.final for part in parts], weight_scale, settings),
        [_assemble([part.folds[fold] for part in parts], weight_scale, settings) for fold in range(FOLDS)],
    )


def _pieces(row: Row) -> list[tuple[list[str], float]]:
    """Return the units of a text, and those of its clauses, each with how much it counts."""
    words, ends = units_and_clauses(plain(row.text))
    clauses = [words[begin:end] for begin, end in pairwise([0, *ends]) if end - begin > 1]
    return [(words, 1.0), *((clause, PIECE) for clause in clauses if len(clauses) > 1)]


@dataclass(slots=True)
class _Table:
    """Texts and their clauses, as features; of each, the row it is of and how much it counts; the fold of each row."""

    features: sp.csr_matrix
    rows: list[Row]
    owners: npt.NDArray[np.int64]
    counts: _Scores
    folds: npt.NDArray[np.int64]


def _labels(rows: list[Row], kind: str) -> tuple[npt.NDArray[np.int64], _Scores]:
    return np.array([row.labels.get(kind, 0) for row in rows]), np.array([row.weights.get(kind, 0.0) for row in rows])


def _fit_kind(table: _Table, kind: str) -> _Part:
    label, weight = _labels(table.rows, kind)
    label, weight = label[table.owners], weight[table.owners] * table.counts
    weight[(label == 1) & (table.counts < 1)] = 0.0  # which clause shows the risk, nobody has said
    held_out, fitted, folds = np.zeros(len(label)), [], table.folds[table.owners]
    for fold in range(FOLDS):
        fitted.append(_fit(table.features, label, weight * (folds != fold)))
        test = folds == fold
        held_out[test] = table.features[test] @ fitted[-1][0] + fitted[-1][1]
    return _Part(_fit(table.features, label, weight), fitted, held_out)


def _fit(features: sp.csr_matrix, label: npt.NDArray[np.int64], weight: _Scores) -> tuple[_Scores, float]:
    used = np.flatnonzero(weight)
    model = LogisticRegression(C=STRENGTH, solver="liblinear", class_weight="balanced", random_state=0, tol=1e-2)
    model.fit(features[used], label[used], sample_weight=weight[used])
    return model.coef_[0], float(model.intercept_[0])


def _settings(table: _Table, kind: str, score: _Scores) -> tuple[float, float, float, float]:
    """Return slope and offset of the logistic function, and the limits from which on something is possible, clear."""
    label, weight = _labels(table.rows, kind)
    whole = score[table.counts == 1.0]
    used = weight > 0
    logistic = LogisticRegression(C=1e6).fit(whole[used, None], label[used], sample_weight=weight[used])
    slope, offset = float(logistic.coef_[0, 0]), float(logistic.intercept_[0])
    anywhere = np.full(len(table.rows), -np.inf)
    np.maximum.at(anywhere, table.owners, score)
    members = [np.array([group in row.tags for row in table.rows]) & (label == 0) for group in ORDINARY]
    members = [one for one in members if one.any()]
    possible = max(_limit(anywhere[one], POSSIBLE) for one in members)
    clear = max(_limit(whole[one], CLEAR) for one in members)
    return slope, offset, *(1 / (1 + np.exp(-limit * slope - offset)) for limit in (possible, max(clear, possible)))


def _limit(score: _Scores, share: float) -> float:
    """Return the lowest limit that at most a share of the scores reaches."""
    return float(np.sort(score)[::-1][int(share * len(score))]) + 1e-6


def _assemble(
    fitted: list[tuple[_Scores, float]],
    weight_scale: _Scores,
    settings: list[tuple[float, float, float, float]],
) -> LinearModels:
    """Put the kinds side by side, bucket weights as 8-bit integers."""
    wide = np.stack([weights * weight_scale for weights, _ in fitted], axis=1)
    scale = np.quantile(np.abs(wide), 0.9998, axis=0) / 127
    slope, offset, possible, clear = np.array(settings, np.float32).T
    return LinearModels(
        kinds=KINDS,
        table=np.clip(np.rint(wide / scale), -127, 127).astype(np.int8),
        scale=scale.astype(np.float32),
        bias=np.array([bias for _, bias in fitted], np.float32),
        calibration=np.stack([slope, offset]),
        limits=np.stack([possible, clear]),
    )
