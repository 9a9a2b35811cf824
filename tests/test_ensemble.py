"""Weights, calibration and members: better than the best single one, honest where rows are few."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from emlyn.core.judging.metrics import auc, log_loss_rows, metric
from emlyn.core.models.calibration import fit_calibration, serves
from emlyn.core.models.model import Model
from emlyn.core.searching.ensembling import _fast_auc, blend, greedy_weights, quick_weights
from emlyn.errors import Interrupted
from emlyn.records.problem import Problem
from emlyn.stages.ensemble import ensemble
from emlyn.stages.plan import plan
from emlyn.stages.search import search


def trained(learners, data, problem, trials=None):
    context = toys.context()
    found = search(plan(problem, data, toys.options(trials), context), data, problem, context)
    return found, ensemble(found, data, problem, context)


def two_sided(p):
    return np.column_stack([1 - p, p])


@pytest.mark.parametrize("name", ["rmse", "mae", "r2"])
def test_two_that_err_differently_are_mixed(name):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=2_000)
    parts = [(truth + rng.normal(size=2_000))[:, None], (truth + rng.normal(size=2_000))[:, None], rng.normal(size=(2_000, 1))]
    w = greedy_weights(parts, truth, metric(name))
    assert w.sum() == pytest.approx(1)
    assert w[2] < 0.25
    assert metric(name).loss(truth, blend(parts, w)) < min(metric(name).loss(truth, p) for p in parts)


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "accuracy"])
@pytest.mark.parametrize("n", [300, 6_000])
def test_classes_too(name, n):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, n)
    parts = [two_sided(1 / (1 + np.exp(-(truth - 0.5) - rng.normal(size=n)))) for _ in range(2)] + [np.full((n, 2), 0.5)]
    w = greedy_weights(parts, truth, metric(name))
    assert w.sum() == pytest.approx(1)
    assert metric(name).loss(truth, blend(parts, w)) <= min(metric(name).loss(truth, p) for p in parts) + 1e-3


def test_few_rows_do_not_follow_their_noise():
    """Ten equally good candidates: with few rows one greedy pass bets on the luckiest, bags spread the weight and lose less on fresh rows."""
    quick, bagged = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=1_100)
        parts = [(truth + rng.normal(size=1_100))[:, None] for _ in range(10)]
        few, fresh = np.arange(100), np.arange(100, 1_100)
        for weights, losses in ((quick_weights, quick), (greedy_weights, bagged)):
            w = weights([p[few] for p in parts], truth[few], metric("rmse"))
            losses.append(metric("rmse").loss(truth[fresh], blend([p[fresh] for p in parts], w)))
    assert np.mean(bagged) < np.mean(quick)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=20, max_size=200))
@settings(max_examples=50, deadline=None)
def test_the_quick_auc_is_the_auc(cells):
    truth, p = np.array([a for a, _ in cells]), np.array([b for _, b in cells])
    if truth.any() and not truth.all():
        assert _fast_auc(truth, p) == pytest.approx(auc(truth, p))


def test_the_quick_auc_holds_for_many_rows():
    rng = np.random.default_rng(3)
    truth = rng.random(30_000) < 0.02
    p = 1 / (1 + np.exp(5 - 1.5 * truth - rng.normal(size=30_000)))
    assert _fast_auc(truth, p) == pytest.approx(auc(truth, p), abs=1e-4)


def test_overconfidence_is_calibrated_and_the_order_kept():
    rng = np.random.default_rng(4)
    z = rng.normal(size=3_000)
    truth = (rng.random(3_000) < 1 / (1 + np.exp(-z))).astype(np.int64)
    loud = two_sided(1 / (1 + np.exp(-3 * z)))
    found = fit_calibration(loud, truth)
    quiet = found.apply(loud)
    assert log_loss_rows(truth, quiet).mean() < log_loss_rows(truth, loud).mean() - 0.05
    assert auc(truth == 1, quiet[:, 1]) == pytest.approx(auc(truth == 1, loud[:, 1]), abs=1e-9)


def test_honest_probabilities_lose_next_to_nothing():
    """Two numbers are learned: on fresh rows each costs at most half of 1 / rows (Akaike 1974)."""
    rng = np.random.default_rng(5)
    costs = []
    for _ in range(40):
        p = rng.random(200)
        truth = (rng.random(200) < p).astype(np.int64)
        found = fit_calibration(two_sided(p), truth)
        fresh = rng.random(5_000)
        answer = (rng.random(5_000) < fresh).astype(np.int64)
        costs.append((log_loss_rows(answer, found.apply(two_sided(fresh))) - log_loss_rows(answer, two_sided(fresh))).mean())
    assert np.mean(costs) < 2 * 0.5 / 200 + 2 * np.std(costs) / len(costs) ** 0.5


def test_a_blend_that_is_timid_is_made_as_sure_as_it_is_right():
    """Averages of members say .7 where each says .9 for its own reasons: 200 rows suffice to see most of it."""
    rng = np.random.default_rng(6)
    z = 2 * rng.normal(size=4_200)
    truth = (rng.random(4_200) < 1 / (1 + np.exp(-z))).astype(np.int64)
    timid = two_sided(1 / (1 + np.exp(-0.6 * z)))
    found = fit_calibration(timid[:200], truth[:200])
    asked, true = timid[200:], log_loss_rows(truth[200:], two_sided(1 / (1 + np.exp(-z[200:])))).mean()
    lost = log_loss_rows(truth[200:], asked).mean() - true
    assert log_loss_rows(truth[200:], found.apply(asked)).mean() - true < 0.3 * lost


def test_rows_that_were_all_answered_rightly_do_not_ask_for_certainty():
    """Any larger slope fits them better still; the next row that is answered wrongly would then cost everything."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 3, 229)
    p = np.full((229, 3), 0.005)
    p[np.arange(229), truth] = 0.99
    found = fit_calibration(p, truth)
    assert 1.0 < found.slope < 2.0
    assert fit_calibration(p[:10], truth[:10]).shifts == ()


