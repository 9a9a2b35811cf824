"""Plain language shared by the terminal, the report and the documents, so that all of them say the same.

Nothing here computes a result: counts are only scaled to "of 1,000", numbers only rounded for the eye.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emlyn.core.wording import answer
from emlyn.core.wording import number as number
from emlyn.core.wording import percent as percent
from emlyn.records.evaluation import Driver, Evaluation, Measure, Verdict
from emlyn.records.finding import Finding
from emlyn.records.problem import Problem
from emlyn.records.repair import Repair
from emlyn.records.run import Evidence

TINY = 1e-6
"""An interval nearer to zero than this is written in powers of ten."""


@dataclass(frozen=True)
class MetricWords:
    """How a metric is spoken about."""

    label: str
    means: str
    """What it measures, as the end of a sentence that starts with its name."""
    higher_is_better: bool = True
    perfect: float | None = None
    """The value no model can beat."""
    of_target: bool = False
    """Measured in the unit of the target."""


METRICS: dict[str, MetricWords] = {
    "roc_auc": MetricWords("ROC AUC", "how often the model ranks a pair of one case of each class in the right order", perfect=1.0),
    "average_precision": MetricWords("average precision", "how pure the top of the ranked list is, averaged over how far one reads it", perfect=1.0),
    "accuracy": MetricWords("accuracy", "the share of cases named correctly", perfect=1.0),
    "balanced_accuracy": MetricWords("balanced accuracy", "the share named correctly, each class counting the same", perfect=1.0),
    "f1": MetricWords("F1", "a mean of precision and sensitivity at the chosen threshold", perfect=1.0),
    "log_loss": MetricWords("log loss", "how far the stated probabilities are from what happened", False, 0.0),
    "brier": MetricWords("Brier score", "the mean squared gap between stated probability and what happened", False, 0.0),
    "tpr": MetricWords("share found (TPR)", "the share of positive cases the model flags", perfect=1.0),
    "fpr": MetricWords("share falsely flagged (FPR)", "the share of negative cases the model flags", False, 0.0),
    "selection": MetricWords("share flagged", "the share of cases the model flags"),
    "sensitivity": MetricWords("sensitivity", "the share of positive cases the model flags", perfect=1.0),
    "specificity": MetricWords("specificity", "the share of negative cases the model leaves alone", perfect=1.0),
    "npv": MetricWords("NPV", "the share of unflagged cases that are truly negative", perfect=1.0),
    "net_benefit": MetricWords("net benefit", "true alarms less false ones at their price, per case"),
    "calibration_slope": MetricWords("calibration slope", "1 when probabilities are neither too bold nor too timid"),
    "calibration_intercept": MetricWords("calibration intercept", "0 when probabilities are right on average"),
    "observed_expected": MetricWords("observed : expected", "1 when as many cases happen as were predicted"),
    "ici": MetricWords("calibration error (ICI)", "the mean gap between stated and observed frequency", False, 0.0),
    "spiegelhalter_z": MetricWords("Spiegelhalter z", "within ±1.96 where probabilities agree with what happened"),
    "d2_log_loss": MetricWords("log loss skill (D²)", "how much of the baseline's log loss the model removes", perfect=1.0),
    "d2_brier": MetricWords("Brier skill (D²)", "how much of the baseline's Brier score the model removes", perfect=1.0),
    "precision": MetricWords("precision (PPV)", "the share of flagged cases that are truly positive", perfect=1.0),
    "flagged": MetricWords("flagged", "the share of cases above the threshold"),
    "min_recall": MetricWords("lowest recall of a class", "the share found of the class that is found least", perfect=1.0),
    "pinball_10": MetricWords("pinball loss 10 %", "how well the lower bound fits", False, 0.0, True),
    "pinball_90": MetricWords("pinball loss 90 %", "how well the upper bound fits", False, 0.0, True),
    "coverage_90": MetricWords("coverage of 90 % intervals", "0.9 when intervals hold what they promise"),
    "width_90": MetricWords("width of 90 % intervals", "how wide the intervals are, in the unit of the target", False, 0.0, True),
    "bias": MetricWords("bias", "0 when errors cancel out", True, None, True),
    "mcc": MetricWords("Matthews correlation", "agreement of named and true classes, 0 for chance", perfect=1.0),
    "rmse": MetricWords("RMSE", "the typical size of an error, large errors counting more", False, 0.0, True),
    "mae": MetricWords("mean absolute error", "the average size of an error", False, 0.0, True),
    "median_absolute_error": MetricWords("median absolute error", "half of the errors are smaller than this", False, 0.0, True),
    "r2": MetricWords("R²", "the share of the target's variation that the model explains", perfect=1.0),
    "mape": MetricWords("mean absolute percentage error", "the average error as a share of the true value", False, 0.0),
}

VERDICTS: dict[str, tuple[str, str, str]] = {
    "use": ("Use", "go", "●"),
    "use with care": ("Use with care", "care", "▲"),
    "do not use yet": ("Do not use yet", "stop", "■"),
}
"""Verdict word -> title, tone and a shape, so that colour is never the only sign."""

SEVERITIES = {"fail": "serious", "warn": "worth a look", "info": "to know"}


def metric(name: str) -> MetricWords:
    """The words for a metric; an unknown one is called by its own name."""
    return METRICS.get(name) or MetricWords(name.replace("_", " "), "")


def numbers(values: Sequence[float | None]) -> list[str]:
    """Numbers that stand below each other, with the decimals that the largest needs."""
    top = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    decimals = max(2 - math.floor(math.log10(top)), 0) if 1e-4 <= top < 1e15 else -1
    return [number(v) if v is None or not math.isfinite(v) or decimals < 0 else f"{v:,.{decimals}f}" for v in values]


def count(value: float | None) -> str:
    return "–" if value is None else f"{round(value):,}"


def reach(low: float, high: float) -> str:
    """`1,680 to 33,100`; years as they are written: `1900 to 2010`."""
    if 1500 <= low <= high <= 2200 and low == round(low) and high == round(high):
        return f"{low:.0f} to {high:.0f}"
    return f"{number(low)} to {number(high)}"


def decimals_for(low: float, high: float) -> int:
    """Decimals (negative: tens, hundreds) that keep two ends of an interval at least four of the last digit apart; two at least below 10."""
    width, small = abs(high - low), max(abs(low), abs(high)) < 10
    if not math.isfinite(width) or width < 1e-12:
        return 3 if small else 0
    decimals = min(-math.floor(math.log10(width / (3.99 if small else 10))), 8)
    nearest = min(abs(low), abs(high))
    shows_nearest = -math.floor(math.log10(nearest)) if nearest > 0 else 0
    return max(decimals, 2, min(shows_nearest, decimals + 2)) if small else decimals


def span(low: float | None, high: float | None, joiner: str = " – ") -> str:
    """`0.81 – 0.87`; empty when there is no interval."""
    if low is None or high is None:
        return ""
    if 0 < max(abs(low), abs(high)) < TINY:
        return f"{number(low)}{joiner}{number(high)}"
    decimals = decimals_for(low, high)
    first, last = (f"{round(v, decimals):,.{max(decimals, 0)}f}" for v in (low, high))
    return f"{first}{joiner}{last}"


def between(low: float | None, high: float | None) -> str:
    """`between 0.81 and 0.87`; empty when there is no interval."""
    ends = span(low, high, " and ")
    return f"between {ends}" if ends else ""


def measure(m: Measure) -> str:
    """Value and interval in words, or why there is no interval."""
    if m.value is None:
        return m.method or "not measurable here"
    if m.low is None or m.high is None:
        return f"about {number(m.value)}" + (f" ({m.method})" if m.method else "")
    return between(m.low, m.high)


def listed(items: Sequence[str], most: int = 5, joiner: str = "and") -> str:
    """`a, b and c`, cut to `most` with `and 84 more`."""
    shown = [str(i) for i in items[:most]]
    if len(items) > most:
        return f"{', '.join(shown)} and {len(items) - most:,} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {joiner} {shown[-1]}" if shown else ""


def short(text: Any, most: int = 60) -> str:
    """Text cut in its middle, so that both ends of a long name stay readable."""
    one = " ".join(str(text).split()) or "(empty)"
    return one if len(one) <= most else f"{one[: most * 2 // 3]}…{one[-most // 4 :]}"


def plural(n: float, one: str, many: str = "") -> str:
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n:,} times")


def seconds(s: float) -> str:
    if s < 1:
        return f"{1000 * s:.0f} ms"
    if s < 90:
        return f"{s:.1f} s" if s < 10 else f"{s:.0f} s"
    return f"{s / 60:.0f} min" if s < 5400 else f"{s / 3600:.1f} h"


def verdict_title(verdict: Verdict | None) -> tuple[str, str, str]:
    """(title, tone, shape) of a verdict; without one the evaluation is simply not judged."""
    return ("Not judged", "none", "○") if verdict is None else VERDICTS.get(verdict.word, (verdict.word, "none", "○"))


def verdict_sentence(verdict: Verdict | None) -> str:
    return "This model has not been judged yet." if verdict is None else f"{verdict_title(verdict)[0]}: {verdict.why}"


def headline(m: Measure) -> str:
    """The score as it stands in large type: `0.81 – 0.87`, `about 0.84`, or a dash."""
    if m.value is None:
        return "–"
    return span(m.low, m.high) or f"about {number(m.value)}"


def measured_on(evaluation: Evaluation) -> str:
    """`650 sealed rows`, `586 rows of another file`, or the rows and how they were used."""
    n = evaluation.rows
    short_forms = {"sealed rows": plural(n, "sealed row"), "external file": f"{plural(n, 'row')} of another file"}
    return short_forms.get(evaluation.method, f"{plural(n, 'row')}, {evaluation.method}" if evaluation.method else plural(n, "row"))


def score_in_words(problem: Problem, name: str, m: Measure) -> str:
    """What the score means for someone who has never met the metric; empty when no everyday picture exists."""
    if m.value is None:
        return ""
    low, high = (m.value, m.value) if m.low is None or m.high is None else (m.low, m.high)

    def of_100(a: float, b: float) -> str:
        first, last = f"{100 * a:.0f}", f"{100 * b:.0f}"
        return f"about {first} of 100" if first == last else f"{first} to {last} of 100"

    if name == "roc_auc":
        pair = (
            f"one case of “{short(answer(problem.positive, problem.target), 40)}” and one of the other kind"
            if problem.task == "binary"
            else "a case of one class and a case of another"
        )
        return f"Shown {pair}, the model ranks them in the right order in {of_100(low, high)} pairs (a coin: 50)."
    if name in ("accuracy", "balanced_accuracy"):
        return f"The model names the right class in {of_100(low, high)} cases" + (
            ", each class counting the same." if name == "balanced_accuracy" else "."
        )
    if metric(name).of_target:
        span = between(low, high) if low != high else f"about {number(m.value)}"
        weighed = "The typical error, large ones counting more, is" if name == "rmse" else "The typical error is"
        return f"{weighed} {span}, in the unit of “{short(problem.target, 40)}”."
    if name == "r2":
        return f"The model explains {of_100(max(low, 0.0), max(high, 0.0))} parts of the variation in “{short(problem.target, 40)}”."
    return sentence(f"{metric(name).label} is {metric(name).means}", ()) if metric(name).means else ""


def natural_frequencies(problem: Problem, evaluation: Evaluation) -> str:
    """The result as counts of cases (natural frequencies), or for a number the typical error. Empty when neither was measured."""
    if problem.task == "regression":
        return _typical_error(problem, evaluation)
    for source in (evaluation.sections.get("natural"), evaluation.plots.get("confusion")):
        if isinstance(source, Mapping) and source.get("sentence"):
            return str(source["sentence"])
    return ""


def _typical_error(problem: Problem, evaluation: Evaluation) -> str:
    name = next((n for n in ("mae", "rmse") if n in evaluation.metrics and evaluation.metrics[n].value is not None), "")
    if not name:
        return ""
    model, base = evaluation.metrics[name], evaluation.baseline.get(name)
    reach = between(model.low, model.high) or f"about {number(model.value)}"
    text = (
        f"On average a prediction misses the true “{short(problem.target, 40)}” by {reach}."
        if name == "mae"
        else score_in_words(problem, name, model)
    )
    return text + (f" Without a model (the average for everyone) it would be {number(base.value)}." if base and base.value is not None else "")


def against_baseline(problem: Problem, evaluation: Evaluation) -> str:
    """Is it better than having no model, and by how much, in one sentence with one of three answers."""
    label = metric(problem.metric).label
    model, base = evaluation.metrics.get(problem.metric), evaluation.baseline.get(problem.metric)
    if model is None or base is None or model.value is None or base.value is None:
        return "There is no baseline to compare with."
    gain = evaluation.comparison
    pair = f"{label} {number(model.value)} with the model, {number(base.value)} without"
    if gain is None or gain.low is None or gain.high is None:
        return f"{pair}. Whether the difference is more than chance cannot be told" + (f" ({gain.method})." if gain and gain.method else ".")
    better = gain.low > 0 if metric(problem.metric).higher_is_better else gain.high < 0
    worse = gain.high < 0 if metric(problem.metric).higher_is_better else gain.low > 0
    span = between(min(abs(gain.low), abs(gain.high)), max(abs(gain.low), abs(gain.high)))
    if better:
        return f"Better than no model: {pair}. The gain is {span}."
    if worse:
        return f"Worse than no model: {pair}. The loss is {span}."
    return f"Not shown to be better than no model: {pair}. The difference is {between(gain.low, gain.high)}, so it may be chance."


def driver_note(driver: Driver) -> str:
    """What is said under a driver's bar: direction, partners, and whether it is more than noise."""
    said = [driver.direction] if driver.direction else []
    said += [f"moves with {listed([f'“{short(p, 40)}”' for p in driver.partners], 3)}"] if driver.partners else []
    said += ["not distinguishable from noise"] if driver.above_noise is False else []
    return "; ".join(said)


