"""`Classifier` and `Regressor`: the engine behind scikit-learn's contract. With `engineer.py` the only file that knows the order of the stages."""

from __future__ import annotations

import math
import numbers
import time
from collections import Counter
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, assert_all_finite, check_is_fitted, column_or_1d, validate_data

from emlyn import plugins
from emlyn.context import Budget, Context
from emlyn.core import units
from emlyn.core.auditing.inspection import inspect, material, view
from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.metrics import metrics_for
from emlyn.core.machine import usable_cores
from emlyn.core.models.model import Model
from emlyn.core.reader import Read
from emlyn.core.table import Column, Table, number_column
from emlyn.core.tables.contract import conform, contract_of
from emlyn.core.tables.frames import to_table
from emlyn.errors import OptionError
from emlyn.records.data_card import DataCard
from emlyn.records.finding import Finding
from emlyn.records.journal import Trial
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem
from emlyn.stages.ensemble import ensemble
from emlyn.stages.plan import plan
from emlyn.stages.profile import profile
from emlyn.stages.search import search

SHARES = {"audit": 0.08, "search": 0.88, "reserve": 0.04}
"""An estimator evaluates, explains and packages nothing: the search has their time."""


class _Tabular(BaseEstimator):  # type: ignore[misc]
    """What both estimators share. Every row and column given is used; nothing is sealed."""

    def __init__(
        self, metric: str | None = None, budget: str | float = "60s", trials: int | None = None, random_state: Any = 0, n_jobs: int | None = None
    ) -> None:
        self.metric = metric
        self.budget = budget
        self.trials = trials
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.target_tags.required = True
        tags.non_deterministic = self.trials is None
        return tags

    def _learn(self, raw: Table, answers: np.ndarray, problem: Problem, weight: np.ndarray | None, began: float) -> None:
        """Profile, plan, search, ensemble; sets `model_`, `leaderboard_` and `findings_`."""
        budget = units.seconds(self.budget)
        seed = (
            int(self.random_state)
            if isinstance(self.random_state, numbers.Integral)
            else int(check_random_state(self.random_state).randint(2**31 - 1))
        )
        context = Context(
            Budget(math.inf if self.trials is not None else budget, began, shares=SHARES), seed=seed % (2**31), threads=_threads(self.n_jobs)
        )
        options = TrainOptions(target=problem.target, metric=problem.metric, budget=budget, trials=_trials(self.trials), seed=context.seed)
        target = _free_name(raw)
        whole = raw.with_columns({target: _target_column(answers, problem)})
        card = profile(Read(whole, "X"), TrainOptions(target=target), context)
        contract = contract_of(card, tuple(raw), raw)
        data = rows_dataset(conform(raw, contract).table, answers, classes=len(problem.classes), weight=weight)
        problem = replace(problem, target=target, features=tuple(raw), rows=len(data))
        self.findings_: list[Finding] = _noticed(whole, card, problem, context)
        trials = search(plan(problem, data, options, context), data, problem, context)
        self.model_: Model = ensemble(trials, data, problem, context).with_contract(contract)
        self.leaderboard_: tuple[Trial, ...] = trials.records()

    def _answers(self, X: Any) -> np.ndarray:
        """Answers (n, width) to the rows of X."""
        check_is_fitted(self)
        raw = _table_of(self, X, reset=False)
        model: Model = self.model_
        return model.predict_answers(rows_dataset(conform(raw, model.contract).table, classes=len(model.problem.classes)))


class Classifier(ClassifierMixin, _Tabular):  # type: ignore[misc]
    """The best classifier that the budget finds.

    Parameters: `metric` (None: ROC AUC for two classes, log loss for more), `budget` (seconds, or text such as `60s`: a maximum for `fit`),
    `trials` (a number of recipes instead of a time limit: `fit` is then repeatable), `random_state`, `n_jobs` (None or -1: all cores that are ours).
    Fitted: `classes_`, `n_features_in_`, `feature_names_in_`, `model_`, `leaderboard_`, `findings_`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from a table (pandas, polars, Arrow or numpy; strings, dates and missing cells allowed) and one label per row.

        Raises ValueError for labels that are missing, of one class only, or not as many as rows; OptionError for a bad setting.
        """
        began = time.monotonic()
        raw = _table_of(self, X, reset=True)
        y = _labels(self, y, raw.rows)
        check_classification_targets(y)
        weight, used = _weights(sample_weight, raw)
        self.classes_, answers = np.unique(y, return_inverse=True)
        if len(np.unique(answers[used])) < 2:
            raise ValueError(f"{type(self).__name__} needs at least two classes; the target has one class: {self.classes_[0]}")
        names = tuple(str(c) for c in self.classes_)
        task = plugins.find("tasks", "binary" if len(names) == 2 else "multiclass")
        metric = _metric(self.metric, task)
        problem = Problem(task.name, "y", metric.name, metric.direction, classes=names, positive=names[-1])
        if used.all():
            self._learn(raw, answers.astype(np.int64), problem, weight, began)
        else:
            self._learn(raw.take(used), answers[used].astype(np.int64), problem, None if weight is None else weight[used], began)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, classes), columns in the order of `classes_`."""
        return self._answers(X)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row (n,)."""
        chosen: np.ndarray = self._answers(X).argmax(axis=1)
        return np.asarray(np.asarray(self.classes_)[chosen])


