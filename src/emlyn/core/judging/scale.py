"""How large errors are, by the prediction: what makes an interval wider where numbers are hard to predict. Numpy alone, for the server's sake."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PER_KNOT, MOST_KNOTS = 25, 10
"""Rows behind each knot of a scale, and most knots: with fewer than two knots' rows all intervals are equally wide."""
SHRINK = 10
"""Rows of the average error that each knot's own is mixed with."""


@dataclass(frozen=True)
class Scale:
    """How large errors are where the prediction is so large: 1 on average over rows, linear between knots, level beyond them."""

    at: tuple[float, ...] = (0.0,)
    size: tuple[float, ...] = (1.0,)

    def of(self, predicted: np.ndarray) -> np.ndarray:
        """Scale (n,) at predictions (n,)."""
        return np.asarray(np.interp(predicted, self.at, self.size))

    @staticmethod
    def learn(predicted: np.ndarray, errors: np.ndarray) -> Scale:
        """From predictions and absolute errors (n,): the mean error of equal parts of the rows, ordered by prediction."""
        whole, parts = float(errors.mean()), min(MOST_KNOTS, len(errors) // PER_KNOT)
        if parts < 2 or whole <= 0:
            return Scale()
        rows = np.array_split(np.argsort(predicted, kind="stable"), parts)
        at = np.array([predicted[r].mean() for r in rows])
        size = np.array([(errors[r].sum() + SHRINK * whole) / (len(r) + SHRINK) for r in rows]) / whole
        at, first = np.unique(at, return_index=True)
        return Scale(tuple(at.tolist()), tuple(size[first].tolist()))
