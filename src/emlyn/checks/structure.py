"""Structure: rows that belong together, order in time, places that differ, rows that look like another table's."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from emlyn.checks._say import (
    TWINS_FROM,
    answer_share,
    found,
    given,
    has_twins,
    listed,
    looked_at,
    number,
    percent,
    two_sided,
    words,
    words_of,
)
from emlyn.core.auditing.structure import find_entities
from emlyn.core.check import Check, Material, Outcome, example_rows, outcome
from emlyn.core.judging.ranks import average_ranks, rank_correlation
from emlyn.core.splits import TWINS, count_twins, make_folds, twin_codes
from emlyn.core.table import row_hashes
from emlyn.plugins import hook
from emlyn.records.finding import Effect
from emlyn.records.problem import SplitRule

SITES = words(
    "site center centre hospital clinic school store shop branch plant factory region state country lab batch city location station machine "
    "operator source campus district"
)

NEAR_ROWS, NEAR_COLUMNS = 5_000, 24
HELD_OUT = 6
"""Parts that places are held out in: each place alone up to six, several at a time beyond."""


def entities(m: Material) -> Outcome:
    """Columns whose equal values mark rows of one person or thing (agreement lift; see docs/checks)."""
    problem, whole = given(m.problem), given(m.whole)
    rule = problem.split
    if rule.kind == "group" and rule.by != TWINS:
        column = whole[rule.by]
        known = column.values[~column.missing]
        sizes = np.unique(known, return_counts=True)[1]
        return outcome(
            [
                found(
                    "structure.entities",
                    "info",
                    (rule.by,),
                    f"Rows belong to {len(sizes):,} entities ({rule.by}); all rows of one stay on one side of every split.",
                    detail=rule.why,
                    n=whole.rows,
                    effect=Effect("rows per entity", float(sizes.mean()) if len(sizes) else None),
                    applied=True,
                    fix="split by group",
                    why="A model judged on people it has already seen looks better than it is.",
                )
            ]
        )
    keys = [e for e in find_entities(m.raw, problem.target, m.seed) if e.name != rule.by]
    return outcome(
        [
            found(
                "structure.entities",
                "warn",
                (e.name,),
                f"Rows with the same {e.name} seem to be one and the same thing, but the split does not keep them together.",
                detail=f"{e.entities:,} values; rows that share one agree on {listed(e.agree)}.",
                n=m.raw.rows,
                effect=Effect("share of columns", e.share),
                why="A model judged on things it has already seen looks better than it is.",
                fix=f"--group {e.name} keeps them together",
            )
            for e in keys[:1]
        ]
    )


def twins(m: Material) -> Outcome:
    """Rows with equal features, which a random split would part."""
    problem, whole = given(m.problem), given(m.whole)
    n = whole.rows
    if not problem.target or not has_twins(whole, problem.features):
        return outcome()
    rows, _ = count_twins(whole, problem.features, TWINS_FROM)
    alike = n - len(np.unique(twin_codes(whole, [*problem.features, problem.target])))
    kept = problem.split.kind in ("group", "time")
    return outcome(
        [
            found(
                "structure.twins",
                "warn",
                (),
                f"{rows:,} of {n:,} rows have a twin with exactly the same features; parted at random, a model would be judged on rows it has seen.",
                detail=f"{alike:,} rows repeat an earlier one with its answer. Copies, not coincidences: "
                "leaving a column out adds fewer repeats than there are.",
                n=n,
                effect=Effect("share of rows", rows / n),
                why="White-wine quality >= 7 scores AUC 0.92 with twins parted and 0.84 with twins together.",
                applied=kept,
                fix="twins are kept on one side of every split" if kept else "too few to decide the split",
            )
        ]
    )


def near_twins(m: Material) -> Outcome:
    """Rows that equal another one in all features but one, as copies with an edited cell do.

    Told from coincidences as twins are: rows alike by chance would be joined by more if two columns were left out. Told from designs, in which the
    same thing is measured again at another setting, by the columns that differ: in a design it is mostly the same one.
    """
    table, features = given(m.table), given(m.problem).features
    names = sorted((f for f in features if table[f].kind != "text"), key=lambda f: -len(np.unique(table[f].values[:2_000])))[:NEAR_COLUMNS]
    few = table.select(names).take(np.arange(min(NEAR_ROWS, table.rows)))
    if len(names) < 4 or few.rows < 100:
        return outcome()
    rng = np.random.default_rng(m.seed)
    codes = [np.unique(few[n].values, return_inverse=True)[1] for n in names]
    cells = [rng.integers(0, 2**62, int(c.max()) + 1, dtype=np.int64)[c] for c in codes]
    with np.errstate(over="ignore"):
        whole = np.add.reduce(cells)
        twin = _repeated(whole)
        by = np.array([_repeated(whole - one) & ~twin for one in cells])
        near: np.ndarray = np.logical_or.reduce(by)
        if near.sum() <= max(5, TWINS_FROM * few.rows) or by.sum(axis=1).max() >= 0.5 * near.sum():
            return outcome()
        beyond = np.logical_or.reduce([_repeated(whole - a - b) for a, b in combinations(cells, 2)]) & ~twin & ~near
    if beyond.sum() >= near.sum():
        return outcome()
    part = "" if few.rows == given(m.whole).rows else f" of the {few.rows:,} looked at"
    return outcome(
        [
            found(
                "structure.near_twins",
                "info",
                (),
                f"{int(near.sum()):,} rows{part} differ from another row in one single cell: they may be copies that were edited.",
                detail=f"Only {int(beyond.sum()):,} more are alike in all but two of {len(names)} columns: not by chance; which cell differs varies.",
                n=few.rows,
                rows=example_rows(near),
                effect=Effect("share of rows", float(near.mean())),
                why="A copy in the part that judges makes the model look better than it is; only exact copies are kept on one side of a split.",
                fix="look at these rows; if something names what they belong to, keep it together with --group",
            )
        ]
    )


def _repeated(codes: np.ndarray) -> np.ndarray:
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    found_: np.ndarray = np.empty(len(codes), dtype=bool)
    found_[order] = np.r_[same, False] | np.r_[False, same]
    return found_


def time(m: Material) -> Outcome:
    """Does the answer drift with the time that orders the rows?"""
    problem, data = given(m.problem), given(m.data)
    share = answer_share(m)
    n = len(share)
    if n < 100 or data.time is None:
        return outcome()
    rho = rank_correlation(data.time, share)
    p = two_sided(rho * np.sqrt(n - 1))
    drifts = abs(rho) > 0.1 and p < 1e-4
    return outcome(
        [
            found(
                "structure.time",
                "warn" if drifts else "info",
                (problem.time,),
                f"{problem.target} {'changes' if drifts else 'does not clearly change'} over {problem.time}; the model is judged on later rows.",
                detail=f"Spearman correlation with time {rho:+.3f} (p = {p:.1g}).",
                n=n,
                effect=Effect("spearman", rho),
                applied=True,
                fix="split forward in time",
                why="A model is used on the future, not on a mixture of past and future.",
            )
        ]
    )


def sites(m: Material) -> Outcome:
    """Places or batches whose answers differ more than chance."""
    from scipy.special import chdtrc

    data = given(m.data)
    findings, p_values = [], {}
    share = answer_share(m)
    for one in looked_at(m, "category", "number"):
        if not SITES & set(words_of(one.name)):
            continue
        codes = one.column.as_coded()
        assert codes.levels is not None
        used = int((np.bincount(codes.values[codes.values >= 0], minlength=1) >= 20).sum())
        if not 2 <= used <= 60:
            continue
        groups = [share[codes.values == k] for k in range(len(codes.levels)) if (codes.values == k).sum() >= 20]
        p = float(chdtrc(len(groups) - 1, _between(groups)))
        means = np.array([g.mean() for g in groups])
        spread = float(means.max() - means.min()) if data.classes else float((means.max() - means.min()) / max(share.std(), 1e-300))
        name = f"structure.sites:{one.name}"
        p_values[name] = p
        if spread > (0.1 if data.classes else 0.3):
            told = _new_places(m, one.name, codes.values)
            unit = "difference of rates" if data.classes else "difference in standard deviations"
            low, high = (percent(means.min()), percent(means.max())) if data.classes else (number(float(means.min())), number(float(means.max())))
            findings.append(
                found(
                    "structure.sites",
                    "info",
                    (one.name,),
                    f"The answers differ from one {one.name} to another: from {low} to {high}.",
                    n=len(share),
                    detail=f"{len(groups)} with at least 20 rows; p = {p:.1g}." + _places_said(m, one.name, told),
                    effect=Effect(unit, spread),
                    evidence={} if told is None else {"score": told[0], "score at new places": told[1]},
                    why="A model may learn the place instead of the cause, and fail at a new place.",
                    fix=f"for use at new places judge it with --group {one.name}",
                )
            )
    return Outcome(tuple(findings), p_values=p_values)


def _new_places(m: Material, name: str, codes: np.ndarray) -> tuple[float, float] | None:
    """The probe's score without this column, with rows parted as they are and with whole places held out; None where it cannot be told."""
    probe, problem = m.probe, given(m.problem)
    names = tuple(f for f in problem.features if f != name)
    if probe is None or m.seconds <= probe.start_s or not any(given(m.table)[f].kind != "text" for f in names):
        return None
    here = codes[probe.data.units].astype(np.int64)
    sizes = np.unique(here[here >= 0], return_counts=True)[1]
    if len(sizes) < 3 or problem.split.by == name or sizes.max() > 0.5 * len(here):  # without the largest place too few rows would be left to learn
        return None
    apart = replace(probe.data, group=here, time=None, shared={})
    folds = make_folds(apart, SplitRule("group", name), min(len(sizes), HELD_OUT), m.seed, stratify=bool(apart.classes))
    truth = given(probe.data.answers)
    return probe.scored(probe.predict(names, probe.folds), truth), probe.scored(probe.predict(names, folds), truth)


