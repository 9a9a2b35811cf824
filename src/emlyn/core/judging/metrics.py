"""Metrics: one loss per unit where the metric has one, so that intervals, slices and paired tests are one-liners.

Predictions are (n, k) probabilities for classification and (n, 1) numbers for regression; truth is (n,) codes or numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emlyn.types import Direction

CLIP = 1e-7


@dataclass(frozen=True)
class Metric:
    """A named score. `per_unit` gives a loss per unit whose weighted mean is the metric, where that exists."""

    name: str
    tasks: tuple[str, ...]
    direction: Direction
    score: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
    """(truth, prediction, weight or None) -> value."""
    per_unit: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    label: str = ""
    proper: bool = False

    @property
    def sign(self) -> int:
        """What turns a score into a loss, of which less is better: 1 or -1."""
        return -1 if self.direction == "maximize" else 1

    @property
    def perfect(self) -> float:
        """The score of answers without any error."""
        return 1.0 if self.direction == "maximize" else 0.0

    def better(self, a: float, b: float) -> bool:
        """Is a strictly better than b? NaN is never better."""
        return self.sign * a < self.sign * b

    def loss(self, truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None = None) -> float:
        """The score turned so that lower is better."""
        return self.sign * self.score(truth, prediction, weight)


def mean(values: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.average(values, weights=weight)) if len(values) else float("nan")


def auc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Area under the ROC curve by ranks (ties count half); NaN when one class is absent."""
    w = np.ones(len(score)) if weight is None else weight
    order = np.argsort(score, kind="stable")
    s, p, w = score[order], positive[order].astype(float), w[order]
    first = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
    pos, neg = np.add.reduceat(w * p, first), np.add.reduceat(w * (1 - p), first)
    below = np.cumsum(neg) - neg
    total = pos.sum() * neg.sum()
    return float((pos * (below + neg / 2)).sum() / total) if total > 0 else float("nan")


def _roc_auc(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
    if p.shape[1] == 2:
        return auc(y == 1, p[:, 1], w)
    values = [auc(y == k, p[:, k], w) for k in np.unique(y).astype(int)]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _average_precision(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
    w = np.ones(len(y)) if w is None else w
    order = np.argsort(-p[:, 1], kind="stable")
    s, hit = p[order, 1], (y[order] == 1) * w[order]
    last = np.flatnonzero(np.r_[s[1:] != s[:-1], True])
    tp, seen = np.cumsum(hit)[last], np.cumsum(w[order])[last]
    total = hit.sum()
    return float((np.diff(np.r_[0.0, tp]) * tp / seen).sum() / total) if total > 0 else float("nan")


def log_loss_rows(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    q = np.clip(p, CLIP, 1.0)
    return -np.log((q / q.sum(axis=1, keepdims=True))[np.arange(len(y)), y.astype(np.int64)])


def brier_rows(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Squared distance to the truth (n,): of the positive class for two classes, summed over classes for more."""
    if p.shape[1] == 2:
        return (p[:, 1] - (y == 1)) ** 2
    own = p[np.arange(len(y)), y.astype(np.int64)]
    return np.einsum("ij,ij->i", p, p) - 2 * own + 1


def error_rows(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return (p.argmax(axis=1) != y).astype(float)


def _recalls(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    chosen, w = p.argmax(axis=1), np.ones(len(y)) if w is None else w
    return np.array([np.average(chosen[y == k] == k, weights=w[y == k]) for k in np.unique(y) if w[y == k].sum() > 0])


def _f1(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
    chosen, w = p.argmax(axis=1), np.ones(len(y)) if w is None else w
    values = []
    for k in [1] if p.shape[1] == 2 else np.unique(y).astype(int):
        tp, fp, fn = (w * ((chosen == k) & (y == k))).sum(), (w * ((chosen == k) & (y != k))).sum(), (w * ((chosen != k) & (y == k))).sum()
        values.append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0)
    return float(np.mean(values))


def squared_rows(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return (y - p[:, 0]) ** 2


def absolute_rows(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.abs(y - p[:, 0])


def _r2(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
    spread = mean((y - mean(y, w)) ** 2, w)
    return 1 - mean(squared_rows(y, p), w) / spread if spread > 0 else float("nan")


def _mape(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
    known = y != 0
    return mean(np.abs((y - p[:, 0])[known] / y[known]), None if w is None else w[known])


CLASSES = ("binary", "multiclass")
NUMBERS = ("regression",)
SQUARED = ("rmse", "r2")
"""Metrics of numbers that count squared errors, and so ask for means."""

BUILT_IN: tuple[Metric, ...] = (
    Metric("roc_auc", CLASSES, "maximize", _roc_auc, label="ROC AUC"),
    Metric("log_loss", CLASSES, "minimize", lambda y, p, w: mean(log_loss_rows(y, p), w), log_loss_rows, "log loss", proper=True),
    Metric("brier", CLASSES, "minimize", lambda y, p, w: mean(brier_rows(y, p), w), brier_rows, "Brier score", proper=True),
    Metric("average_precision", ("binary",), "maximize", _average_precision, label="average precision"),
    Metric("accuracy", CLASSES, "maximize", lambda y, p, w: 1 - mean(error_rows(y, p), w), label="accuracy"),
    Metric("balanced_accuracy", CLASSES, "maximize", lambda y, p, w: float(_recalls(y, p, w).mean()), label="balanced accuracy"),
    Metric("f1", CLASSES, "maximize", _f1, label="F1"),
    Metric("rmse", NUMBERS, "minimize", lambda y, p, w: float(np.sqrt(mean(squared_rows(y, p), w))), squared_rows, "RMSE", proper=True),
    Metric("mae", NUMBERS, "minimize", lambda y, p, w: mean(absolute_rows(y, p), w), absolute_rows, "mean absolute error"),
    Metric("r2", NUMBERS, "maximize", _r2, label="R²"),
    Metric("mape", NUMBERS, "minimize", _mape, label="mean absolute percentage error"),
)


def metric(name: str) -> Metric:
    """The metric of that name. Raises KeyError with the names that exist."""
    known = {m.name: m for m in BUILT_IN}
    if name not in known:
        raise KeyError(f"no metric is called {name!r}; there are: {', '.join(known)}")
    return known[name]


def metrics_for(task: str) -> list[Metric]:
    return [m for m in BUILT_IN if task in m.tasks]
