"""Explain: what drives the model overall, and why single rows get their answers, always in the columns of the source."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.context import Context
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.explainer import reasons
from emlyn.core.judging.influence import influence
from emlyn.core.judging.intervals import from_influence
from emlyn.core.judging.metrics import Metric, metric
from emlyn.core.judging.shapes import ICE_ROWS, STEPS, describe, effect, most_related, moving_together, relatedness, with_cells
from emlyn.core.models.fold_models import FOLD, columns_of
from emlyn.core.table import Table
from emlyn.core.wording import answer
from emlyn.records.evaluation import Driver, Explanation
from emlyn.records.problem import Problem

__all__ = ["explain", "reasons"]

MOST_ROWS = 2_000
FEWEST_ROWS = 100
MOST_CURVES = 10
MOST_COLUMNS = 300
CURVE_ROWS, FEWEST_CURVE_ROWS = 300, 60
REPEATS = 5
UNCLOCKED_ROWS = 40_000
"""Rows permuted and predicted in all where no clock bounds the run (`--trials`): the same work every time, and no more than a minute of it."""


@dataclass(frozen=True, eq=False)
class _Group:
    """Columns permuted as one, and what that does to the metric."""

    names: list[str]
    value: float
    rows: np.ndarray
    """Influence (n,) of each row on `value`."""


@dataclass(frozen=True)
class _Curve:
    """The effect of one column: in words, as points, and how far single rows' own curves spread around it."""

    words: str = ""
    points: tuple[tuple[Any, float], ...] = ()
    band: tuple[tuple[float, float], ...] = ()


def explain(model: Any, data: Dataset, problem: Problem, context: Context) -> Explanation:
    """Global drivers: how much worse the problem's metric becomes when a column (with those it moves together with) is permuted.

    Rows, repeats and columns are cut until it fits half of what is left of the evaluation's share of the time; `method` says what
    was done. `data` are rows that `model` did not learn from: where there are none, its fold models (`core.models.fold_models`) judge. The
    noise line is how far chance alone reaches: the importance of a useless column is symmetric around zero, so the most negative one,
    mirrored, marks it.
    """
    assert data.answers is not None
    if "rows" not in data.tables or not len(data):
        return Explanation("no columns of rows to explain by", ())
    seconds = max(0.3, context.budget.until("evaluate") / 2)
    until, rng = time.monotonic() + seconds, np.random.default_rng(context.seed)
    m = metric(problem.metric)
    rows, each = _affordable(model, data, rng, seconds, min(MOST_COLUMNS, len(data.rows)))
    table, truth = data.rows.take(data.units[rows]), data.answers[rows]
    weight = None if data.weight is None else data.weight[rows]
    base = model.predict_answers(rows_dataset(table))
    columns = columns_of(table)
    looked = most_related(table.select(columns), base[:, -1], MOST_COLUMNS, context.seed)
    strength = dict(zip(looked, relatedness(table.select(looked), base[:, -1], context.seed), strict=True))
    groups = sorted(moving_together(table.select(looked), base[:, -1]), key=lambda names: -max(strength[n] for n in names))
    seen, repeats = _permuted(
        model, table, _Truth(m, truth, base, weight), groups, rng, until - 0.5 * seconds if math.isfinite(seconds) else math.inf
    )
    line = _noise_line(seen)
    cluster = None if data.group is None else data.group[rows]
    ranked = sorted(seen, key=lambda g: -g.value)
    curves = _curves(model, table, problem, [n for g in ranked for n in g.names if g.value > line], until, each)
    drivers = tuple(_driver(g, line, cluster, curves) for g in ranked)
    moved = "fall" if m.direction == "maximize" else "rise"
    often = "once" if repeats == 1 else f"{repeats} times"
    done = f"{moved} of {m.label or m.name} when a column is permuted, {often} on {len(rows):,} rows"
    done += f"; the {len(looked):,} of {len(columns):,} columns that go with the prediction most" if len(looked) < len(columns) else ""
    judged = "the training rows, each judged by the fold models that did not learn from it" if FOLD in table else "the rows of the evaluation"
    cut = f"there was time for the {len(seen):,} of {len(groups):,} groups of columns that go with the prediction most"
    left = cut if len(seen) < len(groups) else ""
    return Explanation(f"permutation importance: {done}", drivers, len(rows), judged, line, left)


@dataclass(frozen=True, eq=False)
class _Truth:
    """The metric on the true answers, and the predictions before anything was permuted."""

    metric: Metric
    truth: np.ndarray
    base: np.ndarray
    weight: np.ndarray | None

    def worse(self, prediction: np.ndarray) -> tuple[float, np.ndarray]:
        """How much the loss rises, and each row's influence on that."""
        m = self.metric
        before, after = (influence(m.name, self.truth, p, self.weight) for p in (self.base, prediction))
        rows = np.zeros(len(self.truth)) if before is None or after is None else m.sign * (after - before)
        return m.loss(self.truth, prediction, self.weight) - m.loss(self.truth, self.base, self.weight), rows


