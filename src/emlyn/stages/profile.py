"""The first stage: what every column is, what it is for, and what it holds, each with its why."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

import numpy as np

from emlyn.context import Context
from emlyn.core.infer import Guess, infer_numbers, infer_texts, texts_of, told_date
from emlyn.core.infer_dates import date_formats
from emlyn.core.parse import YES_NO
from emlyn.core.reader import Read
from emlyn.core.table import Column, Table, table_digest
from emlyn.core.typed import raw_texts, typed
from emlyn.errors import DataError, OptionError
from emlyn.records.data_card import ColumnCard, ColumnRule, DataCard, Parse
from emlyn.records.options import TrainOptions
from emlyn.types import Kind, Role

SAMPLE = 100_000
"""Rows from which distinct values and quantiles are taken on larger tables; counts of missing and unreadable cells are always exact."""
LEVELS = 50
EXAMPLES = 5
STEPS = (0.01, 0.05, 0.25, 0.50, 0.75, 0.95, 0.99)


def profile(read: Read, options: TrainOptions, context: Context) -> DataCard:
    """The data card of a raw table. Raises DataError for a column that is named and not there, OptionError for an unknown kind."""
    table = read.table
    roles = _told_roles(table, options)
    sampled = SAMPLE if table.rows > 2 * SAMPLE else 0
    sample = np.sort(np.random.default_rng(0).choice(table.rows, SAMPLE, replace=False)) if sampled else None
    decimal = read.dialect.get("decimal", ".")
    cards = []
    for number, (name, column) in enumerate(table.items()):
        told = options.types.get(name)
        card = _card(name, column, roles.get(name), told, decimal)
        cards.append(_described(card, column, sample))
        if number % 500 == 499:
            context.emit("stage.progress", f"{number + 1} of {len(table)} columns looked at")
    return DataCard(read.source, table.rows, tuple(cards), table_digest(table), dict(read.dialect), tuple(read.notes), sampled)


def _told_roles(table: Table, options: TrainOptions) -> dict[str, Role]:
    """What the user said each column is for."""
    roles: dict[str, Role] = {}
    named: list[tuple[str, Role, Iterable[str | None]]] = [
        ("--exclude", "excluded", options.exclude), ("--id", "id", (options.id,)), ("--group", "group", (options.group,)),
        ("--time", "time", (options.time,)), ("--weight", "weight", (options.weight,)), ("--target", "target", (options.target,)),
    ]  # fmt: skip
    for flag, role, names in named:
        for name in names:
            if name is not None:
                _must_exist(name, table, flag)
                roles[name] = role
    for name, kind in options.types.items():
        _must_exist(name, table, "--type")
        if kind not in get_args(Kind):
            raise OptionError(f"{kind!r} is not a kind of column", where=f"--type {name}={kind}", allowed=", ".join(get_args(Kind)))
    for name in options.sensitive:
        _must_exist(name, table, "--sensitive")
    return roles


def _must_exist(name: str, table: Table, flag: str) -> None:
    if name in table:
        return
    folded = {n.casefold(): n for n in table}
    near = [folded[name.casefold()]] if name.casefold() in folded else difflib.get_close_matches(name, list(table), n=3, cutoff=0.5)
    shown = ", ".join(n[:40] for n in list(table)[:15]) + (" …" if len(table) > 15 else "")
    step = "did you mean " + " or ".join(repr(n) for n in near) + "?" if near else "name one of these columns"
    raise DataError(f"no column is called {name[:100]!r}", where=flag, allowed=shown, next_step=step)


def _card(name: str, column: Column, role: Role | None, told: str | None, decimal: str) -> ColumnCard:
    """Kind, role, parse and why."""
    guess = _told_guess(column, told, decimal, name) if told else _guess(name, column, role, decimal)
    stored = "text" if column.coded else column.kind
    if role == "time" and guess.kind not in ("date", "number"):
        guess = replace(guess, why=guess.why + "; it was named as the time, and cannot be read as one")
    found: Role = role or guess.role  # type: ignore[assignment]
    why = guess.why if role is None else f"named as {role}; {guess.why}"
    if role is not None and guess.role == "id" and role not in ("id", "group"):
        why = f"named as {role}"
    return ColumnCard(name, guess.kind, found, why[:1].upper() + why[1:] + ".", guess.parse, stored, rows=len(column))


def _guess(name: str, column: Column, role: Role | None, decimal: str) -> Guess:
    if column.coded:
        return infer_texts(column, name, decimal=decimal, words_only=role == "target")
    if column.kind == "date":
        return Guess("date", Parse(), "its source stores dates")
    if column.kind == "boolean":
        return Guess("boolean", Parse(), "its source stores yes or no")
    known = column.values[~np.isnan(column.values)]
    if not len(known):
        return Guess("number", Parse(), "it holds no value at all", "excluded")
    guess = infer_numbers(known[np.isfinite(known)] if not np.isfinite(known).all() else known, name, is_target=role == "target")
    return replace(guess, parse=replace(guess.parse, decimal=decimal)) if guess.kind == "number" else guess


def _told_guess(column: Column, told: str, decimal: str, name: str) -> Guess:
    """The parse that suits the kind which the user named."""
    kind: Kind = told  # type: ignore[assignment]
    why = f"named as {kind} (--type)"
    if not column.coded:
        dates = kind == "date" and column.kind == "number"
        return Guess(kind, told_date(column.values[~np.isnan(column.values)]) if dates else Parse(decimal=decimal), why)
    missing = texts_of(column).missing
    guess = infer_texts(Column("text", column.values, column.levels), name, decimal=decimal)
    if guess.kind == kind:
        return replace(guess, why=why, role="feature")
    if kind == "date":
        return Guess(kind, Parse(missing=missing, dates=date_formats(texts_of(column).texts[:2000], enough=0.0)[0]), why)
    if kind == "boolean":
        words = {t.casefold() for t in texts_of(column).texts}
        pair = max(YES_NO, key=lambda p: len(words & set(p)))
        return Guess(kind, Parse(missing=missing, true=(pair[0],), false=(pair[1],)), why)
    if kind == "number":
        return Guess(kind, Parse(missing=missing, decimal=decimal), why)
    return Guess(kind, Parse(missing=missing), why)


def _described(card: ColumnCard, raw: Column, sample: np.ndarray | None) -> ColumnCard:
    """The card with what the column holds, and the role of columns that hold nothing to learn from."""
    found = typed(raw, ColumnRule(card.name, card.kind, card.parse))
    column = found.column
    missing = int(column.missing.sum())
    unreadable = int(found.unreadable.sum())
    rows = np.flatnonzero(found.unreadable)[:200]
    examples = tuple(dict.fromkeys((t or "")[:80] for t in raw_texts(raw.take(rows))))[:EXAMPLES] if unreadable else ()
    card = replace(card, missing=missing, unreadable=unreadable, examples=examples)
    card = _coded_facts(card, column) if column.coded else _number_facts(card, column, sample)
    if card.role != "feature":
        return card
    if card.distinct == 0:
        return replace(card, role="excluded", why="It holds no value at all.")
    if card.distinct == 1 and missing == 0:
        return replace(card, role="excluded", why="Every cell is the same, so it tells nothing.")
    return card


def _coded_facts(card: ColumnCard, column: Column) -> ColumnCard:
    counts = column.counts()
    assert column.levels is not None
    order = np.argsort(-counts, kind="stable")[:LEVELS]
    levels = tuple((str(column.levels[i])[:200], int(counts[i])) for i in order if counts[i])
    return replace(card, distinct=int((counts > 0).sum()), levels=levels)


def _number_facts(card: ColumnCard, column: Column, sample: np.ndarray | None) -> ColumnCard:
    values = column.values if not card.missing else column.values[~np.isnan(column.values)]
    if not len(values):
        return card
    part = values
    if sample is not None:
        part = column.values[sample]
        part = part[~np.isnan(part)] if card.missing else part
    part = np.sort(part) if len(part) else np.sort(values)
    distinct = int(1 + (part[1:] != part[:-1]).sum())
    low, high = float(values.min()), float(values.max())
    if distinct == 1 and low != high:
        distinct = 2
    if card.kind == "boolean":
        ones = int(values.sum())
        card = replace(card, levels=tuple((t, n) for t, n in (("1", ones), ("0", len(values) - ones)) if n))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(values.mean()), float(values.std())
    quantiles = tuple(float(part[min(len(part) - 1, int(q * (len(part) - 1) + 0.5))]) for q in STEPS)
    integral = card.kind != "date" and bool((part == np.floor(part)).all() and (part is values or (values == np.floor(values)).all()))
    return replace(card, distinct=distinct, low=low, high=high, mean=mean, std=std, quantiles=quantiles, integral=integral)
