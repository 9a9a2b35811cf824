"""Leakage in single columns: made from the answer, after it, or with it (Kapoor, Narayanan 2023, types L1 to L3)."""

from __future__ import annotations

import numpy as np

from emlyn.checks._say import Looked, answer_share, found, given, listed, looked_at, percent, repair
from emlyn.core.auditing.probe import Strength, column_strengths
from emlyn.core.check import Check, Material, Outcome, example_rows, outcome
from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.metrics import auc
from emlyn.core.judging.ranks import rank_correlation
from emlyn.core.table import Column, Table
from emlyn.plugins import hook
from emlyn.records.finding import Effect, Finding, Question
from emlyn.types import Severity

FAIL, WARN = 0.98, 0.95
"""Out-of-fold ROC AUC of one column alone: on 18 clean tables none reached the first, two the second (strong and honest)."""
FAIL_R2, WARN_R2 = 0.99, 0.97
FEWEST, FEW_VALUES = 50, 20
TOGETHER = 0.7
"""Rank correlation from which suspects share one question."""


def single_column(m: Material) -> Outcome:
    """A column that alone tells the answer almost perfectly."""
    data, problem = given(m.data), given(m.problem)
    if len(data) < FEWEST:
        return outcome()
    classes = data.classes
    told = column_strengths(data, [n for n in problem.features if not _copies(m, n)], m.seed)
    levels: dict[str, Severity] = {}
    for name, strength in sorted(told.items(), key=lambda kv: -kv[1].score):
        level = _level(strength, classes, _rarest(m))
        if level == "fail" and not classes and len(np.unique(given(m.table)[name].values)) < FEW_VALUES:
            level = "warn"  # a few kinds of things that differ much in size; a leak has about as many values as the answer
        if level is not None:
            levels[name] = level
    findings, repairs, questions = [], [], []
    for level in dict.fromkeys(levels.values()):
        for names in _in_company(m, [n for n in levels if levels[n] == level]):
            f = _told_alone(m, names, level, told)
            findings.append(f)
            repairs += [repair(f, name, "left out: it knows the answer", role="excluded") for name in names if level == "fail"]
            questions.append(_question(f.id, names, taken="no" if level == "fail" else "yes"))
    return outcome(findings, repairs, questions)


def _told_alone(m: Material, names: tuple[str, ...], level: Severity, told: dict[str, Strength]) -> Finding:
    target, classes = given(m.problem).target, given(m.data).classes
    measure = "AUC" if classes else "R2"
    who = f"{listed(names)} {'alone tells' if len(names) == 1 else 'each tell'} {target}"
    it = "it" if len(names) == 1 else "they"
    return found(
        "leakage.single_column",
        level,
        names,
        f"{who} almost perfectly: {it} may have been recorded after the answer, or from it."
        if level == "fail"
        else f"{who} very well: make sure that {it} {'is' if it == 'it' else 'are'} known at the moment of prediction.",
        detail=f"Out-of-fold {measure} of a shallow tree on one column alone: {', '.join(f'{n} {told[n].score:.3f}' for n in names[:6])}.",
        n=len(given(m.data)),
        effect=Effect(measure.lower(), max(told[n].score for n in names)),
        why="A column that is not yet known when the model is used makes the score a lie.",
        fix="left out; both scores are shown" if level == "fail" else "kept",
        evidence={"accuracy": {n: told[n].accuracy for n in names}},
    )


def _in_company(m: Material, names: list[str]) -> list[tuple[str, ...]]:
    """The columns in groups that go with each other (Spearman's correlation of 0.7 with any of the group): one question is enough for all."""
    share = answer_share(m)
    values: dict[str, np.ndarray] = {}
    for name in names:
        column = given(m.table)[name]
        codes = column.values
        if column.levels is not None:  # words by the mean answer of each level
            place = np.where(codes < 0, len(column.levels), codes)
            codes = (np.bincount(place, share) / np.maximum(np.bincount(place), 1))[place]
        known = codes[np.isfinite(codes)]
        values[name] = np.where(np.isfinite(codes), codes, np.median(known) if len(known) else 0.0)
    groups: list[list[str]] = []
    for name in names:
        near = [g for g in groups if any(abs(rank_correlation(values[name], values[other])) >= TOGETHER for other in g)]
        groups = [g for g in groups if g not in near] + [[*(n for g in near for n in g), name]]
    return [tuple(g) for g in groups]


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
    """Features that repeat the order of rows sorted by the answer. The order alone is harmless, since folds are shuffled, and is not reported."""
    n = len(given(m.data))
    if n < 100:
        return outcome()
    order = Table({"": Column("number", np.arange(n, dtype=np.float64))})
    data = rows_dataset(order, given(m.data).answers, classes=given(m.data).classes)
    strength = column_strengths(data, [""], m.seed)[""]
    above = 2 * strength.score - 1 if given(m.data).classes else strength.score
    if given(m.data).time is not None or above < 0.2:
        return outcome()
    copies = [one.name for one in looked_at(m, "number", "date") if _follows_rows(one)]
    score = f"{'AUC' if given(m.data).classes else 'R2'} {strength.score:.3f}"
    findings, repairs = [], []
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
            source="out-of-fold tree on the row number",
        ),
    ]
