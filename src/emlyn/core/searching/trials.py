"""Trials: what each recipe came to, fold by fold. Holds the out-of-fold predictions that everything later is chosen and judged by."""

from __future__ import annotations

import copy
import importlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.core.dataset import Dataset, Fold
from emlyn.core.features.prep import CHARACTERS, fit_encoder, readable
from emlyn.core.judging.metrics import Metric, metric
from emlyn.core.learner import Effort, Fitted, Learner
from emlyn.core.models.parts import below, pack, unpack, within
from emlyn.records.codec import digest, from_json, to_json, to_plain
from emlyn.records.journal import Entry, Trial
from emlyn.records.plan import Plan, Recipe
from emlyn.records.problem import Problem

MOST_PER_LEARNER = 8
"""Candidates of one learner that an ensemble is chosen from at most."""


@dataclass(frozen=True, eq=False)
class FoldResult:
    """One recipe learned on one fold."""

    recipe: Recipe
    fold: int
    fitted: Fitted
    prediction: np.ndarray
    """Answers (asked units, width) at the fold's own best step."""
    fit_s: float
    predict_s: float
    curve: np.ndarray | None = None
    """Loss on the asked units after each step, for learners that have steps."""
    settled: dict[str, Any] = field(default_factory=dict)
    """Settings that the learner chose by the clock; the other folds take them over."""
    complete: bool = True
    """False when the deadline cut it short."""

    @property
    def key(self) -> tuple[str, int]:
        """Results with one key are interchangeable."""
        return FoldResult.key_of(self.recipe, self.fold)

    @staticmethod
    def key_of(recipe: Recipe, fold: int) -> tuple[str, int]:
        return digest(recipe), fold

    def to_parts(self) -> dict[str, bytes]:
        """Named parts, nothing in them can run code; the reverse is `from_parts`."""
        document = {"recipe": to_plain(self.recipe), **{k: getattr(self, k) for k in ("fold", "fit_s", "predict_s", "settled", "complete")}}
        arrays = {"prediction": self.prediction} | ({} if self.curve is None else {"curve": self.curve})
        whole = self.fitted if self.curve is None else at_steps(self.fitted, len(self.curve))
        return {**pack(document, arrays), **below("fitted", whole.save())}

    @staticmethod
    def from_parts(parts: Mapping[str, bytes]) -> FoldResult:
        """Raises ModelError for damaged parts, KeyError when the learner is not installed."""
        document, arrays = unpack(parts)
        recipe = from_json(to_json(document.pop("recipe")), Recipe)
        fitted = plugins.find("learners", recipe.learner).load(within(parts, "fitted"))
        return FoldResult(recipe=recipe, fitted=fitted, prediction=arrays["prediction"], curve=arrays.get("curve"), **document)

    def __reduce__(self) -> tuple[object, ...]:
        return FoldResult.from_parts, (self.to_parts(),)


@dataclass(frozen=True, eq=False)
class Past:
    """What an earlier, interrupted or extended run left, and where the results of this one go as they come."""

    results: Sequence[FoldResult] = ()
    keep: Callable[[FoldResult], None] | None = None
    folds: int = 0
    """Folds of that run's plan, 0 when it made none: stored results only fit the same ones."""
    sample: int = 0
    """Rows of its sample, 0 for all."""
    further: bool = False
    """Extended: there is time that it did not have, so what its deadline cut short is worth learning once more."""

    def only(self, wanted: Callable[[Recipe], bool]) -> Past:
        """With the results of some recipes alone."""
        return replace(self, results=[r for r in self.results if wanted(r.recipe)])


def learn(learner: Learner, recipe: Recipe, fold: Fold, effort: Effort) -> FoldResult:
    """The job of a trial: learn on a fold, answer what it asks. Runs wherever the executor says.

    The truth of the asked units only serves as watch rows; see docs/decisions/0002-watch-rows.md for why the out-of-fold score stays honest.
    """
    for library in getattr(learner, "libraries", ()):
        importlib.import_module(library)
    began = time.monotonic()
    ask = asked(fold)
    fitted = learner.fit(recipe, fold.fit, replace(ask, answers=fold.truth), effort)
    fit_s, middle = time.monotonic() - began, time.monotonic()
    prediction = checked(fitted.predict(ask), len(ask))
    return FoldResult(
        recipe=recipe,
        fold=fold.number,
        fitted=fitted,
        prediction=prediction,
        fit_s=fit_s,
        predict_s=time.monotonic() - middle,
        curve=None if fitted.curve is None or not len(fitted.curve) else fitted.curve,
        settled=dict(getattr(fitted, "settled", {})),
        complete=fit_s < effort.seconds,
    )


def answer(fitted: Fitted, ask: Dataset, steps: int, effort: Effort) -> np.ndarray:
    """The job of reading a fitted model at another number of steps."""
    return checked(fitted.predict(ask, steps), len(ask))


def at_steps(fitted: Fitted, steps: int | None) -> Fitted:
    """The same model, read at another number of steps."""
    if steps is None:
        return fitted
    found = copy.copy(fitted)
    found.steps = steps
    return found


