"""What a target column asks for, and how its cells become answers."""

import numpy as np
import pytest

from emlyn import plugins
from emlyn.core.dataset import rows_dataset
from emlyn.core.table import Table, number_column, text_column
from emlyn.records.problem import Problem

rng = np.random.default_rng(0)
TARGETS = {
    "two labels": (text_column(["a", "b"] * 50, "category"), "binary"),
    "zero and one": (number_column([0.0, 1.0] * 50), "binary"),
    "five labels": (text_column(list("abcde") * 20, "category"), "multiclass"),
    "grades 3 to 9": (number_column(rng.integers(3, 10, 300).astype(float)), "multiclass"),
    "prices": (number_column(rng.lognormal(size=200)), "regression"),
    "counts to 28": (number_column(rng.integers(1, 29, 300).astype(float)), "regression"),
    "halves": (number_column(rng.integers(1, 9, 300) / 2), "regression"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_kind_that_fits_best(name):
    column, kind = TARGETS[name]
    scores = {task.name: task.fits(column)[0] for task in plugins.collect("tasks")}
    assert max(scores, key=scores.get) == kind


def test_a_constant_fits_nothing():
    assert max(task.fits(text_column(["a"] * 9, "category"))[0] for task in plugins.collect("tasks")) == 0


def test_every_reason_is_a_sentence():
    for column, _ in TARGETS.values():
        assert all(task.fits(column)[1] for task in plugins.collect("tasks"))


def test_codes_follow_the_problem_and_strangers_are_none():
    problem = Problem("multiclass", "y", "log_loss", "minimize", classes=("low", "mid", "high"))
    codes = plugins.find("tasks", "multiclass").encode(text_column(["high", "low", None, "alien", "mid"], "category"), problem)
    assert codes.tolist() == [2, 0, -1, -1, 1]
    numbers = Problem("binary", "y", "roc_auc", "maximize", classes=("0", "1"))
    assert plugins.find("tasks", "binary").encode(number_column([1, 0, np.nan]), numbers).tolist() == [1, 0, -1]


def test_numbers_that_are_none():
    problem = Problem("regression", "y", "rmse", "minimize")
    got = plugins.find("tasks", "regression").encode(number_column([1.5, np.inf, np.nan]), problem)
    np.testing.assert_array_equal(got, [1.5, np.nan, np.nan])


def test_no_class_is_impossible():
    data = rows_dataset(Table({"x": number_column(range(4))}), np.array([0, 0, 0, 1]), classes=3)
    prior = plugins.find("tasks", "multiclass").prior(data, Problem("multiclass", "y", "log_loss", "minimize", classes=("a", "b", "c")))
    assert (prior > 0).all()
    assert prior.sum() == pytest.approx(1)


def test_folds_keep_groups_together_and_one_fold_is_a_holdout():
    from emlyn.records.problem import SplitRule

    group = np.repeat(np.arange(30), 4)
    data = rows_dataset(Table({"x": number_column(range(120))}), np.arange(120.0), group=group)
    task = plugins.find("tasks", "regression")
    folds = task.folds(data, Problem("regression", "y", "rmse", "minimize", split=SplitRule("group", "g")), 4, 0)
    for fold in folds:
        assert not set(fold.ask.group) & set(fold.fit.group)
    (held,) = task.folds(data, Problem("regression", "y", "rmse", "minimize"), 1, 0)
    assert len(held.ask) == 24
    assert len(held.fit) == 96
