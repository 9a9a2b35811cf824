"""What would have been with other training rows, from fits of one of the model's own recipes; the model itself is never refitted.

One set of small fits answers three questions: what more rows would bring (learning curve), how far decisions hang on the draw of the
rows (multiplicity; Marx, Calmon and Ustun 2020), and whether a row's loss betrays that it was learned from (membership; Yeom et al. 2018).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import scipy  # its parts load when first used

from emlyn import plugins
from emlyn.core.dataset import Dataset
from emlyn.core.judging.answers import Answers, loss_rows
from emlyn.core.judging.intervals import roc_area
from emlyn.core.judging.metrics import metric
from emlyn.core.judging.stress import turned
from emlyn.core.learner import Effort
from emlyn.core.searching.trials import ready
from emlyn.core.splits import holdout
from emlyn.core.wording import percent
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

SIZES = (0.125, 0.25, 0.5, 1.0)
REPEATS = 5
HELD = 0.3
FEWEST = 100


@dataclass(frozen=True, eq=False)
class Refit:
    """One fit: how many rows, what it answers on the held rows, and its losses on the rows it learned from."""

    rows: int
    prediction: np.ndarray
    own_losses: np.ndarray


@dataclass(frozen=True, eq=False)
class Refits:
    """Fits of one recipe on parts of the rows, judged on rows that none of them saw."""

    recipe: str
    held: Answers
    fits: tuple[Refit, ...]

    def of_all_rows(self) -> list[Refit]:
        most = max((f.rows for f in self.fits), default=0)
        return [f for f in self.fits if f.rows == most]


def refit(model: Any, data: Dataset, problem: Problem, seconds: float, seed: int = 0) -> Refits | None:
    """Fit the heaviest member's recipe on growing parts of 70 % of the rows, again and again while time lasts; None below 100 rows."""
    if len(data) < FEWEST:
        return None
    member = max(model.members, key=lambda m: m.weight)
    recipe: Recipe = member.recipe
    learner = plugins.find("learners", recipe.learner)
    until, rng = time.monotonic() + seconds, np.random.default_rng(seed)
    fold = holdout(ready(data, seed), problem.split, HELD, seed, stratify=bool(problem.classes))
    held = Answers(fold.truth, np.zeros((len(fold.truth), 1)), threshold=model.threshold if problem.task == "binary" else None)
    fits: list[Refit] = []
    longest = 0.0
    for _ in range(REPEATS):
        for size in SIZES:
            left = until - time.monotonic()
            if left < 1.5 * longest or (left <= 0 and fits):
                return Refits(recipe.name, held, tuple(fits))
            rows = rng.permutation(len(fold.fit))[: max(20, int(size * len(fold.fit)))]
            part = fold.fit.take(np.sort(rng.choice(rows, len(rows))) if size == 1.0 else np.sort(rows))
            began = time.monotonic()
            fitted = learner.fit(recipe, part, None, Effort(max(left, 1.0), 1, int(rng.integers(1 << 30)), member.fitted[0].steps))
            own = Answers(part.answers, fitted.predict(part.without_answers())) if part.answers is not None else held
            fits.append(Refit(len(part), fitted.predict(fold.ask), loss_rows(own, problem.task)))
            longest = max(longest, time.monotonic() - began)
    return Refits(recipe.name, held, tuple(fits))


def learning_curve_section(found: Refits, problem: Problem) -> dict[str, Any] | None:
    """The metric by number of rows, and what twice as many would bring: value = a + b / sqrt(rows), fitted by least squares."""
    m = metric(problem.metric)
    sizes = np.array([f.rows for f in found.fits], dtype=float)
    values = np.array([m.score(found.held.truth, f.prediction, None) for f in found.fits])
    known = np.isfinite(values)
    if len(np.unique(sizes[known])) < 3:
        return None
    x, y = 1 / np.sqrt(sizes[known]), values[known]
    line = scipy.stats.linregress(x, y)
    most = sizes.max()
    gain = float(line.slope * (1 / np.sqrt(2 * most) - 1 / np.sqrt(most)))
    reach = abs(float(line.stderr * (1 / np.sqrt(2 * most) - 1 / np.sqrt(most)))) * float(scipy.stats.t.ppf(0.975, max(1, len(x) - 2)))
    points = []
    for n in np.unique(sizes[known]):
        at = values[known & (sizes == n)]
        half = float(scipy.stats.t.ppf(0.975, len(at) - 1) * at.std(ddof=1) / np.sqrt(len(at))) if len(at) > 1 else None
        mean = float(at.mean())
        points.append({"rows": int(n), "value": mean, "low": None if half is None else mean - half, "high": None if half is None else mean + half})
    told = f"Twice the data is worth about {gain:+.3g} in {m.label or m.name} ({gain - reach:+.2g} to {gain + reach:+.2g})."
    left = f"learned anew with {found.recipe} alone on up to {int(most):,} rows; the shape a + b / sqrt(rows) is assumed"
    return {"points": points, "metric": m.name, "doubling": gain, "low": gain - reach, "high": gain + reach, "sentence": told, "left_out": left}


def multiplicity_section(found: Refits) -> dict[str, Any] | None:
    """How often two models from other draws of the rows decide differently, and how alike they rank."""
    fits = found.of_all_rows()
    if len(fits) < 2:
        return None
    pairs = list(combinations(fits, 2))
    flips = float(np.mean([turned(found.held.with_prediction(a.prediction), b.prediction) for a, b in pairs]))
    alike = float(np.nanmean([scipy.stats.spearmanr(a.prediction[:, -1], b.prediction[:, -1]).statistic for a, b in pairs]))
    text = f"Two models learned from other draws of the same rows decide differently about {percent(flips, 1)} of cases."
    return {"models": len(fits), "flips": flips, "agreement": alike, "sentence": text, "left_out": f"with {found.recipe} alone, without the ensemble"}


def membership_section(found: Refits, problem: Problem) -> dict[str, Any] | None:
    """An attacker who knows a row's answer guesses from its loss whether it was learned from."""
    fits = found.of_all_rows()
    if not fits:
        return None
    last = fits[-1]
    outside = loss_rows(found.held.with_prediction(last.prediction), problem.task)
    inside, score = np.r_[np.ones(len(last.own_losses), bool), np.zeros(len(outside), bool)], -np.r_[last.own_losses, outside]
    area = roc_area(inside, score)
    bar = np.quantile(-outside, 0.99)
    told = float((-last.own_losses > bar).mean())
    text = f"From its loss, a row learned from is told apart from others with an AUC of {area.value:.2f} (.5 is chance)."
    measured = {"value": area.value, "low": area.low, "high": area.high, "n": area.n, "method": area.method}
    return {"auc": measured, "tpr_at_1_fpr": told, "sentence": text, "left_out": f"with {found.recipe} alone; the ensemble betrays less"}
