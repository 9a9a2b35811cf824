"""Screening: with far more features than rows, only those that go with the target most, chosen inside each fold.

Sure independence screening by marginal correlation (Fan and Lv 2008). Where few features matter a model of all of them drowns in the others;
where many do, little is lost; and boosters take a fraction of the time.
"""

from __future__ import annotations

import numpy as np

SCREENED = "screened"
FEWEST, MOST = 30, 300
WIDE = 3
"""Times as many features as would be kept from which screening is offered."""


def kept_of(rows: int) -> int:
    """How many features are kept: a third as many as there are rows to learn from, 30 at least and 300 at most."""
    return int(np.clip(rows // 3, FEWEST, MOST))


def is_wide(features: int, rows: int) -> bool:
    """Are there so many more features than could be told apart by so many rows that screening deserves recipes of its own?"""
    return features > WIDE * kept_of(rows)


def strongest(cells: np.ndarray, targets: np.ndarray, most: int) -> np.ndarray:
    """The `most` features (n, p) with the largest correlation with any target (n, t), ascending; a gap counts as the feature's mean."""
    if cells.shape[1] <= most:
        return np.arange(cells.shape[1])
    known = np.isfinite(cells)
    mean = np.where(known, cells, 0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)
    x = np.where(known, cells - mean, 0)
    strength = np.abs(x.T @ (targets - targets.mean(axis=0))) / np.maximum(np.sqrt((x**2).sum(axis=0)), 1e-12)[:, None]
    strength /= np.maximum(np.sqrt(((targets - targets.mean(axis=0)) ** 2).sum(axis=0)), 1e-12)
    return np.sort(np.argsort(-strength.max(axis=1), kind="stable")[:most])
