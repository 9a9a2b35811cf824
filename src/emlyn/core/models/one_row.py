"""What one row costs: measured through the model's own door, contract and all, on rows it may be asked about."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.models.model import Model
from emlyn.core.table import Table
from emlyn.records.data_card import ColumnRule, Contract

ROWS = 60
"""Different rows that a measurement takes its median over."""
WARM = 3


def seconds_per_row(model: Model, data: Dataset) -> float:
    """Median seconds of one answer to one row: through the contract where the model has one and rows are what is asked, else from typed rows on."""
    if "rows" in data.tables and model.contract.columns:
        return median_seconds(model.predict_one, records_of(data.rows, model.contract))
    return median_seconds(model.predict_answers, single_rows(data))


def member_seconds(model: Model, data: Dataset) -> list[float]:
    """Median seconds of each member's answer to one encoded row."""
    rows = _encoded(model, data)
    return [median_seconds(member.predict, rows) for member in model.members]


def _encoded(model: Model, data: Dataset) -> list[Dataset]:
    """Single rows that every member has been asked about once: what they share of a row is there."""
    shared = {} if model.encoder is None else {"encoder": model.encoder}
    rows = [replace(row, shared=dict(shared)) for row in single_rows(data)]
    for row in rows:
        model.predict_answers(row)
    return rows


def single_rows(data: Dataset) -> list[Dataset]:
    """Up to `ROWS` units, each as a dataset of its own."""
    found = []
    for i in _spread(len(data)):
        unit = data.take(np.array([i])).without_answers()
        if "rows" in data.tables:
            unit = replace(unit, tables={**data.tables, "rows": data.rows.take(unit.units)}, units=np.arange(1))
        found.append(replace(unit, shared={}))
    return found


def records_of(table: Table, contract: Contract) -> list[dict[str, Any]]:
    """Up to `ROWS` rows of a typed table as a caller would send them."""
    part = table.take(_spread(table.rows))
    columns = {rule.name: _cells(part, rule) for rule in contract.columns if rule.name in part}
    return [{name: cells[i] for name, cells in columns.items() if cells[i] is not None} for i in range(part.rows)]


def _cells(table: Table, rule: ColumnRule) -> list[Any]:
    column = table[rule.name]
    if column.levels is not None:
        return list(column.strings().tolist())
    values = [None if v != v else v for v in column.values.tolist()]
    if rule.kind == "boolean":
        yes, no = (rule.parse.true or ("true",))[0], (rule.parse.false or ("false",))[0]
        return [v if v is None else yes if v else no for v in values]
    if rule.kind == "date":
        return [v if v is None else time.strftime("%Y-%m-%d", time.gmtime(v)) if 0 <= v < 4e9 else None for v in values]
    return values


def _spread(rows: int) -> np.ndarray:
    return np.unique(np.linspace(0, max(0, rows - 1), ROWS).astype(np.int64)) if rows else np.zeros(0, dtype=np.int64)


def median_seconds(answer: Callable[[Any], object], asked: Sequence[Any]) -> float:
    """The median over what is asked, after a few that warm up; 0 where nothing is."""
    for one in asked[:WARM]:
        answer(one)
    seconds = []
    for one in asked:
        began = time.perf_counter()
        answer(one)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) if seconds else 0.0
