"""From probabilities to decisions: thresholds from costs or capacity, what each threshold brings, and other base rates.

Sources: Elkan 2001 (cost-sensitive threshold); Vickers and Elkin 2006 (net benefit); Saerens et al. 2002 (prior shift).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emlyn.core.wording import percent
from emlyn.records.problem import Problem


@dataclass(frozen=True)
class Counts:
    """Weighted cells of the two-by-two table at one threshold."""

    tp: float
    fp: float
    fn: float
    tn: float

    @property
    def total(self) -> float:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def sensitivity(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float | None:
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> float | None:
        return _ratio(self.tn, self.tn + self.fn)

    @property
    def flagged(self) -> float:
        return (self.tp + self.fp) / self.total

    def net_benefit(self, odds: float) -> float:
        """True positives per row, less false ones weighed by `odds`: what one of them costs in units of a missed positive."""
        return (self.tp - odds * self.fp) / self.total


def counts(hit: np.ndarray, p: np.ndarray, threshold: float, weight: np.ndarray | None = None) -> Counts:
    """The two-by-two table of a boolean truth (n,) and the decision p >= threshold."""
    w, chosen = np.ones(len(hit)) if weight is None else weight, p >= threshold
    cells = [float((w * (a & b)).sum()) for a, b in ((hit, chosen), (~hit, chosen), (hit, ~chosen), (~hit, ~chosen))]
    return Counts(cells[0], cells[1], cells[2], cells[3])


def choose_threshold(p: np.ndarray, problem: Problem, weight: np.ndarray | None = None) -> tuple[float, str]:
    """The operating point, and why. `p` (n,) are probabilities of the positive class on rows that trained or were out of fold.

    By costs: C_fp / (C_fp + C_fn), which needs calibrated probabilities and no data. By capacity: the score of the row where the
    capacity, as a share of the table's rows, is used up. Otherwise the more probable class.
    """
    if problem.cost_fp is not None or problem.cost_fn is not None:
        fp, fn = 1.0 if problem.cost_fp is None else problem.cost_fp, 1.0 if problem.cost_fn is None else problem.cost_fn
        return fp / (fp + fn), f"a false alarm costs {fp:g}, a miss {fn:g}: flag where the expected cost of a miss is larger"
    if problem.capacity is not None and len(p):
        share = min(1.0, problem.capacity / max(problem.rows, len(p)))
        return threshold_for_share(p, share, weight), f"room for {problem.capacity:,} of {max(problem.rows, len(p)):,} rows ({percent(share, 1)})"
    return 0.5, "no costs and no capacity given: the more probable class (--cost-fp, --cost-fn or --capacity choose another)"


def threshold_for_share(p: np.ndarray, share: float, weight: np.ndarray | None = None) -> float:
    """The lowest threshold that flags at most `share` of the rows."""
    order = np.argsort(-p, kind="stable")
    w = np.ones(len(p)) if weight is None else weight
    used = np.cumsum(w[order]) / w.sum()
    last = np.r_[p[order][1:] != p[order][:-1], True]
    fits = np.flatnonzero(last & (used <= share + 1e-12))
    return float(p[order][fits[-1]]) if len(fits) else float(np.nextafter(p.max(), np.inf))


def cost_odds(problem: Problem, threshold: float) -> float:
    """What a false positive costs in units of a missed positive: from the costs, else as the threshold implies."""
    if problem.cost_fp is not None or problem.cost_fn is not None:
        fp, fn = 1.0 if problem.cost_fp is None else problem.cost_fp, 1.0 if problem.cost_fn is None else problem.cost_fn
        return fp / fn if fn else float("inf")
    return threshold / (1 - threshold) if threshold < 1 else float("inf")


def balanced_threshold(hit: np.ndarray, p: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Where sensitivity + specificity is largest (Youden 1950)."""
    w, order = np.ones(len(hit)) if weight is None else weight, np.argsort(-p, kind="stable")
    s, h, v = p[order], hit[order].astype(float), w[order]
    last = np.flatnonzero(np.r_[s[1:] != s[:-1], True])
    gain = np.cumsum(v * h)[last] / max((v * h).sum(), 1e-300) - np.cumsum(v * (1 - h))[last] / max((v * (1 - h)).sum(), 1e-300)
    return float(s[last[int(np.argmax(gain))]])


def threshold_for_sensitivity(hit: np.ndarray, p: np.ndarray, wanted: float) -> float:
    """The highest threshold that still finds `wanted` of the positives."""
    found = np.sort(p[hit])[::-1]
    return float(found[min(len(found), max(1, int(np.ceil(wanted * len(found))))) - 1])


def shift_prior(p: np.ndarray, trained: float, new: float) -> np.ndarray:
    """Probabilities (n,) of a model learned at base rate `trained`, as they are where the base rate is `new` (Saerens et al. 2002, eq. 4)."""
    up, down = p * new / trained, (1 - p) * (1 - new) / (1 - trained)
    return np.asarray(up / (up + down))


def _ratio(a: float, b: float) -> float | None:
    return a / b if b > 0 else None
