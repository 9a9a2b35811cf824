"""What would have to be different for another answer: changes that rows of the table support and that really flip the frozen model.

Each counterfactual is built from a row that exists and got the wanted answer (Keane and Smyth 2020: native counterfactuals): every
cell is taken over, then as many as possible are given back, each step judged by the final model. What is left are few changes, all
towards values that occur together with the rest. Where so few changes lead away from existing rows for every lender, only as many are given
back as keep near them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.explainer import cell
from emlyn.core.table import Column, Table

NEAREST = 10
ASKED = 200
"""Nearest existing rows with another decision that are asked whether they keep it with the immutable cells of the unit."""
MOST_ROWS = 5_000
"""Existing rows that are looked at; of more, as many are drawn."""


@dataclass(frozen=True)
class Change:
    """One cell that would have to be different."""

    column: str
    now: Any
    then: Any


@dataclass(frozen=True)
class Counterfactual:
    """Changes that turn the decision, and how far the changed row lies from rows that exist."""

    changes: tuple[Change, ...]
    wanted: str
    distance: float
    """Mean scaled difference to the nearest existing row with that answer; 0 = such a row exists."""
    feasible: bool
    """No farther from existing rows than 99 % of them are from each other."""
    source: int = -1
    """Position, in the population given, of the existing row that lent the cells."""


class Existing:
    """Rows that exist, what the frozen model decides for each, and how far such rows lie from each other (Gower 1971)."""

    def __init__(self, model: Any, population: Dataset, seed: int = 0) -> None:
        """Raises ValueError for a model of numbers: there is no decision to flip."""
        if not model.problem.classes:
            raise ValueError("counterfactuals are made for classes; a number has no decision to flip")
        self.model, n = model, len(population)
        self.place = np.arange(n) if n <= MOST_ROWS else np.sort(np.random.default_rng(seed).choice(n, MOST_ROWS, replace=False))
        self.table = population.rows.take(population.units[self.place])
        self.decided = self.decide(self.table)
        self.scale = {name: _range(c) for name, c in self.table.items()}
        here = np.linspace(0, self.table.rows - 1, min(200, self.table.rows)).astype(int)
        between = [np.partition(self.distances(self.table.take(np.array([i]))), 1)[1] for i in here] if self.table.rows > 1 else []
        self.usual = float(np.quantile(between, 0.99)) if between else 0.0

    def decide(self, table: Table) -> np.ndarray:
        """(n,) class codes at the model's operating point."""
        answers = self.model.predict_answers(rows_dataset(table))
        threshold = getattr(self.model, "threshold", None)
        return np.asarray(answers.argmax(axis=1) if threshold is None else (answers[:, -1] >= threshold).astype(np.int64))

    def distances(self, row: Table) -> np.ndarray:
        """Mean scaled difference (n,) of existing rows to a row."""
        return np.asarray(np.mean([_difference(c, row[n], self.scale[n]) for n, c in self.table.items()], axis=0))

    def steps(self, row: Table, k: int) -> dict[str, float]:
        """Scaled difference of each cell of a row to that of existing row k; columns without any are left out."""
        one = np.array([k])
        found = {n: float(_difference(c.take(one), row[n], self.scale[n])[0]) for n, c in self.table.items()}
        return {n: step for n, step in found.items() if step > 0}

    def lends(self, row: Table, rows: np.ndarray, immutable: Sequence[str]) -> np.ndarray:
        """(m,) decision on a row that takes every cell but the immutable ones from each of these existing rows."""
        lent, own = self.table.take(rows), {n: row[n].take(np.zeros(len(rows), dtype=np.int64)) for n in immutable if n in self.table}
        return self.decide(lent.with_columns(own)) if len(rows) else np.zeros(0, dtype=np.int64)

    def far(self, row: Table, k: int, names: Sequence[str]) -> float:
        """How far the row with these cells of existing row k lies from the nearest existing row that is decided as k is."""
        return float(self.distances(self.mixed(row, k, [names]))[self.decided == self.decided[k]].min())

    def mixed(self, row: Table, k: int, choices: Sequence[Sequence[str]]) -> Table:
        """The row once per choice, with the chosen cells taken from existing row k."""
        columns = {}
        for n, column in self.table.items():
            both = _joined(row[n], column.take(np.array([k])))
            columns[n] = both.take(np.array([int(n in chosen) for chosen in choices]))
        return Table(columns)