def test_numbers_are_led_along_the_line_that_the_rows_show():
    """Averages are timid about numbers too: what is far from the middle is not far enough."""
    rng = np.random.default_rng(8)
    truth = 50 + 10 * rng.normal(size=2_000)
    timid = (50 + 0.9 * (truth - 50) + rng.normal(size=2_000) - 2)[:, None]
    found = fit_calibration(timid[:1_000], truth[:1_000])
    left = truth[1_000:] - found.apply(timid[1_000:])[:, 0]
    assert np.sqrt((left**2).mean()) < 1.15
    assert found.slope == pytest.approx(1.1, abs=0.02)
    assert serves(metric("rmse"))
    assert not serves(metric("mae")), "medians have no line through means"


def test_one_far_row_moves_the_line_of_numbers_little():
    """It makes the slope alone, and its own uncertainty takes that back."""
    rng = np.random.default_rng(9)
    p = np.append(10 + rng.normal(size=199), 20.0)
    truth = np.append(p[:199] + 0.1 * rng.normal(size=199), 40.0)
    plain = np.polyfit(p, truth, 1)[0] - 1
    assert plain > 0.5
    assert abs(fit_calibration(p[:, None], truth).slope - 1) < 0.1 * plain


def test_what_was_never_negative_is_not_answered_so():
    with toys.only(toys.Prior(), toys.Ridge()):
        data = toys.rows_data(200, task="regression")
        data = replace(data, answers=np.maximum(data.answers, 0.0))
        _, model = trained(None, data, Problem("regression", "y", "rmse", "minimize"))
    assert model.bounds[0] == 0.0
    assert model.predict_answers(data).min() == 0.0, "a straight line goes below"


def test_every_member_has_seen_every_row_and_survives_saving():
    data = toys.rows_data(400)
    with toys.only(toys.Prior(), toys.Ridge()):
        found, model = trained(None, data, toys.binary_problem())
        again = Model.load(model.save())
    assert {m.recipe.learner for m in model.members} == {"ridge"}
    assert all(len(m.fitted) == len(found.folds) for m in model.members)
    np.testing.assert_array_equal(model.predict_answers(data), again.predict_answers(data))
    assert [t.weight for t in found.records() if t.weight > 0]
    assert len(model.predict_answers(data.take(np.arange(0)))) == 0


def test_a_model_of_another_kind():
    """Time splits are refitted on all rows; the future is asked with the history as state."""
    data, problem = toys.series_data(), Problem("toy_forecast", "value", "mae", "minimize", split=toys.FORWARD)
    with toys.only(toys.Naive()):
        _, model = trained(None, data, problem)
        model = Model.load(model.save())
    past = np.flatnonzero(data.time < 30)
    future = np.flatnonzero(data.time >= 30)
    ask = toys.Dataset(data.tables, data.units[future], state=data.take(past))
    np.testing.assert_allclose(model.predict_answers(ask)[:, 0], data.answers[future])
    assert all(len(m.fitted) == 1 for m in model.members)


def test_pure_noise_stays_near_chance():
    """A hundred rows without any signal: the ensemble must not look much better than a guess on fresh rows."""
    losses = []
    for seed in range(8):
        data = toys.rows_data(100, signal=0, seed=seed)
        fresh = toys.rows_data(1_000, signal=0, seed=seed + 100)
        with toys.only(toys.Prior(), toys.Ridge()):
            _, model = trained(None, data, toys.binary_problem("log_loss"))
            losses.append(log_loss_rows(fresh.answers, model.predict_answers(fresh)).mean())
    assert np.mean(losses) < np.log(2) + 0.06


