"""What a whole procedure - choose among recipes, weigh them, calibrate - is worth, from stored out-of-fold predictions alone.

Choosing by the rows that are then reported makes a score look too good (the best of 100 equal models looks 5.6 points more accurate
at 300 rows). Here the choice is made again for each fold on the rows of the other folds, and answers only for that fold: nothing is
fitted anew, and every metric, plot and threshold is corrected at once. It is the cross-fitted sibling of the bootstrap of
Tsamardinos, Greasidou and Borboudakis 2018 ("Bootstrapping the out-of-sample predictions"), which corrects one number only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emlyn.core.judging.metrics import SQUARED, Metric
from emlyn.core.models.calibration import Calibration, fit_calibration, serves
from emlyn.core.searching.ensembling import blend, greedy_weights, quick_weights

PARTS = 5
FAR, FEW = 20.0, 500
"""A number this many robust standard deviations from what the candidates answer is a slip, where there is one in so many rows at most."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Cross-validated predictions of every candidate, for rows that every candidate has answered."""

    candidates: Sequence[np.ndarray]
    """[(n, k), ...]."""
    fold: np.ndarray
    """Fold (n,) that asked each row."""
    truth: np.ndarray
    weight: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> OutOfFold:
        """The rows at these positions, or where the mask is true."""
        return OutOfFold([p[rows] for p in self.candidates], self.fold[rows], self.truth[rows], None if self.weight is None else self.weight[rows])


def chosen(stored: OutOfFold, metric: Metric, *, calibrate: bool = True, seed: int = 0, quick: bool = False) -> tuple[np.ndarray, Calibration]:
    """Weights over the candidates and the calibration of their blend, chosen on all of these rows; `quick`: by one greedy pass."""
    weigh, truth = quick_weights if quick else greedy_weights, believable(stored, metric)
    weights = weigh(stored.candidates, truth, metric, stored.weight, seed)
    mixed = blend(stored.candidates, weights)
    return weights, fit_calibration(mixed, truth, stored.weight) if calibrate and serves(metric) else Calibration()


def believable(stored: OutOfFold, metric: Metric) -> np.ndarray:
    """The truth (n,) that a choice is made by: where squared errors count, slips are drawn in to `FAR`.

    One such row would decide among the candidates by itself, by how each happens to miss it. Scores are given with the rows as they are.
    """
    if metric.name not in SQUARED:
        return stored.truth
    middle = np.median([p[:, 0] for p in stored.candidates], axis=0)
    off = stored.truth - middle
    most = FAR * 1.4826 * float(np.median(np.abs(off)))
    far = np.abs(off) > most
    if most == 0 or not 0 < far.sum() <= max(1, len(off) / FEW):
        return stored.truth
    return np.where(far, middle + np.clip(off, -most, most), stored.truth)


def corrected(stored: OutOfFold, metric: Metric, *, calibrate: bool = True, seed: int = 0, seconds: float = float("inf")) -> np.ndarray:
    """Predictions (n, k) of the procedure: each fold answered by what would have been chosen without it. Raises ValueError for one fold.

    More than five folds are taken together in five parts. Where the first part shows that the seconds will not suffice, the others are
    chosen by one greedy pass: a cruder choice, so the score errs on the low side.
    """
    if len(np.unique(stored.fold)) < 2:
        raise ValueError("a choice cannot be judged on the only fold it was made on")
    part = np.unique(stored.fold, return_inverse=True)[1] % PARTS
    out = np.empty_like(stored.candidates[0], dtype=np.float64)
    quick = False
    for k in np.unique(part):
        held, began = part == k, time.monotonic()
        weights, calibration = chosen(stored.take(~held), metric, calibrate=calibrate, seed=seed, quick=quick)
        out[held] = calibration.apply(blend([p[held] for p in stored.candidates], weights))
        quick = quick or (time.monotonic() - began) * PARTS > seconds
    return out


def width_factor(folds: int) -> float:
    """How much wider a cross-validated interval must be than that of the rows alone: the training rows are a draw too.

    Measured on tables whose rest was untouched (`benchmarks/promise.py`): the error of a promise had 1.2 to 1.3 times the standard error of
    its rows with three folds, 1.05 to 1.28 with eight. Of the two parts, one goes with the share of rows that each fold lacks.
    """
    return float(np.sqrt(1.2 + 1 / max(1, folds - 1)))