class Regressor(RegressorMixin, _Tabular):  # type: ignore[misc]
    """The best regressor that the budget finds.

    Parameters as for `Classifier`; `metric` None means RMSE. Fitted: `n_features_in_`, `feature_names_in_`, `model_`, `leaderboard_`, `findings_`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from a table and one number per row. Raises ValueError for answers that are missing or infinite, OptionError for a bad setting."""
        began = time.monotonic()
        raw = _table_of(self, X, reset=True)
        y = _labels(self, y, raw.rows)
        try:
            answers = np.asarray(y, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Regressor needs numbers to predict: {error}") from error
        assert_all_finite(answers, input_name="y")
        weight, used = _weights(sample_weight, raw)
        metric = _metric(self.metric, plugins.find("tasks", "regression"))
        problem = Problem("regression", "y", metric.name, metric.direction)
        if used.all():
            self._learn(raw, answers, problem, weight, began)
        else:
            self._learn(raw.take(used), answers[used], problem, None if weight is None else weight[used], began)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """One number per row (n,)."""
        return np.asarray(self._answers(X)[:, 0])


def _table_of(estimator: Any, X: Any, *, reset: bool) -> Table:
    """X as a raw table; number and names of its columns recorded (or checked) as scikit-learn does."""
    if hasattr(X, "tocsr"):
        raise TypeError("sparse input is not supported: use X.toarray() or a table")
    shape = getattr(X, "shape", None)
    if shape is None:
        X = np.asarray(X)
        shape = X.shape
    if len(shape) != 2:
        raise ValueError(f"Expected 2D array, got {len(shape)}D array instead. Reshape your data with X.reshape(-1, 1) if it has a single column.")
    if getattr(getattr(X, "dtype", None), "kind", "") == "c":
        raise ValueError("Complex data not supported")
    names = Counter(getattr(X, "column_names", getattr(X, "columns", ())))  # Arrow's columns are the cells
    if twice := [str(name) for name, times in names.items() if times > 1]:
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        raise ValueError(f"more than one column is called {', '.join(map(repr, twice[:5]))}{more}: give each column a name of its own")
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if shape[1] == 0:
        raise ValueError(f"Found array with 0 feature(s) (shape={tuple(shape)}) while a minimum of 1 is required.")
    if shape[0] < (2 if reset else 1):
        raise ValueError(f"Found array with {shape[0]} sample(s) (n_samples={shape[0]}) while a minimum of {2 if reset else 1} is required.")
    table = to_table(X)
    return Table({str(name): column for name, column in table.items()}, rows=table.rows)


def _labels(estimator: Any, y: Any, rows: int) -> np.ndarray:
    if y is None:
        raise ValueError(f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None.")
    y = column_or_1d(y, warn=True)
    if len(y) != rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{rows}, {len(y)}]")
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    if y.dtype.kind == "O" and any(v is None or v != v for v in y.tolist()):
        raise ValueError("Input y contains NaN: a row without an answer cannot be learned from.")
    return np.asarray(y)


def _weights(sample_weight: Any, raw: Table) -> tuple[np.ndarray | None, np.ndarray]:
    """Weights (n,) or None, and which rows count at all: a weight of zero is as if the row were not there."""
    if sample_weight is None:
        return None, np.ones(raw.rows, dtype=bool)
    weight = np.asarray(_check_sample_weight(sample_weight, np.zeros((raw.rows, 1)), dtype=np.float64, ensure_non_negative=True))
    return (None if (weight == weight[0]).all() else weight), weight > 0


def _free_name(raw: Table) -> str:
    """A name for the target that no column has."""
    name = "y"
    while name in raw:
        name += "_"
    return name


def _target_column(answers: np.ndarray, problem: Problem) -> Column:
    if not problem.classes:
        return number_column(answers)
    return Column("category", answers.astype(np.int32), np.array(problem.classes, dtype=object))


def _noticed(whole: Table, card: DataCard, problem: Problem, context: Context) -> list[Finding]:
    """What the quick checks see in these rows; nothing is repaired or left out."""
    seen = view(whole, card, problem, context.seed, context.threads)
    found = inspect(
        material(whole, card, problem, seen),
        seen.positions,
        lambda: context.budget.until("audit"),
        lambda check: not {"probe"} & set(check.needs) and not check.slow,
    )
    return list(found.findings.values())


def _metric(name: str | None, task: Any) -> Any:
    known = {m.name: m for m in metrics_for(task.name)}
    if (name or task.default_metric) not in known:
        raise OptionError(
            f"{name!r} is no metric for a {task.name} task",
            where="metric",
            allowed=", ".join(known),
            next_step=f"leave it out for {task.default_metric}",
        )
    return known[name or task.default_metric]


def _threads(n_jobs: int | None) -> int:
    if n_jobs is None or n_jobs == -1:
        return usable_cores()
    if not _whole(n_jobs):
        raise OptionError(
            f"n_jobs is {n_jobs!r}", where="n_jobs", allowed="a whole number of at least 1, -1 or None for all cores", next_step="leave n_jobs out"
        )
    return int(n_jobs)


def _trials(trials: int | None) -> int | None:
    if trials is not None and not _whole(trials):
        raise OptionError(
            f"trials is {trials!r}",
            where="trials",
            allowed="a whole number of at least 1, or None",
            next_step="leave trials out to be bounded by time",
        )
    return None if trials is None else int(trials)


def _whole(value: Any) -> bool:
    """Is it a whole number of at least 1?"""
    return not isinstance(value, bool) and isinstance(value, numbers.Integral) and int(value) >= 1
