"""A table that evolves under a model: what its contract does not expect, the approval step, and what an approval changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emlyn
from emlyn.core.storing.workspace import Workspace
from emlyn.core.table import Table
from emlyn.core.tables.contract import conform, conform_records
from emlyn.core.tables.evolve import amended, changes
from emlyn.core.tables.frames import to_table
from emlyn.doors import python
from emlyn.doors.evolution import names_model
from emlyn.errors import DataError, OptionError
from emlyn.records.data_card import ColumnRule, Contract, CrossRule
from emlyn.service.loading import Loader

CONTRACT = Contract(
    (
        ColumnRule("age", "number", low=18, high=60, nullable=False),
        ColumnRule("plan", "category", levels=("a", "b")),
        ColumnRule("start", "number", low=0, high=9, required=False),
        ColumnRule("end", "number", low=0, high=20, required=False),
    ),
    (CrossRule("start", "<=", "end"),),
)


def _table(**columns: Any) -> Table:
    rows = {"age": [20.0, 30.0, 40.0, 50.0], "plan": ["a", "b", "a", "b"], "start": [1.0, 2, 3, 4], "end": [5.0, 6, 7, 8], **columns}
    return to_table({k: v for k, v in rows.items() if v is not None})


@pytest.mark.parametrize(
    ("column", "cells", "code"),
    [
        ("age", [20.0, 30.0, 40.0, 75.0], "range"),
        ("age", ["20", "30", "40", "n.k."], "empty"),
        ("plan", ["a", "b", "a", "c"], "level"),
        ("start", [1.0, 2, 8, 4], "rule"),
    ],
)
def test_what_can_be_widened_is_widened_and_then_expected(column: str, cells: list[Any], code: str) -> None:
    table = _table(**{column: cells})
    (change,) = changes(table, CONTRACT)
    assert (change.code, change.approvable, change.n) == (code, True, 1)
    wider = amended(CONTRACT, [change])
    assert not changes(table, wider)
    left = {issue.code for issue in conform(table, wider).issues}
    assert left <= {"unreadable"}, "an unreadable cell is still reported, but no longer refused"
    assert not changes(_table(), wider), "nothing was narrowed"


@pytest.mark.parametrize(
    ("column", "cells", "code"),
    [("age", None, "gone"), ("age", ["young", "young", "old", "40"], "type"), ("plan", ["x", "y", "z", "a"], "recoded")],
)
def test_what_needs_a_new_model_says_so(column: str, cells: list[Any] | None, code: str) -> None:
    (change,) = changes(_table(**{column: cells}), CONTRACT)
    assert (change.code, change.approvable) == (code, False)


def test_an_optional_column_may_be_absent_and_new_ones_need_nobody() -> None:
    assert not changes(_table(start=None), CONTRACT)
    (change,) = changes(_table(other=[1.0, 2, 3, 4]), CONTRACT)
    assert change.code == "new"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    age, plan = rng.integers(18, 60, 300).astype(float), rng.choice(["a", "b"], 300)
    y = np.where(age + 20 * (plan == "a") + rng.normal(0, 10, 300) > 50, "yes", "no")
    rows = {"age": age.tolist(), "plan": plan.tolist(), "y": y.tolist()}
    emlyn.train(rows, target="y", trials=2, name="plans")
    return rows


def test_an_approval_holds_for_predict_serve_and_the_next_audit(model: dict[str, Any]) -> None:
    new = {**model, "age": [*model["age"][:-1], "unknown age"], "plan": ["c", *model["plan"][1:]]}
    first = emlyn.audit(new, against="plans").result["contract"]
    assert {c["code"] for c in first["changes"]} == {"empty", "level"}
    assert first["approved"] is None
    strange = [{"age": "?!", "plan": "c"}]
    with Workspace.find().open_store() as store:
        loader = Loader(store)
        version = loader.resolve("plans")
        before, mark = loader.open(version).scorer.answer(strange)[0], loader.mark(version)
        done = emlyn.audit(new, against="plans", approve="a third plan").result["contract"]
        after = loader.open(version).scorer.answer(strange)[0]
        assert loader.mark(version) != mark, "a running server notices"
    assert before.refused
    assert not after.refused
    assert [i.code for i in after.issues] == ["unreadable"], "still flagged"
    assert done["approved_now"]
    assert done["approved"]["why"] == "a third plan"
    assert done["approved"]["by"]
    again = emlyn.audit(new, against="plans", approve="once more").result["contract"]
    assert not again["changes"]
    assert not again["approved_now"]
    assert again["approved"]["why"] == "a third plan"
    assert python.models("plans")["decisions"][-1]["action"] == "approve"
    contract = emlyn.load("plans").model.contract
    assert conform_records(strange, contract).issues[0].code == "unreadable"
    assert "c" in contract.columns[1].levels


def test_nothing_is_approved_where_one_change_needs_a_new_model(model: dict[str, Any]) -> None:
    new = {"plan": ["c", *model["plan"][1:]], "y": model["y"]}
    with pytest.raises(DataError, match="age is gone"):
        emlyn.audit(new, against="plans", approve="it is fine")
    assert emlyn.audit(new, against="plans").result["contract"]["approved"] is None
    with pytest.raises(OptionError, match="reason"):
        emlyn.audit({**model, "plan": ["c", *model["plan"][1:]]}, against="plans", approve=" ")
    with pytest.raises(OptionError, match="for a model"):
        emlyn.audit(new, approve="it is fine")


def test_an_order_that_every_row_keeps_is_in_the_contract_and_a_breach_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    start = rng.uniform(10, 100, 300)
    end = start + rng.uniform(0, 20, 300)
    y = np.where(end - start + rng.normal(0, 3, 300) > 10, "yes", "no")
    run = emlyn.train({"start": start.tolist(), "end": end.tolist(), "size": rng.uniform(0, 1, 300).tolist(), "y": y.tolist()}, target="y", trials=2)
    contract = run.model.model.contract
    assert [(r.left, r.relation, r.right) for r in contract.rules] == [("start", "<=", "end")], "and none with a column of another magnitude"
    (issue,) = conform_records([{"start": 90.0, "end": 60.0, "size": 0.5}], contract).issues
    assert (issue.column, issue.code) == ("start", "rule")


@pytest.mark.parametrize(
    ("against", "model"),
    [
        ("churn", True),
        ("churn@champion", True),
        ("churn:3", True),
        ("churn.v2:3", True),
        ("old/churn.emlyn", True),
        ("march.csv", False),
        ("parts/*.csv", False),
        ("shop.db::orders", False),
        ("s3://bucket/march.csv", False),
        ("postgresql+psycopg://host/shop::orders", False),
        ({"age": [1]}, False),
    ],
)
def test_a_model_is_told_from_a_table(against: Any, model: bool) -> None:
    assert names_model(against) is model
