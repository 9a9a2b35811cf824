"""Orders between two columns that (almost) every row keeps, such as start <= end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from emlyn.core.judging.ranks import rank_correlation
from emlyn.core.table import Column, Table
from emlyn.records.data_card import CrossRule

FEWEST, MOST_BROKEN = 200, 0.005
MOST_COLUMNS, MOST_RULES, ROWS = 40, 10, 20_000


def orders(columns: Mapping[str, Column]) -> Iterator[tuple[str, str, np.ndarray]]:
    """(smaller, larger, rows that break it) for every pair of number or date columns with an order in at least 99.5 % of 200 rows and more.

    The columns must be of one magnitude (the upper quartile of the smaller reaches a fifth of the lower quartile of the larger) and in step
    (Spearman correlation of at least 0.7): otherwise the order follows from their units and says nothing.
    """
    pool = [(n, c) for n, c in columns.items() if c.kind in ("number", "date") and len(np.unique(c.values[~c.missing][:2_000])) > 20][:MOST_COLUMNS]
    for (a, left), (b, right) in combinations(pool, 2):
        both = ~left.missing & ~right.missing
        x, y = left.values[both], right.values[both]
        if left.kind != right.kind or len(x) < FEWEST:
            continue
        if (x[:500] > y[:500]).mean() > 0.5:
            a, b, x, y = b, a, y, x
        broken = x > y
        if broken.sum() > max(2, MOST_BROKEN * len(x)):
            continue
        step = max(1, len(x) // 2_000)
        if np.quantile(x, 0.75) >= 0.2 * np.quantile(y, 0.25) and abs(rank_correlation(x[::step], y[::step])) >= 0.7:
            yield a, b, np.flatnonzero(both)[broken]


def order_rules(table: Table, names: Sequence[str], seed: int = 0) -> tuple[CrossRule, ...]:
    """The orders among the named columns of a typed table, as rules of a contract; learned from at most 20,000 rows, at most ten."""
    few = table.select(names)
    if few.rows > ROWS:
        few = few.take(np.sort(np.random.default_rng(seed).choice(few.rows, ROWS, replace=False)))
    found = sorted(((len(rows), a, b) for a, b, rows in orders(few)), key=lambda o: o[0])[:MOST_RULES]
    return tuple(CrossRule(a, "<=", b, 1 - broken / few.rows) for broken, a, b in found)
