"""The estimators keep scikit-learn's contract, and take what scikit-learn's own would refuse: strings, dates, gaps, dirt."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import emlyn
from emlyn.errors import OptionError

FOLDED = "rows are parted into folds by position: a row given twice is not the same as a row of weight two"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": FOLDED}


@parametrize_with_checks(
    [emlyn.Classifier(trials=3, n_jobs=1), emlyn.Regressor(trials=3, n_jobs=1)], expected_failed_checks=lambda estimator: EXPECTED
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def people():
    """A table as people keep it: words, dates, gaps, numbers written as text."""
    rng = np.random.default_rng(0)
    n = 240
    age = rng.integers(18, 80, n)
    table = pd.DataFrame(
        {
            "age": [str(a) if a % 9 else "n/a" for a in age],
            "city": rng.choice(["Rome", "Oslo", "Lima", None], n),
            "joined": pd.date_range("2020-01-01", periods=n, freq="D").strftime("%Y-%m-%d"),
            "pay": [f"${v:,.2f}" for v in rng.lognormal(8, 1, n)],
        }
    )
    return table, np.where(age + rng.normal(0, 5, n) > 45, "stays", "leaves"), age.astype(float)


def test_dirty_tables_are_learned_from(people):
    table, label, _ = people
    model = emlyn.Classifier(trials=4).fit(table, label)
    assert list(model.classes_) == ["leaves", "stays"]
    assert list(model.feature_names_in_) == list(table.columns)
    p = model.predict_proba(table)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (model.predict(table) == label).mean() > 0.8
    assert (model.predict(table) == model.classes_[p.argmax(axis=1)]).all()


def test_what_is_noticed_is_listed_and_nothing_is_left_out(people):
    table, label, _ = people
    model = emlyn.Classifier(trials=3).fit(table.assign(copy=label), label)
    assert any(f.code.startswith("leakage") and "copy" in f.columns for f in model.findings_)
    assert "copy" in {rule.name for rule in model.model_.contract.columns}


def test_rows_asked_about_may_look_otherwise(people):
    """Unseen categories, missing cells and other dtypes get an answer."""
    table, _, age = people
    model = emlyn.Regressor(trials=4).fit(table, age)
    odd = table.head(5).copy()
    odd["city"], odd["pay"] = "Atlantis", np.nan
    odd["age"] = [20.0, 30.0, 40.0, 50.0, np.nan]
    assert np.isfinite(model.predict(odd)).all()
    assert len(model.predict(table.head(1))) == 1


@pytest.mark.parametrize("library", ["polars", "arrow", "numpy"])
def test_other_tables(people, library):
    table, _, age = people
    if library == "polars":
        x = pytest.importorskip("polars").from_pandas(table)
    elif library == "arrow":
        x = pytest.importorskip("pyarrow").Table.from_pandas(table)
    else:
        x = table.to_numpy()
    model = emlyn.Regressor(trials=3).fit(x, age)
    same = emlyn.Regressor(trials=3).fit(table, age)
    np.testing.assert_allclose(model.predict(x), same.predict(table), rtol=1e-6)


def test_inside_scikit_learn():
    x, y = load_breast_cancer(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), emlyn.Classifier(trials=3))
    assert cross_val_score(pipe, x[:200], y[:200], cv=2, scoring="roc_auc").min() > 0.9
    grid = GridSearchCV(emlyn.Classifier(trials=2), {"trials": [2, 3]}, cv=2).fit(x[:150], y[:150])
    assert grid.best_params_["trials"] in (2, 3)
    twin = clone(emlyn.Classifier(metric="log_loss", budget="5s", trials=2, random_state=7, n_jobs=1))
    assert twin.get_params() == {"metric": "log_loss", "budget": "5s", "trials": 2, "random_state": 7, "n_jobs": 1}


def test_a_copy_answers_the_same_also_after_one_row_was_asked_about(people):
    """What makes single rows quick (prepared calls, joined models) belongs to the process and must not hinder a copy."""
    table, label, _ = people
    model = emlyn.Classifier(trials=6, random_state=0).fit(table, label)
    assert {m.recipe.learner for m in model.model_.members} >= {"lightgbm", "linear"}
    found = model.predict_proba(table.iloc[:1])
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict_proba(table.iloc[:1]), found)


def test_weights_count():
    x, y = load_diabetes(return_X_y=True)
    heavy = np.where(y > 200, 20.0, 1.0)
    plain, pulled = (emlyn.Regressor(trials=3).fit(x, y, sample_weight=w).predict(x).mean() for w in (None, heavy))
    assert pulled > plain + 5
    gone = np.where(y > 200, 0.0, 1.0)
    np.testing.assert_allclose(
        emlyn.Regressor(trials=3).fit(x, y, sample_weight=gone).predict(x), emlyn.Regressor(trials=3).fit(x[y <= 200], y[y <= 200]).predict(x)
    )


def test_a_time_bounded_fit_says_what_it_did():
    x, y = load_diabetes(return_X_y=True)
    model = emlyn.Regressor(budget="3s").fit(x, y)
    assert model.leaderboard_[0].score < 65
    assert any(t.recipe.learner == "baseline" for t in model.leaderboard_)
    assert sum(t.weight for t in model.leaderboard_) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ({"metric": "nonsense"}, "roc_auc"),
        ({"budget": "soon"}, "60s"),
        ({"trials": 0}, "at least 1"),
        ({"n_jobs": 0}, "at least 1"),
        ({"metric": "rmse"}, "log_loss"),
    ],
)
def test_bad_settings_say_what_is_allowed(setting, names):
    with pytest.raises(OptionError, match=names):
        emlyn.Classifier(**{"trials": 2, **setting}).fit([[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1])


@pytest.mark.parametrize("y", [["a"] * 4, [None, "a", "b", "a"], [np.nan, 1.0, 0.0, 1.0], [0, 1]])
def test_bad_answers(y):
    with pytest.raises(ValueError, match=r"class|NaN|inconsistent"):
        emlyn.Classifier(trials=2).fit([[1.0], [2.0], [3.0], [4.0]], y)


def test_columns_of_one_name_are_named(people):
    table, y, _ = people
    twice = table.iloc[:, [0, 1, 0]]
    with pytest.raises(ValueError, match=f"more than one column is called '{table.columns[0]}'"):
        emlyn.Classifier(trials=2).fit(twice, y)


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e12, 1e100])
def test_numbers_may_be_in_any_unit(unit):
    """Farads are small and currencies large: the same recipes are tried, and answers differ by the unit alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    y = x[:, 0] + x[:, 1] * (x[:, 2] > 0) + 0.1 * rng.normal(size=150)
    usual, other = (emlyn.Regressor(trials=5, random_state=0).fit(x, y * u) for u in (1.0, unit))
    assert [t.recipe.name for t in other.leaderboard_] == [t.recipe.name for t in usual.leaderboard_]
    np.testing.assert_allclose(other.predict(x) / unit, usual.predict(x), rtol=1e-3, atol=1e-3)
