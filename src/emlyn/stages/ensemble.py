"""Ensemble: weights by greedy selection on out-of-fold answers, calibration, members that have seen every working row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.dataset import Dataset, Fold
from emlyn.core.executor import Job, run_beside
from emlyn.core.learner import Effort, Fitted, Learner
from emlyn.core.machine import memory_left
from emlyn.core.models.calibration import Calibration
from emlyn.core.models.model import Member, Model
from emlyn.core.models.one_row import member_seconds, seconds_per_row
from emlyn.core.searching.costs import fit_bytes
from emlyn.core.searching.distilling import affordable, learn_taught, pupil
from emlyn.core.searching.ensembling import blend
from emlyn.core.searching.schedule import affordable_rows
from emlyn.core.searching.selection import OutOfFold, chosen
from emlyn.core.searching.trials import Candidate, FoldResult, Trials, at_steps, ready
from emlyn.errors import Interrupted
from emlyn.records.data_card import Contract
from emlyn.records.journal import Entry
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

MEMORY_SHARE = 0.8
"""Share of the memory left that learning on all rows may be expected to take."""
REFIT_STEPS = 1.1
"""A model of all rows gets this many times the rounds that were best on a part of them."""


@dataclass(frozen=True, eq=False)
class _Choice:
    """Weights, calibration and the out-of-fold score of an ensemble of candidates."""

    candidates: tuple[Candidate, ...]
    """Those with a weight, heaviest first."""
    weights: tuple[float, ...]
    calibration: Calibration
    score: float
    answers: np.ndarray
    """Calibrated out-of-fold answers (n, k) to the units that all candidates have answered."""
    rows: np.ndarray
    """Positions of these units (n,)."""


def ensemble(trials: Trials, data: Dataset, problem: Problem, context: Context, contract: Contract | None = None) -> Model:
    """The weighted, calibrated model; with a contract, behind it. Raises Interrupted when no trial has any answer."""
    candidates = trials.eligible()
    if not candidates:
        raise Interrupted("stopped before there was a model")
    data, limit = ready(data, context.seed), trials.plan.max_latency
    encoder, bounds = data.shared.get("encoder"), _bounds(data, problem)
    empty = Model(problem, (), trials.width, encoder, contract or Contract(()), bounds=bounds, threads=context.threads)
    if limit is None:
        choice = _choose(candidates, trials)
        model = _model(empty, choice, _members(choice, trials, data, context))
    else:
        model, choice = _Limited(limit, trials, data, context, empty).model(candidates)
    for candidate, w in zip(choice.candidates, choice.weights, strict=True):
        candidate.weight = w
    kept = ", ".join(f"{m.recipe.name} {m.weight:.2f}" for m in model.members)
    evidence = {"score": choice.score, "slope": model.calibration.slope, "shifts": list(model.calibration.shifts)}
    trials.say(Entry(round(context.budget.spent, 3), "ensemble", change=kept, evidence=evidence, verdict="kept"))
    said = f"{len(model.members)} members, {trials.metric.name} {choice.score:.5g}: {kept}"
    context.emit("ensemble", said, score=choice.score, members=[m.recipe.name for m in model.members])
    return model


def _choose(candidates: Sequence[Candidate], trials: Trials, *, quick: bool = False) -> _Choice:
    rows = trials.covered(candidates)
    truth, weight = trials.truth(rows), trials.weight(rows)
    stored = OutOfFold([trials.oof(c.recipe.name)[rows] for c in candidates], trials.fold_of[rows], truth, weight)
    shares, calibration = chosen(stored, trials.metric, seed=trials.seed, quick=quick)
    answers = calibration.apply(blend(stored.candidates, shares))
    carried = sorted(((c, float(w)) for c, w in zip(candidates, shares, strict=True) if w > 0), key=lambda t: -t[1])
    score = trials.metric.score(truth, answers, weight)
    return _Choice(tuple(c for c, _ in carried), tuple(w for _, w in carried), calibration, score, answers, rows)


def _model(empty: Model, choice: _Choice, members: Mapping[str, Member]) -> Model:
    held = tuple(replace(members[c.recipe.name], weight=w) for c, w in zip(choice.candidates, choice.weights, strict=True))
    return replace(empty, members=held, calibration=choice.calibration, score=choice.score)


def _members(choice: _Choice, trials: Trials, data: Dataset, context: Context) -> dict[str, Member]:
    """The heaviest first; each leaves the time that those after it need to see as many rows."""
    costs = [_slowest(c).fit_s for c in choice.candidates]
    return {c.recipe.name: _member(c, trials, data, context, sum(costs[i + 1 :])) for i, c in enumerate(choice.candidates)}


def _member(c: Candidate, trials: Trials, data: Dataset, context: Context, waiting: float = 0.0) -> Member:
    """A bag of fold models: together they have seen every working row in equal measure. Learned once more where the plan says so: on all rows, or on
    as many as time suffices for. `waiting` are the seconds that a fold took of the members still to come."""
    member = Member(c.recipe, 1.0, c.models(), trials.score(c)[0])
    if not c.bag and (trials.plan.refit or len(c.results) < len(trials.folds)):
        return _refitted(member, c, trials, data, context, waiting)
    return member


def _slowest(c: Candidate) -> FoldResult:
    return max(c.results.values(), key=lambda r: r.fit_s)


@dataclass(eq=False)
class _Limited:
    """A model that answers one row within `limit` seconds, as measured when it is as it will ship."""

    limit: float
    trials: Trials
    data: Dataset
    context: Context
    empty: Model
    """The model without its members."""
    teacher: _Choice | None = None
    made: dict[str, Member] = field(default_factory=dict)
    """Members learned once on all rows, by recipe."""

    def model(self, candidates: list[Candidate]) -> tuple[Model, _Choice]:
        """Prune by the speed of fold models, then by that of what ships; where that cost anything, a quick model is taught the whole ensemble."""
        self.teacher = _choose(candidates, self.trials)
        kept = self._pruned(candidates, self._fold_model, quick=True)[2]
        model, choice, kept = self._pruned(kept, self._final)
        if self._loss(choice) > self._loss(self.teacher) and (pupil := self._pupil(candidates)) is not None:
            with_pupil, chosen_with, _ = self._pruned([*kept, pupil], self._final)
            if self._loss(chosen_with) < self._loss(choice) and seconds_per_row(with_pupil, self.data) <= self.limit:
                model, choice = with_pupil, chosen_with
        took = seconds_per_row(model, self.data)
        if took > self.limit:
            model, choice, took = self._quickest(candidates)
        seconds = member_seconds(model, self.data)
        model = replace(model, members=tuple(replace(m, one_row_s=s) for m, s in zip(model.members, seconds, strict=True)))
        self.trials.served = tuple(c.recipe.name for c in choice.candidates)
        self._say(model, choice, took)
        return model, choice

    def _pruned(
        self, candidates: Sequence[Candidate], member: Callable[[Candidate], Member], *, quick: bool = False
    ) -> tuple[Model, _Choice, list[Candidate]]:
        """The best ensemble within the limit, and the candidates it was chosen from: again and again without who brings least per second."""
        kept = list(candidates)
        while True:
            choice = _choose(kept, self.trials, quick=quick)
            model = _model(self.empty, choice, {c.recipe.name: member(c) for c in choice.candidates})
            if len(kept) == 1 or seconds_per_row(model, self.data) <= self.limit:
                return model, choice, kept
            worth = np.array(choice.weights) / np.maximum(member_seconds(model, self.data), 1e-7)
            kept.remove(choice.candidates[int(worth.argmin())])

    def _fold_model(self, c: Candidate) -> Member:
        return Member(c.recipe, 1.0, (at_steps(next(iter(c.results.values())).fitted, c.steps()),), self.trials.score(c)[0])

    def _final(self, c: Candidate) -> Member:
        if c.recipe.name not in self.made:
            self.made[c.recipe.name] = _member(c, self.trials, self.data, self.context)
        return self.made[c.recipe.name]

    def _pupil(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """The best recipe that is quick enough alone, taught by the whole ensemble; None where none is, or where time or folds do not suffice."""
        teacher, trials = self.teacher, self.trials
        left = self.context.budget.until("search") if trials.plan.trials is None else math.inf
        same = trials.data.shared.get("encoder") is self.empty.encoder and len(trials.data) == len(self.data)
        if teacher is None or not same or len(trials.folds) < 2 or len(teacher.rows) < len(trials.data) or self.context.cancel.is_set():
            return None
        for c in candidates:  # best first
            alone = replace(self.empty, members=(self._fold_model(c),))
            if c.recipe.learner == "baseline" or not affordable(c, len(trials.folds), left) or seconds_per_row(alone, self.data) > self.limit:
                continue
            learner, effort = plugins.find("learners", c.recipe.learner), Effort(left, self.context.threads, trials.seed)
            made = pupil(c, learner, self._taught_on, trials, effort)
            trials.candidates.append(made)
            effort = replace(effort, seconds=effort.seconds / (len(trials.folds) + 2))
            fitted = learn_taught(learner, c, trials.data, teacher.answers, effort)
            self.made[made.recipe.name] = Member(made.recipe, 1.0, (fitted,), trials.score(made)[0])
            return made
        return None

    def _taught_on(self, fold: Fold) -> np.ndarray:
        """What the whole ensemble, as learned on a fold, answers to the rows it learned from (n, k)."""
        assert self.teacher is not None
        models = [at_steps(c.results[fold.number].fitted, c.fold_steps(fold.number)) for c in self.teacher.candidates]
        return self.teacher.calibration.apply(blend([m.predict(fold.fit) for m in models], np.array(self.teacher.weights)))

    def _quickest(self, candidates: Sequence[Candidate]) -> tuple[Model, _Choice, float]:
        """Where nothing meets the limit: the quickest single model."""
        took = {c.recipe.name: seconds_per_row(replace(self.empty, members=(self._fold_model(c),)), self.data) for c in candidates}
        choice = _choose([min(candidates, key=lambda c: took[c.recipe.name])], self.trials)
        model = _model(self.empty, choice, {c.recipe.name: self._final(c) for c in choice.candidates})
        return model, choice, seconds_per_row(model, self.data)

    def _loss(self, choice: _Choice) -> float:
        return self.trials.metric.sign * choice.score

    def _say(self, model: Model, choice: _Choice, took: float) -> None:
        """What the limit came to, and what it costs."""
        assert self.teacher is not None
        name, whole, cost = self.trials.metric.name, self.teacher.score, self._loss(choice) - self._loss(self.teacher)
        gone = [c.recipe.name for c in self.teacher.candidates if c not in choice.candidates]
        price = f"costs {cost:.2g} of {name}" if cost > 0 else f"costs no {name}"
        price += f" ({whole:.4g} without it, {choice.score:.4g} with it, out of fold)"
        limit, ms = f"the limit of {1e3 * self.limit:g} ms", f"{1e3 * took:.2g} ms"
        said = f"one row takes {ms}, {limit} {price}" + (f": without {', '.join(gone)}" if gone else "")
        if took > self.limit:
            bare = took - sum(m.one_row_s for m in model.members)
            said = f"{limit} cannot be met here: the quickest model, {model.members[0].recipe.name}, takes {ms} a row, of which checking and"
            said += f" encoding the row take {1e3 * bare:.2g} ms; it is kept, and the limit {price}"
        evidence = {"limit_s": self.limit, "one_row_s": took, "score": choice.score, "score_without_limit": whole, "metric": name}
        verdict = "kept" if took <= self.limit else "missed"
        self.trials.say(Entry(round(self.context.budget.spent, 3), "latency", change=said, evidence=evidence, verdict=verdict))
        self.context.emit("note", said, **evidence)


def _refitted(member: Member, candidate: Candidate, trials: Trials, data: Dataset, context: Context, waiting: float) -> Member:
    """The member learned once more, on all rows or as many as the time left suffices for; its fold models are kept where that are hardly more."""
    steps, slowest = candidate.steps(), _slowest(candidate)
    left = context.budget.until("search") if trials.plan.trials is None else math.inf
    rows = affordable_rows(left, slowest.fit_s + waiting, len(trials.folds[slowest.fold].fit), len(data))
    if not rows or context.cancel.is_set():
        if trials.before is None:  # in finals it has seen nearly all that there is time for
            context.emit("note", f"no time to learn {member.recipe.name} once more on more rows: its fold models are kept")
        return member
    recipe = replace(member.recipe, params={**member.recipe.params, **slowest.settled})
    data = _that_fit(recipe, _drawn(data, rows, recipe, context, "the time left does not suffice for more"), context)
    wanted = None if steps is None else math.ceil(REFIT_STEPS * steps)
    job = Job(refit, (plugins.find("learners", recipe.learner), recipe, data), left, context.threads, trials.seed, wanted)
    outcome = run_beside(job, 1.2 * left + 1.0, context.cancel.is_set)
    if outcome.error:
        context.emit("note", f"{member.recipe.name} could not be learned on all rows: {outcome.error}")
        return member
    return replace(member, fitted=(outcome.value,))


def _that_fit(recipe: Recipe, data: Dataset, context: Context) -> Dataset:
    """As many rows as the memory left suffices for, drawn evenly; all of them where that is known to be enough."""
    memory, needed = memory_left(context.memory), fit_bytes(recipe, data)
    if not memory or needed <= MEMORY_SHARE * memory:
        return data
    rows = max(1, int(len(data) * MEMORY_SHARE * memory / needed))
    return _drawn(data, rows, recipe, context, f"all of them would take {needed / 2**30:.1f} GiB")


def _drawn(data: Dataset, rows: int, recipe: Recipe, context: Context, why: str) -> Dataset:
    """So many rows drawn evenly, and said; all of them where there are no more."""
    if rows >= len(data):
        return data
    context.emit("note", f"{recipe.name} is learned on {rows:,} of {len(data):,} rows, drawn evenly: {why}")
    return data.take(np.sort(np.random.default_rng(context.seed).choice(len(data), rows, replace=False)))


def refit(learner: Learner, recipe: Recipe, data: Dataset, effort: Effort) -> Fitted:
    """The job of learning on all rows, for as many steps as the folds found best."""
    return learner.fit(recipe, data, None, effort)


def _bounds(data: Dataset, problem: Problem) -> tuple[float, float] | None:
    """A tenth beyond the numbers seen: extrapolation further out is more often wrong than right. What was never negative stays so."""
    if problem.classes or data.answers is None or not len(data):
        return None
    low, high = float(np.min(data.answers)), float(np.max(data.answers))
    slack = 0.1 * (high - low)
    return (max(0.0, low - slack) if low >= 0 else low - slack), high + slack
