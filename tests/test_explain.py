"""Explanations of models whose working is known."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from emlyn.context import Budget, Context
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.explainer import pushes_of
from emlyn.core.judging.counterfactual import Existing, contrast, counterfactuals
from emlyn.core.judging.shapes import describe, effect
from emlyn.core.table import Table, number_column, text_column
from emlyn.records.problem import Problem
from emlyn.stages.explain import explain, reasons

LEVELS = {"a": 0.0, "b": 1.0, "c": -1.0}


def context(seconds: float = 60) -> Context:
    return Context(Budget(seconds, time.monotonic()))


def table(n: int = 1_000, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return Table(
        {
            "x": number_column(x),
            "twin": number_column(x + 0.1 * rng.normal(size=n)),
            "bowl": number_column(rng.normal(size=n)),
            "letter": text_column(rng.choice(list("abc"), n), "category"),
            "noise": number_column(rng.normal(size=n)),
            "unused": number_column(rng.normal(size=n)),
        }
    )


class Known:
    """log-odds = x + twin + bowl² + letter + a little noise; nothing else counts."""

    members: tuple[Any, ...] = ()
    encoder = None
    width = 2

    def __init__(self, task: str = "binary") -> None:
        self.regression = task == "regression"
        metric, direction = ("rmse", "minimize") if self.regression else ("roc_auc", "maximize")
        self.problem = Problem(task, "y", metric, direction, () if self.regression else ("no", "yes"), "" if self.regression else "yes")

    def score(self, t: Table) -> np.ndarray:
        of = {k: np.nan_to_num(t[k].values) for k in ("x", "twin", "bowl", "noise")}
        return of["x"] + of["twin"] + of["bowl"] ** 2 + 0.02 * of["noise"] + np.array([LEVELS.get(v, 0.0) for v in t["letter"].strings()])

    def predict_answers(self, data: Dataset) -> np.ndarray:
        s = self.score(data.rows)[data.units]
        p = 1 / (1 + np.exp(-s))
        return s[:, None] if self.regression else np.column_stack([1 - p, p])


def world(task: str, n: int = 1_000) -> tuple[Known, Dataset]:
    model, t, rng = Known(task), table(n), np.random.default_rng(1)
    s = model.score(t)
    y = s + rng.normal(size=n) if task == "regression" else (rng.uniform(size=n) < 1 / (1 + np.exp(-s))).astype(np.int64)
    return model, rows_dataset(t, y)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_drivers_are_ranked_and_chance_stays_below_the_line(task: str) -> None:
    model, data = world(task)
    found = explain(model, data, model.problem, context())
    by_name = {d.column: d for d in found.drivers}
    assert set(by_name) & {"x", "twin"} == {found.drivers[0].column}
    assert set(found.drivers[0].partners) | {found.drivers[0].column} == {"x", "twin"}
    assert [d.above_noise for d in found.drivers[:3]] == [True] * 3
    assert by_name["unused"].importance == 0
    assert not by_name["unused"].above_noise
    for d in found.drivers:
        assert d.low <= d.importance <= d.high


def test_directions_are_told_in_words() -> None:
    model, data = world("binary")
    by_name = {d.column: d for d in explain(model, data, model.problem, context()).drivers}
    first = by_name.get("x") or by_name["twin"]
    assert first.direction == "higher values raise the probability of y = yes"
    assert by_name["bowl"].direction.startswith("the probability of y = yes is lowest around")
    assert by_name["letter"].direction == "the probability of y = yes is highest for b, lowest for c"


@pytest.mark.parametrize("ones", [0.2, 0.8])
def test_a_number_of_two_values_keeps_its_direction_whichever_is_rarer(ones: float) -> None:
    x = (np.random.default_rng(0).uniform(size=400) < ones).astype(float)
    found = effect(Table({"x": number_column(x)}), "x", lambda t: t["x"].values[:, None])
    assert found.values == [0, 1]
    assert describe(found.values, found.curve[:, 0], found.counts, True, "it") == "higher values raise it"


def test_accumulated_effects_find_the_slope_of_one_of_two_twins() -> None:
    """A partial dependence would be as good here; permuting one twin alone would ask about impossible rows."""
    model, data = world("regression")
    found = effect(data.rows, "x", lambda t: model.predict_answers(rows_dataset(t)))
    counts, curve = found.counts, found.curve[:, 0]
    assert np.polyfit(found.values, curve, 1)[0] == pytest.approx(1, abs=0.01)
    assert abs((counts[1:] * (curve[1:] + curve[:-1]) / 2).sum()) < 1e-6 * counts.sum()


def test_the_band_is_wide_only_where_rows_respond_differently() -> None:
    _, data = world("regression")

    def slopes(share: float) -> np.ndarray:
        """Width of the band at the largest x, where `share` of the slope of x turns with the sign of another column."""

        def predict(t: Table) -> np.ndarray:
            x, z = t["x"].values, np.sign(t["noise"].values - 0.5 * (t["noise"].values.min() >= 0))
            return (x * (1 - share + share * z))[:, None]

        found = effect(data.rows, "x", predict)
        return found.band[1, :, 0] - found.band[0, :, 0]

    assert slopes(0.0).max() < 1e-9, "every row responds alike"
    assert slopes(1.0)[-1] > 2, "one half rises, the other falls"


def test_drivers_carry_the_band_of_their_curve() -> None:
    model, data = world("binary")
    shown = [d for d in explain(model, data, model.problem, context()).drivers if d.curve]
    assert shown
    assert all(len(d.band) == len(d.curve) and all(low <= high for low, high in d.band) for d in shown)


def test_a_very_wide_table_is_explained_by_the_columns_that_matter() -> None:
    rng = np.random.default_rng(0)
    wide = table(500).with_columns({f"w{i}": number_column(rng.normal(size=500)) for i in range(3_000)})
    model = Known("regression")
    found = explain(model, rows_dataset(wide, model.score(wide)), model.problem, context(20))
    assert len(found.drivers) <= 300
    assert "of 3,006 columns" in found.method
    assert {"x", "twin", "letter"} <= {n for d in found.drivers[:4] for n in (d.column, *d.partners)}


def test_reasons_add_up_in_a_sum_and_come_strongest_first() -> None:
    model, data = world("regression")
    rows = data.take(np.flatnonzero(data.rows["letter"].strings() == "b")[:3])
    found = reasons(model, rows)
    for unit, told in zip(rows.units, found, strict=True):
        pushes = [abs(r.push) for r in told]
        assert pushes == sorted(pushes, reverse=True)
        by_name = {r.column: r for r in told}
        assert by_name["twin"].push == pytest.approx(data.rows["twin"].values[unit])
        assert by_name["twin"].value == pytest.approx(data.rows["twin"].values[unit])
        assert (by_name["letter"].value, by_name["letter"].push) == ("b", pytest.approx(1.0))
        assert "unused" not in by_name


def test_reasons_for_no_rows_are_none() -> None:
    model, data = world("regression")
    assert reasons(model, data.take(np.array([], dtype=np.int64))) == []


class Member:
    """A member whose models attribute, with signs that may differ between them."""

    weight = 1.0

    def __init__(self, *cells: list[float]) -> None:
        self.recipe = type("Recipe", (), {"learner": "toy"})()
        self.fitted = tuple(Attributes(c) for c in cells)


class Attributes:
    """Contributions that are the same for every row."""

    def __init__(self, cells: list[float]) -> None:
        self.cells = cells

    def contributions(self, data: Dataset) -> np.ndarray:
        return np.tile(np.array([*self.cells, 0.5])[:, None], (len(data), 1, 1))


def test_a_reason_whose_sign_the_models_dispute_is_left_out() -> None:
    model, data = world("binary")
    model.calibration = type("Calibration", (), {"slope": 2.0})()
    steady, disputed = [1.0] * 3, [0.5, -0.5, 0.5]
    model.members = (Member(*[[a, b, 0.0, 0.0, 0.0, 0.0] for a, b in zip(steady, disputed, strict=True)]),)
    told = reasons(model, data.take(np.array([0])))[0]
    assert [r.column for r in told] == ["x"]
    assert told[0].push == pytest.approx(2.0)
    assert pushes_of(model, data.take(np.array([0]))).towards == ("yes",)


def test_explaining_keeps_to_its_time_and_says_what_it_left_out() -> None:
    model, data = world("binary", 400)
    plain = model.predict_answers

    def slow(asked: Dataset) -> np.ndarray:
        time.sleep(0.1)
        return plain(asked)

    model.predict_answers = slow  # type: ignore[method-assign]
    found = explain(model, data, model.problem, context(0.1))
    assert len(found.drivers) < 5
    assert "there was time for" in found.left_out


def test_counterfactuals_flip_the_model_and_leave_immutable_columns_alone() -> None:
    model, data = world("binary", 400)
    answers = model.predict_answers(data)[:, 1] >= 0.5
    checked, existing = 0, Existing(model, data)
    for unit in np.flatnonzero(~answers)[:25]:
        row = data.take(np.array([unit]))
        for found in counterfactuals(existing, row, immutable=("letter",)):
            cells = {c.column: c.then for c in found.changes}
            assert "letter" not in cells
            assert 1 <= len(cells) <= 4
            assert "unused" not in cells
            assert found.wanted == "yes"
            changed = data.rows.take(np.array([unit]))
            for name, then in cells.items():
                changed = changed.with_columns({name: number_column([then])})
                assert then in data.rows[name].values
            assert model.predict_answers(rows_dataset(changed))[0, 1] >= 0.5
            checked += found.feasible
    assert checked > 40, "few of the counterfactuals are feasible"


def test_the_contrast_is_the_nearest_row_that_was_answered_otherwise() -> None:
    model, data = world("binary", 400)
    unit = int(np.flatnonzero(model.predict_answers(data)[:, 1] < 0.5)[0])
    answer, changes = contrast(Existing(model, data), data.take(np.array([unit])))
    assert answer == "yes"
    assert {c.column for c in changes} >= {"noise"}
    assert contrast(Existing(model, data.take(np.array([unit]))), data.take(np.array([unit]))) is None


def test_numbers_have_no_decision_to_flip() -> None:
    model, data = world("regression", 50)
    with pytest.raises(ValueError, match="no decision"):
        Existing(model, data)
