"""Jobs on their way: folds handed to the executor, what comes back, and what is given up because it does not stop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emlyn.context import Context
from emlyn.core.dataset import Dataset
from emlyn.core.executor import Executor, Job, Outcome, Reference
from emlyn.core.searching.loading import Loading
from emlyn.core.searching.schedule import Schedule
from emlyn.core.searching.trials import Candidate, Trials, answer, asked, learn

POLL = 0.2
"""Seconds of one wait."""
OVERRUN, PATIENT = 3.0, 2.0
"""A job is given up after so many times its seconds and so many seconds more: reading answers, and a busy machine, take their time too."""
GRACE, GRACE_SHARE = 0.5, 0.02
"""Seconds, or share of the budget where that is more, after the search's end at which jobs that still run are given up."""


@dataclass
class Flight:
    """A job on its way."""

    candidate: Candidate
    fold: int
    """-1: the whole candidate is being read at its cross-fitted steps."""
    future: Future[Outcome]
    due: float = math.inf
    """Seconds since the run's start at which it is given up: it was told to stop long before."""


@dataclass(eq=False)
class Flights:
    """All that is under way in a race."""

    trials: Trials
    context: Context
    executor: Executor
    schedule: Schedule
    loading: Loading
    _flying: list[Flight] = field(default_factory=list)
    _shared: dict[int, Reference] = field(default_factory=dict)
    _asked: float = math.inf
    """When the search was asked to stop."""

    def __post_init__(self) -> None:
        self.threads = max(1, self.trials.plan.threads // self.executor.workers)

    def __len__(self) -> int:
        return len(self._flying)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._flying)

    @property
    def full(self) -> bool:
        """Has every worker something to do?"""
        return len(self._flying) >= self.executor.workers

    def learn(self, candidate: Candidate, fold: int) -> None:
        """Begin a fold of a candidate, within its limit and with the settings that its first fold came to."""
        recipe, seconds = candidate.recipe, math.inf
        if candidate.results and (settled := candidate.results[min(candidate.results)].settled):
            recipe = replace(recipe, params={**recipe.params, **settled})
        if self.schedule.timed:
            seconds = self.schedule.seconds(candidate.limit_s, self._reading(recipe.learner), self.loading.seconds(recipe.learner))
        job = Job(learn, (self.loading.learners[recipe.learner], recipe, self._share(fold)), seconds, self.threads, self._seed(fold))
        patience = OVERRUN * seconds + PATIENT + self.loading.patience(recipe.learner)
        self._flying.append(Flight(candidate, fold, self.executor.submit(job), self.context.budget.spent + patience))

    def settle(self, candidate: Candidate, steps: Mapping[int, int]) -> None:
        """Begin to read a candidate's models of these folds at other steps than their own."""
        work = [(candidate.results[k].fitted, k, s) for k, s in steps.items()]
        job = Job(settle, (work, [asked(self.trials.folds[k]) for k in steps]), math.inf, self.threads)
        self._flying.append(Flight(candidate, -1, self.executor.submit(job)))

    def landed(self) -> list[Flight]:
        """Flights that ended, after a short wait. Without a clock the oldest alone, so that decisions rest on the same results run after run."""
        watched = self._flying if self.schedule.timed else self._flying[:1]
        wait([f.future for f in watched], timeout=POLL, return_when=FIRST_COMPLETED)
        self._give_up()
        done = [f for f in watched if f.future.done()]
        self._flying = [f for f in self._flying if f not in done]
        return done

    def _give_up(self) -> None:
        """Go on without the jobs that did not stop: long after their time, at the deadline where there is a model, soon after a wish to stop."""
        budget, now = self.context.budget, self.context.budget.spent
        if self.context.cancel.is_set():
            self._asked = min(self._asked, now)
        grace = max(GRACE, GRACE_SHARE * budget.seconds)
        late = now > self._asked + PATIENT or (self.schedule.left < -grace and (bool(self.trials.usable()) or budget.left < 0))
        for flight in self._flying:
            if late or now > flight.due:
                self.executor.abandon(flight.future)

    def _reading(self, learner: str) -> float:
        """Seconds of answering per second of learning, as seen so far: each fold is read when learned and, all in one job, at the chosen steps."""
        seen = [r.predict_s / max(r.fit_s, 0.01) for c in self.trials.candidates if c.recipe.learner == learner for r in c.results.values()]
        return (1 + len(self.trials.folds)) * max(seen, default=0.05)

    def _share(self, fold: int) -> Reference:
        if fold not in self._shared:
            self._shared[fold] = self.executor.share(self.trials.folds[fold])
        return self._shared[fold]

    def _seed(self, fold: int) -> int:
        return int(np.random.SeedSequence([self.context.seed, fold]).generate_state(1)[0] % 2**31)


def settle(work: list[tuple[Any, int, int]], asks: list[Dataset], effort: Any) -> dict[int, np.ndarray]:
    """The job that reads fitted models at their cross-fitted steps: fold -> answers."""
    return {fold: answer(fitted, ask, steps, effort) for (fitted, fold, steps), ask in zip(work, asks, strict=True)}
