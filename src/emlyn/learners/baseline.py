"""What any model has to beat: the target's own distribution, and the best single column."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.features.prep import Matrix, encoded
from emlyn.core.features.screening import strongest
from emlyn.core.learner import Effort, Fitted
from emlyn.core.models.outcome import Outcome, base_params
from emlyn.core.models.parts import pack, require, unpack
from emlyn.plugins import hook
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

SMOOTHING = 5.0
MOST_ROWS = 20_000
MOST_CELLS = 4_000_000
"""Rows x classes looked at: with thousands of classes a sample of the rows is enough for a floor."""
BINS = (2, 4, 8, 16)
BINNED = 200
"""Features that are binned at all: thousands of them, one by one, would take longer than a real model."""
LOOKED_AT = 6
"""Features that are judged by cross-validation, those whose bins say most at a glance."""


class Baseline:
    """The learner: recipes `baseline-prior` and `baseline-column`."""

    name = "baseline"
    tasks = ("binary", "multiclass", "regression")

    def missing(self) -> str:
        return ""

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        base = base_params(problem)
        return [
            Recipe("baseline-prior", self.name, {**base, "columns": 0}, (), "knows only how often each answer occurs"),
            Recipe("baseline-column", self.name, {**base, "columns": 1}, (), "the best rule that looks at a single column"),
        ]

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        until = time.monotonic() + effort.seconds
        outcome = Outcome.learn(recipe.params, fit)
        prior = _prior(outcome, fit)
        rng = np.random.default_rng(effort.seed)
        if len(fit) * outcome.width > max(MOST_CELLS, MOST_ROWS):
            fit = fit.take(np.sort(rng.permutation(len(fit))[: max(500, MOST_CELLS // outcome.width)]))
        assert fit.answers is not None
        targets, weight = _targets(outcome, fit.answers), np.ones(len(fit)) if fit.weight is None else fit.weight.astype(np.float64)
        none = FittedBaseline(outcome, prior, -1, np.zeros(0), prior[None])
        if not recipe.params.get("columns") or len(fit) < 10:
            return none
        rows = np.sort(rng.permutation(len(fit))[:MOST_ROWS])
        matrix = encoded(fit.take(rows))
        inner = rng.permutation(np.arange(len(rows)) % 3)
        best, chosen = _error(targets[rows], np.broadcast_to(prior, (len(rows), len(prior))), weight[rows]), (-1, 0)
        for j in _telling(matrix, targets[rows], weight[rows], until):
            if effort.cancelled() or time.monotonic() > until:
                break
            for bins in BINS[:1] if j in matrix.levels else BINS:
                codes = _codes(matrix.dense[:, j], _edges(matrix, j, bins))
                guess = _cross_means(codes, targets[rows], weight[rows], inner)
                error = _error(targets[rows], guess, weight[rows])
                if error < best:
                    best, chosen = error, (j, bins)
        if chosen[0] < 0:
            return none
        edges = _edges(matrix, *chosen)
        codes = _codes(encoded(fit).dense[:, chosen[0]], edges)
        return FittedBaseline(outcome, prior, chosen[0], edges, _means(codes, targets, weight, prior, len(edges) + 2))

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        document, arrays = unpack(parts)
        outcome = Outcome.load(document["outcome"])
        prior, edges, means = arrays["prior"], arrays["edges"], arrays["means"]
        require(prior.shape == (outcome.width,) and means.ndim == 2 and means.shape[1] == outcome.width, "means do not fit the classes")
        require(document["column"] < 0 or len(means) == len(edges) + 2, "bins and means differ in number")
        return FittedBaseline(outcome, prior, int(document["column"]), edges, means)


def _telling(matrix: Matrix, targets: np.ndarray, weight: np.ndarray, until: float) -> list[int]:
    """The few features whose bins say most about the answers, by one look at each: only these are worth a cross-validated one."""
    errors = np.full(matrix.dense.shape[1], np.inf)
    prior = np.average(targets, axis=0, weights=weight)
    for j in strongest(matrix.dense, targets, BINNED):
        if time.monotonic() > until:
            break
        codes = _codes(matrix.dense[:, j], _edges(matrix, j, BINS[-1]))
        fitted = _error(targets, _means(codes, targets, weight, prior, int(codes.max()) + 1)[codes], weight)
        errors[j] = fitted * len(codes) / max(1, len(codes) - len(np.unique(codes)))  # many levels fit by luck
    return [int(j) for j in np.argsort(errors, kind="stable")[:LOOKED_AT] if np.isfinite(errors[j])]


def _prior(outcome: Outcome, fit: Dataset) -> np.ndarray:
    """The mean answer (width,) of all rows, without an indicator for each row and class."""
    assert fit.answers is not None
    y = outcome.targets(fit.answers)
    if outcome.regression:
        return np.atleast_1d(np.average(y, weights=fit.weight))
    mass = np.bincount(y.astype(np.int64), weights=fit.weight, minlength=outcome.width)
    return np.asarray(mass / mass.sum())


def _targets(outcome: Outcome, answers: np.ndarray) -> np.ndarray:
    """(n, width): numbers or indicators."""
    y = outcome.targets(answers)
    return y[:, None] if outcome.regression else (y[:, None] == np.arange(outcome.width)).astype(np.float64)


def _edges(matrix: Matrix, j: int, bins: int) -> np.ndarray:
    """Inner edges of the bins; a category gets one bin for each code."""
    if j in matrix.levels:
        return np.arange(1, matrix.levels[j]) - 0.5
    values = matrix.dense[:, j]
    known = values[np.isfinite(values)]
    return np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.zeros(0)


def _codes(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each value; "no value" has the last one."""
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))


