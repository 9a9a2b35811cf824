"""Strings as numbers: tf-idf terms for linear models, their leading components and simple counts for trees.

Words and word pairs for prose, character triples for short strings (names, titles, codes): both see misspellings and new words
through their parts. Everything is fitted without the target and kept as plain arrays.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from scipy import sparse

LONGEST = 5_000
"""Characters of a cell that are read; a tenth of them where there are more than `MANY` distinct strings."""
SHORTEST = 80
"""Characters that are always read of a cell; where even they would take several times the time there is, no term is learned at all."""
MANY = 50_000
TOO_MANY = 500_000
"""Distinct strings beyond which only their counts are used."""
SAMPLE = 30_000
"""Distinct strings that a vocabulary is learned from."""
TERMS = 20_000
PROSE_WORDS = 5.0
"""Mean words per string from which it counts as prose."""
WORD = re.compile(r"\w+")
COUNTS = ("length", "words", "digits", "capitals", "marks")


def terms_of(text: str, prose: bool, longest: int = LONGEST) -> list[str]:
    """Words and pairs of neighbouring words, or character triples across words."""
    words = WORD.findall(text[:longest].lower())
    if prose:
        return words + [f"{a} {b}" for a, b in pairwise(words)]
    padded = f" {' '.join(words)} "
    return [padded[i : i + 3] for i in range(len(padded) - 2)]


_KINDS = np.array([[c.isalnum(), c.isdigit(), c.isupper(), c.isspace()] for c in map(chr, range(0x300))] + [[1, 0, 0, 0]], dtype=np.int8).T
CHUNK = 2_000


def counts_of(texts: Sequence[str]) -> np.ndarray:
    """Length, words, digits, capitals and other marks of each string: (n, 5) float32, the first two on a log scale, the others as shares.

    Letters beyond Latin count as letters without case.
    """
    return np.concatenate([_counts(texts[i : i + CHUNK]) for i in range(0, len(texts), CHUNK)] or [np.zeros((0, len(COUNTS)), dtype=np.float32)])


def _counts(texts: Sequence[str]) -> np.ndarray:
    cut = [t[:LONGEST] for t in texts]
    points = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    points = np.minimum(points, _KINDS.shape[1] - 1)
    length = np.array([len(t) for t in cut], dtype=np.int64)
    ends = np.cumsum(length)
    sums = [np.concatenate([[0], np.cumsum(kind[points], dtype=np.int64)]) for kind in _KINDS]
    letters, digits, capitals, spaces = (summed[ends] - summed[ends - length] for summed in sums)
    total = np.maximum(length, 1)
    long = np.log1p(np.array([len(t) for t in texts], dtype=np.float64))
    words = np.log1p(spaces + (length > 0))
    return np.column_stack([long, words, digits / total, capitals / total, (length - letters) / total]).astype(np.float32)


@dataclass(eq=False)
class TextModel:
    """A tf-idf vocabulary (sublinear term counts, smoothed idf, unit length) and the leading right singular vectors."""

    prose: bool
    terms: list[str]
    idf: np.ndarray
    """(terms,) float32."""
    components: np.ndarray
    """(dimensions, terms) float32."""
    longest: int = LONGEST
    """Characters of a string that are read."""
    _index: dict[str, int] = field(init=False)
    _right: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._index = {term: i for i, term in enumerate(self.terms)}
        self._right = np.ascontiguousarray(self.components.T)

    def weights(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Rows of unit length (or zero): (n, terms) float32."""
        index = self._index
        rows = ([index[t] for t in terms_of(text, self.prose, self.longest) if t in index] for text in texts)
        return self.weighed(_counted(rows, index))

    def weighed(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Rows of unit length (or zero) from how often each text has each term of the vocabulary, both (n, terms)."""
        data = (1 + np.log(counts.data, dtype=np.float32)) * self.idf[counts.indices]
        row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        data /= np.sqrt(np.bincount(row, weights=data * data, minlength=counts.shape[0]))[row]
        return sparse.csr_matrix((data.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)

    def dense(self, weights: sparse.csr_matrix) -> np.ndarray:
        """(n, dimensions) float32."""
        return np.asarray(weights @ self._right, dtype=np.float32)


def fit_text(texts: Sequence[str], dimensions: int, seed: int, characters: float = math.inf) -> TextModel | None:
    """A text model of distinct strings; None when no term occurs in two of them, or when they are too many to read.

    Where they have more than so many `characters` together, only the beginning of each is read, here and ever after.
    """
    longest = LONGEST if len(texts) <= MANY else LONGEST // 10
    lengths = np.array([len(t) for t in texts], dtype=np.int64)
    while np.minimum(lengths, longest).sum() > characters and longest > SHORTEST:
        longest = max(SHORTEST, longest // 2)
    if len(texts) > TOO_MANY or np.minimum(lengths, longest).sum() > 4 * characters:
        return None
    rng = np.random.default_rng(seed)
    if len(texts) > SAMPLE:
        texts = [texts[i] for i in np.sort(rng.choice(len(texts), SAMPLE, replace=False))]
    prose = float(np.mean([len(t[:LONGEST].split()) for t in texts])) >= PROSE_WORDS
    places: dict[str, int] = {}
    counts = _counted(([places.setdefault(t, len(places)) for t in terms_of(text, prose, longest)] for text in texts), places)
    least, most = 2 if len(texts) < 10_000 else 4, 0.95 * len(texts)
    among = np.bincount(counts.indices, minlength=len(places))
    common = [(n, term) for term, n in zip(places, among.tolist(), strict=True) if least <= n < max(most, least + 1)]
    ranked = sorted(common, key=lambda x: (-x[0], x[1]))[:TERMS]
    if not ranked:
        return None
    terms = [t for _, t in ranked]
    idf = np.log((1 + len(texts)) / (1 + np.array([n for n, _ in ranked]))) + 1
    model = TextModel(prose, terms, idf.astype(np.float32), np.zeros((0, len(terms)), dtype=np.float32), longest)
    dimensions = min(dimensions, len(terms) - 1, len(texts) - 1)
    if dimensions < 1:
        return model
    return replace(model, components=_right_vectors(model.weighed(counts[:, [places[t] for t in terms]]), dimensions, rng))


def _counted(rows: Iterable[list[int]], places: Sized) -> sparse.csr_matrix:
    """How often each text has each term: (n, terms). `rows` hold the places of each text's terms, `places` all there are once rows are read."""
    columns, ends = array("i"), [0]
    for row in rows:
        columns.extend(row)
        ends.append(len(columns))
    ones = np.ones(len(columns), dtype=np.float32)
    found = sparse.csr_matrix((ones, np.array(columns, dtype=np.int32), np.array(ends)), shape=(len(ends) - 1, len(places)))
    found.sum_duplicates()
    return found


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
