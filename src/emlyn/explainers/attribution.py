"""Local reasons in source columns: the members' own attributions where they have them, emptied cells where they do not.

Attributions of trees are path-dependent TreeSHAP (Lundberg et al. 2020), those of linear members coefficient times standardised value;
parts of one source column (one-hot, embeddings, made features) are added up by the member.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.explainer import Explainer, Pushes
from emlyn.core.table import Column, Table
from emlyn.plugins import hook
from emlyn.records.problem import Problem

MOST_MODELS = 5
"""Fitted models that are asked: the heaviest members first. Their agreement on a sign is what makes a reason steady."""
MOST_ROUNDS = 800
"""Boosting rounds they may have together, so that one row's reasons stay within milliseconds; the first one is always asked."""
SLOW = ("catboost",)
"""Learners whose attribution takes milliseconds whatever the rows: asked only where no other member attributes."""
AGREE = 0.8
CHUNK = 20_000


class Native:
    """The weighted mean of what the members' own fitted models attribute."""

    name = "native"

    def pushes(self, model: Any, data: Dataset) -> Pushes | None:
        ready = replace(data, shared={} if model.encoder is None else {"encoder": model.encoder})
        columns = tuple(model.encoder.columns) if model.encoder is not None else tuple(data.rows)
        parts = [(weight, _spread(cells, model.width) * _scale(fitted, model)) for fitted, weight, cells in _attributed(model, ready)]
        if not parts:
            return None
        weights = sum(w for w, _ in parts)
        chosen = _chosen(np.add.reduce([w * cells.sum(axis=1) for w, cells in parts]), model.problem)
        pushes = [(w, np.take_along_axis(cells[:, :-1], chosen[:, None, None], axis=2)[:, :, 0]) for w, cells in parts]
        total, agree = (np.add.reduce([w * f(p) for w, p in pushes]) / weights for f in (np.asarray, np.sign))
        return Pushes(columns, total, np.abs(agree) >= 2 * AGREE - 1, *_words(model, chosen, "the average training row"))


class Occlusion:
    """How the score changes when a cell is emptied: one column at a time, exact, for any model that reads missing cells."""

    name = "occlusion"

    def pushes(self, model: Any, data: Dataset) -> Pushes:
        table = data.rows.take(data.units)
        columns = tuple(table)
        base = model.predict_answers(rows_dataset(table))
        chosen = _chosen(base, model.problem)
        values = np.zeros((table.rows, len(columns)))
        at = max(1, CHUNK // max(1, table.rows))
        for start in range(0, len(columns), at):
            names = columns[start : start + at]
            emptied = model.predict_answers(rows_dataset(_emptied(table, names)))
            for i, _ in enumerate(names):
                part = emptied[i * table.rows : (i + 1) * table.rows]
                values[:, start + i] = _score(base, chosen) - _score(part, chosen)
        return Pushes(columns, values, np.ones_like(values, dtype=bool), *_words(model, chosen, "the same row with this cell empty"))


def _attributed(model: Any, data: Dataset) -> Iterator[tuple[Any, float, np.ndarray]]:
    """(fitted, weight, contributions) of at most five models: one of each member that attributes, heaviest first, then more of their bags.

    Which ones follows from the model alone, never from the clock, so a row has the same reasons every time.
    """
    members = sorted((m for m in model.members if m.weight > 0), key=lambda m: (m.recipe.learner in SLOW, -m.weight))
    mute, given, rounds = set[int](), 0, 0
    for k in range(max((len(m.fitted) for m in members), default=0)):
        for i, member in enumerate(members):
            steps = getattr(member.fitted[min(k, len(member.fitted) - 1)], "steps", None) or 0
            too_slow = given > 0 and (member.recipe.learner in SLOW or rounds + steps > MOST_ROUNDS)
            if i in mute or k >= len(member.fitted) or given >= MOST_MODELS or too_slow:
                continue
            cells = member.fitted[k].contributions(data) if hasattr(member.fitted[k], "contributions") else None
            if cells is None:
                mute.add(i)
                continue
            given, rounds = given + 1, rounds + steps
            yield member.fitted[k], member.weight, cells


def _spread(cells: np.ndarray, width: int) -> np.ndarray:
    """(n, columns + 1, classes or 1) from raw contributions: log-odds both ways for two classes, each score less the mean of the others for more."""
    if cells.shape[2] == 1:
        return np.concatenate([-cells, cells], axis=2) if width == 2 else cells
    rest = (cells.sum(axis=2, keepdims=True) - cells) / (cells.shape[2] - 1)
    return np.asarray(cells - rest)


def _chosen(score: np.ndarray, problem: Problem) -> np.ndarray:
    """(n,) class that is explained: the positive one of two, the one with the highest score of more."""
    return np.full(len(score), 1) if len(problem.classes) == 2 else score.argmax(axis=1)


def _scale(fitted: Any, model: Any) -> float:
    """From the member's raw scale to log-odds after calibration, or to the target's unit."""
    slope, outcome = float(model.calibration.slope), getattr(fitted, "outcome", None)
    if model.problem.classes or outcome is None:
        return slope
    return slope * float(outcome.scale) * (float(np.exp(outcome.centre)) if outcome.log else 1.0)


def _score(answers: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Log-odds of the chosen class, or the number."""
    if answers.shape[1] == 1:
        return np.asarray(answers[:, 0])
    p = np.clip(answers[np.arange(len(chosen)), chosen], 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p / (1 - p)))


def _emptied(table: Table, names: tuple[str, ...]) -> Table:
    """The table once per name, one below the other, that column emptied in its copy."""
    rows = table.rows
    copies = table.take(np.tile(np.arange(rows), len(names)))
    changed = {}
    for i, name in enumerate(names):
        column = copies[name]
        values = column.values.copy()
        values[i * rows : (i + 1) * rows] = -1 if column.coded else np.nan
        changed[name] = Column(column.kind, values, column.levels)
    return copies.with_columns(changed)


def _words(model: Any, chosen: np.ndarray, reference: str) -> tuple[str, str, tuple[str, ...]]:
    classes = model.problem.classes
    return ("log-odds" if classes else model.problem.target), reference, tuple(classes[k] for k in chosen) if classes else ()


@hook
def emlyn_explainers() -> list[Explainer]:
    return [Native(), Occlusion()]
