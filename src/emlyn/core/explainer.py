"""What an explainer is, and the reasons for single rows that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from emlyn import plugins
from emlyn.core.dataset import Dataset
from emlyn.core.table import Column
from emlyn.records.evaluation import Reason


@dataclass(frozen=True, eq=False)
class Pushes:
    """How far each source column moves each row's score away from the reference."""

    columns: tuple[str, ...]
    values: np.ndarray
    """(n, columns) in `unit`; for classes towards the label that `towards` names: the positive one of two, the most probable of more."""
    steady: np.ndarray
    """(n, columns) bool: models of the ensemble agree on the sign (at least 80 % of their weight)."""
    unit: str
    """`log-odds` or the target's name."""
    reference: str
    """The population or row that is compared with."""
    towards: tuple[str, ...] = ()
    """(n,) label per row; empty for numbers."""


class Explainer(Protocol):
    """Gives reasons for single rows of some models."""

    name: str

    def pushes(self, model: Any, data: Dataset) -> Pushes | None:
        """Pushes for the dataset's units by this model (`core.model.Model`); None when this way has nothing to say about it."""


def reasons(model: Any, data: Dataset) -> list[tuple[Reason, ...]]:
    """For each unit the columns that push its score away from the reference, strongest first.

    The unit is log-odds towards the positive class (of many: the most probable one), or the target's own. Pushes whose sign the models of
    the ensemble do not agree on are left out: a reason that another draw of the training rows would turn round is none.
    """
    return reasons_from(pushes_of(model, data), data) if len(data) else []


def reasons_from(found: Pushes, data: Dataset) -> list[tuple[Reason, ...]]:
    """The reasons in pushes (n, columns) for the units of `data`: steady ones only, strongest first."""
    table = data.rows
    columns = [table[name] for name in found.columns]
    order = np.argsort(-np.abs(found.values), axis=1, kind="stable")
    out = []
    for i, unit in enumerate(data.units.tolist()):
        kept = [j for j in order[i].tolist() if found.steady[i, j] and found.values[i, j] != 0.0]
        out.append(tuple(Reason(found.columns[j], cell(columns[j], unit), float(found.values[i, j])) for j in kept))
    return out


def pushes_of(model: Any, data: Dataset) -> Pushes:
    """The pushes of the first explainer plug-in that has something to say about this model. Raises LookupError when none has."""
    for explainer in plugins.collect("explainers"):
        found: Pushes | None = explainer.pushes(model, data)
        if found is not None:
            return found
    raise LookupError("no explainer plug-in has anything to say about this model")


def cell(column: Column, row: int) -> Any:
    """One cell as a plain value: number, text, ISO date, true or false, None for no value."""
    if column.missing[row]:
        return None
    if column.levels is not None:
        return str(column.levels[column.values[row]])
    return plain(column, float(column.values[row]))


def plain(column: Column, value: float) -> Any:
    """A number of this column as a person writes it."""
    if column.kind == "boolean":
        return bool(value)
    if column.kind == "date":
        return datetime.fromtimestamp(value, UTC).date().isoformat() if -6e10 < value < 2.5e11 else value
    return int(value) if value == round(value) and abs(value) < 1e15 else value
