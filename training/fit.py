"""Fit the linear models of one role, fold by fold and on everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from datasets import Row
from grouping import FOLDS, bucket_matrix
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from end_conversation_tool.watch.model import HEAD_WORDS, RoleModels
from end_conversation_tool.watch.ngrams import BUCKETS, units
from end_conversation_tool.watch.text import Reading, read_assistant, read_user

STRENGTH = {
    "self_harm": 10.0,
    "self_harm_topic": 30.0,
    "self_harm_wide": 10.0,
    "violence": 10.0,
    "violence_wide": 10.0,
    "abuse": 10.0,
    "refusal": 20.0,
    "redirection": 3.0,
}
"""Inverse of the L2 penalty, for each kind."""

TELLING = {"refusal": 0.5, "abuse": 0.5}
"""How far a bucket that tells the classes apart by itself counts more from the start, for each kind."""

ALWAYS = -1
"""The fold of rows that are in every fold's training, and in no measurement."""

_SMOOTH = 0.002
_IDF_SCALE = 4.0
RARE = 10
"""Fewest replies in which a bucket must occur to count: rarer ones tell the topic of a prompt, not a refusal."""

Limits = dict[str, dict[str, float]]

YES: Limits = {
    "self_harm": {"xstest safe": 0.016, "humanebench": 0.0175, "coconot": 0.006, "convabuse clean": 0.012},
    "violence": {"hatecheck not hateful": 0.034, "xstest safe": 0.003, "humanebench": 0.0025, "convabuse clean": 0.004},
    "violence_wide": {
        "hatecheck not hateful": 0.004,
        "xstest safe": 0.003,
        "humanebench": 0.0025,
        "coconot": 0.002,
        "convabuse clean": 0.004,
    },
    "abuse": {
        "convabuse clean": 0.012,
        "counsel_chat": 0.006,
        "humanebench": 0.003,
        "coconot": 0.003,
        "xstest safe": 0.009,
    },
    "refusal": {"xstest compliance": 0.03, "chatgpt compliance": 0.05},
    "redirection": {"chatgpt compliance": 0.022},
}
"""Share of each set on which a *yes* is allowed: the thresholds follow from it."""

REST = ("self_harm_topic", "self_harm_wide")
TOGETHER = {"xstest safe": 0.016, "humanebench": 0.0185, "coconot": 0.0105, "convabuse clean": 0.016}
"""About risk, fewer than two ordinary messages in a hundred may be a *yes*, of any kind: the models of ``REST`` get, in
this order, what the others and the phrases have left of that."""

DOUBT: Limits = {
    "self_harm": {"xstest safe": 0.08, "humanebench": 0.08, "coconot": 0.08, "convabuse clean": 0.03},
    "self_harm_topic": {"xstest safe": 0.06, "humanebench": 0.05, "coconot": 0.08, "convabuse clean": 0.015},
    "self_harm_wide": {"xstest safe": 0.05, "humanebench": 0.08, "coconot": 0.05, "convabuse clean": 0.02},
    "violence": {"hatecheck not hateful": 0.08, "xstest safe": 0.06, "humanebench": 0.03, "convabuse severe": 0.04},
    "violence_wide": {"xstest safe": 0.05, "humanebench": 0.02, "convabuse clean": 0.01, "convabuse severe": 0.03},
    "abuse": {
        "convabuse clean": 0.03,
        "counsel_chat": 0.01,
        "humanebench": 0.005,
        "coconot": 0.005,
        "xstest safe": 0.009,
    },
    "refusal": {"xstest compliance": 0.06, "chatgpt compliance": 0.12},
    "redirection": {"chatgpt compliance": 0.05},
}
"""The same for *yes* or *don't know*. About risk, the band is wide: it costs only an end that is not permitted."""

_AMONG_ORDINARY = {"xstest safe": 0.12, "humanebench": 0.12, "convabuse clean": 0.05}
FAINT: Limits = {
    "self_harm": {**_AMONG_ORDINARY, "convabuse severe": 0.05},
    "self_harm_topic": {**_AMONG_ORDINARY, "convabuse severe": 0.025},
    "self_harm_wide": {**_AMONG_ORDINARY, "convabuse severe": 0.05},
    "violence": {**_AMONG_ORDINARY, "convabuse severe": 0.05},
    "violence_wide": {**_AMONG_ORDINARY, "convabuse severe": 0.06},
}
"""The same for every answer but a clear *no*. It is as wide as may be: what it costs is that some abuse, and some
ordinary talk beside abuse, keeps an end for conduct from being permitted, and these shares bound that."""

