"""The deeper parts of an evaluation on worlds whose truth is known: they find what is there, and nothing on null data."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from emlyn.context import Budget, Context
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.judging.answers import Answers
from emlyn.core.judging.conformal import conformal_quantile, conformal_section, cross_reach, intervals_90, strangeness
from emlyn.core.judging.fairness_metrics import group_labels
from emlyn.core.judging.glass_box import EBM, glass_box_section
from emlyn.core.judging.mitigation import constrained, per_group_decisions, reweighing
from emlyn.core.judging.refits import learning_curve_section, membership_section, multiplicity_section, refit
from emlyn.core.judging.sections import label_noise_section, quick_sections
from emlyn.core.judging.stress import robustness_section
from emlyn.core.searching.trials import ready
from emlyn.core.table import Table, number_column, text_column
from emlyn.records.evaluation import Evaluation, Measure
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem
from emlyn.service.scorer import margin_of
from emlyn.stages.deepen import deepen
from emlyn.stages.evaluate import model_findings

PROBLEM = Problem("binary", "y", "roc_auc", "maximize", ("no", "yes"), "yes", sensitive=("group",))


def people(n: int, rng: np.random.Generator) -> Table:
    return Table(
        {
            "x": number_column(rng.normal(size=n)),
            "z": number_column(rng.normal(size=n)),
            "group": text_column(rng.choice(["a", "b", "c"], n), "category"),
        }
    )


def answered(p: np.ndarray, rng: np.random.Generator) -> Answers:
    return Answers((rng.uniform(size=len(p)) < p).astype(np.int64), np.column_stack([1 - p, p]), threshold=0.5)


def test_null_data_raises_alarms_at_most_at_the_nominal_rate() -> None:
    """Sixty worlds where the model is right about everyone: five in a hundred may alarm."""
    slices = gaps = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = people(400, rng)
        found = quick_sections(answered(rng.uniform(0.05, 0.95, 400), rng), rows_dataset(table), PROBLEM, seed)
        slices += bool(found["slices"]["confirmed"])
        gaps += any(g["verdict"] == "gap shown" for c in found["fairness"]["columns"] for g in c["gaps"])
    assert slices <= 8
    assert gaps <= 8


def test_a_weak_slice_and_an_unfair_gap_are_found_and_named() -> None:
    rng = np.random.default_rng(0)
    n = 3_000
    table = people(n, rng)
    p = 1 / (1 + np.exp(-3 * table["x"].values))
    weak = (table["group"].strings() == "b") & (table["z"].values > 0)
    truth = np.where(weak, rng.uniform(size=n) < 0.5, rng.uniform(size=n) < p).astype(np.int64)
    found = quick_sections(Answers(truth, np.column_stack([1 - p, p]), threshold=0.5), rows_dataset(table), PROBLEM)
    worst = found["slices"]["confirmed"][0]
    assert set(worst["columns"]) == {"group", "z"}
    assert "group is b" in worst["rule"]
    assert worst["difference"]["low"] > 0
    gaps = {g["metric"]: g for g in found["fairness"]["columns"][0]["gaps"]}
    assert gaps["error"]["verdict"] == "gap shown"
    assert gaps["error"]["worst"] == "b"
    assert "b" in found["fairness"]["sentence"]


def test_a_thin_group_is_never_declared_fair() -> None:
    rng = np.random.default_rng(1)
    labels = np.array(["many"] * 970 + ["few"] * 30)
    table = Table({"group": text_column(labels, "category")})
    found = quick_sections(answered(rng.uniform(0.2, 0.8, 1000), rng), rows_dataset(table), PROBLEM)
    verdicts = {g["verdict"] for g in found["fairness"]["columns"][0]["gaps"]}
    assert "cannot tell" in verdicts
    assert "no gap shown" not in verdicts


def test_a_sensitive_column_that_the_model_does_not_see_is_reported_as_absent_or_taken_from_beside() -> None:
    rng = np.random.default_rng(2)
    table = people(400, rng)
    asked = rows_dataset(table.drop(["group"]))
    answers = answered(rng.uniform(0.1, 0.9, 400), rng)
    assert "fairness" not in quick_sections(answers, asked, PROBLEM)
    beside = replace(asked, tables={**asked.tables, "aside": table.select(["group"])})
    assert quick_sections(answers, beside, PROBLEM)["fairness"]["columns"][0]["column"] == "group"


def test_numbers_become_quarters_and_missing_cells_a_group() -> None:
    labels = group_labels(number_column([np.nan, *range(100)]))
    assert labels[0] == "(missing)"
    assert sorted({str(v) for v in labels}) == ["(missing)", "24 to 49", "49 to 74", "above 74", "up to 24"]


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_conformal_sets_hold_the_truth_as_often_as_promised_whatever_the_model(level: float) -> None:
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        wrong = Answers(rng.integers(0, 3, 200), rng.dirichlet([1, 1, 1], 200))
        held.append(np.mean(strangeness(wrong) <= cross_reach(wrong, level, seed)))
    assert level - 0.01 < np.mean(held) < level + 0.03


def test_too_few_rows_promise_nothing() -> None:
    assert conformal_quantile(np.arange(8.0), 0.9) == np.inf
    assert conformal_quantile(np.arange(9.0), 0.9) == 8.0
    rng = np.random.default_rng(0)
    assert conformal_section(answered(rng.uniform(size=6), rng), {}) is None


def test_intervals_widen_where_errors_are_large_and_still_hold_nine_of_ten_overall() -> None:
    """Errors that grow with the number: one width for all rows holds the low ones always and the high ones too seldom."""
    whole, quarters, plain = [], [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = rng.uniform(1, 10, 2_000)
        found = Answers(x + 0.3 * x * rng.normal(size=2_000), x[:, None])
        ends = intervals_90(found, seed)
        assert ends is not None
        held = (found.truth >= ends[0]) & (found.truth <= ends[1])
        one = np.abs(found.truth - x) <= conformal_quantile(strangeness(found), 0.9)
        parts = np.array_split(np.argsort(x), 4)
        whole.append(held.mean())
        quarters.append([held[rows].mean() for rows in parts])
        plain.append([one[rows].mean() for rows in parts])
    assert np.mean(whole) == pytest.approx(0.9, abs=0.01)
    assert np.abs(np.mean(quarters, axis=0) - 0.9).max() < 0.05
    assert np.abs(np.mean(plain, axis=0) - 0.9).max() > 0.1, "the test would not tell the two apart"


def test_served_intervals_have_the_width_that_was_evaluated() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 10, 2_000)
    found = conformal_section(Answers(x + 0.3 * x * rng.normal(size=2_000), x[:, None]), {})
    assert found is not None
    margin = margin_of({"conformal": found})
    assert margin is not None
    new = rng.uniform(1, 10, 2_000)
    truth = new + 0.3 * new * rng.normal(size=2_000)
    low, high = margin.around(new)
    assert np.mean((truth >= low) & (truth <= high)) == pytest.approx(0.9, abs=0.03)
    assert (high - low)[new > 8].mean() > 3 * (high - low)[new < 2].mean()


def test_groups_that_intervals_hold_less_often_are_named() -> None:
    rng = np.random.default_rng(3)
    group = np.array(["calm"] * 800 + ["wild"] * 200)
    truth = rng.normal(0, np.where(group == "wild", 5.0, 1.0))
    found = conformal_section(Answers(truth, np.zeros((1000, 1))), {"group": group})
    assert found["kind"] == "interval"
    assert "group = wild" in found["sentence"]


def test_flipped_labels_are_estimated() -> None:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, 5_000)
    p = np.clip(0.95 * y + 0.05 * (1 - y) + rng.normal(0, 0.02, 5_000), 0.01, 0.99)
    flipped = rng.uniform(size=5_000) < 0.05
    found = label_noise_section(Answers(np.where(flipped, 1 - y, y), np.column_stack([1 - p, p])), PROBLEM)
    assert found["share"]["value"] == pytest.approx(flipped.mean(), abs=0.005)


class Linear:
    """A model of x alone, and the recipe it says it came from."""

    threshold, threshold_why, encoder, width = 0.5, "", None, 2

    def __init__(self) -> None:
        fitted = type("Fitted", (), {"steps": None})()
        recipe = Recipe("linear", "linear", {"task": "binary", "classes": 2})
        self.members = (type("Member", (), {"recipe": recipe, "weight": 1.0, "fitted": (fitted,)})(),)

    def predict_answers(self, data: Dataset) -> np.ndarray:
        p = expit(2 * np.nan_to_num(data.rows["x"].values[data.units]))
        return np.column_stack([1 - p, p])


def linear_world(n: int = 600) -> tuple[Linear, Dataset]:
    rng = np.random.default_rng(5)
    table = people(n, rng)
    model = Linear()
    p = model.predict_answers(rows_dataset(table))[:, 1]
    return model, rows_dataset(table, (rng.uniform(size=n) < p).astype(np.int64), classes=2)


def test_stress_finds_the_column_the_model_stands_on() -> None:
    model, data = linear_world()
    answers = Answers(data.answers, model.predict_answers(data), threshold=0.5)
    found = robustness_section(model.predict_answers, answers, data, PROBLEM, 10.0)
    by_name = {(t["test"], t["column"]): t for t in found["tests"]}
    assert by_name["removed", "x"]["change"] < -0.2
    assert by_name["removed", "z"]["flips"] == 0
    assert by_name["units", "x"]["flips"] == 0  # the sign of x decides, whatever its unit
    assert 0 < by_name["noise", ""]["flips"] < 0.1


def test_refits_answer_what_more_rows_bring_and_whether_the_model_remembers() -> None:
    model, data = linear_world()
    found = refit(model, ready(data), PROBLEM, 30.0)
    assert len(found.fits) == 20
    curve = learning_curve_section(found, PROBLEM)
    assert [p["rows"] for p in curve["points"]] == sorted({f.rows for f in found.fits})
    assert abs(curve["doubling"]) < 0.05
    assert 0 < multiplicity_section(found)["flips"] < 0.2
    attack = membership_section(found, PROBLEM)["auc"]
    assert attack["low"] < 0.55  # a line through two numbers has nothing to remember


@pytest.mark.parametrize("extra", [True, False])
def test_the_price_of_a_glass_box_is_a_paired_difference(extra: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world is a sum of single columns, so a glass box loses nothing to boosted trees."""
    if extra:
        pytest.importorskip("interpret", reason="the extra `trust` is not installed")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    model, data = linear_world()
    if not extra:
        assert "is itself a glass box" in glass_box_section(model, data, PROBLEM, 60.0)["sentence"]
    model.members[0].recipe = Recipe("trees", "lightgbm", {"task": "binary", "classes": 2})
    found = glass_box_section(model, data, PROBLEM, 60.0)
    assert found is not None
    assert found["kind"] == (EBM if extra else "linear-splines")
    assert found["against"] == "trees"
    price = found["price"]
    assert price["low"] < price["value"] < price["high"]
    assert price["value"] == pytest.approx(found["value"] - found["other"], abs=0.02)
    assert found["value"] > found["other"] - 0.02


