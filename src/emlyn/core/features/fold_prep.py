"""Features that need the target, fitted inside a fold and nowhere else.

`target_encoding`: smoothed target means of categories, out of fold for the fit rows (nested inner folds), and counts.
`crosses`: the same for pairs of categories. `arithmetic`: sums, differences, products and ratios of numbers.
`aggregates`: a number compared with its mean within a category. `text_score`: what a linear model reads in the text columns, out of
fold. `screened`: of far too many features only those that go with the target most (`screening.py`).
Candidates are ranked by what they explain of the residual that
an additive model of the single columns leaves, so only interactions are added; which of them are more than luck, shuffled copies of them have
said (docs/decisions/0005-shadows.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset, once
from emlyn.core.features.prep import Matrix, encoded, encoder_of
from emlyn.core.features.screening import SCREENED, kept_of, strongest
from emlyn.core.features.text_score import TextScore
from emlyn.core.models.outcome import Outcome
from emlyn.core.models.parts import pack, require, unpack

KINDS = ("target_encoding", "crosses", "arithmetic", "aggregates", "text_score", SCREENED)
SMOOTHING = 10.0
"""A category's mean is drawn towards the overall mean as by so many rows of it (Micci-Barreca 2001)."""
INNER_FOLDS = 5
MOST_CLASSES = 8
"""Classes that get target means of their own: the most frequent ones."""
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


def _cell_of(operation: str, a: float, b: float) -> float:
    """`made_of` for one row."""
    if operation == "divide":
        out = a / b if b else math.nan
    elif operation == "multiply":
        out = a * b
    else:
        out = a + b if operation == "add" else a - b
    return out if abs(out) < 1e30 else math.nan


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

    def one(self, cells: list[float], row: np.ndarray) -> list[Any]:
        """`dense` of one row: its cells as numbers of Python and as an array (p,)."""
        code = cells[self.key[0]]
        key = -1 if code != code else int(code)
        if len(self.key) == 2:
            code = cells[self.key[1]]
            key = -1 if key < 0 or code != code else key * self.size + int(code)
        found = self._by_key.get(key, self._elsewhere)
        return found if self.number < 0 else [row[self.number] - found[0]]

    @cached_property
    def _by_key(self) -> dict[int, list[Any]]:
        """Key -> its means, and the logarithm of its rows behind target means: for one row a lookup beats a search."""
        return dict(zip(self.known.tolist(), (self._found(self.means[at], self.counts[at]) for at in range(len(self.known))), strict=True))

    @cached_property
    def _elsewhere(self) -> list[Any]:
        return self._found(self.overall, np.float32(0))

    def _found(self, means: np.ndarray, count: np.float32) -> list[Any]:
        return list(means) if self.number >= 0 else [*means.tolist(), float(count)]

    def dense(self, dense: np.ndarray) -> np.ndarray:
        at, seen = self.places(dense)
        if self.number >= 0:
            mean = np.where(seen, self.means[at, 0], self.overall[0])
            return np.asarray((dense[:, self.number] - mean)[:, None], dtype=np.float32)
        means = np.where(seen[:, None], self.means[at], self.overall)
        return np.column_stack([means, np.where(seen, self.counts[at], 0)]).astype(np.float32)


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


