"""Search: an anytime race of recipes over shared folds. Stops at the deadline, when asked, or when nothing more can be gained.

Fold 0 of every kind first; who survives it gets the other folds, the best first; a recipe that cannot finish in time is put off, and boosters
stop at their limit and keep what they learned. With a number of trials instead of a time limit nothing depends on a clock or on how many workers
there are: one recipe is tried after another, its folds side by side, and is judged after its first fold and after its last; so the same recipes are
selected run after run, here or on a cluster. Of a large table the race sees a sample; the finals that follow see what there is time for.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.dataset import Dataset
from emlyn.core.executor import ABANDONED, Executor, ThreadExecutor
from emlyn.core.machine import busy_share, memory_left
from emlyn.core.searching.costs import costs_of
from emlyn.core.searching.finals import MORE, Finals
from emlyn.core.searching.flights import Flight, Flights
from emlyn.core.searching.loading import Loading
from emlyn.core.searching.proposals import Proposals
from emlyn.core.searching.racing import ensemble_loss, hopeless, kinds_of, made_features, siblings_without_made_features, unlearned
from emlyn.core.searching.schedule import Schedule, affordable_rows
from emlyn.core.searching.telling import Telling
from emlyn.core.searching.trials import Candidate, FoldResult, Past, Trials, ready
from emlyn.records.codec import digest
from emlyn.records.plan import Plan, Recipe
from emlyn.records.problem import Problem

SERIAL_FROM = 5_000_000
"""Cells (rows x columns) from which one job at a time uses all threads; below, jobs run side by side with one thread each."""
MEMORY_SHARE = 0.8
"""Share of the memory left that running jobs may be expected to take."""
SHORT_OF_TIME = "the time left would not have sufficed"
PERFECT = 1e-9
"""Share of the way from a perfect score to the worst one that counts as none: numbers come in any unit."""
VARY_FROM = 3.5
"""Seconds, and as many as libraries take to load, below which no variation is begun."""
TRIES = 5
"""Variations drawn before it is taken for granted that none fits into the time left."""
PATIENCE = 15
LEAST_GAIN = 0.05
FINALISTS = 3
"""Candidates of a sample, the best ones, of which one is reckoned to learn from more rows."""


def search(plan: Plan, data: Dataset, problem: Problem, context: Context, past: Past | None = None) -> Trials:
    """Try the plan's recipes on shared folds. What `past` holds is taken over, every new fold result is handed to `past.keep`."""
    data = ready(data, context.seed)
    task = plugins.find("tasks", problem.task)
    all_rows, whole = data, None
    if plan.sample:
        whole = task.folds(data, problem, 1, context.seed)[0]
        rng = np.random.default_rng(context.seed)
        data = whole.fit.apart(np.sort(rng.choice(len(whole.fit), min(plan.sample, len(whole.fit)), replace=False)))
    folds = task.folds(data, problem, plan.folds, context.seed)
    trials = Trials(data, problem, folds, task.width(problem), plan)
    trials.seed = context.seed
    own = context.executor is None
    executor: Executor = ThreadExecutor(_workers(plan, data)) if own else context.executor
    if past is None or data.shared.get("hurried"):
        past = Past()
    race = Race(plan, trials, context, executor, past.only(lambda r: MORE not in r.name))
    try:
        race.run()
    finally:
        if own:
            executor.close()
    return trials if whole is None else Finals(trials, whole, all_rows, context, race.flights.threads, past.only(lambda r: MORE in r.name)).run()


def _workers(plan: Plan, data: Dataset) -> int:
    """Jobs side by side: many small ones rather than threads that wait for each other, most of all when others use the cores."""
    threads = max(1, plan.threads)
    if threads == 1:
        return 1
    encoder = data.shared.get("encoder")
    cells = len(data) * (len(encoder.names) if encoder is not None else 1)
    crowded = plan.trials is None and busy_share() > 0.5
    return 1 if cells >= SERIAL_FROM and not crowded else threads