def _means(codes: np.ndarray, targets: np.ndarray, weight: np.ndarray, prior: np.ndarray, size: int) -> np.ndarray:
    mass = np.bincount(codes, weights=weight, minlength=size)
    sums = np.column_stack([np.bincount(codes, weights=weight * t, minlength=size) for t in targets.T])
    return np.asarray((sums + SMOOTHING * prior) / (mass[:, None] + SMOOTHING))


def _cross_means(codes: np.ndarray, targets: np.ndarray, weight: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Each row's bin mean from the rows of other folds."""
    size = int(codes.max(initial=0)) + 1
    out = np.empty(targets.shape)
    for k in np.unique(folds):
        left = folds != k
        prior = np.average(targets[left], axis=0, weights=weight[left]) if weight[left].sum() > 0 else targets.mean(axis=0)
        out[~left] = _means(codes[left], targets[left], weight[left], prior, size)[codes[~left]]
    return out


def _error(targets: np.ndarray, guess: np.ndarray, weight: np.ndarray) -> float:
    """Mean squared error; for indicators, the Brier score."""
    return float(np.average(((targets - guess) ** 2).sum(axis=1), weights=weight))


class FittedBaseline:
    """A mean for each bin of one column, or one for all."""

    steps: int | None = None
    curve: np.ndarray | None = None

    def __init__(self, outcome: Outcome, prior: np.ndarray, column: int, edges: np.ndarray, means: np.ndarray) -> None:
        self.outcome, self.prior, self.column, self.edges, self.means = outcome, prior, column, edges, means

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        if self.column < 0:
            return self.outcome.answers(np.repeat(self.prior[None], len(data), axis=0))
        return self.outcome.answers(self.means[_codes(encoded(data).dense[:, self.column], self.edges)])

    def feature(self, data: Dataset) -> str:
        """The name of the column's feature; empty for the prior."""
        return "" if self.column < 0 else encoded(data).names[self.column]

    def contributions(self, data: Dataset) -> np.ndarray | None:
        """None: there is nothing to attribute that the rule itself does not say."""
        return None

    def save(self) -> dict[str, bytes]:
        return pack({"outcome": self.outcome.state(), "column": self.column}, {"prior": self.prior, "edges": self.edges, "means": self.means})


@hook
def emlyn_learners() -> list[Any]:
    return [Baseline()]
