"""Answers with their truth, and every metric of a task measured on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emlyn.core.judging.decision import cost_odds
from emlyn.core.judging.influence import influence
from emlyn.core.judging.intervals import FEWEST_FOR_LOSS, TOO_FEW, area_over_folds, from_influence, mean_of, measure, refused, share, smallest_class
from emlyn.core.judging.metrics import log_loss_rows, metric, metrics_for
from emlyn.core.judging.reliability import calibration_measures
from emlyn.records.evaluation import Measure
from emlyn.records.problem import Problem

DOMAINS: dict[str, tuple[str, ...]] = {
    "discrimination": ("roc_auc", "average_precision", "min_recall", "balanced_accuracy"),
    "calibration": ("calibration_slope", "calibration_intercept", "observed_expected", "ici", "spiegelhalter_z"),
    "overall": ("log_loss", "brier", "d2_log_loss", "d2_brier"),
    "threshold": ("sensitivity", "specificity", "precision", "npv", "flagged", "accuracy", "f1"),
    "utility": ("net_benefit",),
    "error": ("rmse", "mae", "r2", "mape", "bias"),
    "intervals": ("coverage_90", "width_90", "pinball_05", "pinball_95"),
}
"""Five domains for classes (Van Calster et al. 2025), two for numbers, in the order shown."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions (n, k), their truth (n,) and what belongs to the rows."""

    truth: np.ndarray
    prediction: np.ndarray
    weight: np.ndarray | None = None
    cluster: np.ndarray | None = None
    """Entity of each row (n,): rows of one entity are not independent."""
    threshold: float | None = None
    threshold_why: str = ""
    lower: np.ndarray | None = None
    """Lower and upper end (n,) of each number's 90 % interval, where the model gives one."""
    upper: np.ndarray | None = None
    fold: np.ndarray | None = None
    """Fold of each row (n,) where different models answered them; None where one model did."""

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: np.ndarray) -> Answers:
        """The answers at these positions, or where the mask is true."""

        def cut(a: np.ndarray | None) -> np.ndarray | None:
            return None if a is None else a[rows]

        return replace(
            self,
            truth=self.truth[rows],
            prediction=self.prediction[rows],
            weight=cut(self.weight),
            cluster=cut(self.cluster),
            fold=cut(self.fold),
            lower=cut(self.lower),
            upper=cut(self.upper),
        )

    def with_prediction(self, prediction: np.ndarray) -> Answers:
        return replace(self, prediction=prediction, lower=None, upper=None)


def floor(answers: Answers, problem: Problem) -> np.ndarray:
    """The constant prediction (n, k) that fits these very rows best: class shares, the mean, or the median where the metric is absolute."""
    truth, w = answers.truth, answers.weight
    if problem.task in ("binary", "multiclass"):
        shares = np.bincount(truth.astype(np.int64), weights=w, minlength=answers.prediction.shape[1])
        return np.tile(shares / shares.sum(), (len(truth), 1))
    middle = np.median(truth) if problem.metric in ("mae", "mape") else np.average(truth, weights=w)
    return np.full((len(truth), 1), float(middle))


def measure_all(answers: Answers, problem: Problem) -> dict[str, Measure]:
    """Every metric of the task with its interval, the problem's metric first."""
    a = answers
    found = {m.name: measure(m, a.truth, a.prediction, a.weight, a.cluster) for m in metrics_for(problem.task)}
    if a.fold is not None and "roc_auc" in found:
        found["roc_auc"] = area_over_folds(a.truth, a.prediction, a.weight, a.cluster, a.fold)
    if problem.task == "binary":
        found |= _binary(a, problem)
    elif problem.task == "multiclass":
        found |= _many(a)
    elif problem.task == "regression":
        found |= _numbers(a)
    first = {problem.metric: found[problem.metric]} if problem.metric in found else {}
    return first | found


def domains(names: dict[str, Measure]) -> dict[str, list[str]]:
    """The metrics that are there, by domain, in the order shown."""
    parted = {d: [m for m in members if m in names] for d, members in DOMAINS.items()}
    return {d: members for d, members in parted.items() if members}


def recalls(answers: Answers, classes: tuple[str, ...]) -> list[tuple[str, Measure]]:
    """Share of each class that is named rightly, worst first; classes without rows are left out."""
    right = answers.prediction.argmax(axis=1) == answers.truth
    out = []
    for k, label in enumerate(classes):
        rows = answers.truth == k
        if rows.any():
            part = answers.take(rows)
            out.append((label, share(right[rows], part.weight, part.cluster)))
    return sorted(out, key=lambda item: item[1].value or 0.0)


