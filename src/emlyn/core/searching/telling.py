"""What a race says: an event for who watches, a line for the journal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emlyn.context import Context
from emlyn.core.searching.trials import Candidate, Trials
from emlyn.records.journal import Entry


@dataclass(frozen=True, eq=False)
class Telling:
    """Each fact once: to the event sink, and as hypothesis, change, evidence, verdict and cost to the trials' journal."""

    trials: Trials
    context: Context

    @property
    def now(self) -> float:
        return round(self.context.budget.spent, 3)

    def begins(self) -> None:
        """The order in which recipes will be tried, and why, before any is."""
        plan = self.trials.plan
        order, folds = ", ".join(r.name for r in plan.recipes), len(self.trials.folds)
        self.trials.say(Entry(self.now, "plan", plan.experience or "cheap recipes and different kinds first", order, {"folds": folds}, plan.why))

    def first(self, candidate: Candidate) -> None:
        """There is a model."""
        self.context.emit("model.first", f"first usable model: {candidate.recipe.name}", seconds=round(self.now, 2))

    def trial(self, candidate: Candidate, verdict: str, best: float | None, left: float) -> None:
        """What a candidate came to; `best` score so far, `left` seconds of the search."""
        score, spread = self.trials.score(candidate) if candidate.results else (None, None)
        facts = {"recipe": candidate.recipe.name, "status": candidate.status, "score": score, "spread": spread, "folds": len(candidate.results)}
        self.context.emit(
            "trial.end",
            f"{candidate.recipe.name}: {self.trials.metric.name} {'-' if score is None else f'{score:.5g}'} ({verdict})",
            **facts,
            best=best,
            metric=self.trials.metric.name,
            left=round(max(0.0, left), 1) if math.isfinite(left) else None,
            tried=sum(c.status != "queued" for c in self.trials.candidates),
            planned=len(self.trials.plan.recipes),
        )
        ideas = candidate.ideas()
        told = [f"{f} ({ideas[f][0]} of {ideas[f][1]} ideas explain more than luck)" if f in ideas else f for f in candidate.recipe.features]
        change = f"{candidate.recipe.learner} {candidate.recipe.params}" + (f" with {', '.join(told)}" if told else "")
        evidence = {**facts, **({"ideas": ideas} if ideas else {})}
        self.trials.say(Entry(self.now, "trial", candidate.recipe.why, change, evidence, verdict, round(candidate.seconds, 3)))

    def ends(self, why: str) -> None:
        """Why the search ended."""
        done, seconds = sum(c.status == "done" for c in self.trials.candidates), self.trials.wall_s
        self.context.emit("search.end", f"search ended: {why}", why=why, done=done, seconds=round(seconds, 2))
        self.trials.say(Entry(self.now, "search.end", verdict=why, evidence={"done": done}, cost_s=round(seconds, 3)))
