"""What choosing among many recipes has added to a cross-validated score, without fitting anything again.

Source: Tsamardinos, Greasidou and Borboudakis 2018, "Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation": on each bootstrap of the stored out-of-fold rows the choice is made again, and judged on the rows left out of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from emlyn.core.metrics import Metric

ENOUGH = 200
"""Bootstrap draws after which the mean no longer moves."""


@dataclass(frozen=True)
class Optimism:
    """How much better the chosen recipe looks than it is, per metric, lower = better turned round so that positive means too rosy."""

    amount: dict[str, float]
    candidates: int
    draws: int


def optimism(
    predictions: list[np.ndarray], truth: np.ndarray, metrics: list[Metric], *, cluster: np.ndarray | None = None, seconds: float = 2.0, seed: int = 0
) -> Optimism:
    """The optimism of choosing by `metrics[0]` among out-of-fold `predictions` [(n, k), ...], for each of `metrics`.

    Per draw: the candidate that is best on the drawn rows is scored on the rows not drawn; what the apparent winner of all rows
    claims, less the mean of these, is the optimism (never below zero for the metric chosen by). Whole clusters are drawn.
    """
    if len(predictions) < 2:
        return Optimism({m.name: 0.0 for m in metrics}, len(predictions), 0)
    rng, until = np.random.default_rng(seed), time.monotonic() + seconds
    tables = {m.name: _Scores(m, predictions, truth) for m in metrics}
    ones = np.ones((1, len(truth)))
    apparent = {m.name: tables[m.name](ones)[0] for m in metrics}
    winner = int(np.nanargmin(apparent[metrics[0].name]))
    gaps: dict[str, list[float]] = {m.name: [] for m in metrics}
    draws = 0
    while draws < ENOUGH and (time.monotonic() < until or draws < 20):
        drawn = _draw(len(truth), cluster, rng, 20)
        out = (drawn == 0).astype(float)
        choice = np.argmin(np.nan_to_num(tables[metrics[0].name](drawn), nan=np.inf), axis=1)
        for m in metrics:
            left = tables[m.name](out)
            gaps[m.name] += (left[np.arange(len(choice)), choice] - apparent[m.name][winner]).tolist()
        draws += len(drawn)
    amount = {name: float(np.nanmean(g)) if np.isfinite(g).any() else 0.0 for name, g in gaps.items()}
    amount[metrics[0].name] = max(0.0, amount[metrics[0].name])
    return Optimism(amount, len(predictions), draws)


def _draw(n: int, cluster: np.ndarray | None, rng: np.random.Generator, count: int) -> np.ndarray:
    """How often each row is drawn, (count, n)."""
    if cluster is None:
        return rng.multinomial(n, np.full(n, 1 / n), size=count).astype(float)
    code = np.unique(cluster, return_inverse=True)[1]
    groups = int(code.max()) + 1
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=count).astype(float)[:, code]


class _Scores:
    """Losses (draws, candidates) of a metric under row weights (draws, n): a matrix product where the metric has a loss per row."""

    def __init__(self, metric: Metric, predictions: list[np.ndarray], truth: np.ndarray) -> None:
        self.metric, self.predictions, self.truth = metric, predictions, truth
        self.losses = None if metric.per_unit is None else np.column_stack([metric.per_unit(truth, p) for p in predictions])
        self.ranks = None
        if metric.name == "roc_auc" and predictions[0].shape[1] == 2:
            self.ranks = [_ranked(truth == 1, p[:, 1]) for p in predictions]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        if self.losses is not None:
            means = weights @ self.losses / weights.sum(axis=1, keepdims=True)
            return np.asarray(np.sqrt(means)) if self.metric.name == "rmse" else np.asarray(means)
        if self.ranks is not None:
            return np.column_stack([-_areas(weights, *r) for r in self.ranks])
        return np.array([[self._one(p, w) for p in self.predictions] for w in weights])

    def _one(self, prediction: np.ndarray, weight: np.ndarray) -> float:
        rows = weight > 0
        return self.metric.loss(self.truth[rows], prediction[rows], weight[rows])


def _ranked(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.argsort(score, kind="stable")
    s = score[order]
    return order, positive[order].astype(float), np.flatnonzero(np.r_[True, s[1:] != s[:-1]])


def _areas(weights: np.ndarray, order: np.ndarray, positive: np.ndarray, first: np.ndarray) -> np.ndarray:
    """ROC areas (draws,) under row weights (draws, n), from one sort."""
    w = weights[:, order]
    pos, neg = np.add.reduceat(w * positive, first, axis=1), np.add.reduceat(w * (1 - positive), first, axis=1)
    below = np.cumsum(neg, axis=1) - neg / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((pos * below).sum(axis=1) / (pos.sum(axis=1) * neg.sum(axis=1)))

