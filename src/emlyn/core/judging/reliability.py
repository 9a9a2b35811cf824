"""Are probabilities right as probabilities? Slope, intercept, observed to expected, smooth error and Spiegelhalter's test.

Never a threshold on raw binned error: a perfect model has one of .06 at 200 rows. Sources: Cox 1958; Van Calster et al. 2019
("Calibration: the Achilles heel of predictive analytics"); Austin and Steyerberg 2019 (ICI); Spiegelhalter 1986.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # its parts load when first used

from emlyn.core.judging.intervals import FEWEST_EVENTS, TOO_FEW, by_cluster, effective_df, from_influence, mean_of, proportion, refused
from emlyn.records.evaluation import Measure

EDGE = 1e-6


def log_odds(p: np.ndarray) -> np.ndarray:
    q = np.clip(p, EDGE, 1 - EDGE)
    return np.asarray(np.log(q / (1 - q)))


def calibration_measures(hit: np.ndarray, p: np.ndarray, weight: np.ndarray | None = None, cluster: np.ndarray | None = None) -> dict[str, Measure]:
    """`calibration_slope`, `calibration_intercept`, `observed_expected`, `ici`, `spiegelhalter_z` of a 0/1 truth and probabilities (n,)."""
    n, w = len(hit), np.ones(len(hit)) if weight is None else weight
    out = {"observed_expected": observed_expected(hit, p, w, cluster), "ici": _ici(hit, p, w), "spiegelhalter_z": _spiegelhalter(hit, p)}
    if min(hit.sum(), n - hit.sum()) < FEWEST_EVENTS:
        nothing = Measure(None, None, None, n, TOO_FEW)
        return {"calibration_slope": nothing, "calibration_intercept": nothing, **out}
    return {**_recalibration(hit.astype(float), log_odds(p), w, cluster), **out}


def observed_expected(hit: np.ndarray, p: np.ndarray, w: np.ndarray, cluster: np.ndarray | None) -> Measure:
    """Observed events over expected ones, on the log scale; exact Poisson where no cluster and few events."""
    seen, expected, n = float((w * hit).sum()), float((w * p).sum()), len(hit)
    if seen == 0 or expected <= 0:
        return refused(seen / expected if expected > 0 else float("nan"), n)
    inner = from_influence(float(np.log(seen / expected)), w * (hit / seen - p / expected), cluster)
    low, high = (None if v is None else float(np.exp(v)) for v in (inner.low, inner.high))
    return Measure(seen / expected, low, high, n, f"log scale, {inner.method}")


def smooth(hit: np.ndarray, p: np.ndarray, w: np.ndarray, at: np.ndarray, span: float = 0.75) -> np.ndarray:
    """Local linear regression of `hit` on `p` with tricube weights over the nearest `span` of the rows (loess), at the points `at`."""
    order = np.argsort(p, kind="stable")
    x, y, v = p[order], hit[order].astype(float), w[order]
    reach = max(2, int(np.ceil(span * len(x))))
    out = np.empty(len(at))
    for i, a in enumerate(at):
        distance = np.abs(x - a)
        width = max(float(np.partition(distance, reach - 1)[reach - 1]), 1e-9) * (1 + 1e-9)
        k = v * np.clip(1 - (distance / width) ** 3, 0, None) ** 3
        total = k.sum()
        mx, my = (k * x).sum() / total, (k * y).sum() / total
        spread = (k * (x - mx) ** 2).sum()
        out[i] = my + ((k * (x - mx) * (y - my)).sum() / spread * (a - mx) if spread > 1e-12 * total else 0.0)
    return np.clip(out, 0, 1)


def bins(hit: np.ndarray, p: np.ndarray, count: int = 10) -> list[dict[str, Any]]:
    """Rows in bins of equal size by probability, ties together: mean predicted, share observed with Wilson's interval."""
    out = []
    for rows in equal_parts(p, count):
        m = proportion(int(hit[rows].sum()), len(rows))
        out.append({"predicted": float(p[rows].mean()), "observed": m.value, "low": m.low, "high": m.high, "n": len(rows)})
    return out


