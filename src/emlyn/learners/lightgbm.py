"""LightGBM: boosted trees on histograms, with settings that are good without tuning.

Settings follow the portfolios that AutoGluon's authors learned over many tables (zero-shot files of 2023 to 2026), with the learning
rate raised for short budgets. Watch losses are kept for every round, so that all folds can share one number of rounds.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.features.fold_prep import FoldPrep
from emlyn.core.features.prep import Matrix, encoded, encoder_of, lock_of
from emlyn.core.features.screening import SCREENED, is_wide
from emlyn.core.learner import Effort, Fitted, Joined
from emlyn.core.models.outcome import Outcome, Outcomes, base_params, probabilities, skewed
from emlyn.core.models.parts import below, pack, require, unpack, within
from emlyn.learners._lightgbm_trees import OneRow, check_text, many_rows
from emlyn.plugins import hook
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

RESERVED = frozenset({"task", "classes", "target"})
"""Settings that are ours; all others are LightGBM's own."""
LEARNED = 15.0
"""Rounds times learning rate below which a fit would end half learned: the rate is then raised."""
FASTEST = 0.25
MOST_ROUNDS = 6_000
NAMES = ("lightgbm-few-leaves", "lightgbm-prep-few-leaves")
TEXTUAL = (*NAMES, "lightgbm-prep")
"""Recipes that also see what a linear model reads in text columns: in names, where there are no sentences, and in sentences."""
SCREENED_TOO = ("lightgbm-extra", "lightgbm-few-leaves")
"""Recipes that wide tables also get on screened features."""
PATIENT_WITH_EMPTY = 10
MANY_CLASSES = 20
MANY_ROWS = 10_000
"""From here exact thresholds come first: they need fewer rounds, and there are rows enough to place them."""
TEXT_LIMIT = 1 << 30


def recipe_settings(rate: float, few: bool) -> list[tuple[str, dict[str, Any], tuple[str, ...], str]]:
    """(name, settings, features, why), best first. `few`: below 2,000 rows, where leaves of one row only learn noise."""
    least = 5 if few else 1
    return [
        ("extra", {"extra_trees": True, "learning_rate": rate, "num_leaves": 39, "min_data_in_leaf": 3, "feature_fraction": 0.46,
                   "bagging_fraction": 0.877, "lambda_l1": 0.24, "lambda_l2": 0.36, "cat_l2": 0.34, "cat_smooth": 15.4,
                   "max_cat_to_onehot": 16, "min_data_per_group": 9},
         (), "random thresholds and few features per tree: the best single portfolio pick for small tables"),
        ("deep", {"learning_rate": rate, "num_leaves": 68, "min_data_in_leaf": least, "feature_fraction": 0.62, "bagging_fraction": 0.963,
                  "lambda_l1": 0.16, "lambda_l2": 0.69, "cat_l2": 0.12, "cat_smooth": 69.0,
                  "max_cat_to_onehot": 17, "min_data_per_group": 30},
         (), "exact thresholds and tiny leaves: sharp interactions"),
        ("even", {"learning_rate": rate, "num_leaves": 32, "max_depth": 5, "min_data_in_leaf": least, "min_sum_hessian_in_leaf": 0.63,
                  "feature_fraction": 0.66, "lambda_l2": 1.0, "max_cat_to_onehot": 64},
         (), "five levels and all rows, a category's levels one at a time: a portfolio pick for XGBoost, in LightGBM's terms"),
        ("few-leaves", {"extra_trees": True, "learning_rate": 1.5 * rate, "num_leaves": 5, "min_data_in_leaf": 12, "feature_fraction": 0.73,
                        "bagging_fraction": 0.854, "lambda_l1": 0.24, "lambda_l2": 0.3, "cat_l2": 0.01, "cat_smooth": 5.1,
                        "max_cat_to_onehot": 67, "min_data_per_group": 93},
         (), "five leaves: nearly additive, hard to overfit"),
        ("prep", {"learning_rate": rate, "num_leaves": 64, "min_data_in_leaf": 5 if few else 28, "feature_fraction": 0.55, "bagging_fraction": 0.992,
                  "extra_trees": True, "lambda_l1": 0.91, "lambda_l2": 1.9, "cat_l2": 0.014, "cat_smooth": 1.9,
                  "max_cat_to_onehot": 18, "min_data_per_group": 54},
         ("target_encoding", "crosses", "arithmetic", "aggregates"),
         "made features: target means of categories and their crosses, sums and ratios of numbers, numbers beside their group's mean"),
        ("prep-few-leaves", {"extra_trees": True, "learning_rate": rate, "num_leaves": 8, "min_data_in_leaf": 15, "feature_fraction": 0.42,
                             "bagging_fraction": 0.722, "lambda_l1": 0.11, "lambda_l2": 0.26, "cat_l2": 1.89, "cat_smooth": 0.03,
                             "max_cat_to_onehot": 9, "min_data_per_group": 10},
         ("target_encoding", "crosses", "arithmetic", "aggregates"), "made features in trees of eight leaves"),
        ("wide", {"extra_trees": True, "learning_rate": 0.6 * rate, "num_leaves": 180, "min_data_in_leaf": 12, "feature_fraction": 0.4,
                  "bagging_fraction": 0.95, "lambda_l1": 0.77, "lambda_l2": 1.6, "cat_l2": 0.22, "cat_smooth": 0.06,
                  "max_cat_to_onehot": 11, "min_data_per_group": 3},
         (), "many leaves under strong penalties"),
        ("slow", {"learning_rate": 0.25 * rate, "num_leaves": 84, "min_data_in_leaf": 3, "feature_fraction": 0.53, "bagging_fraction": 0.978,
                  "lambda_l1": 0.03, "lambda_l2": 0.84, "cat_l2": 0.155, "cat_smooth": 0.009,
                  "max_cat_to_onehot": 42, "min_data_per_group": 75},
         (), "a quarter of the learning rate: worth its time in long budgets"),
    ]


