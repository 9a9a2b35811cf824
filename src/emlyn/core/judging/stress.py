"""What small and large changes of the input do to a frozen model: noise, other units, unseen words, empty cells, a lost column."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.judging.answers import Answers
from emlyn.core.judging.metrics import metric
from emlyn.core.table import Column, Table
from emlyn.core.wording import number, percent
from emlyn.records.problem import Problem

MOST_ROWS = 2_000
NOISE, SHARE, THOUSAND = 0.05, 0.10, 1_000.0
UNSEEN = "(never seen)"
SHOWN = 12

Predict = Callable[[Dataset], np.ndarray]
Change = tuple[str, str, str, Callable[[np.random.Generator], Table]]
"""(test, column, what was done in words, the changed table)."""


def robustness_section(predict: Predict, answers: Answers, data: Dataset, problem: Problem, seconds: float, seed: int = 0) -> dict[str, Any]:
    """The section `robustness` (`stages.evaluate`): the metric and the share of decisions that turn, change by change, as time allows.

    `answers` stand for the units of `data`. A decision on a number turns when it moves by more than a tenth of the truth's spread.
    """
    until, rng = time.monotonic() + seconds, np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(answers))[:MOST_ROWS])
    part, table = answers.take(rows), data.rows.take(data.units[rows])
    m = metric(problem.metric)
    before = m.score(part.truth, part.prediction, part.weight)
    tests, skipped = list[dict[str, Any]](), 0
    for test, column, words, change in _changes(table):
        if time.monotonic() > until and tests:
            skipped += 1
            continue
        after = predict(rows_dataset(change(np.random.default_rng(seed))))
        value, flips = m.score(part.truth, after, part.weight), turned(part, after)
        text = f"{words}: {m.label or m.name} goes from {number(before)} to {number(value)}, and {percent(flips, 1)} of the decisions turn."
        tests.append({"test": test, "column": column, "value": value, "change": value - before, "flips": flips, "sentence": text})
    general = [t for t in tests if not t["column"]]
    special = sorted((t for t in tests if t["column"]), key=lambda t: -t["flips"])[:SHOWN]
    worst = max(general, key=lambda t: t["flips"], default=None)
    told = {"tests": general + special, "metric": m.name, "before": before, "sentence": worst["sentence"] if worst else "Nothing could be changed."}
    return told | ({"left_out": f"{skipped} changes left out for time"} if skipped else {})


def turned(before: Answers, after: np.ndarray) -> float:
    """The share of decisions that differ between the answers and other predictions (n, k) for the same rows."""
    p = before.prediction
    if p.shape[1] == 1:
        return float((np.abs(after - p)[:, 0] > 0.1 * max(float(before.truth.std()), 1e-300)).mean())
    if before.threshold is not None and p.shape[1] == 2:
        return float(((after[:, 1] >= before.threshold) != (p[:, 1] >= before.threshold)).mean())
    return float((after.argmax(axis=1) != p.argmax(axis=1)).mean())


def _changes(table: Table) -> Iterator[Change]:
    """Changes of all columns first, then of single ones."""
    numbers = [n for n, c in table.items() if c.kind == "number" and not c.coded]
    words = [n for n, c in table.items() if c.kind == "category"]
    if numbers:
        yield "noise", "", "Every number blurred by 5 % of its spread", lambda rng: _each(table, numbers, lambda c: _blurred(c, rng))
    if words:
        yield "typo", "", "Every tenth category misspelt", lambda rng: _each(table, words, lambda c: _misspelt(c, rng))
    yield "missing", "", "Every tenth cell empty", lambda rng: _each(table, list(table), lambda c: _holed(c, rng))
    for name in table:
        yield "removed", name, f"Without {name}", lambda rng, name=name: _each(table, [name], lambda c: _holed(c, rng, 1.0))  # type: ignore[misc]
    for name in numbers:
        yield "units", name, f"{name} in a unit a thousand times smaller", lambda rng, name=name: _each(table, [name], _scaled)  # type: ignore[misc]


def _each(table: Table, names: list[str], change: Callable[[Column], Column]) -> Table:
    return table.with_columns({n: change(table[n]) for n in names})


def _blurred(column: Column, rng: np.random.Generator) -> Column:
    spread = float(np.nanstd(column.values)) if not column.missing.all() else 0.0
    return Column(column.kind, column.values + NOISE * spread * rng.normal(size=len(column)), None)


def _misspelt(column: Column, rng: np.random.Generator) -> Column:
    assert column.levels is not None
    hit = (rng.uniform(size=len(column)) < SHARE) & ~column.missing
    return Column(column.kind, np.where(hit, len(column.levels), column.values).astype(np.int32), np.append(column.levels, UNSEEN).astype(object))


def _holed(column: Column, rng: np.random.Generator, share: float = SHARE) -> Column:
    hit = rng.uniform(size=len(column)) < share
    return Column(column.kind, np.where(hit, -1 if column.coded else np.nan, column.values).astype(column.values.dtype), column.levels)


def _scaled(column: Column) -> Column:
    return Column(column.kind, column.values * THOUSAND, None)
