"""The first stage: what every column is, what it is for, and what it holds, each with its why."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from emlyn.context import Context
from emlyn.core.reader import Read
from emlyn.core.table import Column, Table, table_digest
from emlyn.core.tables.infer import Guess, infer_numbers, infer_texts, texts_of, told_date
from emlyn.core.tables.infer_dates import date_formats
from emlyn.core.tables.parse import YES_NO
from emlyn.core.tables.typed import raw_texts, typed
from emlyn.errors import DataError, OptionError
from emlyn.records.data_card import ColumnCard, ColumnRule, DataCard, Parse
from emlyn.records.options import TrainOptions
from emlyn.types import Kind, Role

SAMPLE = 100_000
"""Rows from which distinct values and quantiles are taken on larger tables; counts of missing and unreadable cells are always exact."""
LEVELS = 50
EXAMPLES = 5
FEW = 20
"""So many levels are always listed; more, only where a level stands for two rows and more on average."""
STEPS = (0.01, 0.05, 0.25, 0.50, 0.75, 0.95, 0.99)


def profile(read: Read, options: TrainOptions, context: Context) -> DataCard:
    """The data card of a raw table. Raises DataError for a column that is named and not there, OptionError for an unknown kind."""
    table = read.table
    roles = _told_roles(table, options)
    sampled = SAMPLE if table.rows > 2 * SAMPLE else 0
    sample = np.sort(np.random.default_rng(0).choice(table.rows, SAMPLE, replace=False)) if sampled else None
    decimal = read.dialect.get("decimal", ".")

    def look(name: str) -> ColumnCard:
        role, told = roles.get(name), options.types.get(name)
        guess = _told_guess(table[name], told, decimal, name) if told else _guess(name, table[name], role, decimal)
        return _card(name, table[name], guess, role, sample)

    cards = []
    with ThreadPoolExecutor(max(1, context.threads), "emlyn-profile") as pool:
        digest = pool.submit(table_digest, table)
        for number, card in enumerate(pool.map(look, table)):
            cards.append(card)
            if number % 500 == 499:
                context.emit("stage.progress", f"{number + 1} of {len(table)} columns looked at")
    return DataCard(read.source, table.rows, tuple(cards), digest.result(), dict(read.dialect), tuple(read.notes), sampled)


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


def _card(name: str, raw: Column, guess: Guess, told: Role | None, sample: np.ndarray | None) -> ColumnCard:
    """What the column is for, why, and what it holds when it is read as guessed."""
    found = typed(raw, ColumnRule(name, guess.kind, guess.parse))
    column, missing, unreadable = found.column, int(found.column.missing.sum()), int(found.unreadable.sum())
    rows = np.flatnonzero(found.unreadable)[:200]
    examples = tuple(dict.fromkeys((t or "")[:80] for t in raw_texts(raw.take(rows))))[:EXAMPLES] if unreadable else ()
    facts = _coded_facts(column, guess) if column.coded else _number_facts(column, missing, sample)
    role, why = _role(guess, told, facts["distinct"], missing)
    stored = "text" if raw.coded else raw.kind
    return ColumnCard(
        name,
        guess.kind,
        role,
        why[:1].upper() + why[1:] + ".",
        guess.parse,
        stored,
        len(raw),
        missing,
        unreadable=unreadable,
        examples=examples,
        **facts,
    )


def _role(guess: Guess, told: Role | None, distinct: int, missing: int) -> tuple[Role, str]:
    """What the user said, else what the cells say: nothing can be learned from a column without cells or with one level alone."""
    if told is not None:
        why = f"named as {told}" + ("" if guess.role == "id" and told not in ("id", "group") else f"; {guess.why}")
        return told, why + ("; it cannot be read as a time" if told == "time" and guess.kind not in ("date", "number") else "")
    if guess.role != "id" and distinct == 0:
        return "excluded", "it holds no value at all"
    if guess.role == "feature" and distinct == 1 and missing == 0:
        return "excluded", "every cell is the same, so it tells nothing"
    return guess.role, guess.why


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


def _coded_facts(column: Column, guess: Guess) -> dict[str, Any]:
    """Distinct levels, and the most frequent ones unless they are texts, keys or nearly as many as the rows: those stay out of the card."""
    counts = column.counts()
    assert column.levels is not None
    distinct, filled = int((counts > 0).sum()), int(counts.sum())
    if guess.kind == "text" or guess.role == "id" or distinct > max(FEW, filled / 2):
        return {"distinct": distinct}
    order = np.argsort(-counts, kind="stable")[:LEVELS]
    return {"distinct": distinct, "levels": tuple((str(column.levels[i])[:200], int(counts[i])) for i in order if counts[i])}


def _number_facts(column: Column, missing: int, sample: np.ndarray | None) -> dict[str, Any]:
    values = column.values if not missing else column.values[~np.isnan(column.values)]
    if not len(values):
        return {"distinct": 0}
    part = values
    if sample is not None:
        part = column.values[sample]
        part = part[~np.isnan(part)] if missing else part
    part = np.sort(part) if len(part) else np.sort(values)
    low, high = float(values.min()), float(values.max())
    distinct = max(int(1 + np.count_nonzero(part[1:] != part[:-1])), 1 + (low != high))
    places = (np.asarray(STEPS) * (len(part) - 1) + 0.5).astype(int)
    ones = int(values.sum()) if column.kind == "boolean" else 0
    return {
        "distinct": distinct,
        "low": low,
        "high": high,
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quantiles": tuple(part[places].tolist()),
        "integral": column.kind != "date" and bool((part == np.floor(part)).all() and (values == np.floor(values)).all()),
        "levels": tuple((t, n) for t, n in (("1", ones), ("0", len(values) - ones)) if n) if column.kind == "boolean" else (),
    }
