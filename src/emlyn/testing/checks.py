"""What every check must do. Subclass, give `check` (and `planted`, if the check can be shown at work), run pytest.

class TestMyCheck(CheckContract):
    @pytest.fixture
    def check(self): return MY_CHECK
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from emlyn.core.auditing.probe import Probe
from emlyn.core.check import Check, Material, Outcome
from emlyn.core.dataset import rows_dataset
from emlyn.core.table import Column, Table, number_column, text_column
from emlyn.records.codec import to_json
from emlyn.records.data_card import ColumnCard, DataCard
from emlyn.records.problem import Problem
from emlyn.types import Direction, Severity

NEEDS = frozenset(["raw", "whole", "table", "problem", "data", "probe", "model", "evaluation", "reference"])


def plain_material(rows: int = 300, task: str = "binary", seed: int = 0) -> Material:
    """A small, honest table with numbers, words, gaps and a target, as a check sees it. `task`: binary, multiclass or regression."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=rows), rng.normal(size=rows)
    columns: dict[str, Column] = {
        "height": number_column(170 + 10 * x),
        "load": number_column(np.where(rng.random(rows) < 0.1, np.nan, 5 + z)),
        "colour": text_column(rng.choice(["red", "green", "blue"], rows).tolist(), "category"),
        "note": text_column([f"row {i} says {w}" for i, w in enumerate(rng.choice(["this", "that"], rows))]),
    }
    signal = x + rng.normal(size=rows)
    classes: tuple[str, ...] = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "regression": ()}[task]
    codes = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, len(classes) + 1)[1:-1])) if classes else signal
    answers = codes.astype(np.int64) if classes else signal
    target = text_column([classes[k] for k in answers], "category") if classes else number_column(signal)
    return _material(columns, target, answers, Problem(task, "y", *_metric(task), classes=classes, features=tuple(columns), rows=rows))


def _metric(task: str) -> tuple[str, Direction]:
    known: dict[str, tuple[str, Direction]] = {
        "binary": ("roc_auc", "maximize"),
        "multiclass": ("log_loss", "minimize"),
        "regression": ("rmse", "minimize"),
    }
    return known[task]


def _material(columns: dict[str, Column], target: Column, answers: np.ndarray, problem: Problem) -> Material:
    table = Table(columns)
    raw = table.with_columns({"y": target})
    gaps = {n: c.missing for n, c in raw.items()}
    cards = tuple(ColumnCard(n, c.kind, rows=len(c), missing=int(gaps[n].sum()), distinct=len(np.unique(c.values[~gaps[n]]))) for n, c in raw.items())
    card = DataCard("planted", raw.rows, tuple(replace(c, role="target") if c.name == "y" else c for c in cards))
    data = rows_dataset(table, answers, classes=len(problem.classes))
    return Material(card, raw, table, problem, data, Probe(data, problem), whole=raw, seed=0)


class CheckContract:
    """The contract tests; `check` is a pytest fixture of the subclass."""

    @pytest.fixture(params=["binary", "multiclass", "regression"])
    def material(self, request: pytest.FixtureRequest) -> Material:
        return plain_material(task=request.param)

    def test_it_declares_what_it_is(self, check: Check) -> None:
        group, _, name = check.name.partition(".")
        assert group, "a code is dotted: group.name"
        assert name, "a code is dotted: group.name"
        assert check.title
        assert check.needs
        assert set(check.needs) <= NEEDS

    def test_it_answers_on_an_honest_table_without_a_fail(self, check: Check, material: Material) -> None:
        if not all(material.has(need) for need in check.needs):
            pytest.skip(f"needs {check.needs}")
        found = check.run(material)
        assert isinstance(found, Outcome)
        assert not [f for f in found.findings if f.severity == "fail"], "an honest table has no failing finding"

    def test_its_findings_are_complete_and_plain(self, check: Check, material: Material) -> None:
        if not all(material.has(need) for need in check.needs):
            pytest.skip(f"needs {check.needs}")
        found = check.run(material)
        ids = {f.id for f in found.findings}
        for one in found.findings:
            assert one.code == check.name
            assert one.severity in get_args(Severity)
            assert one.message.endswith((".", "?"))
            assert "\n" not in one.message
            assert set(one.columns) <= set(material.raw)
            assert all(0 <= r < material.raw.rows for r in one.rows)
            to_json(one)
        for change in found.repairs:
            assert change.finding in ids, "a repair belongs to a finding"
            assert change.says

    def test_it_looks_and_does_not_touch(self, check: Check, material: Material) -> None:
        if not all(material.has(need) for need in check.needs):
            pytest.skip(f"needs {check.needs}")
        before = {n: c.values.copy() for n, c in material.raw.items()}
        first, second = check.run(material), check.run(material)
        assert first == second, "the same table gives the same answer"
        for n, values in before.items():
            np.testing.assert_array_equal(material.raw[n].values, values)

    def test_it_bears_tiny_and_empty_columns(self, check: Check) -> None:
        for rows in (5, 12):
            material = plain_material(rows=rows)
            assert material.table is not None
            assert material.problem is not None
            empty = {"empty": number_column(np.full(rows, np.nan)), "endless": number_column(np.full(rows, np.inf))}
            table = material.table.with_columns(empty)
            cards = (*material.card.columns, *(ColumnCard(n, "number", rows=rows, missing=rows) for n in empty))
            problem = replace(material.problem, features=tuple(table))
            wider = replace(
                material,
                raw=material.raw.with_columns(empty),
                whole=material.raw.with_columns(empty),
                table=table,
                problem=problem,
                card=replace(material.card, columns=cards),
                data=rows_dataset(table, material.data.answers, classes=2) if material.data is not None else None,
            )
            if all(wider.has(need) for need in check.needs):
                check.run(wider)