YES_CJK: Limits = {
    "self_harm": {"psysuicide no risk": 0.075},
    "self_harm_topic": {"psysuicide no risk": 0.004},
    "self_harm_wide": {"psysuicide no risk": 0.01},
    "violence": {"psysuicide no risk": 0.02, "hatecheck not hateful zh": 0.06},
    "violence_wide": {"psysuicide no risk": 0.006, "hatecheck not hateful zh": 0.02},
}
DOUBT_CJK: Limits = {
    "self_harm": {"psysuicide no risk": 0.2},
    "self_harm_topic": {"psysuicide no risk": 0.02},
    "self_harm_wide": {"psysuicide no risk": 0.2},
    "violence": {"psysuicide no risk": 0.06, "hatecheck not hateful zh": 0.12},
    "violence_wide": {"psysuicide no risk": 0.06, "hatecheck not hateful zh": 0.12},
}
FAINT_CJK: Limits = {
    "self_harm": {"psysuicide no risk": 0.4},
    "self_harm_topic": {"psysuicide no risk": 0.1},
    "self_harm_wide": {"psysuicide no risk": 0.4},
    "violence": {"psysuicide no risk": 0.15, "hatecheck not hateful zh": 0.2},
    "violence_wide": {"psysuicide no risk": 0.15, "hatecheck not hateful zh": 0.2},
}
"""The same for texts with Chinese characters."""

_Scores = npt.NDArray[np.float64]
_Steps = tuple[float, float, float]


@dataclass(slots=True)
class Table:
    """The rows of one role, made features.

    Attributes:
        rows: The rows.
        folds: Fold of each row.
        wide: Bucket features, scaled; beside them, where the role has them, those of the beginning.
        dense: Dense features.
        weight_scale: What a learned bucket weight is multiplied by at run time.
        head: Whether the beginning counts once more.
        sure: Whether a sure phrase about self-harm makes the row a *yes* whatever the models say.
        cjk: Whether the row holds Chinese characters.
    """

    rows: list[Row]
    folds: npt.NDArray[np.int64]
    wide: sp.csr_matrix
    dense: npt.NDArray[np.float64]
    weight_scale: npt.NDArray[np.float64]
    head: bool
    sure: npt.NDArray[np.bool_]
    cjk: npt.NDArray[np.bool_]


def make_table(rows: list[Row], folds: npt.NDArray[np.int64], *, head: bool) -> Table:
    """Read the rows as the detector would and make a matrix of them."""
    readings = [_read(row) for row in rows]
    texts = [units(reading.words) for reading in readings]
    whole = bucket_matrix(texts)
    seen = np.asarray((whole > 0).sum(axis=0)).ravel()
    idf = (np.log((1 + len(rows)) / (1 + seen)) + 1) / _IDF_SCALE
    parts = [whole]
    if head:
        idf[seen < RARE] = 0.0
        parts.append(bucket_matrix([words[:HEAD_WORDS] for words in texts]))
    dense = np.array([reading.dense for reading in readings])
    wide = sp.hstack([part @ sp.diags(idf) for part in parts]).tocsr()
    sure = np.array([reading.hits.count("self_harm") > 0 for reading in readings])
    return Table(rows, folds, wide, dense, idf, head, sure, np.array([reading.cjk for reading in readings]))


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
    parts = dict(zip(kinds, Parallel(n_jobs=-1)(delayed(_fit_kind)(table, kind) for kind in kinds), strict=True))
    for fold in (*range(FOLDS), ALWAYS):
        _set_thresholds(table, parts, fold)
    final = _assemble(table, kinds, [part.final for part in parts.values()])
    folds = [_assemble(table, kinds, [part.folds[fold] for part in parts.values()]) for fold in range(FOLDS)]
    return Fitted(final, folds)


@dataclass(slots=True)
class _Linear:
    weights: _Scores
    bias: float
    calibration: tuple[float, float] = (1.0, 0.0)
    thresholds: tuple[_Steps, _Steps] = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


@dataclass(slots=True)
class _Part:
    final: _Linear
    folds: list[_Linear]
    held_out: _Scores


def _fit_kind(table: Table, kind: str) -> _Part:
    """Fit one kind: a model without each fold, one with all; keep the scores of the rows held out."""
    features = sp.hstack([table.wide, sp.csr_matrix(table.dense)]).tocsr()
    weight = np.array([row.weights.get(kind, 0.0) for row in table.rows])
    label = np.array([row.labels.get(kind, 0) for row in table.rows])
    held_out = np.zeros(len(table.rows))
    folds = []
    for fold in range(FOLDS):
        linear = _fit(features, label, weight * (table.folds != fold), kind)
        test = table.folds == fold
        held_out[test] = features[test] @ linear.weights + linear.bias
        folds.append(linear)
    return _Part(_fit(features, label, weight, kind), folds, held_out)


