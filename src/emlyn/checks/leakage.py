"""Leakage in single columns: made from the answer, after it, or with it (Kapoor, Narayanan 2023, types L1 to L3)."""

from __future__ import annotations

import numpy as np

from emlyn.checks._say import Looked, answer_share, found, given, listed, looked_at, percent, repair
from emlyn.core.auditing.probe import Strength, column_strengths
from emlyn.core.check import Check, Material, Outcome, example_rows, outcome
from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.metrics import auc
from emlyn.core.table import Column, Table
from emlyn.plugins import hook
from emlyn.records.finding import Effect, Question
from emlyn.types import Severity

FAIL, WARN = 0.98, 0.95
"""Out-of-fold ROC AUC of one column alone: on 18 clean tables none reached the first, two the second (strong and honest)."""
FAIL_R2, WARN_R2 = 0.99, 0.97
FEWEST, FEW_VALUES = 50, 20


def single_column(m: Material) -> Outcome:
    """A column that alone tells the answer almost perfectly."""
    data, problem = given(m.data), given(m.problem)
    if len(data) < FEWEST:
        return outcome()
    findings, repairs, questions = [], [], []
    classes = data.classes
    told = column_strengths(data, [n for n in problem.features if not _copies(m, n)], m.seed)
    for name, strength in sorted(told.items(), key=lambda kv: -kv[1].score):
        level = _level(strength, classes, _rarest(m))
        if level == "fail" and not classes and len(np.unique(given(m.table)[name].values)) < FEW_VALUES:
            level = "warn"  # a few kinds of things that differ much in size; a leak has about as many values as the answer
        if level is None:
            continue
        score = f"{'R2' if not classes else 'AUC'} {strength.score:.3f}"
        f = found(
            "leakage.single_column",
            level,
            (name,),
            f"{name} alone tells {problem.target} almost perfectly: it may have been recorded after the answer, or from it."
            if level == "fail"
            else f"{name} alone tells {problem.target} very well: make sure that it is known at the moment of prediction.",
            detail=f"Out-of-fold {score} of a shallow tree on this column alone.",
            n=len(data),
            effect=Effect("r2" if not classes else "auc", strength.score),
            why="A column that is not yet known when the model is used makes the score a lie.",
            fix="left out; both scores are shown" if level == "fail" else "kept",
            evidence={"accuracy": strength.accuracy},
        )
        findings.append(f)
        if level == "fail":
            repairs.append(repair(f, name, "left out: it knows the answer", role="excluded"))
        questions.append(_question(f.id, (name,), taken="no" if level == "fail" else "yes"))
    return outcome(findings, repairs, questions[:5])


def _rarest(m: Material) -> int:
    data = given(m.data)
    return int(np.unique(np.asarray(data.answers), return_counts=True)[1].min()) if data.classes else len(data)


def _level(strength: Strength, classes: int, rarest: int) -> Severity | None:
    """fail, warn or nothing. Several classes also need nearly every label right: one class against the rest is easy to tell."""
    if not classes:
        return "fail" if strength.score >= FAIL_R2 else "warn" if strength.score >= WARN_R2 else None
    if rarest < 10 and classes == 2:
        return None
    doubt = 2 * np.sqrt(strength.score * (1 - strength.score) / max(1, rarest)) if classes == 2 else 0.0
    if strength.score >= FAIL and strength.score - doubt >= WARN - 0.02 and (classes == 2 or strength.accuracy >= 0.98):
        return "fail"
    return "warn" if strength.score >= WARN and (classes == 2 or strength.accuracy >= WARN) else None


def _question(name: str, columns: tuple[str, ...], taken: str) -> Question:
    verb = "Is" if len(columns) == 1 else "Are"
    keeps = " ".join(f"--known {_quoted(c)}" for c in columns)
    drops = " ".join(f"--exclude {_quoted(c)}" for c in columns)
    return Question(name, f"{verb} {listed(columns)} known at the moment of prediction?", taken, keeps if taken == "no" else drops, columns)


def _quoted(name: str) -> str:
    return name if name.replace("_", "").isalnum() else f"'{name}'"


def target_copy(m: Material) -> Outcome:
    """The target under another name: the same labels one to one, or the same number up to scale, shift or a strictly rising curve."""
    findings, repairs = [], []
    for one in looked_at(m):
        how = _copies(m, one.name)
        if not how:
            continue
        f = found(
            "leakage.target_copy",
            "fail",
            (one.name,),
            f"{one.name} is {given(m.problem).target} written in another way.",
            detail=how,
            n=len(one.column),
            why="A copy of the answer is not there when the answer is asked for.",
            effect=Effect("share of rows explained", 1.0),
            fix="left out of the features",
        )
        findings.append(f)
        repairs.append(repair(f, one.name, "left out: it is the target", role="excluded"))
    return outcome(findings, repairs)