def asked(fold: Fold) -> Dataset:
    """The asked units with what may be known at that moment."""
    return fold.ask if fold.state is None else replace(fold.ask, state=fold.state)


def checked(prediction: np.ndarray, units: int) -> np.ndarray:
    """Raises ValueError unless the answers are finite and one row per unit."""
    if prediction.ndim != 2 or len(prediction) != units:
        raise ValueError(f"answers have shape {prediction.shape}, expected ({units}, width)")
    if not np.isfinite(prediction).all():
        raise ValueError("some answers are not finite")
    return prediction


def ready(data: Dataset, seed: int = 0, seconds: float = math.inf) -> Dataset:
    """The dataset with the encoder that all learners of tables of rows share; made once and kept in `data.shared`.

    Where its texts cannot all be prepared within `seconds` their beginnings are, and `data.shared["hurried"]` says so: models of such a run do not
    fit those of another.
    """
    if "rows" in data.tables and "encoder" not in data.shared:
        characters = readable(data.rows, seconds)
        data.shared["hurried"] = characters < CHARACTERS
        data.shared["encoder"] = fit_encoder(data.rows, seed=seed, characters=characters)
    return data


def best_steps(curves: Sequence[np.ndarray]) -> int:
    """The first number of steps within a ten-thousandth of the least mean loss over the curves; a curve that ended stays at its last value."""
    longest = max(len(c) for c in curves)
    total = np.zeros(longest)
    for c in curves:
        total += np.concatenate([c, np.full(longest - len(c), c[-1])])
    least = float(total.min())
    return int(np.argmax(total <= least + 1e-4 * (float(total[0]) - least))) + 1


@dataclass(eq=False)
class Candidate:
    """A recipe on its way: queued, racing, done, dropped, failed or stopped; or distilled from an ensemble of others."""

    recipe: Recipe
    results: dict[int, FoldResult] = field(default_factory=dict)
    settled: dict[int, np.ndarray] = field(default_factory=dict)
    """Predictions at cross-fitted steps, by fold; filled once every fold is in."""
    status: str = "queued"
    note: str = ""
    weight: float = 0.0
    limit_s: float = float("inf")
    """What each of its folds may take: the same for all, so that their curves can be compared."""
    bag: tuple[Fitted, ...] = ()
    """Models that were learned on the folds of a sample, whose answers to other rows are judged; empty where each fold has its own."""

    @property
    def seconds(self) -> float:
        return sum(r.fit_s + r.predict_s for r in self.results.values())

    def fold_steps(self, fold: int) -> int | None:
        """Steps for the out-of-fold answers of one fold: best for the others, so its own truth has no say. None where there is nothing to choose."""
        own = self.results[fold]
        others = [r.curve for k, r in self.results.items() if k != fold and r.curve is not None and r.settled == own.settled]
        return None if own.curve is None or not others else min(best_steps(others), len(own.curve))

    def steps(self) -> int | None:
        """Steps for what ships: best for all folds together."""
        curves = [r.curve for r in self.results.values() if r.curve is not None]
        return best_steps(curves) if curves else None

    def models(self) -> tuple[Fitted, ...]:
        """What ships: its models in the order of their folds, each at the steps that are best for all together."""
        steps = self.steps()
        results = [r for _, r in sorted(self.results.items())]
        return self.bag or tuple(at_steps(r.fitted, None if steps is None or r.curve is None else min(steps, len(r.curve))) for r in results)

    def ideas(self) -> dict[str, tuple[int, int]]:
        """Kind of made feature -> (ideas that explain more than luck, ideas looked at), in its first fold; empty where none are made."""
        first = next(iter(self.results.values()), None)
        return dict(getattr(getattr(first and first.fitted, "prep", None), "ideas", {}))

    def prediction(self, fold: int) -> np.ndarray:
        return self.settled.get(fold, self.results[fold].prediction)


