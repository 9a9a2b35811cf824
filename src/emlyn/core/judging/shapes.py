"""Which columns move together, and how the prediction moves with one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts load when first used

from emlyn.core.explainer import plain
from emlyn.core.judging.ranks import average_ranks
from emlyn.core.table import Column, Table, number_text

TOGETHER = 0.8
"""Columns whose |Spearman| reaches this are permuted as one."""
MOST_LEVELS = 12
STEPS = 20

ICE_ROWS = 30
"""Rows whose own curves show how far a mean effect speaks for each of them."""
ICE_BAND = (0.1, 0.9)

Predict = Callable[[Table], np.ndarray]


@dataclass(frozen=True, eq=False)
class Effect:
    """How predictions (k wide) move with one column, over m of its values."""

    values: list[Any]
    curve: np.ndarray
    """(m, k) mean effect, centred on zero."""
    counts: np.ndarray
    """(m,) rows at each value."""
    band: np.ndarray
    """(2, m, k): 10 and 90 % of the rows' own centred curves (individual conditional expectation; Goldstein et al. 2015)."""


def moving_together(table: Table, score: np.ndarray) -> list[list[str]]:
    """Columns in groups within which every pair has |Spearman| of at least .8; categories are ordered by the mean `score` (n,) of a level."""
    names = list(table)
    if len(names) < 2:
        return [[n] for n in names]
    ranks = np.column_stack([average_ranks(_ordered(table[n], score)) for n in names])
    ranks -= ranks.mean(axis=0)
    size = np.sqrt((ranks**2).sum(axis=0))
    rho = (ranks / np.where(size > 0, size, 1)).T @ (ranks / np.where(size > 0, size, 1))
    distance = np.clip(1 - np.abs(rho), 0, 1)
    np.fill_diagonal(distance, 0)
    group = scipy.cluster.hierarchy.fcluster(
        scipy.cluster.hierarchy.linkage(scipy.spatial.distance.squareform(distance, checks=False), "complete"), 1 - TOGETHER, "distance"
    )
    return [[names[i] for i in np.flatnonzero(group == g)] for g in dict.fromkeys(group.tolist())]


def most_related(table: Table, score: np.ndarray, most: int, seed: int = 0) -> list[str]:
    """The `most` columns that go with `score` (n,) most, in table order; all where they are no more."""
    names = list(table)
    if len(names) <= most:
        return names
    return [names[i] for i in np.sort(np.argsort(-relatedness(table, score, seed), kind="stable")[:most])]


def relatedness(table: Table, score: np.ndarray, seed: int = 0) -> np.ndarray:
    """How much each column goes with `score` (n,), one number per column, judged by ranks on at most 300 rows."""
    names = list(table)
    rows = np.sort(np.random.default_rng(seed).permutation(table.rows)[:300])
    part, goal = table.take(rows), average_ranks(score[rows]) - (len(rows) + 1) / 2
    strength = np.empty(len(names))
    for i, name in enumerate(names):
        x = average_ranks(_ordered(part[name], score[rows])) - (len(rows) + 1) / 2
        size = float(x @ x)
        strength[i] = abs(float(x @ goal)) / np.sqrt(size) if size > 0 else 0.0
    return strength


def effect(table: Table, name: str, predict: Predict) -> Effect:
    """The effect of a column on the predictions (n, k).

    Numbers and dates: accumulated local effects (Apley and Zhu 2020), which never asks about cells far from a row's own.
    Categories and booleans: mean prediction with every row set to the level, over the most frequent levels.
    """
    column = table[name]
    if column.coded or column.kind == "boolean" or len(np.unique(column.values[~column.missing])) <= 2:
        return _by_level(table, name, predict)
    return _accumulated(table, name, predict)


