"""A few records to a typed table, fast: what a service does for one request. No dataframe, readers compiled once per contract."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.table import Column, Table, text_column
from emlyn.core.tables.frames import column_from_cells
from emlyn.core.tables.parse import EXACT, cell_text, reader_for, shortened, text_cleaner
from emlyn.core.tables.typed import Conformed, Issue, allowed_text, departures, order_issues, problem_text, typed
from emlyn.records.data_card import ColumnRule, Contract, CrossRule

ABSENT: Any = object()
NAN = math.nan
_FIRST, _NONE = np.zeros(1, dtype=np.int32), np.full(1, -1, dtype=np.int32)
_NO_LEVELS, _NO_NUMBERS = np.empty(0, dtype=object), np.empty(0)


@dataclass(frozen=True, eq=False)
class _Cell:
    """One rule, compiled: what most cells are is answered at once, anything else goes the longer way."""

    name: str
    rule: ColumnRule
    low: float
    high: float
    """Numbers from low to high need no second look."""
    known: Mapping[str, str]
    """Written form -> kept form, of the levels seen in training."""
    read: Callable[[str], float | str | None]
    """Reader of a stripped text (number, boolean, date), or cleaner of a word."""
    words: bool

    def slow(self, cell: Any) -> tuple[float | str | None, str]:
        """The value of any cell, and the code of what is wrong with it (empty when nothing is)."""
        rule, none = self.rule, None if self.words else NAN
        if cell is ABSENT:
            return none, "absent" if rule.required else ""
        if cell is None:
            return none, "" if rule.nullable else "empty"
        if self.words and (type(cell) is int or type(cell) is float):
            cell = cell_text(float(cell) if abs(cell) <= EXACT else cell) or ""
        if type(cell) is not str:
            return self._through_a_column(cell)
        value = self.read(cell.strip())
        if value is None and not self.words:
            return NAN, "unreadable"
        if value is None or value != value:
            return none, "" if rule.nullable else "empty"
        if self.words:
            return value, "level" if rule.levels and value not in self.known else ""
        if rule.kind == "number" and rule.parse.clip is not None:
            value = min(max(float(value), rule.parse.clip[0]), rule.parse.clip[1])
        outside = rule.kind == "number" and rule.low is not None and rule.high is not None and not rule.low <= float(value) <= rule.high
        return float(value), "range" if outside else ""

    def _through_a_column(self, cell: Any) -> tuple[float | str | None, str]:
        found = typed(column_from_cells([cell]), self.rule)
        code = "unreadable" if found.unreadable[0] else next((name for name, mask in departures(found, self.rule).items() if mask[0]), "")
        return (found.column.strings()[0] if self.words else float(found.column.values[0])), code


@dataclass(frozen=True, eq=False)
class _Door:
    """A contract, compiled."""

    cells: tuple[_Cell, ...]
    rules: tuple[CrossRule, ...]


_doors: dict[int, tuple[weakref.ref[Contract], _Door]] = {}


def _door(contract: Contract) -> _Door:
    """The compiled contract; kept as long as the contract lives."""
    kept = _doors.get(id(contract))
    if kept is not None and kept[0]() is contract:
        return kept[1]
    door = _Door(tuple(map(_compiled, contract.columns)), contract.rules)
    key = id(contract)
    _doors[key] = (weakref.ref(contract, lambda _: _doors.pop(key, None)), door)
    return door


def _compiled(rule: ColumnRule) -> _Cell:
    low, high = math.inf, -math.inf
    if rule.kind == "number" and not rule.parse.not_numbers and rule.parse.clip is None and rule.low is not None and rule.high is not None:
        low, high = rule.low, rule.high
    if rule.kind == "boolean":
        low = high = 1.0
    clean: Callable[[str], str | None] = text_cleaner(rule.parse, rule.kind)
    known = {level: level for level in rule.levels if clean(level) == level}
    known |= {written: kept for written, kept in ((w, clean(w)) for w in rule.parse.merge) if kept in known}
    words = rule.kind in ("category", "text")
    return _Cell(rule.name, rule, low, high, known, clean if words else reader_for(rule.kind, rule.parse), words)


def conform_records(records: Sequence[Mapping[str, Any]], contract: Contract) -> Conformed:
    """Records (dicts of JSON-like cells) as a typed table (n rows), as `conform` would read them.

    A record that is not a mapping, lacks a required column, or holds a cell that means nothing for a column that always had a value in
    training, is refused; its row is kept with "no value" cells. Never raises.
    """
    door, n = _door(contract), len(records)
    issues: list[Issue] = []
    refused = np.array([not isinstance(record, Mapping) for record in records], dtype=bool)
    barred = np.zeros(n, dtype=bool)
    counts: dict[str, dict[str, int]] = {}
    rows: list[Mapping[str, Any]] = list(records)
    for i in np.flatnonzero(refused).tolist():
        rows[i] = {}
        issues.append(Issue(i, "", shortened(records[i]), "is not an object of columns", "an object with one value per column", "row"))
    numbers: list[Any] = []
    texts: list[Any] = []
    for cell in door.cells:
        name, low, high, known, words = cell.name, cell.low, cell.high, cell.known, cell.words
        out = texts if words else numbers
        for i, row in enumerate(rows):
            value = row.get(name, ABSENT)
            kind = type(value)
            if words:
                if kind is str and value in known:
                    out.append(known[value])
                    continue
            elif (kind is float or kind is int) and low <= value <= high:
                out.append(value)
                continue
            found, code = cell.slow(value)
            out.append(found)
            if code and not refused[i]:
                issues.append(_issue(i, cell.rule, value, code))
                counts.setdefault(name, {})[code] = counts.get(name, {}).get(code, 0) + 1
                barred[i] |= code == "absent" or (code == "unreadable" and not cell.rule.nullable)
    table = _table(door, numbers, texts, n)
    for order in door.rules:
        issues += order_issues(table, table, order, counts)
    return Conformed(table, issues, refused | barred, counts)


def _table(door: _Door, numbers: list[float], texts: list[str | None], n: int) -> Table:
    """Columns in the contract's order, cut from one block of numbers and one of texts: for one record, an array per column costs most."""
    block = iter(np.array(numbers, dtype=np.float64).reshape(-1, n)) if n else iter(())
    columns: dict[str, Column] = {}
    at = 0
    words = np.array(texts, dtype=object)
    for cell in door.cells:
        kind = cell.rule.kind
        if not cell.words:
            columns[cell.name] = Column(kind, next(block, _NO_NUMBERS))
            continue
        if n == 1:
            columns[cell.name] = Column(kind, _NONE, _NO_LEVELS) if texts[at] is None else Column(kind, _FIRST, words[at : at + 1])
        else:
            columns[cell.name] = text_column(texts[at : at + n], kind)
        at += n
    return Table(columns, rows=n)


def _issue(row: int, rule: ColumnRule, cell: Any, code: str) -> Issue:
    if code == "absent":
        return Issue(row, rule.name, "", "is required and absent", allowed_text(rule), code)
    return Issue(row, rule.name, shortened("" if cell is None else cell), problem_text(rule, code), allowed_text(rule), code)
