"""Strings as numbers: tf-idf terms for linear models, their leading components and simple counts for trees.

Words and word pairs for prose, character triples for short strings (names, titles, codes): both see misspellings and new words
through their parts. Everything is fitted without the target and kept as plain arrays.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import sparse

LONGEST = 5_000
"""Characters of a cell that are read."""
SAMPLE = 30_000
"""Distinct strings that a vocabulary is learned from."""
TERMS = 20_000
PROSE_WORDS = 5.0
"""Mean words per string from which it counts as prose."""
WORD = re.compile(r"\w+")
COUNTS = ("length", "words", "digits", "capitals", "marks")


def terms_of(text: str, prose: bool) -> list[str]:
    """Words and pairs of neighbouring words, or character triples across words."""
    words = WORD.findall(text[:LONGEST].lower())
    if prose:
        return words + [f"{a} {b}" for a, b in pairwise(words)]
    padded = f" {' '.join(words)} "
    return [padded[i : i + 3] for i in range(len(padded) - 2)]


def counts_of(texts: Sequence[str]) -> np.ndarray:
    """Length, words, digits, capitals and other marks of each string: (n, 5) float32, on a log scale but for the shares."""
    out = np.zeros((len(texts), len(COUNTS)), dtype=np.float32)
    for i, text in enumerate(texts):
        length = len(text) or 1
        letters = sum(map(str.isalnum, text))
        out[i] = (
            math.log1p(len(text)), math.log1p(len(text.split())), sum(map(str.isdigit, text)) / length,
            sum(map(str.isupper, text)) / length, (length - letters) / length,
        )
    return out


@dataclass(eq=False)
class TextModel:
    """A tf-idf vocabulary (sublinear term counts, smoothed idf, unit length) and the leading right singular vectors."""

    prose: bool
    terms: list[str]
    idf: np.ndarray
    """(terms,) float32."""
    components: np.ndarray
    """(dimensions, terms) float32."""
    _index: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._index = {term: i for i, term in enumerate(self.terms)}

    def weights(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Rows of unit length (or zero): (n, terms) float32."""
        index, ends = self._index, [0]
        columns: list[int] = []
        values: list[int] = []
        for text in texts:
            found = Counter(index[t] for t in terms_of(text, self.prose) if t in index)
            columns.extend(found.keys())
            values.extend(found.values())
            ends.append(len(columns))
        places = np.array(columns, dtype=np.int32)
        data = (1 + np.log(np.array(values, dtype=np.float32))) * self.idf[places]
        matrix = sparse.csr_matrix((data.astype(np.float32), places, np.array(ends)), shape=(len(texts), len(self.terms)))
        length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        return sparse.csr_matrix(sparse.diags(1 / np.where(length > 0, length, 1).astype(np.float32)) @ matrix)

    def dense(self, weights: sparse.csr_matrix) -> np.ndarray:
        return np.asarray(weights @ self.components.T, dtype=np.float32)


def fit_text(texts: Sequence[str], dimensions: int, seed: int) -> TextModel | None:
    """A text model of distinct strings; None when no term occurs in two of them."""
    rng = np.random.default_rng(seed)
    if len(texts) > SAMPLE:
        texts = [texts[i] for i in np.sort(rng.choice(len(texts), SAMPLE, replace=False))]
    prose = float(np.mean([len(t[:LONGEST].split()) for t in texts])) >= PROSE_WORDS
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(set(terms_of(text, prose)))
    least = 2 if len(texts) < 10_000 else 4
    ranked = sorted(((n, t) for t, n in seen.items() if least <= n < max(0.95 * len(texts), least + 1)), key=lambda x: (-x[0], x[1]))[:TERMS]
    if not ranked:
        return None
    terms = [t for _, t in ranked]
    idf = np.log((1 + len(texts)) / (1 + np.array([n for n, _ in ranked]))) + 1
    model = TextModel(prose, terms, idf.astype(np.float32), np.zeros((0, len(terms)), dtype=np.float32))
    dimensions = min(dimensions, len(terms) - 1, len(texts) - 1)
    if dimensions > 0:
        model.components = _right_vectors(model.weights(texts), dimensions, rng)
    return model


def _right_vectors(matrix: sparse.csr_matrix, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    """Randomised SVD with four power steps (Halko, Martinsson, Tropp 2011, algorithm 4.4): (dimensions, columns) float32."""
    basis = matrix @ rng.standard_normal((matrix.shape[1], min(dimensions + 10, min(matrix.shape))), dtype=np.float32)
    for _ in range(4):
        basis, _ = np.linalg.qr(basis)
        basis, _ = np.linalg.qr(matrix.T @ basis)
        basis = matrix @ basis
    basis, _ = np.linalg.qr(basis)
    _, _, right = np.linalg.svd(np.asarray(matrix.T @ basis).T, full_matrices=False)
    right = right[:dimensions]
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    return np.ascontiguousarray(right * np.where(sign == 0, 1, sign)[:, None], dtype=np.float32)
