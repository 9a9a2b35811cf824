"""Parting rows: the seal, and the folds. Folds follow the split rule of the problem; the seal follows row content, never a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from emlyn.core.dataset import Dataset, Fold, fold_at
from emlyn.core.table import Column, Table, row_hashes
from emlyn.records.problem import SplitRule

SEAL_FROM = 2_000
"""Rows from which a part is sealed; below, every row trains."""
SEALED_SHARE = 0.2
SEALED_MOST = 5_000
HELD_MOST = 20_000
"""Rows that a single holdout asks about at most; more would only take rows from learning."""
FEWEST_GROUPS, MOST_HELD = 20, 0.2
"""Groups that a single holdout asks about, because rows of one group say little about others, and the share of units up to which it does."""

TWINS = "identical rows"
"""`SplitRule.by` where rows with equal features are kept together."""


def twin_codes(table: Table, names: Sequence[str]) -> np.ndarray:
    """One code per distinct content of the named columns (n,) of int64: rows with equal cells share a code.

    Hashes every row on the columns with the most different values first, and only what collides there on all, so that wide tables stay cheap.
    """
    if not names:
        return np.arange(table.rows)
    telling = sorted(names, key=lambda n: -_variety(table[n]))[:6]
    hashes = _hashes(table, telling)
    ordered = np.sort(hashes)
    if not (ordered[1:] == ordered[:-1]).any():  # a plain sort takes an eighth of the time of telling which is which
        return np.arange(table.rows)
    _, codes = np.unique(hashes, return_inverse=True)
    shared = np.flatnonzero(np.bincount(codes)[codes] > 1)
    if len(telling) < len(names) and len(shared):
        _, fine = np.unique(_hashes(table.select(names).take(shared), names), return_inverse=True)
        codes[shared] = fine + int(codes.max()) + 1
    return codes.astype(np.int64)


def count_twins(table: Table, names: Sequence[str], fewest: float = 0.0) -> tuple[int, bool]:
    """Rows whose named cells repeat another row's, and (where their share is above `fewest`) whether they look like copies rather than coincidences.

    Where rows are alike by chance (few categories), nearly every possible row is there, or far more rows would repeat if one column were
    left out; copies leave no such rows. Columns that follow from another one do not count. Of more than 200,000 rows, and of more than
    60 columns, a part is compared.
    """
    codes = twin_codes(table, names)
    sizes = np.bincount(codes)
    twins, distinct = int(sizes[sizes > 1].sum()), int(np.count_nonzero(sizes))
    if twins <= fewest * table.rows:
        return twins, False
    names = _free(table.take(np.sort(np.unique(codes, return_index=True)[1])), names)
    if sum(np.log(_variety(table[n])) for n in names) < np.log(10 * distinct):
        return twins, False
    cells = [_hashes(table, [name]) for name in list(names)[: 60 if table.rows <= 200_000 else 10]]
    with np.errstate(over="ignore"):
        whole = np.add.reduce(cells)
        same = table.rows - len(np.unique(whole))
        almost = sum(table.rows - len(np.unique(whole - one)) - same for one in cells)
    return twins, same > almost


def _free(table: Table, names: Sequence[str], most_rows: int = 2_000) -> list[str]:
    """The columns that follow from no other kept one, by a spread of rows: `age` makes `age squared` superfluous."""
    step = max(1, table.rows // most_rows)
    codes = {n: np.unique(_hashes(Table({n: table[n].take(slice(None, None, step))}), [n]), return_inverse=True)[1].astype(np.int64) for n in names}
    kept: list[str] = []
    for name in sorted(names, key=lambda n: -int(codes[n].max())):
        wide = codes[name].max() + 1
        tellers = (codes[k] for k in kept if codes[k].max() < 0.7 * len(codes[k]))
        if not any(len(np.unique(k * wide + codes[name])) == k.max() + 1 for k in tellers):
            kept.append(name)
    return kept


def _hashes(table: Table, names: Sequence[str]) -> np.ndarray:
    """Row hashes for comparing rows of one table: level codes stand for their texts, which saves hashing the texts."""
    return row_hashes(Table({n: Column("number", np.asarray(table[n].values, dtype=np.float64)) for n in names}))


def _variety(column: Column, most: int = 2_000) -> int:
    """How many different values a spread of cells holds."""
    return len(np.unique(column.values[:: max(1, len(column) // most)]))


def sealed_rows(table: Table, rule: SplitRule, group: np.ndarray | None = None, time: np.ndarray | None = None) -> np.ndarray:
    """Boolean mask (n,) of the rows put under seal: a fifth, at most 5,000, none below 2,000 rows.

    By time: the latest rows. By group: whole groups, chosen by the hash of the group's smallest row hash. Otherwise the rows with
    the smallest content hash; equal rows share a hash, so twins fall on one side.
    """
    n = table.rows
    mask = np.zeros(n, dtype=bool)
    if n < SEAL_FROM or rule.sealed == 0:
        return mask
    wanted = min(int(n * SEALED_SHARE), SEALED_MOST)
    if rule.kind == "time" and time is not None:
        order = np.argsort(time, kind="stable")
        edge = time[order[n - wanted]]
        return np.asarray(time >= edge if (time >= edge).sum() <= 1.5 * wanted else time > edge)
    key = row_hashes(table)
    if rule.kind == "group" and group is not None:
        smallest = np.full(int(group.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(smallest, group, key)
        key = smallest[group]
    order = np.argsort(key, kind="stable")
    edge = key[order[wanted - 1]]
    return np.asarray(key <= edge if (key <= edge).sum() <= 1.5 * wanted else key < edge)


def make_folds(data: Dataset, rule: SplitRule, count: int, seed: int = 0, *, stratify: bool = False) -> list[Fold]:
    """`count` folds by the rule: stratified or random, whole groups together, or forward in time.

    Forward in time gives expanding windows: fold k learns from everything before its block. Raises ValueError for count < 2.
    """
    if count < 2:
        raise ValueError("at least two folds are needed")
    if rule.kind == "time" and data.time is not None:
        return [fold_at(data, ask, k, before) for k, (ask, before) in enumerate(_forward(data, rule, count))]
    side = _sides(data, rule, count, seed, stratify)
    return [fold_at(data, np.flatnonzero(side == k), k) for k in range(count)]


def holdout(data: Dataset, rule: SplitRule, share: float, seed: int = 0, *, stratify: bool = False) -> Fold:
    """One fold that asks about `share` of the units; of groups about `FEWEST_GROUPS` where that are more, up to a fifth."""
    if rule.kind == "time" and data.time is not None:
        ask, before = next(_forward(data, rule, max(2, round(1 / share)), latest_first=True))
        return fold_at(data, ask, 0, before)
    if rule.kind == "group" and data.group is not None:
        share = max(share, min(MOST_HELD, FEWEST_GROUPS / len(np.unique(data.group))))
    side = _sides(data, rule, max(2, round(1 / share)), seed, stratify)
    return fold_at(data, np.flatnonzero(side == 0), 0)


def _sides(data: Dataset, rule: SplitRule, count: int, seed: int, stratify: bool) -> np.ndarray:
    """Which of `count` parts each unit belongs to (n,)."""
    rng = np.random.default_rng(seed)
    if rule.kind == "group" and rule.by == TWINS and data.group is None:
        data = replace(data, group=twin_codes(data.rows.take(data.units), tuple(data.rows)))
    if rule.kind == "group" and data.group is not None:
        return _group_sides(data, count, rng, stratify)
    if stratify and data.answers is not None:
        return _stratified_sides(data.answers, count, rng)
    return rng.permutation(np.arange(len(data)) % count)


def _stratified_sides(answers: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    side = np.empty(len(answers), dtype=np.int64)
    offset = 0
    for code in np.unique(answers):
        rows = np.flatnonzero(answers == code)
        side[rng.permutation(rows)] = (np.arange(len(rows)) + offset) % count
        offset += len(rows)
    return side


def _group_sides(data: Dataset, count: int, rng: np.random.Generator, stratify: bool) -> np.ndarray:
    """Whole groups to the side where they even out size and, when asked, class counts: large groups first (as StratifiedGroupKFold)."""
    assert data.group is not None
    _, group = np.unique(data.group, return_inverse=True)
    groups = int(group.max()) + 1
    classes = data.answers.astype(np.int64) if stratify and data.answers is not None else np.zeros(len(group), dtype=np.int64)
    table = np.zeros((groups, int(classes.max()) + 1))
    np.add.at(table, (group, classes), 1.0)
    share = table / table.sum(axis=0).clip(min=1)
    order = rng.permutation(groups)
    if groups > 1_000:  # so many that dealing them out by size and commonest class evens out by itself
        deal = order[np.lexsort((table[order].argmax(axis=1), -table[order].sum(axis=1)))]
        dealt = np.empty(groups, dtype=np.int64)
        dealt[deal] = np.arange(groups) % count
        return dealt[group]
    order = order[np.argsort(-table[order].max(axis=1), kind="stable")]
    load, place = np.zeros((count, table.shape[1])), np.empty(groups, dtype=np.int64)
    for g in order:
        cost = (
            (load + share[g]).std(axis=0).mean()
            if count == 1
            else np.array([np.where(np.arange(count)[:, None] == k, load + share[g], load).std(axis=0).mean() for k in range(count)])
        )
        place[g] = int(np.argmin(np.round(cost, 12) + 1e-13 * load.sum(axis=1)))
        load[place[g]] += share[g]
    return place[group]


def _forward(data: Dataset, rule: SplitRule, count: int, *, latest_first: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of each block in turn, and of what came before it."""
    assert data.time is not None
    order = np.argsort(data.time, kind="stable")
    edges = np.linspace(0, len(order), count + 2).astype(int)[1:]
    for k in reversed(range(count)) if latest_first else range(count):
        ask, before = order[edges[k] : edges[k + 1]], order[: edges[k]]
        if rule.embargo_s and len(ask):
            before = before[data.time[before] <= data.time[ask].min() - rule.embargo_s]
        if len(ask) and len(before):
            yield ask, before
