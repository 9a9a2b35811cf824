"""Plan: which recipes, in which order, on how many folds, with how many threads. Decided by rows and budget, each with its why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.dataset import Dataset
from emlyn.core.machine import memory_left
from emlyn.core.searching.costs import Costs, costs_of
from emlyn.core.searching.experience import Advice, advice
from emlyn.core.searching.trials import Past, ready
from emlyn.errors import Unavailable
from emlyn.records.options import TrainOptions
from emlyn.records.plan import Plan, Recipe
from emlyn.records.problem import Problem, SplitRule

EIGHT_FOLDS, FIVE_FOLDS = 0.35, 0.6
"""Shares of the time that a first round of learners may take on so many folds: what is left buys more recipes."""
LEAST_SAMPLE = 1_000
TEXT_SHARE = 0.2
"""Share of the time until the search ends that preparing texts may take."""
MEMORY_SHARE = 0.4
"""Share of the memory left that the least learner may need on the rows that recipes are chosen on."""
FEW_ROWS, SAMPLE_FROM = 50_000, 300_000
"""Rows up to which recipes are always chosen on all of them, and from which always on a sample: what ships then learns from more."""
ONE_FOLD_FROM = 10_000
"""Rows of a sample from which a single fold tells recipes apart: the finals judge them once more."""
SMALL_SAMPLE, SAMPLE_ROUND = 20_000, 0.15
"""Rows down to which a sample is made smaller so that one fold of a first round of learners takes this share of the time."""


def plan(problem: Problem, data: Dataset, options: TrainOptions, context: Context, past: Past | None = None) -> Plan:
    """An ordered portfolio of every learner's recipes, and the folds to try them on: the same as before where `past` holds results of a run.

    Raises Unavailable when no learner can be used.
    """
    unhurried = options.trials is not None or (past is not None and past.folds > 0)  # what is stored was encoded in full
    data = ready(data, context.seed, math.inf if unhurried else TEXT_SHARE * context.budget.until("search"))
    if data.shared.get("hurried"):
        context.emit("note", "the texts are long for the time there is: only their beginnings are read (a longer --budget reads more)")
    costs = costs_of(data, 5, fixed=True)
    known = Advice()
    if options.experience and options.trials is None and context.store is not None and "rows" in data.tables:
        known = advice(context.store, problem, data, costs)
        costs = replace(costs, speed=known.speed)
    recipes = portfolio(problem, data, costs, context, known)
    if options.trials is not None:
        recipes = recipes[: max(1, options.trials)]
    seconds = math.inf if options.trials is not None else context.budget.until("search")
    before = past if past is not None and past.folds else None
    cores = max(1, context.threads)
    sample = before.sample if before else _sample(len(data), recipes, costs, memory_left(context.memory), seconds * cores)
    if sample:
        costs = replace(costs, rows=sample)
    if before:
        folds, why = before.folds, "as in the run that this one goes on from"
    elif sample >= ONE_FOLD_FROM:
        folds, why = 1, f"recipes are chosen on {sample:,} of {len(data):,} units; those that carry the ensemble then learn from more"
    else:
        folds, why = fold_count(data, problem.split, recipes, seconds * cores, costs)
    refit = sample > 0 or problem.split.kind == "time" or options.max_latency is not None
    made = Plan(recipes, folds, why, sample=sample, threads=context.threads, refit=refit, max_latency=options.max_latency, trials=options.trials)
    made = replace(made, speed=dict(known.speed), experience=known.said)
    context.emit("plan", f"{len(recipes)} recipes on {folds} folds: {why}", recipes=[r.name for r in recipes], folds=folds, sample=sample)
    if known.said:
        context.emit("note", known.said)
    return made


def _sample(n: int, recipes: tuple[Recipe, ...], costs: Costs, memory: int, core_seconds: float) -> int:
    """Rows to choose recipes on, 0 for all: fewer where there are many, or where one round of learners on three folds would take most of the time; so
    many that a round on one fold leaves time for others. And fewer where not even the least learner would find its memory."""
    many = n > SAMPLE_FROM or (n > FEW_ROWS and 3 * sum(first_round(recipes, costs)) > FIVE_FOLDS * core_seconds)
    rows = min(n, SAMPLE_FROM) // 2 if many else n
    while SMALL_SAMPLE < rows < n and sum(first_round(recipes, replace(costs, rows=rows))) > SAMPLE_ROUND * core_seconds:
        rows = max(SMALL_SAMPLE, rows // 2)
    learned = [r for r in recipes if r.learner != "baseline"]
    while memory and learned and rows > LEAST_SAMPLE and min(replace(costs, rows=rows).memory(r) for r in learned) > MEMORY_SHARE * memory:
        rows //= 2
    return rows if rows < n else 0


def first_round(recipes: tuple[Recipe, ...], costs: Costs) -> list[float]:
    """Seconds of one fold of the cheapest recipe of each learner."""
    cheapest: dict[str, float] = {}
    for r in recipes:
        cheapest[r.learner] = min(cheapest.get(r.learner, math.inf), costs.prior(r))
    return list(cheapest.values())


def portfolio(problem: Problem, data: Dataset, costs: Costs, context: Context, known: Advice) -> tuple[Recipe, ...]:
    """The cheapest first; a learner's second recipe counts twice its cost, and so on, so that different kinds come early.

    The winners of an earlier run on the same schema come before all others. The prior, which takes no time, is the first of all, so that there is
    an answer at any moment; other baselines wait for the first model.
    """
    by_learner: list[list[Recipe]] = []
    missing: list[str] = []
    for learner in plugins.collect("learners"):
        if problem.task not in learner.tasks:
            continue
        if reason := learner.missing():
            missing.append(f"{learner.name}: {reason}")
            context.emit("note", f"the learner {learner.name} is left out: {reason}")
            continue
        by_learner.append(list(learner.recipes(problem, data)))
    floor = [r for found in by_learner for r in found if r.learner == "baseline"]
    placed = [(place, r) for found in by_learner for place, r in enumerate(found, 1) if r.learner != "baseline"]
    ordered = [r for _, r in sorted(placed, key=lambda t: t[0] * costs.prior(t[1]))]
    named = {r.name: r for r in ordered}
    able = {r.learner for r in ordered}
    winners = sorted((named.get(r.name, r) for r in known.first if r.learner in able), key=costs.prior)
    learned = (*winners, *(r for r in ordered if r not in winners))
    recipes = (*floor[:1], *learned[:1], *floor[1:], *learned[1:])
    if not recipes:
        raise Unavailable(f"no learner can do the task {problem.task!r} here ({'; '.join(missing) or 'none is installed for it'})", "all")
    return recipes


def fold_count(data: Dataset, rule: SplitRule, recipes: tuple[Recipe, ...], core_seconds: float, costs: Costs) -> tuple[int, str]:
    """8 folds where a first round of learners leaves most of the time, 5 where it leaves some without the dearest learner, else 3."""
    n = len(data)
    found = first_round(recipes, costs)
    one_fold, dearest = sum(found), max(found)
    if n < 20_000 and 8 * one_fold <= EIGHT_FOLDS * core_seconds:
        folds = 8
    elif 5 * (one_fold - dearest) <= FIVE_FOLDS * core_seconds:
        folds = 5
    else:
        folds = 3
    why = f"{n:,} units, about {one_fold:.1f} s for one fold of a first round of learners"
    groups = None if data.group is None else len(np.unique(data.group))
    if groups is not None and groups < folds:
        return max(2, groups), f"{why}; there are {groups} groups"
    if rule.kind == "time":
        folds = min(folds, 5)
    return min(folds, max(2, n)), why
