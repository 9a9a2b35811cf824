"""Intervals of 95 % (unless told otherwise), each by the method that holds its promise at small n; each returned as a `Measure`.

Where no honest interval exists `low` and `high` are None and `method` says why. Coverage is measured in `benchmarks/coverage.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import scipy  # its parts load when first used; scipy.stats takes half a second, so distributions come from scipy.special

from emlyn.core.judging.influence import influence, of_mean
from emlyn.core.judging.metrics import Metric, auc
from emlyn.core.judging.metrics import metric as named
from emlyn.records.evaluation import Measure

FEWEST_DF = 2.2
FEWEST_EVENTS = 20
"""Rows of the smaller class below which a ranking metric gets no interval: no method covers there (logit DeLong .83 to .92)."""
FEWEST_FOR_LOSS = 10
"""The same for losses, which are means over all rows but rest on the rare ones (measured in benchmarks/coverage.py)."""
FEWEST = {"roc_auc": FEWEST_EVENTS, "average_precision": 2 * FEWEST_EVENTS}
TOO_FEW = "too few events for an interval"


def refused(value: float, n: int, why: str = TOO_FEW) -> Measure:
    """The value alone, with the reason for the missing interval."""
    return Measure(_plain(value), None, None, n, why)


def proportion(hits: float, n: float, *, level: float = 0.95, t_df: float | None = None) -> Measure:
    """A share: Wilson's score interval (1927); rule of three where nothing, or everything, was seen. `n` may be an effective size."""
    if n <= 0:
        return Measure(None, None, None, 0, "no rows to measure on")
    p = hits / n
    z = _quantile(level, t_df)
    if t_df is None and hits in (0, n):
        edge = 1 - (1 - level) ** (1 / n)
        return Measure(p, 0.0 if hits == 0 else 1 - edge, edge if hits == 0 else 1.0, round(n), "rule of three")
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Measure(float(p), float(max(0.0, centre - half)), float(min(1.0, centre + half)), round(n), "Wilson")


def share(hits: np.ndarray, weight: np.ndarray | None = None, cluster: np.ndarray | None = None) -> Measure:
    """A share over rows (n,) of bool: Wilson, at the effective size where rows have weights or belong together."""
    if len(hits) == 0 or (weight is None and cluster is None):
        return proportion(int(hits.sum()), len(hits))
    w = np.ones(len(hits)) if weight is None else weight
    value = float(np.average(hits, weights=w))
    return _effective(value, of_mean(hits.astype(float), w), cluster)


def difference_of_proportions(a: Measure, b: Measure) -> Measure:
    """a - b of two independent shares, from their own Wilson limits (Newcombe 1998, method 10)."""
    if a.value is None or b.value is None or a.low is None or b.low is None or a.high is None or b.high is None:
        return Measure(None, None, None, 0, TOO_FEW)
    d = a.value - b.value
    low = d - np.hypot(a.value - a.low, b.high - b.value)
    return Measure(d, float(low), float(d + np.hypot(a.high - a.value, b.value - b.low)), a.n + b.n, "Newcombe")


def ratio_of_proportions(hits_a: int, n_a: int, hits_b: int, n_b: int, *, level: float = 0.95) -> Measure:
    """Share a over share b on the log scale (Katz 1978), half a hit added where one side has none."""
    if not n_a or not n_b:
        return Measure(None, None, None, n_a + n_b, "no rows to measure on")
    add = 0.5 if 0 in (hits_a, hits_b) else 0.0
    p, q = (hits_a + add) / (n_a + add), (hits_b + add) / (n_b + add)
    se = np.sqrt(max(0.0, (1 - p) / (hits_a + add) + (1 - q) / (hits_b + add)))
    z = _quantile(level)
    value = hits_a / n_a / (hits_b / n_b) if hits_b else None
    return Measure(value, float(p / q * np.exp(-z * se)), float(p / q * np.exp(z * se)), n_a + n_b, "Katz")


def rate(count: int, exposure: float, *, level: float = 0.95) -> Measure:
    """Events per unit of exposure, exact for Poisson counts (Garwood 1936)."""
    tail = (1 - level) / 2
    low = scipy.special.chdtri(2 * count, 1 - tail) / 2 if count else 0.0
    return Measure(count / exposure, float(low / exposure), float(scipy.special.chdtri(2 * count + 2, tail) / 2 / exposure), count, "exact Poisson")


def mean_of(losses: np.ndarray, weight: np.ndarray | None = None, cluster: np.ndarray | None = None, *, level: float = 0.95) -> Measure:
    """Mean of one loss per row: t with Hall's correction for skewness."""
    if len(losses) < 2:
        return refused(float(losses.mean()) if len(losses) else float("nan"), len(losses), "too few rows for an interval")
    w = np.ones(len(losses)) if weight is None else weight
    return from_influence(float(np.average(losses, weights=w)), of_mean(losses, w), cluster, level=level)


