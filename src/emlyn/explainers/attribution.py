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

MOST_MODELS = 5
"""Fitted models that are asked: the heaviest members first. Their agreement on a sign is what makes a reason steady."""
AGREE = 0.8
CHUNK = 20_000


class Native:
    """The weighted mean of what the members' own fitted models attribute."""

    name = "native"

    def explains(self, model: Any) -> bool:
        return any(True for _ in _able(model))

    def pushes(self, model: Any, data: Dataset) -> Pushes:
        ready = replace(data, shared={} if model.encoder is None else {"encoder": model.encoder})
        columns = tuple(model.encoder.columns) if model.encoder is not None else tuple(data.rows)
        chosen = model.predict_answers(data).argmax(axis=1) if model.problem.classes else np.zeros(len(data), dtype=np.int64)
        total, agree, weights = np.zeros((len(data), len(columns))), np.zeros((len(data), len(columns))), 0.0
        for fitted, weight in _able(model):
            raw = _towards(fitted.contributions(ready), chosen, model.width) * _scale(fitted, model)
            total += weight * raw
            agree += weight * np.sign(raw)
            weights += weight
        steady = np.abs(agree) / max(weights, 1e-300) >= 2 * AGREE - 1
        return Pushes(columns, total / max(weights, 1e-300), steady, *_words(model, chosen, "the average training row"))


class Occlusion:
    """How the score changes when a cell is emptied: one column at a time, exact, for any model that reads missing cells."""

    name = "occlusion"

    def explains(self, model: Any) -> bool:
        return True

    def pushes(self, model: Any, data: Dataset) -> Pushes:
        table = data.rows.take(data.units)
        columns = tuple(table)
        base = model.predict_answers(rows_dataset(table))
        chosen = base.argmax(axis=1) if model.problem.classes else np.zeros(table.rows, dtype=np.int64)
        values = np.zeros((table.rows, len(columns)))
        at = max(1, CHUNK // max(1, table.rows))
        for start in range(0, len(columns), at):
            names = columns[start : start + at]
            emptied = model.predict_answers(rows_dataset(_emptied(table, names)))
            for i, _ in enumerate(names):
                part = emptied[i * table.rows : (i + 1) * table.rows]
                values[:, start + i] = _score(base, chosen) - _score(part, chosen)
        return Pushes(columns, values, np.ones_like(values, dtype=bool), *_words(model, chosen, "the same row with this cell empty"))


def _able(model: Any) -> Iterator[tuple[Any, float]]:
    """(fitted, weight) of the members that attribute, heaviest first, at most five models: one of each member, then the rest of their bags."""
    members = sorted((m for m in model.members if m.weight > 0 and hasattr(m.fitted[0], "contributions")), key=lambda m: -m.weight)[:MOST_MODELS]
    rounds = max((len(m.fitted) for m in members), default=0)
    picked = [(m, k) for k in range(rounds) for m in members if k < len(m.fitted)][:MOST_MODELS]
    for member in members:
        asked = [k for m, k in picked if m is member]
        for k in asked:
            yield member.fitted[k], member.weight / len(asked)


def _towards(raw: np.ndarray, chosen: np.ndarray, width: int) -> np.ndarray:
    """(n, columns) towards the chosen class from (n, columns + 1, k): log-odds of two classes, score against the mean of all for more."""
    cells = raw[:, :-1, :]
    if cells.shape[2] == 1:
        sign = np.where(chosen == 0, -1.0, 1.0)[:, None] if width == 2 else 1.0
        return np.asarray(cells[:, :, 0] * sign)
    picked = np.take_along_axis(cells, chosen[:, None, None], axis=2)[:, :, 0]
    rest = (cells.sum(axis=2) - picked) / (cells.shape[2] - 1)
    return np.asarray(picked - rest)


def _scale(fitted: Any, model: Any) -> float:
    """From the member's raw scale to log-odds after calibration, or to the target's unit."""
    if model.problem.classes:
        return float(model.calibration.slope)
    outcome = getattr(fitted, "outcome", None)
    return 1.0 if outcome is None else float(outcome.scale) * (float(np.exp(outcome.centre)) if outcome.log else 1.0)


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
