"""Learning from earlier runs of this workspace: what a fold costs on this machine, which recipes carried the ensemble of these very columns.

Moving recipes up by their part in the ensembles of other tables was built, measured (`benchmarks/experience.py`: no fewer folds until the same score)
and left out.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.machine import usable_cores
from emlyn.core.searching.costs import Costs, costs_of
from emlyn.core.searching.finals import MORE
from emlyn.core.searching.trials import Candidate, Trials
from emlyn.records.codec import digest
from emlyn.records.experience import Experience, Tried
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

KIND = "experience"
LATEST = 200
"""Runs that are remembered, the newest."""
FACTOR = 4.0
"""Measured seconds correct the shipped ones by at most this factor."""


@dataclass(frozen=True)
class Advice:
    """What earlier runs say about this table."""

    speed: Mapping[str, float] = field(default_factory=dict)
    """Learner -> its measured seconds over the shipped ones."""
    first: tuple[Recipe, ...] = ()
    """Winners of the longest run on the same schema, the heaviest first."""
    said: str = ""
    """What was used, in plain words; empty when nothing was."""


def remember(store: Any, run: str, trials: Trials) -> None:
    """Store what this run taught under its id; nothing for kinds of data that are not tables of rows."""
    if "rows" in trials.data.tables:
        store.put(KIND, run, taught(trials), replace=True)


def taught(trials: Trials) -> Experience:
    """The record of a run. Of its table: the shape alone. Of finals: what the sample before them taught, and who carried the ensemble in the end."""
    carried: dict[str, float] = {}
    for c in trials.candidates:
        name = c.recipe.name.partition(MORE)[0]
        carried[name] = carried.get(name, 0.0) + c.weight
    trials = trials.before or trials
    data, problem = trials.data, trials.problem
    costs = costs_of(data, len(trials.folds), fixed=True)
    loss = {c.recipe.name: trials.loss(c) for c in trials.candidates if c.results and trials.complete(c)}
    floor = min((v for name, v in loss.items() if trials.find(name).recipe.learner == "baseline"), default=math.nan)
    best = min(loss.values(), default=math.nan)
    return Experience(
        schema=schema_of(problem, data),
        task=problem.task,
        metric=problem.metric,
        rows=costs.rows,
        columns=costs.columns,
        classes=data.classes,
        kinds=_kinds(data),
        machine=_machine(),
        trials=tuple(_tried(c, carried.get(c.recipe.name, 0.0), loss, best, floor) for c in trials.candidates if c.results),
    )


def schema_of(problem: Problem, data: Dataset) -> str:
    """The digest by which the same columns, asked the same question, are known again."""
    return digest([sorted((name, column.kind) for name, column in data.rows.items()), problem.target, problem.task, problem.metric])


def advice(store: Any, problem: Problem, data: Dataset, costs: Costs) -> Advice:
    """What the runs in the store say about this table. Of several runs on one schema that which learned most recipes counts, the last of equals."""
    latest: dict[str, Experience] = {}
    for record in store.list(KIND)[-LATEST:]:
        found = record.read(Experience)
        if found.schema not in latest or _whole(found) >= _whole(latest[found.schema]):
            latest[found.schema] = found
    if not latest:
        return Advice()
    same = latest.get(schema_of(problem, data))
    winners = sorted((t for t in same.trials if t.weight > 0), key=lambda t: -t.weight) if same else []
    said = ""
    if winners:
        said = f"these columns were learned from before: {', '.join(t.recipe.name for t in winners)} tried first because they carried that ensemble"
    return Advice(speeds([e for e in latest.values() if e.machine == _machine()], costs), tuple(t.recipe for t in winners), said)


def speeds(seen: Sequence[Experience], costs: Costs) -> dict[str, float]:
    """Learner -> measured seconds of a fold over the shipped ones, tables of about this size counting most, what is shipped as much as one table."""
    total: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for e in seen:
        shipped = Costs(e.rows, e.columns, e.classes)
        apart = math.log10(e.rows / costs.rows) ** 2 + math.log10(e.columns / costs.columns) ** 2
        by_learner: dict[str, list[float]] = {}
        for t in e.trials:
            if t.fold_s > 0:
                by_learner.setdefault(t.recipe.learner, []).append(math.log(t.fold_s / shipped.prior(t.recipe)))
        for learner, found in by_learner.items():
            weight = math.exp(-apart / 2)
            total[learner] = total.get(learner, 1.0) + weight
            ratios[learner] = ratios.get(learner, 0.0) + weight * float(np.median(found))
    return {learner: float(np.clip(math.exp(ratios[learner] / total[learner]), 1 / FACTOR, FACTOR)) for learner in total}


def _tried(c: Candidate, weight: float, loss: Mapping[str, float], best: float, floor: float) -> Tried:
    whole = [r.fit_s + r.predict_s for r in c.results.values() if r.complete]
    own = loss.get(c.recipe.name)
    regret = None if own is None or not floor > best else round((own - best) / (floor - best), 4)
    return Tried(c.recipe, len(c.results), round(float(np.median(whole)), 4) if whole else 0.0, regret, round(weight, 4))


def _whole(e: Experience) -> int:
    """Recipes learned on every fold."""
    return sum(t.regret is not None for t in e.trials)


def _kinds(data: Dataset) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for column in data.rows.values():
        kinds[column.kind] = kinds.get(column.kind, 0) + 1
    return dict(sorted(kinds.items()))


def _machine() -> str:
    return hashlib.sha256(f"{platform.node()} {usable_cores()}".encode()).hexdigest()[:16]