def _set_thresholds(table: Table, parts: dict[str, _Part], fold: int) -> None:
    """Calibrate the models fitted without a fold, or the final ones, and set thresholds, on held-out rows of others."""
    others = (table.folds != fold) & (table.folds != ALWAYS)
    flagged = table.sure.copy()
    for kind in sorted(parts, key=lambda kind: REST.index(kind) + 1 if kind in REST else 0):
        part = parts[kind]
        linear = part.final if fold == ALWAYS else part.folds[fold]
        label = np.array([row.labels.get(kind, 0) for row in table.rows])
        weight = np.array([row.weights.get(kind, 0.0) for row in table.rows])
        linear.calibration = _calibrate(part.held_out[others], label[others], weight[others])
        slope, offset = linear.calibration
        score = 1 / (1 + np.exp(-part.held_out * slope - offset))
        taken = flagged if kind in REST else np.zeros(len(flagged), bool)
        linear.thresholds = _thresholds(table, kind, score, others, taken)
        if kind.startswith(("self_harm", "violence")):
            flagged |= ~table.cjk & (score >= linear.thresholds[0][2])


def _fit(features: sp.csr_matrix, label: _Scores, weight: _Scores, kind: str) -> _Linear:
    used = np.flatnonzero(weight)
    features, label, weight = features[used], label[used], weight[used]
    telling = _telling(features, label, weight, TELLING.get(kind, 0.0))
    model = LogisticRegression(C=STRENGTH[kind], solver="liblinear", class_weight="balanced", random_state=0, tol=1e-2)
    model.fit(features @ sp.diags(telling), label, sample_weight=weight)
    return _Linear(model.coef_[0] * telling, float(model.intercept_[0]))


def _telling(features: sp.csr_matrix, label: _Scores, weight: _Scores, share: float) -> _Scores:
    """Return what each bucket feature is multiplied by: in part the log ratio of its counts (Wang, Manning 2012)."""
    scale = np.ones(features.shape[1])
    if share:
        seen = (features > 0).astype(np.float64)
        rates = [seen.T @ (weight * (label == value)) / weight[label == value].sum() for value in (0, 1)]
        ratio = np.abs(np.log((rates[1] + _SMOOTH) / (rates[0] + _SMOOTH)))
        buckets = features.shape[1] - features.shape[1] % BUCKETS
        scale[:buckets] = ((1 - share) * ratio.mean() + share * ratio)[:buckets]
    return scale


def _calibrate(score: _Scores, label: _Scores, weight: _Scores) -> tuple[float, float]:
    """Fit a logistic function from held-out scores to labels."""
    used = weight > 0
    model = LogisticRegression(C=1e6).fit(score[used, None], label[used], sample_weight=weight[used])
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _thresholds(
    table: Table, kind: str, score: _Scores, others: npt.NDArray[np.bool_], taken: npt.NDArray[np.bool_]
) -> tuple[_Steps, _Steps]:
    """Return ``(faint, doubt, yes)`` without and with Chinese characters; ``taken`` rows are a *yes* already."""
    yes = _threshold(table, TOGETHER if kind in REST else YES[kind], score, others, taken)
    doubt = min(yes, _threshold(table, DOUBT[kind], score, others))
    faint = min(doubt, _threshold(table, FAINT[kind], score, others)) if kind in FAINT else doubt
    plain = (faint, doubt, yes)
    cjk = [
        _threshold(table, limits[kind], score, others) if kind in limits else other
        for limits, other in zip((FAINT_CJK, DOUBT_CJK, YES_CJK), plain, strict=True)
    ]
    return plain, (min(cjk), min(cjk[1:]), cjk[2])


def _threshold(
    table: Table,
    limits: dict[str, float],
    score: _Scores,
    others: npt.NDArray[np.bool_],
    taken: npt.NDArray[np.bool_] | None = None,
) -> float:
    """Return the lowest score at which no set has more rows flagged, or taken already, than allowed."""
    found = []
    for tag, share in limits.items():
        member = np.array([tag in row.tags for row in table.rows]) & others
        free = member if taken is None else member & ~taken
        ranked = np.sort(score[free])[::-1]
        allowed = max(round(share * int(member.sum())) - int((member & ~free).sum()), 0)
        found.append(float(ranked[allowed]) + 1e-6)
    return max(found)


def _assemble(table: Table, kinds: tuple[str, ...], parts: list[_Linear]) -> RoleModels:
    """Put the kinds side by side, bucket weights as 8-bit integers."""
    tables = 2 if table.head else 1
    scaled = np.tile(table.weight_scale, tables)
    wide = np.stack([part.weights[: tables * BUCKETS] * scaled for part in parts], axis=1)
    scale = np.quantile(np.abs(wide), 0.9998, axis=0) / 127
    whole = np.clip(np.rint(wide / scale), -127, 127).astype(np.int8)
    thresholds = np.array([part.thresholds for part in parts]).transpose(1, 2, 0)
    return RoleModels(
        kinds=kinds,
        table=whole[:BUCKETS],
        beginning=whole[BUCKETS:],
        scale=scale.astype(np.float32),
        dense=np.stack([part.weights[tables * BUCKETS :] for part in parts], axis=1).astype(np.float32),
        bias=np.array([part.bias for part in parts], np.float32),
        calibration=np.array([part.calibration for part in parts], np.float32).T.copy(),
        thresholds=thresholds.astype(np.float32),
    )