def test_deepening_stays_in_its_time_and_never_refits_the_model() -> None:
    model, data = linear_world()
    began = time.monotonic()
    found = deepen(model, data, PROBLEM, Context(Budget(5.0, began)))
    assert {"slices", "fairness", "conformal", "abstention", "prior_shift", "label_noise", "robustness"} <= set(found)
    for name, section in found.items():
        assert section["sentence"], name


def test_findings_follow_from_the_sections() -> None:
    measured = {"roc_auc": Measure(0.8, 0.75, 0.85, 1000, "logit DeLong")}
    fine = Evaluation(measured, measured, 1000, "sealed rows", comparison=Measure(0.3, 0.25, 0.35, 1000, "paired DeLong"))
    assert not [f for f in model_findings(fine, PROBLEM) if f.severity != "info"]
    shaky = replace(fine, sections={"multiplicity": {"flips": 0.2, "sentence": "decide differently about 20.0% of cases."}})
    assert [f.code for f in model_findings(shaky, PROBLEM)] == ["model.multiplicity"]
    guess = replace(fine, comparison=Measure(0.01, -0.05, 0.07, 1000, "paired DeLong"))
    assert [(f.code, f.severity) for f in model_findings(guess, PROBLEM)] == [("model.baseline", "fail")]


def test_reweighing_makes_group_and_answer_independent() -> None:
    rng = np.random.default_rng(6)
    labels = rng.choice(["a", "b"], 500)
    truth = (rng.uniform(size=500) < np.where(labels == "a", 0.7, 0.2)).astype(np.int64)
    w = reweighing(truth, labels)
    assert np.average(truth[labels == "a"], weights=w[labels == "a"]) == pytest.approx(np.average(truth[labels == "b"], weights=w[labels == "b"]))


