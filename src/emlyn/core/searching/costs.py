"""What a fit will cost: log-linear in rows and columns per learner, with shipped priors that the first measured folds correct."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from emlyn import plugins
from emlyn.core.dataset import Dataset
from emlyn.core.features.screening import SCREENED, kept_of
from emlyn.records.plan import Recipe

_PRIOR: dict[str, tuple[float, float, float]] = {
    "baseline": (0.005, 0.2, 0.1),
    "linear": (0.03, 0.6, 0.6),
    "lightgbm": (0.12, 0.55, 0.2),
    "catboost": (0.7, 0.4, 0.5),
    "trees": (0.25, 0.7, 0.3),
    "mlp": (0.6, 1.0, 0.4),
    "xgboost": (0.3, 0.6, 0.4),
}
"""learner -> (seconds of one fold at 1,000 rows x 10 columns on one core, exponent of rows, exponent of columns): least squares over
the folds of 14 tables with 142 to 6,600 rows; a fold of one learner differs from it by a factor of about 2. XGBoost is a guess."""
_BOOSTED = ("lightgbm", "catboost", "xgboost")
_BY_CLASSES = {"linear": 1.0, "lightgbm": 0.6, "catboost": 0.6, "xgboost": 0.6}
"""Exponent of the classes beyond the first."""
_UNKNOWN = (1.0, 0.8, 0.5)
_MANY_COLUMNS = 100
"""Columns from which a boosted fit takes time in proportion to them: each round looks at every one. Measured at 6,000 columns."""
_BYTES_PER_CELL = {"baseline": 2.0, "lightgbm": 10.0, "catboost": 24.0}
"""Bytes that a fit takes per cell of the table it learns from, beyond the table itself."""


@dataclass
class Costs:
    """Seconds of one fold of a recipe on `rows` x `columns`, learned online. `fixed` keeps the priors: then nothing depends on a clock."""

    rows: int
    columns: int
    classes: int
    fixed: bool = False
    speed: Mapping[str, float] = field(default_factory=dict)
    """Learner -> seconds measured in earlier runs on this machine over the shipped ones."""
    _seen: dict[str, list[float]] = field(default_factory=dict)

    def expect(self, recipe: Recipe) -> float:
        """Seconds of one fold: measured on this recipe or its siblings where there are any (geometric mean), the prior otherwise."""
        seen = self._seen.get(recipe.name) or self._seen.get(recipe.learner)
        return math.exp(sum(seen) / len(seen)) * self._share(recipe) if seen else self.prior(recipe)

    def measured(self, recipe: Recipe) -> bool:
        """Has this recipe or a sibling been measured here?"""
        return recipe.name in self._seen or recipe.learner in self._seen

    def prior(self, recipe: Recipe) -> float:
        """Seconds of one fold on one core as shipped, corrected by what earlier runs here measured."""
        base, by_rows, _ = _PRIOR.get(recipe.learner, _UNKNOWN)
        several = float(self.classes - 1) ** _BY_CLASSES.get(recipe.learner, 0.2) if self.classes > 2 else 1.0
        shipped = float(base * (self.rows / 1_000) ** by_rows * self._by_columns(recipe.learner, self.columns) * several)
        return shipped * self._share(recipe) * self.speed.get(recipe.learner, 1.0)

    def _share(self, recipe: Recipe) -> float:
        """What a recipe costs in those of its learner's usual one: more where it learns more slowly, less where it looks at fewer columns."""
        if SCREENED not in recipe.features:
            return _effort(recipe)
        few, all_ = (self._by_columns(recipe.learner, c) for c in (min(self.columns, kept_of(self.rows)), self.columns))
        return _effort(recipe) * few / all_

    @staticmethod
    def _by_columns(learner: str, columns: int) -> float:
        """How the seconds of a fold grow with the columns, 1 at ten of them."""
        exponent = _PRIOR.get(learner, _UNKNOWN)[2]
        many = max(1.0, columns / _MANY_COLUMNS) ** (1 - exponent) if learner in _BOOSTED else 1.0
        return float((columns / 10) ** exponent * many)

    def learn(self, recipe: Recipe, seconds: float) -> None:
        """Take a measured fold into account."""
        if not self.fixed:
            for name in (recipe.name, recipe.learner):
                self._seen.setdefault(name, []).append(math.log(max(seconds, 1e-4) / self._share(recipe)))

    def memory(self, recipe: Recipe, per_cell: float | None = None) -> int:
        """Bytes that one fold will take: its table (`per_cell` bytes a cell where the learner says so itself), its answers, boosters' gradients."""
        width = max(1, self.classes)
        gradients = 2 * width if recipe.learner in _BOOSTED else 0
        per_cell = _BYTES_PER_CELL.get(recipe.learner, 16.0) if per_cell is None else per_cell
        return int(self.rows * (self.columns * per_cell + 8 * (2 * width + gradients)))


def _effort(recipe: Recipe) -> float:
    """How much more than its learner's usual recipe this one does: slower learning takes more steps, though early stopping saves some of them."""
    rate, epochs = recipe.params.get("learning_rate"), recipe.params.get("epochs")
    if isinstance(rate, int | float) and rate > 0:
        return float((0.06 / rate) ** 0.7)
    return max(0.1, float(epochs) * float(recipe.params.get("members", 1)) / 100) if isinstance(epochs, int | float) else 1.0


def costs_of(data: Dataset, folds: int, *, fixed: bool, speed: Mapping[str, float] | None = None) -> Costs:
    """The cost model for a dataset parted into `folds`; one fold asks about a fifth at most."""
    rows = max(1, int(len(data) * (1 - 1 / (folds if folds > 1 else 5))))
    encoder = data.shared.get("encoder")
    columns = len(encoder.names) if encoder is not None else sum(len(t) for t in data.tables.values())
    return Costs(rows, max(1, columns), data.classes, fixed, speed or {})


def fit_bytes(recipe: Recipe, data: Dataset) -> int:
    """Bytes that one fit of the recipe on all of these units will take."""
    per_cell = getattr(plugins.find("learners", recipe.learner), "bytes_per_cell", None)
    return replace(costs_of(data, 1, fixed=True), rows=len(data)).memory(recipe, per_cell)