def driver_sentence(driver: Driver) -> str:
    """`“age”: higher values raise the prediction; moves with “years at school”.`"""
    note = driver_note(driver)
    return f"“{short(driver.column, 60)}”" + (f": {note}." if note else ".")


def repair_sentence(says: str, columns: Sequence[str]) -> str:
    """What a repair did, and to which columns."""
    named = listed([f"“{short(c, 40)}”" for c in columns if c and c not in says], 4)
    return sentence(f"{named}: {says[:1].lower() + says[1:]}" if named else says)


def repair_change(repair: Repair, name: str) -> tuple[str, str]:
    """What a repair (with all others of its code) did to the score on the same folds, and a word for it; without a word why it was not measured."""
    if repair.before is None or repair.after is None:
        return sentence(repair.measured, ()), ""
    before, after = numbers([repair.before, repair.after])
    better = (repair.after > repair.before) == metric(name).higher_is_better
    word = "no change" if before == after else "better" if better else "honest" if repair.code.startswith(("leakage.", "structure.")) else "lower"
    part = re.search(r"(\d+ columns)", repair.measured)
    return f"{metric(name).label} {before} → {after}{f' ({part[1]} together)' if part else ''}.", word


def sentence(text: str, names: Collection[str] | None = None) -> str:
    """Text that ends like a sentence; with `names` it starts like one too, unless its first word is one of them (a column keeps its spelling)."""
    first = re.split(r"[^\w]", text, maxsplit=1)[0]
    if names is not None and first.isalpha() and first not in names:
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."