def test_a_threshold_per_group_closes_the_gap_it_is_made_for() -> None:
    rng = np.random.default_rng(7)
    labels, hit = rng.choice(["a", "b"], 4_000), rng.uniform(size=4_000) < 0.4
    p = np.clip(rng.normal(0.4 + 0.3 * hit + 0.2 * (labels == "a"), 0.15), 0, 1)
    plain = p >= 0.6
    even = per_group_decisions(p, hit, labels, plain[hit].mean())
    rates = [[chosen[hit & (labels == g)].mean() for g in "ab"] for chosen in (plain, even)]
    assert abs(rates[0][0] - rates[0][1]) > 0.2
    assert abs(rates[1][0] - rates[1][1]) < 0.02


def test_a_constraint_in_training_narrows_the_gap_on_other_rows() -> None:
    pytest.importorskip("fairlearn", reason="fairlearn is not installed: pip install 'emlyn[trust]'")
    from lightgbm import LGBMClassifier

    rng = np.random.default_rng(8)
    labels, x = rng.choice(["a", "b"], 8_000), rng.normal(size=(8_000, 4))
    x[:, 0] += labels == "a"
    truth = (x[:, 0] + x[:, 1] + rng.logistic(size=8_000) > 0.5).astype(np.int64)
    fit, ask = slice(0, 4_000), slice(4_000, None)
    plain = LGBMClassifier(n_estimators=50, num_leaves=15, n_jobs=1, verbosity=-1).fit(x[fit], truth[fit]).predict_proba(x[ask])
    bound = constrained(x[fit], truth[fit], labels[fit], x[ask])

    def gap(p):
        found = [(p[:, 1] >= 0.5)[(truth[ask] == 1) & (labels[ask] == g)].mean() for g in "ab"]
        return abs(found[0] - found[1])

    assert gap(bound) < 0.6 * gap(plain)