def _copies(m: Material, name: str) -> str:
    """How the column copies the target; empty when it does not."""
    data, table = given(m.data), given(m.table)
    column, y = table[name], np.asarray(data.answers)
    known = ~column.missing
    if known.mean() < 0.98 or len(y) < 20:
        return ""
    x, y = column.values[known].astype(np.float64), y[known].astype(np.float64)
    if not data.classes:
        return _same_number(x, y) if column.levels is None else ""
    if len(np.unique(x[:1_000])) > data.classes:
        return ""
    levels = len(np.unique(x))
    pairs = np.unique(x * (data.classes + 1) + y if column.coded else np.unique(x, return_inverse=True)[1] * (data.classes + 1) + y)
    if len(pairs) == levels == len(np.unique(y)) and known.all():
        return f"Each of its {levels} values meets exactly one answer, and the other way round."
    return ""


def _same_number(x: np.ndarray, y: np.ndarray) -> str:
    if len(np.unique(y)) < 10 or not np.isfinite(x).all() or x.std() == 0:
        return ""
    r = float(np.corrcoef(x, y)[0, 1])
    if abs(r) > 0.9999:
        return f"Pearson r = {r:.6f}."
    if len(np.unique(x)) != len(np.unique(np.column_stack([x, y]), axis=0)):
        return ""
    order = np.argsort(x, kind="stable")
    steps = np.diff(y[order])[np.diff(x[order]) > 0]
    if len(steps) > 20 and len(np.unique(x)) > 0.5 * len(np.unique(y)) and ((steps > 0).mean() > 0.999 or (steps < 0).mean() > 0.999):
        return "A strictly rising or falling function of the target in more than 99.9 % of the steps."
    return ""


def missing_indicator(m: Material) -> Outcome:
    """Whether a column is filled in tells the answer: it was filled in afterwards."""
    findings, repairs = [], []
    share = answer_share(m)
    data, problem = given(m.data), given(m.problem)
    for one in looked_at(m):
        gap = one.column.missing
        if min(gap.sum(), (~gap).sum()) < 10:
            continue
        strength = _indicator_strength(gap, share, data.classes)
        if strength < (0.9 if data.classes else 0.7):
            continue
        f = found(
            "leakage.missing_indicator",
            "fail",
            (one.name,),
            f"{one.name} is filled in only for some answers: it was probably filled in afterwards.",
            detail=f"Whether it is missing tells {problem.target} with {'AUC' if data.classes else 'R2'} {strength:.3f}.",
            n=len(gap),
            rows=example_rows(gap),
            why="When the model is used, the column will not be filled in yet.",
            effect=Effect("auc" if data.classes else "r2", strength),
            fix="left out; both scores are shown",
        )
        findings.append(f)
        repairs.append(repair(f, one.name, "left out: its gaps know the answer", role="excluded"))
    return outcome(findings, repairs)


def _indicator_strength(gap: np.ndarray, share: np.ndarray, classes: int) -> float:
    if classes:
        value = auc(share == 1, gap.astype(float))
        return max(value, 1 - value)
    r = np.corrcoef(gap.astype(float), share)[0, 1] if share.std() > 0 else 0.0
    return float(r * r)


def pure_value(m: Material) -> Outcome:
    """A value that always goes with one answer, in more rows than chance allows, while its neighbours do not."""
    data, problem = given(m.data), given(m.problem)
    if data.classes != 2:
        return outcome()
    share, findings = answer_share(m), []
    base = float(share.mean())
    for one in looked_at(m, "category", "number", "boolean"):
        hit = _pure(one, share, base)
        if hit is None:
            continue
        value, rows, rate = hit
        label = problem.classes[int(rate)]
        at = one.column.values == value
        shown = one.column.take(np.flatnonzero(at)[:1]).strings()[0]
        findings.append(
            found(
                "leakage.pure_value",
                "info",
                (one.name,),
                f"Every one of the {rows:,} rows with {one.name} = {shown} has the answer {label!r}.",
                detail=f"Overall {percent(base if rate else 1 - base)} have it; the values next to it are mixed.",
                n=rows,
                rows=example_rows(at),
                effect=Effect("rate", rate),
                why="Such a value may have been set because of the answer.",
                fix="kept; look at how this value comes about",
            )
        )
    return outcome(sorted(findings, key=lambda f: -f.n)[:5])


def _pure(one: Looked, share: np.ndarray, base: float) -> tuple[float, int, float] | None:
    """(value, rows, rate) of the largest pure value, where its rows beat chance after counting all values tried."""
    values, inverse, counts = np.unique(one.column.values, return_inverse=True, return_counts=True)
    hits = np.bincount(inverse, share)
    pure = (counts >= 20) & ((hits == 0) | (hits == counts)) & (values > -1 if one.column.coded else np.isfinite(values))
    chance = np.where(hits == 0, 1 - base, base)
    with np.errstate(under="ignore"):
        pure &= counts * np.log(np.clip(chance, 1e-12, 1 - 1e-12)) < np.log(1e-6 / len(values))
    if not pure.any() or len(values) < 3:
        return None
    best = int(np.flatnonzero(pure)[np.argmax(counts[pure])])
    rate = float(hits[best] > 0)
    if one.column.levels is None:
        near = np.r_[max(0, best - 3) : best, best + 1 : min(len(values), best + 4)]
        around = hits[near].sum() / max(1, counts[near].sum())
        if abs(around - rate) < 0.1 or counts[near].sum() < 5:
            return None
    return float(values[best]), int(counts[best]), rate


