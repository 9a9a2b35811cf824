"""The target: gaps, tiny classes, imbalance, contradictions and the ceiling they set, doubtful labels, limits and rounding."""

from __future__ import annotations

import numpy as np

from emlyn.checks._say import found, given, listed, number, percent
from emlyn.core.check import Check, Material, Outcome, example_rows, outcome
from emlyn.core.judging.metrics import auc
from emlyn.core.judging.ranks import rank_correlation
from emlyn.core.splits import twin_codes
from emlyn.plugins import hook
from emlyn.records.finding import Effect


def classes(m: Material) -> Outcome:
    """Classes with fewer than ten rows."""
    counts = _counts(m)
    names = given(m.problem).classes
    tiny = [f"{label} ({count} row{'' if count == 1 else 's'})" for label, count in zip(names, counts, strict=False) if count < 10]
    if not tiny:
        return outcome()
    return outcome(
        [
            found(
                "target.classes",
                "warn",
                (given(m.problem).target,),
                f"Some answers are very rare: {listed(tiny, 6)}.",
                detail="Fewer than ten rows each; no fold can judge them well.",
                why="How well these are told cannot be measured, and hardly be learned.",
                n=int(counts.sum()),
                effect=Effect("rows of the rarest", float(counts.min())),
                fix="kept; no class is dropped",
            )
        ]
    )


def imbalance(m: Material) -> Outcome:
    """Fewer than one row in ten has the rarer of two answers."""
    counts = _counts(m)
    if len(counts) != 2 or counts.min() >= 0.1 * counts.sum():
        return outcome()
    rare, label = float(counts.min() / counts.sum()), given(m.problem).classes[int(counts.argmin())]
    return outcome(
        [
            found(
                "target.imbalance",
                "info",
                (given(m.problem).target,),
                f"Only {percent(rare)} of the rows have the answer {label!r}.",
                detail=f"{int(counts.min()):,} rows. Nothing is resampled: that spoils probabilities, gains nothing (van den Goorbergh 2022).",
                why="Accuracy says little here: always answering the common class looks good.",
                n=int(counts.sum()),
                effect=Effect("share of rows", rare),
                fix="judged by ranking and calibration; the decision threshold follows cost",
                applied=True,
            )
        ]
    )


def _counts(m: Material) -> np.ndarray:
    """Rows of each class in the whole table, scaled up from the sample; empty for numbers."""
    data = given(m.data)
    if not data.classes:
        return np.zeros(0, dtype=np.int64)
    counts = np.bincount(np.asarray(data.answers, dtype=np.int64), minlength=data.classes)
    return np.round(counts * (m.whole.rows / max(1, len(data)))).astype(np.int64) if m.whole is not None else counts


def contradictions(m: Material) -> Outcome:
    """Rows with the same features and different answers, and the lowest error any model can reach on them."""
    data, problem = given(m.data), given(m.problem)
    codes = twin_codes(given(m.table), problem.features)
    answers, n = np.asarray(data.answers), given(m.table).rows
    order = np.lexsort((answers, codes))
    c, a = codes[order], answers[order]
    starts = np.flatnonzero(np.r_[True, c[1:] != c[:-1]])
    sizes = np.diff(np.r_[starts, n])
    mixed = np.maximum.reduceat(a, starts) != np.minimum.reduceat(a, starts)
    rows = int(sizes[mixed].sum())
    if rows < max(3, 0.002 * n):
        return outcome()
    if data.classes:
        _, group = np.unique(codes, return_inverse=True)
        table = np.zeros((group.max() + 1, data.classes), dtype=np.int64)
        np.add.at(table, (group, answers.astype(np.int64)), 1)
        floor = float((table.sum(axis=1) - table.max(axis=1)).sum() / n)
        says = f"no model that sees only these columns can be right in more than {percent(1 - floor)} of the rows"
        effect = Effect("lowest possible error", floor)
    else:
        inside = float(sum(((a[s : s + k] - a[s : s + k].mean()) ** 2).sum() for s, k in zip(starts[mixed], sizes[mixed], strict=True)))
        floor = float(np.sqrt(inside / n))
        says = f"no model that sees only these columns can come closer than {number(floor)} on average (root mean square, on these rows)"
        effect = Effect("lowest possible RMSE", floor)
    at = np.repeat(mixed, sizes)
    mask = np.zeros(n, dtype=bool)
    mask[order[at]] = True
    return outcome(
        [
            found(
                "target.contradictory",
                "warn" if data.classes and floor > 0.05 else "info",
                (problem.target,),
                f"{rows:,} rows have the same features as another row but a different answer; {says}.",
                detail=f"{int(mixed.sum()):,} groups of identical rows with more than one answer.",
                why="It sets a ceiling that no search can lift; more columns might.",
                n=n,
                rows=example_rows(mask),
                effect=effect,
                fix="kept; expect no score above the ceiling",
            )
        ]
    )


