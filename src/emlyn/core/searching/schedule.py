"""What the time left suffices for, and how much of it a recipe may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emlyn.context import Budget
from emlyn.core.searching.costs import Costs
from emlyn.core.searching.trials import FoldResult
from emlyn.records.plan import Plan, Recipe

MOST_SHARE, LATE_SHARE = 0.4, 0.9
"""Shares of the time left that one recipe may take at most, while others wait for their turn and after."""
FAIR = 1.5
"""While learners are still untried a recipe may take this many times an equal share of the time left."""
CHEAP = 0.02
"""Share of the time left below which a fold costs next to nothing."""
FREE = 0.6
"""Share of the time left that a new recipe's limit is reckoned from at least, however much is promised to those in the race."""
WORTH = 0.6
"""Share of its expected time below which a fit would end half learned and is not begun; half of that where the expectation was never measured."""
LEAST_SECONDS = 0.2
RESERVE = (0.4, 0.04)
"""Seconds, and share of the search's time, kept for the ensemble."""
REFIT_SHARE = 0.35
"""Share of the search's time kept where members are learned once more."""
FINALS_SHARE = 0.7
"""Share of the search's time kept where recipes are chosen on a sample and finalists learn from more rows."""
LONGER = 1.3
"""A fit on so many times the rows is reckoned to take this much longer still."""
MORE_ROWS = 1.25
"""Times the rows that a model has seen which learning once more must see to be worth its time, where it cannot see all."""


def affordable_rows(seconds: float, fit_s: float, seen: int, rows: int) -> int:
    """How many of `rows` can be learned from in so many seconds, when `seen` rows took `fit_s`; 0 where that are hardly more than these."""
    found = rows if math.isinf(seconds) else int(min(rows, seen * seconds / (LONGER * max(fit_s, 1e-3))))
    return found if found >= min(rows, MORE_ROWS * seen) else 0


def reserve(room: float) -> float:
    """Seconds kept for the ensemble, of so many for the search."""
    return max(RESERVE[0], RESERVE[1] * room)


@dataclass(eq=False)
class Schedule:
    """The race's clock. Without one (`timed` is false) everything fits and nothing has a limit."""

    budget: Budget
    costs: Costs
    folds: int
    workers: int
    timed: bool
    until: float
    """Seconds since the run's start at which the last job must have ended."""
    kept: float = 0.0
    """Seconds after that in which finalists that were chosen on a sample are learned on more rows."""

    @staticmethod
    def of(budget: Budget, plan: Plan, costs: Costs, folds: int, workers: int) -> Schedule:
        timed = not costs.fixed
        room = budget.until("search") if timed else math.inf
        if not timed:
            return Schedule(budget, costs, folds, workers, timed, math.inf)
        share = FINALS_SHARE if plan.sample else REFIT_SHARE if plan.refit else 0.0
        later = max(reserve(room), share * room)
        return Schedule(budget, costs, folds, workers, timed, budget.spent + room - later, later - reserve(room) if plan.sample else 0.0)

    @property
    def left(self) -> float:
        return self.until - self.budget.spent

    def release(self) -> None:
        """Go on searching in the time kept for finalists."""
        self.until, self.kept = self.until + self.kept, 0.0

    def limit(self, promised: float, untried: int, waiting: bool) -> float:
        """Seconds each fold of a new recipe may take.

        A share of the core seconds that are left when those in the race get the `promised` ones: fair to so many `untried` learners, larger when no
        other recipe is `waiting` for its turn.
        """
        share = min(MOST_SHARE, FAIR / (untried + 1)) if waiting else LATE_SHARE
        seconds = self.left * min(self.workers, self.folds)
        return max(LEAST_SECONDS, share * max(seconds - promised, FREE * seconds) / self.folds)

    def seconds(self, limit: float, reading: float, loading: float = 0.0) -> float:
        """Seconds of one fold within its limit, so that what is learned can still be read: `reading` seconds per second of learning, after
        `loading` ones for libraries."""
        return max(LEAST_SECONDS, min((self.left - loading - 0.1) / (1 + reading), limit))

    def cheap(self, recipe: Recipe) -> bool:
        """Does one fold cost next to nothing?"""
        return self.costs.expect(recipe) < CHEAP * self.left * self.workers

    def too_dear(self, recipe: Recipe, limit: float, loading: float = 0.0) -> bool:
        """Would a fold end half learned within the limit, or after the time for `loading` libraries, which counts for no limit?"""
        return self.timed and (loading > self.left or (WORTH if self.costs.measured(recipe) else WORTH / 2) * self.costs.expect(recipe) > limit)

    def fits(self, recipe: Recipe, folds: int) -> bool:
        """May the folds that a survivor still lacks begin? Learners stop at their limit and keep what they have."""
        return not self.timed or WORTH * self.costs.expect(recipe) * math.ceil(folds / self.workers) <= self.left

    def learn(self, result: FoldResult, seconds: float) -> None:
        """Take a measured fold into account; one that the clock cut short or hurried says only that it costs at least so much."""
        if (result.complete and not result.settled) or seconds > self.costs.expect(result.recipe):
            self.costs.learn(result.recipe, seconds)
