"""How the rows came to be here: drawn by answer, only complete cases, rows without an answer, outcomes not yet known, parts that differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emlyn.checks._say import answer_share, found, given, listed, percent, two_sided
from emlyn.core.auditing.probe import Probe, column_strengths, standard
from emlyn.core.check import Check, Material, Outcome, outcome
from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.intervals import roc_area
from emlyn.core.judging.ranks import rank_correlation
from emlyn.core.splits import TWINS
from emlyn.core.table import Column, Table
from emlyn.plugins import hook
from emlyn.records.finding import Effect, Finding
from emlyn.records.problem import SplitRule

CHUNKS, TOLD_APART, SORTED, SORT_KEY = 30, 0.7, 0.1, 0.7
BINS, GONE = 20, 0.3


def sampling(m: Material) -> Outcome:
    """Answers in a round proportion, and entities that all have the same number of rows: the rows were selected, not met."""
    return outcome([f for f in (_drawn_by_answer(m), _same_sizes(m)) if f is not None])


def _drawn_by_answer(m: Material) -> Finding | None:
    """Two answers in equal numbers or in an exact multiple of 10 % (500 rows and more), or three and more in equal numbers (60 rows and more).

    By chance the first happens in up to 4 of 100 tables of 500 rows whose true share lies at such a multiple, the second hardly ever.
    """
    problem, target = given(m.problem), given(m.whole)[given(m.problem).target]
    counts = np.unique(target.values[~target.missing], return_counts=True)[1]
    n = int(counts.sum())
    if not problem.classes or len(counts) != len(problem.classes):
        return None
    equal = len(counts) > 2 and n >= 60 and int(counts.min()) == int(counts.max()) >= 10
    if not equal and (len(counts) != 2 or n < 500 or (10 * int(counts[0])) % n):
        return None
    how = "in exactly equal numbers" if equal or counts[0] == counts[1] else f"in exact proportion ({' to '.join(f'{c:,}' for c in counts)})"
    return found(
        "structure.sampling",
        "info",
        (problem.target,),
        f"The answers stand {how}: the rows seem to have been drawn by their answer.",
        detail=f"{', '.join(f'{c:,}' for c in sorted(counts.tolist()))} rows per answer. Ranking carries over to another mix; probabilities do not.",
        n=n,
        effect=Effect("share of the rarest answer", float(counts.min() / n)),
        why="Where answers are met in another proportion than in this table, probabilities and precision are wrong there.",
        fix="nothing; check that the proportion is the one of later use",
    )


def _same_sizes(m: Material) -> Finding | None:
    """Thirty entities and more (known as the group of the split) that all have the same number of rows, at least two."""
    rule = given(m.problem).split
    if rule.kind != "group" or rule.by == TWINS:
        return None
    column = given(m.whole)[rule.by]
    sizes = np.unique(column.values[~column.missing], return_counts=True)[1]
    if len(sizes) < 30 or sizes.min() < 2 or sizes.min() != sizes.max():
        return None
    return found(
        "structure.sampling",
        "info",
        (rule.by,),
        f"Every {rule.by} has exactly {int(sizes[0])} rows: those with fewer seem to have been left out.",
        detail=f"{len(sizes):,} entities of one size. Who dropped out (or was not there from the beginning) is not in the table.",
        n=int(sizes.sum()),
        effect=Effect("rows per entity", float(sizes[0])),
        why="What is learned from complete cases alone may not hold for those who leave early.",
        fix="nothing; add the incomplete cases if they exist",
    )


def unanswered(m: Material) -> Outcome:
    """Rows without an answer, which are left out: the model learns from cases whose outcome is known alone."""
    target = given(m.problem).target
    card = m.card.column(target)
    share = card.missing / max(1, card.rows)
    if share < 0.005:
        return outcome()
    return outcome(
        [
            found(
                "target.unanswered",
                "warn" if share > 0.2 else "info",
                (target,),
                f"{card.missing:,} of {card.rows:,} rows have no {target} and are left out.",
                detail=f"{percent(share)} of the rows. What is learned holds for rows whose outcome becomes known.",
                n=card.rows,
                effect=Effect("share of rows", share),
                why="If answers are known for some cases only (accepted applications, patients who came back), the others are never judged.",
                fix="left out of learning and judging",
                applied=True,
            )
        ]
    )


def unripe(m: Material) -> Outcome:
    """The newest rows hold the event far less often than all before: their outcome may not be known yet."""
    problem, data = given(m.problem), given(m.data)
    if data.time is None or data.classes != 2 or len(data) < 400:
        return outcome()
    order = np.argsort(data.time, kind="stable")
    parts = np.array_split(answer_share(m)[order], BINS)
    rates = np.array([p.mean() for p in parts])
    before, last = rates[-6:-1], rates[-1]
    pooled, size = float(before.mean()), len(parts[-1])
    error = np.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / size + 1 / sum(len(p) for p in parts[-6:-1])))
    z = float((last - pooled) / error)
    if last > GONE * before.min() or two_sided(z) > 1e-4:
        return outcome()
    return outcome(
        [
            found(
                "structure.unripe",
                "warn",
                (problem.time,),
                f"In the newest rows {problem.positive!r} is rare ({percent(float(last))}, before {percent(pooled)}): it may not be known yet.",
                detail=f"Last twentieth by {problem.time} against the five before, z = {z:.1f}.",
                n=len(data),
                effect=Effect("difference of rates", float(last - pooled)),
                why="Rows whose outcome has had no time to happen are learned as if it never would, and the newest rows judge the model.",
                fix="nothing was changed; leave out the rows that are too young to have an outcome",
            )
        ]
    )


def parts(m: Material) -> Outcome:
    """Can a small model tell the first half of the table from the second, by time or by row order, on stretches of rows it has not seen?"""
    problem, probe = given(m.problem), m.probe
    data = probe.data
    n = len(data)
    if n < 300:
        return outcome()
    order = data.time if data.time is not None else data.units.astype(np.float64)
    place = np.argsort(np.argsort(order, kind="stable"), kind="stable")
    clock = {name: _goes_with(data.rows[name].take(data.units), place) for name in problem.features}
    if data.time is None and (max(clock.values(), default=0.0) >= SORT_KEY or _sorted_by_answer(m)):
        return outcome()
    names = tuple(f for f in problem.features if clock[f] < SORT_KEY and data.rows[f].kind != "text" and f != problem.time)
    if not names:
        return outcome()
    side = (place >= n / 2).astype(np.int64)
    chunk = place * CHUNKS // n
    asked = replace(problem, task="binary", metric="roc_auc", classes=("first", "second"), features=names, split=SplitRule("group", "stretch"))
    judge = Probe(replace(data, answers=side, classes=2, group=chunk, time=None, weight=None, shared={}), asked, m.seed, probe.threads)
    told = judge.oof
    area = roc_area(side[np.isfinite(told[:, 1])], told[np.isfinite(told[:, 1]), 1])
    if area.value is None or area.low is None or area.value < TOLD_APART or area.low < 0.5 + (TOLD_APART - 0.5) / 2:
        return outcome()
    single = column_strengths(judge.data, names, m.seed)
    most = [f"{name} (AUC {s.score:.2f})" for name, s in sorted(single.items(), key=lambda kv: -kv[1].score)[:3] if standard(s.score, "binary") > 0.1]
    by = f"by {problem.time}" if data.time is not None else "in the order of the file"
    return outcome(
        [
            found(
                "structure.parts",
                "warn" if data.time is not None else "info",
                tuple(name.rsplit(" (", 1)[0] for name in most),
                f"The first and the second half of the rows {by} differ{': ' + listed([x.rsplit(' (', 1)[0] for x in most]) if most else ''}.",
                detail=f"A model tells them apart with AUC {area.value:.3f} ({area.low:.3f} to {area.high:.3f}) on stretches it has not seen"
                + (f"; most by {', '.join(most)}." if most else "."),
                n=n,
                effect=Effect("auc", area.value, area.low, area.high),
                why="What was learned on one part may not hold on the other; the rows of tomorrow are like the last ones.",
                fix="judged forward in time" if data.time is not None else "nothing; if the file is in time order, name the time with --time",
            )
        ]
    )


def _goes_with(column: Column, place: np.ndarray) -> float:
    """|Spearman's correlation| of a column with the place of its rows; words by the number of their level, as the file brought them."""
    values = column.values.astype(np.float64)
    known = np.isfinite(values) if column.levels is None else values >= 0
    return abs(rank_correlation(values[known], place[known])) if known.sum() > 2 else 0.0


def _sorted_by_answer(m: Material) -> bool:
    data = given(m.data)
    rows = Table({"": Column("number", np.arange(len(data), dtype=np.float64))})
    told = column_strengths(rows_dataset(rows, data.answers, classes=data.classes), [""], m.seed)[""]
    return standard(told.score, "binary" if data.classes else "regression") > SORTED


@hook
def emlyn_checks() -> list[Check]:
    return [
        Check("structure.sampling", "rows drawn by their answer or by being complete", ("whole", "problem", "data"), sampling, source="exact counts"),
        Check("target.unanswered", "rows without an answer", ("problem", "data"), unanswered),
        Check("structure.unripe", "newest rows without the event", ("problem", "data"), unripe, source="two shares, pooled z"),
        Check(
            "structure.parts",
            "parts of the table that differ",
            ("problem", "data", "probe"),
            parts,
            slow=True,
            source="classifier two-sample test (Lopez-Paz, Oquab 2017) on held-out stretches; logit DeLong",
        ),
    ]
