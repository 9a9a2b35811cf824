"""Checks of the model, read off its evaluation: is it better than guessing, honest about probabilities, even across rows and people?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emlyn.checks._say import found, given, number
from emlyn.core.check import Check, Material, Outcome, outcome
from emlyn.core.judging.metrics import metric
from emlyn.plugins import hook
from emlyn.records.evaluation import Evaluation, Measure
from emlyn.records.finding import Effect, Finding
from emlyn.types import Severity

FEW_EVENTS, WIDE = 100, 0.05
LARGE_FLIP = 0.05
ATTACK = 0.55
RECALIBRATE = "calibrate on newer rows"


def baseline(m: Material) -> Outcome:
    """The paired difference to the constant that fits these rows best."""
    evaluation, problem = given(m.evaluation), given(m.problem)
    gain, of = evaluation.comparison, metric(problem.metric)
    label = of.label or of.name
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        why = gain.method if gain else "not compared"
        return outcome([found("model.baseline", "warn", (), f"Cannot tell whether the model is better than guessing: {why}.", n=evaluation.rows)])
    if of.better(gain.low, 0.0) and of.better(gain.high, 0.0):
        return outcome()
    text = f"The model is not shown to be better than guessing: {label} differs by {number(gain.value)} ({number(gain.low)} to {number(gain.high)})."
    more = {"n": evaluation.rows, "why": "paired on the same rows", "fix": "collect more rows, or columns that know something about the answer"}
    return outcome([found("model.baseline", "fail", (), text, effect=_effect(label, gain), **more)])


def precision(m: Material) -> Outcome:
    """How sharp the evaluation itself is: events, and the width of the headline interval where it is a share of one."""
    evaluation, problem = given(m.evaluation), given(m.problem)
    main = evaluation.metrics[problem.metric]
    sizes = [sum(row) for row in evaluation.plots.get("confusion", {}).get("counts", [])]
    events = int(evaluation.rows if not sizes else min(sizes) if problem.task == "binary" else sum(sizes) - max(sizes))
    wide = problem.metric in ("roc_auc", "accuracy", "balanced_accuracy", "f1", "average_precision") and _half(main) > WIDE
    if events >= FEW_EVENTS and not wide:
        return outcome()
    what = "rows of the rarer answer" if problem.task == "binary" else "rows outside the commonest answer" if sizes else "rows"
    said = "cannot be measured" if main.value is None else f"{number(main.value)} ({_range(main)})"
    text = f"The evaluation rests on {events} {what}: {problem.metric} {said}."
    severity: Severity = "warn" if events < FEW_EVENTS else "info"
    return outcome([found("model.precision", severity, (), text, effect=_effect(problem.metric, main), n=evaluation.rows)])


def stability(m: Material) -> Outcome:
    """A fold whose score is off by more than its size explains: 3.5 standard errors from the median fold."""
    folds = given(m.evaluation).sections.get("folds")
    if not folds or not folds["odd"]:
        return outcome()
    text = f"The score differs much between parts of the rows: {', '.join(number(v) for v in folds['values'])}."
    why = "Some part of the table is unlike the rest: look for a time, a place or a group behind it."
    return outcome([found("model.stability", "warn", (), text, why=why, n=given(m.evaluation).rows)])


def calibration(m: Material) -> Outcome:
    """Slope and observed to expected, only where their intervals lie outside the band that is good enough; never raw binned error."""
    metrics, out = given(m.evaluation).metrics, list[Finding]()
    slope, total = metrics.get("calibration_slope"), metrics.get("observed_expected")
    if total and _outside(total, 0.9, 1.1):
        way = "low" if (total.value or 0) > 1 else "high"
        text = f"Probabilities are too {way}: {number(total.value or 0)} events for each one expected ({_range(total)})."
        out.append(found("model.calibration", "warn", (), text, effect=_effect("observed / expected", total), n=total.n, fix=RECALIBRATE))
    elif slope and _outside(slope, 0.8, 1.25):
        text = f"Probabilities are too {'extreme' if (slope.value or 0) < 1 else 'timid'}: calibration slope {_range(slope)}."
        out.append(found("model.calibration", "warn", (), text, effect=_effect("calibration slope", slope), n=slope.n, fix=RECALIBRATE))
    return outcome(out)


def weak_slices(m: Material) -> Outcome:
    """Slices found on one half of the rows and confirmed on the other."""
    out = []
    for s in _section(m, "slices").get("confirmed", []):
        d = s["difference"]
        effect = Effect("difference of mean loss", d["value"], d["low"], d["high"])
        fix = "collect more such rows, add columns that tell them apart, or leave them to a person"
        why = f"confirmed on other rows than it was found on, q = {s['p']:.2g}"
        out.append(found("model.weak_slice", "info", s["columns"], s["sentence"], effect=effect, n=s["n"], fix=fix, why=why))
    return outcome(out)


def fairness(m: Material) -> Outcome:
    """Gaps between groups that chance rarely makes."""
    out = []
    fix = "find out why; then better data, a proxy left out, weights, or --fair METRIC=LIMIT"
    for told in _section(m, "fairness").get("columns", []):
        shown = sorted((g for g in told["gaps"] if g["verdict"] == "gap shown"), key=lambda g: (g["p"], -g["difference"]["value"]))
        if not shown:
            continue
        d, column = shown[0]["difference"], told["column"]
        effect = Effect(f"difference of {shown[0]['metric']}", d["value"], d["low"], d["high"])
        why = f"groups dealt anew within the true answers rarely differ as much, q = {shown[0]['p']:.2g}"
        detail = " ".join(g["sentence"] for g in shown[1:])
        out.append(found("model.fairness", "warn", (column,), shown[0]["sentence"], detail=detail, effect=effect, n=d["n"], why=why, fix=fix))
    return outcome(out)


def robustness(m: Material) -> Outcome:
    """Small changes of the input that turn many decisions."""
    tests = [t for t in _section(m, "robustness").get("tests", []) if t["test"] == "noise" and (t["flips"] or 0) > 2 * LARGE_FLIP]
    return outcome([found("model.fragile", "warn", (t["column"],) if t["column"] else (), t["sentence"], n=given(m.evaluation).rows) for t in tests])


def multiplicity(m: Material) -> Outcome:
    """Decisions that another draw of the training rows would turn."""
    told = _section(m, "multiplicity")
    if (told.get("flips") or 0) <= LARGE_FLIP:
        return outcome()
    effect = Effect("share of decisions", told["flips"])
    return outcome([found("model.multiplicity", "warn", (), told["sentence"], effect=effect, fix="leave the rows near the threshold to a person")])


def memory(m: Material) -> Outcome:
    """Does the loss of a row betray that it was learned from?"""
    attack = _section(m, "membership").get("auc", {})
    if attack.get("low") is None or attack["low"] <= ATTACK:
        return outcome()
    effect = Effect("attack AUC", attack["value"], attack["low"], attack["high"])
    fix = "do not hand the model to people who must not know who was in the table"
    return outcome([found("model.membership", "warn", (), _section(m, "membership")["sentence"], effect=effect, n=attack["n"], fix=fix)])


def more_rows(m: Material) -> Outcome:
    """What twice the rows would bring."""
    told = _section(m, "learning_curve")
    return outcome([found("model.learning_curve", "info", (), told["sentence"])] if told.get("doubling") is not None else ())


def _section(m: Material, name: str) -> dict[str, Any]:
    evaluation: Evaluation = given(m.evaluation)
    return dict(evaluation.sections.get(name, {}))


def _outside(m: Measure, low: float, high: float) -> bool:
    return m.low is not None and m.high is not None and (m.low > high or m.high < low)


def _half(m: Measure) -> float:
    return float("inf") if m.low is None or m.high is None else (m.high - m.low) / 2


def _range(m: Measure) -> str:
    return "limits unknown" if m.low is None or m.high is None else f"{number(m.low)} to {number(m.high)}"


def _effect(name: str, m: Measure) -> Effect:
    return Effect(name, m.value, m.low, m.high)


def _checks() -> Iterator[Check]:
    needs = ("problem", "evaluation")
    yield Check("model.baseline", "Better than guessing", needs, baseline, source="DeLong et al. 1988; paired t on losses")
    yield Check("model.precision", "Sharp enough to judge", needs, precision, source="Riley et al. 2021")
    yield Check("model.stability", "The same in every fold", needs, stability)
    yield Check("model.calibration", "Probabilities mean what they say", needs, calibration, source="Van Calster et al. 2019")
    yield Check("model.weak_slice", "No weak slices", needs, weak_slices, source="Benjamini and Hochberg 1995, halves")
    yield Check("model.fairness", "Even across groups", needs, fairness, source="permutation within the true answers")
    yield Check("model.fragile", "Steady under small changes", needs, robustness)
    yield Check("model.multiplicity", "Steady under another draw of rows", needs, multiplicity, source="Marx, Calmon and Ustun 2020")
    yield Check("model.membership", "Does not betray who was in the table", needs, memory, source="Yeom et al. 2018")
    yield Check("model.learning_curve", "What more rows would bring", needs, more_rows)


@hook
def emlyn_checks() -> list[Check]:
    return list(_checks())
