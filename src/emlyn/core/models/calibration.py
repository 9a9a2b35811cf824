"""Making probabilities mean what they say: a monotone map fitted on out-of-fold predictions, kept only when it proves itself.

Temperature (Guo et al., On calibration of modern neural networks, ICML 2017) is always a candidate; two classes with 1,000 rows or more also get
logistic calibration on the log odds (Platt 1999). Both are monotone per row, so the order of two-class scores never changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from emlyn.core.judging.metrics import CLIP, log_loss_rows, mean

LOGISTIC_FROM = 1_000


@dataclass(frozen=True)
class Calibration:
    """probabilities -> softmax(slope * log probabilities + shift)."""

    kind: str = "none"
    """none | temperature | logistic."""
    slope: float = 1.0
    shift: float = 0.0
    """Added to the log odds of the last class; 0 but for `logistic`."""
    gain: float = 0.0
    """Log loss saved per unit, cross-fitted."""

    def apply(self, p: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (n, k)."""
        if self.kind == "none":
            return p
        if p.shape == (1, 2):  # one row: scalars cost less than arrays
            first, last = (self.slope * math.log(min(max(share, CLIP), 1.0)) for share in p[0].tolist())
            top = max(first, last + self.shift)
            first, last = math.exp(first - top), math.exp(last + self.shift - top)
            return np.array([[first / (first + last), last / (first + last)]])
        z = self.slope * np.log(np.clip(p, CLIP, 1.0))
        z[:, -1] += self.shift
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(z / z.sum(axis=1, keepdims=True))


def fit_calibration(p: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None, seed: int = 0) -> Calibration:
    """The best of none, temperature and (two classes, enough rows) logistic, by five-fold cross-fitted log loss (n, k).

    A map is kept only where its gain is larger than one standard error: below, it follows noise as often as not (`benchmarks/calibration.py`).
    """
    n = len(truth)
    kinds = ["temperature"] + (["logistic"] if p.shape[1] == 2 and n >= LOGISTIC_FROM else [])
    side = np.random.default_rng(seed).permutation(n) % 5
    plain = log_loss_rows(truth, p)
    best = Calibration()
    if n < 20:
        return best
    for kind in kinds:
        rows = np.empty(n)
        for k in range(5):
            held = side == k
            found = _fit(kind, p[~held], truth[~held], None if weight is None else weight[~held])
            rows[held] = log_loss_rows(truth[held], found.apply(p[held]))
        gain = mean(plain - rows, weight)
        noise = np.sqrt(mean((plain - rows - gain) ** 2, weight) / n)
        if gain > max(best.gain, noise):
            whole = _fit(kind, p, truth, weight)
            best = Calibration(kind, whole.slope, whole.shift, gain)
    return best


def _fit(kind: str, p: np.ndarray, truth: np.ndarray, weight: np.ndarray | None) -> Calibration:
    """Least log loss over log slope (and shift), started from no change; the slope stays within [0.2, 5]."""
    from scipy.optimize import minimize  # here, so that a server, which only applies calibrations, starts without it

    def loss(x: np.ndarray) -> float:
        return mean(log_loss_rows(truth, _at(kind, x).apply(p)), weight)

    start = np.zeros(1 if kind == "temperature" else 2)
    bounds = [(np.log(0.2), np.log(5.0)), (-5.0, 5.0)][: len(start)]
    return _at(kind, minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)


def _at(kind: str, x: np.ndarray) -> Calibration:
    return Calibration(kind, float(np.exp(x[0])), float(x[1]) if len(x) > 1 else 0.0)
