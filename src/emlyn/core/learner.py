"""What a learner is. Every built-in one, and any plug-in, satisfies these protocols; `emlyn.testing` holds their contract tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem


def never() -> bool:
    return False


@dataclass(frozen=True)
class Effort:
    """What one fit may spend."""

    seconds: float
    """Stop here and keep what was learned so far."""
    threads: int
    seed: int
    steps: int | None = None
    """Exactly so many boosting rounds or epochs (a replay or a refit); None = until the watch rows say stop."""
    cancelled: Callable[[], bool] = never


Joined = Callable[[Dataset], np.ndarray]
"""What each of some models answers to a dataset of one unit: (models, classes) probabilities or (models, 1) numbers, float64."""


class Fitted(Protocol):
    """A learned model of one learner. Holds only what prediction needs.

    A class may also offer a static method `together(models)`: models of several folds as one `Joined`, their answers within rounding, where
    that is quicker than to ask each; None where it is not.
    """

    steps: int | None
    """Rounds or epochs kept; None for learners without steps."""
    curve: np.ndarray | None
    """Loss on the watch rows after each step (proper score of the task), or None."""

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        """Answers for the dataset's units: (units, classes) probabilities or (units, 1) numbers, float64. Any input row gets an answer.

        Models of one ensemble may be asked at the same time, each by one thread.
        """

    def save(self) -> dict[str, bytes]:
        """Named parts, JSON, npz or the library's own text or binary format. Nothing that can run code."""


class Learner(Protocol):
    """Stateless: settings travel in the recipe, what was learned in the fitted model.

    A learner may also say `bytes_per_cell`, a float: what a fit takes per cell of the encoded table. Without, 16 are expected; what would not fit
    into the memory that is left is not begun. And `libraries`, modules that a fit needs and that are slow to load: they are loaded before the
    first fit is timed.
    """

    name: str
    tasks: tuple[str, ...]
    packages: tuple[str, ...] = ()
    """Distributions, beyond numpy and scipy, without which its fitted models cannot predict."""

    def missing(self) -> str:
        """Empty when usable on this machine, otherwise the reason (a library or a system file that is not there)."""

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        """Its candidates for this problem, best first, each with a why."""

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        """Learn from `fit`. `watch` (rows with answers outside `fit`) only decides when to stop; without it and without `effort.steps`
        a sensible fixed number of steps is used."""

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        """The reverse of `save`. Raises ModelError for parts that do not hold together; never runs code from them."""