def from_influence(value: float, rows: np.ndarray, cluster: np.ndarray | None = None, *, scale: str = "plain", level: float = 0.95) -> Measure:
    """An interval from the influence of each row (`core.influence`), summed by cluster where rows belong together.

    `scale` plain: Hall's skewness-removing transformation of t (Hall 1992, "On the removal of skewness by transformation").
    `scale` logit: symmetric on the log-odds of a value in 0..1. Degrees of freedom follow from the kurtosis of the influences, so that a
    metric that rests on a few rows gets the wide interval it deserves, and none where a single row decides (`effective_df`).
    """
    parts = by_cluster(rows, cluster)
    count = len(parts)
    if count < 2 or not np.isfinite(value):
        return refused(value, len(rows), "too few rows for an interval")
    se, df = float(np.sqrt(count / (count - 1) * (parts**2).sum())), effective_df(parts)
    if se > 0 and df < FEWEST_DF:
        return refused(value, len(rows), "one or two rows decide it: no honest interval")
    z = _quantile(level, df)
    suffix = "" if cluster is None else f", {count} clusters"
    if se == 0:
        return Measure(value, value, value, len(rows), "every row alike")
    if scale == "logit":
        if not 0 < value < 1:
            return refused(value, len(rows), "no interval at the edge of the scale")
        half = z * se / (value * (1 - value))
        middle = np.log(value / (1 - value))
        return Measure(value, _expit(middle - half), _expit(middle + half), len(rows), f"logit{suffix}")
    skew = float((parts**3).sum() / (parts**2).sum() ** 1.5)
    return Measure(value, value - se * _hall(z, skew), value - se * _hall(-z, skew), len(rows), f"t, skewness removed{suffix}")


def area_over_folds(truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None, cluster: np.ndarray | None, fold: np.ndarray) -> Measure:
    """ROC area within folds (`area_within`) with logit DeLong's interval; refused as the pooled one is."""
    value, rows = area_within(truth, prediction, weight, fold)
    if not np.isfinite(value):
        return refused(value, len(truth), "not defined on these rows")
    if smallest_class(truth, prediction.shape[1]) < FEWEST_EVENTS:
        return refused(value, len(truth))
    found = from_influence(value, rows, cluster, scale="logit")
    return Measure(found.value, found.low, found.high, found.n, found.method.replace("logit", "logit DeLong within folds"))


def effective_df(parts: np.ndarray) -> float:
    """Degrees of freedom of the variance estimated from these influences: 2 n / (kurtosis - 1), at most n - 1 (Satterthwaite 1946)."""
    total = float((parts**2).sum())
    excess = float((parts**4).sum()) / max(total**2, 1e-300) - 1 / len(parts)
    return min(len(parts) - 1.0, 2 / max(excess, 1e-12))


def roc_area(truth: np.ndarray, score: np.ndarray, *, level: float = 0.95) -> Measure:
    """ROC area of a boolean truth (n,): DeLong et al. 1988 on the log-odds scale; refused below 20 rows of either class."""
    prediction = np.column_stack([-score, score])
    return _ranking("roc_auc", auc(truth, score), truth.astype(int), prediction, None, None, level)


def measure(
    metric: Metric, truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None = None, cluster: np.ndarray | None = None
) -> Measure:
    """One metric with the interval that suits it: Wilson for shares, logit DeLong for ranking, skewness-corrected t for the rest."""
    n = len(truth)
    if n == 0:
        return Measure(None, None, None, 0, "no rows to measure on")
    value = metric.score(truth, prediction, weight)
    if not np.isfinite(value):
        return refused(value, n, "not defined on these rows")
    if metric.name in ("roc_auc", "average_precision"):
        return _ranking(metric.name, value, truth, prediction, weight, cluster)
    rows = influence(metric.name, truth, prediction, weight)
    if rows is None:
        return refused(value, n, "no interval for this metric")
    if prediction.shape[1] > 1 and metric.name not in _SHARES and rows_at_stake(truth, prediction.shape[1]) < FEWEST_FOR_LOSS:
        return refused(value, n)
    if metric.name in _SHARES:
        return _share(metric.name, value, rows, truth, prediction, weight, cluster)
    if metric.name == "rmse":
        return _bent(value, from_influence(value**2, rows * 2 * value, cluster), lambda v: float(np.sqrt(max(v, 0.0))))
    if metric.name == "r2":
        left = 1 - value
        if left <= 0:
            return refused(value, n, "no interval at the edge of the scale")
        inner = from_influence(float(np.log(left)), -rows / left, cluster)
        return _bent(value, Measure(inner.value, inner.high, inner.low, n, inner.method), lambda v: float(1 - np.exp(v)))
    return from_influence(value, rows, cluster)


