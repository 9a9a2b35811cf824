"""A table that evolved, held against a model's contract: what changed, and the contract that would fit it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from emlyn.core.table import Table, number_text
from emlyn.core.tables.parse import shortened
from emlyn.core.tables.typed import Typed, departures, typed
from emlyn.records.approval import Change
from emlyn.records.data_card import ColumnRule, Contract

RETYPED = 0.5
"""Share of unreadable cells from which a column is taken for one of another type."""
RECODED = 0.5
"""Share of cells with unseen levels from which a column is taken for one that was coded anew: the model would answer mostly blindly."""
MOST_LEVELS = 200
"""New levels that one approval takes in."""


def changes(raw: Table, contract: Contract) -> tuple[Change, ...]:
    """What the contract does not expect of this table, column by column in the contract's order; new columns come last."""
    found = [change for rule in contract.columns for change in _column_changes(raw, rule)]
    for rule in contract.rules:
        broken = _broken(raw, contract, rule.left, rule.right)
        if broken:
            says = f"{rule.left} is greater than {rule.right} in {broken:,} rows, which training never saw"
            found.append(Change(f"{rule.left} {rule.relation} {rule.right}", "rule", says, broken))
    known = {rule.name for rule in contract.columns}
    return (*found, *(Change(name, "new", f"{name} is a new column; the model does not look at it") for name in raw if name not in known))


def _column_changes(raw: Table, rule: ColumnRule) -> Iterator[Change]:
    name = rule.name
    if name not in raw:
        if rule.required:
            yield Change(name, "gone", f"{name} is gone, and the model needs it", raw.rows, approvable=False)
        return
    seen = typed(raw[name], rule)
    filled = int((~raw[name].missing).sum())
    unreadable = int(seen.unreadable.sum())
    if unreadable > RETYPED * max(1, filled):
        yield Change(name, "type", f"{name} was a {rule.kind} and is something else now: {unreadable:,} cells cannot be read", unreadable, False)
        return
    masks = departures(seen, rule)
    empty = int(masks["empty"].sum()) + unreadable if not rule.nullable else 0
    if empty:
        yield Change(name, "empty", f"{name} has no readable value in {empty:,} rows; training always had one", empty)
    if "range" in masks and masks["range"].any():
        yield _range_change(rule, seen, int(masks["range"].sum()))
    if "level" in masks and masks["level"].any():
        yield _level_change(rule, seen, masks["level"])


def _range_change(rule: ColumnRule, seen: Typed, n: int) -> Change:
    known = seen.column.values[np.isfinite(seen.column.values)]
    assert rule.low is not None
    assert rule.high is not None
    low, high = min(rule.low, float(known.min())), max(rule.high, float(known.max()))
    says = (
        f"{rule.name} reaches from {number_text(low)} to {number_text(high)}; training saw {number_text(rule.low)} to {number_text(rule.high)} "
        f"({n:,} rows beyond)"
    )
    return Change(rule.name, "range", says, n, low=low, high=high)


def _level_change(rule: ColumnRule, seen: Typed, new: np.ndarray) -> Change:
    column, n = seen.column, int(new.sum())
    assert column.levels is not None
    used = np.bincount(column.values[new], minlength=len(column.levels))
    names = [str(column.levels[k]) for k in np.argsort(-used, kind="stable") if used[k]]
    shown = ", ".join(shortened(level, 30) for level in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    says = f"{rule.name} has {len(names)} level{'s' * (len(names) > 1)} that training never saw: {shown} ({n:,} rows)"
    if n > RECODED * max(1, int((~column.missing).sum())) or len(names) > MOST_LEVELS:
        return Change(rule.name, "recoded", f"{says}; most of the column is new to the model", n, approvable=False)
    return Change(rule.name, "level", says, n, levels=tuple(names))


def _broken(raw: Table, contract: Contract, left: str, right: str) -> int:
    rules = {rule.name: rule for rule in contract.columns}
    if not {left, right} <= set(rules) & set(raw):
        return 0
    return int((typed(raw[left], rules[left]).column.values > typed(raw[right], rules[right]).column.values).sum())


def amended(contract: Contract, accepted: Sequence[Change]) -> Contract:
    """The contract widened by these changes: ranges stretched, levels taken in, gaps allowed, broken rules dropped; nothing is narrowed."""
    columns = {rule.name: rule for rule in contract.columns}
    for change in accepted:
        rule = columns.get(change.column)
        if change.code == "range" and rule is not None:
            columns[rule.name] = replace(rule, low=change.low, high=change.high)
        elif change.code == "level" and rule is not None:
            columns[rule.name] = replace(rule, levels=(*rule.levels, *change.levels))
        elif change.code == "empty" and rule is not None:
            columns[rule.name] = replace(rule, nullable=True)
    dropped = {change.column for change in accepted if change.code == "rule"}
    rules = tuple(rule for rule in contract.rules if f"{rule.left} {rule.relation} {rule.right}" not in dropped)
    return replace(contract, columns=tuple(columns[rule.name] for rule in contract.columns), rules=rules)
