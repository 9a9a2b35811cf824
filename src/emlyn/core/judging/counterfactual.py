"""What would have to be different for another answer: changes that rows of the table support and that really flip the frozen model.

Each counterfactual is built from a row that exists and got the wanted answer (Keane and Smyth 2020: native counterfactuals): every
cell is taken over, then as many as possible are given back, each step judged by the final model. What is left are few changes, all
towards values that occur together with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.explainer import cell
from emlyn.core.table import Column, Table

NEAREST = 6
Decide = Callable[[Table], np.ndarray]
"""Rows -> (n,) int: the decision on each row."""


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


def counterfactuals(
    model: Any, row: Dataset, population: Dataset, immutable: Sequence[str] = (), wanted: int | None = None, most: int = 3
) -> list[Counterfactual]:
    """At most `most` ways to another decision for one unit, fewest changes first; every one flips `model`, immutable columns never change.

    `population` are existing rows (with or without answers); `wanted` is the class code asked for, any other than now when None.
    Empty when no existing row with equal immutable cells gets another decision. Classes only. Raises ValueError for a model of numbers.
    """
    classes = model.problem.classes
    if not classes:
        raise ValueError("counterfactuals are made for classes; a number has no decision to flip")
    space = _Space(row.rows.take(row.units[:1]), population.rows.take(population.units))

    def decide(table: Table) -> np.ndarray:
        return _decisions(model, table)

    now = int(decide(space.row)[0])
    decided = decide(space.table)
    usable = (decided != now) if wanted is None else (decided == wanted)
    usable &= space.same(immutable)
    free = [n for n in space.table if n not in set(immutable)]
    distances = space.distances(np.flatnonzero(usable))
    found: dict[tuple[str, ...], Counterfactual] = {}
    for k in np.flatnonzero(usable)[np.argsort(distances, kind="stable")][:NEAREST]:
        target = int(decided[k])
        kept = _fewest(space, int(k), [n for n in free if space.differs(n, int(k))], decide, target)
        far = float(space.distances(np.flatnonzero(decided == target), space.mixed(int(k), kept)).min())
        changes = tuple(Change(n, cell(space.row[n], 0), cell(space.table[n], int(k))) for n in kept)
        found.setdefault(tuple(kept), Counterfactual(changes, classes[target], far, far <= space.usual))
    return sorted(found.values(), key=lambda c: (not c.feasible, len(c.changes), c.distance))[:most]


def contrast(model: Any, row: Dataset, population: Dataset) -> tuple[str, list[Change]] | None:
    """(other answer, differences) of the most similar existing row that got another answer; None where all got the same."""
    space = _Space(row.rows.take(row.units[:1]), population.rows.take(population.units))
    decided = _decisions(model, space.table)
    other = np.flatnonzero(decided != _decisions(model, space.row)[0])
    if not len(other):
        return None
    k = int(other[np.argmin(space.distances(other))])
    changes = [Change(n, cell(space.row[n], 0), cell(space.table[n], k)) for n in space.table if space.differs(n, k)]
    return model.problem.classes[decided[k]], changes


def _decisions(model: Any, table: Table) -> np.ndarray:
    """(n,) class codes at the model's operating point."""
    answers = model.predict_answers(rows_dataset(table))
    threshold = getattr(model, "threshold", None)
    return np.asarray(answers.argmax(axis=1) if threshold is None else (answers[:, -1] >= threshold).astype(np.int64))


def _fewest(space: _Space, k: int, names: list[str], decide: Decide, target: int) -> list[str]:
    """Backward elimination: give cells back one by one, the one whose return helps most first, while the decision stays the wanted one."""
    kept = list(names)
    while len(kept) > 1:
        tries = [[n for n in kept if n != out] for out in kept]
        stays = decide(space.stacked(k, tries)) == target
        if not stays.any():
            return kept
        gains = np.array([space.step(out, k) for out in kept])
        kept = tries[int(np.argmax(np.where(stays, gains, -np.inf)))]
    return kept


class _Space:
    """One row and the existing rows around it, with scaled differences per column (Gower 1971)."""

    def __init__(self, row: Table, table: Table) -> None:
        self.row, self.table = row.select(list(table)), table
        self.names = list(table)
        self.scale = {n: _range(c) for n, c in table.items()}
        here = np.linspace(0, table.rows - 1, min(200, table.rows)).astype(int)
        between = [np.partition(self._to(table.take(np.array([i]))), 1)[1] for i in here] if table.rows > 1 else []
        self.usual = float(np.quantile(between, 0.99)) if between else 0.0

    def same(self, names: Sequence[str]) -> np.ndarray:
        """(n,) existing rows whose cells in these columns equal the row's."""
        out = np.ones(self.table.rows, dtype=bool)
        for n in names:
            if n in self.table:
                out &= _difference(self.table[n], self.row[n], self.scale[n]) == 0
        return out

    def differs(self, name: str, k: int) -> bool:
        return self.step(name, k) > 0

    def step(self, name: str, k: int) -> float:
        return float(_difference(self.table[name].take(np.array([k])), self.row[name], self.scale[name])[0])

    def distances(self, rows: np.ndarray, to: Table | None = None) -> np.ndarray:
        """Mean scaled difference (m,) of existing rows to the row, or to another."""
        return np.asarray(self._to(self.row if to is None else to)[rows])

    def mixed(self, k: int, names: Sequence[str]) -> Table:
        """The row with these cells taken from existing row k."""
        return self.stacked(k, [list(names)])

    def stacked(self, k: int, choices: Sequence[Sequence[str]]) -> Table:
        """The row once per choice, with the chosen cells taken from existing row k."""
        columns = {}
        for n, column in self.table.items():
            both = _joined(self.row[n], column.take(np.array([k])))
            columns[n] = both.take(np.array([int(n in chosen) for chosen in choices]))
        return Table(columns)

    def _to(self, one: Table) -> np.ndarray:
        return np.asarray(np.mean([_difference(self.table[n], one[n], self.scale[n]) for n in self.names], axis=0))


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