def label_errors(m: Material) -> Outcome:
    """Rows whose given label the probe finds implausible: a short list to look at, never changed.

    Two signs: single labels that contradict a sure answer (confident learning, Northcutt et al. 2021), and a floor of wrong answers that does
    not sink where the probe is surest, as labels turned round at random leave it.
    """
    problem = given(m.problem)
    if not problem.classes:
        return outcome()
    told, answers = m.probe.oof, np.asarray(m.probe.data.answers).astype(np.int64)
    asked = np.isfinite(told[:, 0])
    said = told[np.arange(len(told)), answers]
    odd, how = _contradicted(told, answers, asked), "another label is as likely as it usually is, the given one below 5 %"
    if not odd.any():
        odd, how = _flat_floor(told, answers, asked), "the probe is as often wrong where it is surest as elsewhere"
    if not odd.any():
        return outcome()
    order = np.flatnonzero(odd)[np.argsort(said[odd])][:20]
    share = float(odd.sum() / asked.sum())
    return outcome(
        [
            found(
                "target.label_errors",
                "info",
                (problem.target,),
                f"About {percent(share)} of the answers look doubtful; the most doubtful rows are listed for a look.",
                detail=f"{int(odd.sum()):,} of {int(asked.sum()):,} rows: {how}.",
                why="Wrong labels teach wrong lessons and make a good model look bad.",
                n=int(asked.sum()),
                rows=tuple(int(r) for r in m.probe.data.units[order]),
                effect=Effect("share of rows", share),
                fix="nothing was changed: a person must look",
            )
        ]
    )