class LightGBM:
    """The learner. Categories are native; everything else is the encoder's dense matrix."""

    name = "lightgbm"
    tasks = ("binary", "multiclass", "regression")
    packages = ("lightgbm",)
    libraries = ("lightgbm",)

    def missing(self) -> str:
        if importlib.util.find_spec("lightgbm") is None:
            return "the package lightgbm is not installed"
        try:
            if not _openmp_is_here():
                importlib.import_module("lightgbm")
        except OSError as error:
            return f"LightGBM needs the system library libgomp ({error})"
        return ""

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        n, classes = len(data), len(problem.classes)
        rate = 0.06 if n < 10_000 else 0.08
        found = recipe_settings(rate, n < 2_000)
        if n >= MANY_ROWS:
            found = sorted(found, key=lambda t: t[0] not in ("deep", "even"))
        if classes > MANY_CLASSES:
            few = max(4, 600 // classes)
            found = [(name, {**s, "num_leaves": min(s["num_leaves"], few), "learning_rate": 0.1}, f, why) for name, s, f, why in found[:3]]
        if classes > 100:
            found = found[:1]
        made = [Recipe(f"lightgbm-{name}", self.name, {**base_params(problem), **self._scaled(s, problem, n)}, f, why) for name, s, f, why in found]
        if (encoder := encoder_of(data)).text:
            readers = TEXTUAL if encoder.prose else NAMES
            made = [replace(r, features=(*r.features, "text_score")) if r.name in readers else r for r in made]
        if problem.task == "regression" and skewed(data):
            first = made[0]
            made.insert(1, Recipe(f"{first.name}-log", self.name, {**first.params, "target": "log"}, (), "a long upper tail: learns the logarithm"))
        if is_wide(len(encoder.names), n):
            why = "only the features that go with the answers most, "
            screened = [replace(r, name=f"{r.name}-screened", features=(SCREENED,), why=why + r.why) for r in made if r.name in SCREENED_TOO]
            made = [*screened, *made]
        return made

    def _scaled(self, settings: dict[str, Any], problem: Problem, n: int) -> dict[str, Any]:
        """Settings for this many rows; L1 is dropped in regression, where it was tuned on targets of any scale and ours have scale 1."""
        made = dict(settings)
        if problem.task == "regression":
            made.pop("lambda_l1", None)
        if n > 50_000:
            made.update(max_bin=127)  # no quantised gradients: with random thresholds they fail inside LightGBM, and they saved no time
        if n > 300_000:
            made.update(bagging_fraction=0.6, max_bin=63)
            made.update(feature_fraction=min(0.5, made["feature_fraction"]), min_data_in_leaf=max(20, made["min_data_in_leaf"]))
        return made

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        began = time.monotonic()
        outcome = Outcome.learn(recipe.params, fit)
        watch = watch if watch is not None and len(watch) else None
        params = _library_params(recipe, outcome, fit, effort)
        train, valid, prep = _binned(recipe, fit, watch, outcome, params)
        return _Boosting(outcome, params, train, valid, effort, began).run(prep)

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        import lightgbm

        document, _ = unpack(parts)
        require("model.txt" in parts and len(parts["model.txt"]) < TEXT_LIMIT, "the LightGBM model is missing or too large")
        text = parts["model.txt"].decode("utf-8", "strict")
        outcome = Outcome.load(document["outcome"])
        check_text(text, int(document["features"]), outcome.width if outcome.task == "multiclass" else 1)
        booster = lightgbm.Booster(model_str=text)
        return FittedLightGBM(booster, outcome, int(document["steps"]), None, FoldPrep.load(within(parts, "prep")))


def _openmp_is_here() -> bool:
    """Is there the system library that LightGBM needs, under its usual name? If so, LightGBM need not be loaded to know that it can be: with all that
    comes along, that takes longer than the first models of a small table."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return False
    return True


def _library_params(recipe: Recipe, outcome: Outcome, fit: Dataset, effort: Effort) -> dict[str, Any]:
    own = {k: v for k, v in recipe.params.items() if k not in RESERVED}
    by_row = len(fit) > 20_000
    made = {
        "objective": {"binary": "binary", "multiclass": "multiclass"}.get(outcome.task, "regression"),
        "metric": {"binary": "binary_logloss", "multiclass": "multi_logloss"}.get(outcome.task, "l2"),
        "num_threads": max(1, effort.threads), "seed": effort.seed % (1 << 30), "data_random_seed": 1, "deterministic": True, "verbosity": -1,
        "bagging_freq": 1, "feature_pre_filter": False, "force_row_wise": by_row, "force_col_wise": not by_row, **own,
    }
    if outcome.task == "multiclass":
        made["num_class"] = outcome.width
    return made


def _dataset(lightgbm: Any, matrix: Matrix, params: dict[str, Any], reference: Any = None) -> Any:
    held = {k: params[k] for k in ("max_bin", "feature_pre_filter", "data_random_seed", "num_threads", "verbosity") if k in params}
    codes, label = sorted(matrix.levels), np.zeros(len(matrix))
    return lightgbm.Dataset(matrix.dense, label, reference=reference, params=held, categorical_feature=codes or "auto").construct()


def _binned(recipe: Recipe, fit: Dataset, watch: Dataset | None, outcome: Outcome, params: dict[str, Any]) -> tuple[Any, Any, FoldPrep]:
    """Binned fit and watch rows, and the fold's features. Without features of the fold, rows are cut from one binned base table."""
    import lightgbm

    base = fit.rows.rows
    if recipe.features or len(fit) < 0.3 * base or len(np.unique(fit.units)) < len(fit):
        prep, matrix = FoldPrep.learn(recipe.features, fit, outcome, params["seed"])
        train = _dataset(lightgbm, matrix, params)
        _answer(train, fit, outcome, np.arange(len(fit)))
        if watch is None:
            return train, None, prep
        valid = _dataset(lightgbm, prep.matrix(watch), params, train)
        _answer(valid, watch, outcome, np.arange(len(watch)))
        return train, valid, prep
    prep = FoldPrep.unlearned(recipe.features, fit)
    key = f"lightgbm:{params.get('max_bin', 255)}:{prep.kept is not None}"
    with lock_of(fit):
        whole = fit.shared.get(key)
        if whole is None:
            everything = Dataset(fit.tables, np.arange(base), shared=fit.shared)
            whole = fit.shared[key] = _dataset(lightgbm, prep.matrix(everything), params)
        return _cut(whole, fit, outcome), None if watch is None else _cut(whole, watch, outcome), prep


def _cut(whole: Any, data: Dataset, outcome: Outcome) -> Any:
    """The dataset's rows of the binned base table; LightGBM wants them in ascending order."""
    order = np.argsort(data.units, kind="stable")
    made = whole.subset(data.units[order].tolist()).construct()
    _answer(made, data, outcome, order)
    return made


def _answer(rows: Any, data: Dataset, outcome: Outcome, order: np.ndarray) -> None:
    """Give binned rows their labels and weights."""
    assert data.answers is not None
    rows.set_label(outcome.targets(data.answers)[order])
    if data.weight is not None:
        rows.set_weight(data.weight[order])


@dataclass
class _Boosting:
    """One fit: rounds until the watch rows, the clock, the number of steps or a cancel says stop."""

    outcome: Outcome
    params: dict[str, Any]
    train: Any
    valid: Any
    effort: Effort
    began: float
    curve: list[float] = field(default_factory=list)

    def run(self, prep: FoldPrep) -> FittedLightGBM:
        booster = self._booster()
        first_round = time.monotonic()
        rate, settled = float(self.params.get("learning_rate", 0.1)), {}
        most = self.effort.steps or (min(MOST_ROUNDS, round(180 / rate)) if self.valid is not None else max(20, round(15 / rate)))
        best, best_at, done, empty_rounds, tried = np.inf, 0, 0, 0, self.effort.steps is not None
        while done < most and not (done and self._over()):
            started = time.monotonic()
            if booster.update():  # no split was found: another sample of rows and features may find one
                empty_rounds += 1
                if empty_rounds == PATIENT_WITH_EMPTY:
                    break
                continue
            empty_rounds = 0
            done += 1
            if not tried and (done == 10 or self.effort.seconds < 20 * (time.monotonic() - started)):
                tried = True
                faster = self._faster(rate, (time.monotonic() - first_round) / done)
                if faster > rate:
                    self.params["learning_rate"] = settled["learning_rate"] = rate = faster
                    booster, done, best, best_at = self._booster(), 0, np.inf, 0
                    self.curve.clear()
                    continue
            if self.valid is not None:
                loss = float(booster.eval_valid()[0][2])
                self.curve.append(loss)
                if loss < best:
                    best, best_at = loss, done
                elif self.effort.steps is None and done - best_at >= max(0.3 * best_at + 20, min(300, 5 / rate)):
                    break
        steps = done if self.effort.steps is not None or self.valid is None or not best_at else best_at
        made = FittedLightGBM(booster, self.outcome, max(steps, 1), np.array(self.curve) if self.curve else None, prep)
        made.settled, made.threads = settled, self.effort.threads
        return made

    def _booster(self) -> Any:
        import lightgbm

        booster = lightgbm.Booster(self.params, self.train)
        if self.valid is not None:
            booster.add_valid(self.valid, "watch")
        return booster

    def _over(self) -> bool:
        return time.monotonic() - self.began > self.effort.seconds or self.effort.cancelled()

    def _faster(self, rate: float, per_round: float) -> float:
        """The learning rate at which the seconds left suffice."""
        left = self.effort.seconds - (time.monotonic() - self.began)
        rounds = max(1.0, left / max(per_round, 1e-6))
        return rate if rounds * rate >= LEARNED else min(FASTEST, LEARNED / rounds)


@dataclass(eq=False)
class FittedLightGBM:
    """Boosted trees. `steps` may be lowered: prediction and `save` keep to it."""

    booster: Any
    outcome: Outcome
    steps: int | None
    curve: np.ndarray | None
    prep: FoldPrep
    settled: dict[str, Any] = field(default_factory=dict)
    """Settings decided during the fit, by the clock; a replay puts them into the recipe."""
    threads: int = 1
    _prepared: OneRow | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies: what was prepared for one row belongs to this booster in this process."""
        return {**self.__dict__, "_prepared": None}

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        if not len(data):
            return np.zeros((0, self.outcome.width))
        dense, rounds = self.prep.matrix(data).dense, steps or self.steps
        raw = self._ready(dense.shape[1], rounds)(dense) if len(dense) == 1 else many_rows(self.booster, dense, rounds, self.threads)
        return self.outcome.answers(probabilities(self.outcome.task, raw))

    def _ready(self, features: int, rounds: int | None) -> OneRow:
        """LightGBM's single-row call, prepared once: a sixth of what its `predict` takes for one row."""
        if self._prepared is None or self._prepared.rounds != rounds:
            self._prepared = OneRow(self.booster, rounds, features, self._scores)
        return self._prepared

    @property
    def _scores(self) -> int:
        """Raw scores of a row: what LightGBM writes, as `check_text` made sure of for a model from outside."""
        return self.outcome.width if self.outcome.task == "multiclass" else 1

    @staticmethod
    def together(models: Sequence[FittedLightGBM]) -> Joined | None:
        """Their answers to one row, all scores in one array; None where they read texts or do not answer the same question."""
        outcomes, task, width = Outcomes([m.outcome for m in models]), models[0].outcome.task, models[0]._scores
        if any(m.prep.text is not None or (m.outcome.task, m._scores) != (task, width) for m in models):
            return None

        def answer(data: Dataset) -> np.ndarray:
            matrix, raw = encoded(data), np.empty((len(models), width))
            out = raw.ctypes.data
            for place, model in enumerate(models):
                row = np.ascontiguousarray(model.prep.row(matrix))
                model._ready(row.shape[1], model.steps).write(row.ctypes.data, out + place * width * raw.itemsize)
            return outcomes.answers(probabilities(task, raw))

        return answer

    def contributions(self, data: Dataset) -> np.ndarray | None:
        """TreeSHAP on the raw scale (log odds, scores, or standardised numbers): (n, columns + 1, 1 or classes), the last row the bias."""
        matrix = self.prep.matrix(data)
        found = self.booster.predict(matrix.dense, num_iteration=self.steps, pred_contrib=True, num_threads=self.threads)
        found = found.reshape(len(matrix), -1, len(matrix.names) + 1)
        by_column = found[:, :, :-1] @ matrix.shares()
        return np.concatenate([by_column, found[:, :, -1:]], axis=2).transpose(0, 2, 1)

    def save(self) -> dict[str, bytes]:
        text = self.booster.model_to_string(num_iteration=self.steps)
        state = {"outcome": self.outcome.state(), "steps": self.steps, "features": self.booster.num_feature()}
        return {**pack(state), "model.txt": text.encode(), **below("prep", self.prep.save())}


@hook
def emlyn_learners() -> list[Any]:
    return [LightGBM()]
