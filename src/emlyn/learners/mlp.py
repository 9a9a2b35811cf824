"""A small neural network in numpy, after RealMLP: smooth where trees are stepped, so a good partner for them in an ensemble."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.features.design import Design, Designs
from emlyn.core.features.fold_prep import FoldPrep
from emlyn.core.features.prep import encoder_of
from emlyn.core.learner import Effort, Fitted, Joined
from emlyn.core.models.network import Shape, Training, Weights, scores, scores_of_each, side_by_side, train
from emlyn.core.models.outcome import Outcome, Outcomes, base_params, skewed, softmax
from emlyn.core.models.parts import below, pack, require, unpack, within
from emlyn.plugins import hook
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

ONE_HOT = 20
"""Levels that get an input each; categories with more enter by their target means as well."""
SHORT = 1_500
"""Batches of a short training, at most."""
MOST_EPOCHS, LEAST_EPOCHS = 25, 6
"""Of a short training."""
WIDEST = 1_500
"""Inputs beyond which no network is offered."""


class Mlp:
    """The learner."""

    name = "mlp"
    tasks = ("binary", "multiclass", "regression")

    def missing(self) -> str:
        return ""

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        encoder = encoder_of(data)
        inputs = len(encoder.names) - len(encoder.levels) + sum(min(k, ONE_HOT) for k in encoder.levels.values())
        if inputs > WIDEST or len(problem.classes) > 100 or len(data) < 50:
            return []
        n, number = len(data), problem.task == "regression"
        settings: dict[str, Any] = {**base_params(problem), "hidden": [128, 128], "decay": 0.02, "periodic": True}
        settings |= {"smoothing": 0.0 if number else 0.05, "members": 2 if n < 10_000 else 1}
        short = {**settings, "epochs": epochs_for(n, SHORT), "rate": 0.1 if number else 0.04, "dropout": 0.3}
        long = {**settings, "epochs": epochs_for(n, 4 * SHORT), "rate": 0.1 if number else 0.02, "dropout": 0.15 if number else 0.3}
        features: tuple[str, ...] = ("target_encoding",) if any(k > ONE_HOT for k in encoder.levels.values()) else ()
        features += ("text_score",) if encoder.text else ()
        noisy = Recipe("mlp", self.name, short, features, "a short training: smooth effects from noisy answers")
        exact = Recipe("mlp-long", self.name, long, features, "a long training: fine structure where answers hold little noise")
        found = [exact, noisy] if number else [noisy, exact]
        if number and skewed(data):
            found.append(Recipe("mlp-log", self.name, {**short, "target": "log"}, features, "a long upper tail: learns the logarithm"))
        return found

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        began, p = time.monotonic(), recipe.params
        outcome = Outcome.learn(p, fit)
        assert fit.answers is not None
        y = outcome.targets(fit.answers)
        prep, matrix = FoldPrep.learn(recipe.features, fit, outcome, effort.seed)
        design, x = Design.learn(matrix, one_hot=ONE_HOT)
        classes = np.zeros(1, dtype=np.int64) if outcome.regression else np.unique(y)
        targets = (y[:, None] if outcome.regression else (y[:, None] == classes)).astype(np.float32)
        weight = np.ones(len(fit)) if fit.weight is None else fit.weight / fit.weight.mean()
        shape = Shape(x.shape[1], len(design.numbers), targets.shape[1], tuple(int(h) for h in p["hidden"]), outcome.regression, bool(p["periodic"]))
        epochs = int(effort.steps or p["epochs"])
        settings = Training(float(p["rate"]), epochs, float(p["dropout"]), float(p["decay"]), float(p["smoothing"]))
        members: list[Weights] = []
        for k in range(int(p["members"])):
            started, until = time.monotonic(), began + effort.seconds * (k + 1) / int(p["members"])
            if members and (effort.cancelled() or time.monotonic() >= until):
                break

            def clock(started: float = started, until: float = until) -> float | None:
                return None if effort.cancelled() else (time.monotonic() - started) / max(until - started, 1e-9)

            members.append(train(shape, x, targets, weight.astype(np.float32), settings, effort.seed + 1009 * k, clock))
        networks = Networks(shape, members, classes)
        return FittedMlp(outcome, design, networks, epochs, prep, settings.smoothing)

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        document, arrays = unpack(parts)
        outcome, design = Outcome.load(document["outcome"]), Design.load(document["design"], arrays)
        held = document["shape"]
        require(all(0 < int(h) <= 4096 for h in held["hidden"]), "a layer of impossible width")
        hidden = tuple(int(h) for h in held["hidden"])
        classes = arrays["classes"].astype(np.int64)
        require(len(classes) >= 1 and bool(((classes >= 0) & (classes < outcome.width)).all()), "classes outside the problem")
        shape = Shape(len(design.centre), len(design.numbers), len(classes), hidden, outcome.regression, bool(held["periodic"]))
        size = sum(int(np.prod(s)) for s in shape.sizes().values())
        flat = arrays["members"].astype(np.float32)
        require(flat.ndim == 2 and flat.shape[1] == size and len(flat) > 0, "weights do not fit the network")
        networks = Networks(shape, [Weights(shape, np.ascontiguousarray(f)) for f in flat], classes)
        smoothing = float(document.get("smoothing", 0.0))  # a file of before answers as it did then
        require(0 <= smoothing < 1, "an impossible smoothing of labels")
        return FittedMlp(outcome, design, networks, int(document["steps"]), FoldPrep.load(within(parts, "prep")), smoothing)


def epochs_for(rows: int, batches: int) -> int:
    """Epochs that make about so many batches of 256 rows, within limits that grow with them."""
    scale = batches / SHORT
    return int(np.clip(round(batches * 256 / max(rows, 1)), LEAST_EPOCHS, round(MOST_EPOCHS * scale)))


def unsmoothed(p: np.ndarray, smoothing: float) -> np.ndarray:
    """Probabilities (n, k) as they were before labels were smoothed: what was learned is (1 - s) p + s / k.

    Below s / k, where the line would end under zero, it bends softly, so that no two rows change places.
    """
    if not smoothing or p.shape[1] < 2:
        return p
    uniform = smoothing / p.shape[1]
    line, bend = (p - uniform) / (1 - smoothing), uniform / 4
    made = bend * np.logaddexp(0, line / bend)
    if made.shape[1] == 2:  # by their ratio: a sum of both, rounded, would let rows change places in the last digit
        return np.asarray(1 / (1 + made[:, ::-1] / made))
    return np.asarray(made / made.sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks of one shape that differ in their seed."""

    shape: Shape
    members: list[Weights]
    classes: np.ndarray
    """The class of each output: those of the fit rows."""