def describe(values: list[Any], curve: np.ndarray, counts: np.ndarray, numeric: bool, what: str) -> str:
    """The direction of a curve (m,) in words; `what` is what goes up: `the probability of yes`."""
    if len(curve) < 2 or np.ptp(curve) == 0:
        return f"hardly moves {what} on its own"
    top, bottom = int(np.argmax(curve)), int(np.argmin(curve))
    if not numeric:
        return f"{what} is highest for {values[top]}, lowest for {values[bottom]}"
    steps = np.diff(curve)
    net = float((curve[-1] - curve[0]) / max(np.abs(steps).sum(), 1e-300))
    if abs(net) > 0.7:
        return f"higher values {'raise' if net > 0 else 'lower'} {what}"
    if 0 < top < len(curve) - 1 and curve[top] - max(curve[0], curve[-1]) > 0.3 * np.ptp(curve):
        return f"{what} is highest around {_short(values[top])}"
    if 0 < bottom < len(curve) - 1 and min(curve[0], curve[-1]) - curve[bottom] > 0.3 * np.ptp(curve):
        return f"{what} is lowest around {_short(values[bottom])}"
    return f"{what} goes up and down with it, in no single direction"


def with_cells(table: Table, name: str, values: np.ndarray) -> Table:
    """The table with one column's physical values (codes or numbers) replaced."""
    column = table[name]
    return table.with_columns({name: Column(column.kind, values.astype(column.values.dtype), column.levels)})


def _ordered(column: Column, score: np.ndarray) -> np.ndarray:
    if column.levels is None:
        known = column.values[~column.missing]
        middle = float(np.median(known)) if len(known) else 0.0
        return np.where(column.missing, middle, column.values)
    codes = column.values + 1
    total, count = np.bincount(codes, weights=score), np.bincount(codes)
    return np.asarray((total / np.maximum(count, 1))[codes])


def _accumulated(table: Table, name: str, predict: Predict) -> Effect:
    column = table[name]
    rows = np.flatnonzero(~column.missing)
    x = column.values[rows]
    edges = np.unique(np.quantile(x, np.linspace(0, 1, STEPS + 1), method="inverted_cdf"))
    bin_ = np.clip(np.searchsorted(edges, x, side="left") - 1, 0, len(edges) - 2)
    part = table.take(rows)
    both = table.take(np.r_[rows, rows])
    answers = predict(with_cells(both, name, np.r_[edges[bin_], edges[bin_ + 1]]))
    local = answers[part.rows :] - answers[: part.rows]
    counts = np.bincount(bin_, minlength=len(edges) - 1).astype(float)
    steps = np.column_stack([np.bincount(bin_, weights=local[:, k], minlength=len(edges) - 1) for k in range(local.shape[1])])
    curve = np.vstack([np.zeros(local.shape[1]), np.cumsum(steps / np.maximum(counts, 1)[:, None], axis=0)])
    middle = (curve[1:] + curve[:-1]) / 2
    curve = curve - (counts[:, None] * middle).sum(axis=0) / counts.sum()
    at = np.r_[counts[0], counts]
    few = table.take(rows[np.unique(np.linspace(0, len(rows) - 1, ICE_ROWS).astype(int))])
    asked = with_cells(few.take(np.tile(np.arange(few.rows), len(edges))), name, np.repeat(edges, few.rows))
    own = predict(asked).reshape(len(edges), few.rows, -1)
    return Effect([plain(column, v) for v in edges.tolist()], curve, at, _band(own, at))


def _by_level(table: Table, name: str, predict: Predict) -> Effect:
    column = table[name]
    values, counts = np.unique(column.values[~column.missing], return_counts=True)
    kept = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
    if not column.coded:
        kept = np.sort(kept)  # numbers keep their order, or "higher" would mean "rarer"
    values, counts = values[kept], counts[kept].astype(float)
    many = table.take(np.tile(np.arange(table.rows), len(values)))
    answers = predict(with_cells(many, name, np.repeat(values, table.rows)))
    own = answers.reshape(len(values), table.rows, -1)
    means = own.mean(axis=1)
    labels = [str(column.levels[int(v)]) if column.levels is not None else plain(column, float(v)) for v in values]
    return Effect(labels, means - (counts[:, None] * means).sum(axis=0) / counts.sum(), counts, _band(own, counts))


def _band(own: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(2, m, k) from the curves (m, rows, k) of single rows, each centred on zero over the values as they occur."""
    centred = own - np.average(own, axis=0, weights=counts)
    return np.asarray(np.quantile(centred, ICE_BAND, axis=1))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else number_text(float(value)) if isinstance(value, int) else str(value)