class Trials:
    """Every candidate with its out-of-fold predictions, over one set of folds."""

    def __init__(self, data: Dataset, problem: Problem, folds: Sequence[Fold], width: int, plan: Plan | None = None) -> None:
        self.data, self.problem, self.folds, self.width = data, problem, tuple(folds), width
        self.plan = plan or Plan((), len(self.folds))
        self.metric: Metric = metric(problem.metric)
        self.candidates: list[Candidate] = []
        self.said: list[Entry] = []
        """Journal: what was decided and why."""
        self.before: Trials | None = None
        """Those on a sample, where these are its finals."""
        self.served: tuple[str, ...] = ()
        """Recipes that a latency limit left; empty without one. What ships is chosen, and judged, among them alone."""
        self.seed = 0
        self.wall_s = 0.0
        self.fold_of = np.full(len(data), -1)
        """(n,) fold that asks each unit, -1 where none does."""
        for fold in self.folds:
            self.fold_of[fold.positions] = fold.number

    def find(self, name: str) -> Candidate:
        """Raises KeyError."""
        for candidate in self.candidates:
            if candidate.recipe.name == name:
                return candidate
        raise KeyError(name)

    def complete(self, candidate: Candidate) -> bool:
        return len(candidate.results) == len(self.folds)

    def usable(self) -> list[Candidate]:
        """Candidates with an answer for every unit that any fold asks; before there is one, those that reach furthest."""
        reach = max((len(c.results) for c in self.candidates), default=0)
        return [c for c in self.candidates if reach and len(c.results) == reach]

    def eligible(self) -> list[Candidate]:
        """The usable candidates an ensemble is chosen from, best first: the few best of each learner that beat every baseline.

        The best baseline, and what is worse than it, take part only where nothing better was learned: adding a near constant costs a rank
        metric nothing and ruins the probabilities, yet one good column is more than a learner that ran out of time.
        """
        ranked = sorted((c for c in self.usable() if not self.served or c.recipe.name in self.served), key=self.loss)
        learned = [c for c in ranked if c.recipe.learner != "baseline"]
        floor = next((i for i, c in enumerate(ranked) if c.recipe.learner == "baseline"), len(ranked))
        kept: list[Candidate] = []
        for c in learned[:floor] or [*ranked[floor : floor + 1], *learned]:
            if sum(k.recipe.learner == c.recipe.learner for k in kept) < MOST_PER_LEARNER:
                kept.append(c)
        return kept

    def baseline(self) -> Candidate | None:
        """The floor: the first candidate of the `baseline` learner."""
        return next((c for c in self.usable() if c.recipe.learner == "baseline"), None)

    def oof(self, name: str) -> np.ndarray:
        """Out-of-fold predictions (n, width) of a recipe, NaN where no fold asked."""
        out = np.full((len(self.data), self.width), np.nan)
        candidate = self.find(name)
        for k in candidate.results:
            out[self.folds[k].positions] = candidate.prediction(k)
        return out

    def covered(self, candidates: Iterable[Candidate]) -> np.ndarray:
        """Positions of the units that all of these candidates have answered."""
        shared = set(range(len(self.folds)))
        for c in candidates:
            shared &= set(c.results)
        return np.flatnonzero(np.isin(self.fold_of, sorted(shared)))

    def score(self, candidate: Candidate) -> tuple[float, float | None]:
        """The metric over the answered units, and its standard error over folds (None with one)."""
        rows = self.covered([candidate])
        prediction = self.oof(candidate.recipe.name)[rows]
        by_fold = [
            self.metric.score(f.truth, candidate.prediction(f.number), self.weight(f.positions)) for f in self.folds if f.number in candidate.results
        ]
        spread = float(np.std(by_fold, ddof=1) / np.sqrt(len(by_fold))) if len(by_fold) > 1 else None
        return self.metric.score(self.truth(rows), prediction, self.weight(rows)), spread

    def loss(self, candidate: Candidate) -> float:
        """The metric over the answered units, turned so that lower is better."""
        return self.metric.sign * self.score(candidate)[0]

    def truth(self, rows: np.ndarray) -> np.ndarray:
        """Answers of these units."""
        assert self.data.answers is not None
        return np.asarray(self.data.answers[rows])

    def weight(self, rows: np.ndarray) -> np.ndarray | None:
        """Weights of these units, None where all count the same."""
        return None if self.data.weight is None else self.data.weight[rows]

    def say(self, entry: Entry) -> None:
        """Add a line to the journal."""
        self.said.append(entry)

    def records(self) -> tuple[Trial, ...]:
        """The leaderboard: every recipe that was tried, best first, failures last; who took no part in the finals has the score on the sample."""
        here, before = {c.recipe.name for c in self.candidates}, self.before
        judged = [(self, c) for c in self.candidates]
        judged += [(before, c) for c in before.candidates if c.recipe.name not in here] if before is not None else []
        tried = [(c, *(t.score(c) if c.results else (float("nan"), None))) for t, c in judged if c.results or c.status == "failed"]
        tried.sort(key=lambda t: (np.isnan(t[1]), self.metric.sign * t[1]))
        return tuple(
            Trial(
                recipe=c.recipe,
                score=None if np.isnan(score) else score,
                spread=spread,
                folds=tuple(sorted(c.results)),
                fit_s=round(sum(r.fit_s for r in c.results.values()), 3),
                predict_s=round(sum(r.predict_s for r in c.results.values()), 4),
                status=c.status,
                note=c.note,
                weight=round(c.weight, 4),
                steps=c.steps(),
            )
            for c, score, spread in tried
        )

    def journal(self) -> tuple[Entry, ...]:
        return tuple(self.said)

    def replay(self) -> dict[str, Any]:
        """What repeats this run without a clock: recipes in order, folds, seed and the steps each kept."""
        tried = [{"recipe": to_plain(c.recipe), "folds": sorted(c.results), "steps": c.steps()} for c in self.candidates if c.results]
        return {"seed": self.seed, "folds": len(self.folds), "recipes": tried}
