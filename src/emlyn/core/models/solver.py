"""Linear models with an L2 or an L1 penalty, fitted by L-BFGS on dense and sparse features together, or by an eigendecomposition."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts load when first used
from scipy import sparse

from emlyn.core.models.outcome import sigmoid

Over = Callable[[], bool]
"""Asked between steps: is it time to stop?"""
BLOCK = 10_000
"""Rows that are brought to double precision at a time."""


@dataclass(frozen=True, eq=False)
class Features:
    """Dense and sparse features side by side: dense (n, p) float32 or float64, sparse (n, q) or None."""

    dense: np.ndarray
    sparse: sparse.csr_matrix | None = None

    def __len__(self) -> int:
        return len(self.dense)

    @property
    def width(self) -> int:
        return int(self.dense.shape[1]) + (0 if self.sparse is None else self.sparse.shape[1])

    def take(self, rows: np.ndarray) -> Features:
        return Features(self.dense[rows], None if self.sparse is None else self.sparse[rows])

    def times(self, coefficients: np.ndarray) -> np.ndarray:
        """(n, k) scores of coefficients (width, k)."""
        p = self.dense.shape[1]
        out = self.dense @ coefficients[:p].astype(self.dense.dtype)
        return np.asarray(out if self.sparse is None else out + self.sparse @ coefficients[p:])

    def transposed_times(self, rows: np.ndarray) -> np.ndarray:
        """(width, k) sums over rows (n, k)."""
        out = self.dense.T @ rows.astype(self.dense.dtype)
        return np.asarray(out if self.sparse is None else np.vstack([out, self.sparse.T @ rows]))


@dataclass(frozen=True, eq=False)
class Linear:
    """Coefficients (width, k) and intercepts (k,)."""

    coefficients: np.ndarray
    intercept: np.ndarray

    def scores(self, features: Features) -> np.ndarray:
        """(n, k) float64, also summed so: in single precision the last digits of a row's sum depend on the rows beside it."""
        dense, p = features.dense, features.dense.shape[1]
        out = np.concatenate([dense[at : at + BLOCK] @ self.coefficients[:p] for at in range(0, max(len(dense), 1), BLOCK)])
        if features.sparse is not None:
            out += features.sparse @ self.coefficients[p:]
        return np.asarray(out + self.intercept)


class _Stop(Exception):
    pass


def descend(
    features: Features,
    targets: np.ndarray,
    weight: np.ndarray,
    penalty: float,
    over: Over,
    start: Linear | None = None,
    most: int = 200,
    lasso: bool = False,
) -> Linear:
    """Minimise weighted mean loss + penalty / 2 * |coefficients|^2, by L-BFGS; with `lasso` + penalty * sum of |coefficients| (Tibshirani 1996),
    each coefficient as the difference of two numbers that may not be negative. `targets` (n, k): {0, 1} with k = 1 is logistic loss, with k > 1
    softmax, other numbers squared loss. Stops early when `over()`."""
    k, width = targets.shape[1], features.width
    size, kind, share = width * k, _kind(targets), weight / weight.sum()
    start = start or Linear(np.zeros((width, k)), _constant(kind, share @ targets))
    first = start.coefficients.ravel()
    sides = [np.maximum(first, 0), np.maximum(-first, 0)] if lasso else [first]
    last, least = np.concatenate([*sides, start.intercept]), np.inf

    def coefficients_of(theta: np.ndarray) -> np.ndarray:
        return np.asarray((theta[:size] - theta[size : 2 * size] if lasso else theta[:size]).reshape(width, k))

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal last, least
        if over():
            raise _Stop
        coefficients = coefficients_of(theta)
        raw = features.times(coefficients).astype(np.float64) + theta[-k:]
        loss, slope = _loss(kind, raw, targets)
        slope *= share[:, None]
        gradient = features.transposed_times(slope).astype(np.float64).ravel()
        total = float(share @ loss) + penalty * (float(theta[: 2 * size].sum()) if lasso else float((coefficients**2).sum()) / 2)
        if total < least:
            last, least = theta.copy(), total
        sides = [gradient + penalty, penalty - gradient] if lasso else [gradient + penalty * coefficients.ravel()]
        return total, np.concatenate([*sides, slope.sum(axis=0)])

    lowest = scipy.optimize.Bounds(np.where(np.arange(len(last)) < 2 * size, 0.0, -np.inf), np.inf) if lasso else None
    exact = {"ftol": 1e-7, "gtol": 1e-5} if lasso else {"ftol": 1e-9, "gtol": 1e-6}
    with contextlib.suppress(_Stop):  # the deadline is no failure: the best point so far is a usable model
        last = scipy.optimize.minimize(value, last, jac=True, method="L-BFGS-B", bounds=lowest, options={"maxiter": most, **exact}).x
    return Linear(coefficients_of(last), last[-k:])


