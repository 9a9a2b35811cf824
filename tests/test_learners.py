"""Built-in learners: the contract, and what each promises beside it."""

import importlib

import numpy as np
import pytest

from emlyn.core.dataset import rows_dataset
from emlyn.core.features.prep import fit_encoder
from emlyn.core.learner import Effort
from emlyn.core.table import Table, number_column, text_column
from emlyn.learners import trees
from emlyn.testing import LearnerContract
from emlyn.testing.learners import problem_for


def built_in(name):
    return importlib.import_module(f"emlyn.learners.{name}").emlyn_learners()[0]


class TestBaseline(LearnerContract):
    @pytest.fixture
    def learner(self):
        return built_in("baseline")


class TestLinear(LearnerContract):
    @pytest.fixture
    def learner(self):
        return built_in("linear")


class TestLightGBM(LearnerContract):
    @pytest.fixture
    def learner(self):
        return built_in("lightgbm")


class TestCatBoost(LearnerContract):
    @pytest.fixture
    def learner(self):
        return built_in("catboost")


class TestTrees(LearnerContract):
    @pytest.fixture
    def learner(self):
        return built_in("trees")


class TestXGBoost(LearnerContract):
    @pytest.fixture
    def learner(self):
        return built_in("xgboost")


class TestMlp(LearnerContract):
    @pytest.fixture
    def learner(self):
        return built_in("mlp")


@pytest.mark.parametrize("rows", [50_001, 300_001])
def test_settings_for_many_rows_are_ones_lightgbm_can_learn_with(rows):
    """Other bins, bagging and leaves apply from these sizes; library checks that fail only there once ended every fit."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    colour = text_column(np.array(["a", "b", "c"], dtype=object)[rng.integers(0, 3, rows)], "category")
    data = rows_dataset(Table({"x": number_column(x), "colour": colour}), x**2 + 0.1 * rng.normal(size=rows))
    data.shared["encoder"] = fit_encoder(data.rows)
    learner = built_in("lightgbm")
    if learner.missing():
        pytest.skip(learner.missing())
    for recipe in learner.recipes(problem_for("regression"), data)[:3]:
        fitted = learner.fit(recipe, data, None, Effort(60.0, 1, 0, steps=25))
        error = data.answers[:2_000] - fitted.predict(data.take(np.arange(2_000)))[:, 0]
        assert (error**2).mean() < 0.8 * data.answers.var()


TIMES = [(10.0, 0.1, trees.BATCH), (1.0, 0.4, 2), (0.3, 0.4, 0), (-1.0, 0.1, 0), (5.0, 0.0, trees.BATCH)]


@pytest.mark.parametrize(("left", "per_tree", "trees_more"), TIMES)
def test_a_forest_grows_only_trees_it_has_time_for(left, per_tree, trees_more):
    assert trees.affordable(left, per_tree) == trees_more
