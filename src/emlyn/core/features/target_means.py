"""Means of the target, or of a number, per category or pair of categories: learned inside a fold, smoothed, out of fold for the fit rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emlyn.core.models.outcome import Outcome

SMOOTHING = 10.0
"""A category's mean is drawn towards the overall mean as by so many rows of it (Micci-Barreca 2001)."""
MOST_CLASSES = 8
"""Classes that get target means of their own: the most frequent ones."""
LookUp = tuple[int, int, int, int, dict[int, list[float]], list[float]]
"""Feature, second feature or -1, codes of the second, number or -1; key -> means (behind target means the logarithm of its rows); those of others."""


@dataclass(eq=False)
class Means:
    """Means of targets, or of one number, per key: a category, or two crossed. Keys unseen in the fit rows get the overall mean."""

    key: tuple[int, ...]
    """One or two code features."""
    size: int
    """Codes of the second feature, which a crossed key is made with."""
    known: np.ndarray
    """Keys of the fit rows, ascending (g,) int64."""
    means: np.ndarray
    """(g, t) float32."""
    counts: np.ndarray
    """(g,) float32, as log1p."""
    overall: np.ndarray
    """(t,) float32."""
    number: int = -1
    """The feature averaged; -1 for the target."""

    @staticmethod
    def keys(dense: np.ndarray, key: tuple[int, ...], size: int) -> np.ndarray:
        """The key of each row (n,), -1 where it holds an unseen code."""
        codes = [np.nan_to_num(dense[:, k], nan=-1).astype(np.int64) for k in key]
        if len(codes) == 1:
            return np.asarray(codes[0])
        return np.asarray(np.where((codes[0] < 0) | (codes[1] < 0), -1, codes[0] * size + codes[1]))

    @staticmethod
    def learn(dense: np.ndarray, key: tuple[int, ...], size: int, targets: np.ndarray, weight: np.ndarray, number: int = -1) -> Means:
        known, codes = np.unique(Means.keys(dense, key, size), return_inverse=True)
        sums, mass, overall = _sums(codes, len(known), targets, weight)
        counts = np.log1p(np.bincount(codes, minlength=len(known))).astype(np.float32)
        return Means(key, size, known, _smooth(sums, mass, overall).astype(np.float32), counts, overall.astype(np.float32), number)

    def places(self, dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each row's place among the known keys, and whether it is there."""
        keys = self.keys(dense, self.key, self.size)
        at = np.minimum(np.searchsorted(self.known, keys), max(len(self.known) - 1, 0))
        return at, self.known[at] == keys

    @cached_property
    def look_up(self) -> LookUp:
        """What one row is looked up by: there a key beats a search."""
        found = {key: self._found(self.means[at], self.counts[at]) for at, key in enumerate(self.known.tolist())}
        second = self.key[1] if len(self.key) == 2 else -1
        return self.key[0], second, self.size, self.number, found, self._found(self.overall, np.float32(0))

    def _found(self, means: np.ndarray, count: np.float32) -> list[float]:
        return means.tolist() if self.number >= 0 else [*means.tolist(), float(count)]

    def dense(self, dense: np.ndarray) -> np.ndarray:
        at, seen = self.places(dense)
        if self.number >= 0:
            mean = np.where(seen, self.means[at, 0], self.overall[0])
            return np.asarray((dense[:, self.number] - mean)[:, None], dtype=np.float32)
        means = np.where(seen[:, None], self.means[at], self.overall)
        return np.column_stack([means, np.where(seen, self.counts[at], 0)]).astype(np.float32)


def of_one_row(looks_up: Iterable[LookUp], cells: list[float]) -> list[float]:
    """`dense` of all these means for one row of numbers of Python; rounded to float32 these differences are those of float32 (Figueroa 1995)."""
    out: list[float] = []
    for first, second, size, number, found, elsewhere in looks_up:
        code = cells[first]
        key = -1 if code != code else int(code)
        if second >= 0:
            code = cells[second]
            key = -1 if key < 0 or code != code else key * size + int(code)
        means = found.get(key, elsewhere)
        out += means if number < 0 else [cells[number] - means[0]]
    return out


def _sums(codes: np.ndarray, groups: int, targets: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted sums (g, t), weights (g,) and overall means (t,)."""
    mass = np.bincount(codes, weights=weight, minlength=groups)
    sums = np.column_stack([np.bincount(codes, weights=weight * t, minlength=groups) for t in targets.T])
    return sums, mass, sums.sum(axis=0) / max(mass.sum(), 1e-12)


def _smooth(sums: np.ndarray, mass: np.ndarray, overall: np.ndarray) -> np.ndarray:
    return np.asarray((sums + SMOOTHING * overall) / (mass[:, None] + SMOOTHING))


def out_of_fold_means(dense: np.ndarray, key: tuple[int, ...], size: int, targets: np.ndarray, weight: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Target means for the fit rows, each from the rows of other inner folds: (n, t) float32."""
    known, codes = np.unique(Means.keys(dense, key, size), return_inverse=True)
    sums, mass, _ = _sums(codes, len(known), targets, weight)
    out = np.empty(targets.shape, dtype=np.float32)
    for k in range(int(folds.max(initial=0)) + 1):
        own = folds == k
        inner, inner_mass, _ = _sums(codes[own], len(known), targets[own], weight[own])
        left, left_mass = sums - inner, mass - inner_mass
        out[own] = _smooth(left, left_mass, left.sum(axis=0) / max(left_mass.sum(), 1e-12))[codes[own]]
    return out


def target_columns(y: np.ndarray, outcome: Outcome) -> np.ndarray:
    """What target means average (n, t): the number, the positive class, or indicators of the most frequent classes."""
    if outcome.regression:
        return np.asarray(y, dtype=np.float64)[:, None]
    if outcome.width == 2:
        return np.asarray((y == 1)[:, None], dtype=np.float64)
    counts = np.bincount(y.astype(np.int64), minlength=outcome.width)
    often = np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    return np.asarray(y[:, None] == often, dtype=np.float64)
