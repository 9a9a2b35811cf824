"""Numbers behind the plots: plain lists of at most 100 entries. `stages.evaluate` documents each shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from emlyn.core.judging.decision import cost_odds, counts
from emlyn.core.judging.reliability import bins, equal_parts, number_bins
from emlyn.core.wording import answer
from emlyn.records.problem import Problem

MOST = 100
MOST_LABELS = 12


def binary_plots(hit: np.ndarray, p: np.ndarray, threshold: float, problem: Problem, weight: np.ndarray | None = None) -> dict[str, Any]:
    """Every plot of a two-class question; `hit` (n,) bool, `p` (n,) probability of the positive class."""
    label = problem.positive or (problem.classes[-1] if problem.classes else "1")
    other = next((c for c in problem.classes if c != label), "not " + label)
    plots: dict[str, Any] = {
        "scores": histogram(p, {label: hit, other: ~hit}, label),
        "calibration": {"of": label, "bins": bins(hit, p)},
        "confusion": _two_by_two(hit, p >= threshold, (other, label), threshold, problem.target, weight),
        "decision_curve": decision_curve(hit, p, problem, threshold, weight),
    }
    if 0 < hit.sum() < len(hit):
        plots |= rank_plots(hit, p, threshold, label, weight)
    return plots


def rank_plots(hit: np.ndarray, p: np.ndarray, threshold: float, label: str, weight: np.ndarray | None = None) -> dict[str, Any]:
    """ROC, precision over recall, gains: all from one sort."""
    w, order = np.ones(len(hit)) if weight is None else weight, np.argsort(-p, kind="stable")
    s, h, v = p[order], hit[order].astype(float), w[order]
    last = np.flatnonzero(np.r_[s[1:] != s[:-1], True])
    tp, fp = np.cumsum(v * h)[last], np.cumsum(v * (1 - h))[last]
    recall, false_rate, taken = tp / tp[-1], fp / fp[-1], (tp + fp) / v.sum()
    at = int(np.searchsorted(-s[last], -threshold, side="right")) - 1
    chosen = at >= 0

    def plot(x: np.ndarray, y: np.ndarray, start: list[float] | None) -> dict[str, Any]:
        keep = thin(x, y, MOST - 1)
        points = ([start] if start else []) + [[float(x[i]), float(y[i])] for i in keep]
        return {"of": label, "points": points, "chosen": [float(x[at]), float(y[at])] if chosen else None}

    return {
        "roc": plot(false_rate, recall, [0.0, 0.0]),
        "precision_recall": {**plot(recall, tp / (tp + fp), None), "prevalence": float(np.average(hit, weights=w))},
        "gains": plot(taken, recall, [0.0, 0.0]),
    }


def decision_curve(hit: np.ndarray, p: np.ndarray, problem: Problem, threshold: float, weight: np.ndarray | None = None) -> dict[str, Any]:
    """Net benefit over thresholds of the model, of flagging everyone and of flagging no one (Vickers and Elkin 2006)."""
    share = float(np.average(hit, weights=weight))
    top = min(0.99, max(0.2, 2 * share, 1.5 * threshold if cost_odds(problem, threshold) < 99 else 0.2))
    grid = np.linspace(0.01, top, 50)
    model = [counts(hit, p, t, weight).net_benefit(t / (1 - t)) for t in grid]
    return {
        "thresholds": grid.tolist(),
        "model": model,
        "all": (share - (1 - share) * grid / (1 - grid)).tolist(),
        "none": [0.0] * len(grid),
    }


def class_plots(truth: np.ndarray, prediction: np.ndarray, classes: tuple[str, ...], weight: np.ndarray | None = None) -> dict[str, Any]:
    """Every plot of a question with many classes; `prediction` (n, k) probabilities."""
    chosen, sure = prediction.argmax(axis=1), prediction.max(axis=1)
    right = chosen == truth
    return {
        "scores": histogram(sure, {"right": right, "wrong": ~right}, "the predicted class"),
        "calibration": {"of": "the predicted class", "bins": bins(right, sure)},
        "confusion": confusion(truth.astype(int), chosen, classes, None, weight),
    }


def number_plots(truth: np.ndarray, predicted: np.ndarray, target: str) -> dict[str, Any]:
    """Every plot of a question about a number; both (n,)."""
    rows = _spread(predicted)
    errors = truth - predicted
    edges = np.linspace(*_range(np.r_[truth, predicted]), 31)
    low, high = _range(np.r_[truth[rows], predicted[rows]])
    bands = []
    for part in equal_parts(predicted, 10):
        a, b, c = np.quantile(errors[part], [0.05, 0.5, 0.95])
        bands.append({"predicted": float(predicted[part].mean()), "low": float(a), "middle": float(b), "high": float(c), "n": len(part)})
    return {
        "scores": {"edges": edges.tolist(), "series": {"truth": _histogram(truth, edges), "predicted": _histogram(predicted, edges)}, "of": target},
        "calibration": {"of": target, "bins": number_bins(truth, predicted)},
        "residuals": {"points": [[float(predicted[i]), float(errors[i])] for i in rows], "bands": bands},
        "predicted_vs_actual": {"points": [[float(predicted[i]), float(truth[i])] for i in rows], "low": low, "high": high},
    }


def confusion(
    truth: np.ndarray, chosen: np.ndarray, labels: tuple[str, ...], threshold: float | None, weight: np.ndarray | None = None
) -> dict[str, Any]:
    """Truth by decision, as counts and per 1,000 rows; beyond twelve labels the rarest are put together."""
    size = len(labels)
    if size > MOST_LABELS:
        kept = np.sort(np.argsort(-np.bincount(truth, minlength=size), kind="stable")[: MOST_LABELS - 1])
        place = np.full(size, MOST_LABELS - 1)
        place[kept] = np.arange(MOST_LABELS - 1)
        truth, chosen, labels, size = place[truth], place[chosen], (*(labels[k] for k in kept), "(other)"), MOST_LABELS
    table = np.zeros((size, size))
    np.add.at(table, (truth, chosen), 1.0 if weight is None else weight)
    per = table / max(table.sum(), 1e-300) * 1000
    found = {"labels": list(labels), "counts": np.round(table, 6).tolist(), "per_1000": np.round(per, 2).tolist(), "threshold": threshold, "of": 1000}
    right = round(float(np.trace(per)))
    found["sentence"] = f"Of 1,000 rows like these, the model names the right class for {right:,} and a wrong one for {1000 - right:,}."
    return found


def _two_by_two(
    hit: np.ndarray, flagged: np.ndarray, labels: tuple[str, str], threshold: float, target: str, weight: np.ndarray | None
) -> dict[str, Any]:
    """The confusion of two classes, its sentence in natural frequencies."""
    found = confusion(hit.astype(int), flagged.astype(int), labels, threshold, weight)
    return {**found, "sentence": natural(np.array(found["per_1000"]), labels[1], target)["sentence"]}


def natural(per: np.ndarray, label: str, target: str = "") -> dict[str, Any]:
    """Natural frequencies per 1,000 rows from a two-by-two table of that sum (Gigerenzer and Hoffrage 1995).

    The four cells are made whole together (largest remainder), so that what is found and what is missed add up to what there is.
    """
    whole = np.floor(per)
    order = np.argsort(-(per - whole), axis=None, kind="stable")
    whole.flat[order[: round(1000 - whole.sum())]] += 1
    parts = {k: int(v) for k, v in zip(_PARTS, (whole[1].sum(), whole[:, 1].sum(), whole[1, 1], whole[1, 0]), strict=True)}
    exact = (per[1].sum(), per[:, 1].sum(), per[1, 1], per[1, 0])
    say = [f"{n:,}" if n or v == 0 else "fewer than 1" for n, v in zip(parts.values(), exact, strict=True)]
    said = answer(label, target)
    group = f"are {said}" if said == label else f"have {said}"
    text = f"Of 1,000 rows like these, {say[0]} {group}; the model flags {say[1]}, {say[2]} of them rightly; it misses {say[3]}."
    return {"of": 1000, "label": label, "target": target, "group": group, **parts, "sentence": text}


_PARTS = ("have", "flagged", "right", "missed")


def histogram(p: np.ndarray, series: dict[str, np.ndarray], of: str, count: int = 20) -> dict[str, Any]:
    """Counts of probabilities (n,) in equal steps from 0 to 1, one series per mask."""
    edges = np.linspace(0, 1, count + 1)
    return {"edges": edges.tolist(), "series": {k: _histogram(p[mask], edges) for k, mask in series.items()}, "of": of}


def thin(x: np.ndarray, y: np.ndarray, most: int) -> np.ndarray:
    """Positions of at most `most` points that keep the shape of a curve: evenly spaced along its length, ends kept."""
    if len(x) <= most:
        return np.arange(len(x))
    length = np.r_[0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y)))]
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)).clip(0, len(x) - 1))


def _spread(values: np.ndarray) -> np.ndarray:
    """Positions of at most 100 rows, evenly over the sorted values: no chance involved, so the plot never changes."""
    order = np.argsort(values, kind="stable")
    return np.asarray(order[np.unique(np.linspace(0, len(values) - 1, min(MOST, len(values))).astype(int))])


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _histogram(values: np.ndarray, edges: np.ndarray) -> list[int]:
    return [int(v) for v in np.histogram(values, edges)[0]]
