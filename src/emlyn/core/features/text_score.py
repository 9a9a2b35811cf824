"""What a linear model reads in the text columns, as features for learners that cannot read terms themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from emlyn.core.learner import never
from emlyn.core.models.solver import Features, Linear, descend

PENALTY = 1.0
"""L2 penalty per row: the strength that suits tf-idf rows of unit length (C = 1 in scikit-learn's terms)."""
MOST_ROWS = 50_000
MOST_STEPS = 60


@dataclass(eq=False)
class TextScore:
    """Coefficients (terms, t) and intercepts (t,) of linear models of the targets."""

    coefficients: np.ndarray
    intercept: np.ndarray

    @staticmethod
    def learn(terms: sparse.csr_matrix, targets: np.ndarray, weight: np.ndarray) -> TextScore:
        """`terms` (n, q) tf-idf rows; `targets` (n, t): indicators or standardised numbers, each learned on its own."""
        step = 1 + len(targets) // MOST_ROWS
        targets, weight = targets[::step], weight[::step]
        features = Features(np.zeros((len(targets), 0), dtype=np.float32), terms[::step])
        found: list[Linear] = [descend(features, t[:, None], weight, PENALTY / len(targets), never, most=MOST_STEPS) for t in targets.T]
        return TextScore(np.hstack([f.coefficients for f in found]).astype(np.float32), np.concatenate([f.intercept for f in found]))

    def dense(self, terms: sparse.csr_matrix) -> np.ndarray:
        """Scores (n, t) float32."""
        return np.asarray(terms @ self.coefficients + self.intercept, dtype=np.float32)

    @staticmethod
    def out_of_fold(terms: sparse.csr_matrix, targets: np.ndarray, weight: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Scores for the fit rows, each from the rows of other inner folds: (n, t) float32."""
        out = np.zeros(targets.shape, dtype=np.float32)
        for k in range(int(folds.max(initial=0)) + 1):
            own, left = np.flatnonzero(folds == k), np.flatnonzero(folds != k)
            if len(left):
                out[own] = TextScore.learn(terms[left], targets[left], weight[left]).dense(terms[own])
        return out
