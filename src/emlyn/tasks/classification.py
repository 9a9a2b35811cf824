"""Two classes, and several: answers are class codes in the order of `Problem.classes`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emlyn.core.dataset import Dataset, Fold
from emlyn.core.splits import HELD_MOST, holdout, make_folds
from emlyn.core.table import Column
from emlyn.plugins import hook
from emlyn.records.problem import Problem

MANY = 50
"""Distinct whole numbers from which a column is a quantity rather than a label."""


@dataclass(frozen=True)
class Classification:
    """A question whose answer is one label out of a known few."""

    name: str
    default_metric: str

    def fits(self, target: Column) -> tuple[float, str]:
        cells = target.values[~target.missing]
        distinct = len(np.unique(cells))
        if distinct < 2:
            return 0.0, "the target has fewer than two different values"
        if (distinct == 2) != (self.name == "binary"):
            return 0.0, f"the target has {distinct} different values"
        if self.name == "binary":
            return 1.0, "the target has exactly two values"
        if target.coded:
            return (
                (0.9, f"the target holds {distinct} labels")
                if distinct <= max(MANY, len(cells) / 5)
                else (0.1, "nearly every target label is different")
            )
        whole = bool((cells == np.round(cells)).all())
        if target.kind == "number" and whole and distinct <= 12:
            return 0.6, f"the target holds {distinct} different whole numbers, few enough to be labels"
        return 0.05, "the target holds numbers"

    def encode(self, target: Column, problem: Problem) -> np.ndarray:
        """Codes (n,) int64 in the order of `problem.classes`; -1 for no value or an unknown label."""
        code = {label: k for k, label in enumerate(problem.classes)}
        if target.levels is not None:
            by_level = np.array([code.get(str(level), -1) for level in target.levels] + [-1], dtype=np.int64)
            return np.asarray(by_level[target.values])
        return np.array([-1 if cell is None else code.get(cell, -1) for cell in target.strings()], dtype=np.int64)

    def width(self, problem: Problem) -> int:
        return len(problem.classes)

    def prior(self, data: Dataset, problem: Problem) -> np.ndarray:
        """Class shares with one row added to each class (Laplace), so that no class is ever impossible."""
        assert data.answers is not None
        counts = np.bincount(data.answers, weights=data.weight, minlength=len(problem.classes)) + 1.0
        return np.asarray(counts / counts.sum())

    def folds(self, data: Dataset, problem: Problem, count: int, seed: int) -> list[Fold]:
        if count == 1:
            return [holdout(data, problem.split, min(0.2, HELD_MOST / len(data)), seed, stratify=True)]
        return make_folds(data, problem.split, count, seed, stratify=True)


BINARY = Classification("binary", "roc_auc")
MULTICLASS = Classification("multiclass", "log_loss")


@hook
def emlyn_tasks() -> list[Classification]:
    return [BINARY, MULTICLASS]
