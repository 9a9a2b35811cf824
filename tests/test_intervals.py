"""Intervals against published numbers, against other libraries, and against what they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emlyn.core.judging import intervals
from emlyn.core.judging.intervals import FEWEST_EVENTS, difference_of_proportions, measure, paired_difference, proportion
from emlyn.core.judging.metrics import metric
from emlyn.core.judging.ranks import false_discovery
from emlyn.core.judging.reliability import calibration_measures
from emlyn.core.searching.ensembling import blend, greedy_weights
from emlyn.core.searching.selection import OutOfFold, believable, chosen, corrected
from emlyn.records.evaluation import Measure


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)])
def test_wilson_gives_the_published_limits(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17: 857-872, table I, method 3."""
    found = proportion(hits, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_newcombe_gives_the_published_limits() -> None:
    """Newcombe 1998, Statistics in Medicine 17: 873-890, table II, method 10: 56/70 - 48/80."""
    found = difference_of_proportions(proportion(56, 70), proportion(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize("hits", [0, 50])
def test_nothing_seen_is_the_rule_of_three(hits: int) -> None:
    found = proportion(hits, 50)
    assert found.high - found.low == pytest.approx(3 / 50, abs=0.002)
    assert found.method == "rule of three"


def test_exact_poisson_and_katz() -> None:
    assert (intervals.rate(5, 1).low, intervals.rate(5, 1).high) == pytest.approx((1.6235, 11.6683), abs=1e-4)
    ratio = intervals.ratio_of_proportions(20, 100, 10, 100)
    half = 1.959964 * np.sqrt(0.8 / 20 + 0.9 / 10)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2, 2 * np.exp(-half), 2 * np.exp(half)))


def test_delong_equals_the_slow_definition() -> None:
    rng = np.random.default_rng(1)
    y = rng.uniform(size=150) < 0.4
    s = (rng.normal(size=150) + y).round(1)
    wins = (s[y][:, None] > s[~y]) + 0.5 * (s[y][:, None] == s[~y])
    area = wins.mean()
    variance = wins.mean(axis=1).var(ddof=1) / y.sum() + wins.mean(axis=0).var(ddof=1) / (~y).sum()
    found = intervals.roc_area(y, s)
    middle, reach = np.log(area / (1 - area)), np.sqrt(variance) / (area * (1 - area))
    assert found.value == pytest.approx(area)
    assert found.low == pytest.approx(1 / (1 + np.exp(-(middle - 1.98 * reach))), abs=2e-3)
    assert found.high == pytest.approx(1 / (1 + np.exp(-(middle + 1.98 * reach))), abs=2e-3)


def test_too_few_events_get_a_value_but_no_interval() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(500) < FEWEST_EVENTS - 1
    found = intervals.roc_area(y, rng.normal(size=500) + y)
    assert found.value is not None
    assert found.low is None
    assert found.method == "too few events for an interval"


def test_mcnemar_is_exact() -> None:
    a = np.r_[np.ones(12, bool), np.zeros(3, bool), np.ones(85, bool)]
    b = np.r_[np.zeros(12, bool), np.ones(3, bool), np.ones(85, bool)]
    found, p = intervals.mcnemar(a, b)
    assert p == pytest.approx(stats.binomtest(12, 15).pvalue)
    assert found.value == pytest.approx(0.09)
    assert found.low is not None
    assert found.low > 0


def test_nadeau_bengio_is_wider_than_the_naive_t() -> None:
    values = np.array([0.8, 0.82, 0.79, 0.83, 0.81])
    found = intervals.over_folds(values, 0.25)
    naive = stats.t.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    assert (found.high - found.low) / 2 == pytest.approx(naive * np.sqrt((1 / 5 + 0.25) * 5))


def test_repeated_rows_do_not_narrow_a_clustered_interval() -> None:
    """Ten copies of each row, told as ten rows of one entity, know no more than the one row."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 200)
    p = np.clip(0.5 + 0.3 * (y - 0.5) + rng.normal(0, 0.2, 200), 0.01, 0.99)
    both = np.column_stack([1 - p, p])
    for name in ("roc_auc", "log_loss", "accuracy", "balanced_accuracy"):
        once = measure(metric(name), y, both, cluster=np.arange(200))
        many = measure(metric(name), np.repeat(y, 10), np.repeat(both, 10, axis=0), cluster=np.repeat(np.arange(200), 10))
        assert (many.low, many.high) == pytest.approx((once.low, once.high), rel=1e-6), name


def test_whole_number_weights_move_the_value_as_repeated_rows_do() -> None:
    rng = np.random.default_rng(3)
    y, w = rng.normal(size=100), rng.integers(1, 4, 100).astype(float)
    p = (y + rng.normal(size=100))[:, None]
    found = measure(metric("rmse"), y, p, w)
    again = measure(metric("rmse"), np.repeat(y, w.astype(int)), np.repeat(p, w.astype(int), axis=0))
    assert found.value == pytest.approx(again.value)
    assert found.high - found.low > again.high - again.low


def test_the_same_predictions_do_not_differ() -> None:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, 100)
    p = rng.dirichlet([1, 1], 100)
    for name in ("roc_auc", "log_loss", "f1"):
        found, chance = paired_difference(metric(name), y, p, p)
        assert (found.value, found.low, found.high, chance) == (0, 0, 0, 1), name


def test_one_outlier_gets_no_interval_rather_than_a_wrong_one() -> None:
    y = np.r_[np.zeros(99), 1e6]
    found = measure(metric("rmse"), y + np.random.default_rng(0).normal(size=100), np.zeros((100, 1)))
    assert found.low is None
    assert "one or two rows" in found.method


def _world(rng: np.random.Generator, n: int, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    y = (rng.uniform(size=n) < prevalence).astype(int)
    p = 1 / (1 + np.exp(-(np.log(prevalence / (1 - prevalence)) + 1.4 * (rng.normal(size=n) + 1.4 * y) - 0.98)))
    return y, np.column_stack([1 - p, p])


COVERED = [("roc_auc", 150, 0.3), ("log_loss", 150, 0.2), ("brier", 400, 0.05), ("accuracy", 100, 0.5), ("f1", 200, 0.3)]


@pytest.mark.parametrize(("name", "n", "prevalence"), COVERED)
def test_intervals_hold_what_they_promise(name: str, n: int, prevalence: float) -> None:
    """Coverage over 600 draws within four standard errors of 95 %; a Wald or percentile interval fails here."""
    truth = metric(name).score(*_world(np.random.default_rng(99), 400_000, prevalence), None)
    rng = np.random.default_rng(5)
    found = [measure(metric(name), *_world(rng, n, prevalence)) for _ in range(600)]
    held = [m.low <= truth <= m.high for m in found if m.low is not None and m.high is not None]
    assert len(held) > 550
    assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 600)


def test_calibration_is_measured_right() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=20_000)
    hit = (rng.uniform(size=20_000) < 1 / (1 + np.exp(-x))).astype(int)
    right = calibration_measures(hit, 1 / (1 + np.exp(-x)))
    wrong = calibration_measures(hit, 1 / (1 + np.exp(-(2 * x + 0.5))))
    assert _holds(right["calibration_slope"], 1)
    assert _holds(right["calibration_intercept"], 0)
    assert _holds(right["observed_expected"], 1)
    assert right["ici"].value < 0.02
    assert abs(right["spiegelhalter_z"].value) < 3
    assert _holds(wrong["calibration_slope"], 0.5)
    assert wrong["ici"].value > 0.05
    assert abs(wrong["spiegelhalter_z"].value) > 5


def _holds(found: Measure, value: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= value <= found.high


def test_a_correction_for_selection_takes_the_luck_out() -> None:
    """Fifteen recipes that all guess: the chosen blend looks good, the corrected score is chance."""
    rng, naive, honest, m = np.random.default_rng(7), [], [], metric("roc_auc")
    for _ in range(15):
        truth, fold = rng.integers(0, 2, 200), np.arange(200) % 5
        p = rng.uniform(0.2, 0.8, (15, 200))
        stored = OutOfFold([np.column_stack([1 - q, q]) for q in p], fold, truth)
        naive.append(m.score(truth, blend(stored.candidates, greedy_weights(stored.candidates, truth, m)), None))
        honest.append(m.score(truth, corrected(stored, m, calibrate=False), None))
    assert np.mean(naive) > 0.57
    assert abs(np.mean(honest) - 0.5) < 4 * 0.042 / np.sqrt(15)


def test_one_slip_does_not_choose_among_the_candidates() -> None:
    """A typed 0 among answers near 80: the candidate that misses it least is worse on every other row. Many far rows are a tail, and count."""
    rng = np.random.default_rng(3)
    truth = 80 + 3 * rng.normal(size=900)
    good, poor = truth + 0.3 * rng.normal(size=900), truth + 1.0 * rng.normal(size=900)
    slip, tail = truth.copy(), truth.copy()
    slip[7], poor[7] = 0.0, 60.0
    tail[:90] = 0.0
    stored = OutOfFold([good[:, None], poor[:, None]], np.arange(900) % 5, slip)
    assert metric("rmse").score(slip, stored.candidates[1], None) < metric("rmse").score(slip, stored.candidates[0], None)
    assert greedy_weights(stored.candidates, slip, metric("rmse"))[0] < 0.5
    assert chosen(stored, metric("rmse"))[0][0] > 0.7
    assert believable(replace(stored, truth=tail), metric("rmse")) is tail


def test_a_choice_made_on_one_fold_cannot_be_judged() -> None:
    p = np.full((10, 2), 0.5)
    with pytest.raises(ValueError, match="only fold"):
        corrected(OutOfFold([p, p], np.zeros(10, int), np.arange(10) % 2), metric("log_loss"), calibrate=False)


@pytest.mark.parametrize(("low", "value", "high"), [(0.8, 0.9, 0.95), (2.0, 3.0, 5.0), (-0.1, 0.2, 0.6)])
def test_a_wider_interval_stays_on_its_scale(low: float, value: float, high: float) -> None:
    found = intervals.widened(Measure(value, low, high, 100, "t"), 1.5, "for a reason")
    assert found.low < low < value < high < found.high
    assert (low < 0) == (found.low < 0)
    assert (high < 1) == (found.high < 1)
    assert "1.50 times as wide for a reason" in found.method


def test_fold_models_on_different_scales_are_ranked_within_their_folds() -> None:
    """Each fold ranks well, but on a scale of its own: pooled they look worse than any of them."""
    rng = np.random.default_rng(8)
    y, fold = rng.integers(0, 2, 1_000), np.arange(1_000) % 4
    score = rng.normal(size=1_000) + 1.5 * y + 3.0 * fold
    p = np.column_stack([-score, score])
    pooled = metric("roc_auc").score(y, p, None)
    found = intervals.area_over_folds(y, p, None, None, fold)
    each = [metric("roc_auc").score(y[fold == k], p[fold == k], None) for k in range(4)]
    assert found.value == pytest.approx(np.mean(each))
    assert found.low < found.value < found.high
    assert pooled < min(each)
    flat = np.full((1_000, 2), 0.5)
    difference, chance = paired_difference(metric("roc_auc"), y, p, flat, fold=fold)
    assert difference.value == pytest.approx(found.value - 0.5)
    assert chance < 1e-6


def test_folds_without_a_class_count_for_nothing() -> None:
    y, fold = np.r_[np.ones(5), np.tile([0, 1], 50)].astype(int), np.r_[np.zeros(5), np.ones(100)].astype(int)
    score = np.r_[np.zeros(5), np.tile([0.2, 0.8], 50)]
    assert intervals.area_over_folds(y, np.column_stack([1 - score, score]), None, None, fold).value == 1.0
    assert intervals.area_over_folds(y[:5], np.full((5, 2), 0.5), None, None, fold[:5]).value is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discovery_rates_are_those_of_scipy(p: list[float]) -> None:
    assert false_discovery(np.array(p)) == pytest.approx(stats.false_discovery_control(p))
