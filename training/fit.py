"""Fit the linear models of one role, fold by fold and on everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from datasets import Row
from grouping import FOLDS, bucket_matrix
from sklearn.linear_model import LogisticRegression

from end_conversation_tool.detectors.model import HEAD_CHARS, HEAD_SEED, RoleModels
from end_conversation_tool.detectors.ngrams import BUCKETS
from end_conversation_tool.detectors.text import Reading, read_assistant, read_user

STRENGTH = {
    "self_harm": 10.0,
    "self_harm_topic": 30.0,
    "violence": 10.0,
    "abuse": 10.0,
    "refusal": 20.0,
    "redirection": 3.0,
}
"""Inverse of the L2 penalty, for each kind."""

_IDF_SCALE = 4.0
RARE = 10
"""Fewest replies in which a bucket must occur to count: rarer ones tell the topic of a prompt, not a refusal."""

Limits = dict[str, dict[str, float]]

YES: Limits = {
    "self_harm": {"xstest safe": 0.016, "humanebench": 0.015, "coconot": 0.016, "convabuse clean": 0.013},
    "self_harm_topic": {
        "xstest safe": 0.016,
        "humanebench": 0.0025,
        "coconot": 0.006,
        "convabuse clean": 0.002,
        "ailuminate other": 0.06,
    },
    "violence": {"hatecheck not hateful": 0.031, "xstest safe": 0.016, "humanebench": 0.01, "convabuse clean": 0.01},
    "abuse": {
        "convabuse clean": 0.0115,
        "counsel_chat": 0.006,
        "humanebench": 0.003,
        "coconot": 0.003,
        "xstest safe": 0.009,
    },
    "refusal": {"xstest compliance": 0.025, "chatgpt compliance": 0.048},
    "redirection": {"chatgpt compliance": 0.022},
}
"""Share of each set on which a *yes* is allowed: the thresholds follow from it."""

DOUBT: Limits = {
    "self_harm": {"xstest safe": 0.1, "humanebench": 0.1, "coconot": 0.1, "convabuse clean": 0.03},
    "self_harm_topic": {"xstest safe": 0.08, "humanebench": 0.08, "coconot": 0.08, "convabuse clean": 0.02},
    "violence": {"hatecheck not hateful": 0.08, "xstest safe": 0.08, "humanebench": 0.03, "convabuse clean": 0.01},
    "abuse": {
        "convabuse clean": 0.025,
        "counsel_chat": 0.01,
        "humanebench": 0.005,
        "coconot": 0.005,
        "xstest safe": 0.009,
    },
    "refusal": {"xstest compliance": 0.06, "chatgpt compliance": 0.12},
    "redirection": {"chatgpt compliance": 0.05},
}
"""The same for *yes* or *don't know*. About risk, the band is wide: it costs only an end that is not permitted."""

YES_CJK: Limits = {
    "self_harm": {"psysuicide no risk": 0.08},
    "violence": {"psysuicide no risk": 0.022, "hatecheck not hateful zh": 0.06},
}
DOUBT_CJK: Limits = {
    "self_harm": {"psysuicide no risk": 0.2},
    "violence": {"psysuicide no risk": 0.06, "hatecheck not hateful zh": 0.12},
}
"""The same for texts with Chinese characters."""

_Scores = npt.NDArray[np.float64]


@dataclass(slots=True)
class Table:
    """The rows of one role, made features.

    Attributes:
        rows: The rows.
        folds: Fold of each row.
        wide: Bucket features, scaled, with the features of the beginning added where the role has them.
        dense: Dense features.
        weight_scale: What a learned bucket weight is multiplied by at run time.
        head: Whether the beginning counts once more.
    """

    rows: list[Row]
    folds: npt.NDArray[np.int64]
    wide: sp.csr_matrix
    dense: npt.NDArray[np.float64]
    weight_scale: npt.NDArray[np.float64]
    head: bool


def make_table(rows: list[Row], folds: npt.NDArray[np.int64], *, head: bool) -> Table:
    """Read the rows as the detector would and make a matrix of them."""
    readings = [_read(row) for row in rows]
    lines = [" ".join(reading.words) for reading in readings]
    whole = bucket_matrix(lines)
    seen = np.asarray((whole > 0).sum(axis=0)).ravel()
    idf = (np.log((1 + len(rows)) / (1 + seen)) + 1) / _IDF_SCALE
    wide = whole
    if head:
        idf[seen < RARE] = 0.0
        beginning = bucket_matrix([line[:HEAD_CHARS] for line in lines], seed=HEAD_SEED)
        wide = wide + beginning
    dense = np.array([reading.dense for reading in readings])
    return Table(rows, folds, (wide @ sp.diags(idf)).tocsr(), dense, idf, head)


def _read(row: Row) -> Reading:
    return read_user(row.text) if row.role == "user" else read_assistant(row.text)