def emptiest(features: Features, targets: np.ndarray, weight: np.ndarray) -> float:
    """The least penalty at which a lasso has no feature: the steepest slope of the loss in any coefficient, at the best constant."""
    kind, share = _kind(targets), weight / weight.sum()
    constant = np.repeat(_constant(kind, share @ targets)[None], len(targets), axis=0)
    return float(np.abs(features.transposed_times(_loss(kind, constant, targets)[1] * share[:, None])).max(initial=0.0))


def _kind(targets: np.ndarray) -> str:
    if not np.isin(targets, (0.0, 1.0)).all():
        return "squared"
    return "logistic" if targets.shape[1] == 1 else "softmax"


def _constant(kind: str, mean: np.ndarray) -> np.ndarray:
    """Scores (k,) of the best constant answer: where a descent that hardly begins ends."""
    if kind == "squared":
        return mean
    held = np.clip(mean, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(held / (1 - held)) if kind == "logistic" else np.log(held))


def _loss(kind: str, raw: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loss per row (n,) and its slope in the scores (n, k)."""
    if kind == "squared":
        off = raw - targets
        return (off[:, 0] ** 2) / 2, off
    if kind == "logistic":
        return np.logaddexp(0, raw[:, 0]) - targets[:, 0] * raw[:, 0], sigmoid(raw) - targets
    # softmax, with the maximum taken over columns and the sum as a product: a short last axis is what numpy reduces slowest. For learning alone:
    # the last bit of such a product may depend on the rows beside, and that of an answer must not
    grown = np.exp(raw - np.ascontiguousarray(raw.T).max(axis=0)[:, None])
    p = grown / (grown @ np.ones((raw.shape[1], 1)))
    return -np.log(np.maximum(np.einsum("nk,nk->n", p, targets), 1e-300)), p - targets


def loss_of(model: Linear, features: Features, targets: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(_loss(_kind(targets), model.scores(features), targets)[0], weights=weight))


def ridge(features: Features, y: np.ndarray, weight: np.ndarray, penalties: np.ndarray) -> tuple[Linear, float]:
    """Ridge regression at the penalty of least leave-one-out error (Golub, Heath, Wahba 1979, by one eigendecomposition). y (n,).

    With sparse features, or more features than rows, it works on the (n, n) products of rows.
    """
    share = weight / weight.mean()
    root = np.sqrt(share)[:, None]
    dense, terms = features.dense.astype(np.float64, copy=False), features.sparse
    centre, middle = np.average(dense, axis=0, weights=share), float(np.average(y, weights=share))
    x, target = (dense - centre) * root, (y - middle) * root[:, 0]
    n, p = x.shape
    by_rows = terms is not None or n <= p
    if by_rows:
        products = x @ x.T
        if terms is not None:
            term_centre = np.asarray(terms.T @ share) / share.sum()
            inner, own = (terms @ terms.T).toarray().astype(np.float64), np.asarray(terms @ term_centre)
            products += (inner - own[:, None] - own + term_centre @ term_centre) * root * root.T
        values, left = np.linalg.eigh(products)
    else:
        values, right = np.linalg.eigh(x.T @ x)
        left = (x @ right) / np.sqrt(np.maximum(values, 1e-9 * max(values[-1], 1e-9)))
    values, along = np.maximum(values, 0.0), left.T @ target
    best, chosen = np.inf, penalties[-1]
    for penalty in penalties:
        kept = values / (values + penalty)
        leverage = np.minimum((left**2) @ kept + root[:, 0] ** 2 / share.sum(), 0.999)
        error = float(np.mean(((target - left @ (kept * along)) / (1 - leverage)) ** 2))
        if error < best:
            best, chosen = error, float(penalty)
    if by_rows:
        dual = left @ (along / (values + chosen))
        coefficients = x.T @ dual
    else:
        coefficients = right @ ((right.T @ (x.T @ target)) / (values + chosen))
    intercept = middle - centre @ coefficients
    if terms is not None:
        of_rows = dual * root[:, 0]
        of_terms = terms.T @ of_rows - term_centre * of_rows.sum()
        coefficients, intercept = np.concatenate([coefficients, of_terms]), intercept - term_centre @ of_terms
    return Linear(coefficients[:, None], np.array([intercept])), chosen


def deadline(began: float, seconds: float, cancelled: Callable[[], bool]) -> Over:
    """Over after so many seconds, or when cancelled."""
    return lambda: time.monotonic() - began > seconds or cancelled()


def as_targets(task: str, width: int, y: np.ndarray) -> np.ndarray:
    """What `descend` aims at (n, k) float64."""
    if task == "regression":
        return np.asarray(y, dtype=np.float64)[:, None]
    if width == 2:
        return np.asarray((y == 1)[:, None], dtype=np.float64)
    return np.asarray(y[:, None] == np.arange(width), dtype=np.float64)


def arrays_of(model: Linear) -> dict[str, Any]:
    return {"coefficients": model.coefficients, "intercept": model.intercept}
