"""Sets and intervals that hold the truth with a stated probability, whatever the model: split conformal prediction.

Sources: Vovk, Gammerman and Shafer 2005; Lei et al. 2018, section 5.2 (numbers, score |y - f| / scale, so that intervals are wider where
errors are); Sadinle, Lei and Wasserman 2019 (classes, score 1 - p of the truth). The guarantee is marginal and needs exchangeable rows: it
does not hold forward in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from emlyn.core.judging.answers import Answers
from emlyn.core.judging.intervals import share
from emlyn.core.judging.scale import PER_KNOT, Scale
from emlyn.core.wording import number, percent
from emlyn.records.evaluation import Measure

LEVELS = (0.8, 0.9, 0.95)
FEWEST_IN_GROUP = 20


def conformal_quantile(scores: np.ndarray, level: float) -> float:
    """The score that a new row stays below with probability of at least `level`; infinite where the rows are too few to say."""
    rank = int(np.ceil((len(scores) + 1) * level))
    return float(np.partition(scores, rank - 1)[rank - 1]) if 0 < rank <= len(scores) else float("inf")


def strangeness(answers: Answers) -> np.ndarray:
    """Conformity score (n,) of each row's truth: 1 - its probability, or the absolute error."""
    if answers.prediction.shape[1] > 1:
        return np.asarray(1 - answers.prediction[np.arange(len(answers)), answers.truth.astype(np.int64)])
    return np.asarray(np.abs(answers.truth - answers.prediction[:, 0]))


def halves(answers: Answers, seed: int = 0) -> np.ndarray:
    """Boolean mask (n,) of one half of the rows; clusters stay together."""
    rng = np.random.default_rng(seed)
    if answers.cluster is None:
        return np.asarray(rng.permutation(len(answers)) % 2 == 0)
    names, code = np.unique(answers.cluster, return_inverse=True)
    return np.asarray((rng.permutation(len(names)) % 2 == 0)[code])


def calibrated(answers: Answers, level: float, seed: int = 0) -> tuple[Scale, float]:
    """The scale of the errors and the conformal quantile of scores divided by it, each row's by a scale learned on the other half."""
    scores = strangeness(answers)
    if answers.prediction.shape[1] > 1:
        return Scale(), conformal_quantile(scores, level)
    predicted, side = answers.prediction[:, 0], halves(answers, seed + 1)
    if min(side.sum(), (~side).sum()) < 2 * PER_KNOT:
        return Scale(), conformal_quantile(scores, level)
    there, here = (Scale.learn(predicted[rows], scores[rows]) for rows in (side, ~side))
    scaled = scores / np.where(side, here.of(predicted), there.of(predicted))
    return Scale.learn(predicted, scores), conformal_quantile(scaled, level)


def cross_reach(answers: Answers, level: float, seed: int = 0) -> np.ndarray:
    """(n,) how strange a label may be, or how far a number may lie off, for each row: learned on the half of the rows that it is not in."""
    side, out = halves(answers, seed), np.empty(len(answers))
    for held in (side, ~side):
        scale, quantile = calibrated(answers.take(~held), level, seed)
        out[held] = quantile * scale.of(answers.prediction[held, 0]) if answers.prediction.shape[1] == 1 else quantile
    return out


def intervals_90(answers: Answers, seed: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper ends (n,) of 90 % intervals, each half's width learned from the other; None where there are too few rows."""
    reach = cross_reach(answers, 0.9, seed)
    if not np.isfinite(reach).all():
        return None
    return answers.prediction[:, 0] - reach, answers.prediction[:, 0] + reach


def conformal_section(answers: Answers, groups: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, Any] | None:
    """The section `conformal` of an evaluation (`stages.evaluate`); `groups`: column -> label (n,) of each row. None with too few rows."""
    scores, sets = strangeness(answers), answers.prediction.shape[1] > 1
    levels: list[dict[str, Any]] = []
    for level in LEVELS:
        reach = cross_reach(answers, level, seed)
        if not np.isfinite(reach).all():
            continue
        held = scores <= reach
        size = float(((1 - answers.prediction) <= reach[:, None]).sum(axis=1).mean()) if sets else float(2 * reach.mean())
        parts = [
            {"column": column, "group": str(g), "coverage": _plain(share(held[labels == g]))}
            for column, labels in groups.items()
            for g in np.unique(labels)
            if (labels == g).sum() >= FEWEST_IN_GROUP
        ]
        scale, whole = calibrated(answers, level, seed)
        coverage = share(held, answers.weight, answers.cluster)
        found: dict[str, Any] = {"level": level, "coverage": _plain(coverage), "size": size, "quantile": whole, "groups": parts}
        if len(scale.at) > 1:
            narrow, wide = (2 * np.quantile(reach, [0.05, 0.95])).tolist()
            found |= {"scale": {"at": list(scale.at), "size": list(scale.size)}, "narrow": narrow, "wide": wide}
        levels.append(found)
    if not levels:
        return None
    told = next((f for f in levels if f["level"] == 0.9), levels[0])
    what = f"hold {told['size']:.2f} labels on average" if sets else f"are {number(told['size'])} wide"
    if "wide" in told:
        what += f" on average, {number(told['narrow'])} where it is easy and {number(told['wide'])} where it is hard"
    made = f"{'Sets' if sets else 'Intervals'} made to hold the truth in {percent(told['level'])} of rows"
    text = f"{made} held it in {percent(told['coverage']['value'], 1)}; they {what}."
    short = [f"{p['column']} = {p['group']}" for p in told["groups"] if p["coverage"]["high"] is not None and p["coverage"]["high"] < told["level"]]
    if short:
        text += f" They hold it less often where {', '.join(short[:3])}."
    left = "learned on the other half of the rows; a shift over time breaks the promise"
    return {"kind": "set" if sets else "interval", "levels": levels, "sentence": text, "left_out": left}


def _plain(found: Measure) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "method": found.method}
