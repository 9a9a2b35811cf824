"""Evaluation through its public functions: what is measured, what the report may rely on, and the verdict."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from emlyn.context import Budget, Context
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.judging.answers import Answers
from emlyn.core.judging.curves import natural
from emlyn.core.judging.decision import choose_threshold, counts, shift_prior, threshold_for_share
from emlyn.core.searching.selection import OutOfFold
from emlyn.core.table import Table, number_column
from emlyn.records.codec import from_json, to_json
from emlyn.records.evaluation import Evaluation
from emlyn.records.finding import Finding
from emlyn.records.problem import Problem
from emlyn.stages.evaluate import conclude, evaluate_answers, evaluate_sealed, evaluate_stored

BINARY = Problem("binary", "churn", "roc_auc", "maximize", ("no", "yes"), "yes", rows=2_000)
MANY = Problem("multiclass", "kind", "log_loss", "minimize", ("a", "b", "c"))
NUMBER = Problem("regression", "price", "rmse", "minimize")


def context() -> Context:
    return Context(Budget(60, time.monotonic()))


def binary(n: int = 2_000, prevalence: float = 0.2, signal: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.uniform(size=n) < prevalence).astype(np.int64)
    x = rng.normal(size=n) + signal * y
    p = 1 / (1 + np.exp(-(np.log(prevalence / (1 - prevalence)) + signal * x - signal**2 / 2)))
    return y, np.column_stack([1 - p, p])


def many(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    z = rng.normal(size=(n, 3)) + 2 * np.eye(3)[y]
    p = np.exp(2 * z)
    return y, p / p.sum(axis=1, keepdims=True)


def number(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return 50 + 10 * x + rng.normal(size=n), (50 + 10 * x)[:, None]


class Frozen:
    """A model that only knows its answers."""

    def __init__(self, prediction: np.ndarray, threshold: float | None = None) -> None:
        self.prediction, self.threshold, self.threshold_why, self.asked = prediction, threshold, "set before", []

    def predict_answers(self, data: Dataset) -> np.ndarray:
        self.asked.append(data)
        return self.prediction[data.units]


def sealed(y: np.ndarray) -> Dataset:
    return rows_dataset(Table({"x": number_column(np.zeros(len(y)))}), y)


CASES = {"binary": (BINARY, binary), "multiclass": (MANY, many), "regression": (NUMBER, number)}


@pytest.mark.parametrize("kind", CASES)
def test_every_metric_comes_with_an_interval_or_a_reason(kind: str) -> None:
    problem, world = CASES[kind]
    y, p = world()
    found = evaluate_sealed(Frozen(p), sealed(y), problem, context())
    assert next(iter(found.metrics)) == problem.metric
    assert found.method == "sealed rows"
    assert found.openings == 1
    for name, m in found.metrics.items():
        assert m.method, name
        if m.low is not None:
            assert m.low <= m.value <= m.high, name
    assert set(found.baseline) >= {problem.metric}
    shown = [name for members in found.sections["domains"].values() for name in members]
    assert sorted(shown) == sorted(found.metrics)
    assert found.verdict.word == "use"


@pytest.mark.parametrize("kind", CASES)
def test_an_evaluation_is_plain_json_and_its_plots_are_small(kind: str) -> None:
    problem, world = CASES[kind]
    y, p = world()
    found = evaluate_sealed(Frozen(p), sealed(y), problem, context())
    back = from_json(to_json(found), Evaluation)
    assert back.metrics == found.metrics
    assert json.loads(to_json(back)) == json.loads(to_json(found))

    def longest(value: object) -> int:
        if isinstance(value, dict):
            return max(map(longest, value.values()), default=0)
        return max([len(value), *map(longest, value)]) if isinstance(value, list) and value else 0

    assert longest(found.plots) <= 100
    expected = {
        "binary": {"scores", "calibration", "confusion", "decision_curve", "roc", "precision_recall", "gains"},
        "multiclass": {"scores", "calibration", "confusion", "recall_by_class"},
        "regression": {"scores", "calibration", "residuals", "predicted_vs_actual"},
    }
    assert set(found.plots) == expected[kind]


def test_the_model_sees_the_sealed_rows_once_and_never_their_answers() -> None:
    y, p = binary()
    model = Frozen(p)
    evaluate_sealed(model, sealed(y), BINARY, context())
    assert len(model.asked) == 1
    assert model.asked[0].answers is None


def test_the_operating_point_is_the_models_own_not_the_best_on_these_rows() -> None:
    y, p = binary()
    found = evaluate_sealed(Frozen(p, threshold=0.37), sealed(y), BINARY, context())
    assert found.threshold == 0.37
    table = counts(y == 1, p[:, 1], 0.37)
    assert found.metrics["sensitivity"].value == pytest.approx(table.sensitivity)
    assert found.metrics["precision"].value == pytest.approx(table.precision)
    assert found.sections["decision"]["points"][0]["threshold"] == 0.37
    assert found.plots["roc"]["chosen"] == pytest.approx([1 - table.specificity, table.sensitivity])
    assert found.plots["gains"]["chosen"] == pytest.approx([table.flagged, table.sensitivity])


def test_costs_and_capacity_set_the_threshold() -> None:
    _, p = binary()
    t, why = choose_threshold(p[:, 1], replace(BINARY, cost_fp=1, cost_fn=4))
    assert t == pytest.approx(0.2)
    assert "4" in why
    t, _ = choose_threshold(p[:, 1], replace(BINARY, capacity=100))
    assert (p[:, 1] >= t).sum() == 100
    assert choose_threshold(p[:, 1], BINARY)[0] == 0.5


def test_a_capacity_is_never_exceeded_by_ties() -> None:
    p = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    assert (p >= threshold_for_share(p, 0.4)).sum() == 1
    assert (p >= threshold_for_share(p, 0.1)).sum() == 0
    assert (p >= threshold_for_share(p, 1.0)).sum() == 5


def test_natural_frequencies_add_up() -> None:
    told = natural(np.array([[826.0, 54.0], [24.0, 96.0]]), "ill")
    assert told["sentence"] == "Of 1,000 rows like these, 120 are ill; the model flags 150, 96 of them rightly; it misses 24."


def test_natural_frequencies_are_whole_and_name_the_column_of_a_bare_label() -> None:
    told = natural(np.array([[520.4, 95.4], [83.6, 300.6]]), "1", "survived")
    assert told["right"] + told["missed"] == told["have"]
    assert told["sentence"].startswith("Of 1,000 rows like these, 385 have survived = 1; the model flags 396, 301 of them rightly")
    assert natural(np.array([[999.8, 0.0], [0.2, 0.0]]), "ill")["sentence"].startswith("Of 1,000 rows like these, fewer than 1 are ill")


def test_a_guessing_model_must_not_be_used() -> None:
    y, _ = binary(signal=0.0)
    noise = np.random.default_rng(1).uniform(0.1, 0.3, len(y))
    found = evaluate_sealed(Frozen(np.column_stack([1 - noise, noise])), sealed(y), BINARY, context())
    assert found.verdict.word == "do not use yet"
    assert "not shown to be better" in found.verdict.why


def test_with_few_events_it_cannot_tell() -> None:
    y, p = binary(n=150, prevalence=0.08)
    found = evaluate_sealed(Frozen(p), sealed(y), BINARY, context())
    assert found.metrics["roc_auc"].low is None
    assert found.verdict.word == "do not use yet"
    assert "too few events" in found.verdict.why


def test_wrong_probabilities_ask_for_care() -> None:
    y, p = binary(n=5_000)
    extreme = p[:, 1] ** 3 / (p[:, 1] ** 3 + p[:, 0] ** 3)
    found = evaluate_sealed(Frozen(np.column_stack([1 - extreme, extreme])), sealed(y), BINARY, context())
    assert found.verdict.word == "use with care"
    assert "probabilities are too" in found.verdict.why


def test_an_unresolved_fail_finding_stops_the_use_and_an_applied_one_does_not() -> None:
    y, p = binary()
    found = evaluate_sealed(Frozen(p), sealed(y), BINARY, context())
    leak = Finding("leakage.target_copy:alive", "leakage.target_copy", "fail", "column alive repeats the answer")
    assert conclude(found, BINARY, [leak]).verdict.word == "do not use yet"
    assert conclude(found, BINARY, [leak]).verdict.why == leak.message
    assert conclude(found, BINARY, [replace(leak, applied=True)]).verdict.word == "use"


def test_one_class_alone_is_measured_without_a_crash() -> None:
    _, p = binary(n=50)
    found = evaluate_sealed(Frozen(p), sealed(np.zeros(50, dtype=np.int64)), BINARY, context())
    assert found.metrics["roc_auc"].value is None
    assert found.verdict.word == "do not use yet"


@pytest.mark.parametrize("kind", CASES)
def test_weights_and_groups_are_carried_through(kind: str) -> None:
    problem, world = CASES[kind]
    y, p = world()
    rng = np.random.default_rng(0)
    answers = Answers(y, p, rng.uniform(0.5, 2, len(y)), np.arange(len(y)) // 3, 0.5 if kind == "binary" else None)
    found = evaluate_answers(answers, problem, context(), "external file")
    assert f"{-(-len(y) // 3)} clusters" in found.metrics["log_loss" if kind != "regression" else "rmse"].method


def test_cross_validation_reports_the_corrected_score() -> None:
    rng = np.random.default_rng(3)
    y, p = binary(n=500, signal=0.8)
    others = [p] + [np.column_stack([1 - q, q]) for q in np.clip(p[:, 1] + rng.normal(0, 0.15, (20, 500)), 0.001, 0.999)]
    found = evaluate_stored(OutOfFold(others, np.arange(500) % 5, y), sealed(y), BINARY, context())
    told = found.sections["selection"]
    assert found.method == "cross-validation corrected for selection"
    assert told["candidates"] == 21
    assert told["corrected"] == found.metrics["roc_auc"].value < told["naive"]


def test_scores_move_to_another_base_rate() -> None:
    """Bayes: at half the odds of the event, the odds of every row halve."""
    p = np.array([0.1, 0.5, 0.9])
    moved = shift_prior(p, 0.5, 1 / 3)
    assert moved / (1 - moved) == pytest.approx(p / (1 - p) / 2)