def _places_said(m: Material, name: str, told: tuple[float, float] | None) -> str:
    if told is None:
        return ""
    metric = given(m.problem).metric
    return f" On a {name} it has not seen, a quick model scores {metric} {number(told[1])}, on rows parted as they are {number(told[0])}."


def _between(groups: list[np.ndarray]) -> float:
    """Spread of the groups against chance: Kruskal-Wallis H, by ranks; chi-squared with groups - 1 degrees of freedom (for shares: Pearson's)."""
    ranks = average_ranks(np.concatenate(groups))
    parts = np.split(ranks, np.cumsum([len(g) for g in groups])[:-1])
    n, middle = len(ranks), ranks.mean()
    return float(sum(len(p) * (p.mean() - middle) ** 2 for p in parts) / max(1e-12, ranks.var() * n / (n - 1)))


def drift(m: Material) -> Outcome:
    """Columns that are distributed otherwise in another table (`--against`), and how well the two can be told apart."""
    from emlyn.core.auditing.probe import column_strengths
    from emlyn.core.dataset import rows_dataset
    from emlyn.core.table import Table, text_column

    reference, table = given(m.reference), given(m.table)
    shared = [n for n in table if n in reference and table[n].kind == reference[n].kind and table[n].coded == reference[n].coded]
    here, there = table.select(shared), reference.select(shared)
    joined = {}
    for n in shared:
        a, b = here[n], there[n]
        joined[n] = type(a)(a.kind, np.r_[a.values, b.values]) if a.levels is None else text_column([*a.strings(), *b.strings()], a.kind)
    side = np.r_[np.zeros(here.rows, dtype=np.int64), np.ones(there.rows, dtype=np.int64)]
    told = column_strengths(rows_dataset(Table(joined), side, classes=2), shared, m.seed)
    error = np.sqrt((here.rows + there.rows + 1) / (12 * here.rows * there.rows))
    findings = [
        found(
            "structure.drift",
            "warn",
            (n,),
            f"{n} is distributed otherwise in the other table.",
            detail=f"A shallow tree on it tells the two tables apart with AUC {s.score:.3f}.",
            n=len(side),
            effect=Effect("auc", s.score, s.score - 1.96 * error, min(1.0, s.score + 1.96 * error)),
            why="What was learned on one may not hold on the other.",
            fix="look at how the two were collected; retrain if the new one is right",
        )
        for n, s in sorted(told.items(), key=lambda kv: -kv[1].score)
        if s.score > max(0.6, 0.5 + 3 * error)
    ]
    return outcome(findings)


