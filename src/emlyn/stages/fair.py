"""Fair: the best out-of-fold score whose gap between groups stays inside a limit, and what staying inside costs.

Two ensembles learn from the same rows: one as they are, one from rows reweighed so that group and answer are independent (Kamiran and
Calders 2012). Blends of the two are the ways to choose from; none needs to know the group at use beyond the model's own columns, and none
decides by another threshold for another group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emlyn.context import Context
from emlyn.core.dataset import Dataset
from emlyn.core.judging.answers import Answers
from emlyn.core.judging.decision import choose_threshold
from emlyn.core.judging.fairness_limit import Limit
from emlyn.core.judging.fairness_metrics import gap_of
from emlyn.core.judging.intervals import paired_difference
from emlyn.core.judging.metrics import metric
from emlyn.core.judging.mitigation import reweighing
from emlyn.core.models.calibration import Calibration, fit_calibration
from emlyn.core.models.model import Member, Model
from emlyn.core.searching.ensembling import blend
from emlyn.core.searching.selection import OutOfFold, corrected
from emlyn.core.searching.trials import Trials
from emlyn.core.wording import number, percent, signed
from emlyn.records.evaluation import Evaluation, Measure
from emlyn.records.problem import Problem

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the reweighed ensemble in the blends tried."""

REWEIGHED = " (reweighed)"


@dataclass(frozen=True, eq=False)
class Fair:
    """The way chosen, and everything told about it."""

    limit: Limit
    share: float
    """Of the reweighed ensemble in the model."""
    met: bool
    """Its out-of-fold gap, and a standard error more, is within the limit for every sensitive column."""
    ways: tuple[dict[str, Any], ...]
    price: Measure
    """Paired difference to the model as it would be without a limit, out of fold, in the problem's metric."""


def reweighed(data: Dataset, groups: Mapping[str, np.ndarray]) -> Dataset:
    """The same rows with weights under which the answer says nothing about the group; `groups`: column -> label (n,)."""
    assert data.answers is not None
    together = np.array([" & ".join(map(str, cells)) for cells in zip(*groups.values(), strict=True)])
    return replace(data, weight=reweighing(data.answers, together) * (1.0 if data.weight is None else data.weight))


def keep_within(limit: Limit, pair: tuple[Trials, Trials], models: tuple[Model, Model], groups: Mapping[str, np.ndarray]) -> tuple[Model, Fair]:
    """The blend of (as it is, reweighed) with the best out-of-fold score inside the limit; where none is, the one that comes closest.

    `groups`: column -> label of each unit of the trials' data.
    """
    plain = pair[0]
    rows = np.intersect1d(plain.covered(_chosen(plain)), pair[1].covered(_chosen(pair[1])))
    raw = [blend([t.oof(c.recipe.name)[rows] for c in _chosen(t)], np.array([c.weight for c in _chosen(t)])) for t in pair]
    m, problem, weight = plain.metric, plain.problem, plain.weight(rows)
    truth = plain.truth(rows)
    cluster = None if plain.data.group is None else plain.data.group[rows]
    found: list[tuple[dict[str, Any], Answers, Calibration]] = []
    for share in SHARES:
        mixed = (1 - share) * raw[0] + share * raw[1]
        calibration = fit_calibration(mixed, truth, weight)
        p = calibration.apply(mixed)
        threshold, why = choose_threshold(p[:, -1], problem, weight)
        answers = Answers(truth, p, weight, cluster, threshold, why, fold=plain.fold_of[rows])
        worst = max((_leaning(gap_of(answers, labels[rows], limit.metric)) for labels in groups.values()), key=lambda g: g["bar"])
        way = {"name": _name(share), "share": share, "value": m.score(truth, p, weight), **worst, "inside": worst["bar"] <= limit.most}
        found.append((way, answers, calibration))
    inside = [f for f in found if f[0]["inside"]]
    way, answers, calibration = min(inside, key=lambda f: m.sign * f[0]["value"]) if inside else min(found, key=lambda f: f[0]["bar"])
    price, _ = paired_difference(m, truth, answers.prediction, found[0][1].prediction, weight, cluster, answers.fold)
    model = _blended(models, way["share"], calibration).with_threshold(float(answers.threshold or 0.5), answers.threshold_why)
    told = tuple({k: v for k, v in f[0].items() if k != "bar"} for f in found)
    return replace(model, score=way["value"]), Fair(limit, way["share"], bool(inside), told, price)


def weigh(plain: Trials, twin: Trials, fair: Fair) -> None:
    """Weights on the leaderboards are those in the blend, and the reweighed recipes bear their name."""
    for trials, part, end in ((plain, 1 - fair.share, ""), (twin, fair.share, REWEIGHED)):
        for c in trials.candidates:
            c.weight, c.recipe = c.weight * part, replace(c.recipe, name=c.recipe.name + end)


