"""The parts of an evaluation that need nothing but answers and columns: no prediction is asked for, no model is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # its parts load when first used

from emlyn.core.dataset import Dataset
from emlyn.core.judging.answers import Answers, loss_rows
from emlyn.core.judging.conformal import conformal_section, halves
from emlyn.core.judging.decision import shift_prior
from emlyn.core.judging.fairness_metrics import fairness_section, group_labels
from emlyn.core.judging.intervals import share
from emlyn.core.judging.shapes import most_related
from emlyn.core.judging.slices import slices_section
from emlyn.core.table import Table
from emlyn.core.wording import percent
from emlyn.records.problem import Problem

MOST_ROWS, MOST_COLUMNS = 20_000, 300
ANSWERED = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


def quick_sections(answers: Answers, data: Dataset, problem: Problem, seed: int = 0) -> dict[str, Any]:
    """Slices, fairness, conformal, abstention and prior shift; `data` holds the columns of the same rows, in the same order."""
    if "rows" not in data.tables:
        return {}
    tables = [data.rows, *(t for name, t in data.tables.items() if name != "rows" and t.rows == data.rows.rows)]
    rows, left = np.arange(len(answers)), ""
    if len(answers) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(answers), MOST_ROWS, replace=False))
        left = f"on {MOST_ROWS:,} rows drawn at random"
    found = _sections(answers.take(rows), [t.take(data.units[rows]) for t in tables], problem, seed)
    if left:
        found = {k: {**v, "left_out": "; ".join(filter(None, (v.get("left_out", ""), left)))} for k, v in found.items()}
    return found


def _sections(answers: Answers, tables: list[Table], problem: Problem, seed: int) -> dict[str, Any]:
    groups = sensitive_groups(tables, problem)
    what = "log loss" if problem.classes else "squared error"
    losses = loss_rows(answers, problem.task)
    looked = tables[0].select(most_related(tables[0], answers.prediction[:, -1], MOST_COLUMNS, seed))
    found: dict[str, Any] = {"slices": slices_section(losses, looked, halves(answers, seed), what, seed)}
    if len(looked) < len(tables[0]):
        found["slices"]["left_out"] = f"looked at the {len(looked):,} of {len(tables[0]):,} columns that go with the prediction most"
    if groups:
        found["fairness"] = fairness_section(answers, groups, problem.positive or (problem.classes[-1] if problem.classes else ""), seed)
        absent = [c for c in problem.sensitive if c not in groups]
        found["fairness"]["left_out"] += f"; not among the columns at hand: {', '.join(absent)}" if absent else ""
    conformal = conformal_section(answers, groups, seed)
    if conformal:
        found["conformal"] = conformal
    if problem.classes:
        found["abstention"] = abstention_section(answers)
    if problem.task == "binary":
        found["prior_shift"] = prior_shift_section(answers, problem)
    return found


def sensitive_groups(tables: list[Table], problem: Problem) -> dict[str, np.ndarray]:
    """Label (n,) of each row for every sensitive column that is at hand."""
    return {name: group_labels(t[name]) for name in problem.sensitive for t in tables if name in t}


def abstention_section(answers: Answers) -> dict[str, Any]:
    """The share of right decisions when only the rows the model is surest about are answered, and the rest is left to a person."""
    p = answers.prediction
    two = answers.threshold is not None and p.shape[1] == 2
    sure = np.abs(_centred(p[:, 1], answers.threshold or 0.5)) if two else p.max(axis=1)
    chosen = (p[:, 1] >= answers.threshold).astype(np.int64) if two else p.argmax(axis=1)
    order = np.argsort(-sure, kind="stable")
    points: list[dict[str, Any]] = []
    for answered in ANSWERED:
        rows = order[: max(1, round(answered * len(order)))]
        part = answers.take(rows)
        right = share(chosen[rows] == part.truth, part.weight, part.cluster)
        points.append({"answered": answered, "value": right.value, "low": right.low, "high": right.high, "threshold": float(sure[rows[-1]])})
    every, fewer = points[0], points[3]
    left = f"leaving the {percent(1 - ANSWERED[3])} it is least sure of to a person, {percent(fewer['value'], 1)}"
    text = f"Answering every row, {percent(every['value'], 1)} are right; {left}."
    return {"points": points, "metric": "share of right decisions", "sentence": text}


def prior_shift_section(answers: Answers, problem: Problem) -> dict[str, Any]:
    """Precision and the like at the chosen threshold where the base rate differs: scores moved by Bayes, rows weighted to the new rate."""
    hit, p = answers.truth == 1, answers.prediction[:, 1]
    trained = float(hit.mean())
    if not 0 < trained < 1:
        return {"trained": trained, "points": [], "sentence": "One class is absent, so no other base rate can be looked at."}
    t = 0.5 if answers.threshold is None else answers.threshold
    points = []
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        new = float(scipy.special.expit(np.log(trained / (1 - trained)) + np.log(factor)))
        flagged = shift_prior(p, trained, new) >= t
        tpr, fpr = float(flagged[hit].mean()), float(flagged[~hit].mean())
        taken, left = new * tpr + (1 - new) * fpr, new * (1 - tpr) + (1 - new) * (1 - fpr)
        precision = new * tpr / taken if taken > 0 else None
        points.append({"prior": new, "precision": precision, "npv": (1 - new) * (1 - fpr) / left if left > 0 else None, "threshold": t})
    told = [f"{percent(q['precision'])} where it is {percent(q['prior'], 1)}" for q in (points[1], points[3]) if q["precision"] is not None]
    text = f"Learned where {percent(trained, 1)} are positive. With scores corrected for another base rate, a flag is right in {' and '.join(told)}."
    return {"trained": trained, "points": points, "sentence": text}


def _centred(p: np.ndarray, threshold: float) -> np.ndarray:
    """Distance from the threshold in log-odds."""
    q, t = np.clip(p, 1e-6, 1 - 1e-6), float(np.clip(threshold, 1e-6, 1 - 1e-6))
    return np.asarray(np.log(q / (1 - q)) - np.log(t / (1 - t)))


def label_noise_section(answers: Answers, problem: Problem) -> dict[str, Any] | None:
    """Rows whose label the model, asked about rows it did not learn from, contradicts with more confidence than it has on average.

    Confident learning (Northcutt, Jiang and Chuang 2021), counting only; None for numbers. An upper bound: the model's own confident
    mistakes are counted too.
    """
    if problem.task not in ("binary", "multiclass"):
        return None
    p, y = answers.prediction, answers.truth.astype(np.int64)
    bars = np.array([p[y == k, k].mean() if (y == k).any() else np.inf for k in range(p.shape[1])])
    above = np.where(p >= bars, p, -1.0)
    best = above.argmax(axis=1)
    doubtful = (above.max(axis=1) > 0) & (best != y)
    found = share(doubtful, answers.weight, answers.cluster)
    told = {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "method": f"confident learning, {found.method}"}
    ceiling = 1 - (found.value or 0.0)
    text = f"At most {percent(found.value, 1)} of the labels look wrong: on rows labelled like these, "
    text += f"hardly any model is right beyond {percent(ceiling, 1)}."
    return {"share": told, "ceiling": ceiling, "rows": np.flatnonzero(doubtful)[:20].tolist(), "sentence": text}
