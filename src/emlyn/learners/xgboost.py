"""XGBoost (extra `xgboost`): boosted trees with the tuned defaults of Holzmüller, Grinsztajn and Steinwart (2024)."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.features.fold_prep import FoldPrep
from emlyn.core.features.prep import Matrix
from emlyn.core.learner import Effort, Fitted
from emlyn.core.models.outcome import Outcome, base_params, probabilities
from emlyn.core.models.parts import below, broken, pack, require, unpack, within
from emlyn.core.models.solver import deadline
from emlyn.plugins import hook
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

RESERVED = frozenset({"task", "classes", "target"})
TEXT_LIMIT = 1 << 30


class XGBoost:
    """The learner."""

    name = "xgboost"
    tasks = ("binary", "multiclass", "regression")
    packages = ("xgboost-cpu", "xgboost")
    libraries = ("xgboost",)
    """Either will do: which of them is installed is what a bill of materials lists."""

    def missing(self) -> str:
        try:
            importlib.import_module("xgboost")
        except ImportError:
            return "the package xgboost is not installed (extra `xgboost`)"
        return ""

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        if problem.task == "regression":
            tuned: dict[str, Any] = {"learning_rate": 0.05, "max_depth": 9, "min_child_weight": 2.0, "lambda": 0.0, "subsample": 0.7}
        else:
            tuned = {"learning_rate": 0.08, "max_depth": 6, "min_child_weight": 5e-6, "lambda": 0.0, "subsample": 0.65, "colsample_bylevel": 0.9}
        if len(problem.classes) > 20:
            tuned.update(learning_rate=0.15, max_depth=4)
        plain = {"learning_rate": 0.088, "max_depth": 5, "min_child_weight": 0.63, "colsample_bytree": 0.66}
        base = base_params(problem)
        return [
            Recipe("xgboost", self.name, {**base, **tuned}, (), "deep trees on samples of rows: defaults tuned over 118 tables"),
            Recipe("xgboost-shallow", self.name, {**base, **plain}, (), "five levels on samples of columns: a portfolio pick"),
        ]

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        import xgboost

        over = deadline(time.monotonic(), effort.seconds, effort.cancelled)
        outcome = Outcome.learn(recipe.params, fit)
        prep, matrix = FoldPrep.learn(recipe.features, fit, outcome, effort.seed)
        params = _library_params(recipe, outcome, effort)
        assert fit.answers is not None
        train = rows_of(matrix, outcome.targets(fit.answers), fit.weight)
        valid = None
        if watch is not None and len(watch):
            assert watch.answers is not None
            valid = rows_of(prep.matrix(watch), outcome.targets(watch.answers), watch.weight)
        booster = xgboost.Booster(params, [train] if valid is None else [train, valid])
        rate = float(params["learning_rate"])
        most = effort.steps or (round(120 / rate) if valid is not None else max(30, round(15 / rate)))
        curve: list[float] = []
        best, best_at, done = np.inf, 0, 0
        while done < most and not (done and over()):
            booster.update(train, done)
            done += 1
            if valid is None:
                continue
            loss = float(booster.eval_set([(valid, "watch")], done - 1).rsplit(":", 1)[1])
            curve.append(loss**2 if outcome.regression else loss)
            if loss < best:
                best, best_at = loss, done
            elif effort.steps is None and done - best_at >= max(0.3 * best_at + 20, min(200, 4 / rate)):
                break
        steps = best_at if effort.steps is None and best_at else done
        return FittedXGBoost(booster, outcome, steps, np.array(curve) if curve else None, prep)

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        import xgboost

        document, _ = unpack(parts)
        outcome, text = Outcome.load(document["outcome"]), parts.get("model.json", b"")
        require(0 < len(text) < TEXT_LIMIT, "the XGBoost model is missing or too large")
        check_trees(text, int(document["features"]))
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(text))
        except xgboost.core.XGBoostError as error:
            raise broken(str(error)) from error
        return FittedXGBoost(booster, outcome, int(booster.num_boosted_rounds()), None, FoldPrep.load(within(parts, "prep")))


def _library_params(recipe: Recipe, outcome: Outcome, effort: Effort) -> dict[str, Any]:
    own = {k: v for k, v in recipe.params.items() if k not in RESERVED}
    goal = {"binary": "binary:logistic", "multiclass": "multi:softprob"}.get(outcome.task, "reg:squarederror")
    loss = {"binary": "logloss", "multiclass": "mlogloss"}.get(outcome.task, "rmse")
    made = {"objective": goal, "eval_metric": loss, "tree_method": "hist", "verbosity": 0}
    made |= {"nthread": max(1, effort.threads), "seed": effort.seed % (1 << 31)}
    if outcome.task == "multiclass":
        made["num_class"] = outcome.width
    # a single class has no log odds to begin from
    return {**made, "base_score": 0.0 if outcome.regression else 0.5, **own}


def rows_of(matrix: Matrix, targets: np.ndarray | None = None, weight: np.ndarray | None = None) -> Any:
    """XGBoost's form of the rows, with native categories."""
    import xgboost

    kinds = ["c" if j in matrix.levels else "q" for j in range(len(matrix.names))]
    return xgboost.DMatrix(matrix.dense, targets, weight=weight, feature_types=kinds, enable_categorical=True)