def judged(fair: Fair, pair: tuple[Trials, Trials], context: Context) -> tuple[OutOfFold, np.ndarray]:
    """The chosen blend's out-of-fold answers, each side's weights chosen without the fold they answer, and the positions of their rows."""
    sides = [t.eligible() for t in pair]
    rows = np.intersect1d(pair[0].covered(sides[0]), pair[1].covered(sides[1]))
    plain, m = pair[0], pair[0].metric
    answers = []
    for t, side in zip(pair, sides, strict=True):
        stored = OutOfFold([t.oof(c.recipe.name)[rows] for c in side], plain.fold_of[rows], plain.truth(rows), t.weight(rows))
        answers.append(corrected(stored, m, calibrate=False, seed=context.seed, seconds=0.2 * context.budget.until("evaluate")))
    mixed = (1 - fair.share) * answers[0] + fair.share * answers[1]
    return OutOfFold([mixed], plain.fold_of[rows], plain.truth(rows), plain.weight(rows)), rows


def limit_section(fair: Fair, evaluation: Evaluation, problem: Problem) -> dict[str, Any]:
    """The evaluation's section `fairness` with the part `limit` (`stages.evaluate`): the gap on the rows of the evaluation beside what was asked."""
    section = dict(evaluation.sections.get("fairness") or {"columns": []})
    columns = []
    for c in section["columns"]:
        found = [g["difference"] for g in c["gaps"] if g["metric"] == fair.limit.metric]
        columns += [{"column": c["column"], "difference": d, "verdict": _verdict(d, fair.limit.most)} for d in found]
    chosen = next(w for w in fair.ways if w["share"] == fair.share)
    price = {k: getattr(fair.price, k) for k in ("value", "low", "high", "n", "method")}
    said = _sentence(fair, chosen, columns, problem)
    limit = {"metric": fair.limit.metric, "limit": fair.limit.most, "met": fair.met, "chosen": chosen["name"]}
    return {**section, "limit": {**limit, "price": price, "ways": list(fair.ways), "columns": columns, "sentence": said}}


def _chosen(trials: Trials) -> list[Any]:
    return [c for c in trials.candidates if c.weight > 0]


def _name(share: float) -> str:
    return "as it is" if share == 0 else "reweighed" if share == 1 else f"{percent(share)} reweighed"


def _leaning(found: Measure | None) -> dict[str, Any]:
    """The gap with its interval; `bar` leans half of the way to the upper end, about one standard error. Unknown gaps are outside any limit."""
    if found is None or found.value is None:
        return {"gap": None, "low": None, "high": None, "bar": float("inf")}
    high = found.value if found.high is None else found.high
    return {"gap": found.value, "low": found.low, "high": found.high, "bar": found.value + (high - found.value) / 2}


def _blended(models: tuple[Model, Model], share: float, calibration: Calibration) -> Model:
    """One model of the members of both, each with its part of the weight."""
    members: list[Member] = []
    for model, part, end in zip(models, (1 - share, share), ("", REWEIGHED), strict=True):
        members += [replace(m, recipe=replace(m.recipe, name=m.recipe.name + end), weight=m.weight * part) for m in model.members if part > 0]
    return replace(models[0], members=tuple(sorted(members, key=lambda m: -m.weight)), calibration=calibration)


def _verdict(difference: Mapping[str, Any], most: float) -> str:
    if difference["low"] is None or difference["high"] is None:
        return "cannot tell"
    return "inside" if difference["high"] <= most else "outside" if difference["low"] > most else "cannot tell"


def _sentence(fair: Fair, chosen: Mapping[str, Any], columns: list[dict[str, Any]], problem: Problem) -> str:
    asked = f"a gap in {fair.limit.words} of at most {fair.limit.most:g}"
    m = metric(problem.metric)
    gap = "unknown" if chosen["gap"] is None else number(chosen["gap"])
    if not fair.met:
        text = f"Asked for was {asked}; no way tried stays inside it. The closest is {chosen['name']}, with {gap} out of fold."
    elif fair.share == 0:
        text = f"Asked for was {asked}: the model keeps it as it is, with {gap} out of fold."
    else:
        text = f"Asked for was {asked}: {chosen['name']} keeps it, with {gap} out of fold."
    if fair.share > 0 and fair.price.value is not None:
        span = "" if fair.price.low is None or fair.price.high is None else f" ({signed(fair.price.low)} to {signed(fair.price.high)})"
        text += f" It changes {m.label or m.name} by {signed(fair.price.value)}{span}."
    for c in columns:
        d = c["difference"]
        said = "too few rows to tell whether it is inside" if c["verdict"] == "cannot tell" else f"{c['verdict']} the limit"
        span = "" if d["low"] is None else f" ({number(max(0.0, d['low']))} to {number(d['high'])})"
        text += f" On the rows of the evaluation the gap by {c['column']} is {number(d['value'])}{span}: {said}."
    return text
