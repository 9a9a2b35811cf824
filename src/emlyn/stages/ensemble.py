"""Ensemble: weights by greedy selection on out-of-fold answers, calibration that proves itself, members that have seen every working row."""

from __future__ import annotations

import math
import time
from concurrent.futures import wait
from dataclasses import replace

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.dataset import Dataset
from emlyn.core.ensembling import blend
from emlyn.core.executor import Job, ThreadExecutor
from emlyn.core.learner import Effort, Fitted, Learner
from emlyn.core.model import Member, Model
from emlyn.core.selection import OutOfFold, chosen
from emlyn.core.trials import Candidate, Trials, at_steps, ready
from emlyn.errors import Interrupted
from emlyn.records.journal import Entry
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

REFIT_STEPS = 1.1
"""A model of all rows gets this many times the rounds that were best on a part of them."""


def ensemble(trials: Trials, data: Dataset, problem: Problem, context: Context) -> Model:
    """The weighted, calibrated model. Raises Interrupted when no trial has any answer."""
    candidates = trials.eligible()
    if not candidates:
        raise Interrupted("stopped before there was a model")
    rows = trials.covered(candidates)
    truth, weight = trials.truth(rows), trials.weight(rows)
    stored = OutOfFold([trials.oof(c.recipe.name)[rows] for c in candidates], trials.fold_of[rows], truth, weight)
    shares, calibration = chosen(stored, trials.metric, calibrate=bool(problem.classes), seed=trials.seed)
    carried = [(c, float(w)) for c, w in zip(candidates, shares, strict=True) if w > 0]
    for candidate, w in carried:
        candidate.weight = w
    score = trials.metric.score(truth, calibration.apply(blend(stored.candidates, shares)), weight)
    data = ready(data, context.seed)
    members = _members(carried, trials, data, context)
    at = round(context.budget.spent, 3)
    kept = ", ".join(f"{c.recipe.name} {w:.2f}" for c, w in sorted(carried, key=lambda t: -t[1]))
    trials.say(
        Entry(at, "ensemble", change=kept, evidence={"score": score, "calibration": calibration.kind, "gain": calibration.gain}, verdict="kept")
    )
    context.emit(
        "ensemble", f"{len(members)} members, {trials.metric.name} {score:.5g}: {kept}", score=score, members=[m.recipe.name for m in members]
    )
    return Model(problem, members, trials.width, data.shared.get("encoder"), calibration=calibration, bounds=_bounds(data, problem), score=score)


def _members(carried: list[tuple[Candidate, float]], trials: Trials, data: Dataset, context: Context) -> tuple[Member, ...]:
    """Bags of fold models where together they have seen every working row in equal measure; a refit on all rows otherwise."""
    bags = len(trials.folds) > 1 and trials.data is not None and len(trials.data) == len(data) and trials.problem.split.kind != "time"
    made = []
    for c, w in sorted(carried, key=lambda t: -t[1]):
        steps = c.steps()
        fitted = tuple(
            at_steps(r.fitted, None if steps is None or r.curve is None else min(steps, len(r.curve))) for _, r in sorted(c.results.items())
        )
        made.append(Member(c.recipe, w, fitted, trials.score(c)[0]))
    if bags and all(len(m.fitted) == len(trials.folds) for m in made):
        return tuple(made)
    return _refitted(made, carried, trials, data, context)


def _refitted(members: list[Member], carried: list[tuple[Candidate, float]], trials: Trials, data: Dataset, context: Context) -> tuple[Member, ...]:
    """Each member learned once more on all rows, heaviest first, while the time lasts; who does not get a turn keeps its fold models."""
    by_name = {c.recipe.name: c for c, _ in carried}
    out: list[Member] = []
    for member in members:
        candidate = by_name[member.recipe.name]
        steps = candidate.steps()
        slowest = max(candidate.results.values(), key=lambda r: r.fit_s)
        growth = len(data) / max(1, len(trials.folds[slowest.fold].fit))
        expected = 1.3 * REFIT_STEPS * growth * slowest.fit_s
        left = context.budget.until("search") if trials_are_timed(context) else math.inf
        if expected > left or context.cancel.is_set():
            context.emit("note", f"no time to learn {member.recipe.name} once more on all rows: its fold models are kept")
            out.append(member)
            continue
        recipe = replace(member.recipe, params={**member.recipe.params, **slowest.settled})
        job = Job(
            refit,
            (plugins.find("learners", recipe.learner), recipe, data),
            left,
            context.threads,
            trials.seed,
            None if steps is None else math.ceil(REFIT_STEPS * steps),
        )
        pool = ThreadExecutor(1)
        future = pool.submit(job)
        wait([future])
        pool.close()
        outcome = future.result()
        if outcome.error:
            context.emit("note", f"{member.recipe.name} could not be learned on all rows: {outcome.error}")
        out.append(member if outcome.error else replace(member, fitted=(outcome.value,)))
    return tuple(out)


def trials_are_timed(context: Context) -> bool:
    return math.isfinite(context.budget.seconds)


def refit(learner: Learner, recipe: Recipe, data: Dataset, effort: Effort) -> Fitted:
    """The job of learning on all rows, for as many steps as the folds found best."""
    return learner.fit(recipe, data, None, effort)


def _bounds(data: Dataset, problem: Problem) -> tuple[float, float] | None:
    """A tenth beyond the numbers seen: extrapolation further out is more often wrong than right."""
    if problem.classes or data.answers is None or not len(data):
        return None
    low, high = float(np.min(data.answers)), float(np.max(data.answers))
    slack = 0.1 * (high - low)
    return low - slack, high + slack


def one_row_seconds(member: Member, row: Dataset, tries: int = 5) -> float:
    """The median of a few measured calls."""
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        member.predict(row)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))
