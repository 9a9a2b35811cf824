"""Enough data: rows for the columns at hand, and rows to measure the score with."""

from __future__ import annotations

import numpy as np

from emlyn.checks._say import found, given, looked_at
from emlyn.core.check import Check, Material, Outcome, outcome
from emlyn.core.judging.metrics import auc
from emlyn.core.splits import SEAL_FROM
from emlyn.plugins import hook
from emlyn.records.finding import Effect


def _rows(m: Material) -> int:
    return m.whole.rows if m.whole is not None else m.raw.rows


def sample_size(m: Material) -> Outcome:
    """Rows that a linear model of these columns needs to keep its promise (Riley et al. 2020): shrinkage 0.9, the answer's mean within a margin.

    The expected strength is the probe's own: Cox-Snell R2 from its AUC for two classes (a share of the largest possible), R2 for numbers.
    """
    problem, data = given(m.problem), given(m.data)
    if data.classes > 2 or m.probe.data.answers is None or any(looked_at(m, "text")):
        return outcome()  # the probe cannot read free text: what the rows suffice for is not known
    n, width = _rows(m), len(problem.features)
    told, y = m.probe.oof, np.asarray(m.probe.data.answers, dtype=np.float64)
    asked = np.isfinite(told[:, 0])
    if data.classes:
        rate = float(y.mean())
        strength = max(0.02, 2 * auc(y[asked] == 1, told[asked, 1]) - 1)
        largest = 1 - (rate**rate * (1 - rate) ** (1 - rate)) ** 2
        r2 = min(0.9, strength**2) * largest
        margin = (1.96 / 0.05) ** 2 * rate * (1 - rate)
    else:
        r2 = float(np.clip(1 - ((y - told[:, 0])[asked] ** 2).mean() / max(y[asked].var(), 1e-300), 0.02, 0.95))
        margin = 234.0 + width
    needed = int(np.ceil(max(width / ((0.9 - 1) * np.log(1 - min(r2 / 0.9, 0.99))), margin)))
    if n >= needed:
        return outcome()
    return outcome(
        [
            found(
                "enough.sample_size",
                "info",
                (),
                f"{n:,} rows are few for {width} columns: about {needed:,} would make the probabilities dependable."
                if data.classes
                else f"{n:,} rows are few for {width} columns: about {needed:,} would make the predictions dependable.",
                detail=f"Riley's criteria with shrinkage 0.9 and an expected R2 of {r2:.2f}; flexible models need more.",
                n=n,
                effect=Effect("rows needed", float(needed)),
                why="With too few rows a model promises more than it keeps.",
                fix="simple models are tried too, and the score comes with its range",
            )
        ]
    )


def test_precision(m: Material) -> Outcome:
    """Will the sealed rows (or all rows, by cross-validation) measure the score well enough? At least 100 rows of the rarer answer."""
    data, problem = given(m.data), given(m.problem)
    n = _rows(m)
    if data.classes != 2:
        return outcome()
    rate = float(min(np.mean(data.answers == 0), np.mean(data.answers == 1)))
    judged = n if n < SEAL_FROM else round(n * problem.split.sealed / max(1e-9, 1 - problem.split.sealed))
    events = round(judged * rate)
    if judged == 0 or events >= 100:
        return outcome()
    half = 1.96 * 0.5 / np.sqrt(3 * max(events, 1))
    return outcome(
        [
            found(
                "enough.test_precision",
                "info",
                (problem.target,),
                f"Only about {events} rows of the rarer answer judge the model: read the score as a range.",
                detail=f"The range of the AUC will be about +-{half:.2f}; 100 such rows give a fair range, 200 a fair calibration curve.",
                n=judged,
                effect=Effect("rows", float(events)),
                why="A single number would promise more than these rows can show.",
                fix="every score is shown with its interval",
            )
        ]
    )


@hook
def emlyn_checks() -> list[Check]:
    return [
        Check(
            "enough.sample_size",
            "rows for the columns at hand",
            ("table", "data", "problem", "probe"),
            sample_size,
            slow=True,
            source="Riley et al. 2020, BMJ 368:m441",
        ),
        Check("enough.test_precision", "rows to measure the score with", ("data", "problem"), test_precision),
    ]
