"""Tables one below the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emlyn.core.table import Column, Table
from emlyn.core.tables.typed import typed
from emlyn.records.data_card import ColumnRule


def stack(tables: Sequence[Table]) -> Table:
    """The rows of several tables, one below the other; columns by name, absent cells are "no value".

    A column whose kinds differ between tables becomes text, cells as a person would write them.
    """
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(name for table in tables for name in table)
    return Table({name: _below([t.get(name) for t in tables], [t.rows for t in tables]) for name in names}, rows=sum(t.rows for t in tables))


def _below(columns: Sequence[Column | None], rows: Sequence[int]) -> Column:
    filled = [None if c is None or c.missing.all() else c for c in columns]
    known = [c for c in filled if c is not None]
    kinds = {c.kind for c in known}
    if len(kinds) <= 1 and not any(c.coded for c in known):
        parts = [np.full(n, np.nan) if c is None else c.values for c, n in zip(filled, rows, strict=True)]
        return Column(kinds.pop() if kinds else "number", np.concatenate(parts))
    index: dict[str, int] = {}
    codes = []
    for column, n in zip(filled, rows, strict=True):
        if column is None:
            codes.append(np.full(n, -1, dtype=np.int32))
            continue
        coded = column if column.levels is not None else typed(column, ColumnRule("", "text")).column
        assert coded.levels is not None
        where = np.array([*(index.setdefault(level, len(index)) for level in coded.levels.tolist()), -1], dtype=np.int32)
        codes.append(where[coded.values])
    return Column("category" if kinds == {"category"} else "text", np.concatenate(codes), np.array(list(index), dtype=object))