def row_order(m: Material) -> Outcome:
    """Do the rows stand in an order that gives the answer away? Harmless while no feature repeats the order."""
    problem = given(m.problem)
    n = len(given(m.data))
    if n < 100:
        return outcome()
    order = Table({"": Column("number", np.arange(n, dtype=np.float64))})
    data = rows_dataset(order, given(m.data).answers, classes=given(m.data).classes)
    strength = column_strengths(data, [""], m.seed)[""]
    above = 2 * strength.score - 1 if given(m.data).classes else strength.score
    runs = _runs(answer_share(m))
    if given(m.data).time is not None or (above < 0.2 and runs > -6):
        return outcome()
    if above < 0.2:
        return outcome(
            [
                found(
                    "leakage.row_order",
                    "info",
                    (),
                    "Rows that stand next to each other have like answers: the table is sorted, or its rows depend on their neighbours.",
                    detail=f"Wald-Wolfowitz runs test z = {runs:.1f}.",
                    n=n,
                    effect=Effect("z", runs),
                    why="If the rows come in time order, name the time with --time.",
                    fix="rows are shuffled before they are parted",
                )
            ]
        )
    copies = [one.name for one in looked_at(m, "number", "date") if _follows_rows(one)]
    score = f"{'AUC' if given(m.data).classes else 'R2'} {strength.score:.3f}"
    findings, repairs = [], []
    findings.append(
        found(
            "leakage.row_order",
            "info",
            (),
            f"The rows are sorted in a way that follows {problem.target}.",
            detail=f"The row number alone gives {score}.",
            n=n,
            why="Harmless as long as no column repeats the order; folds are shuffled.",
            effect=Effect("auc" if given(m.data).classes else "r2", strength.score),
            fix="rows are shuffled before they are parted",
        )
    )
    for name in copies:
        f = found(
            "leakage.row_order",
            "fail",
            (name,),
            f"{name} repeats the order of the rows, which gives the answer away.",
            detail=f"The row number alone gives {score}.",
            n=n,
            why="New rows have no place in this order.",
            effect=Effect("auc" if given(m.data).classes else "r2", strength.score),
            fix="left out; both scores are shown",
        )
        findings.append(f)
        repairs.append(repair(f, name, "left out: it repeats the row order", role="excluded"))
    return outcome(findings, repairs)


def _runs(share: np.ndarray) -> float:
    """z of the Wald-Wolfowitz runs test on answers above against below the median; strongly negative = neighbours alike."""
    high = share > np.median(share) if len(np.unique(share)) > 2 else share > share.min()
    a, b = float(high.sum()), float((~high).sum())
    if min(a, b) < 10:
        return 0.0
    n = a + b
    runs = 1 + float((high[1:] != high[:-1]).sum())
    expected = 1 + 2 * a * b / n
    return float((runs - expected) / np.sqrt(max(1e-12, 2 * a * b * (2 * a * b - n) / (n * n * (n - 1)))))


def _follows_rows(one: Looked) -> bool:
    """Rises (or falls) strictly with the row number, as a counter does."""
    known = one.known
    if one.column.kind == "date" or len(known) < 0.98 * len(one.column) or len(np.unique(known)) < 0.95 * len(known):
        return False
    steps = np.diff(known)
    return bool(((steps > 0).mean() > 0.98 or (steps < 0).mean() > 0.98) and np.array_equal(known, np.round(known)))


@hook
def emlyn_checks() -> list[Check]:
    need = ("table", "problem", "data")
    return [
        Check(
            "leakage.target_copy",
            "the target under another name",
            need,
            target_copy,
            source="bijection of codes; Pearson |r| > 0.9999; strict monotony",
        ),
        Check(
            "leakage.single_column",
            "one column tells the answer",
            need,
            single_column,
            source="out-of-fold tree on one column; thresholds measured on 26 tables",
        ),
        Check("leakage.missing_indicator", "gaps tell the answer", need, missing_indicator),
        Check(
            "leakage.pure_value", "a value that fixes the answer", need, pure_value, source="binomial test with Bonferroni over the column's values"
        ),
        Check(
            "leakage.row_order",
            "the order of rows tells the answer",
            need,
            row_order,
            source="out-of-fold tree on the row number; runs test (Wald, Wolfowitz 1940)",
        ),
    ]
