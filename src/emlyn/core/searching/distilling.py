"""Distillation: one quick recipe learns the answers that a whole ensemble gave out of fold.

Source: Bucila, Caruana and Niculescu-Mizil, Model compression, KDD 2006.

The pupil is judged like every other recipe: for each fold it learns what the fold's own models say about the rows they learned from, and its
answers to the fold's asked rows are compared with the truth. The out-of-fold answers that the final pupil learns would be no honest judge:
those to other folds come from models that saw this fold's truth (on telco_churn such a pupil seemed .005 of AUC better than its teacher).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from emlyn.core.dataset import Dataset, Fold
from emlyn.core.learner import Effort, Fitted, Learner
from emlyn.core.searching.trials import Candidate, FoldResult, Trials, asked, checked

LEAST_SHARE = 0.01
"""Classes that the teacher gives less to a row are not taught for it."""


SLOWER = 3.0
"""Times what the recipe took to learn from the truth: less certain answers are also harder to fit."""


def taught(data: Dataset, answers: np.ndarray) -> Dataset:
    """The units with a teacher's answers (n, k) in place of their own: numbers, or every unit once per likely class, weighted by its probability."""
    if not data.classes:
        return replace(data, answers=answers[:, 0])
    unit, label = np.nonzero(answers >= LEAST_SHARE)
    made = data.take(unit)
    share = answers[unit, label]
    return replace(made, answers=label.astype(np.int64), weight=share if made.weight is None else made.weight * share)


def pupil(candidate: Candidate, learner: Learner, teacher: Callable[[Fold], np.ndarray], trials: Trials, effort: Effort) -> Candidate:
    """The candidate's recipe, taught fold by fold, as a candidate of its own. `teacher` says what a fold's models answer to its fit rows (n, k).

    Each fold may take its share of the effort's seconds; two shares are left for learning from all rows.
    """
    effort = replace(effort, seconds=effort.seconds / (len(trials.folds) + 2))
    name = f"distilled-{candidate.recipe.name}"
    recipe = replace(candidate.recipe, name=name, why="one quick model that learned the whole ensemble's answers")
    made = Candidate(recipe, status="distilled", note="learned from the answers of the ensemble")
    for fold in trials.folds:
        began = time.monotonic()
        fitted = learn_taught(learner, candidate, fold.fit, teacher(fold), effort)
        middle = time.monotonic()
        prediction = checked(fitted.predict(asked(fold)), len(fold.ask))
        made.results[fold.number] = FoldResult(recipe, fold.number, fitted, prediction, middle - began, time.monotonic() - middle)
    return made


def learn_taught(learner: Learner, candidate: Candidate, data: Dataset, answers: np.ndarray, effort: Effort) -> Fitted:
    """The candidate's recipe, learned from a teacher's answers for as many steps as it took from the truth."""
    return learner.fit(candidate.recipe, taught(data, answers), None, replace(effort, steps=candidate.steps()))


def affordable(candidate: Candidate, folds: int, seconds: float) -> bool:
    """Can the recipe be taught on every fold and on all rows within the seconds? A unit may come once for each class it could be of."""
    dearest = max(result.fit_s for result in candidate.results.values())
    return SLOWER * dearest * (folds + 2) <= seconds