def area_within(truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None, fold: np.ndarray) -> tuple[float, np.ndarray]:
    """ROC area within folds, weighted by their rows, and each row's influence (n,).

    Scores of different fold models do not share a scale, so ranking them against each other understates what each can do: by .006 where
    the whole standard error was .017 (500 rows of a real table, eight folds). Folds that lack a class count for nothing; NaN when all do.
    """
    rows, total, value = np.zeros(len(truth)), 0.0, 0.0
    area = named("roc_auc")
    for k in np.unique(fold):
        part = fold == k
        w = None if weight is None else weight[part]
        own = area.score(truth[part], prediction[part], w)
        moved = influence("roc_auc", truth[part], prediction[part], w)
        if not np.isfinite(own) or moved is None:
            continue
        size = float(part.sum() if w is None else w.sum())
        value, total = value + size * own, total + size
        rows[part] = size * moved
    return (value / total, rows / total) if total else (float("nan"), rows)


def paired_difference(
    metric: Metric,
    truth: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    weight: np.ndarray | None = None,
    cluster: np.ndarray | None = None,
    fold: np.ndarray | None = None,
) -> tuple[Measure, float]:
    """metric(a) - metric(b) on the same rows, its interval and two-sided p: paired DeLong for the ROC area, McNemar for accuracy, else t.

    With `fold`, ROC areas are taken within folds. Raises KeyError for a metric whose influence is not known.
    """
    if metric.name == "accuracy" and weight is None and cluster is None:
        return mcnemar(a.argmax(axis=1) == truth, b.argmax(axis=1) == truth)
    left, right = influence(metric.name, truth, a, weight), influence(metric.name, truth, b, weight)
    if left is None or right is None:
        raise KeyError(f"no paired interval is known for the metric {metric.name!r}")
    value = metric.score(truth, a, weight) - metric.score(truth, b, weight)
    if fold is not None and metric.name == "roc_auc":
        (one, left), (other, right) = (area_within(truth, p, weight, fold) for p in (a, b))
        value = one - other
    rows = left - right
    ranking = metric.name in FEWEST
    if a.shape[1] > 1 and (smallest_class if ranking else rows_at_stake)(truth, a.shape[1]) < FEWEST.get(metric.name, FEWEST_FOR_LOSS):
        return refused(value, len(truth)), float("nan")
    found = from_influence(value, rows, cluster)
    parts = by_cluster(rows, cluster)
    se = np.sqrt(len(parts) / max(1, len(parts) - 1) * (parts**2).sum())
    p = 1.0 if se == 0 and value == 0 else 0.0 if se == 0 else float(2 * scipy.special.stdtr(effective_df(parts), -abs(value) / se))
    how = "paired DeLong" if metric.name == "roc_auc" else f"paired {found.method}"
    return Measure(found.value, found.low, found.high, found.n, how), p


def mcnemar(right_a: np.ndarray, right_b: np.ndarray, *, level: float = 0.95) -> tuple[Measure, float]:
    """Difference of two accuracies on the same rows: exact McNemar p, interval of Bonett and Price 2012."""
    n, b, c = len(right_a), int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    p = float(scipy.stats.binomtest(b, b + c).pvalue) if b + c else 1.0
    up, down = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = _quantile(level) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Measure((b - c) / n, float(up - down - half), float(up - down + half), n, "Bonett-Price, exact McNemar"), p


def over_folds(values: np.ndarray, test_share: float, *, level: float = 0.95) -> Measure:
    """Mean of one value per fold with the variance of Nadeau and Bengio 2003, which allows for overlapping training parts.

    `test_share`: rows asked over rows learned from, in one fold (1/4 for five folds).
    """
    count = len(values)
    if count < 2:
        return refused(float(values.mean()) if count else float("nan"), count, "one fold has no spread")
    half = _quantile(level, count - 1) * np.sqrt(values.var(ddof=1) * (1 / count + test_share))
    value = float(values.mean())
    return Measure(value, float(value - half), float(value + half), count, "Nadeau-Bengio t over folds")


