"""CatBoost: symmetric trees with ordered target statistics. The strongest single model without tuning, above all with categories."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.features.fold_prep import FoldPrep
from emlyn.core.features.prep import Matrix, encoder_of
from emlyn.core.features.screening import SCREENED, is_wide
from emlyn.core.learner import Effort, Fitted
from emlyn.core.models.outcome import Outcome, base_params, sigmoid, skewed, softmax
from emlyn.core.models.parts import below, broken, pack, require, unpack, within
from emlyn.plugins import hook
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

RESERVED = frozenset({"task", "classes", "target"})
LEARNED, LEARNED_ROWS = 20.0, 5_000
"""Rounds times learning rate below which a fit on up to so many rows would end half learned; more rows bear more (docs/decisions/0021-rates.md)."""
FASTEST, MANY_ROWS = (0.3, 0.5), 10_000
"""The highest learning rate below so many rows, and from there."""
PILOT_FROM = 20_000
"""Cells (rows x features, x classes where there are several) from which a few trial rounds measure the speed before the rate is settled."""
PILOT_ROUNDS = 5
THREADED_ROWS = 500
"""More rows are prepared and answered by several threads."""


class CatBoost:
    """The learner."""

    name = "catboost"
    tasks = ("binary", "multiclass", "regression")
    packages = ("catboost",)
    libraries = ("catboost",)

    def missing(self) -> str:
        # found, not loaded: loading it takes longer than the first models of a small table
        return "" if importlib.util.find_spec("catboost") is not None else "the package catboost is not installed"

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        n, base, encoder = len(data), base_params(problem), encoder_of(data)
        rate = 0.06 if n < 10_000 else 0.1
        shallow: dict[str, Any] = {"learning_rate": rate, "depth": 6}
        deep: dict[str, Any] = {"learning_rate": 0.09, "depth": 8, "l2_leaf_reg": 3.0, "random_strength": 0.8}
        deep.update(bootstrap_type="Bernoulli", subsample=0.85)
        slow: dict[str, Any] = {"learning_rate": rate / 2.5, "depth": 6}
        if n > 100_000:
            shallow.update(border_count=128, max_ctr_complexity=2, bootstrap_type="Bernoulli", subsample=0.7)
            shallow.update({"leaf_estimation_iterations": 3} if problem.task == "binary" else {})  # of ten passes over all rows
        found = [
            ("catboost", shallow, "library defaults at a brisk learning rate: the best model without tuning on most tables"),
            ("catboost-deep", deep, "eight levels: interactions of many columns"),
            ("catboost-slow", slow, "a lower learning rate: worth its time in long budgets"),
        ]
        if len(problem.classes) > 20:
            found = [(found[0][0], {**shallow, "learning_rate": 0.15, "depth": 4 if len(problem.classes) > 100 else 6}, found[0][2])]
        made = [Recipe(name, self.name, {**base, **settings}, (), why) for name, settings, why in found]
        if len(problem.classes) <= 20:
            why = "made features: sums and ratios of numbers, numbers beside their group's mean"
            made.insert(2, Recipe("catboost-prep", self.name, {**base, **shallow}, ("arithmetic", "aggregates"), why))
        if is_wide(len(encoder.names), n):
            why = "only the features that go with the answers most"
            made.insert(0, Recipe("catboost-screened", self.name, {**base, **shallow}, (SCREENED,), why))
        if encoder.text:
            why = "also sees what a linear model reads in the texts"
            made.insert(0 if encoder.prose else 1, Recipe("catboost-text", self.name, {**base, **shallow}, ("text_score",), why))
        if problem.task == "regression" and skewed(data):
            made.insert(1, Recipe("catboost-log", self.name, {**base, **shallow, "target": "log"}, (), "a long upper tail: learns the logarithm"))
        return made

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        began = time.monotonic()
        outcome = Outcome.learn(recipe.params, fit)
        assert fit.answers is not None
        prep, matrix = FoldPrep.learn(recipe.features, fit, outcome, effort.seed)
        if len(np.unique(fit.answers)) < 2 or not varies(matrix.dense):
            return FittedCatBoost(None, outcome, 1, None, constant_answer(fit, outcome), FoldPrep())
        train = pool(matrix, outcome.targets(fit.answers), fit.weight)
        valid = None
        if watch is not None and len(watch):
            assert watch.answers is not None
            known = np.isin(watch.answers, np.unique(fit.answers)) if not outcome.regression else np.ones(len(watch), dtype=bool)
            watch = watch.take(np.flatnonzero(known))
            if len(watch):
                valid = pool(prep.matrix(watch), outcome.targets(watch.answers), watch.weight)  # type: ignore[arg-type]
        settled = self._settle(recipe, train, effort, began)
        rate = float({**recipe.params, **settled}.get("learning_rate", 0.06))
        most = effort.steps or (round(120 / rate) if valid is not None else max(30, round(18 / rate)))
        stop = _Stop(began, effort, rate, watching=valid is not None and effort.steps is None)
        model = _model(recipe, settled, most, effort)
        model.fit(train, eval_set=valid, callbacks=[stop], use_best_model=False)
        curve = _curve(model) if valid is not None else None
        done = int(model.tree_count_)
        steps = done if curve is None or effort.steps is not None else int(curve[:done].argmin()) + 1
        classes = np.arange(outcome.width) if outcome.regression else np.array(model.classes_, dtype=np.int64)
        made = FittedCatBoost(model, outcome, steps, curve, classes, prep)
        made.settled, made.threads = settled, effort.threads
        return made

    def _settle(self, recipe: Recipe, train: Any, effort: Effort, began: float) -> dict[str, float]:
        """A higher learning rate where the clock allows too few rounds, by a few trial rounds on large tables."""
        cells = train.num_row() * train.num_col() * recipe.params.get("classes", 1)
        if effort.steps is not None or not np.isfinite(effort.seconds) or cells < PILOT_FROM:
            return {}
        pilot = _Stop(began, effort, 1.0, watching=False)
        _model(recipe, {}, PILOT_ROUNDS, effort).fit(train, callbacks=[pilot])
        per_round = (pilot.ends[-1] - pilot.ends[0]) / max(len(pilot.ends) - 1, 1)  # without what comes before the first round
        rounds = max(1.0, (effort.seconds - (time.monotonic() - began)) / max(per_round, 1e-6))
        rate, faster = float(recipe.params.get("learning_rate", 0.06)), rate_for(rounds, train.num_row())
        return {"learning_rate": faster} if faster > rate else {}

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        document, arrays = unpack(parts)
        outcome, classes = Outcome.load(document["outcome"]), arrays["classes"]
        if not document["features"]:
            require(classes.shape == (outcome.width,), "an answer that does not fit the classes")
            return FittedCatBoost(None, outcome, 1, None, arrays["classes"], FoldPrep())
        import catboost

        require(len(classes) >= 1 and bool(((classes >= 0) & (classes < outcome.width)).all()), "classes outside the problem")
        kind = catboost.CatBoostRegressor if outcome.regression else catboost.CatBoostClassifier
        model = kind()
        require(parts.get("model.cbm", b"")[:4] == b"CBM1", "the CatBoost model is missing or does not begin as one")
        try:
            model.load_model(blob=parts["model.cbm"])
        except catboost.CatBoostError as error:
            raise broken(str(error)) from error
        require(len(model.feature_names_) == int(document["features"]), "its trees use other features")
        return FittedCatBoost(model, outcome, int(model.tree_count_), None, classes, FoldPrep.load(within(parts, "prep")))


def rate_for(rounds: float, rows: int) -> float:
    """The learning rate at which so many rounds learn enough from so many rows."""
    wanted = LEARNED * max(1.0, rows / LEARNED_ROWS) ** (1 / 3)
    return round(min(FASTEST[rows >= MANY_ROWS], wanted / rounds), 4)


def _model(recipe: Recipe, settled: Mapping[str, float], rounds: int, effort: Effort) -> Any:
    import catboost

    own = {k: v for k, v in recipe.params.items() if k not in RESERVED}
    kind = catboost.CatBoostRegressor if recipe.params["task"] == "regression" else catboost.CatBoostClassifier
    loss = {"regression": "RMSE", "binary": "Logloss"}.get(recipe.params["task"], "MultiClass")
    # CatBoost's own defaults for these two depend on the number of rounds, so that a refit of few rounds would be another model
    fixed = {"leaf_estimation_iterations": 10 if loss == "Logloss" else 1, "max_ctr_complexity": 4}
    return kind(
        loss_function=loss, iterations=rounds, thread_count=max(1, effort.threads), random_seed=effort.seed % (1 << 31), verbose=False,
        allow_writing_files=False, **{**fixed, **own, **settled},
    )


def varies(dense: np.ndarray) -> bool:
    """Does any feature hold two different cells? CatBoost refuses to learn otherwise."""
    return any(bool((column != column[0]).any()) and not np.isnan(column).all() for column in dense.T)


def constant_answer(fit: Dataset, outcome: Outcome) -> np.ndarray:
    """Class shares, or the mean on the outcome's scale: (width,)."""
    assert fit.answers is not None
    if outcome.regression:
        return np.zeros(1)
    counts = np.bincount(fit.answers.astype(np.int64), weights=fit.weight, minlength=outcome.width)
    return np.asarray(counts / counts.sum())


