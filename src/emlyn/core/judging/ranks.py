"""Ranks, their correlation and p-values in order, without loading scipy.stats, which takes half a second."""

from __future__ import annotations

import numpy as np


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their average (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    return (last - (counts - 1) / 2)[inverse]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation; 0 where one side is constant."""
    a, b = average_ranks(x), average_ranks(y)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Each p-value (n,) as the least rate of false discoveries at which it would be one (Benjamini, Hochberg 1995)."""
    order = np.argsort(-p, kind="stable")
    found = np.empty(len(p))
    found[order] = np.minimum.accumulate(np.minimum(1.0, p[order] * len(p) / np.arange(len(p), 0, -1)))
    return found