@dataclass
class Race:
    """The scheduler. One thread; only it touches the trials."""

    plan: Plan
    trials: Trials
    context: Context
    executor: Executor
    past: Past
    best: float | None = None
    worst: float | None = None
    first_s: float | None = None
    proposals: Proposals | None = None
    dry: int = 0
    """Variations in a row that brought the ensemble nothing."""
    mixed: float = math.inf
    """Loss of the ensemble so far."""
    put_off: deque[Recipe] = field(default_factory=deque)
    """Recipes too dear for their share of the time when it was their turn: begun when nothing else is left and they fit into what is."""
    unruly: set[str] = field(default_factory=set)
    """Learners that do not stop when they should: they are not begun again."""

    def __post_init__(self) -> None:
        data = self.trials.data
        folds, timed = len(self.trials.folds), self.plan.trials is None and math.isfinite(self.context.budget.seconds)
        self.costs = costs_of(data, folds, fixed=not timed, speed=self.plan.speed)
        self.schedule = Schedule.of(self.context.budget, self.plan, self.costs, folds, self.executor.workers)
        self.telling = Telling(self.trials, self.context)
        self.queue: deque[Recipe] = deque(self.plan.recipes)
        self.memory = memory_left(self.context.memory)
        self.learners: dict[str, Any] = {learner.name: learner for learner in plugins.collect("learners")}
        self.loading = Loading(self.learners)
        self.flights = Flights(self.trials, self.context, self.executor, self.schedule, self.loading)

    @property
    def timed(self) -> bool:
        return self.schedule.timed

    @property
    def left(self) -> float:
        return self.schedule.left

    def run(self) -> None:
        """Keep the workers busy until there is nothing to do, no time, or a wish to stop."""
        began = self.context.budget.spent
        self.telling.begins()
        self._restore()
        while True:
            while not self.flights.full and not self._over() and self._next():
                pass
            if not self.flights:
                break
            if self.context.cancel.is_set():
                self.executor.cancel()
            for flight in self.flights.landed():
                self._take(flight)
        self.trials.wall_s = self.context.budget.spent - began
        self._conclude()

    def _over(self) -> bool:
        """Asked to stop, or no time, or nothing to gain; a first model, if only the baseline, is made even when planning took the time."""
        if self.schedule.kept > 0 and self.left < self.schedule.kept and self.trials.usable() and not self._finalists_fit():
            self.context.emit("note", "there is no time to learn from more rows than the sample: the search goes on instead")
            self.schedule.release()
        return self.context.cancel.is_set() or (self.left <= 0 and bool(self.trials.usable())) or self._perfect()

    def _finalists_fit(self) -> bool:
        """Could one of the best see clearly more rows in the time kept for that?"""
        best = sorted(self.trials.usable(), key=self.trials.loss)[:FINALISTS]
        fit_s = min(max(r.fit_s for r in c.results.values()) for c in best)
        return affordable_rows(self.schedule.kept, fit_s, len(self.trials.folds[0].fit), 2 * self.plan.sample) > 0

    def _perfect(self) -> bool:
        if self.best is None or self.worst is None:
            return False
        edge = self.trials.metric.perfect
        return abs(self.best - edge) <= PERFECT * abs(self.worst - edge)

    # what to do next

    def _next(self) -> bool:
        """Begin what is worth doing now: newcomers, survivors, then the next recipe, then those put off. False when nothing can be begun."""
        if not self.timed and any(f.fold <= 0 for f in self.flights):
            return False
        while (newcomer := self._newcomer()) and self._beside(newcomer):
            if self._enter(newcomer):
                return True
        for candidate, missing in self._by_promise(self._survivors()):
            if not self._beside(candidate.recipe):
                return False
            if self.timed and len(candidate.results) == 1 and self._let_go(candidate):
                continue
            if not self.trials.usable() or self.schedule.fits(candidate.recipe, len(missing)):
                return self._begin(candidate, missing[0])
            self._stop(candidate, SHORT_OF_TIME)
        if not self.timed and self.flights:
            return False
        while self.queue and self._beside(self.queue[0]):
            if self._enter(self.queue[0]):
                return True
        while not self.queue and self.put_off and self._beside(self.put_off[0]):
            if self._enter(self.put_off[0]):
                return True
        return not self.queue and not self.put_off and self._vary()

    def _newcomer(self) -> Recipe | None:
        """With a clock, and once there is a model: who is heard before anyone gets a second fold. A kind that nobody has tried, and whoever costs
        next to nothing; so those who go on are chosen among all kinds, and a dear one is let go before it took its time. Where made features have
        won clearly, also whoever brings them to another learner."""
        if not self.timed or self.first_s is None:
            return None
        tried = self._tried()
        found = next((r for r in self.queue if not kinds_of(r) <= tried or self.schedule.cheap(r)), None)
        if found is None and (follower := next((r for r in self.queue if self._follows(r)), None)) and self._made_features_win():
            return follower
        return found

    def _made_features_win(self) -> bool:
        """Is the best recipe one with made features, whose learner has no hope without them? Those of it that still race are judged, and go."""
        plain = siblings_without_made_features(self.trials)
        return bool(plain) and all(c.status == "dropped" or (c.status == "racing" and self._let_go(c)) for c in plain)

    def _follows(self, recipe: Recipe) -> bool:
        """Would it be the first of its learner with made features?"""
        return made_features(recipe) and not any(c.recipe.learner == recipe.learner and made_features(c.recipe) for c in self.trials.candidates)

    def _tried(self) -> set[str]:
        return set().union(*(kinds_of(c.recipe) for c in self.trials.candidates))

    def _survivors(self) -> list[tuple[Candidate, list[int]]]:
        """Who is in the race, with the folds that nobody has begun: as long as there is no model, also of the first whose fold 0 is under way."""
        busy = {(f.candidate.recipe.name, f.fold) for f in self.flights}
        racing = [c for c in self.trials.candidates if c.status == "racing" and (c.results or self._hurries(c))]
        folds = range(len(self.trials.folds))
        return [(c, missing) for c in racing if (missing := [k for k in folds if k not in c.results and (c.recipe.name, k) not in busy])]

    def _hurries(self, candidate: Candidate) -> bool:
        """Is it the first that will be a model? Nobody else is begun beside it: the libraries that others load would keep it waiting."""
        return self.timed and self.first_s is None and candidate.recipe.learner != "baseline"

    def _by_promise(self, found: list[tuple[Candidate, list[int]]]) -> list[tuple[Candidate, list[int]]]:
        """With a clock those under way first, then the best; without one in the order of the plan."""
        if not self.timed or len(found) < 2:
            return found
        whole = len(self.trials.folds)
        return sorted(found, key=lambda t: (len(t[1]) >= whole - 1, self.trials.loss(t[0]) if t[0].results else math.inf))

    def _enter(self, recipe: Recipe) -> bool:
        """Take a recipe out of the queue, or of those put off, and begin its fold 0; False where it is refused."""
        again = not self.queue
        (self.put_off if again else self.queue).remove(recipe)
        reason = self._impossible(recipe)
        if not reason and self._too_dear(recipe):
            if not again:
                self.put_off.append(recipe)
                return False
            reason = SHORT_OF_TIME
        candidate = Candidate(recipe)
        self.trials.candidates.append(candidate)
        if reason:
            self._stop(candidate, reason)
            return False
        candidate.status = "racing"
        return self._begin(candidate, 0)

    def _begin(self, candidate: Candidate, fold: int) -> bool:
        """Begin a fold, whose limit is that of the candidate's first. Always True: something was begun."""
        if self.timed and not candidate.results:
            candidate.limit_s = self._limit()
        self.flights.learn(candidate, fold)
        return True

    def _vary(self) -> bool:
        """After the portfolio: begin a variation of what carries the ensemble, while that still brings something."""
        bounded = self.plan.trials is not None
        if self.dry >= PATIENCE or (bounded and len(self.trials.candidates) >= (self.plan.trials or 0)) or not (bounded or self.timed):
            return False
        if self.timed and self.proposals is None and self.left < VARY_FROM + self.loading.longest:
            return False
        self.proposals = self.proposals or Proposals(self.trials, self.context.seed)
        for _ in range(TRIES):
            recipe = self.proposals.propose()
            if recipe is not None and not self._impossible(recipe) and not self._too_dear(recipe) and self._beside(recipe):
                candidate = Candidate(recipe, status="racing")
                self.trials.candidates.append(candidate)
                return self._begin(candidate, 0)
        return False

    def _impossible(self, recipe: Recipe) -> str:
        """Why a recipe will not be begun at any time; empty where it may be."""
        if recipe.learner in self.unruly:
            return f"{recipe.learner} did not stop when its time was over"
        if self.memory and recipe.learner != "baseline" and self._needs(recipe) > MEMORY_SHARE * self.memory:
            return f"it would take about {self._needs(recipe) / 2**30:.1f} GiB of memory, {self.memory / 2**30:.1f} are left"
        return ""

    def _too_dear(self, recipe: Recipe) -> bool:
        """Would it end half learned within its share of the time?"""
        return bool(self.trials.usable()) and self.schedule.too_dear(recipe, self._limit(), self.loading.seconds(recipe.learner))

    def _needs(self, recipe: Recipe) -> int:
        return self.costs.memory(recipe, getattr(self.learners[recipe.learner], "bytes_per_cell", None))

    def _beside(self, recipe: Recipe) -> bool:
        """Is there memory for it beside what runs?"""
        taken = sum(self._needs(f.candidate.recipe) for f in self.flights)
        return not self.flights or not self.memory or taken + self._needs(recipe) <= MEMORY_SHARE * self.memory

    def _limit(self) -> float:
        """Seconds each fold of a new recipe may take."""
        untried = set[str]().union(*map(kinds_of, self.queue)) - self._tried()
        promised = sum(self.costs.expect(c.recipe) * len(missing) for c, missing in self._survivors())
        return self.schedule.limit(promised, len(untried), bool(self.queue))

    # what came of it

    def _take(self, flight: Flight) -> None:
        candidate, outcome = flight.candidate, flight.future.result()
        if outcome.error:
            if outcome.error == ABANDONED:
                self.unruly.add(candidate.recipe.learner)
            candidate.status, candidate.note = ("stopped", "cancelled") if outcome.error == "cancelled" else ("failed", outcome.error)
            self._tell(candidate, outcome.error)
            return
        if flight.fold < 0:
            candidate.settled = outcome.value
            self._finish(candidate)
            return
        result: FoldResult = replace(outcome.value, recipe=candidate.recipe)
        self.loading.learn(candidate.recipe.learner, outcome.seconds - result.fit_s - result.predict_s)
        if unlearned(self.trials, result):
            self._stop(candidate, "the deadline came before it had learned more than a constant")
            return
        candidate.results[result.fold] = result
        self.schedule.learn(result, result.fit_s + result.predict_s)
        if self.past.keep is not None and candidate.recipe.learner != "baseline":  # learned anew in less time than storing it takes
            self.past.keep(result)
        self._judge(candidate)

    def _judge(self, candidate: Candidate) -> None:
        """After each fold: finish, go on, or let go."""
        if candidate.status != "racing":
            return
        if self.trials.complete(candidate):
            steps = {k: candidate.fold_steps(k) for k in candidate.results}
            moved = {k: s for k, s in steps.items() if s is not None and s != candidate.results[k].fitted.steps}
            if moved:
                self.flights.settle(candidate, moved)
            else:
                self._finish(candidate)
            return
        if self.timed or len(candidate.results) == 1:
            self._let_go(candidate)

    def _let_go(self, candidate: Candidate) -> bool:
        """Drop it where its rivals leave it no hope."""
        rivals = [c for c in self.trials.candidates if c.results and c.status in ("racing", "done")]
        if reason := hopeless(self.trials, candidate, rivals):
            candidate.status, candidate.note = "dropped", reason
            self._tell(candidate, reason)
            self._learned(candidate)
        return bool(reason)

    def _finish(self, candidate: Candidate) -> None:
        candidate.status = "done"
        score, _ = self.trials.score(candidate)
        if self.best is None or self.trials.metric.better(score, self.best):
            self.best = score
        if self.worst is None or self.trials.metric.better(self.worst, score):
            self.worst = score
        if self.first_s is None and candidate.recipe.learner != "baseline":
            self.first_s = self.context.budget.spent
            self.telling.first(candidate)
        self._tell(candidate, "kept")
        self._learned(candidate)

    def _learned(self, candidate: Candidate) -> None:
        """What a variation was worth: the search ends when many in a row move the ensemble by less than a twentieth of its standard error."""
        if self.proposals is None:
            return
        self.proposals.tell(candidate)
        done = [c for c in self.trials.usable() if c.status == "done"]
        loss, noise = ensemble_loss(self.trials, done)
        self.dry = 0 if loss < self.mixed - LEAST_GAIN * noise else self.dry + 1
        self.mixed = min(self.mixed, loss)

    def _stop(self, candidate: Candidate, reason: str) -> None:
        candidate.status, candidate.note = "stopped", reason
        self._tell(candidate, reason)

    def _tell(self, candidate: Candidate, verdict: str) -> None:
        self.telling.trial(candidate, verdict, self.best, self.left)

    # the ends

    def _restore(self) -> None:
        """Take over what an earlier run stored for the same recipes and folds."""
        stored = {r.key: r for r in self.past.results}
        if not stored:
            return
        known = list(self.queue)
        if self.timed:  # a number of trials draws the same variations again
            known += {digest(r.recipe): r.recipe for r in self.past.results if r.recipe not in known}.values()
        for recipe in known:
            candidate = Candidate(recipe, status="racing")
            for fold in self.trials.folds:
                found = stored.get(FoldResult.key_of(recipe, fold.number))
                if found is not None and len(found.prediction) == len(fold.positions):
                    candidate.results[fold.number] = found
                    self.schedule.learn(found, found.fit_s + found.predict_s)
            if candidate.results:
                if recipe in self.queue:
                    self.queue.remove(recipe)
                candidate.limit_s = self._limit()
                self.trials.candidates.append(candidate)
                self._judge(candidate)
        if self.past.further:
            short = [c.recipe for c in self.trials.candidates if not all(r.complete for r in c.results.values())]
            self.queue.extend(replace(r, name=f"{r.name}+", why=f"{r.name} with the time that it lacked") for r in short)

    def _conclude(self) -> None:
        """Who did not finish is stopped; say why the search ended."""
        for candidate in self.trials.candidates:
            if candidate.status == "racing":
                self._stop(candidate, "the search ended first")
        for recipe in self.put_off:
            candidate = Candidate(recipe)
            self.trials.candidates.append(candidate)
            self._stop(candidate, SHORT_OF_TIME)
        if self.context.cancel.is_set():
            why = "it was asked to stop"
        elif self._perfect():
            why = "no error is left to remove"
        elif self.timed and self.dry < PATIENCE:
            why = "the time for it was used"
        elif self.dry >= PATIENCE:
            why = f"the last {PATIENCE} variations added nothing; nothing more can be gained"
        elif self.plan.trials == len(self.plan.recipes):
            why = f"the {self.plan.trials} trials that were asked for were made"
        else:
            why = "every recipe was tried; nothing more can be gained"
        self.telling.ends(why)
