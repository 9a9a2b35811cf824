"""The contract: learned from a table's card, frozen in the model, enforced at training, in batch and at the door.

`conform` reads whole tables, working on levels rather than on rows; `conform_records` reads a few records fast.
Both give the same typed table for the same cells.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from emlyn.core.table import Column, Table
from emlyn.core.tables.contract_export import contract_diff, to_json_schema, to_pandera
from emlyn.core.tables.parse import shortened
from emlyn.core.tables.rows import conform_records
from emlyn.core.tables.typed import Conformed, Issue, departures, empty_column, issues_of, order_issues, typed
from emlyn.errors import DataError
from emlyn.records.data_card import ColumnCard, ColumnRule, Contract, DataCard

__all__ = ["Conformed", "Issue", "conform", "conform_records", "contract_diff", "contract_of", "to_json_schema", "to_pandera"]

LEVELS = 1_000
"""Most levels that a rule remembers; beyond, unseen levels are not reported."""
FEW = 20
"""So many levels are always remembered; more, only where a level stands for two rows and more on average: a list of names is nobody's business."""


def contract_of(card: DataCard, features: Sequence[str] | None = None, table: Table | None = None) -> Contract:
    """The contract of the given columns (every column with the role feature when not named).

    Columns that always had a value are required; the others may be absent. With the training `table` (raw or typed), every level is
    remembered up to 1,000; without, only where the card lists them all. Raises KeyError for a column the card does not hold.
    """
    names = list(features) if features is not None else list(card.names("feature"))
    known = {c.name: (i, c) for i, c in enumerate(card.columns)}
    rules = tuple(_rule_of(known[name][1], known[name][0], table) for name in names)
    return Contract(rules)


def _rule_of(card: ColumnCard, position: int, table: Table | None) -> ColumnRule:
    levels: tuple[str, ...] = ()
    if card.kind == "category":
        if table is not None and card.name in table:
            column = typed(table[card.name], ColumnRule(card.name, card.kind, card.parse)).column
            assert column.levels is not None
            counts = column.counts()
            levels = tuple(str(level) for level in column.levels[counts > 0])
            levels = levels if len(levels) <= max(FEW, counts.sum() / 2) else ()
        elif card.distinct <= len(card.levels):
            levels = tuple(level for level, _ in card.levels)
    complete = card.missing == 0 and card.unreadable == 0
    low, high = (card.low, card.high) if card.kind in ("number", "date") else (None, None)
    levels = levels if len(levels) <= LEVELS else ()
    return ColumnRule(card.name, card.kind, card.parse, complete, not complete, low, high, card.integral, levels, position, card.why)


def conform(table: Table, contract: Contract) -> Conformed:
    """A raw (or already typed) table as the contract reads it.

    Extra columns are ignored, any order and any dtype is accepted, absent optional columns are filled with "no value"; cells that
    cannot mean anything for their kind become "no value" and are listed. Their rows are refused where training always had a value in the
    column, and answered where it had gaps. Raises DataError when a required column is absent.
    """
    absent = [rule.name for rule in contract.columns if rule.required and rule.name not in table]
    if absent:
        raise _absent(absent, table)
    columns: dict[str, Column] = {}
    issues: list[Issue] = []
    counts: dict[str, dict[str, int]] = {}
    refused = np.zeros(table.rows, dtype=bool)
    for rule in contract.columns:
        if rule.name not in table:
            columns[rule.name] = empty_column(rule.kind, table.rows)
            continue
        found = typed(table[rule.name], rule)
        columns[rule.name] = found.column
        if not rule.nullable:
            refused |= found.unreadable
        masks = {"unreadable": found.unreadable, **departures(found, rule)}
        issues += issues_of(table[rule.name], rule, masks, counts)
    out = Table(columns, rows=table.rows)
    for order in contract.rules:
        issues += order_issues(out, table, order, counts)
    return Conformed(out, issues, refused, counts)


def _absent(absent: list[str], table: Table) -> DataError:
    near = {name: difflib.get_close_matches(name, list(table), n=1) for name in absent[:20]}
    hints = [f"{found[0]!r} looks like {name!r}" for name, found in near.items() if found]
    shown = ", ".join(repr(shortened(n)) for n in absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
    return DataError(
        f"{'a required column is' if len(absent) == 1 else f'{len(absent)} required columns are'} absent: {shown}",
        where=f"a table with the columns {', '.join(shortened(n, 30) for n in list(table)[:12])}{' …' if len(table) > 12 else ''}",
        allowed="columns that always had a value in training must be there; the others may be left out",
        next_step="; ".join(hints[:3]) + " (rename it)" if hints else "add the column, or train without it (--exclude)",
    )
