"""One column as its rule reads it, and what departs from the rule: the part that batch and single records share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emlyn.core.table import Column, Table, number_text
from emlyn.core.tables.parse import BEYOND, cell_text, date_number_reader, date_text, reader_for, shortened, text_cleaner
from emlyn.records.data_card import ColumnRule, CrossRule
from emlyn.types import Kind

SHOWN = 100
"""Issues listed per column and code; all of them are counted."""


@dataclass(frozen=True)
class Issue:
    """One cell, or one row, that is not as the contract says."""

    row: int
    """Position in the table that was given; -1 when it concerns the whole column."""
    column: str
    value: str
    """The cell, shortened."""
    problem: str
    allowed: str
    code: str = "unreadable"
    """unreadable | empty | level | range | rule | absent | row"""


@dataclass(frozen=True, eq=False)
class Conformed:
    """A typed table with exactly the contract's columns, in its order, and what was wrong on the way."""

    table: Table
    issues: list[Issue] = field(default_factory=list)
    """At most 100 per column and code."""
    refused: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Mask (n,) of rows that cannot be answered at all."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Column -> code -> how many cells, exact."""


@dataclass(frozen=True, eq=False)
class Typed:
    """One column as its rule reads it."""

    column: Column
    unreadable: np.ndarray
    """Mask (n,) of cells that hold something which means nothing here."""


def empty_column(kind: Kind, rows: int) -> Column:
    """A column of "no value"."""
    if kind in ("category", "text"):
        return Column(kind, np.full(rows, -1, dtype=np.int32), np.empty(0, dtype=object))
    return Column(kind, np.full(rows, np.nan))


def typed(column: Column, rule: ColumnRule) -> Typed:
    """A raw column as the rule's kind: by level where it is coded, by vector where it is not."""
    if rule.kind in ("category", "text"):
        return _words(column, rule)
    found = _by_level(column, rule) if column.levels is not None else _by_vector(column, rule)
    if rule.kind == "number" and rule.parse.clip is not None:
        return Typed(Column("number", np.clip(found.column.values, *rule.parse.clip)), found.unreadable)
    return found


def _by_level(column: Column, rule: ColumnRule) -> Typed:
    assert column.levels is not None
    read = reader_for(rule.kind, rule.parse)
    cells = [read(level.strip()) for level in column.levels.tolist()]
    values = np.array([np.nan if v is None else v for v in cells] + [np.nan], dtype=np.float64)
    unreadable = np.array([v is None for v in cells] + [False])
    return Typed(Column(rule.kind, values[column.values]), unreadable[column.values])


def _by_vector(column: Column, rule: ColumnRule) -> Typed:
    given = column.values
    if rule.kind == "date" and column.kind != "date":
        values = _dates_from_numbers(given, rule) if column.kind == "number" else np.full(len(given), np.nan)
    elif rule.kind == column.kind == "date":
        values = given
    elif column.kind == "date":
        values = np.full(len(given), np.nan)
    elif rule.kind == "boolean":
        values = np.where((given == 0) | (given == 1), given, np.nan)
    else:
        beyond = np.abs(given) >= BEYOND
        sentinel = np.isin(given, rule.parse.not_numbers) if rule.parse.not_numbers else np.zeros(len(given), dtype=bool)
        gone = beyond | sentinel
        return Typed(Column(rule.kind, np.where(gone, np.nan, given) if gone.any() else given), beyond & ~sentinel)
    return Typed(Column(rule.kind, values), np.isnan(values) & ~np.isnan(given))


def _dates_from_numbers(values: np.ndarray, rule: ColumnRule) -> np.ndarray:
    read = date_number_reader(rule.parse)
    unique, inverse = np.unique(values, return_inverse=True)
    found = np.array([np.nan if v != v or (date := read(v)) is None else date for v in unique.tolist()], dtype=np.float64)
    dates: np.ndarray = found[inverse]
    return dates