@dataclass(eq=False)
class FoldPrep:
    """The features of one fold, ready for any rows."""

    pairs: list[tuple[str, int, int]] = field(default_factory=list)
    """(operation, feature, feature)."""
    means: list[Means] = field(default_factory=list)
    text: TextScore | None = None
    kept: np.ndarray | None = None
    """Features (k,) of the encoded matrix that all of this is made from, where names are not read or it was screened; None for all."""
    ideas: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Kind -> (candidates that explain more than luck, candidates looked at)."""
    _layout: tuple[Any, list[str], list[tuple[int, ...]]] | None = None
    """Names and sources of the features, kept for the names of the matrix last seen: every row of a service has the same."""
    _whole: tuple[Any, tuple[str, ...], tuple[tuple[int, ...], ...]] | None = None
    """The same behind those of the matrix."""

    @staticmethod
    def unlearned(features: Iterable[str], data: Dataset) -> FoldPrep:
        """What is known before anything is learned: letters of names are read only where a recipe asks for `text_score`.

        Trees split on them wherever nothing better is left, and each costs as much as a column (docs/decisions/0011-names.md).
        """
        return FoldPrep(kept=None if "text_score" in features else encoder_of(data).nameless)

    @staticmethod
    def learn(features: Iterable[str], fit: Dataset, outcome: Outcome, seed: int) -> tuple[FoldPrep, Matrix]:
        """Learn from fit rows; returns their matrix with out-of-fold features. Raises ValueError for unknown features."""
        wanted = set(features)
        if wanted - set(KINDS):
            raise ValueError(f"unknown features {sorted(wanted - set(KINDS))}; there are: {', '.join(KINDS)}")
        prep = FoldPrep.unlearned(wanted, fit)
        matrix = prep.matrix(fit)
        if not wanted:
            return prep, matrix
        assert fit.answers is not None
        weight = np.ones(len(fit)) if fit.weight is None else fit.weight
        targets = target_columns(outcome.targets(fit.answers), outcome)
        mine = _digest(fit.units, targets, weight, seed)
        folds = np.random.default_rng(seed).permutation(np.arange(len(matrix)) % INNER_FOLDS)
        mine += "" if prep.kept is None else "nameless"
        keys, aggregates, fit_blocks = [], [], []
        if SCREENED in wanted:
            chosen = strongest(matrix.dense, targets, kept_of(len(matrix)))
            prep.kept = chosen if prep.kept is None else prep.kept[chosen]
            matrix = matrix.only(chosen)
            mine += SCREENED
        if ranked := tuple(kind for kind in MOST_KEPT if kind in wanted):
            best, prep.ideas = once(fit, f"ranking:{mine}:{ranked}", lambda: _ranked(ranked, matrix, targets, seed))
            prep.pairs, keys, aggregates = best.get("arithmetic", []), best.get("crosses", []), best.get("aggregates", [])
        if "target_encoding" in wanted:
            keys = [*((c,) for c, size in matrix.levels.items() if size > 2), *keys]
        for key in keys:
            size = matrix.levels[key[-1]]
            prep.means.append(Means.learn(matrix.dense, key, size, targets, weight))
            out = out_of_fold_means(matrix.dense, key, size, targets, weight, folds)
            fit_blocks.append(np.column_stack([out, prep.means[-1].dense(matrix.dense)[:, -1]]))
        for category, number in aggregates:
            values = np.nan_to_num(matrix.dense[:, [number]].astype(np.float64), nan=float(np.nanmean(matrix.dense[:, number])))
            prep.means.append(Means.learn(matrix.dense, (category,), matrix.levels[category], values, weight, number))
            fit_blocks.append(prep.means[-1].dense(matrix.dense))
        if "text_score" in wanted and matrix.sparse is not None:
            terms = matrix.sparse
            prep.text, scores = once(
                fit,
                f"text:{mine}",
                lambda: (TextScore.learn(terms, targets, weight), TextScore.out_of_fold(terms, targets, weight, folds)),
            )
            fit_blocks.append(scores)
        return prep, prep._joined(matrix, fit_blocks)

    def matrix(self, data: Dataset) -> Matrix:
        """The dataset's units, encoded, with these features."""
        matrix = encoded(data)
        if self.kept is not None:
            require(int(self.kept[-1]) < len(matrix.names), "screened features that are not there")
            matrix = matrix.only(self.kept)
        if len(matrix) == 1 and self.text is None:
            return self._one(matrix) if self.pairs or self.means else matrix
        blocks = [m.dense(matrix.dense) for m in self.means]
        if self.text is not None:
            require(matrix.sparse is not None and matrix.sparse.shape[1] == len(self.text.coefficients), "text scores for other terms")
            blocks.append(self.text.dense(matrix.sparse))
        return self._joined(matrix, blocks)

    def _one(self, matrix: Matrix) -> Matrix:
        """One row, cell by cell: there arrays cost more than what is done to them."""
        row = matrix.dense[0]
        cells: list[float] = row.tolist()
        made = [_cell_of(op, cells[a], cells[b]) for op, a, b in self.pairs]
        means = [value for m in self.means for value in m.one(cells, row)]
        if self._whole is None or self._whole[0] is not matrix.names:
            names, sources = self._named(matrix)
            self._whole = (matrix.names, (*matrix.names, *names), (*matrix.sources, *sources))
        return Matrix(np.array([cells + made + means], dtype=np.float32), self._whole[1], self._whole[2], matrix.levels, matrix.columns)

    def _joined(self, matrix: Matrix, blocks: list[np.ndarray]) -> Matrix:
        made = [made_of(op, matrix.dense[:, a], matrix.dense[:, b])[:, None] for op, a, b in self.pairs] + blocks
        return matrix.with_features(np.hstack(made), *self._named(matrix)) if made else matrix

    def _named(self, matrix: Matrix) -> tuple[list[str], list[tuple[int, ...]]]:
        """Names and sources of the features behind the matrix's own."""
        if self._layout is not None and self._layout[0] is matrix.names:
            return self._layout[1:]
        names = [f"{matrix.names[a]} {op} {matrix.names[b]}" for op, a, b in self.pairs]
        sources = [_both(matrix, a, b) for _, a, b in self.pairs]
        for m in self.means:
            of = " x ".join(matrix.names[k] for k in m.key) + (f" of {matrix.names[m.number]}" if m.number >= 0 else "")
            width = 1 if m.number >= 0 else len(m.overall) + 1
            names += [f"mean{i + 1} {of}" for i in range(width)]
            used = (*m.key, *((m.number,) if m.number >= 0 else ()))
            sources += [_both(matrix, *used)] * width
        if self.text is not None and matrix.sparse_sources is not None:
            names += [f"text score{i + 1}" for i in range(len(self.text.intercept))]
            sources += [tuple(np.unique(matrix.sparse_sources).tolist())] * len(self.text.intercept)
        self._layout = (matrix.names, names, sources)
        return names, sources

    def save(self) -> dict[str, bytes]:
        arrays = {f"{i}.{name}": getattr(m, name) for i, m in enumerate(self.means) for name in ("known", "means", "counts", "overall")}
        means = [{"key": list(m.key), "size": m.size, "number": m.number} for m in self.means]
        arrays |= {} if self.text is None else {"text.coefficients": self.text.coefficients, "text.intercept": self.text.intercept}
        arrays |= {} if self.kept is None else {"kept": self.kept}
        return pack({"pairs": [list(p) for p in self.pairs], "means": means, "ideas": self.ideas}, arrays)

    @staticmethod
    def load(parts: Mapping[str, bytes]) -> FoldPrep:
        """The reverse of `save`. Raises ModelError for damaged parts."""
        document, arrays = unpack(parts)
        pairs = [(str(op), int(a), int(b)) for op, a, b in document["pairs"]]
        require(all(op in OPERATIONS and a >= 0 and b >= 0 for op, a, b in pairs), "an unknown operation on features")
        means = []
        for i, m in enumerate(document["means"]):
            held = {name: arrays[f"{i}.{name}"] for name in ("known", "means", "counts", "overall")}
            require(len(held["known"]) == len(held["means"]) == len(held["counts"]) >= 1, "target means of uneven length")
            means.append(Means(tuple(int(k) for k in m["key"]), int(m["size"]), number=int(m["number"]), **held))
        text = None
        if "text.coefficients" in arrays:
            text = TextScore(arrays["text.coefficients"], arrays["text.intercept"])
            require(text.coefficients.ndim == 2 and text.coefficients.shape[1] == len(text.intercept), "text scores of uneven arrays")
        kept = arrays.get("kept")
        if kept is not None:
            kept = kept.astype(np.int64)
            require(kept.ndim == 1 and len(kept) > 0 and kept[0] >= 0 and bool((np.diff(kept) > 0).all()), "screened features out of order")
        ideas = {str(kind): (int(kept), int(tried)) for kind, (kept, tried) in document.get("ideas", {}).items()}
        return FoldPrep(pairs, means, text, kept, ideas)


def _digest(units: np.ndarray, targets: np.ndarray, weight: np.ndarray, seed: int) -> str:
    """Stands for what features of the fold are learned from; a teacher's answers to the same rows are other targets."""
    made = hashlib.blake2b(str(seed).encode(), digest_size=16)
    for array in (units, targets, weight):
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


def _ranked(kinds: tuple[str, ...], matrix: Matrix, targets: np.ndarray, seed: int) -> tuple[dict[str, list[Any]], dict[str, tuple[int, int]]]:
    """Kind -> the candidates kept, and how many of how many were more than luck."""
    sample = np.random.default_rng(seed + 1).permutation(len(matrix))[:RANKED_ON]
    ranking = _Ranking(matrix, sample, targets[sample])
    return {kind: getattr(ranking, kind)() for kind in kinds}, ranking.ideas


def _both(matrix: Matrix, *features: int) -> tuple[int, ...]:
    return tuple(sorted({s for f in features for s in matrix.sources[f]}))


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