def counterfactuals(
    existing: Existing, row: Dataset, immutable: Sequence[str] = (), wanted: int | None = None, most: int = 3
) -> list[Counterfactual]:
    """At most `most` ways to another decision for one unit, fewest changes first; every one flips the model, immutable columns never change.

    `wanted` is the class code asked for, any other than now when None. Empty when none of the nearest existing rows with another decision
    keeps it once the immutable cells are the unit's own.
    """
    table, classes = row.rows.take(row.units[:1]), existing.model.problem.classes
    decided, now = existing.decided, int(existing.decide(table)[0])
    usable = np.flatnonzero((decided != now) if wanted is None else (decided == wanted))
    near = usable[np.argsort(existing.distances(table)[usable], kind="stable")][:ASKED]
    lenders = near[existing.lends(table, near, immutable) == decided[near]][:NEAREST].tolist()
    found: dict[tuple[str, ...], Counterfactual] = {}
    for most_far in (float("inf"), existing.usual):
        for k in lenders:
            steps = {n: s for n, s in existing.steps(table, k).items() if n not in set(immutable)}
            if kept := _fewest(existing, table, k, steps, most_far):
                changes = tuple(Change(n, cell(table[n], 0), cell(existing.table[n], k)) for n in kept)
                far = existing.far(table, k, kept)
                found.setdefault(tuple(kept), Counterfactual(changes, classes[decided[k]], far, far <= existing.usual, int(existing.place[k])))
        if any(c.feasible for c in found.values()):
            break
    ranked = sorted(found.values(), key=lambda c: (not c.feasible, len(c.changes), c.distance))
    return [c for c in ranked if c.feasible or not ranked[0].feasible][:most]


def contrast(existing: Existing, row: Dataset) -> tuple[str, list[Change]] | None:
    """(other answer, differences, largest first) of the most similar existing row that got another answer; None where all got the same."""
    table = row.rows.take(row.units[:1])
    other = np.flatnonzero(existing.decided != existing.decide(table)[0])
    if not len(other):
        return None
    k = int(other[np.argmin(existing.distances(table)[other])])
    steps = existing.steps(table, k)
    changes = [Change(n, cell(table[n], 0), cell(existing.table[n], k)) for n in sorted(steps, key=lambda n: -steps[n])]
    return existing.model.problem.classes[existing.decided[k]], changes


def _fewest(existing: Existing, row: Table, k: int, steps: dict[str, float], most: float) -> list[str]:
    """Backward elimination: cells are given back, first as many of the farthest at once as the decision allows, then one by one.

    What is left lies at most `most` from existing rows with that decision. Empty where even all cells of the existing row do not do.
    """
    target, names = int(existing.decided[k]), [n for n in existing.table if n in steps]
    order = sorted(names, key=lambda n: -steps[n])

    def best(tries: Sequence[list[str]]) -> list[str]:
        """The first that gets the wanted decision and lies near enough."""
        stays = existing.decide(existing.mixed(row, k, tries)) == target
        return next((t for t, ok in zip(tries, stays, strict=True) if ok and existing.far(row, k, t) <= most), [])

    kept = best([[n for n in names if n not in set(order[:count])] for count in range(len(order) - 1, -1, -1)]) if names else []
    while len(kept) > 1 and (fewer := best([[n for n in kept if n != out] for out in sorted(kept, key=lambda n: -steps[n])])):
        kept = fewer
    return kept


def _range(column: Column) -> float:
    if column.coded:
        return 1.0
    known = column.values[~column.missing]
    low, high = np.quantile(known, [0.05, 0.95]) if len(known) else (0.0, 1.0)
    return float(high - low) or 1.0


def _difference(column: Column, one: Column, scale: float) -> np.ndarray:
    """Scaled difference (n,) of cells to one cell, 0..1; 1 where just one of the two has a value."""
    if column.levels is not None:
        label = None if one.missing[0] else str(one.strings()[0])
        code = -1 if label is None else next((i for i, v in enumerate(column.levels.tolist()) if str(v) == label), -2)
        return np.asarray((column.values != code).astype(float))
    value = one.values[0]
    if np.isnan(value):
        return np.asarray((~column.missing).astype(float))
    return np.asarray(np.where(column.missing, 1.0, np.minimum(np.abs(column.values - value) / scale, 1.0)))


def _joined(a: Column, b: Column) -> Column:
    """Two one-cell columns below each other."""
    if a.levels is None or b.levels is None:
        return Column(a.kind, np.r_[a.values, b.values], None)
    levels = np.array(list(dict.fromkeys([*a.levels.tolist(), *b.levels.tolist()])), dtype=object)
    place = {v: i for i, v in enumerate(levels.tolist())}
    codes = [-1 if c.missing[0] else place[c.levels[c.values[0]]] for c in (a, b) if c.levels is not None]
    return Column(a.kind, np.array(codes, dtype=np.int32), levels)