_SKILL = ("d2_log_loss", "d2_brier")


def _binary(a: Answers, problem: Problem) -> dict[str, Measure]:
    hit, p = a.truth == 1, a.prediction[:, 1]
    found = calibration_measures(hit, p, a.weight, a.cluster) | _skill(a)
    t = 0.5 if a.threshold is None else a.threshold
    chosen = p >= t

    def where(rows: np.ndarray, event: np.ndarray) -> Measure:
        part = a.take(rows)
        return share(event[rows], part.weight, part.cluster)

    odds = cost_odds(problem, t)
    found |= {
        "sensitivity": where(hit, chosen),
        "specificity": where(~hit, ~chosen),
        "precision": where(chosen, hit),
        "npv": where(~chosen, ~hit),
        "flagged": share(chosen, a.weight, a.cluster),
    }
    if np.isfinite(odds):
        found["net_benefit"] = mean_of((hit & chosen) - odds * (~hit & chosen), a.weight, a.cluster)
    if smallest_class(a.truth, 2) < FEWEST_FOR_LOSS:
        found |= {k: replace(found[k], low=None, high=None, method=TOO_FEW) for k in ("observed_expected", "net_benefit", *_SKILL) if k in found}
    return found


def _many(a: Answers) -> dict[str, Measure]:
    worst = recalls(a, tuple(str(k) for k in range(a.prediction.shape[1])))
    least = worst[0][1] if worst else Measure(None)
    hidden = refused(least.value if least.value is not None else float("nan"), least.n, "the worst of several classes; see each class's own interval")
    return {**_skill(a), "min_recall": hidden}


def _skill(a: Answers) -> dict[str, Measure]:
    """1 - loss / loss of the class shares, with the interval of the ratio: influence of the logarithm of both."""
    w = np.ones(len(a)) if a.weight is None else a.weight
    base = np.tile(np.bincount(a.truth.astype(np.int64), weights=w, minlength=a.prediction.shape[1]) / w.sum(), (len(a), 1))
    out = {}
    for name in ("log_loss", "brier"):
        m = metric(name)
        ours, theirs = m.score(a.truth, a.prediction, a.weight), m.score(a.truth, base, a.weight)
        if ours <= 0 or theirs <= 0:
            out[f"d2_{name}"] = refused(1 - ours / theirs if theirs > 0 else float("nan"), len(a), "no interval at the edge of the scale")
            continue
        mine, floor_rows = influence(name, a.truth, a.prediction, a.weight), influence(name, a.truth, base, a.weight)
        assert mine is not None
        assert floor_rows is not None
        inner = from_influence(float(np.log(ours / theirs)), mine / ours - floor_rows / theirs, a.cluster)
        low, high = (None if v is None else float(1 - np.exp(v)) for v in (inner.high, inner.low))
        out[f"d2_{name}"] = Measure(1 - ours / theirs, low, high, len(a), f"log scale, {inner.method}")
    return out


def _numbers(a: Answers) -> dict[str, Measure]:
    found = {"bias": mean_of(a.prediction[:, 0] - a.truth, a.weight, a.cluster)}
    if a.lower is not None and a.upper is not None:
        found["coverage_90"] = share((a.truth >= a.lower) & (a.truth <= a.upper), a.weight, a.cluster)
        found["width_90"] = mean_of(a.upper - a.lower, a.weight, a.cluster)
        found["pinball_05"] = mean_of(pinball_rows(a.truth, a.lower, 0.05), a.weight, a.cluster)
        found["pinball_95"] = mean_of(pinball_rows(a.truth, a.upper, 0.95), a.weight, a.cluster)
    return found


def pinball_rows(truth: np.ndarray, quantile: np.ndarray, level: float) -> np.ndarray:
    """Loss per row of a predicted quantile (Koenker and Bassett 1978)."""
    return np.asarray(np.maximum(level * (truth - quantile), (level - 1) * (truth - quantile)))


def loss_rows(answers: Answers, task: str) -> np.ndarray:
    """The proper loss of each row (n,): log loss of classes, squared error of numbers."""
    if task in ("binary", "multiclass"):
        return log_loss_rows(answers.truth, answers.prediction)
    return np.asarray((answers.truth - answers.prediction[:, 0]) ** 2)
