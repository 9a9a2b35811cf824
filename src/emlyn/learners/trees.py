"""Extremely randomised trees (Geurts, Ernst, Wehenkel 2006): no boosting, no tuning, errors unlike those of boosted trees."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.features.fold_prep import FoldPrep
from emlyn.core.features.prep import encoder_of
from emlyn.core.features.screening import SCREENED, is_wide
from emlyn.core.learner import Effort, Fitted, Joined
from emlyn.core.models.forest import Forest, Walk
from emlyn.core.models.outcome import Outcome, Outcomes, base_params, skewed
from emlyn.core.models.parts import below, pack, require, unpack, within
from emlyn.plugins import hook
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

BATCH = 10
"""Trees grown between looks at the clock."""
MOST_LEAVES = 1_500_000
"""Leaves of a forest, about: large tables get larger leaves."""
MOST_ROWS = 200_000
"""Rows a tree is grown on."""


class ExtraTrees:
    """The learner."""

    name = "trees"
    tasks = ("binary", "multiclass", "regression")
    packages = ("scikit-learn",)
    libraries = ("sklearn.ensemble",)

    def missing(self) -> str:
        return ""

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        encoder = encoder_of(data)
        width = len(encoder.names)
        share: float | str = (1.0 if width < 200 else 0.3) if problem.task == "regression" else (0.75 if width < 60 else "sqrt")
        settings = {**base_params(problem), "trees": 150 if len(data) < 20_000 else 100, "max_features": share, "min_samples_leaf": 2}
        text = ("text_score",) if encoder.text else ()
        found = [Recipe("extra-trees", self.name, settings, text, "an average of fully random trees: little variance, hard to fool")]
        sharp = {**settings, "min_samples_leaf": 1, "max_features": 0.5 if problem.task == "regression" else "sqrt"}
        found.append(Recipe("extra-trees-sharp", self.name, sharp, text, "leaves of one row: remembers what comes again"))
        if is_wide(width, len(data)):
            few = {**settings, "max_features": "sqrt"}
            found.insert(0, Recipe("extra-trees-screened", self.name, few, (SCREENED, *text), "only the features that go with the answers most"))
        if any(size > 5 for size in encoder.levels.values()):
            why = "categories by their target means rather than by frequency"
            found.append(Recipe("extra-trees-encoded", self.name, settings, ("target_encoding", *text), why))
        if problem.task == "regression" and skewed(data):
            found.append(Recipe("extra-trees-log", self.name, {**settings, "target": "log"}, text, "a long upper tail: averages logarithms"))
        return found

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        began = time.monotonic()
        outcome = Outcome.learn(recipe.params, fit)
        assert fit.answers is not None
        y = outcome.targets(fit.answers)
        prep, matrix = FoldPrep.learn(recipe.features, fit, outcome, effort.seed)
        fill = filling(matrix.dense)
        dense = filled(matrix.dense, fill)
        wanted = int(effort.steps or recipe.params["trees"])
        least = max(int(recipe.params["min_samples_leaf"]), round(wanted * min(len(fit), MOST_ROWS) / 2 / MOST_LEAVES))
        settings: dict[str, Any] = {"min_samples_leaf": least, "max_features": recipe.params["max_features"], "n_jobs": effort.threads}
        if len(fit) > MOST_ROWS:
            settings.update(bootstrap=True, max_samples=MOST_ROWS)
        kind = ExtraTreesRegressor if outcome.regression else ExtraTreesClassifier
        model = kind(random_state=effort.seed % (1 << 31), warm_start=True, **settings)
        done, batch = 0, max(1, effort.threads)
        while done < wanted and batch and not (done and effort.cancelled()):
            started, batch = time.monotonic(), min(batch, wanted - done)
            done += batch
            model.set_params(n_estimators=done)
            model.fit(dense, y, sample_weight=fit.weight)
            if effort.steps is None:
                now = time.monotonic()
                batch = affordable(effort.seconds - (now - began), (now - started) / batch)
            else:
                batch = BATCH
        forest = Forest.of([t.tree_ for t in model.estimators_], dense.shape[1])
        classes = np.zeros(1, dtype=np.int64) if outcome.regression else model.classes_.astype(np.int64)
        return FittedTrees(forest, outcome, fill, classes, prep)

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        document, arrays = unpack(parts)
        outcome, fill, classes = Outcome.load(document["outcome"]), arrays["fill"], arrays["classes"].astype(np.int64)
        forest = Forest.load(arrays, len(fill))
        require(forest.value.shape[1] == len(classes) and bool(((classes >= 0) & (classes < outcome.width)).all()), "classes outside the problem")
        return FittedTrees(forest, outcome, fill, classes, FoldPrep.load(within(parts, "prep")))


def affordable(left: float, per_tree: float) -> int:
    """Trees to grow before the next look at the clock: at most `BATCH`, none when not even one more fits."""
    return BATCH if left >= BATCH * per_tree else max(0, int(left / max(per_tree, 1e-9)))


def filling(dense: np.ndarray) -> np.ndarray:
    """What stands in for "no value" (p,): a little below everything, so that one split parts it off while others stay where they were."""
    known = np.isfinite(dense).any(axis=0)
    low, high = np.zeros(dense.shape[1]), np.zeros(dense.shape[1])
    low[known], high[known] = np.nanmin(dense[:, known], axis=0), np.nanmax(dense[:, known], axis=0)
    return (low - 0.05 * (high - low) - 1e-3).astype(np.float32)


def filled(dense: np.ndarray, fill: np.ndarray) -> np.ndarray:
    gaps = np.isnan(dense)
    return np.where(gaps, fill, dense) if gaps.any() else dense


class FittedTrees:
    """A forest. It has no steps: more trees never hurt."""

    steps: int | None = None
    curve: np.ndarray | None = None

    def __init__(self, forest: Forest, outcome: Outcome, fill: np.ndarray, classes: np.ndarray, prep: FoldPrep) -> None:
        self.forest, self.outcome, self.fill, self.classes, self.prep = forest, outcome, fill, classes, prep

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        raw = self.forest.predict(filled(self.prep.matrix(data).dense, self.fill))
        if self.outcome.regression:
            return self.outcome.answers(raw)
        return self.outcome.answers(self._by_class(raw))

    def _by_class(self, raw: np.ndarray) -> np.ndarray:
        every = np.zeros((len(raw), self.outcome.width))
        every[:, self.classes] = raw
        return every

    @staticmethod
    def together(models: Sequence[FittedTrees]) -> Joined | None:
        """Their answers to one row; None where a fold left one of them other features or classes."""
        first = models[0]
        if any(m.forest.width != first.forest.width or not np.array_equal(m.classes, first.classes) for m in models):
            return None
        walk, outcomes = Walk([m.forest for m in models]), Outcomes([m.outcome for m in models])

        def answer(data: Dataset) -> np.ndarray:
            raw = walk(np.concatenate([filled(m.prep.matrix(data).dense, m.fill) for m in models]))
            return outcomes.answers(raw if outcomes.first.regression else first._by_class(raw))

        return answer

    def contributions(self, data: Dataset) -> np.ndarray | None:
        """None: a forest has no fast native attribution."""
        return None

    def save(self) -> dict[str, bytes]:
        arrays = {**self.forest.arrays(), "fill": self.fill, "classes": self.classes}
        return {**pack({"outcome": self.outcome.state()}, arrays), **below("prep", self.prep.save())}


@hook
def emlyn_learners() -> list[Any]:
    return [ExtraTrees()]
