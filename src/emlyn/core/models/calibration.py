"""Making probabilities mean what they say: a map fitted on out-of-fold predictions.

A temperature and a shift for each class (bias-corrected temperature scaling: Alexandari, Kundaje and Shrikumar, Maximum likelihood with
bias-corrected calibration is hard-to-beat at label shift adaptation, ICML 2020, section 3; with two classes Platt's logistic map), drawn towards no
change where rows are few. With two classes the order of the scores never changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.judging.metrics import CLIP
from emlyn.core.models.parts import require
from emlyn.records.codec import from_json, to_json

LEAST = 20
"""Rows from which a map is fitted."""
SPREAD = 0.5
"""Standard deviation of the log slope and of shifts that is expected before any row is seen.

Without it, rows that are all answered rightly ask for certainty. Of blends log slopes are mostly between 0 and 1, since averages are timid
(docs/decisions/0013-calibration.md).
"""


@dataclass(frozen=True)
class Calibration:
    """probabilities -> softmax(slope * log probabilities + shifts)."""

    slope: float = 1.0
    shifts: tuple[float, ...] = ()
    """One for each class; empty: probabilities are left as they are."""

    @staticmethod
    def of(plain: Mapping[str, Any], width: int) -> Calibration:
        """From a stored document; those of the first format have one `shift`, of the last class. Raises ModelError for one of other classes."""
        if plain.get("kind") == "none":
            return Calibration()
        if "kind" in plain:
            return Calibration(float(plain["slope"]), (*[0.0] * (width - 1), float(plain["shift"])))
        found = from_json(to_json(plain), Calibration)
        require(found.slope > 0 and len(found.shifts) in (0, width), "its calibration does not fit the classes")
        return found

    def apply(self, p: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (n, k)."""
        if not self.shifts:
            return p
        if p.shape == (1, 2):  # one row: scalars cost less than arrays
            first, last = (self.slope * math.log(min(max(share, CLIP), 1.0)) + shift for share, shift in zip(p[0].tolist(), self.shifts, strict=True))
            top = max(first, last)
            first, last = math.exp(first - top), math.exp(last - top)
            return np.array([[first / (first + last), last / (first + last)]])
        z = self.slope * np.log(np.clip(p, CLIP, 1.0)) + np.array(self.shifts)
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(z / z.sum(axis=1, keepdims=True))


def fit_calibration(p: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None) -> Calibration:
    """The most probable map for these predictions (n, k): least log loss, normal spreads of log slope and shifts around no change given.

    The slope stays within [0.2, 5].
    """
    from scipy.optimize import minimize  # here, so that a server, which only applies calibrations, starts without it

    if len(truth) < LEAST:
        return Calibration()
    logs, rows, codes = np.log(np.clip(p, CLIP, 1.0)), np.arange(len(truth)), truth.astype(np.int64)
    share = np.full(len(truth), 1 / len(truth)) if weight is None else weight / weight.sum()

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        """At (log slope, shifts): mean log loss with what the spreads add, and its gradient."""
        slope = math.exp(x[0])
        z = slope * logs + x[1:]
        z -= z.max(axis=1, keepdims=True)
        powers = np.exp(z)
        total = powers.sum(axis=1)
        value = float(share @ (np.log(total) - z[rows, codes]))
        off = powers / total[:, None]
        off[rows, codes] -= 1
        off *= share[:, None]
        drawn = x / SPREAD**2 / len(truth)
        return value + float(drawn @ x) / 2, np.concatenate([[(off * logs).sum() * slope], off.sum(axis=0)]) + drawn

    bounds = [(math.log(0.2), math.log(5.0)), *[(None, None)] * p.shape[1]]
    found = minimize(loss, np.zeros(1 + p.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
    return Calibration(math.exp(found[0]), tuple(found[1:]))
