"""Datasets and folds: what is learned from, what may be known when asked, what is asked, and the truth.

A dataset is named tables with roles. Tables of rows are one case; users, items and interactions, or series, are others.
Answers are keyed by the unit of an ask: a row, a user x k, a series x horizon, a subject x times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emlyn.core.table import Table


class Views(dict[str, Any]):
    """What is derived from base tables and shared by every cut. Sent elsewhere, the encoder and its matrix travel; locks and library objects stay."""

    TRAVEL = ("encoder", "matrix")

    def __reduce__(self) -> tuple[Any, ...]:
        return Views, ({k: self[k] for k in self.TRAVEL if k in self},)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Tables by role, the units to learn from or to answer, and (when known) their answers.

    `units` (m,) are positions in the base table of the task's kind (`rows` for tables of rows); the tables are shared by every
    dataset cut from the same base, so a fold costs no copy. `answers` (m,) are class codes (int64) or numbers (float64).
    """

    tables: Mapping[str, Table]
    units: np.ndarray
    answers: np.ndarray | None = None
    weight: np.ndarray | None = None
    group: np.ndarray | None = None
    """Code of the entity of each unit (m,): units of one group stay together."""
    time: np.ndarray | None = None
    """Seconds since 1970 of each unit (m,)."""
    classes: int = 0
    """How many classes the answers' codes stand for (some may be absent here); 0 = answers are numbers."""
    state: Dataset | None = None
    """What may be known at the moment of asking beside what was learned: a series' history, a user's past interactions."""
    shared: dict[str, Any] = field(default_factory=Views)
    """Views derived from the base tables (encodings, binned data), computed once and shared by every cut."""

    def __len__(self) -> int:
        return len(self.units)

    @property
    def rows(self) -> Table:
        """The base table of rows."""
        return self.tables["rows"]

    def take(self, positions: np.ndarray) -> Dataset:
        """The units at these positions; tables and shared views stay the same objects."""

        def cut(a: np.ndarray | None) -> np.ndarray | None:
            return None if a is None else a[positions]

        return replace(
            self, units=self.units[positions], answers=cut(self.answers), weight=cut(self.weight), group=cut(self.group), time=cut(self.time)
        )

    def apart(self, positions: np.ndarray) -> Dataset:
        """The same with base tables that hold no other rows, so that what is derived from them costs for these units alone; the encoder stays."""
        found = self.take(positions)
        if "rows" not in self.tables:
            return found
        kept = Views({k: self.shared[k] for k in ("encoder", "hurried") if k in self.shared})
        return replace(found, tables={name: t.take(found.units) for name, t in self.tables.items()}, units=np.arange(len(found)), shared=kept)

    def without_answers(self) -> Dataset:
        return replace(self, answers=None, weight=None)


def once(data: Dataset, key: str, make: Callable[[], Any]) -> Any:
    """What `make()` returned when it was first asked for by this key: recipes on one fold share what they derive from it.

    Two jobs that ask at the same moment both make it, which costs less than waiting for each other.
    """
    found = data.shared.get(key)
    if found is None:
        found = data.shared[key] = make()
    return found


def rows_dataset(table: Table, answers: np.ndarray | None = None, *, classes: int = 0, **extra: np.ndarray | None) -> Dataset:
    """A dataset whose units are the rows of one table; `extra`: weight, group, time."""
    return Dataset({"rows": table}, np.arange(table.rows), answers, classes=classes, **extra)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Fold:
    """(fit, state, ask, truth). The truth is the driver's: it never reaches a learner."""

    number: int
    fit: Dataset
    ask: Dataset
    truth: np.ndarray
    positions: np.ndarray
    """Where the asked units stand in the dataset that was folded."""
    state: Dataset | None = None
    """What may be known at the moment of asking beside `fit`: history of a series, past interactions of a user."""


def fold_at(data: Dataset, ask: np.ndarray, number: int, fit: np.ndarray | None = None) -> Fold:
    """The fold that asks the units at positions `ask` and learns from `fit` (all others when not given)."""
    if fit is None:
        mask = np.ones(len(data), dtype=bool)
        mask[ask] = False
        fit = np.flatnonzero(mask)
    assert data.answers is not None
    return Fold(number, data.take(fit), data.take(ask).without_answers(), data.answers[ask], ask)