def by_cluster(rows: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """Values added up within each cluster; unchanged where rows stand alone."""
    return rows if cluster is None else np.bincount(np.unique(cluster, return_inverse=True)[1], weights=rows)


def widened(found: Measure, factor: float, why: str) -> Measure:
    """The same value with an interval `factor` times as wide, on the log-odds or log scale where the limits allow it."""
    if found.value is None or found.low is None or found.high is None or factor == 1.0:
        return found
    limits = (found.low, found.value, found.high)
    there, back = _scale(found.low, found.high)
    low, middle, high = (there(v) for v in limits)
    ends = back(middle - factor * (middle - low)), back(middle + factor * (high - middle))
    return Measure(found.value, ends[0], ends[1], found.n, f"{found.method}; {factor:.2f} times as wide {why}")


def _scale(low: float, high: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """To and from the scale on which an interval with these limits is widened: log-odds within 0..1, log above 0, as it is otherwise."""
    if low > 0 and high < 1:
        return (lambda v: float(np.log(v / (1 - v)))), _expit
    if low > 0:
        return (lambda v: float(np.log(v))), (lambda v: float(np.exp(v)))
    return (lambda v: v), (lambda v: v)


def smallest_class(truth: np.ndarray, classes: int) -> int:
    """Rows of the rarest class, counting those of the table's classes that are absent here as zero for two classes only."""
    counts = np.bincount(truth.astype(np.int64), minlength=classes)
    return int(counts.min() if classes == 2 else counts[counts > 0].min())


def rows_at_stake(truth: np.ndarray, classes: int) -> int:
    """Rows that a mean loss rests on: those of the rarer of two classes; of many, all but the commonest (one rare class moves the mean little)."""
    return smallest_class(truth, 2) if classes == 2 else len(truth) - int(np.bincount(truth.astype(np.int64)).max(initial=0))


def overlaps(a: Measure, b: Measure) -> bool | None:
    """Do two intervals share a point? None where one is missing."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return None
    return a.low <= b.high and b.low <= a.high


_SHARES = ("accuracy", "balanced_accuracy", "f1")


def _share(
    name: str, value: float, rows: np.ndarray, truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None, cluster: np.ndarray | None
) -> Measure:
    """Shares of decisions: Wilson at the effective size; balanced accuracy from its classes' limits; F1 through the overlap of both sets."""
    n = len(truth)
    chosen = prediction.argmax(axis=1)
    if name == "balanced_accuracy" and weight is None and cluster is None:
        recalls = [proportion(int((chosen[truth == k] == k).sum()), int((truth == k).sum())) for k in np.unique(truth)]
        low = value - np.sqrt(sum((r.value - r.low) ** 2 for r in recalls if r.value is not None and r.low is not None)) / len(recalls)
        high = value + np.sqrt(sum((r.high - r.value) ** 2 for r in recalls if r.value is not None and r.high is not None)) / len(recalls)
        return Measure(value, float(low), float(high), n, "Wilson, classes combined")
    if name == "f1" and prediction.shape[1] == 2 and weight is None and cluster is None:
        either = int(((chosen == 1) | (truth == 1)).sum())
        if not either:
            return refused(value, n, "no positives, neither true nor predicted")
        inner = proportion(int(((chosen == 1) & (truth == 1)).sum()), either)
        return _bent(value, inner, lambda v: 2 * v / (1 + v))
    if weight is None and cluster is None and name == "accuracy":
        return proportion(round(value * n), n)
    return _effective(value, rows, cluster)


def _effective(value: float, rows: np.ndarray, cluster: np.ndarray | None) -> Measure:
    """Wilson with the number of independent rows that would show the same spread."""
    parts = by_cluster(rows, cluster)
    variance = len(parts) / max(1, len(parts) - 1) * (parts**2).sum()
    size = value * (1 - value) / variance if variance > 0 else float(len(parts))
    found = proportion(value * size, size, t_df=max(1, len(parts) - 1))
    return Measure(value, found.low, found.high, len(rows), f"Wilson at the effective size {size:.0f}")


def _ranking(
    name: str,
    value: float,
    truth: np.ndarray,
    prediction: np.ndarray,
    weight: np.ndarray | None,
    cluster: np.ndarray | None,
    level: float = 0.95,
) -> Measure:
    n, fewest = len(truth), smallest_class(truth, prediction.shape[1])
    if fewest < FEWEST[name]:
        return refused(value, n)
    rows = influence(name, truth, prediction, weight)
    assert rows is not None
    found = from_influence(value, rows, cluster, scale="logit", level=level)
    return Measure(found.value, found.low, found.high, n, found.method.replace("logit", "logit DeLong") if name == "roc_auc" else found.method)


def _bent(value: float, inner: Measure, bend: Callable[[float], float]) -> Measure:
    """An interval found on another scale, carried back by a monotone function."""
    if inner.low is None or inner.high is None:
        return Measure(value, None, None, inner.n, inner.method)
    return Measure(value, bend(inner.low), bend(inner.high), inner.n, inner.method)


def _hall(z: float, skew: float) -> float:
    """Inverse of Hall's cubic at z; `skew` is the skewness over the root of n."""
    if abs(skew) < 1e-8:
        return z
    return float(3 / skew * (np.cbrt(1 + skew * z - skew * skew / 6) - 1))


@functools.lru_cache(4096)
def _quantile(level: float, df: float | None = None) -> float:
    tail = 1 - (1 - level) / 2
    return float(scipy.special.ndtri(tail) if df is None or df > 500 else scipy.special.stdtrit(df, tail))


def _expit(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