def findings_of(evidence: Evidence) -> list[Finding]:
    """Everything that was noticed, in the data and in the evaluation, each once."""
    return list({f.id: f for f in (*evidence.findings, *evidence.evaluation.findings)}.values())


def slice_sentence(problem: Problem, weak: Mapping[str, Any]) -> str:
    """A group of rows that is served worse; for numbers the typical error (root of the mean square) instead of the squared loss."""
    loss, rest, name = weak["loss"], weak["rest"], "its probabilities are further from the truth, log loss"
    if problem.task == "regression":
        loss, rest, name = math.sqrt(max(loss, 0.0)), math.sqrt(max(rest, 0.0)), "typical error"
    return f"Where {weak['rule']} ({plural(weak['n'], 'row')}): {name} {number(loss)} against {number(rest)} elsewhere."


def effect(finding: Finding) -> str:
    if finding.effect is None or finding.effect.value is None:
        return ""
    e = finding.effect
    span = f" ({between(e.low, e.high)})" if e.low is not None and e.high is not None else ""
    return f"{e.name} {number(e.value)}{span}"


def counted(findings: Sequence[Finding]) -> str:
    """`2 serious, 3 worth a look, 5 to know`."""
    tally = {s: sum(f.severity == s for f in findings) for s in SEVERITIES}
    return ", ".join(f"{n} {SEVERITIES[s]}" for s, n in tally.items() if n) or "nothing found"
