"""Racing: which candidates deserve more folds. Forgiving, with an exception for what makes an ensemble better though it is worse alone.

Sources: Maron and Moore, Hoeffding races, 1994; the diversity exception is greedy selection (see ensembling) on the folds answered so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emlyn.core.judging.metrics import log_loss_rows, squared_rows
from emlyn.core.searching.ensembling import blend, quick_weights
from emlyn.core.searching.trials import Candidate, FoldResult, Trials
from emlyn.records.plan import Recipe

FEWEST = 300
"""Units below which nobody is let go: such folds say little and cost little."""
SURE = 3.0
"""Standard errors by which a candidate must be worse, per unit and paired, before it is let go."""
ALIKE = 2.0
"""Standard errors within which two candidates count as equally good."""
LEAST = 0.01
"""Share of the best loss below which a difference is never a reason to let a candidate go."""

LEAST_LEARNED = 1e-3
"""Share of a constant's loss that a fit which was cut short must have taken off."""
TELLING = 0.03
"""Weight in a greedy ensemble above which a candidate counts as diverse; below it is noise of the last steps."""


def hopeless(trials: Trials, candidate: Candidate, rivals: Sequence[Candidate]) -> str:
    """Why this candidate deserves no further fold; empty when it does.

    It is let go when on the units it has answered it is worse than the best rival by three standard errors of the paired proper loss and by
    1 % of it, and greedy selection among all of them gives it next to no weight.
    """
    if (ideas := candidate.ideas()) and set(candidate.recipe.features) == set(ideas) and not any(kept for kept, _ in ideas.values()):
        return "no made feature explains more than luck, so it is the recipe without them"
    rivals = [c for c in rivals if c is not candidate and set(candidate.results) <= set(c.results) and c.recipe.learner != "baseline"]
    if not rivals or candidate.recipe.learner == "baseline":
        return ""
    rows = trials.covered([candidate])
    if len(rows) < FEWEST:
        return ""
    truth = trials.truth(rows)
    own = _losses(trials, candidate, rows, truth)
    by_rival = [_losses(trials, c, rows, truth) for c in rivals]
    best = min(range(len(rivals)), key=lambda i: float(by_rival[i].mean()))
    gap = own - by_rival[best]
    worse, noise = float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
    if worse <= SURE * noise or worse <= LEAST * abs(float(by_rival[best].mean())):
        return ""
    predictions = [trials.oof(c.recipe.name)[rows] for c in (candidate, *rivals)]
    if quick_weights(predictions, truth, trials.metric)[0] > TELLING:
        return ""
    return f"worse than {rivals[best].recipe.name} by {worse / max(noise, 1e-12):.1f} standard errors, and adds nothing to an ensemble"


def as_good(trials: Trials, candidate: Candidate, best: Candidate) -> bool:
    """Can the units that both have answered not tell them apart: is it worse by less than two standard errors of the paired proper loss?"""
    rows = trials.covered([candidate, best])
    gap = np.subtract(*(_losses(trials, c, rows, trials.truth(rows)) for c in (candidate, best)))
    return bool(gap.mean() <= ALIKE * gap.std() / np.sqrt(max(1, len(gap))))


def made_features(recipe: Recipe) -> bool:
    """Does it have features made of several columns?"""
    return "arithmetic" in recipe.features


def kinds_of(recipe: Recipe) -> set[str]:
    """What a recipe is an example of: its learner, and made features where it has such."""
    return {recipe.learner, "made features"} if made_features(recipe) else {recipe.learner}


def siblings_without_made_features(trials: Trials) -> list[Candidate]:
    """Candidates of the leader's learner without made features, where the leader has such; else none."""
    heard = [c for c in trials.candidates if c.results and c.recipe.learner != "baseline"]
    best = min((c for c in heard if c.status in ("racing", "done")), key=trials.loss, default=None)
    if best is None or not made_features(best.recipe):
        return []
    return [c for c in heard if c.recipe.learner == best.recipe.learner and not made_features(c.recipe)]


def unlearned(trials: Trials, result: FoldResult) -> bool:
    """Did the deadline cut this fit before it answers better than the constant that its fit rows suggest? Such a fit is no result."""
    if result.complete or result.recipe.learner == "baseline":
        return False
    fold = trials.folds[result.fold]
    known = np.asarray(fold.fit.answers)
    classes = trials.data.classes
    constant = np.bincount(known, minlength=classes) / max(len(known), 1) if classes else np.array([known.mean()])
    rows = log_loss_rows if classes else squared_rows
    floor = rows(fold.truth, np.broadcast_to(constant, (len(fold.truth), len(constant))))
    return bool(rows(fold.truth, result.prediction).mean() >= (1 - LEAST_LEARNED) * floor.mean())


def ensemble_loss(trials: Trials, candidates: Sequence[Candidate]) -> tuple[float, float]:
    """Loss of the greedy ensemble of these candidates in the problem's metric, and the standard error of the best one's score over folds."""
    rows = trials.covered(candidates)
    predictions, truth, weight = [trials.oof(c.recipe.name)[rows] for c in candidates], trials.truth(rows), trials.weight(rows)
    mixed = blend(predictions, quick_weights(predictions, truth, trials.metric, weight, trials.seed))
    _, spread = trials.score(min(candidates, key=trials.loss))
    return trials.metric.loss(truth, mixed, weight), spread or 0.0


def _losses(trials: Trials, candidate: Candidate, rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    prediction = trials.oof(candidate.recipe.name)[rows]
    return log_loss_rows(truth, prediction) if trials.data.classes else squared_rows(truth, prediction)
