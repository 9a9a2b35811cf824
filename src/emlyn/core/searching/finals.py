"""Finals of a search on a sample: who carries its ensemble learns from as many rows as there is time and memory for.

A sample says which recipes are good, not how good they become: rare levels and fine interactions need the rows that it left out. So some rows are
put aside before the sample is drawn; whoever has learned, from the sample or from more rows, answers them, and there the ensemble is chosen and
calibrated (docs/decisions/0020-finals.md).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.dataset import Dataset, Fold, fold_at
from emlyn.core.executor import Job, run_beside
from emlyn.core.machine import memory_left
from emlyn.core.models.model import Member
from emlyn.core.searching.costs import fit_bytes
from emlyn.core.searching.proposals import ensemble_weights
from emlyn.core.searching.racing import as_good, unlearned
from emlyn.core.searching.schedule import affordable_rows, reserve
from emlyn.core.searching.telling import Telling
from emlyn.core.searching.trials import Candidate, FoldResult, Past, Trials, asked, checked, learn
from emlyn.records.plan import Recipe

MORE, AGAIN = "-more-rows", "+"
"""Ends the name of a recipe that was learned on more rows than the sample, once more where a run that was gone on from had done so."""
AGAIN_FROM = 1.25
"""Times the seconds that it once took from which a recipe is learned again, when there is time for more rows or rounds."""
MOST = 4
"""Finalists, where time counts."""
SECOND = 0.25
"""Weight among the leaders from which a second finalist is worth the time that it takes from the first."""
PRESSED = 2.0
"""Times the seconds it has that a fit may be expected to want: boosters learn faster then, and lose less than they would by seeing fewer rows."""
FEWEST = 2.0
"""Times the rows of the sample that a finalist must see."""
MEMORY_SHARE = 0.8
"""Share of the memory left that one fit may be expected to take."""


@dataclass(eq=False)
class Finals:
    """The finals after `trials`, which are those of a sample of what `whole` learns from."""

    trials: Trials
    whole: Fold
    """Asks the rows that were put aside, and learns from all others."""
    data: Dataset
    """What `whole` was cut from."""
    context: Context
    threads: int
    """Threads that each fit on the sample had."""
    past: Past = field(default_factory=Past)
    """Finals of an earlier run, judged on the same rows, and where the results of these go."""

    def run(self) -> Trials:
        """The trials to go on with: of those who carry the sample's ensemble and of the finalists, judged on the rows put aside; the sample's own
        where nobody could learn from more rows."""
        finalists = [] if self.context.cancel.is_set() else self._finalists()
        if not finalists and not self._stored:
            return self.trials
        rows = most = len(self.whole.fit)
        if finalists:
            rows = self._rows(self._left, finalists)
            why = f" of {len(self.data):,} rows, drawn evenly: time or memory would not suffice for more" if rows < most else " rows"
            self.context.emit("note", f"finals: {', '.join(c.recipe.name for c in finalists)} on {rows:,}{why}")
        fold, base = self._drawn(rows)
        found = self._judged(base.take(fold.positions), fold)
        waiting, begun = list(finalists), list[Candidate]()
        while waiting and not self.context.cancel.is_set():
            self._learn(waiting[0], waiting, found)
            begun.append(waiting.pop(0))
            waiting = waiting or [c for c in self._able if c not in begun and self._rows(self._left, [c]) >= rows][:1]
        return found if any(not c.bag for c in found.usable()) else self.trials

    @property
    def _left(self) -> float:
        """Seconds for learning."""
        if self.trials.plan.trials is not None:
            return math.inf
        room = self.context.budget.until("search")
        return room - reserve(room)

    @cached_property
    def _stored(self) -> list[FoldResult]:
        """Finals of an earlier run that answer the rows put aside."""
        return [r for r in self.past.results if len(r.prediction) == len(self.whole.ask)]

    @cached_property
    def _carrying(self) -> dict[Candidate, float]:
        """Who carries the ensemble of the sample, with their weights in it, the heaviest first."""
        return self._weighed([c for c in self.trials.eligible() if c.recipe.learner != "baseline"])

    @cached_property
    def _leaders(self) -> dict[Candidate, float]:
        """One of each learner in that ensemble, with their weights in an ensemble of these alone, the heaviest first.

        Of those of a learner whom the sample cannot tell from its best, the first in the portfolio's order: that has large tables in mind.
        """
        leaders, eligible = [], self.trials.eligible()
        for learner in {c.recipe.learner: None for c in self._carrying}:
            own = [c for c in self.trials.candidates if c.recipe.learner == learner and c in eligible]
            best = min(own, key=self.trials.loss)
            leaders.append(next(c for c in own if as_good(self.trials, c, best)))
        return self._weighed(leaders)

    def _weighed(self, candidates: Sequence[Candidate]) -> dict[Candidate, float]:
        """Those with a weight in an ensemble of these."""
        if not candidates:
            return {}
        weights = ensemble_weights(self.trials, candidates)
        return {candidates[i]: float(weights[i]) for i in np.argsort(-weights, kind="stable") if weights[i] > 0}

    @cached_property
    def _able(self) -> list[Candidate]:
        """Who could learn from clearly more rows than the sample, in the order in which they should: leaders, then others who carry its ensemble."""
        return [c for c in {**self._leaders, **self._carrying} if (rows := self._rows(self._left, [c])) and not self._had(c, rows)]

    def _had(self, candidate: Candidate, rows: int) -> bool:
        """Has the run that this one goes on from learned it from as many rows, as far as it wanted, or for about as long as it could be now? If that
        run was killed, its results count however they came."""
        found = self._recipe(candidate.recipe, rows)
        same = [r for r in self._stored if replace(r.recipe, name=found.name, why=found.why) == found]
        return any(not self.past.further or AGAIN_FROM * r.fit_s >= self._left or (r.complete and r.recipe.why == found.why) for r in same)

    def _recipe(self, recipe: Recipe, rows: int) -> Recipe:
        """A recipe of the sample as it is when it learns from so many rows."""
        why = f"{recipe.name}, which carries the ensemble of the sample, on {rows:,} rows"
        return replace(recipe, name=f"{recipe.name}{MORE}", why=why)

    def _finalists(self) -> list[Candidate]:
        """As many as can all see every row in the time left, and one at least. A second that weighs enough may press the first."""
        able, every = self._able, len(self.whole.fit)
        if math.isinf(self._left):
            return able
        count = max((k for k in range(1, min(MOST, len(able)) + 1) if self._rows(self._left / PRESSED, able[:k]) == every), default=1)
        if count == 1 and len(able) > 1 and self._leaders.get(able[1], 0.0) >= SECOND and self._rows(self._left, able[:2]) == every:
            count = 2
        return able[:count]

    def _rows(self, seconds: float, candidates: Sequence[Candidate]) -> int:
        """How many rows all of these can learn from one after another in so many seconds, and each within the memory left; 0 where that are not
        clearly more than those of the sample."""
        seen, most = len(self.trials.folds[0].fit), len(self.whole.fit)
        found = affordable_rows(PRESSED * seconds, sum(self._seconds(c) for c in candidates), seen, most)
        found = min(found, *(self._in_memory(c) for c in candidates))
        return found if found >= min(most, FEWEST * self.trials.plan.sample) else 0

    def _in_memory(self, candidate: Candidate) -> int:
        """How many rows one fit of it may have."""
        memory, most = memory_left(self.context.memory), len(self.whole.fit)
        return min(most, int(most * MEMORY_SHARE * memory / max(1, fit_bytes(candidate.recipe, self.whole.fit)))) if memory else most

    def _seconds(self, candidate: Candidate) -> float:
        """What its slowest fold would have taken with the threads that a finalist has; one that the clock cut short wanted more than it had."""
        slowest = max(candidate.results.values(), key=lambda r: r.fit_s)
        return slowest.fit_s * min(1.0, self.threads / self.trials.plan.threads) * (1.0 if slowest.complete else PRESSED)

    def _reading(self, candidate: Candidate, rows: int) -> float:
        """What its answers to so many rows will take, when it has learned from more rows in more rounds."""
        return max(PRESSED * r.predict_s * rows / len(r.prediction) for r in candidate.results.values())

    def _drawn(self, rows: int) -> tuple[Fold, Dataset]:
        """So many rows to learn from, drawn evenly, and those put aside; and the dataset that both are cut from."""
        fit, ask = self.whole.fit, self.whole.ask
        if rows >= len(fit):
            return self.whole, self.data
        fit = fit.take(np.sort(np.random.default_rng(self.context.seed).choice(len(fit), rows, replace=False)))
        part = self.data.take(np.flatnonzero(np.isin(self.data.units, np.concatenate([fit.units, ask.units]))))
        order = np.argsort(part.units, kind="stable")
        at_fit, at_ask = (order[np.searchsorted(part.units[order], d.units)] for d in (fit, ask))
        base = part.apart(np.arange(len(part)))
        return fold_at(base, at_ask, 0, at_fit), base

    def _judged(self, asked_rows: Dataset, fold: Fold) -> Trials:
        """Trials on the rows put aside, so far with the answers of those who carry the ensemble of the sample, and of its baselines."""
        first = self.trials
        fold = replace(fold, positions=np.arange(len(asked_rows)))
        found = Trials(asked_rows, first.problem, [fold], first.width, replace(first.plan, folds=1))
        found.before, found.seed, found.said, found.wall_s = first, first.seed, first.said, first.wall_s
        for c in first.usable():
            if c in self._carrying or c.recipe.learner == "baseline":
                models, began = c.models(), time.monotonic()
                prediction = checked(Member(c.recipe, 1.0, models).predict(asked(fold)), len(asked_rows))
                result = FoldResult(c.recipe, 0, models[0], prediction, max(r.fit_s for r in c.results.values()), time.monotonic() - began)
                found.candidates.append(Candidate(c.recipe, {0: result}, status="done", note=c.note, bag=models))
        found.candidates += [Candidate(r.recipe, {0: r}, status="done") for r in self._stored]
        return found

    def _learn(self, candidate: Candidate, waiting: Sequence[Candidate], found: Trials) -> None:
        """Learn a recipe of the sample from the fold's rows, in its part of the time left for all who are `waiting`, itself the first."""
        fold, recipe = found.folds[0], candidate.recipe
        reading = sum(self._reading(c, len(fold.ask)) for c in waiting)
        seconds = max(0.0, self._left - reading) * self._seconds(candidate) / sum(self._seconds(c) for c in waiting)
        began, plan, made = self.context.budget.spent, found.plan, Candidate(self._recipe(recipe, len(fold.fit)), status="done")
        while made.recipe.name in {c.recipe.name for c in found.candidates}:
            made.recipe = replace(made.recipe, name=f"{made.recipe.name}{AGAIN}")
        found.candidates.append(made)
        telling = Telling(found, self.context)
        job = Job(learn, (plugins.find("learners", recipe.learner), made.recipe, fold), seconds, plan.threads, found.seed)
        outcome = run_beside(job, 1.2 * seconds + 1.0, self.context.cancel.is_set)
        if outcome.error:
            made.status, made.note = "failed", outcome.error
        elif unlearned(found, outcome.value):
            made.status, made.note = "stopped", "the deadline came before it had learned more than a constant"
        else:
            made.results[0] = outcome.value
            if self.past.keep is not None:
                self.past.keep(outcome.value)
        found.wall_s += self.context.budget.spent - began
        telling.trial(made, made.note or "kept", None, self._left)