def _words(column: Column, rule: ColumnRule) -> Typed:
    if column.levels is None:
        if column.kind == "date":
            unique, inverse = np.unique(column.values, return_inverse=True)
            texts = [None if v != v else date_text(v) for v in unique.tolist()]
        else:
            unique, inverse = np.unique(column.values, return_inverse=True)
            texts = [None if v != v else str(v == 1) if column.kind == "boolean" else number_text(v) for v in unique.tolist()]
        codes, levels = inverse.astype(np.int32), texts
    else:
        codes, levels = column.values, column.levels.tolist()
    clean = text_cleaner(rule.parse, rule.kind)
    cleaned = [None if level is None else clean(level) for level in levels]
    none = np.zeros(len(codes), dtype=bool)
    if cleaned == levels and column.levels is not None:
        return Typed(Column(rule.kind, column.values, column.levels), none)
    index: dict[str, int] = {}
    where = np.array([-1 if text is None else index.setdefault(text, len(index)) for text in cleaned] + [-1], dtype=np.int32)
    return Typed(Column(rule.kind, where[codes], np.array(list(index), dtype=object)), none)


def departures(found: Typed, rule: ColumnRule) -> dict[str, np.ndarray]:
    """Masks (n,) of readable cells that training never saw the like of: `empty`, `level`, `range`."""
    column = found.column
    masks: dict[str, np.ndarray] = {}
    if not rule.nullable:
        masks["empty"] = column.missing & ~found.unreadable
    if column.levels is not None and rule.levels:
        seen = set(rule.levels)
        new = np.array([level not in seen for level in column.levels.tolist()] + [False])
        if new.any():
            masks["level"] = new[column.values]
    elif rule.kind == "number" and rule.low is not None and rule.high is not None:
        masks["range"] = (column.values < rule.low) | (column.values > rule.high)
    return masks


def allowed_text(rule: ColumnRule) -> str:
    """What this rule allows, in words."""
    if rule.kind == "category":
        return (
            "text"
            if not rule.levels
            else "one of "
            + ", ".join(shortened(level, 30) for level in rule.levels[:8])
            + (f" … ({len(rule.levels)} in all)" if len(rule.levels) > 8 else "")
        )
    if rule.kind == "boolean":
        return " / ".join([*(rule.parse.true or ("true",))[:1], *(rule.parse.false or ("false",))[:1]])
    if rule.low is None or rule.high is None:
        return f"a {rule.kind}" if rule.kind != "text" else "text"
    show = date_text if rule.kind == "date" else number_text
    return f"a {'whole number' if rule.integral else rule.kind}, {show(rule.low)} to {show(rule.high)} in training"


PROBLEMS = {
    "unreadable": "is not a {kind}",
    "empty": "is missing; training never saw that",
    "level": "is a level that training never saw",
    "range": "lies outside what training saw",
}


def problem_text(rule: ColumnRule, code: str) -> str:
    """What is wrong, in words; of a cell that means nothing here also what becomes of it where its row is still answered."""
    return PROBLEMS[code].format(kind=rule.kind) + (" and counts as missing" if code == "unreadable" and rule.nullable else "")


def issues_of(raw: Column, rule: ColumnRule, masks: dict[str, np.ndarray], counts: dict[str, dict[str, int]]) -> list[Issue]:
    issues = []
    for code, mask in masks.items():
        rows = np.flatnonzero(mask)
        if not len(rows):
            continue
        counts.setdefault(rule.name, {})[code] = len(rows)
        rows = rows[:SHOWN]
        cells, allowed, problem = raw_texts(raw.take(rows)), allowed_text(rule), problem_text(rule, code)
        issues += [Issue(int(r), rule.name, shortened(cell or ""), problem, allowed, code) for r, cell in zip(rows, cells, strict=True)]
    return issues


def order_issues(table: Table, raw: Table, rule: CrossRule, counts: dict[str, dict[str, int]]) -> list[Issue]:
    """The rows of a typed table that break a relation between two of its columns; cells are shown as they stand in `raw`."""
    if rule.left not in table or rule.right not in table:
        return []
    rows = np.flatnonzero(table[rule.left].values > table[rule.right].values)
    if not len(rows):
        return []
    counts.setdefault(rule.left, {})["rule"] = len(rows)
    rows = rows[:SHOWN]
    cells = raw_texts(raw.get(rule.left, table[rule.left]).take(rows))
    allowed = f"{rule.left} {rule.relation} {rule.right}"
    return [
        Issue(int(r), rule.left, shortened(cell or ""), f"is greater than {rule.right}", allowed, "rule") for r, cell in zip(rows, cells, strict=True)
    ]


def raw_texts(column: Column) -> list[str | None]:
    """Raw cells as a person wrote them."""
    if column.kind == "date" and column.levels is None:
        return [None if v != v else date_text(v) for v in column.values.tolist()]
    return [cell_text(c) for c in column.strings().tolist()]
