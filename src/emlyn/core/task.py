"""What a task kind is: how answers are read, folded, scored and named."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from emlyn.core.dataset import Dataset, Fold
from emlyn.core.table import Column
from emlyn.records.problem import Problem


class Task(Protocol):
    """A kind of question. Binary and multiclass classification and regression are built in; others come as plug-ins."""

    name: str
    """`binary`, `multiclass`, `regression`, …"""
    default_metric: str

    def fits(self, target: Column) -> tuple[float, str]:
        """How well this kind suits the target column (0 = impossible, 1 = certain), and why."""

    def encode(self, target: Column, problem: Problem) -> np.ndarray:
        """The target's cells as answers (n,): class codes or numbers; NaN / -1 where there is none."""

    def width(self, problem: Problem) -> int:
        """Columns of a prediction: the number of classes, or 1."""

    def prior(self, data: Dataset, problem: Problem) -> np.ndarray:
        """The answer (width,) of a model that knows only the target's distribution."""

    def folds(self, data: Dataset, problem: Problem, count: int, seed: int) -> list[Fold]:
        """Folds that follow the problem's split rule."""
