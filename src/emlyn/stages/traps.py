"""Trap mode: known defects planted into copies of the user's own table, to show which checks would catch them there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from emlyn.context import Context
from emlyn.core.auditing.inspection import inspect, material, view
from emlyn.core.auditing.structure import typed, with_answer_kind
from emlyn.core.check import Check
from emlyn.core.table import Column, Table
from emlyn.records.audit import TrapResult
from emlyn.records.data_card import ColumnCard, DataCard
from emlyn.records.finding import Finding
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem

ROWS = 4_000
"""Rows of the copies."""
SECONDS = 60.0
COPY, LATER = "planted_copy", "planted_later"


@dataclass(frozen=True, eq=False)
class _Copy:
    """A copy of the table to plant into."""

    raw: Table
    card: DataCard
    problem: Problem
    rng: np.random.Generator

    def numbers(self) -> list[tuple[str, np.ndarray]]:
        """Features that are stored as numbers and have many different values, with their cells."""
        kept = [n for n in self.problem.features if self.card.column(n).kind == "number" and self.raw[n].levels is None]
        return [(n, self.raw[n].values) for n in kept if len(np.unique(self.raw[n].values[:2_000])) > 20]

    def answers(self) -> np.ndarray:
        """One number per row that rises with the answer: the class's code, or the number itself."""
        column = typed(self.raw.select([self.problem.target]), self.card, [self.problem.target])[self.problem.target]
        if column.levels is None:
            return column.values
        order = {label: k for k, label in enumerate(self.problem.classes)}
        codes = np.array([order.get(str(level), -1) for level in column.levels] + [-1], dtype=np.float64)
        return np.asarray(codes[column.values])

    def with_column(self, name: str, values: np.ndarray) -> _Copy:
        """One more feature, a number."""
        known = values[np.isfinite(values)]
        card = ColumnCard(
            name, "number", rows=len(values), missing=int((~np.isfinite(values)).sum()), distinct=len(np.unique(known)), stored="number"
        )
        return replace(
            self,
            raw=self.raw.with_columns({name: Column("number", values)}),
            card=replace(self.card, columns=(*self.card.columns, card)),
            problem=replace(self.problem, features=(*self.problem.features, name)),
        )

    def changed(self, columns: dict[str, Column]) -> _Copy:
        return replace(self, raw=self.raw.with_columns(columns))


Plant = Callable[[_Copy], tuple["_Copy | None", str]]
"""Plants one defect; answers the copy (None where there is no place for it) and says what was planted."""


def traps(raw: Table, card: DataCard, problem: Problem, options: TrainOptions, context: Context) -> list[TrapResult]:
    """Plant eight known defects, one at a time, and run the checks on each copy. `raw` holds only rows with an answer.

    A defect is caught when a check that is meant for it speaks up though it was silent on the untouched table, or speaks of at least a
    third more. A sample of 4,000 rows is used. Nothing is written anywhere. Raises nothing for tables without a place for a defect.
    """
    if not problem.target:
        return [TrapResult(name, False, False, detail="a target is needed (--target)") for name in TRAPS]
    rng = np.random.default_rng(context.seed)
    chosen = np.sort(rng.choice(raw.rows, ROWS, replace=False)) if raw.rows > ROWS else np.arange(raw.rows)
    base = _Copy(raw.take(chosen), with_answer_kind(card, problem.target, problem.task), problem, rng)
    before = _findings(base, context)
    results: list[TrapResult] = []
    for name, (plant, meant) in TRAPS.items():
        if context.cancel.is_set():
            break
        copy, says = plant(replace(base, rng=np.random.default_rng(context.seed + len(results))))
        if copy is None:
            results.append(TrapResult(name, False, False, detail=says))
            continue
        found = [f.code for f in _findings(copy, context).values() if _spoke_up(f, before)]
        by = tuple(dict.fromkeys([c for c in found if c in meant]))
        results.append(TrapResult(name, True, bool(by), by, says))
        context.emit("trap", f"{name}: {'caught by ' + ', '.join(by) if by else 'not caught'}", trap=name, caught=bool(by))
    return results


def _findings(copy: _Copy, context: Context) -> dict[str, Finding]:
    meant = {code for _, codes in TRAPS.values() for code in codes}
    seen = view(copy.raw, copy.card, copy.problem, context.seed, context.threads)
    deadline = context.budget.spent + SECONDS

    def useful(check: Check) -> bool:
        return check.name in meant

    return inspect(material(copy.raw, copy.card, copy.problem, seen), seen.positions, lambda: deadline - context.budget.spent, useful).findings


def _spoke_up(one: Finding, before: dict[str, Finding]) -> bool:
    """A finding that was not there before, or is a third larger now."""
    if one.id not in before:
        return True
    old, new = (f.effect.value if f.effect and f.effect.value is not None else 0.0 for f in (before[one.id], one))
    return new > 1.33 * old


def _copied_target(copy: _Copy) -> tuple[_Copy | None, str]:
    return copy.with_column(COPY, 2.0 * copy.answers() + 1.0), f"a column {COPY} that restates {copy.problem.target}"