def number_bins(truth: np.ndarray, predicted: np.ndarray, count: int = 10) -> list[dict[str, Any]]:
    """The same for numbers: mean predicted against mean truth with its t interval."""
    out = []
    for rows in equal_parts(predicted, count):
        m = mean_of(truth[rows])
        out.append({"predicted": float(predicted[rows].mean()), "observed": m.value, "low": m.low, "high": m.high, "n": len(rows)})
    return out


def equal_parts(values: np.ndarray, count: int) -> list[np.ndarray]:
    """Positions in at most `count` parts of about equal size by value, equal values together."""
    if len(values) == 0:
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1], method="inverted_cdf"))
    side = np.searchsorted(edges, values, side="left")
    return [np.flatnonzero(side == k) for k in np.unique(side)]


def _recalibration(hit: np.ndarray, x: np.ndarray, w: np.ndarray, cluster: np.ndarray | None) -> dict[str, Measure]:
    """Logistic regression of the truth on the log-odds (slope) and with the log-odds as offset (intercept), sandwich variance."""
    both = np.column_stack([np.ones_like(x), x])
    coef, score = _logistic(both, hit, np.zeros_like(x), w)
    alone, alone_score = _logistic(both[:, :1], hit, x, w)
    n = len(hit)
    if coef is None or alone is None:
        nothing = Measure(None, None, None, n, "probabilities separate the classes perfectly, or do not vary")
        return {"calibration_slope": nothing, "calibration_intercept": nothing}
    return {
        "calibration_slope": _wald(float(coef[1]), score[:, 1], cluster),
        "calibration_intercept": _wald(float(alone[0]), alone_score[:, 0], cluster),
    }


def _wald(value: float, rows: np.ndarray, cluster: np.ndarray | None) -> Measure:
    parts = by_cluster(rows, cluster)
    half = float(scipy.special.stdtrit(effective_df(parts), 0.975) * np.sqrt(len(parts) / (len(parts) - 1) * (parts**2).sum()))
    return Measure(value, value - half, value + half, len(rows), "logistic recalibration, sandwich variance")


def _logistic(x: np.ndarray, hit: np.ndarray, offset: np.ndarray, w: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Newton's method; coefficients (d,) or None where they run away, and each row's influence (n, d)."""
    coef = np.zeros(x.shape[1])
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(offset + x @ coef, -35, 35)))
        hessian = (x * (w * fitted * (1 - fitted))[:, None]).T @ x
        if np.linalg.cond(hessian) > 1e10 or np.abs(coef).max() > 50:
            return None, x
        gradient = x * (w * (hit - fitted))[:, None]
        step = np.linalg.solve(hessian, gradient.sum(axis=0))
        coef = coef + np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-9:
            return coef, gradient @ np.linalg.inv(hessian)
    return None, x


def _ici(hit: np.ndarray, p: np.ndarray, w: np.ndarray) -> Measure:
    grid = np.unique(np.quantile(p, np.linspace(0, 1, 41)))
    if len(hit) < 2 * FEWEST_EVENTS or len(grid) < 2:
        return refused(float("nan"), len(hit), "too few rows or probabilities to smooth")
    value = np.average(np.abs(np.interp(p, grid, smooth(hit, p, w, grid)) - p), weights=w)
    return refused(float(value), len(hit), "loess; bounded at zero, so no honest interval")


def _spiegelhalter(hit: np.ndarray, p: np.ndarray) -> Measure:
    spread = np.sqrt(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
    if spread < 1e-12:
        return refused(float("nan"), len(hit), "probabilities are all 0, 1/2 or 1")
    z = float(((hit - p) * (1 - 2 * p)).sum() / spread)
    return refused(z, len(hit), f"test of calibration, p = {2 * scipy.special.ndtr(-abs(z)):.3g}")
