"""Ensemble selection with replacement on out-of-fold predictions, bagged over units and candidates.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes, Ensemble selection from libraries of models, ICML 2004, with the bagged selection of its
section 2.3: where units are few, one greedy pass follows the noise of the very units it is judged on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from emlyn.core.judging.metrics import CLIP, SQUARED, Metric

STEPS = 30
BAGS, BAG_STEPS = 20, 10
BAG_UNITS, BAG_CANDIDATES = 0.632, 0.5
"""Shares of the units and of the candidates that each bag sees."""
BAGGED_BELOW = 3_000
"""Units up to which the weights are those of the bags alone; with n more they count for 3,000 / n, and one greedy pass for the rest."""
CHECKED, PARTS, CHECK_BAGS, SURE = (500, 10_000), 5, 8, 2.0
"""Units from and up to which bags and one pass are compared, parts of the units, bags in each, standard errors by which one pass must be better."""
LEAST_WEIGHT = 0.04
"""Members below it cost time in every prediction and bring next to nothing: they are left out."""
MOST_ROWS = 50_000
"""Rows that weights are chosen on; more add cost and no information."""
_BINS = 1 << 14

Losses = Callable[[np.ndarray, int], np.ndarray]
"""(sum of what is chosen so far, how many) -> loss (m,) after adding each of the m candidates once."""


def greedy_weights(
    predictions: Sequence[np.ndarray], truth: np.ndarray, metric: Metric, weight: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Weights (m,) over m candidates whose predictions (n, k) stand for the same n units; they add up to 1."""
    n = len(truth)
    single = quick_weights(predictions, truth, metric, weight, seed)
    if len(predictions) == 1:
        return single
    share = min(1.0, BAGGED_BELOW / n)
    if metric.per_unit is not None and CHECKED[0] <= n <= CHECKED[1] and _dominated(predictions, truth, metric, weight, seed):
        share = 0.0
    mixed = (1 - share) * single
    if share:
        mixed += share * _bagged(predictions, truth, metric, weight, seed, max(4, min(BAGS, round(BAGS * 5_000 / n))))
    mixed[mixed < min(LEAST_WEIGHT, mixed.max())] = 0.0
    return np.asarray(mixed / mixed.sum())


def _bagged(
    predictions: Sequence[np.ndarray], truth: np.ndarray, metric: Metric, weight: np.ndarray | None, seed: int, bags: int
) -> np.ndarray:
    """Mean weights (m,) of greedy passes over parts of the units and of the candidates."""
    m, n = len(predictions), len(truth)
    rng, made = np.random.default_rng(seed), np.zeros(m)
    for _ in range(bags):
        units = np.sort(rng.choice(n, min(MOST_ROWS, max(2, int(BAG_UNITS * n))), replace=False))
        few = rng.choice(m, max(2, int(np.ceil(BAG_CANDIDATES * m))), replace=False)
        part = None if weight is None else weight[units]
        made[few] += _greedy([predictions[i][units] for i in few], truth[units], metric, part, BAG_STEPS) / bags
    return made


def _dominated(predictions: Sequence[np.ndarray], truth: np.ndarray, metric: Metric, weight: np.ndarray | None, seed: int) -> bool:
    """Is one greedy pass surely better than the bags on units that neither has seen?

    Where one candidate is far ahead, bags that did not draw it give its weight away.
    """
    assert metric.per_unit is not None
    part = np.random.default_rng(seed).permutation(len(truth)) % PARTS
    gain = np.empty(len(truth))
    for k in range(PARTS):
        seen, asked = np.flatnonzero(part != k), np.flatnonzero(part == k)
        inner = ([p[seen] for p in predictions], truth[seen], metric, None if weight is None else weight[seen])
        bags, one = _bagged(*inner, seed, CHECK_BAGS), _greedy(*inner, STEPS)
        held = [p[asked] for p in predictions]
        gain[asked] = metric.per_unit(truth[asked], blend(held, bags)) - metric.per_unit(truth[asked], blend(held, one))
    gain *= 1.0 if weight is None else weight / weight.mean()
    return bool(gain.mean() > SURE * gain.std() / np.sqrt(len(gain)))


def quick_weights(
    predictions: Sequence[np.ndarray], truth: np.ndarray, metric: Metric, weight: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """One greedy pass: start from the best, add the best addition 30 times, keep the shortest prefix with the least loss."""
    n = len(truth)
    if len(predictions) == 1:
        return np.ones(1)
    if n > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(n, MOST_ROWS, replace=False))
        predictions, truth, weight = [p[rows] for p in predictions], truth[rows], None if weight is None else weight[rows]
    return _greedy(predictions, truth, metric, weight, STEPS)


def _greedy(predictions: Sequence[np.ndarray], truth: np.ndarray, metric: Metric, weight: np.ndarray | None, steps: int) -> np.ndarray:
    values, losses = _objective(predictions, truth, metric, weight)
    total, chosen, history = np.zeros_like(values[0]), [], []
    for step in range(steps):
        loss = np.nan_to_num(losses(total, step), nan=np.inf)
        best = int(np.argmin(loss))
        chosen.append(best)
        history.append(float(loss[best]))
        total = total + values[best]
    short = int(np.argmin(history)) + 1
    return np.bincount(chosen[:short], minlength=len(predictions)) / short


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
    if metric.name in SQUARED:
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
