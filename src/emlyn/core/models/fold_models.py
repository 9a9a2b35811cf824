"""The ensemble of fold models as it judges rows it learned from: each row by the models of the fold that left it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.models.model import Model
from emlyn.core.table import Table, number_column

FOLD = "\0fold"
"""The column that says which fold left a row out; no table that is read has a column of this name."""


class FoldModels:
    """Predicts rows marked by `marked`, however they are copied or changed, by models that did not learn from them."""

    def __init__(self, model: Model) -> None:
        folds = {len(m.fitted) for m in model.members}
        self.width, self.parts = model.width, [
            replace(model, members=tuple(replace(m, fitted=(m.fitted[k],)) for m in model.members)) for k in range(min(folds))
        ]

    def predict_answers(self, data: Dataset) -> np.ndarray:
        """(n, width) answers for the units of a dataset whose rows are marked. Raises KeyError for rows without the mark."""
        table = data.rows.take(data.units)
        fold, plain, out = table[FOLD].values, table.drop([FOLD]), np.empty((table.rows, self.width))
        for k in np.unique(fold):
            rows = np.flatnonzero(fold == k)
            out[rows] = self.parts[int(k)].predict_answers(rows_dataset(plain.take(rows)))
        return out


def left_out(model: Model, data: Dataset, fold_of: np.ndarray, folds: int) -> tuple[FoldModels, Dataset] | None:
    """The judge and the rows it can judge; `fold_of` (n,) names the fold that asked each unit, -1 for none.

    None where some member is no bag of all `folds`: it was learned once more on all rows.
    """
    if any(len(m.fitted) != folds for m in model.members) or "rows" not in data.tables:
        return None
    mark = np.full(data.rows.rows, -1.0)
    mark[data.units] = fold_of
    table = data.rows.with_columns({FOLD: number_column(mark)})
    return FoldModels(model), replace(data, tables={**data.tables, "rows": table}, shared={}).take(np.flatnonzero(fold_of >= 0))


def columns_of(table: Table) -> Sequence[str]:
    """The columns of a table, the mark left out."""
    return [name for name in table if name != FOLD]
