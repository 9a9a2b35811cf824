"""Linear and logistic regression with an L2 penalty: strong on small, wide and textual tables, and unlike trees in its errors."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.features.design import Design, Designs
from emlyn.core.features.prep import Matrix, encoded, encoder_of
from emlyn.core.features.screening import SCREENED, is_wide, kept_of, strongest
from emlyn.core.learner import Effort, Fitted, Joined
from emlyn.core.models.outcome import Outcome, Outcomes, base_params, probabilities, skewed
from emlyn.core.models.parts import pack, require, unpack
from emlyn.core.models.solver import Features, Linear, arrays_of, as_targets, deadline, descend, emptiest, loss_of, ridge
from emlyn.plugins import hook
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

MOST_ROWS = 200_000
"""Rows learned from: a linear model gains little from more."""
PENALTIES = (1.0, 0.1, 0.01, 0.001)
"""Times the mean squared length of a row over 10: strongest first, so that each fit starts from a simpler one."""
USUAL = 2
"""Place of the penalty taken where there is no time to choose one."""
LASSO = tuple(np.logspace(-0.25, -3, 12))
"""Penalties of a lasso, as shares of the one at which no feature is left."""
CROWDED = 0.2
"""Features per row from which a lasso is offered: fewer, and which of them matter is no question."""
MOST_SOLVED, MOST_PRODUCTS = 3_000, 1_000
"""Features, or rows where there are terms of texts, up to which a regression is solved by an eigendecomposition instead of step by step."""
MOST_CHOOSING = 25_000
"""Rows that the penalty is chosen on."""
CHOICE = 0.5
"""Share of the seconds that choosing the penalty may take: the rest is for learning with it."""

ALONE_BELOW = 1_000_000
"""Cells below which descents of one process take turns: their steps are so short that two threads spend more time on handing over the interpreter
than they save (docs/decisions/0016-first-model.md)."""
_TURN = threading.Lock()


class LinearModel:
    """The learner."""

    name = "linear"
    tasks = ("binary", "multiclass", "regression")

    def missing(self) -> str:
        return ""

    def recipes(self, problem: Problem, data: Dataset) -> Sequence[Recipe]:
        base = base_params(problem)
        encoder = encoder_of(data)
        many, text = len(problem.classes) > 100, encoder.text
        numbers = any(code.kind in ("number", "date") for _, code in encoder.codes)
        found = [Recipe("linear", self.name, {**base, "splines": False, "text": text}, (), "straight lines: the sturdiest model when rows are few")]
        if is_wide(len(encoder.names), len(data)):
            why = "the features that go with the answers most: a straight line through all of so many drowns in those that do not matter"
            found.append(Recipe("linear-screened", self.name, {**base, "splines": False, "text": text}, (SCREENED,), why))
        if not many and not text and numbers and len(encoder.names) >= CROWDED * len(data):
            why = "a straight line through few features: the others get no weight at all"
            found.append(Recipe("linear-lasso", self.name, {**base, "splines": False, "text": False, "lasso": True}, (), why))
        if not many and numbers and len(data) > 100:
            found.append(Recipe("linear-splines", self.name, {**base, "splines": True, "text": text}, (), "bent lines: smooth effects, no steps"))
        if problem.task == "regression" and skewed(data):
            params = {**base, "splines": True, "text": text, "target": "log"}
            found.append(Recipe("linear-splines-log", self.name, params, (), "effects that multiply"))
        return found

    def fit(self, recipe: Recipe, fit: Dataset, watch: Dataset | None, effort: Effort) -> Fitted:
        began = time.monotonic()
        over, chosen_by = deadline(began, effort.seconds, effort.cancelled), deadline(began, CHOICE * effort.seconds, effort.cancelled)
        rng = np.random.default_rng(effort.seed)
        outcome = Outcome.learn(recipe.params, fit)
        used = fit if len(fit) <= MOST_ROWS else fit.take(np.sort(rng.choice(len(fit), MOST_ROWS, replace=False)))
        assert used.answers is not None
        matrix = encoded(used)
        terms = matrix.sparse if recipe.params.get("text") else None
        weight = np.ones(len(used)) if used.weight is None else used.weight.astype(np.float64)
        targets = as_targets(outcome.task, outcome.width, outcome.targets(used.answers))
        skip = _of_text(matrix) if terms is not None else frozenset()
        if SCREENED in recipe.features:
            skip |= set(range(len(matrix.names))) - set(strongest(matrix.dense, targets, kept_of(len(matrix))).tolist())
        design, dense = Design.learn(matrix, bool(recipe.params.get("splines")), skip=skip)
        lasso = bool(recipe.params.get("lasso"))
        if outcome.regression and not lasso and (dense.shape[1] <= MOST_SOLVED if terms is None else len(used) <= MOST_PRODUCTS):
            model, _ = ridge(Features(dense, terms), targets[:, 0], weight, np.logspace(-2, 5, 22))
        else:
            with _TURN if dense.size < ALONE_BELOW else contextlib.nullcontext():
                model = choose_penalty(Features(dense, terms), targets, weight, rng, chosen_by, over, lasso)
        return FittedLinear(outcome, design, model, terms is not None)

    def load(self, parts: Mapping[str, bytes]) -> Fitted:
        document, arrays = unpack(parts)
        design, outcome = Design.load(document["design"], arrays), Outcome.load(document["outcome"])
        model = Linear(arrays["coefficients"], arrays["intercept"])
        k = 1 if outcome.width <= 2 else outcome.width
        require(model.coefficients.ndim == 2 and model.coefficients.shape[1] == k == len(model.intercept), "coefficients do not fit the classes")
        require(len(model.coefficients) >= len(design.centre), "fewer coefficients than features")
        return FittedLinear(outcome, design, model, bool(document["text"]))


def _of_text(matrix: Matrix) -> frozenset[int]:
    """Dense features of columns whose terms are there as well: they only repeat them."""
    owners = frozenset() if matrix.sparse_sources is None else frozenset(matrix.sparse_sources.tolist())
    return frozenset(j for j, source in enumerate(matrix.sources) if owners.issuperset(source))


def choose_penalty(
    features: Features,
    targets: np.ndarray,
    weight: np.ndarray,
    rng: np.random.Generator,
    chosen_by: Callable[[], bool],
    over: Callable[[], bool],
    lasso: bool = False,
) -> Linear:
    """The penalty of least loss on inner held-out rows (three folds below 2,000 rows, one of a fifth above), then a fit on all rows that goes on
    from where the choice left off. Where a part of the rows chose, all of them take that part of its penalty: it counts beside the mean loss of a
    row, and what the rows together say grows with them.

    `chosen_by()` says when the choice must be made, `over()` when the fit must end.
    """
    n = len(features)
    if n > features.dense.shape[1] or features.sparse is not None or lasso:
        turn = None
    else:  # more features than rows: an L2 penalty does not mind a rotation, so work in the n dimensions that the rows span
        _, _, turn = np.linalg.svd(features.dense.astype(np.float64), full_matrices=False)
        features = Features(features.dense @ turn.T)
    if lasso:
        most = emptiest(features, targets, weight)
        penalties = [share * most for share in LASSO]
    else:
        size = float((features.dense**2).sum() / n) + (0.0 if features.sparse is None else 1.0)
        penalties = [c * max(size, 1e-9) / 10 / min(n, 5_000) ** 0.5 for c in (100.0, 10.0, *PENALTIES)]
    few = np.arange(n) if n <= MOST_CHOOSING else np.sort(rng.choice(n, MOST_CHOOSING, replace=False))
    sides = rng.permutation(np.arange(len(few)) % (3 if n < 2_000 else 5))
    folds = range(3 if n < 2_000 else 1) if n >= 10 else range(0)
    losses, found = np.zeros(len(penalties)), dict[int, Linear]()
    for k in folds:
        inner, asked = few[sides != k], few[sides == k]
        x, held = features.take(inner), features.take(asked)
        model, worse = None, 0
        for i, penalty in enumerate(penalties):
            found[i] = model = descend(x, targets[inner], weight[inner], penalty, chosen_by, model, most=60, lasso=lasso)
            losses[i] += loss_of(model, held, targets[asked], weight[asked])
            worse = worse + 1 if i and losses[i] > losses[i - 1] else 0
            if chosen_by() or worse == 2:
                losses[i + 1 :] = np.inf
                break
    chosen = int(losses.argmin()) if len(folds) and not (chosen_by() and np.isinf(losses[USUAL])) else USUAL
    model = descend(features, targets, weight, penalties[chosen] * len(few) / n, over, found.get(chosen), lasso=lasso)
    return model if turn is None else Linear(turn.T @ model.coefficients, model.intercept)


class FittedLinear:
    """Scores are a sum over features; that is also their explanation."""

    steps: int | None = None
    curve: np.ndarray | None = None

    def __init__(self, outcome: Outcome, design: Design, model: Linear, text: bool) -> None:
        self.outcome, self.design, self.model, self.text = outcome, design, model, text

    def _features(self, matrix: Matrix) -> Features:
        return Features(self.design.transform(matrix), matrix.sparse if self.text else None)

    def predict(self, data: Dataset, steps: int | None = None) -> np.ndarray:
        raw = self.model.scores(self._features(encoded(data)))
        return self.outcome.answers(probabilities(self.outcome.task, raw))

    @staticmethod
    def together(models: Sequence[FittedLinear]) -> Joined | None:
        """Their answers to one row; None where they read texts or the folds left them different features."""
        designs = [m.design for m in models]
        if any(m.text for m in models) or not Designs.alike(designs):
            return None
        stacked, outcomes, task = Designs(designs), Outcomes([m.outcome for m in models]), models[0].outcome.task
        coefficients = np.stack([m.model.coefficients for m in models])
        intercepts = np.stack([m.model.intercept for m in models])

        def answer(data: Dataset) -> np.ndarray:
            rows = stacked.transform(encoded(data).dense.repeat(len(models), axis=0))
            return outcomes.answers(probabilities(task, np.matmul(rows[:, None], coefficients)[:, 0] + intercepts))

        return answer

    def contributions(self, data: Dataset) -> np.ndarray | None:
        """Coefficient times standardised feature, on the raw scale (log odds, scores or standardised numbers): (n, columns + 1, k)."""
        matrix = encoded(data)
        features = self._features(matrix)
        width, k = features.dense.shape[1], self.model.coefficients.shape[1]
        shares = matrix.shares()[self.design.features()]
        out = np.zeros((len(matrix), len(matrix.columns) + 1, k))
        for i in range(k):
            by_feature = features.dense * self.model.coefficients[:width, i]
            out[:, :-1, i] = by_feature @ shares
            if features.sparse is not None and matrix.sparse_sources is not None:
                terms = features.sparse.multiply(self.model.coefficients[width:, i]).tocsr()
                for column in np.unique(matrix.sparse_sources):
                    out[:, column, i] += np.asarray(terms[:, matrix.sparse_sources == column].sum(axis=1)).ravel()
        out[:, -1] = self.model.intercept
        return out

    def save(self) -> dict[str, bytes]:
        state, arrays = self.design.state()
        return pack({"outcome": self.outcome.state(), "design": state, "text": self.text}, {**arrays, **arrays_of(self.model)})


@hook
def emlyn_learners() -> list[Any]:
    return [LinearModel()]
