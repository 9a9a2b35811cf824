"""Features that need the target, fitted inside a fold and nowhere else.

`target_encoding`: smoothed target means of categories, out of fold for the fit rows (nested inner folds), and counts
(`target_means.py`). `crosses`: the same for pairs of categories. `arithmetic`: sums, differences, products and ratios of numbers.
`aggregates`: a number compared with its mean within a category (which of these are made: `made_features.py`). `text_score`: what a
linear model reads in the text columns, out of fold (`text_score.py`). `screened`: of far too many features only those that go with the
target most (`screening.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset, once
from emlyn.core.features.made_features import MOST_KEPT, OPERATIONS, cell_of, made_of, ranked
from emlyn.core.features.prep import Matrix, encoded, encoder_of
from emlyn.core.features.screening import SCREENED, kept_of, strongest
from emlyn.core.features.target_means import LookUp, Means, of_one_row, out_of_fold_means, target_columns
from emlyn.core.features.text_score import TextScore
from emlyn.core.models.outcome import Outcome
from emlyn.core.models.parts import pack, require, unpack

KINDS = ("target_encoding", "crosses", "arithmetic", "aggregates", "text_score", SCREENED)
INNER_FOLDS = 5


@dataclass(eq=False)
class FoldPrep:
    """The features of one fold, ready for any rows."""

    pairs: list[tuple[str, int, int]] = field(default_factory=list)
    """(operation, feature, feature)."""
    means: list[Means] = field(default_factory=list)
    text: TextScore | None = None
    kept: np.ndarray | None = None
    """Features (k,) of the encoded matrix that all of this is made from, where letters of names are left out or it was screened; None for all."""
    ideas: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Kind -> (candidates that explain more than luck, candidates looked at)."""
    _layout: tuple[Any, list[str], list[tuple[int, ...]]] | None = None
    """Names and sources of the features, kept for the names of the matrix last seen: every row of a service has the same."""
    _whole: tuple[Any, tuple[str, ...], tuple[tuple[int, ...], ...]] | None = None
    """The same behind those of the matrix."""

    @staticmethod
    def unlearned(features: Iterable[str], data: Dataset) -> FoldPrep:
        """What is known before anything is learned: letters of names that hardly come again are read only where a recipe asks for `text_score`.

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
        if kinds := tuple(kind for kind in MOST_KEPT if kind in wanted):
            best, prep.ideas = once(fit, f"ranking:{mine}:{kinds}", lambda: ranked(kinds, matrix, targets, seed))
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
            matrix = matrix.only(self._within(matrix, self.kept))
        if len(matrix) == 1 and self.text is None:
            return self._one(matrix) if self.pairs or self.means else matrix
        blocks = [m.dense(matrix.dense) for m in self.means]
        if self.text is not None:
            require(matrix.sparse is not None and matrix.sparse.shape[1] == len(self.text.coefficients), "text scores for other terms")
            blocks.append(self.text.dense(matrix.sparse))
        return self._joined(matrix, blocks)

    def row(self, matrix: Matrix) -> np.ndarray:
        """The dense features (1, p) float32 of an encoded row, without texts."""
        dense = matrix.dense if self.kept is None else matrix.dense[:, self._within(matrix, self.kept)]
        return self._cells(dense[0]) if self.pairs or self.means else dense

    @staticmethod
    def _within(matrix: Matrix, kept: np.ndarray) -> np.ndarray:
        require(int(kept[-1]) < len(matrix.names), "screened features that are not there")
        return kept

    def _cells(self, row: np.ndarray) -> np.ndarray:
        """Cell by cell: for one row arrays cost more than what is done to them."""
        cells: list[float] = row.tolist()
        made = [cell_of(op, cells[a], cells[b]) for op, a, b in self.pairs]
        return np.array([cells + made + of_one_row(self._looks_up, cells)], dtype=np.float32)

    @cached_property
    def _looks_up(self) -> list[LookUp]:
        return [m.look_up for m in self.means]

    def _one(self, matrix: Matrix) -> Matrix:
        """One row with these features."""
        if self._whole is None or self._whole[0] is not matrix.names:
            names, sources = self._named(matrix)
            self._whole = (matrix.names, (*matrix.names, *names), (*matrix.sources, *sources))
        return Matrix(self._cells(matrix.dense[0]), self._whole[1], self._whole[2], matrix.levels, matrix.columns)

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


def _both(matrix: Matrix, *features: int) -> tuple[int, ...]:
    return tuple(sorted({s for f in features for s in matrix.sources[f]}))
