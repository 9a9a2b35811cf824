"""Ensemble: weights by greedy selection on out-of-fold answers, calibration that proves itself, members that have seen every working row."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.dataset import Dataset
from emlyn.core.executor import Job, run_beside
from emlyn.core.learner import Effort, Fitted, Learner
from emlyn.core.machine import memory_left
from emlyn.core.models.model import Member, Model
from emlyn.core.searching.costs import costs_of
from emlyn.core.searching.ensembling import blend
from emlyn.core.searching.proposals import ensemble_weights
from emlyn.core.searching.selection import OutOfFold, chosen
from emlyn.core.searching.trials import Candidate, Trials, at_steps, ready
from emlyn.errors import Interrupted
from emlyn.records.journal import Entry
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

MEMORY_SHARE = 0.8
"""Share of the memory left that learning on all rows may be expected to take."""
REFIT_STEPS = 1.1
"""A model of all rows gets this many times the rounds that were best on a part of them."""


def ensemble(trials: Trials, data: Dataset, problem: Problem, context: Context) -> Model:
    """The weighted, calibrated model. Raises Interrupted when no trial has any answer."""
    candidates = trials.eligible()
    if not candidates:
        raise Interrupted("stopped before there was a model")
    data = ready(data, context.seed)
    limit = trials.plan.max_latency
    if limit is not None:
        candidates = _quick(candidates, trials, data, limit, context)
    rows = trials.covered(candidates)
    truth, weight = trials.truth(rows), trials.weight(rows)
    stored = OutOfFold([trials.oof(c.recipe.name)[rows] for c in candidates], trials.fold_of[rows], truth, weight)
    shares, calibration = chosen(stored, trials.metric, calibrate=bool(problem.classes), seed=trials.seed)
    carried = [(c, float(w)) for c, w in zip(candidates, shares, strict=True) if w > 0]
    for candidate, w in carried:
        candidate.weight = w
    score = trials.metric.score(truth, calibration.apply(blend(stored.candidates, shares)), weight)
    members = _members(carried, trials, data, context)
    at = round(context.budget.spent, 3)
    kept = ", ".join(f"{m.recipe.name} {m.weight:.2f}" for m in members)
    evidence = {"score": score, "calibration": calibration.kind, "gain": calibration.gain}
    trials.say(Entry(at, "ensemble", change=kept, evidence=evidence, verdict="kept"))
    context.emit(
        "ensemble", f"{len(members)} members, {trials.metric.name} {score:.5g}: {kept}", score=score, members=[m.recipe.name for m in members]
    )
    encoder = data.shared.get("encoder")
    return Model(problem, members, trials.width, encoder, calibration=calibration, bounds=_bounds(data, problem), score=score)


def _members(carried: list[tuple[Candidate, float]], trials: Trials, data: Dataset, context: Context) -> tuple[Member, ...]:
    """Bags of fold models, heaviest first: together they have seen every working row in equal measure. A refit on all rows where the plan says so."""
    made = []
    for c, w in sorted(carried, key=lambda t: -t[1]):
        results, steps = [r for _, r in sorted(c.results.items())], c.steps()
        fitted = tuple(at_steps(r.fitted, None if steps is None or r.curve is None else min(steps, len(r.curve))) for r in results)
        member = Member(c.recipe, w, fitted, trials.score(c)[0])
        if trials.plan.refit or len(fitted) < len(trials.folds):
            member = _refitted(member, c, trials, data, context)
        made.append(member)
    return tuple(made)


def _refitted(member: Member, candidate: Candidate, trials: Trials, data: Dataset, context: Context) -> Member:
    """The member learned once more on all rows; its fold models are kept where the time left would not suffice."""
    steps = candidate.steps()
    slowest = max(candidate.results.values(), key=lambda r: r.fit_s)
    growth = len(data) / max(1, len(trials.folds[slowest.fold].fit))
    left = context.budget.until("search") if trials.plan.trials is None else math.inf
    if 1.3 * growth * slowest.fit_s > left or context.cancel.is_set():
        context.emit("note", f"no time to learn {member.recipe.name} once more on all rows: its fold models are kept")
        return member
    recipe = replace(member.recipe, params={**member.recipe.params, **slowest.settled})
    data = _that_fit(recipe, data, context)
    wanted = None if steps is None else math.ceil(REFIT_STEPS * steps)
    job = Job(refit, (plugins.find("learners", recipe.learner), recipe, data), left, context.threads, trials.seed, wanted)
    outcome = run_beside(job, 1.2 * left + 1.0, context.cancel.is_set)
    if outcome.error:
        context.emit("note", f"{member.recipe.name} could not be learned on all rows: {outcome.error}")
        return member
    return replace(member, fitted=(outcome.value,))


def _that_fit(recipe: Recipe, data: Dataset, context: Context) -> Dataset:
    """As many rows as the memory left suffices for, drawn evenly; all of them where that is known to be enough."""
    learner, memory = plugins.find("learners", recipe.learner), memory_left(context.memory)
    needed = replace(costs_of(data, 1, fixed=True), rows=len(data)).memory(recipe, getattr(learner, "bytes_per_cell", None))
    if not memory or needed <= MEMORY_SHARE * memory:
        return data
    rows = max(1, int(len(data) * MEMORY_SHARE * memory / needed))
    context.emit("note", f"{recipe.name} is learned on {rows:,} of {len(data):,} rows, drawn evenly: all of them would take {needed / 2**30:.1f} GiB")
    return data.take(np.sort(np.random.default_rng(context.seed).choice(len(data), rows, replace=False)))


def refit(learner: Learner, recipe: Recipe, data: Dataset, effort: Effort) -> Fitted:
    """The job of learning on all rows, for as many steps as the folds found best."""
    return learner.fit(recipe, data, None, effort)


def _quick(candidates: list[Candidate], trials: Trials, data: Dataset, limit: float, context: Context) -> list[Candidate]:
    """Candidates whose single models together answer one row within `limit` seconds: of all, the cheapest per share of the ensemble they carry."""
    row = data.take(np.arange(1))
    row = replace(row, tables={k: t.take(row.units) if k == "rows" else t for k, t in row.tables.items()}, units=np.arange(1), shared={})
    encoder = data.shared.get("encoder")

    def seconds(c: Candidate) -> float:
        fitted = next(iter(c.results.values())).fitted
        return median_seconds(lambda: fitted.predict(replace(row, shared={} if encoder is None else {"encoder": encoder})))

    cost = {c.recipe.name: seconds(c) for c in candidates}
    shared = 0.0 if encoder is None else median_seconds(lambda: encoder.transform(row.rows))
    kept = list(candidates)
    while len(kept) > 1 and shared + sum(max(0.0, cost[c.recipe.name] - shared) for c in kept) > limit:
        shares = ensemble_weights(trials, kept)
        kept.pop(int(np.argmin([w / max(cost[c.recipe.name] - shared, 1e-6) for c, w in zip(kept, shares, strict=True)])))
    needed = max(cost[c.recipe.name] for c in kept) if len(kept) == 1 else shared + sum(max(0.0, cost[c.recipe.name] - shared) for c in kept)
    if needed > limit:
        kept = [min(candidates, key=lambda c: cost[c.recipe.name])]
        context.emit(
            "note", f"no model here answers a row within {1000 * limit:g} ms: {kept[0].recipe.name} takes {1000 * cost[kept[0].recipe.name]:.2g} ms"
        )
    else:
        context.emit("note", f"one row is answered in about {1000 * needed:.2g} ms by {', '.join(c.recipe.name for c in kept)}")
    return kept


def median_seconds(call: Callable[[], object], tries: int = 15) -> float:
    """The median of a few measured calls, after one that warms up."""
    call()
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def _bounds(data: Dataset, problem: Problem) -> tuple[float, float] | None:
    """A tenth beyond the numbers seen: extrapolation further out is more often wrong than right."""
    if problem.classes or data.answers is None or not len(data):
        return None
    low, high = float(np.min(data.answers)), float(np.max(data.answers))
    slack = 0.1 * (high - low)
    return low - slack, high + slack