@dataclass(slots=True)
class Fitted:
    """Models of one role.

    Attributes:
        final: Fitted on every row.
        folds: One for each fold, fitted and given thresholds without any row of that fold.
    """

    final: RoleModels
    folds: list[RoleModels]


def fit_role(table: Table, kinds: tuple[str, ...]) -> Fitted:
    """Fit all kinds of one role."""
    parts = [_fit_kind(table, kind) for kind in kinds]
    final = _assemble(table, kinds, [part.final for part in parts])
    folds = [_assemble(table, kinds, [part.folds[fold] for part in parts]) for fold in range(FOLDS)]
    return Fitted(final, folds)


@dataclass(slots=True)
class _Linear:
    weights: _Scores
    bias: float
    calibration: tuple[float, float] = (1.0, 0.0)
    thresholds: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 1.0), (1.0, 1.0))


@dataclass(slots=True)
class _Part:
    final: _Linear
    folds: list[_Linear]


def _fit_kind(table: Table, kind: str) -> _Part:
    """Fit one kind: a model without each fold, one with all, and thresholds from scores of rows held out."""
    features = sp.hstack([table.wide, sp.csr_matrix(table.dense)]).tocsr()
    weight = np.array([row.weights.get(kind, 0.0) for row in table.rows])
    label = np.array([row.labels.get(kind, 0) for row in table.rows])
    held_out = np.zeros(len(table.rows))
    folds = []
    for fold in range(FOLDS):
        linear = _fit(features, label, weight * (table.folds != fold), STRENGTH[kind])
        test = table.folds == fold
        held_out[test] = features[test] @ linear.weights + linear.bias
        folds.append(linear)
    final = _fit(features, label, weight, STRENGTH[kind])
    for fold, linear in [*enumerate(folds), (-1, final)]:
        others = table.folds != fold
        linear.calibration = _calibrate(held_out[others], label[others], weight[others])
        slope, offset = linear.calibration
        linear.thresholds = _thresholds(table, kind, 1 / (1 + np.exp(-held_out * slope - offset)), others)
    return _Part(final, folds)


def _fit(features: sp.csr_matrix, label: _Scores, weight: _Scores, strength: float) -> _Linear:
    used = np.flatnonzero(weight)
    model = LogisticRegression(C=strength, solver="liblinear", class_weight="balanced", random_state=0, tol=1e-2)
    model.fit(features[used], label[used], sample_weight=weight[used])
    return _Linear(model.coef_[0], float(model.intercept_[0]))


def _calibrate(score: _Scores, label: _Scores, weight: _Scores) -> tuple[float, float]:
    """Fit a logistic function from held-out scores to labels."""
    used = weight > 0
    model = LogisticRegression(C=1e6).fit(score[used, None], label[used], sample_weight=weight[used])
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _thresholds(
    table: Table, kind: str, score: _Scores, others: npt.NDArray[np.bool_]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return ``((doubt, yes), (doubt, yes))`` without and with Chinese characters."""
    plain_doubt, plain_yes = (_threshold(table, limits[kind], score, others) for limits in (DOUBT, YES))
    cjk = [
        _threshold(table, limits[kind], score, others) if kind in limits else plain
        for limits, plain in ((DOUBT_CJK, plain_doubt), (YES_CJK, plain_yes))
    ]
    return (min(plain_doubt, plain_yes), plain_yes), (min(cjk), cjk[1])


def _threshold(table: Table, limits: dict[str, float], score: _Scores, others: npt.NDArray[np.bool_]) -> float:
    """Return the lowest score at which no set is flagged more often than allowed."""
    found = []
    for tag, share in limits.items():
        member = np.array([tag in row.tags for row in table.rows]) & others
        ranked = np.sort(score[member])[::-1]
        allowed = round(share * len(ranked))
        found.append(float(ranked[allowed]) + 1e-6)
    return max(found)


def _assemble(table: Table, kinds: tuple[str, ...], parts: list[_Linear]) -> RoleModels:
    """Put the kinds side by side, bucket weights as 8-bit integers."""
    wide = np.stack([part.weights[:BUCKETS] * table.weight_scale for part in parts], axis=1)
    scale = np.quantile(np.abs(wide), 0.9998, axis=0) / 127
    thresholds = np.array([part.thresholds for part in parts]).transpose(1, 2, 0)
    return RoleModels(
        kinds=kinds,
        table=np.clip(np.rint(wide / scale), -127, 127).astype(np.int8),
        scale=scale.astype(np.float32),
        dense=np.stack([part.weights[BUCKETS:] for part in parts], axis=1).astype(np.float32),
        bias=np.array([part.bias for part in parts], np.float32),
        calibration=np.array([part.calibration for part in parts], np.float32).T.copy(),
        thresholds=thresholds.astype(np.float32),
        head=table.head,
    )