class FittedMlp:
    """Networks that differ in their seed; their outputs are averaged."""

    curve: np.ndarray | None = None

    def __init__(self, outcome: Outcome, design: Design, networks: Networks, steps: int, prep: FoldPrep, smoothing: float = 0.0) -> None:
        self.outcome, self.design, self.networks, self.prep, self.smoothing = outcome, design, networks, prep, smoothing
        self.steps: int | None = steps

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        x = self.design.transform(self.prep.matrix(data))
        raw = [scores(self.networks.shape, w, x) for w in self.networks.members]
        if self.outcome.regression:
            return self.outcome.answers(np.mean(raw, axis=0))
        return self.outcome.answers(self._by_class(np.mean([softmax(r) for r in raw], axis=0)))

    def _by_class(self, p: np.ndarray) -> np.ndarray:
        every = np.zeros((len(p), self.outcome.width))
        every[:, self.networks.classes] = unsmoothed(p, self.smoothing)
        return every

    @staticmethod
    def together(models: Sequence[FittedMlp]) -> Joined | None:
        """Their answers to one row; None where the folds left them other features, classes or numbers of networks."""
        first, designs = models[0], [m.design for m in models]
        shape, seeds = first.networks.shape, len(first.networks.members)
        same = all(m.networks.shape == shape and len(m.networks.members) == seeds and m.smoothing == first.smoothing for m in models)
        if not same or not Designs.alike(designs) or not all(np.array_equal(m.networks.classes, first.networks.classes) for m in models):
            return None
        stacked, outcomes = Designs(designs), Outcomes([m.outcome for m in models])
        networks = side_by_side([w for m in models for w in m.networks.members])

        def answer(data: Dataset) -> np.ndarray:
            rows = stacked.transform(np.concatenate([m.prep.matrix(data).dense for m in models]))
            raw = scores_of_each(shape, networks, rows.repeat(seeds, axis=0))
            if shape.regression:
                return outcomes.answers(raw.reshape(len(models), seeds).mean(axis=1))
            return outcomes.answers(first._by_class(softmax(raw).reshape(len(models), seeds, -1).mean(axis=1)))

        return answer

    def contributions(self, data: Dataset) -> np.ndarray | None:
        """None: a network has no fast native attribution."""
        return None

    def save(self) -> dict[str, bytes]:
        state, arrays = self.design.state()
        document = {"outcome": self.outcome.state(), "design": state, "steps": self.steps, "smoothing": self.smoothing,
                    "shape": {"hidden": list(self.networks.shape.hidden), "periodic": self.networks.shape.periodic}}
        parts = pack(document, {**arrays, "classes": self.networks.classes, "members": np.stack([w.flat for w in self.networks.members])})
        return {**parts, **below("prep", self.prep.save())}


@hook
def emlyn_learners() -> list[Any]:
    return [Mlp()]
