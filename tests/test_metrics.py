"""Metrics against scikit-learn, with weights, ties and absent classes; influences against numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from emlyn.core.judging.influence import KNOWN, influence
from emlyn.core.judging.metrics import BUILT_IN, auc, metric

THEIRS = {
    ("binary", "roc_auc"): lambda y, p, w: sk.roc_auc_score(y, p[:, 1], sample_weight=w),
    ("binary", "log_loss"): lambda y, p, w: sk.log_loss(y, p, sample_weight=w),
    ("binary", "brier"): lambda y, p, w: sk.brier_score_loss(y, p[:, 1], sample_weight=w),
    ("binary", "average_precision"): lambda y, p, w: sk.average_precision_score(y, p[:, 1], sample_weight=w),
    ("binary", "accuracy"): lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    ("binary", "balanced_accuracy"): lambda y, p, w: sk.balanced_accuracy_score(y, p.argmax(1), sample_weight=w),
    ("binary", "f1"): lambda y, p, w: sk.f1_score(y, p.argmax(1), sample_weight=w),
    ("multiclass", "roc_auc"): lambda y, p, w: sk.roc_auc_score(y, p, multi_class="ovr", sample_weight=w),
    ("multiclass", "log_loss"): lambda y, p, w: sk.log_loss(y, p, sample_weight=w),
    ("multiclass", "accuracy"): lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    ("multiclass", "balanced_accuracy"): lambda y, p, w: sk.balanced_accuracy_score(y, p.argmax(1), sample_weight=w),
    ("multiclass", "f1"): lambda y, p, w: sk.f1_score(y, p.argmax(1), average="macro", sample_weight=w),
    ("regression", "rmse"): lambda y, p, w: sk.root_mean_squared_error(y, p[:, 0], sample_weight=w),
    ("regression", "mae"): lambda y, p, w: sk.mean_absolute_error(y, p[:, 0], sample_weight=w),
    ("regression", "r2"): lambda y, p, w: sk.r2_score(y, p[:, 0], sample_weight=w),
    ("regression", "mape"): lambda y, p, w: sk.mean_absolute_percentage_error(y, p[:, 0], sample_weight=w),
}


def sample(task: str, n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, predictions with many ties, and weights."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.2, 3, n)
    if task == "regression":
        y = rng.normal(size=n) + 3
        return y, (y + rng.normal(size=n)).round(1)[:, None], weight
    k = 2 if task == "binary" else 4
    y = rng.integers(0, k, n)
    p = rng.dirichlet(np.ones(k), n) + 0.5 * (y[:, None] == np.arange(k))
    p = (p / p.sum(axis=1, keepdims=True)).round(1) + 0.01
    return y, p / p.sum(axis=1, keepdims=True), weight


@pytest.mark.parametrize(("task", "name"), THEIRS)
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_agree_with_scikit_learn(task: str, name: str, weighted: bool) -> None:
    y, p, w = sample(task)
    used = w if weighted else None
    assert metric(name).score(y, p, used) == pytest.approx(THEIRS[task, name](y, p, used), abs=1e-9)


def test_every_built_in_metric_is_checked_against_another_library() -> None:
    checked = set(THEIRS) | {("multiclass", "brier")}  # theirs has another scale; see the next test
    assert {(t, m.name) for m in BUILT_IN for t in m.tasks} == checked


def test_multiclass_brier_is_the_squared_distance_to_the_truth() -> None:
    y, p, _ = sample("multiclass")
    assert metric("brier").score(y, p, None) == pytest.approx(((p - np.eye(4)[y]) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_ranking_without_positives_is_not_a_number(name: str) -> None:
    p = np.column_stack([np.linspace(0, 1, 10), np.linspace(1, 0, 10)])
    assert np.isnan(metric(name).score(np.zeros(10, dtype=int), p, None))


def test_multiclass_area_leaves_out_absent_classes() -> None:
    y, p, _ = sample("multiclass")
    few = y != 3
    by_class = [auc(y[few] == k, p[few, k]) for k in range(3)]
    assert metric("roc_auc").score(y[few], p[few], None) == pytest.approx(np.mean(by_class))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 3)), min_size=2, max_size=40))
def test_area_counts_pairs(rows: list[tuple[bool, int, int]]) -> None:
    """The definition, pair by pair, with ties as a half and whole-number weights as repeated rows."""
    y = np.array([r[0] for r in rows for _ in range(r[2])])
    s = np.array([float(r[1]) for r in rows for _ in range(r[2])])
    found = auc(np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows]), np.array([float(r[2]) for r in rows]))
    if y.all() or not y.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.mean((s[y][:, None] > s[~y]) + 0.5 * (s[y][:, None] == s[~y])))


@pytest.mark.parametrize(("task", "name"), [(t, m.name) for m in BUILT_IN for t in m.tasks])
def test_influence_is_the_derivative_by_each_rows_weight(task: str, name: str) -> None:
    y, p, w = sample(task, n=50, seed=3)
    found, step = influence(name, y, p, w), 1e-5
    assert found is not None
    for i in range(len(y)):
        more = w.copy()
        more[i] *= 1 + step
        slope = (metric(name).score(y, p, more) - metric(name).score(y, p, w)) / step
        assert found[i] == pytest.approx(slope, abs=1e-5)


def test_every_metric_has_an_influence() -> None:
    assert set(KNOWN) == {m.name for m in BUILT_IN}


def test_an_unknown_metric_is_named_with_those_that_exist() -> None:
    with pytest.raises(KeyError, match="roc_auc"):
        metric("auc")
