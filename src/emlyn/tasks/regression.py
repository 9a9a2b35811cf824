"""A number: answers are the target's values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emlyn.core.dataset import Dataset, Fold
from emlyn.core.splits import HELD_MOST, holdout, make_folds
from emlyn.core.table import Column
from emlyn.plugins import hook
from emlyn.records.problem import Problem


@dataclass(frozen=True)
class Regression:
    """A question whose answer is a number."""

    name: str = "regression"
    default_metric: str = "rmse"

    def fits(self, target: Column) -> tuple[float, str]:
        if target.coded:
            return 0.0, "the target holds labels, not numbers"
        cells = target.values[~target.missing]
        distinct = len(np.unique(cells))
        if distinct <= 2:
            return 0.0, "the target has at most two different values"
        if (cells == np.round(cells)).all() and distinct <= 12:
            return 0.5, f"the target holds only {distinct} different whole numbers"
        return 0.95, "the target holds numbers"

    def encode(self, target: Column, problem: Problem) -> np.ndarray:
        """Numbers (n,) float64; NaN for no value. Infinite values count as none."""
        if target.coded:
            return np.full(len(target), np.nan)
        return np.where(np.isfinite(target.values), target.values, np.nan)

    def width(self, problem: Problem) -> int:
        return 1

    def prior(self, data: Dataset, problem: Problem) -> np.ndarray:
        assert data.answers is not None
        return np.array([np.average(data.answers, weights=data.weight)])

    def folds(self, data: Dataset, problem: Problem, count: int, seed: int) -> list[Fold]:
        if count == 1:
            return [holdout(data, problem.split, min(0.2, HELD_MOST / len(data)), seed)]
        return make_folds(data, problem.split, count, seed)


@hook
def emlyn_tasks() -> list[Regression]:
    return [Regression()]
