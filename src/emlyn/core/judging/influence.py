"""How much each row moves a metric: the influence of every row, in one vectorised pass and without resampling.

For a metric with value v the influences (n,) sum to zero and `v - truth` is, to first order, their sum; the variance of v is therefore
the sum of their squares (of their sums by cluster, where rows belong together). The same influences serve intervals, paired
comparisons (subtract), clusters (add up) and weights. Source: Hampel 1974; for the ROC area this is DeLong et al. 1988.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emlyn.core.judging.metrics import auc, brier_rows, log_loss_rows

Rows = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def influence(name: str, truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray | None:
    """Influence (n,) of each row on the metric of that name; None where the metric has none that is known here.

    `prediction` is (n, k) probabilities or (n, 1) numbers, `truth` (n,) codes or numbers, `weight` (n,) or None.
    """
    w = np.ones(len(truth)) if weight is None else weight
    return KNOWN[name](truth, prediction, w) if name in KNOWN else None


def of_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Influence of each row on a weighted mean of `values`."""
    total = weight.sum()
    return weight * (values - (weight * values).sum() / total) / total


def placements(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """For each row the weighted share of the other class it beats (positives) or is beaten by (negatives); ties count half.

    The structural components of DeLong et al. 1988, by midranks in O(n log n) (Sun and Xu 2014).
    """
    order = np.argsort(score, kind="stable")
    s, p, w = score[order], positive[order].astype(float), weight[order]
    first = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
    pos, neg = np.add.reduceat(w * p, first), np.add.reduceat(w * (1 - p), first)
    sizes = np.diff(np.r_[first, len(s)])
    beats = np.repeat((np.cumsum(neg) - neg / 2) / max(neg.sum(), 1e-300), sizes)
    beaten = np.repeat(1 - (np.cumsum(pos) - pos / 2) / max(pos.sum(), 1e-300), sizes)
    out = np.empty(len(s))
    out[order] = np.where(p > 0, beats, beaten)
    return out


def _of_auc(positive: np.ndarray, score: np.ndarray, w: np.ndarray) -> np.ndarray:
    value, place = auc(positive, score, w), placements(positive, score, w)
    return w * (place - value) / np.where(positive, w[positive].sum(), w[~positive].sum())


def _roc_auc(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    if p.shape[1] == 2:
        return _of_auc(y == 1, p[:, 1], w)
    present = [k for k in np.unique(y).astype(int) if (y == k).sum() < len(y)]
    return np.asarray(sum(_of_auc(y == k, p[:, k], w) for k in present) / max(len(present), 1))


def _average_precision(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The derivative of the weighted average precision by each row's weight, times that weight."""
    order = np.argsort(-p[:, 1], kind="stable")
    s, hit, v = p[order, 1], (y[order] == 1).astype(float), w[order]
    first = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
    sizes = np.diff(np.r_[first, len(s)])
    pos = np.add.reduceat(v * hit, first)
    tp, seen = np.cumsum(pos), np.cumsum(np.add.reduceat(v, first))
    total = tp[-1]
    precision = tp / seen
    value = (pos * precision).sum() / total
    below_hit = np.cumsum((pos / seen)[::-1])[::-1]
    below_all = np.cumsum((pos * tp / seen**2)[::-1])[::-1]
    own = np.repeat(precision, sizes)
    out = np.empty(len(s))
    out[order] = v * (hit * (own - value + np.repeat(below_hit, sizes)) - np.repeat(below_all, sizes)) / total
    return out


def _log_loss(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    return of_mean(log_loss_rows(y, p), w)


def _brier(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    return of_mean(brier_rows(y, p), w)


def _accuracy(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    return of_mean((p.argmax(axis=1) == y).astype(float), w)


def _balanced_accuracy(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    right, out = (p.argmax(axis=1) == y).astype(float), np.zeros(len(y))
    present = np.unique(y)
    for k in present:
        rows = y == k
        out[rows] = of_mean(right[rows], w[rows]) / len(present)
    return out


def _f1(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    chosen, out = p.argmax(axis=1), np.zeros(len(y))
    classes = [1] if p.shape[1] == 2 else np.unique(y).astype(int).tolist()
    for k in classes:
        tp, either = ((chosen == k) & (y == k)).astype(float), (chosen == k).astype(float) + (y == k)
        size = (w * either).sum()
        if size > 0:
            out += w * (2 * tp - 2 * (w * tp).sum() / size * either) / size
    return out / len(classes)


def _mse(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    return of_mean((y - p[:, 0]) ** 2, w)


def _rmse(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    value = np.sqrt(np.average((y - p[:, 0]) ** 2, weights=w))
    return _mse(y, p, w) / max(2 * value, 1e-300)


def _mae(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    return of_mean(np.abs(y - p[:, 0]), w)


def _r2(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    errors, spread = (y - p[:, 0]) ** 2, (y - np.average(y, weights=w)) ** 2
    variance = np.average(spread, weights=w)
    if variance == 0:
        return np.zeros(len(y))
    return w / w.sum() * (np.average(errors, weights=w) / variance * spread - errors) / variance


def _mape(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    out, known = np.zeros(len(y)), y != 0
    if known.any():
        out[known] = of_mean(np.abs((y - p[:, 0])[known] / y[known]), w[known])
    return out


KNOWN: dict[str, Rows] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "mape": _mape,
}