class FittedXGBoost:
    """Boosted trees. `steps` may be lowered: prediction and `save` keep to it."""

    def __init__(self, booster: Any, outcome: Outcome, steps: int, curve: np.ndarray | None, prep: FoldPrep) -> None:
        self.booster, self.outcome, self.curve, self.prep = booster, outcome, curve, prep
        self.steps: int | None = steps

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        if not len(data):
            return np.zeros((0, self.outcome.width))
        rounds = (0, steps or self.steps or 0)
        raw = self.booster.predict(rows_of(self.prep.matrix(data)), output_margin=True, iteration_range=rounds).astype(np.float64)
        if self.outcome.regression:
            return self.outcome.answers(raw)
        return self.outcome.answers(probabilities(self.outcome.task, raw))

    def contributions(self, data: Dataset) -> np.ndarray | None:
        """TreeSHAP on the raw scale: (n, columns + 1, 1 or classes), the last row the bias."""
        matrix = self.prep.matrix(data)
        found = self.booster.predict(rows_of(matrix), pred_contribs=True, iteration_range=(0, self.steps or 0))
        found = found.reshape(len(matrix), -1, len(matrix.names) + 1).astype(np.float64)
        by_column = found[:, :, :-1] @ matrix.shares()
        return np.asarray(np.concatenate([by_column, found[:, :, -1:]], axis=2).transpose(0, 2, 1))

    def save(self) -> dict[str, bytes]:
        state = {"outcome": self.outcome.state(), "features": int(self.booster.num_features())}
        text = bytes(self.booster[: self.steps].save_raw("json"))
        return {**pack(state), "model.json": text, **below("prep", self.prep.save())}


def check_trees(text: bytes, features: int) -> None:
    """Raises ModelError unless every tree of an XGBoost JSON model stays within its own arrays and the known features."""
    try:
        learner = json.loads(text)["learner"]
        booster = learner["gradient_booster"]
        trees = booster["model"]["trees"]
        require(booster["name"] == "gbtree" and int(learner["learner_model_param"]["num_feature"]) == features, "its trees use other features")
        for tree in trees:
            left, right, split = (np.array(tree[name], dtype=np.int64) for name in ("left_children", "right_children", "split_indices"))
            n = len(left)
            sizes = {n, len(right), len(split), len(tree["split_conditions"]), int(tree["tree_param"]["num_nodes"])}
            require(sizes == {n} and n > 0, "a tree of uneven arrays")
            inside = (left > np.arange(n)) & (right > np.arange(n)) & (left < n) & (right < n) & (split >= 0) & (split < features)
            require(bool((inside | ((left == -1) & (right == -1))).all()), "a child or feature outside its tree")
    except (ValueError, KeyError, TypeError) as error:
        raise broken(f"its trees cannot be read ({error!r})") from error


@hook
def emlyn_learners() -> list[Any]:
    return [XGBoost()]