def overlap(m: Material) -> Outcome:
    """Rows of the other table that are also in this one: judged on them, a model is judged on what it has seen (a hash join over shared columns)."""
    here, there = given(m.table), given(m.reference)
    shared = [n for n in given(m.problem).features if n in here and n in there]
    whole = m.whole if m.whole is not None and all(n in m.whole for n in shared) else None
    if len(shared) < 2 or there.rows < 20 or sum(np.log(max(2, len(np.unique(there[n].values)))) for n in shared) < np.log(100 * there.rows):
        return outcome()
    known = row_hashes(here, shared)
    same = np.isin(row_hashes(there, shared), known)
    if same.mean() <= 0.01:
        return outcome()
    part = f" of a sample of {here.rows:,}" if whole is not None and whole.rows > here.rows else ""
    return outcome(
        [
            found(
                "structure.overlap",
                "warn",
                (),
                f"{int(same.sum()):,} of {there.rows:,} rows of the other table are also in this one.",
                detail=f"Equal in all {len(shared)} shared features with one{part}.",
                n=there.rows,
                effect=Effect("share of rows", float(same.mean())),
                why="If the other table is a test, it judges the model partly on rows it has learned from.",
                fix="take these rows out of the test",
            )
        ]
    )


@hook
def emlyn_checks() -> list[Check]:
    return [
        Check("structure.entities", "rows of one entity", ("whole", "problem", "raw"), entities, source="agreement lift of rows that share a key"),
        Check("structure.twins", "rows with equal features", ("whole", "problem"), twins),
        Check(
            "structure.near_twins",
            "rows that differ in one cell",
            ("whole", "table", "problem"),
            near_twins,
            source="row hashes without one, and without two, columns",
        ),
        Check("structure.time", "answers that change over time", ("problem", "data"), time, source="Spearman correlation"),
        Check(
            "structure.sites", "places that differ", ("table", "problem", "data", "probe"), sites, source="Kruskal, Wallis 1952; Benjamini-Hochberg"
        ),
        Check("structure.overlap", "rows that are in both tables", ("table", "reference", "problem"), overlap, source="hash join"),
        Check("structure.drift", "another table that differs", ("table", "reference"), drift, source="domain classifier, one column at a time"),
    ]
