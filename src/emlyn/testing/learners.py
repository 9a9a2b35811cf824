"""What every learner of tables of rows must keep: subclass `LearnerContract` and override `learner`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.features.prep import fit_encoder
from emlyn.core.judging.metrics import metric
from emlyn.core.learner import Effort, Learner
from emlyn.core.models.model import Member
from emlyn.core.table import Table, number_column, text_column
from emlyn.records.codec import from_json, to_json
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

METRICS = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}
ROWS = 160
QUICK = Effort(seconds=0.5, threads=1, seed=0)
CALM = Effort(seconds=10.0, threads=1, seed=0)
"""Enough to learn something, also where a library loads first and the machine is busy."""


def dirty_table(rows: int, seed: int = 0) -> Table:
    """Every kind of column, with gaps, a constant, an empty column, rare and many levels."""
    rng = np.random.default_rng(seed)
    signal, gap = rng.normal(size=rows), rng.random(rows) < 0.2
    colours = np.array(["red", "green", "blue", "rare"], dtype=object)[np.minimum(rng.geometric(0.5, rows) - 1, 3)]
    words = np.array(["good", "bad", "fine", "poor", "odd", "new"], dtype=object)
    return Table({
        "signal": number_column(signal),
        "gappy": number_column(np.where(gap, np.nan, signal + rng.normal(size=rows))),
        "huge": number_column(rng.normal(size=rows) * 1e300),
        "flag": number_column((rng.random(rows) < 0.3).astype(float), "boolean"),
        "when": number_column(1.6e9 + 86_400.0 * rng.integers(0, 900, rows), "date"),
        "colour": text_column([None if g else c for g, c in zip(gap, colours, strict=True)], "category"),
        "code": text_column([f"k{i}" for i in rng.integers(0, 90, rows)], "category"),
        "note": text_column([" ".join(rng.choice(words, 6)) for _ in range(rows)], "text"),
        "empty": number_column(np.full(rows, np.nan)),
        "constant": number_column(np.ones(rows)),
    })


def problem_for(task: str) -> Problem:
    classes = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c")}.get(task, ())
    return Problem(task, "y", METRICS[task], metric(METRICS[task]).direction, classes)


def dataset_for(task: str, table: Table | None = None, seed: int = 0) -> Dataset:
    """Answers that depend on `signal` and `colour`, with noise; an encoder in `shared`."""
    table = dirty_table(ROWS, seed) if table is None else table
    rng = np.random.default_rng(seed + 1)
    first = next(iter(table.values())).values.astype(float)
    score = np.nan_to_num(first) + 0.5 * rng.normal(size=table.rows) + (table["colour"].values == 0 if "colour" in table else 0.0)
    classes = len(problem_for(task).classes)
    answers = score * 10 + 5 if not classes else np.searchsorted(np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]), score)
    data = rows_dataset(table, answers)
    data.shared["encoder"] = fit_encoder(table)
    return data


def asked(table: Table, data: Dataset) -> Dataset:
    """Other rows for models learned on `data`."""
    found = rows_dataset(table)
    found.shared["encoder"] = data.shared["encoder"]
    return found


class LearnerContract:
    """Learns any table of rows, answers any row, saves without pickle, keeps to its effort."""

    @pytest.fixture
    def learner(self) -> Learner:
        """The learner under test."""
        raise NotImplementedError("return the learner under test")

    @pytest.fixture(params=["binary", "multiclass", "regression"])
    def task(self, request: pytest.FixtureRequest, learner: Learner) -> str:
        if reason := learner.missing():
            pytest.skip(f"{learner.name} cannot be used here: {reason}")
        if request.param not in learner.tasks:
            pytest.skip(f"{learner.name} does not do {request.param}")
        return str(request.param)

    def recipes(self, learner: Learner, task: str) -> Sequence[Recipe]:
        return learner.recipes(problem_for(task), dataset_for(task))

    def check_answers(self, found: np.ndarray, rows: int, task: str) -> None:
        classes = len(problem_for(task).classes)
        assert found.shape == (rows, classes or 1)
        assert found.dtype == np.float64
        assert np.isfinite(found).all()
        if classes:
            np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
            assert (found > 0).all(), "a class of probability zero makes the log loss infinite"

    def test_recipes_are_records(self, learner: Learner, task: str) -> None:
        found = self.recipes(learner, task)
        assert found
        for recipe in found:
            assert from_json(to_json(recipe), Recipe) == recipe, "params hold plain JSON values"
            assert recipe.learner == learner.name
            assert recipe.why
        assert len({r.name for r in found}) == len(found)

    def test_every_recipe_learns_and_comes_back_the_same(self, learner: Learner, task: str) -> None:
        data = dataset_for(task)
        fit, watch, rest = data.take(np.arange(100)), data.take(np.arange(100, 130)), data.take(np.arange(130, ROWS)).without_answers()
        for recipe in self.recipes(learner, task):
            fitted = learner.fit(recipe, fit, watch, QUICK)
            found = fitted.predict(rest)
            self.check_answers(found, len(rest), task)
            again = learner.load(fitted.save())
            np.testing.assert_allclose(again.predict(rest), found, rtol=1e-12, atol=1e-12)
            one = again.predict(rest.take(np.array([7])))
            np.testing.assert_allclose(one[0], found[7], rtol=1e-5, atol=1e-9)
            self.check_answers(again.predict(rest.take(np.array([], dtype=np.int64))), 0, task)

    def test_models_of_a_bag_answer_one_row_as_they_answer_many(self, learner: Learner, task: str) -> None:
        """Also where the folds left them different gaps and classes, and by a quicker way of asking them all, where the learner has one."""
        data = dataset_for(task)
        assert data.answers is not None
        gap, first = np.isnan(data.rows["gappy"].values), data.answers == data.answers[0]
        asked, brief = data.without_answers(), replace(QUICK, seconds=0.2)
        for recipe in self.recipes(learner, task)[:2]:
            cuts = (np.arange(100), np.arange(60, ROWS), np.flatnonzero(~gap), np.flatnonzero(~first))
            usual, *others = (learner.fit(recipe, data.take(rows), None, brief) for rows in cuts)
            for other in others:
                bag = Member(recipe, 1.0, (usual, other))
                for i in (0, int(gap.argmax()), int((~gap).argmax())):
                    one = asked.take(np.array([i]))
                    np.testing.assert_allclose(bag.predict(one), bag.mean(m.predict(one) for m in bag.fitted), rtol=1e-5, atol=1e-9)

    def test_no_worse_than_the_prior(self, learner: Learner, task: str) -> None:
        data = dataset_for(task, dirty_table(3 * ROWS))
        fit, ask = data.take(np.arange(2 * ROWS)), data.take(np.arange(2 * ROWS, 3 * ROWS))
        assert fit.answers is not None
        assert ask.answers is not None
        fitted = learner.fit(self.recipes(learner, task)[0], fit, None, CALM)
        classes = len(problem_for(task).classes)
        prior = np.bincount(fit.answers.astype(np.int64), minlength=classes) / len(fit) if classes else fit.answers.mean()
        floor = metric(METRICS[task]).loss(ask.answers, np.full((len(ask), classes or 1), prior))
        assert metric(METRICS[task]).loss(ask.answers, fitted.predict(ask)) <= floor * 1.15

    def test_unseen_cells_get_an_answer(self, learner: Learner, task: str) -> None:
        data = dataset_for(task)
        fitted = learner.fit(self.recipes(learner, task)[0], data, None, QUICK)
        odd = Table({
            "signal": number_column([np.nan, 1e308, -1e308]), "gappy": number_column([np.nan] * 3), "huge": number_column([0.0, np.nan, 1.0]),
            "flag": number_column([np.nan, 0.0, 1.0], "boolean"), "when": number_column([np.nan, 0.0, 4e9], "date"),
            "colour": text_column(["never seen", None, "red"], "category"), "code": text_column([None, None, None], "category"),
            "note": text_column(["", None, "zzz zzz"], "text"),
            "empty": number_column([3.0, np.nan, 0.0]), "constant": number_column([2.0, 1.0, np.nan]),
        })
        self.check_answers(fitted.predict(asked(odd, data)), 3, task)

    def test_same_seed_same_model(self, learner: Learner, task: str) -> None:
        data, recipe = dataset_for(task), self.recipes(learner, task)[0]
        effort = replace(QUICK, steps=8, seconds=1e9)
        first, second = (learner.fit(recipe, data.take(np.arange(100)), None, effort).predict(data) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_weights_count(self, learner: Learner, task: str) -> None:
        """Rows of one half with (almost) all the weight: the model follows that half."""
        table = Table({"x": number_column(np.tile([0.0, 1.0], 60))})
        if task == "regression":
            answers = np.where(np.arange(120) < 60, 1.0, 5.0)
        else:
            answers = np.where(np.arange(120) < 60, 0, 1)
        data = rows_dataset(table, answers)
        data.shared["encoder"] = fit_encoder(table)
        recipe, weight = self.recipes(learner, task)[0], np.where(np.arange(120) < 60, 1e-3, 1.0)
        plain = learner.fit(recipe, data, None, QUICK).predict(data)[:, -1 if task == "regression" else 1].mean()
        drawn = learner.fit(recipe, replace(data, weight=weight), None, QUICK).predict(data)[:, -1 if task == "regression" else 1].mean()
        assert drawn > plain + 0.2

    def test_a_class_absent_from_the_fit_rows(self, learner: Learner, task: str) -> None:
        if task == "regression":
            pytest.skip("numbers have no classes")
        data = dataset_for(task)
        assert data.answers is not None
        for known in ([0], [0, 1] if task == "multiclass" else [1]):
            fit = data.take(np.flatnonzero(np.isin(data.answers, known)))
            found = learner.fit(self.recipes(learner, task)[0], fit, data, QUICK).predict(data)
            self.check_answers(found, ROWS, task)
            assert set(found.argmax(axis=1)) <= set(known)

    @pytest.mark.parametrize("columns", [["empty"], ["constant"], ["signal"], ["colour"], ["note"]])
    def test_hardly_any_information(self, learner: Learner, task: str, columns: list[str]) -> None:
        data = dataset_for(task)
        narrow = rows_dataset(data.rows.select(columns), data.answers)
        narrow.shared["encoder"] = fit_encoder(narrow.rows)
        recipes = learner.recipes(problem_for(task), narrow)
        fitted = learner.fit(recipes[0], narrow.take(np.arange(120)), narrow.take(np.arange(120, ROWS)), QUICK)
        self.check_answers(fitted.predict(narrow), ROWS, task)

    def test_little_time_still_gives_a_model(self, learner: Learner, task: str) -> None:
        data = dataset_for(task)
        recipe = self.recipes(learner, task)[0]
        self.check_answers(learner.fit(recipe, data, None, replace(QUICK, seconds=0.0)).predict(data), ROWS, task)
        self.check_answers(learner.fit(recipe, data, None, replace(QUICK, cancelled=lambda: True)).predict(data), ROWS, task)

    def test_steps_are_exact_and_the_curve_is_the_loss(self, learner: Learner, task: str) -> None:
        data, recipe = dataset_for(task), self.recipes(learner, task)[0]
        fit, watch = data.take(np.arange(100)), data.take(np.arange(100, ROWS))
        fitted = learner.fit(recipe, fit, watch, replace(QUICK, seconds=2.0))
        if fitted.curve is None:
            pytest.skip(f"{learner.name} has no curve")
        assert 1 <= (fitted.steps or 0) <= len(fitted.curve)
        recipe = replace(recipe, params={**recipe.params, **getattr(fitted, "settled", {})})
        exact = learner.fit(recipe, fit, watch, replace(QUICK, seconds=1e9, steps=5))
        assert exact.steps == 5
        np.testing.assert_allclose(exact.predict(watch), fitted.predict(watch, 5), rtol=1e-6, atol=1e-9)
        assert watch.answers is not None
        if task != "regression":
            loss = metric("log_loss").score(watch.answers, fitted.predict(watch, 5), None)
            assert fitted.curve[4] == pytest.approx(loss, rel=1e-3)

    def test_damaged_parts_are_refused(self, learner: Learner, task: str) -> None:
        from emlyn.errors import ModelError

        parts = learner.fit(self.recipes(learner, task)[0], dataset_for(task), None, QUICK).save()
        for name, part in parts.items():
            for bad in ({k: v for k, v in parts.items() if k != name}, {**parts, name: part[: len(part) // 2]}, {**parts, name: b"not this"}):
                with pytest.raises(ModelError):
                    learner.load(bad)

    def test_contributions_add_up(self, learner: Learner, task: str) -> None:
        data = dataset_for(task)
        for recipe in self.recipes(learner, task)[:2]:
            fitted: Any = learner.fit(recipe, data, None, CALM)
            found = fitted.contributions(data) if hasattr(fitted, "contributions") else None
            if found is None:
                continue
            assert found.shape[:2] == (ROWS, len(data.rows) + 1)
            total, answers = found.sum(axis=1), fitted.predict(data)
            if task == "binary":
                np.testing.assert_allclose(1 / (1 + np.exp(-total[:, 0])), answers[:, 1], atol=1e-5)
            elif task == "multiclass":
                raw = np.exp(total - total.max(axis=1, keepdims=True))
                np.testing.assert_allclose(raw / raw.sum(axis=1, keepdims=True), answers, atol=1e-5)
            else:
                assert np.corrcoef(total[:, 0], answers[:, 0])[0, 1] > 0.99
