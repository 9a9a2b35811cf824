"""Decisions and errors by group, the gaps between groups, and three verdicts: gap shown, no gap shown, cannot tell.

Four-fifths rules fire by luck (two equal rates of 10 %, 100 and 1,000 rows: a ratio below .8 in half of all samples), so a gap is
shown only when shuffling the groups within the true answers rarely gives one as large, and denied only when its interval is narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from emlyn.core.judging.answers import Answers
from emlyn.core.judging.intervals import difference_of_proportions, mean_of, proportion, ratio_of_proportions, share
from emlyn.core.judging.ranks import false_discovery
from emlyn.core.judging.reliability import observed_expected
from emlyn.core.table import Column
from emlyn.core.wording import number, percent
from emlyn.records.evaluation import Measure

FEWEST = 20
"""Rows of a group, within the condition, below which a rate is not compared."""
TOLERANCE = 0.1
SHUFFLES = 400
MOST_GROUPS = 8
WORDS = {
    "selection": ("rows", "flagged"),
    "tpr": ("positives", "found"),
    "fpr": ("negatives", "flagged wrongly"),
    "precision": ("flagged rows", "truly positive"),
    "error": ("rows", "answered wrongly"),
}
"""Of whom a rate is counted, and what happened to them."""
Rate = tuple[np.ndarray, np.ndarray]
"""(event (n,) bool, rows it is counted on (n,) bool)."""


def group_labels(column: Column) -> np.ndarray:
    """(n,) label of each row: levels, the rarest together; numbers in quarters; missing cells as a group of their own."""
    out = np.full(len(column), "(missing)", dtype=object)
    known = ~column.missing
    if column.levels is None and column.kind != "boolean" and len(np.unique(column.values[known])) > MOST_GROUPS:
        x = column.values[known]
        edges = np.unique(np.quantile(x, [0.25, 0.5, 0.75], method="inverted_cdf"))
        names = [f"up to {edges[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(edges)), f"above {edges[-1]:g}"]
        out[known] = np.array(names, dtype=object)[np.searchsorted(edges, x, side="left")]
        return out
    cells = column.strings()
    out[known] = cells[known]
    levels, counts = np.unique(out.astype(str), return_counts=True)
    if len(levels) > MOST_GROUPS:
        rare = set(levels[np.argsort(-counts, kind="stable")[MOST_GROUPS - 1 :]].tolist())
        out = np.array(["(other)" if str(v) in rare else v for v in out], dtype=object)
    return out


def fairness_section(answers: Answers, groups: Mapping[str, np.ndarray], positive: str, seed: int = 0) -> dict[str, Any]:
    """The section `fairness` of an evaluation (`stages.evaluate`); `groups`: column -> label (n,) of each row."""
    binary = answers.prediction.shape[1] == 2
    columns = [_column(answers, name, labels.astype(str), positive if binary else "", seed) for name, labels in groups.items()]
    gaps = [g for c in columns for g in c["gaps"]]
    if gaps:
        for gap, p in zip(gaps, false_discovery(np.array([g["p"] for g in gaps])), strict=True):
            gap |= _judged(gap, float(p))
    shown = [g for g in gaps if g["verdict"] == "gap shown"]
    unsure = [g for g in gaps if g["verdict"] == "cannot tell"]
    if shown:
        text = " ".join(g["sentence"] for g in sorted(shown, key=lambda g: g["p"])[:2])
    elif unsure:
        text = f"No gap between groups is shown; for {len(unsure)} of {len(gaps)} comparisons there are too few rows to tell."
    else:
        text = "No gap between groups that matters is shown." if gaps else "The groups are too small to compare."
    chosen = "tpr: those who have it are found equally often in every group (fpr where a flag punishes, selection where it gives)"
    left = "rates of error and precision cannot both be equal where the groups' base rates differ; which one matters is a person's choice"
    return {"columns": columns, "chosen": chosen if binary else "error", "sentence": text, "left_out": left}


def gap_of(answers: Answers, labels: np.ndarray, metric: str) -> Measure | None:
    """The largest difference between two groups in one of the rates of `WORDS`, with its interval; None below two groups of twenty rows."""
    event, among = _rates(answers)[metric]
    table = {str(g): (int((event & among & (labels == g)).sum()), int((among & (labels == g)).sum())) for g in np.unique(labels)}
    found = _gap("", metric, table, lambda _: 1.0)
    return None if found is None else Measure(**found["difference"])


def _judged(gap: dict[str, Any], p: float) -> dict[str, Any]:
    """The verdict on one gap, `p` after false-discovery control over all of them."""
    small = gap["difference"]["high"] is not None and gap["difference"]["high"] < gap["tolerance"]
    verdict = "gap shown" if p < 0.05 else "no gap shown" if small else "cannot tell"
    end = {"gap shown": ".", "no gap shown": ": no gap that matters.", "cannot tell": f": cannot tell, one group has {gap['smallest']} rows."}
    return {"p": p, "verdict": verdict, "sentence": gap["sentence"] + end[verdict]}


def _column(a: Answers, name: str, labels: np.ndarray, positive: str, seed: int) -> dict[str, Any]:
    names = [str(g) for g in np.unique(labels)]
    rates = _rates(a) if positive or a.prediction.shape[1] > 1 else {}
    groups: list[dict[str, Any]] = []
    tables: dict[str, dict[str, tuple[int, int]]] = {k: {} for k in rates}
    for g in names:
        rows = labels == g
        part = a.take(rows)
        told: dict[str, Any] = {"group": g, "n": int(rows.sum())}
        for metric, (event, among) in rates.items():
            inside = among[rows]
            tables[metric][g] = (int(event[rows][inside].sum()), int(inside.sum()))
            told[metric] = _plain(share(event[rows][inside], _cut(part.weight, inside), _cut(part.cluster, inside)))
        groups.append(told | _rest(part, positive))
    gaps = [_gap(name, k, tables[k], _shuffled(a.truth if k != "precision" else None, labels, *rates[k], seed)) for k in rates]
    if a.prediction.shape[1] == 1:
        gaps = [_number_gap(name, a, labels, names, seed)]
    return {"column": name, "groups": groups, "gaps": [g for g in gaps if g is not None]}


def _rates(a: Answers) -> dict[str, Rate]:
    """Rates of decisions for two classes; the share of wrong answers for more."""
    if a.prediction.shape[1] > 2:
        return {"error": (a.prediction.argmax(axis=1) != a.truth, np.ones(len(a), dtype=bool))}
    hit, chosen = a.truth == 1, a.prediction[:, 1] >= (0.5 if a.threshold is None else a.threshold)
    every = np.ones(len(a), dtype=bool)
    return {"selection": (chosen, every), "tpr": (chosen, hit), "fpr": (chosen, ~hit), "precision": (hit, chosen), "error": (chosen != hit, every)}


def _rest(part: Answers, positive: str) -> dict[str, Any]:
    if positive:
        w = np.ones(len(part)) if part.weight is None else part.weight
        return {"calibration": _plain(observed_expected((part.truth == 1).astype(float), part.prediction[:, 1], w, part.cluster))}
    if part.prediction.shape[1] == 1:
        errors = part.prediction[:, 0] - part.truth
        return {"error": _plain(mean_of(np.abs(errors), part.weight, part.cluster)), "bias": _plain(mean_of(errors, part.weight, part.cluster))}
    return {}


def _shuffled(truth: np.ndarray | None, labels: np.ndarray, event: np.ndarray, among: np.ndarray, seed: int) -> Callable[[float], float]:
    """p of a largest difference between groups: groups are dealt out anew, within the true answers so that base rates stay as they are."""
    rng, (names, code) = np.random.default_rng(seed), np.unique(labels, return_inverse=True)
    parts = np.zeros(len(labels)) if truth is None else truth
    blocks = [np.flatnonzero((parts == t) & among) for t in np.unique(parts[among])]
    drawn = np.empty(SHUFFLES)
    for i in range(SHUFFLES):
        dealt = code.copy()
        for rows in blocks:
            dealt[rows] = code[rng.permutation(rows)]
        drawn[i] = _spread(np.bincount(dealt[among], weights=event[among], minlength=len(names)), np.bincount(dealt[among], minlength=len(names)))
    return lambda seen: float((1 + (drawn >= seen - 1e-12).sum()) / (1 + SHUFFLES))


def _spread(hits: np.ndarray, counts: np.ndarray) -> float:
    rates = hits[counts >= FEWEST] / counts[counts >= FEWEST]
    return float(np.ptp(rates)) if len(rates) > 1 else 0.0


def _gap(column: str, metric: str, table: dict[str, tuple[int, int]], chance: Callable[[float], float]) -> dict[str, Any] | None:
    enough = {g: v for g, v in table.items() if v[1] >= FEWEST}
    if len(enough) < 2:
        return None
    rate = {g: h / n for g, (h, n) in enough.items()}
    low, high = min(rate, key=lambda g: rate[g]), max(rate, key=lambda g: rate[g])
    pairs = max(1, len(enough) * (len(enough) - 1) // 2)
    level = 1 - 0.05 / pairs
    a, b = (proportion(*enough[g], level=level) for g in (high, low))
    difference, ratio = difference_of_proportions(a, b), ratio_of_proportions(*enough[low], *enough[high], level=level)
    worst, best = (high, low) if metric in ("fpr", "error") else (low, high)
    whom, what = WORDS[metric]
    text = f"By {column}: of the {whom} “{high}”, {percent(rate[high])} are {what}, of “{low}” {percent(rate[low])}"
    told = {"metric": metric, "worst": worst, "best": best, "difference": _plain(difference), "ratio": _plain(ratio), "sentence": text}
    return {**told, "p": chance(rate[high] - rate[low]), "tolerance": TOLERANCE, "smallest": min(n for _, n in enough.values())}


def _number_gap(column: str, a: Answers, labels: np.ndarray, names: list[str], seed: int) -> dict[str, Any] | None:
    """The largest difference in mean absolute error between groups of at least twenty rows; groups shuffled over all rows."""
    errors = np.abs(a.prediction[:, 0] - a.truth)
    enough = [g for g in names if (labels == g).sum() >= FEWEST]
    if len(enough) < 2:
        return None
    means = {g: mean_of(errors[labels == g]) for g in enough}
    high, low = (f(enough, key=lambda g: means[g].value or 0.0) for f in (max, min))
    d = difference_of_proportions(means[high], means[low])  # square-and-add works for any two independent intervals
    found = Measure(d.value, d.low, d.high, d.n, "square-and-add of two t intervals")
    p = _shuffled(None, labels, errors, np.ones(len(errors), dtype=bool), seed)(d.value or 0.0)
    text = f"By {column}: predictions are off by {number(means[high].value)} for “{high}”, by {number(means[low].value)} for “{low}”"
    told = {"metric": "error", "worst": high, "best": low, "difference": _plain(found), "ratio": None, "sentence": text}
    return {**told, "p": p, "tolerance": 2 * TOLERANCE * float(errors.mean()), "smallest": min(int((labels == g).sum()) for g in enough)}


def _cut(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]


def _plain(found: Measure) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "method": found.method}