Layout = tuple[np.ndarray, np.ndarray, np.ndarray]


def layout_of(matrix: Matrix) -> Layout:
    """Positions of the codes, those of the numbers, and the name of each code; the last name is that of "no value"."""
    codes = np.array(sorted(matrix.levels), dtype=np.int64)
    numbers = np.array([j for j in range(matrix.dense.shape[1]) if j not in matrix.levels], dtype=np.int64)
    return codes, numbers, np.array([*(b"%d" % i for i in range(max(matrix.levels.values(), default=0))), b"?"], dtype=object)


def pool(matrix: Matrix, targets: np.ndarray | None = None, weight: np.ndarray | None = None, layout: Layout | None = None) -> Any:
    """CatBoost's form of the rows: numbers first, then categories as short byte strings."""
    import catboost

    codes, numbers, names = layout or layout_of(matrix)
    categories = None
    if len(codes):
        cells = matrix.dense[:, codes]
        categories = names[np.where(np.isnan(cells), -1, cells).astype(np.int64)]
    held = np.ascontiguousarray(matrix.dense[:, numbers]) if len(numbers) else None
    threads = -1 if len(matrix) > THREADED_ROWS else 1  # all, unless starting them costs more than they save
    return catboost.Pool(catboost.FeaturesData(num_feature_data=held, cat_feature_data=categories), targets, weight=weight, thread_count=threads)