def _shuffled_target(copy: _Copy) -> tuple[_Copy | None, str]:
    mixed = copy.raw[copy.problem.target].take(copy.rng.permutation(copy.raw.rows))
    return copy.changed({copy.problem.target: mixed}), f"the answers of {copy.problem.target} dealt to other rows"


def _duplicated_entities(copy: _Copy) -> tuple[_Copy | None, str]:
    n = copy.raw.rows
    some = copy.rng.choice(n, max(2, n // 8), replace=False)
    rows = copy.rng.permutation(np.concatenate([np.arange(n), np.repeat(some, 2)]))
    return replace(copy, raw=copy.raw.take(rows)), f"{len(some):,} rows written three times"


def _unit_error(copy: _Copy) -> tuple[_Copy | None, str]:
    narrow = []
    for name, values in copy.numbers():
        known = values[np.isfinite(values)]
        if len(known) > 0.9 * len(values) and (known > 0).all() and known.max() < 30 * known.min():
            narrow.append((float(known.max() / known.min()), name, values))
    if not narrow:
        return None, "no column of positive numbers is narrow enough to tell a unit"
    _, name, values = min(narrow, key=lambda found: found[0])
    wrong = copy.rng.random(len(values)) < 0.05
    return copy.changed({name: Column("number", np.where(wrong, values * 1000, values))}), f"5 % of {name} written in a unit 1,000 times smaller"


def _missing_by_class(copy: _Copy) -> tuple[_Copy | None, str]:
    answers = copy.answers()
    numbers = copy.numbers()
    if not numbers:
        return None, "no column of numbers"
    name, values = min(numbers, key=lambda found: float(np.isnan(found[1]).mean()))
    if copy.problem.classes:
        kind = answers == (1 if len(copy.problem.classes) == 2 else np.bincount(answers.astype(np.int64)).argmax())
    else:
        kind = answers >= np.median(answers)
    gone = copy.rng.random(len(values)) < np.where(kind, 0.8, 0.05)
    return copy.changed(
        {name: Column("number", np.where(gone, np.nan, values))}
    ), f"{name} emptied in 80 % of the rows of one kind of answer and 5 % of the others"


def _flipped_labels(copy: _Copy) -> tuple[_Copy | None, str]:
    if not copy.problem.classes:
        return None, "the answers are numbers, not labels"
    target = copy.raw[copy.problem.target]
    flipped = copy.rng.random(copy.raw.rows) < 0.1
    values = target.values.copy()
    values[flipped] = target.values[copy.rng.permutation(copy.raw.rows)][flipped]
    two = len(copy.problem.classes) == 2
    if two:
        pair = np.unique(target.values[~target.missing])[:2]
        values = np.where(flipped & (target.values == pair[0]), pair[1], np.where(flipped & (target.values == pair[1]), pair[0], target.values))
    return copy.changed(
        {copy.problem.target: Column(target.kind, values.astype(target.values.dtype), target.levels)}
    ), "one answer in ten changed to another"


def _future_column(copy: _Copy) -> tuple[_Copy | None, str]:
    answers = copy.answers()
    spread = answers.std() or 1.0
    noise = copy.rng.normal(0, 0.04 * spread if not copy.problem.classes else 0.2, len(answers))
    return copy.with_column(
        LATER, answers + noise
    ), f"a column {LATER} that follows {copy.problem.target} with a little noise, as one recorded afterwards would"


def _swapped_columns(copy: _Copy) -> tuple[_Copy | None, str]:
    numbers = copy.numbers()
    ranges = {name: np.nanquantile(values, [0.02, 0.98]) for name, values in numbers}
    for i, (a, x) in enumerate(numbers):
        for b, y in numbers[i + 1 :]:
            if ranges[a][1] < 0.5 * ranges[b][0] or ranges[b][1] < 0.5 * ranges[a][0]:
                at = copy.rng.random(copy.raw.rows) < 0.03
                planted = {a: Column("number", np.where(at, y, x)), b: Column("number", np.where(at, x, y))}
                return copy.changed(planted), f"{a} and {b} swapped in 3 % of the rows"
    return None, "no two columns of numbers have ranges far enough apart"


TRAPS: dict[str, tuple[Plant, tuple[str, ...]]] = {
    "copied target": (_copied_target, ("leakage.target_copy", "leakage.single_column")),
    "shuffled target": (_shuffled_target, ("target.no_signal",)),
    "duplicated entities": (_duplicated_entities, ("structure.twins", "form.duplicate_rows", "structure.entities")),
    "unit error": (_unit_error, ("form.unit_error", "form.far_values")),
    "missing by class": (_missing_by_class, ("leakage.missing_indicator", "missing.informative")),
    "flipped labels": (_flipped_labels, ("target.label_errors", "target.contradictory")),
    "future column": (_future_column, ("leakage.single_column", "leakage.after_outcome", "leakage.target_copy")),
    "swapped columns": (_swapped_columns, ("form.swapped", "form.order", "form.far_values", "form.impossible")),
}
