"""What a smaller gap between groups would cost: one point per way, from fits of one recipe on part of the rows, judged on the rest.

Reweighing (Kamiran and Calders 2012) makes group and answer independent in the training weights and needs no group at use. A threshold
per group (Hardt et al. 2016) closes the gap most directly, but needs the group at use, which some laws forbid. With the extra `trust` a
constraint in training comes beside them (Agarwal et al. 2018, the deterministic grid of section 3.2, by fairlearn): equal true positive rates.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.core.dataset import Dataset
from emlyn.core.features.prep import encoded
from emlyn.core.judging.intervals import difference_of_proportions, proportion
from emlyn.core.judging.metrics import metric
from emlyn.core.learner import Effort
from emlyn.core.searching.trials import ready
from emlyn.core.splits import holdout
from emlyn.records.problem import Problem

HELD = 0.4
FEWEST = 20
GRID = 11
"""Strengths of the constraint that are tried."""


def pareto_points(model: Any, data: Dataset, problem: Problem, labels: np.ndarray, seconds: float, seed: int = 0) -> list[dict[str, Any]]:
    """Points of the section `fairness` (`stages.evaluate`): the metric and the gap in true positive rates, way by way.

    `labels` (n,) is the group of each unit of `data`. Empty for other questions than two classes, or with fewer than two groups that
    hold twenty positives.
    """
    if problem.task != "binary" or len(data) < 10 * FEWEST:
        return []
    assert data.answers is not None
    fold = holdout(ready(data, seed), problem.split, HELD, seed, stratify=True)
    inside = np.setdiff1d(np.arange(len(data)), fold.positions) if len(fold.fit) + len(fold.ask) == len(data) else None
    if inside is None:
        return []
    member = max(model.members, key=lambda m: m.weight)
    learner = plugins.find("learners", member.recipe.learner)
    effort = Effort(max(1.0, seconds / 3), 1, seed, member.fitted[0].steps)
    own, held = labels[inside].astype(str), labels[fold.positions].astype(str)
    fit = data.take(inside)
    plain = learner.fit(member.recipe, fit, None, effort).predict(fold.ask)
    assert fit.answers is not None
    weights = reweighing(fit.answers, own) * (1.0 if fit.weight is None else fit.weight)
    even = learner.fit(member.recipe, replace(fit, weight=weights), None, effort).predict(fold.ask)
    threshold = 0.5 if model.threshold is None else float(model.threshold)
    flagged = plain[:, 1] >= threshold
    by_group = per_group_decisions(plain[:, 1], fold.truth == 1, held, float(flagged[fold.truth == 1].mean()))
    points = [
        _point("as it is", plain, flagged, fold.truth, held, problem),
        _point("reweighing", even, even[:, 1] >= threshold, fold.truth, held, problem),
        _point("a threshold per group (where lawful)", plain, by_group, fold.truth, held, problem),
    ]
    if importlib.util.find_spec("fairlearn") is not None and importlib.util.find_spec("lightgbm") is not None:
        bound = constrained(encoded(fit).dense, fit.answers, own, encoded(fold.ask).dense, seed)
        points.append(_point("trained under a constraint", bound, bound[:, 1] >= threshold, fold.truth, held, problem))
    return [p for p in points if p["gap"] is not None]


def constrained(x: np.ndarray, truth: np.ndarray, labels: np.ndarray, asked: np.ndarray, seed: int = 0) -> np.ndarray:
    """Probabilities (m, 2) for rows `asked` (m, p) of small boosted trees whose errors on the fit rows x (n, p) are weighed so that groups have
    equal true positive rates: of 11 strengths the one with the best mean of error and violation on the fit rows."""
    from fairlearn.reductions import GridSearch, TruePositiveRateParity
    from lightgbm import LGBMClassifier

    trees = LGBMClassifier(n_estimators=50, num_leaves=15, n_jobs=1, verbosity=-1, random_state=seed % (1 << 31))
    search = GridSearch(trees, TruePositiveRateParity(), grid_size=GRID).fit(x, truth.astype(np.int64), sensitive_features=labels)
    return np.asarray(search.predictors_[search.best_idx_].predict_proba(asked))


def reweighing(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weight (n,) of each row under which group and answer are independent: P(group) P(answer) / P(group, answer)."""
    code, group = np.unique(labels, return_inverse=True)
    answer = truth.astype(np.int64)
    table = np.zeros((len(code), int(answer.max()) + 1))
    np.add.at(table, (group, answer), 1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return np.asarray((expected / np.maximum(table, 1))[group, answer])


def per_group_decisions(p: np.ndarray, hit: np.ndarray, labels: np.ndarray, rate: float) -> np.ndarray:
    """Decisions (n,) bool with the threshold in each group that finds `rate` of its positives."""
    out = np.zeros(len(p), dtype=bool)
    for g in np.unique(labels):
        rows = labels == g
        found = np.sort(p[rows & hit])[::-1]
        bar = found[min(len(found), max(1, round(rate * len(found)))) - 1] if len(found) else 0.5
        out[rows] = p[rows] >= bar
    return out


def _point(name: str, prediction: np.ndarray, flagged: np.ndarray, truth: np.ndarray, labels: np.ndarray, problem: Problem) -> dict[str, Any]:
    """The metric, accuracy of the decisions, and the largest difference in true positive rates with Newcombe's interval."""
    hit, m = truth == 1, metric(problem.metric)
    groups = [rows for rows in (hit & (labels == g) for g in np.unique(labels)) if rows.sum() >= FEWEST]
    shares = [proportion(int(flagged[rows].sum()), int(rows.sum())) for rows in groups]
    told: dict[str, Any] = {"name": name, "value": m.score(truth, prediction, None), "accuracy": float((flagged == hit).mean())}
    if len(shares) < 2:
        return {**told, "gap": None, "low": None, "high": None}
    top, bottom = (f(shares, key=lambda s: s.value or 0.0) for f in (max, min))
    d = difference_of_proportions(top, bottom)
    return {**told, "gap": d.value, "low": d.low, "high": d.high}
