"""Beyond the portfolio: variations of the recipes that carry the ensemble, by Optuna's ask and tell."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np

from emlyn.core.searching.ensembling import quick_weights
from emlyn.core.searching.trials import Candidate, Trials
from emlyn.records.plan import Recipe

VARIES: dict[str, tuple[float, float, bool]] = {
    "learning_rate": (0.01, 0.2, True),
    "num_leaves": (4, 255, True),
    "min_data_in_leaf": (1, 100, True),
    "feature_fraction": (0.3, 1.0, False),
    "bagging_fraction": (0.6, 1.0, False),
    "lambda_l1": (1e-3, 5.0, True),
    "lambda_l2": (1e-2, 20.0, True),
    "cat_l2": (1e-2, 20.0, True),
    "cat_smooth": (1e-2, 100.0, True),
    "depth": (4, 9, False),
    "l2_leaf_reg": (0.5, 20.0, True),
    "random_strength": (0.1, 3.0, True),
    "subsample": (0.6, 1.0, False),
    "rate": (0.01, 0.2, True),
    "dropout": (0.0, 0.4, False),
    "decay": (1e-3, 0.1, True),
    "min_samples_leaf": (1, 20, True),
}
"""Settings that may vary: (least, most, on a logarithmic scale). Settings not listed stay as the recipe has them."""
NEAR = 3.0
"""A varied setting stays within this factor of its recipe's value (a third of the range where the scale is not logarithmic)."""


@dataclass
class Proposals:
    """One Optuna study per recipe of the portfolio; the next variation is of a recipe drawn by its weight in the ensemble so far."""

    trials: Trials
    seed: int
    asked: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Name of a proposed recipe -> (its base recipe, Optuna's trial)."""
    _studies: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def propose(self) -> Recipe | None:
        """A new recipe, or None when no recipe of the ensemble has anything to vary, or what was drawn has been tried."""
        bases = [c for c in self.trials.usable() if c.status == "done" and _numeric(c.recipe) and c.recipe.name not in self.asked]
        if not bases:
            return None
        weights = ensemble_weights(self.trials, bases) + 0.5 / len(bases)
        base = bases[int(self.rng.choice(len(bases), p=weights / weights.sum()))].recipe
        taken = {c.recipe.name for c in self.trials.candidates} | set(self.asked)
        trial = self._study(base.name).ask()
        params = dict(base.params)
        for name, value in _numeric(base).items():
            low, high, log = _range(name, value)
            if low < high:
                params[name] = (
                    trial.suggest_int(name, round(low), round(high), log=log)
                    if isinstance(value, int)
                    else trial.suggest_float(name, low, high, log=log)
                )
        if any(c.recipe.learner == base.learner and c.recipe.params == params and c.recipe.features == base.features for c in self.trials.candidates):
            return None  # whole numbers of a small range come again
        stem = base.name.partition("~")[0]
        name = next(name for number in count(len(self.asked) + 1) if (name := f"{stem}~{number}") not in taken)
        self.asked[name] = (base.name, trial)
        return replace(base, name=name, params=params, why=f"a variation of {base.name}, which carries the ensemble")

    def tell(self, candidate: Candidate) -> None:
        """What came of a proposal; one that was let go counts with the score it had."""
        base, trial = self.asked.get(candidate.recipe.name, ("", None))
        if trial is None or not candidate.results:
            return
        score, _ = self.trials.score(candidate)
        if np.isfinite(score):
            self._study(base).tell(trial, score)

    def _study(self, name: str) -> Any:
        if name not in self._studies:
            import optuna

            optuna.logging.set_verbosity(logging.WARNING)
            sampler = optuna.samplers.TPESampler(seed=self.seed + len(self._studies), n_startup_trials=8)
            self._studies[name] = optuna.create_study(direction=self.trials.metric.direction, sampler=sampler)
        return self._studies[name]


def ensemble_weights(trials: Trials, candidates: Sequence[Candidate]) -> np.ndarray:
    """Greedy weights (m,) over the candidates' out-of-fold answers."""
    rows = trials.covered(candidates)
    return quick_weights([trials.oof(c.recipe.name)[rows] for c in candidates], trials.truth(rows), trials.metric, trials.weight(rows), trials.seed)


def _numeric(recipe: Recipe) -> dict[str, float]:
    return {k: v for k, v in recipe.params.items() if k in VARIES and isinstance(v, int | float) and not isinstance(v, bool)}


def _range(name: str, value: float) -> tuple[float, float, bool]:
    low, high, log = VARIES[name]
    value = min(max(value, low), high)
    if log:
        return max(low, value / NEAR), min(high, value * NEAR), True
    third = (high - low) / NEAR
    return max(low, value - third), min(high, value + third), False
