"""Built-in learners: the contract, and what each promises beside it."""

import importlib

import pytest

from emlyn.testing import LearnerContract


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