class _Stop:
    """CatBoost's callback: the clock, a cancel, and patience with the watch rows that grows with the best round."""

    def __init__(self, began: float, effort: Effort, rate: float, *, watching: bool) -> None:
        self.began, self.effort, self.watching = began, effort, watching
        self.floor = min(200.0, 4 / rate)
        self.best, self.best_at = np.inf, 0
        self.ends: list[float] = []
        """When each round ended."""

    def after_iteration(self, info: Any) -> bool:
        """False stops the fit and keeps the rounds so far."""
        self.ends.append(time.monotonic())
        if self.ends[-1] - self.began > self.effort.seconds or self.effort.cancelled():
            return False
        if not self.watching:
            return True
        loss = next(iter(info.metrics["validation"].values()))[-1]
        if loss < self.best:
            self.best, self.best_at = loss, info.iteration
        return bool(info.iteration - self.best_at < max(0.3 * self.best_at + 20, self.floor))


def _curve(model: Any) -> np.ndarray:
    losses = np.array(next(iter(model.get_evals_result()["validation"].values())), dtype=np.float64)
    return np.asarray(losses**2 if "RMSE" in model.get_evals_result()["validation"] else losses)


class FittedCatBoost:
    """Boosted symmetric trees. `steps` may be lowered: prediction and `save` keep to it."""

    def __init__(self, model: Any, outcome: Outcome, steps: int, curve: np.ndarray | None, classes: np.ndarray, prep: FoldPrep) -> None:
        self.model, self.outcome, self.curve, self.prep = model, outcome, curve, prep
        self.steps: int | None = steps
        self.classes = classes
        """Class codes the model knows: those of its fit rows. Without a model, the one answer to everything (width,)."""
        self.settled: dict[str, Any] = {}
        self.threads = 1
        self._layout: Layout | None = None

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        if self.model is None or not len(data):
            return self.outcome.answers(np.repeat(self.classes[None] if self.model is None else np.ones((1, self.outcome.width)), len(data), axis=0))
        threads = self.threads if len(data) > THREADED_ROWS else 1
        rounds = min(steps or self.steps or 0, self.model.tree_count_)
        raw = self.model.predict(self._pool(data), prediction_type="RawFormulaVal", ntree_end=rounds, thread_count=threads)
        if self.outcome.regression:
            return self.outcome.answers(raw)
        known = sigmoid(raw) if raw.ndim == 1 else softmax(raw)
        if raw.ndim == 1 and len(self.classes) == self.outcome.width:
            return self.outcome.answers(known)
        if raw.ndim == 1:
            known = np.column_stack([1 - known, known])
        every = np.zeros((len(data), self.outcome.width))
        every[:, self.classes] = known
        return self.outcome.answers(every)

    def _pool(self, data: Dataset) -> Any:
        """CatBoost's form of the rows; the models of a bag share that of a single row, which costs as much to make as to answer."""
        matrix = self.prep.matrix(data)
        held = data.shared.get("catboost:row")
        if held is None or held[0] is not matrix:
            self._layout = self._layout or layout_of(matrix)
            held = (matrix, pool(matrix, layout=self._layout))
            if len(matrix) == 1:
                data.shared["catboost:row"] = held
        return held[1]

    def contributions(self, data: Dataset) -> np.ndarray | None:
        """TreeSHAP on the raw scale: (n, columns + 1, 1 or classes), the last row the bias."""
        if self.model is None:
            return None
        matrix = self.prep.matrix(data)
        found = np.asarray(self.model.get_feature_importance(pool(matrix), type="ShapValues", thread_count=self.threads))
        if found.ndim == 2:
            found = found[:, None, :]
        numbers = [j for j in range(len(matrix.names)) if j not in matrix.levels]
        shares = matrix.shares()[[*numbers, *sorted(matrix.levels)]]
        known = np.concatenate([found[:, :, :-1] @ shares, found[:, :, -1:]], axis=2).transpose(0, 2, 1)
        if self.outcome.task != "multiclass" or len(self.classes) == self.outcome.width:
            return known
        every = np.zeros((*known.shape[:2], self.outcome.width))
        every[:, :, self.classes] = known
        return every

    def save(self) -> dict[str, bytes]:
        state = {"outcome": self.outcome.state(), "features": 0 if self.model is None else len(self.model.feature_names_)}
        parts = {**pack(state, {"classes": self.classes}), **below("prep", self.prep.save())}
        if self.model is None:
            return parts
        kept = self.model
        if self.steps is not None and self.steps < kept.tree_count_:
            kept = kept.copy()
            kept.shrink(self.steps)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.cbm"
            kept.save_model(str(path), format="cbm")
            return {**parts, "model.cbm": path.read_bytes()}


@hook
def emlyn_learners() -> list[Any]:
    return [CatBoost()]