def _affordable(model: Any, data: Dataset, rng: np.random.Generator, seconds: float, columns: int) -> tuple[np.ndarray, float]:
    """Positions of the rows to use, and the seconds one row's prediction takes."""
    probe = rng.permutation(len(data))[: min(len(data), 100)]
    began = time.monotonic()
    model.predict_answers(rows_dataset(data.rows.take(data.units[probe])))
    each = max((time.monotonic() - began) / max(len(probe), 1), 1e-7)
    most = 0.3 * seconds / each if math.isfinite(seconds) else UNCLOCKED_ROWS
    size = int(np.clip(most / max(columns, 1), FEWEST_ROWS, MOST_ROWS))
    return np.sort(rng.permutation(len(data))[: min(len(data), size)]), each


def _permuted(
    model: Any, table: Table, truth: _Truth, groups: Sequence[list[str]], rng: np.random.Generator, until: float
) -> tuple[list[_Group], int]:
    """Every group once, then again as long as time allows: what each permutation costs, averaged."""
    costs: list[list[tuple[float, np.ndarray]]] = [[] for _ in groups]
    repeats = 0
    affordable = REPEATS if math.isfinite(until) else int(np.clip(UNCLOCKED_ROWS // (table.rows * max(1, len(groups))), 1, REPEATS))
    for repeat in range(affordable):
        for k, names in enumerate(groups):
            if time.monotonic() > until and (k or repeat):
                break
            changed, order = table, rng.permutation(table.rows)
            for name in names:
                changed = with_cells(changed, name, table[name].values[order])
            costs[k].append(truth.worse(model.predict_answers(rows_dataset(changed))))
            repeats = max(repeats, repeat + 1)
    seen = [(names, c) for names, c in zip(groups, costs, strict=True) if c]
    return [_Group(list(names), float(np.mean([v for v, _ in c])), np.mean([r for _, r in c], axis=0)) for names, c in seen], repeats


def _noise_line(groups: Sequence[_Group]) -> float:
    """How far chance reaches: the most negative importance, mirrored, and at least the median standard error of the useless ones."""
    errors = [float(np.sqrt((g.rows**2).sum())) for g in groups if abs(g.value) <= 2 * np.sqrt((g.rows**2).sum())]
    return max([0.0, *(-g.value for g in groups), float(np.median(errors)) if errors else 0.0])


def _driver(group: _Group, line: float, cluster: np.ndarray | None, curves: dict[str, _Curve]) -> Driver:
    spread = from_influence(group.value, group.rows, cluster)
    strongest = max(group.names, key=lambda n: np.ptp([e for _, e in curves[n].points]) if n in curves and curves[n].points else -1.0)
    shape = curves.get(strongest, _Curve())
    low = spread.low
    return Driver(
        column=strongest,
        importance=group.value,
        low=low,
        high=spread.high,
        direction=shape.words,
        above_noise=bool(group.value > line and (low is None or low > 0)),
        partners=tuple(n for n in group.names if n != strongest),
        curve=shape.points,
        band=shape.band,
    )


def _curves(
    model: Any, table: Table, problem: Problem, names: Sequence[str], until: float, each: float
) -> dict[str, _Curve]:
    """Effect curves of the strongest columns, as far as time allows: for classes on the probability of the last, or of the one most moved."""
    most = (until - time.monotonic()) / (2 * each * max(1, min(len(names), MOST_CURVES))) - ICE_ROWS * STEPS / 2
    rows = np.unique(np.linspace(0, table.rows - 1, int(np.clip(most, FEWEST_CURVE_ROWS, min(table.rows, CURVE_ROWS)))).astype(int))
    part, found = table.take(rows), dict[str, _Curve]()
    for name in names[:MOST_CURVES]:
        column = table[name]
        if column.kind == "text" or (found and time.monotonic() + each * (2 * len(rows) + ICE_ROWS * STEPS) > until):
            continue
        if column.missing[rows].all():
            continue
        shape = effect(part, name, lambda t: np.asarray(model.predict_answers(rows_dataset(t))))
        k = shape.curve.shape[1] - 1 if problem.task != "multiclass" else int(np.argmax(np.ptp(shape.curve, axis=0)))
        what = f"the probability of {answer(problem.classes[k], problem.target)}" if problem.classes else f"the predicted {problem.target}"
        words = describe(shape.values, shape.curve[:, k], shape.counts, not column.coded and column.kind != "boolean", what)
        points = tuple(zip(shape.values, shape.curve[:, k].tolist(), strict=True))
        found[name] = _Curve(words, points, tuple((float(a), float(b)) for a, b in shape.band[:, :, k].T))
    return found
