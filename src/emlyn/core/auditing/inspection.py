"""Looking at a table: the material that checks may see, and the one dispatcher that runs every check whose needs are met."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from emlyn import plugins
from emlyn.core.auditing.probe import Probe
from emlyn.core.auditing.structure import answers_column, time_seconds, typed
from emlyn.core.check import Check, Material, Outcome
from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.ranks import false_discovery
from emlyn.core.splits import TWINS, twin_codes
from emlyn.core.table import Column, Table
from emlyn.records.data_card import DataCard
from emlyn.records.finding import Finding, Question
from emlyn.records.problem import Problem
from emlyn.records.repair import Repair

SAMPLE = 20_000
"""Rows that the checks look at where not every row is needed."""
MOST_COLUMNS = 2_000
"""Columns that the checks look at; of wider tables those that go with the answer most."""
MOST_PROBED = 50
"""Classes up to which the probe is asked."""
FIRST = ("leakage", "target", "structure", "missing", "form", "privacy", "fairness", "enough")
"""The order in which groups of checks run, should time be short."""
FALSE_DISCOVERY = 0.05
LATER = frozenset({"model", "evaluation", "reference"})
"""Needs of checks that belong to other stages."""


@dataclass(frozen=True, eq=False)
class View:
    """Which rows and columns are looked at, and with what seed and threads."""

    positions: np.ndarray
    """Rows of the sample, in order."""
    columns: frozenset[str]
    seed: int = 0
    threads: int = 1
    limits: tuple[str, ...] = ()
    """What is not looked at, in words."""


def view(raw: Table, card: DataCard, problem: Problem, seed: int = 0, threads: int = 1) -> View:
    """A sample of at most 20,000 rows; of very wide tables the 2,000 columns whose numbers go with the answer most, by 500 rows."""
    n, features = raw.rows, problem.features
    positions = np.arange(n) if n <= SAMPLE else np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))
    limits = [f"sampling: most checks looked at {SAMPLE:,} of {n:,} rows"] if n > SAMPLE else []
    if len(features) <= MOST_COLUMNS:
        return View(positions, frozenset(raw), seed, threads, tuple(limits))
    limits.append(f"columns: the checks looked at {MOST_COLUMNS:,} of {len(features):,} columns")
    kept = features[:MOST_COLUMNS]
    if problem.target:
        few = raw.take(positions[:: max(1, len(positions) // 500)][:500])
        answers = answers_column(few, card, problem.target, problem.task).values.astype(np.float64)
        table = typed(few, card, features)
        cells = np.stack([np.nan_to_num(table[name].values.astype(np.float64), posinf=0, neginf=0) for name in features])
        cells -= cells.mean(axis=1, keepdims=True)
        spread = cells.std(axis=1)
        strength = np.abs(cells @ (answers - answers.mean())) / np.where(spread > 0, spread, np.inf)
        kept = tuple(features[i] for i in np.argsort(-strength, kind="stable")[:MOST_COLUMNS])
    return View(positions, frozenset(kept) | (set(raw) - set(features)), seed, threads, tuple(limits))


def material(raw: Table, card: DataCard, problem: Problem, seen: View) -> Material:
    """The view as raw cells, as typed cells and, with a target, as a dataset with a probe."""
    problem = replace(problem, features=tuple(f for f in problem.features if f in seen.columns))
    cells = raw if len(seen.positions) == raw.rows else _compact(raw.take(seen.positions))
    table = typed(cells, card, [n for n in cells if n != problem.target and n in seen.columns])
    found = Material(card, cells, table, problem, whole=raw, seed=seen.seed)
    if not problem.target:
        return found
    task = plugins.find("tasks", problem.task)
    answers = task.encode(answers_column(cells, card, problem.target, problem.task), problem)
    data = rows_dataset(table, answers, classes=len(problem.classes), group=_groups(cells, problem), time=time_seconds(cells, card, problem))
    probe = Probe(data, problem, seen.seed, seen.threads) if problem.features and len(problem.classes) <= MOST_PROBED else None
    return replace(found, data=data, probe=probe)


def _groups(raw: Table, problem: Problem) -> np.ndarray | None:
    """The entity or twin of each row; a row without an entity stands alone."""
    if problem.split.kind != "group":
        return None
    if problem.split.by == TWINS:
        return twin_codes(raw, problem.features)
    codes = raw[problem.split.by].as_coded().values.astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(int(alone.sum()))
    return codes


def _compact(table: Table) -> Table:
    """The same cells without the levels that no row of the sample holds."""
    out = {}
    for name, column in table.items():
        if column.levels is None or len(column.levels) <= len(column):
            out[name] = column
            continue
        used, codes = np.unique(column.values[column.values >= 0], return_inverse=True)
        values = np.full(len(column), -1, dtype=np.int32)
        values[column.values >= 0] = codes
        out[name] = Column(column.kind, values, column.levels[used])
    return Table(out, rows=table.rows)


@dataclass(frozen=True)
class Inspection:
    """What the checks said, after the control of false discoveries."""

    findings: dict[str, Finding]
    repairs: tuple[Repair, ...]
    questions: tuple[Question, ...]
    left_out: tuple[str, ...]


def inspect(
    found: Material, positions: np.ndarray, seconds_left: Callable[[], float], only: Callable[[Check], bool] = lambda check: True
) -> Inspection:
    """Run every check whose needs are met: cheap ones first, leakage before the rest, until the time is up.

    `positions` are the sample's rows in the whole table. A check that fails is listed in `left_out` and ends nothing. Findings whose check
    gave p-values survive only as discoveries at a rate of 5 % over all of these checks (Benjamini, Hochberg 1995).
    """
    findings: dict[str, Finding] = {}
    repairs: list[Repair] = []
    questions: list[Question] = []
    left_out: list[str] = []
    p_values: dict[str, float] = {}
    for check in sorted(filter(only, plugins.collect("checks")), key=_turn):
        lacking = [need for need in check.needs if not found.has(need)]
        if "evaluation" in lacking:
            continue  # a check of the model: its turn comes after the evaluation
        if set(lacking) & LATER:
            continue
        if lacking:
            left_out.append(f"{check.name}: needs {', '.join(lacking)}")
            continue
        if seconds_left() <= 0:
            left_out.append(f"{check.name}: no time left for it")
            continue
        if "probe" in check.needs and seconds_left() < found.probe.start_s:
            left_out.append(f"{check.name}: no time left for the quick model that it asks")
            continue
        outcome, cost, error = _run(check, replace(found, seconds=seconds_left()))
        if outcome is None:
            left_out.append(f"{check.name}: could not look ({error[:200]})")
            continue
        whole = "whole" in check.needs
        for one in outcome.findings:
            rows = one.rows if whole else tuple(int(positions[r]) for r in one.rows)
            findings[one.id] = replace(one, rows=rows[:20], cost_s=cost)
        repairs += [
            one if whole or not one.drop_rows else replace(one, drop_rows=tuple(int(positions[r]) for r in one.drop_rows)) for one in outcome.repairs
        ]
        questions += outcome.questions
        p_values |= outcome.p_values
    refused = set(p_values) - discoveries(p_values, FALSE_DISCOVERY)
    kept = {name: one for name, one in findings.items() if name not in refused}
    return Inspection(kept, tuple(r for r in repairs if r.finding in kept), tuple(questions), tuple(left_out))


def _run(check: Check, found: Material) -> tuple[Outcome | None, float, str]:
    began = time.perf_counter()
    outcome, error = plugins.guarded(lambda: check.run(found))
    return outcome, round(time.perf_counter() - began, 4), error


def _turn(check: Check) -> tuple[bool, int]:
    group = check.name.split(".")[0]
    return check.slow, FIRST.index(group) if group in FIRST else len(FIRST)


def discoveries(p_values: Mapping[str, float], rate: float) -> set[str]:
    """The names kept at this false-discovery rate (Benjamini, Hochberg 1995)."""
    return {name for name, found in zip(p_values, false_discovery(np.array(list(p_values.values()))), strict=True) if found <= rate}
