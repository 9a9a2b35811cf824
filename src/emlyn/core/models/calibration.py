"""Making answers mean what they say: a map fitted on out-of-fold predictions.

Probabilities: a temperature and a shift for each class (bias-corrected temperature scaling: Alexandari, Kundaje and Shrikumar, Maximum likelihood
with bias-corrected calibration is hard-to-beat at label shift adaptation, ICML 2020, section 3; with two classes Platt's logistic map), drawn
towards no change where rows are few. With two classes the order of the scores never changes. Numbers: a straight line, where squares of errors count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.judging.metrics import CLASSES, CLIP, SQUARED, Metric
from emlyn.core.models.parts import require
from emlyn.records.codec import from_json, to_json

LEAST = 20
"""Rows from which a map is fitted."""
SPREAD = 0.5
"""Standard deviation of the log slope and of shifts that is expected before any row is seen.

Without it, rows that are all answered rightly ask for certainty. Of blends log slopes are mostly between 0 and 1, since averages are timid
(docs/decisions/0013-calibration.md).
"""
LINE_SPREAD = 0.1
"""The same of the slope of numbers."""
SLOPES = (0.2, 5.0)
"""Between these every slope stays."""


@dataclass(frozen=True)
class Calibration:
    """probabilities -> softmax(slope * log probabilities + shifts); numbers -> slope * numbers + shift."""

    slope: float = 1.0
    shifts: tuple[float, ...] = ()
    """One for each class, or of the numbers; empty: answers are left as they are."""

    @staticmethod
    def of(plain: Mapping[str, Any], width: int) -> Calibration:
        """From a stored document; those of the first format have one `shift`, of the last class. Raises ModelError for one of other classes."""
        if "kind" in plain:
            plain = {} if plain["kind"] == "none" else {"slope": plain.get("slope"), "shifts": [*[0.0] * (width - 1), plain.get("shift")]}
        found = from_json(to_json(plain), Calibration)
        require(found.slope > 0 and len(found.shifts) in (0, width), "its calibration does not fit the classes")
        return found

    def apply(self, p: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (n, k), or numbers (n, 1)."""
        if not self.shifts:
            return p
        if p.shape[1] == 1:
            return self.slope * p + self.shifts[0]
        if p.shape == (1, 2):  # one row: scalars cost less than arrays
            first, last = (self.slope * math.log(min(max(share, CLIP), 1.0)) + shift for share, shift in zip(p[0].tolist(), self.shifts, strict=True))
            top = max(first, last)
            first, last = math.exp(first - top), math.exp(last - top)
            return np.array([[first / (first + last), last / (first + last)]])
        z = self.slope * np.log(np.clip(p, CLIP, 1.0)) + np.array(self.shifts)
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(z / z.sum(axis=1, keepdims=True))


def serves(metric: Metric) -> bool:
    """Is a map fitted where this metric is asked for? A line through means says nothing about medians."""
    return metric.name in SQUARED or not set(CLASSES).isdisjoint(metric.tasks)


def fit_calibration(p: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None) -> Calibration:
    """The map of these predictions: probabilities (n, k) of classes, or numbers (n, 1)."""
    if len(truth) < LEAST:
        return Calibration()
    share = np.full(len(truth), 1 / len(truth)) if weight is None else weight / weight.sum()
    return _of_numbers(p[:, 0], truth, share) if p.shape[1] == 1 else _of_classes(p, truth.astype(np.int64), share)


def _of_classes(p: np.ndarray, truth: np.ndarray, share: np.ndarray) -> Calibration:
    """The most probable slope and shifts: least log loss, normal spreads of log slope and shifts around no change given."""
    from scipy.optimize import minimize  # here, so that a server, which only applies calibrations, starts without it

    logs, rows = np.log(np.clip(p, CLIP, 1.0)), np.arange(len(truth))

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        """At (log slope, shifts): mean log loss with what the spreads add, and its gradient."""
        slope = math.exp(x[0])
        z = slope * logs + x[1:]
        z -= z.max(axis=1, keepdims=True)
        powers = np.exp(z)
        total = powers.sum(axis=1)
        value = float(share @ (np.log(total) - z[rows, truth]))
        off = powers / total[:, None]
        off[rows, truth] -= 1
        off *= share[:, None]
        drawn = x / SPREAD**2 / len(truth)
        return value + float(drawn @ x) / 2, np.concatenate([[(off * logs).sum() * slope], off.sum(axis=0)]) + drawn

    bounds = [(math.log(SLOPES[0]), math.log(SLOPES[1])), *[(None, None)] * p.shape[1]]
    found = minimize(loss, np.zeros(1 + p.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
    return Calibration(math.exp(found[0]), tuple(found[1:]))


def _of_numbers(p: np.ndarray, truth: np.ndarray, share: np.ndarray) -> Calibration:
    """The least-squares line, its slope drawn towards 1 by how uncertain it is.

    Uncertain as the rows themselves say (the sandwich HC3: MacKinnon and White 1985), so that one far row which makes the slope also takes it back.
    """
    middle, off = float(share @ p), truth - p
    x, shift = p - middle, float(share @ off)
    size = float(share @ x**2)
    if not 0 < size < math.inf:
        return Calibration()
    slope = float((share * x) @ off) / size
    leverage = share * (1 + x**2 / size)
    left = share * (x / size) * (off - shift - slope * x) / np.maximum(1 - leverage, 1e-9)
    slope *= LINE_SPREAD**2 / (LINE_SPREAD**2 + float(left @ left))
    slope = min(max(1 + slope, SLOPES[0]), SLOPES[1])
    return Calibration(slope, (shift + (1 - slope) * middle,))
