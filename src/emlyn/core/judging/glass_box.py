"""What a model would cost that can be read as a whole: a sum of one curve per column, learned beside the model's heaviest recipe.

With the extra `trust` it is an explainable boosting machine (Lou, Caruana and Gehrke 2012, generalized additive models) without
interactions, otherwise linear with bent lines. Both sides learn from the same folds of the rows at hand and answer the same rows, so the
difference is paired; the shipped model, which saw more rows, is not part of it.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.core.dataset import Dataset
from emlyn.core.judging.intervals import paired_difference
from emlyn.core.judging.metrics import metric
from emlyn.core.learner import Effort
from emlyn.core.searching.trials import ready
from emlyn.core.table import Column, Table
from emlyn.core.wording import number, signed
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

FOLDS = 3
MOST_ROWS, FEWEST_ROWS = 3_000, 100
BAGS = 4
EBM = "explainable boosting machine"


def glass_box_section(model: Any, data: Dataset, problem: Problem, seconds: float, seed: int = 0) -> dict[str, Any] | None:
    """The section `glass_box` (`stages.evaluate`); None with too few rows, or where time does not suffice for the folds."""
    if len(data) < FEWEST_ROWS or "rows" not in data.tables:
        return None
    member = max(model.members, key=lambda m: m.weight)
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:MOST_ROWS])
    data, until = ready(data.take(rows), seed), time.monotonic() + seconds
    additive = importlib.util.find_spec("interpret") is not None
    plain = _linear(problem, data)
    if not additive and member.recipe.learner == plain.learner:
        return {"kind": plain.name, "price": None, "sentence": f"The model's heaviest member, {member.recipe.name}, is itself a glass box."}
    theirs, ours, asked, fold_of = [], [], [], []
    for fold in plugins.find("tasks", problem.task).folds(data, problem, FOLDS, seed):
        began, left = time.monotonic(), max(1.0, (until - time.monotonic()) / (2 * FOLDS))
        effort = Effort(left, 1, seed, member.fitted[0].steps)
        learner = plugins.find("learners", member.recipe.learner)
        ours.append(learner.fit(member.recipe, fold.fit, None, effort).predict(fold.ask))
        theirs.append(_ebm(fold.fit, fold.ask, problem, seed) if additive else _fitted(plain, fold.fit, fold.ask, Effort(left, 1, seed)))
        asked.append(fold.positions)
        fold_of.append(np.full(len(fold.positions), fold.number))
        if time.monotonic() + (time.monotonic() - began) > until and len(asked) < FOLDS:
            return None
    at = np.concatenate(asked)
    assert data.answers is not None
    truth = data.answers[at]
    weight, group = (None if a is None else a[at] for a in (data.weight, data.group))
    m, glass, other = metric(problem.metric), np.concatenate(theirs), np.concatenate(ours)
    price, p = paired_difference(m, truth, glass, other, weight, group, np.concatenate(fold_of))
    kind = EBM if additive else plain.name
    told = {"value": price.value, "low": price.low, "high": price.high, "n": price.n, "method": price.method}
    values = {"value": m.score(truth, glass, weight), "other": m.score(truth, other, weight)}
    span = "" if price.low is None or price.high is None else f" ({signed(price.low)} to {signed(price.high)})"
    change = "unknown" if price.value is None else signed(price.value)
    text = f"A model that can be read as a whole ({kind}) reaches {m.label or m.name} {number(values['value'])} where {member.recipe.name} reaches"
    text += f" {number(values['other'])}: choosing it changes {m.label or m.name} by {change}{span}."
    left_out = f"both learned anew on {len(at):,} of these rows, in {FOLDS} folds, without the ensemble"
    left_out += "; the glass box without columns of free text" if additive and any(c.kind == "text" for c in data.rows.values()) else ""
    chance = float(p) if np.isfinite(p) else None
    whole = {"kind": kind, "against": member.recipe.name, "metric": m.name, **values, "price": told, "p": chance}
    return {**whole, "sentence": text, "left_out": left_out}


def _linear(problem: Problem, data: Dataset) -> Recipe:
    """The most flexible of the linear recipes, straight lines where there is no other."""
    recipes: list[Recipe] = list(plugins.find("learners", "linear").recipes(problem, data))
    return recipes[min(1, len(recipes) - 1)]


def _fitted(recipe: Recipe, fit: Dataset, ask: Dataset, effort: Effort) -> np.ndarray:
    return np.asarray(plugins.find("learners", recipe.learner).fit(recipe, fit, None, effort).predict(ask))


def _ebm(fit: Dataset, ask: Dataset, problem: Problem, seed: int) -> np.ndarray:
    """(n, width) answers of an explainable boosting machine without interactions, one thread."""
    from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor

    assert fit.answers is not None
    names = [n for n, c in fit.rows.items() if c.kind != "text"]
    kinds = ["nominal" if fit.rows[n].coded else "continuous" for n in names]
    make = ExplainableBoostingClassifier if problem.classes else ExplainableBoostingRegressor
    machine = make(feature_types=kinds, interactions=0, outer_bags=BAGS, n_jobs=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that its own plots do not show empty cells
        machine.fit(_cells(fit.rows.take(fit.units), names), fit.answers, sample_weight=fit.weight)
        asked = _cells(ask.rows.take(ask.units), names)
        if not problem.classes:
            return np.asarray(machine.predict(asked))[:, None]
        out = np.full((len(ask), len(problem.classes)), 1e-6)
        out[:, machine.classes_.astype(np.int64)] = machine.predict_proba(asked)
    return np.asarray(out / out.sum(axis=1, keepdims=True))


def _cells(table: Table, names: list[str]) -> np.ndarray:
    """(n, columns) object cells; empty categories are a level of their own, empty numbers NaN."""
    return np.column_stack([_column(table[n]) for n in names]) if names else np.zeros((table.rows, 0), dtype=object)


def _column(column: Column) -> np.ndarray:
    if column.coded:
        return np.array(["(empty)" if v is None else v for v in column.strings()], dtype=object)
    return column.values.astype(object)
