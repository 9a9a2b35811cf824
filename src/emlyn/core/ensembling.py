"""Greedy ensemble selection with replacement, on out-of-fold predictions.

Source: Caruana et al., Ensemble selection from libraries of models, ICML 2004; weights drawn towards uniform where rows are few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from emlyn.core.metrics import CLIP, Metric

STEPS = 30
MOST_ROWS = 50_000
"""Rows that weights are chosen on; more add cost and no information."""
_BINS = 1 << 14

Losses = Callable[[np.ndarray, int], np.ndarray]
"""(sum of what is chosen so far, how many) -> loss (m,) after adding each of the m candidates once."""


def greedy_weights(
    predictions: Sequence[np.ndarray], truth: np.ndarray, metric: Metric, weight: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Weights (m,) over m candidates whose predictions (n, k) stand for the same n units; they add up to 1.

    Starts from the best, adds the best addition 30 times, keeps the shortest prefix with the least loss. With few units the weights are
    drawn towards uniform over the chosen by a = min(.5, 300 / n).
    """
    m, n = len(predictions), len(truth)
    if m == 1:
        return np.ones(1)
    if n > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(n, MOST_ROWS, replace=False))
        predictions, truth, weight = [p[rows] for p in predictions], truth[rows], None if weight is None else weight[rows]
    values, losses = _objective(predictions, truth, metric, weight)
    total, chosen, history = np.zeros_like(values[0]), [], []
    for step in range(STEPS):
        loss = np.nan_to_num(losses(total, step), nan=np.inf)
        best = int(np.argmin(loss))
        chosen.append(best)
        history.append(float(loss[best]))
        total = total + values[best]
    short = int(np.argmin(history)) + 1
    shares = np.bincount(chosen[:short], minlength=m) / short
    pull = min(0.5, 300 / n)
    return np.asarray((1 - pull) * shares + pull * (shares > 0) / (shares > 0).sum())


def blend(predictions: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The weighted mean (n, k) of the predictions whose weight is above zero."""
    total = np.zeros_like(predictions[0], dtype=np.float64)
    for p, w in zip(predictions, weights, strict=True):
        if w > 0:
            total += w * p
    return total


def _objective(predictions: Sequence[np.ndarray], truth: np.ndarray, metric: Metric, weight: np.ndarray | None) -> tuple[np.ndarray, Losses]:
    """What is summed per candidate (m, …) and how a sum is judged; the common metrics only need one number per unit."""
    width = predictions[0].shape[1]
    if metric.name == "log_loss":
        held = np.stack([_of_truth(p, truth) for p in predictions])
        return held, lambda total, count: -np.average(np.log((total + held) / (count + 1)), axis=1, weights=weight)
    if metric.name in ("rmse", "r2"):
        held = np.stack([p[:, 0] - truth for p in predictions])
        return held, lambda total, count: np.average(((total + held) / (count + 1)) ** 2, axis=1, weights=weight)
    if metric.name == "mae":
        held = np.stack([p[:, 0] - truth for p in predictions])
        return held, lambda total, count: np.average(np.abs((total + held) / (count + 1)), axis=1, weights=weight)
    if metric.name == "roc_auc" and width == 2 and weight is None:
        held = np.stack([p[:, 1] for p in predictions])
        return held, lambda total, count: np.array([1 - _fast_auc(truth == 1, (total + h) / (count + 1)) for h in held])
    held = np.stack(predictions)
    return held, lambda total, count: np.array([metric.loss(truth, (total + h) / (count + 1), weight) for h in held])


def _of_truth(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    q = np.clip(prediction, CLIP, 1.0)
    return np.asarray((q / q.sum(axis=1, keepdims=True))[np.arange(len(truth)), truth.astype(np.int64)])


def _fast_auc(positive: np.ndarray, p: np.ndarray) -> float:
    """AUC by ranks for few units; by 16,384 equal steps of the log odds (|logit| <= 16) for many, where sorting would cost most of the time."""
    if len(p) <= 4096:
        _, code = np.unique(p, return_inverse=True)
    else:
        q = np.clip(p, CLIP, 1 - CLIP)
        code = ((np.log(q / (1 - q)) + 16.2) * (_BINS / 32.4)).astype(np.int32)
    hits = np.bincount(code[positive], minlength=int(code.max()) + 1)
    misses = np.bincount(code, minlength=len(hits)) - hits
    pairs = float(hits.sum()) * float(misses.sum())
    return float((hits * (np.cumsum(misses) - misses / 2)).sum() / pairs) if pairs else 0.5
