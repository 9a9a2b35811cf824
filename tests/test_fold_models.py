"""Small tables have no rows to spare: each is explained by the fold models that did not learn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

import emlyn
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.models.fold_models import FOLD, left_out
from emlyn.core.models.model import Member, Model
from emlyn.core.table import Table, number_column
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem


@dataclass(frozen=True)
class Constant:
    """A fold model that names itself, and remembers the columns it was shown."""

    value: float

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        assert FOLD not in data.rows
        return np.full((len(data), 1), self.value)


def bag(*members: int) -> Model:
    problem = Problem("regression", "y", "rmse", "minimize")
    return Model(problem, tuple(Member(Recipe("a", "b"), 1 / len(members), tuple(Constant(float(k)) for k in range(n))) for n in members), 1)


def test_each_row_is_asked_of_the_fold_that_left_it_out_however_rows_are_copied() -> None:
    data = rows_dataset(Table({"x": number_column(np.arange(6.0))}), np.arange(6.0))
    found = left_out(bag(3, 3), data, np.array([0, 1, 2, 0, 1, -1]), 3)
    assert found is not None
    judge, rows = found
    assert rows.units.tolist() == [0, 1, 2, 3, 4], "a row that no fold asked has no judge"
    assert judge.predict_answers(rows)[:, 0].tolist() == [0, 1, 2, 0, 1]
    shuffled = rows_dataset(rows.rows.take(np.array([4, 2, 2, 0])))
    assert judge.predict_answers(shuffled)[:, 0].tolist() == [1, 2, 2, 0]


def test_members_learned_once_more_on_all_rows_have_no_fold_models() -> None:
    data = rows_dataset(Table({"x": number_column(np.arange(6.0))}), np.arange(6.0))
    assert left_out(bag(3, 1), data, np.zeros(6, dtype=int), 3) is None


def test_a_model_of_noise_gives_no_reasons(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the rows it learned from, a boosted model swears by the noise it has memorised."""
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(300, 5)).round(3), columns=list("abcde")).assign(y=rng.choice(["no", "yes"], 300))
    found = emlyn.train(table, target="y", trials=4, jobs=1, repairs="none").evidence.explanation
    assert found is not None
    assert found.reference.startswith("the training rows, each judged by the fold models")
    assert not any(d.column.startswith("\0") for d in found.drivers)
    assert sum(d.above_noise is True for d in found.drivers) <= 1
