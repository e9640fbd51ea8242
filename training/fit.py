"""Fit the linear models of one role, fold by fold and on everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from datasets import Row
from grouping import FOLDS, bucket_matrix, units_of
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from end_conversation_tool.watch.model import LinearModels

STRENGTH = {"self_harm": 10.0, "violence": 10.0, "abuse": 10.0, "refusal": 20.0, "redirection": 3.0}
"""Inverse of the L2 penalty, for each kind."""

ORDINARY = ("xstest safe", "humanebench", "coconot", "convabuse clean", "written benign en", "written clean en")
"""Groups of ordinary messages: the limits follow from what they may cost there."""

COMPLIANT = ("xstest compliance", "chatgpt compliance", "written compliance en")
"""The same for replies."""

CLEAR, POSSIBLE = 0.002, 0.03
"""Share of each group of ordinary texts that may be found clear, and at least possible, by one model."""

_IDF_SCALE = 4.0
_Scores = npt.NDArray[np.float64]


@dataclass(slots=True)
class Fitted:
    """Models of one role.

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


def fit_role(rows: list[Row], folds: npt.NDArray[np.int64], kinds: tuple[str, ...]) -> Fitted:
    """Fit all kinds of one role; calibration and limits follow from the scores of rows held out."""
    counts = bucket_matrix([units_of(row.text) for row in rows])
    seen = np.asarray((counts > 0).sum(axis=0)).ravel()
    weight_scale = (np.log((1 + len(rows)) / (1 + seen)) + 1) / _IDF_SCALE
    features = (counts @ sp.diags(weight_scale)).tocsr()
    parts = Parallel(n_jobs=2)(delayed(_fit_kind)(features, rows, folds, kind) for kind in kinds)
    settings = [_settings(rows, kind, part.held_out) for kind, part in zip(kinds, parts, strict=True)]
    return Fitted(
        _assemble(kinds, [part.final for part in parts], weight_scale, settings),
        [_assemble(kinds, [part.folds[fold] for part in parts], weight_scale, settings) for fold in range(FOLDS)],
    )


def _labels(rows: list[Row], kind: str) -> tuple[npt.NDArray[np.int64], _Scores]:
    return np.array([row.labels.get(kind, 0) for row in rows]), np.array([row.weights.get(kind, 0.0) for row in rows])


def _fit_kind(features: sp.csr_matrix, rows: list[Row], folds: npt.NDArray[np.int64], kind: str) -> _Part:
    label, weight = _labels(rows, kind)
    held_out, fitted = np.zeros(len(rows)), []
    for fold in range(FOLDS):
        fitted.append(_fit(features, label, weight * (folds != fold), kind))
        test = folds == fold
        held_out[test] = features[test] @ fitted[-1][0] + fitted[-1][1]
    return _Part(_fit(features, label, weight, kind), fitted, held_out)


def _fit(features: sp.csr_matrix, label: npt.NDArray[np.int64], weight: _Scores, kind: str) -> tuple[_Scores, float]:
    used = np.flatnonzero(weight)
    model = LogisticRegression(C=STRENGTH[kind], solver="liblinear", class_weight="balanced", random_state=0, tol=1e-2)
    model.fit(features[used], label[used], sample_weight=weight[used])
    return model.coef_[0], float(model.intercept_[0])


def _settings(rows: list[Row], kind: str, score: _Scores) -> tuple[float, float, float, float]:
    """Return slope and offset of the logistic function, and the limits from which on something is possible, clear."""
    label, weight = _labels(rows, kind)
    used = weight > 0
    logistic = LogisticRegression(C=1e6).fit(score[used, None], label[used], sample_weight=weight[used])
    slope, offset = float(logistic.coef_[0, 0]), float(logistic.intercept_[0])
    probability = 1 / (1 + np.exp(-score * slope - offset))
    groups = COMPLIANT if rows[0].role == "assistant" else ORDINARY
    members = [np.array([group in row.tags for row in rows]) & (label == 0) for group in groups]
    possible, clear = (max(_limit(probability[one], share) for one in members) for share in (POSSIBLE, CLEAR))
    return slope, offset, possible, clear


def _limit(score: _Scores, share: float) -> float:
    """Return the lowest limit that at most a share of the scores reaches."""
    return float(np.sort(score)[::-1][int(share * len(score))]) + 1e-6


def _assemble(
    kinds: tuple[str, ...],
    fitted: list[tuple[_Scores, float]],
    weight_scale: _Scores,
    settings: list[tuple[float, float, float, float]],
) -> LinearModels:
    """Put the kinds side by side, bucket weights as 8-bit integers."""
    wide = np.stack([weights * weight_scale for weights, _ in fitted], axis=1)
    scale = np.quantile(np.abs(wide), 0.9998, axis=0) / 127
    slope, offset, possible, clear = np.array(settings, np.float32).T
    return LinearModels(
        kinds=kinds,
        table=np.clip(np.rint(wide / scale), -127, 127).astype(np.int8),
        scale=scale.astype(np.float32),
        bias=np.array([bias for _, bias in fitted], np.float32),
        calibration=np.stack([slope, offset]),
        limits=np.stack([possible, clear]),
    )
