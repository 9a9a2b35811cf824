"""What would have to be different for another decision: counterfactuals and contrasts for rows of a source, in plain values and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.counterfactual import Change, Counterfactual, Existing, contrast, counterfactuals
from emlyn.core.models.model import Model
from emlyn.core.table import Table
from emlyn.core.tables.contract import conform
from emlyn.core.tables.stack import stack
from emlyn.errors import ModelError, OptionError

TOLD = 6
"""Differences of a contrast that its sentence names."""


class Recourse:
    """Ways to another decision, in cells of existing rows; sensitive columns never change, nor do those the user names."""

    def __init__(self, model: Model, among: Table, immutable: Sequence[str] = ()) -> None:
        """`among` are raw rows that lend their cells. Raises ModelError for a model of numbers, OptionError for an unknown column."""
        if not model.problem.classes:
            raise ModelError(
                "this model predicts a number, and a number has no decision to flip",
                where="--counterfactual",
                allowed="models of classes",
                next_step="leave --counterfactual out: the reasons tell what moved the number",
            )
        features = [rule.name for rule in model.contract.columns]
        for name in immutable:
            if name not in features:
                raise OptionError(f"the model has no column {name!r}", where="--immutable", allowed=", ".join(features[:40]))
        self.immutable = tuple(dict.fromkeys([*immutable, *(n for n in model.problem.sensitive if n in features)]))
        self.model, self.among = model, among
        self.existing = Existing(model, rows_dataset(conform(among, model.contract).table, classes=len(model.problem.classes)))
        self.looked = len(self.existing.place)

    def of(self, raw: Table) -> dict[str, Any]:
        """For one raw row: `counterfactuals`, each judged once more by the whole pipeline from raw cells, the `contrast`, and a `sentence`."""
        row = rows_dataset(conform(raw, self.model.contract).table)
        found = [c for c in counterfactuals(self.existing, row, self.immutable) if self._flips(raw, c)]
        other = contrast(self.existing, row)
        told = [{**_plain(c.changes), "wanted": c.wanted, "feasible": c.feasible, "distance": c.distance, "sentence": _if(c)} for c in found]
        return {
            "counterfactuals": told,
            "contrast": None if other is None else {**_plain(other[1]), "answer": other[0], "sentence": _differs(*other)},
            "sentence": told[0]["sentence"] if told else self._none(),
        }

    def _flips(self, raw: Table, found: Counterfactual) -> bool:
        """The raw cells of the row that lends them, through contract, members, calibration and operating point."""
        names = [c for c in self.among if c in raw]
        both = stack([raw.select(names), self.among.select(names).take(np.array([found.source]))])
        changed = {c.column for c in found.changes}
        made = Table({n: column.take(np.array([int(n in changed)])) for n, column in both.items()})
        return bool(self.model.predict(made).values[0] == found.wanted)

    def _none(self) -> str:
        kept = f" while {', '.join(self.immutable)} stay as they are" if self.immutable else ""
        return f"No change to values of the {self.looked:,} rows looked among turns the answer{kept}."


def _plain(changes: Sequence[Change]) -> dict[str, Any]:
    return {"changes": [{"column": c.column, "now": c.now, "then": c.then} for c in changes]}


def _if(found: Counterfactual) -> str:
    parts = [f"{c.column} were {_cell(c.then)} rather than {_cell(c.now)}" for c in found.changes]
    far = "" if found.feasible else " (unlike the rows that exist: take it with care)"
    return f"If {_and(parts)}, the answer would be {found.wanted}{far}."


def _differs(answer: str, changes: Sequence[Change]) -> str:
    parts = [f"{c.column} is {_cell(c.then)} there, {_cell(c.now)} here" for c in changes[:TOLD]]
    rest = len(changes) - TOLD
    more = f"; {rest} smaller difference{'s' if rest > 1 else ''}" if rest > 0 else ""
    return f"The most similar row that got {answer}: {'; '.join(parts)}{more}."


def _cell(value: Any) -> str:
    return "empty" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