def _contradicted(told: np.ndarray, answers: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Rows (n,) whose label contradicts a sure answer, where there are at least twice as many as a truthful model would call unlikely."""
    counts = np.bincount(answers[asked], minlength=told.shape[1])
    own = np.array([told[asked & (answers == k), k].mean() if counts[k] >= 50 else np.inf for k in range(told.shape[1])])
    other = np.where(np.arange(told.shape[1]) == answers[:, None], -1.0, told)
    said = told[np.arange(len(told)), answers]
    odd = asked & (other.max(axis=1) >= own[other.argmax(axis=1)]) & (said < 0.05) & (counts[answers] >= 50)
    unlikely = asked[:, None] & (told < 0.05) & (told.max(axis=1) >= own[told.argmax(axis=1)])[:, None]
    expected = float(told[unlikely].sum())
    return odd if odd.sum() >= 2 * expected + 3 * np.sqrt(expected + 1) else np.zeros(len(told), dtype=bool)


def _flat_floor(told: np.ndarray, answers: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Wrong answers (n,) in the surer half, where the surest tenth is no better than that half and the ranking is good all the same."""
    none = np.zeros(len(told), dtype=bool)
    common = int(np.bincount(answers[asked]).argmax())
    if asked.sum() < 300 or auc(answers[asked] == common, told[asked, common]) < 0.75:
        return none
    sure = np.where(asked, told.max(axis=1), -1.0)
    order = np.argsort(-sure, kind="stable")
    wrong = asked & (told.argmax(axis=1) != answers)
    tenth, half = order[: int(0.1 * asked.sum())], order[: int(0.5 * asked.sum())]
    floor = float(wrong[tenth].mean())
    if wrong[tenth].sum() < 8 or floor < 0.03 or floor < 0.75 * float(wrong[half].mean()):
        return none
    none[half] = wrong[half]
    return none


def no_signal(m: Material) -> Outcome:
    """Does anything in the table tell the answer? The probe's ranking against chance, one-sided at two standard errors (Hanley, McNeil 1982)."""
    told, y = m.probe.oof, np.asarray(m.probe.data.answers, dtype=np.float64)
    asked = np.isfinite(told[:, 0])
    told, y = told[asked], y[asked]
    if len(y) < 200 or all(c.kind == "text" for c in m.probe.data.rows.values()):
        return outcome()
    if given(m.data).classes:
        common = int(np.bincount(y.astype(np.int64)).argmax())
        inside = float((y == common).sum())
        value, chance = auc(y == common, told[:, common]), 0.5
        error = np.sqrt((len(y) + 1) / (12 * inside * (len(y) - inside))) if 0 < inside < len(y) else np.inf
    else:
        value, chance, error = rank_correlation(told[:, 0], y), 0.0, 1 / np.sqrt(len(y) - 1)
    if value > chance + 2 * error or error > 0.1:
        return outcome()
    return outcome(
        [
            found(
                "target.no_signal",
                "warn",
                (given(m.problem).target,),
                f"Nothing in the table seems to tell {given(m.problem).target}: a quick model does no better than guessing.",
                detail=f"Out of fold {'AUC' if given(m.data).classes else 'rank correlation'} {value:.3f}; chance is {chance:g} +- {2 * error:.3f}.",
                n=len(y),
                effect=Effect("auc" if given(m.data).classes else "spearman", value, value - 1.96 * error, value + 1.96 * error),
                why="Perhaps the answers were joined to the wrong rows, or the columns that matter are not here.",
                fix="nothing was changed; the search may still find a weak signal",
            )
        ]
    )


def capped(m: Material) -> Outcome:
    """A pile of rows at the largest or smallest answer: the true values beyond are cut off."""
    data, problem = given(m.data), given(m.problem)
    if problem.classes:
        return outcome()
    y = np.asarray(data.answers, dtype=np.float64)
    values, counts = np.unique(y, return_counts=True)
    if len(values) < 30:
        return outcome()
    findings = []
    for end, place, word in ((values[-1], -1, "largest"), (values[0], 0, "smallest")):
        near = counts[-11:-1] if place == -1 else counts[1:11]
        pile = int(counts[place])
        if pile >= max(5, 0.005 * len(y)) and pile >= 5 * max(1.0, float(near.mean())) and end not in (0.0, 100.0, 1.0):
            findings.append(
                found(
                    "target.capped",
                    "warn",
                    (problem.target,),
                    f"{pile:,} rows have exactly the {word} answer ({number(float(end))}): larger ones seem to be cut off there."
                    if place == -1
                    else f"{pile:,} rows have exactly the {word} answer ({number(float(end))}): smaller ones seem to be cut off there.",
                    detail=f"{pile / float(near.mean()):.0f} times as many as at the ten values next to it.",
                    why="A cut-off answer biases the model at that end.",
                    n=len(y),
                    rows=example_rows(y == end),
                    effect=Effect("share of rows", pile / len(y)),
                    fix="kept; read predictions near the limit with care",
                )
            )
    return outcome(findings)


def heaping(m: Material) -> Outcome:
    """Answers rounded to fives and tens far more often than chance."""
    data, problem = given(m.data), given(m.problem)
    if problem.classes:
        return outcome()
    y = np.asarray(data.answers, dtype=np.float64)
    whole = y[(y == np.round(y)) & (np.abs(y) >= 10)]
    if len(whole) < 0.5 * len(y) or len(whole) < 100 or len(np.unique(whole)) < 20:
        return outcome()
    share = float((whole % 5 == 0).mean())
    if share < 0.4 or share > 0.999:
        return outcome()
    text = f"{percent(share)} of the answers are multiples of five: many seem to be rounded."
    return outcome(
        [
            found(
                "target.heaping",
                "info",
                (problem.target,),
                text,
                detail="20 % would be expected.",
                n=len(whole),
                effect=Effect("share of rows", share),
            )
        ]
    )


def skew(m: Material) -> Outcome:
    """A few answers that dwarf the rest and would decide the squared error alone."""
    data, problem = given(m.data), given(m.problem)
    if problem.classes:
        return outcome()
    y = np.asarray(data.answers, dtype=np.float64)
    middle = np.median(y)
    spread = np.median(np.abs(y - middle)) * 1.4826
    if spread <= 0 or len(y) < 50:
        return outcome()
    far = np.abs(y - middle) > 30 * spread
    weight = float(((y - middle)[far] ** 2).sum() / ((y - middle) ** 2).sum())
    if not far.any() or far.mean() > 0.01 or weight < 0.5:
        return outcome()
    return outcome(
        [
            found(
                "target.extreme",
                "warn",
                (problem.target,),
                f"{int(far.sum())} row(s) have answers so far from the rest that they decide the average error alone.",
                detail=f"More than 30 robust standard deviations away; {percent(weight)} of the total squared deviation.",
                n=len(y),
                rows=example_rows(far),
                why="The score then says how these few rows went, not how the others did.",
                effect=Effect("share of squared deviation", weight),
                fix="check these rows; --metric mae is not moved by them",
            )
        ]
    )


@hook
def emlyn_checks() -> list[Check]:
    need = ("data", "problem")
    return [
        Check("target.classes", "rare answers", need, classes),
        Check("target.imbalance", "one answer much rarer", need, imbalance, source="van den Goorbergh et al. 2022, JAMIA"),
        Check("target.contradictory", "equal rows with different answers", (*need, "table"), contradictions),
        Check("target.capped", "answers cut off at a limit", need, capped),
        Check("target.heaping", "rounded answers", need, heaping),
        Check("target.extreme", "answers that decide the error alone", need, skew),
        Check(
            "target.no_signal",
            "nothing tells the answer",
            (*need, "probe"),
            no_signal,
            slow=True,
            source="rank test against chance (Hanley, McNeil 1982)",
        ),
        Check(
            "target.label_errors", "doubtful labels", (*need, "probe"), label_errors, slow=True, source="confident learning, Northcutt et al. 2021"
        ),
    ]
