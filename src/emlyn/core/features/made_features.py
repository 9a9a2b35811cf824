"""Features made of two columns: which of the hundreds are worth having, and how they are computed.

Candidates are ranked by what they explain of the residual that an additive model of the single columns leaves, so only interactions are
added; which of them are more than luck, shuffled copies of them have said (docs/decisions/0005-shadows.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from emlyn.core.features.prep import Matrix
from emlyn.core.features.target_means import Means

RANKED_ON = 10_000
"""Rows that candidates are ranked on."""
MOST_NUMBERS, MOST_CATEGORIES = 14, 15
MOST_KEPT = {"crosses": 20, "arithmetic": 30, "aggregates": 20}
BINS = 16
SURE = 6.0
"""Standard deviations, of what a shuffled copy explains by luck, that a candidate must explain: hundreds are looked at."""
OPERATIONS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": lambda a, b: a / np.where(b == 0, np.nan, b),
}


def made_of(operation: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        out = OPERATIONS[operation](a.astype(np.float64), b.astype(np.float64))
    return np.asarray(np.where(np.abs(out) < 1e30, out, np.nan), dtype=np.float32)


def cell_of(operation: str, a: float, b: float) -> float:
    """`made_of` for one row."""
    if operation == "divide":
        out = a / b if b else math.nan
    elif operation == "multiply":
        out = a * b
    else:
        out = a + b if operation == "add" else a - b
    return out if abs(out) < 1e30 else math.nan


def ranked(kinds: tuple[str, ...], matrix: Matrix, targets: np.ndarray, seed: int) -> tuple[dict[str, list[Any]], dict[str, tuple[int, int]]]:
    """Kind -> the candidates kept, and how many of how many were more than luck."""
    sample = np.random.default_rng(seed + 1).permutation(len(matrix))[:RANKED_ON]
    ranking = _Ranking(matrix, sample, targets[sample])
    return {kind: getattr(ranking, kind)() for kind in kinds}, ranking.ideas


class _Ranking:
    """Which candidates explain most of what single columns leave unexplained."""

    def __init__(self, matrix: Matrix, sample: np.ndarray, targets: np.ndarray) -> None:
        self.dense, self.levels = matrix.dense[sample], matrix.levels
        columns = [binned(self.dense[:, j], self.levels.get(j, 0)) for j in range(self.dense.shape[1])]
        spread = targets.std(axis=0)
        scaled = (targets - targets.mean(axis=0)) / np.where(spread > 0, spread, 1)
        alone = np.array([explained(c, scaled) for c in columns])
        order = np.argsort(-alone, kind="stable")
        self.numbers = [int(j) for j in order if j not in self.levels][:MOST_NUMBERS]
        self.categories = [int(j) for j in order if self.levels.get(int(j), 0) > 1][:MOST_CATEGORIES]
        self.residual = scaled
        self.ideas: dict[str, tuple[int, int]] = {}
        for _ in range(2):
            for j in order[:60]:
                self.residual = self.residual - group_means(columns[j], self.residual)

    def _best(self, kind: str, scored: list[tuple[float, Any]]) -> list[Any]:
        """Candidates that explain more than luck, best first; `scored`: by how much, which."""
        found = [c for score, c in sorted(scored, key=lambda x: (-x[0], str(x[1]))) if score > 0]
        self.ideas[kind] = (len(found), len(scored))
        return found[: MOST_KEPT[kind]]

    def arithmetic(self) -> list[tuple[str, int, int]]:
        pairs = list(combinations(self.numbers, 2))
        every = [(op, a, b) for a, b in pairs for op in OPERATIONS] + [("divide", b, a) for a, b in pairs]
        return self._best("arithmetic", [(self._score(made_of(op, self.dense[:, a], self.dense[:, b])), (op, a, b)) for op, a, b in every])

    def aggregates(self) -> list[tuple[int, int]]:
        found = []
        for c in self.categories:
            codes = binned(self.dense[:, c], self.levels[c])
            for number in self.numbers:
                values = self.dense[:, [number]].astype(np.float64)
                centred = values - group_means(codes, np.nan_to_num(values, nan=float(np.nanmean(values)) if np.isfinite(values).any() else 0.0))
                found.append((self._score(centred[:, 0]), (c, number)))
        return self._best("aggregates", found)

    def crosses(self) -> list[tuple[int, ...]]:
        found = []
        for a, b in combinations(sorted(self.categories), 2):
            _, keys = np.unique(Means.keys(self.dense, (a, b), self.levels[b]), return_inverse=True)
            found.append((beyond_luck(keys, self.residual), (a, b)))
        return self._best("crosses", found)

    def _score(self, values: np.ndarray) -> float:
        return beyond_luck(binned(values, 0), self.residual)


def binned(values: np.ndarray, levels: int) -> np.ndarray:
    """Codes (n,) from 0: a category's own, or a number's quantile bin; "no value" is a bin of its own."""
    missing = np.isnan(values)
    if levels:
        return np.where(missing, levels, np.nan_to_num(values)).astype(np.int64)
    known = values[~missing]
    if not len(known):
        return np.zeros(len(values), dtype=np.int64)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(missing, len(edges) + 1, np.searchsorted(edges, values, side="right")).astype(np.int64)


def group_means(codes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Smoothed means of each row's group (n, t)."""
    size = int(codes.max(initial=0)) + 1
    counts = np.bincount(codes, minlength=size)
    sums = np.column_stack([np.bincount(codes, weights=t, minlength=size) for t in targets.T])
    return np.asarray((sums / (counts[:, None] + 1.0))[codes])


def explained(codes: np.ndarray, targets: np.ndarray) -> float:
    """Share of the targets' variance between groups, corrected for the number of groups (epsilon squared, Kelley 1935)."""
    n, groups = len(codes), len(np.unique(codes))
    if n <= groups + 1:
        return 0.0
    total = ((targets - targets.mean(axis=0)) ** 2).sum()
    size = int(codes.max()) + 1
    counts = np.bincount(codes, minlength=size).clip(min=1)
    between = sum(float((np.bincount(codes, weights=t, minlength=size) ** 2 / counts).sum() - t.sum() ** 2 / n) for t in targets.T)
    share = between / total if total > 0 else 0.0
    return share - (1 - share) * (groups - 1) / (n - groups)


def beyond_luck(codes: np.ndarray, targets: np.ndarray) -> float:
    """What is explained, less what shuffled codes explain by luck.

    For normal targets their epsilon squared has mean 0 and about the variance 2 (groups - 1) (n - 1) / (n - groups) / n^2, that of the F ratio; its
    spread is up to twice as large where targets have a long tail and groups a row or two.
    """
    n, groups = len(codes), len(np.unique(codes))
    if n <= groups + 1:
        return 0.0
    luck = float(np.sqrt(2 * max(groups - 1, 1) * (n - 1) / (n - groups))) / n
    return explained(codes, targets) - SURE * luck