def test_no_trial_no_model():
    data = toys.rows_data()
    with toys.only(toys.Crash()):
        context = toys.context()
        found = search(plan(toys.binary_problem(), data, toys.options(), context), data, toys.binary_problem(), context)
        with pytest.raises(Interrupted):
            ensemble(found, data, toys.binary_problem(), context)


def test_a_latency_limit_prunes_and_learns_once_more():
    """With a limit that no ensemble meets one quick model is left, learned on all rows."""
    data = toys.rows_data(400)
    with toys.only(toys.Ridge()):
        context = toys.context()
        limited = replace(toys.options(), max_latency=1e-9)
        found = search(plan(toys.binary_problem(), data, limited, context), data, toys.binary_problem(), context)
        model = ensemble(found, data, toys.binary_problem(), context)
    assert len(model.members) == 1
    assert len(model.members[0].fitted) == 1


def limited(data, problem, limit, *learners):
    with toys.only(*learners):
        context = toys.context()
        planned = replace(plan(problem, data, toys.options(), context), max_latency=limit, refit=True)
        found = search(planned, data, problem, context)
        return found, ensemble(found, data, problem, context)


def said_of_latency(trials):
    return next(entry for entry in trials.said if entry.kind == "latency")


class FittedSlow(toys.FittedRidge):
    def predict(self, data, steps=None):
        if len(data) == 1:
            time.sleep(0.005)
        return super().predict(data)


class Weighted(toys.Ridge):
    """Ridge regression that minds the units' weights, on so many columns."""

    columns, fitted = 1, toys.FittedRidge

    def __init__(self):
        self.name = "slow" if self.fitted is FittedSlow else "quick"

    def recipes(self, problem, data):
        return [toys.Recipe(self.name, self.name)]

    def fit(self, recipe, fit, watch, effort):
        x = toys.design(fit)[:, : 1 + self.columns]
        weighted = x if fit.weight is None else x * fit.weight[:, None]
        w = np.linalg.solve(weighted.T @ x + np.eye(x.shape[1]), weighted.T @ fit.answers.astype(float))
        return self.fitted(w, fit.classes)


class Slow(Weighted):
    """Knows more than the quick one, and takes 5 ms a row."""

    columns, fitted = 99, FittedSlow


class Quick(Weighted):
    pass


def test_a_limit_leaves_the_slow_member_out_and_says_what_that_costs():
    data = toys.rows_data(400)
    found, model = limited(data, toys.binary_problem(), 0.004, Slow(), Quick())
    entry = said_of_latency(found)
    assert "slow" not in [m.recipe.name for m in model.members]
    assert entry.verdict == "kept"
    assert entry.evidence["one_row_s"] <= 0.004
    assert entry.evidence["score"] == model.score
    assert "roc_auc" in entry.change
    assert all(0 < m.one_row_s < 0.004 for m in model.members)
    assert set(found.served) == {m.recipe.name for m in model.members}
    assert [c.recipe.name for c in found.eligible()] == list(found.served)  # what is evaluated is what ships


def test_a_limit_that_costs_nothing_changes_nothing():
    data = toys.rows_data(400)
    found, model = limited(data, toys.binary_problem(), 10.0, Slow(), Quick())
    assert "slow" in [m.recipe.name for m in model.members]
    assert said_of_latency(found).evidence["score"] == said_of_latency(found).evidence["score_without_limit"]
    assert not [c for c in found.candidates if c.status == "distilled"]


def test_a_pupil_of_the_whole_ensemble_is_tried_where_members_are_left_out():
    """It learns from probabilities (weights count), is judged on every fold, and stands on the leaderboard with a score of its own."""
    data = toys.rows_data(400)
    found, _ = limited(data, toys.binary_problem(), 0.004, Slow(), Quick())
    pupil = next(c for c in found.candidates if c.status == "distilled")
    assert found.complete(pupil)
    assert found.score(pupil)[0] == pytest.approx(found.score(found.find("quick"))[0], abs=0.02)
    assert "distilled" in [trial.status for trial in found.records()]


def test_a_limit_that_nothing_meets_is_said_plainly():
    data = toys.rows_data(400)
    found, model = limited(data, toys.binary_problem(), 1e-9, Slow(), Quick())
    assert [m.recipe.name for m in model.members] == ["quick"]
    assert said_of_latency(found).verdict == "missed"
    assert "cannot be met" in said_of_latency(found).change


def test_one_candidate_far_ahead_keeps_its_weight():
    """Bags see half of the candidates: those without the best one must not give its weight away where that surely costs."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=1_000)
    best = truth + rng.normal(scale=0.1, size=1_000)
    parts = [p[:, None] for p in (best, *(truth + rng.normal(scale=1.0, size=1_000) for _ in range(7)))]
    assert greedy_weights(parts, truth, metric("rmse"))[0] > 0.9
    alike = [(truth + rng.normal(scale=1.0, size=1_000))[:, None] for _ in range(8)]
    assert (greedy_weights(alike, truth, metric("rmse")) > 0.04).sum() >= 6
