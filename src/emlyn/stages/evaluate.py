"""Evaluate: what the model is worth on rows never used for choosing.

`evaluate_sealed` opens the sealed rows in one pass; `evaluate_oof` corrects the stored out-of-fold predictions for selection;
`evaluate_answers` is their shared core, also used for `--test FILE` and `emlyn evaluate`.

What the report may rely on
---------------------------
Every value is plain JSON; every list of a plot has at most 100 entries; a plot or section that does not apply is absent. Shares are 0..1.
"MEASURE" below is the dict of a `Measure` (`value, low, high, n, method`); `low`/`high` are null where no honest interval exists.

`Evaluation.metrics` holds the problem's metric first. Names beyond those of `core.metrics`: `d2_log_loss`, `d2_brier` (skill against the
prior), `calibration_slope`, `calibration_intercept`, `observed_expected`, `ici`, `spiegelhalter_z`, `sensitivity`, `specificity`,
`precision`, `npv`, `net_benefit`, `flagged`; multiclass: `min_recall`; regression: `pinball_05`, `pinball_95`, `coverage_90`,
`width_90`, `bias`. `sections["domains"]` says which belongs where.

`Evaluation.plots`
  scores               {"edges": [k+1 numbers], "series": {label: [k counts]}, "of": label}   classification: the probability of `of` (binary:
                       the positive class; multiclass: the predicted class, series "right" and "wrong"); regression: series "truth", "predicted"
  calibration          {"of": label, "bins": [{"predicted", "observed", "low", "high", "n"}]}   Wilson 95 % per bin; regression: of = target,
                       "observed" is the mean truth of the bin with its t interval
  roc                  {"of": label, "points": [[false positive rate, true positive rate], ...], "chosen": [x, y] or null}
  precision_recall     {"of": label, "points": [[recall, precision], ...], "prevalence": share, "chosen": [x, y] or null}
  confusion            {"labels": [...], "counts": [[row = truth, column = decided]], "per_1000": [[...]], "threshold": t or null,
                       "sentence": "Of 1,000 rows like these, 120 are ...", "of": 1000}   at most 12 labels, the rest as "(other)"
  recall_by_class      [{"label", "value", "low", "high", "n"}]   worst first, at most 50
  gains                {"of": label, "points": [[share of rows taken, share of positives found], ...], "chosen": [x, y] or null}
  decision_curve       {"thresholds": [...], "model": [...], "all": [...], "none": [...]}   net benefit per row
  residuals            {"points": [[predicted, truth - predicted], ...], "bands": [{"predicted", "low", "middle", "high", "n"}]}   5, 50, 95 %
  predicted_vs_actual  {"points": [[predicted, truth], ...], "low": x, "high": x}   low, high: common range of the axes

`Evaluation.sections` (each may hold "left_out": a sentence; each that has a plain-words summary holds "sentence")
  domains         {"discrimination": [names], "calibration": [names], "overall": [names], "threshold": [names], "utility": [names],
                  "error": [names], "intervals": [names]}   the order to show metrics in; only names present in `metrics`
  decision        {"threshold", "why", "sentence", "costs": {"fp", "fn"} or null, "capacity": n or null,
                  "points": [{"name", "threshold", "why", "flagged", "sensitivity", "specificity", "precision", "net_benefit"}]}
  natural         {"of": 1000, "label", "target", "group", "have", "flagged", "right", "missed", "sentence"}   binary: whole counts per
                  1,000 rows that add up; "group": "are ill", or "have survived = 1" where the label says nothing by itself
  comparison      {"against": "baseline", "metric", "difference": MEASURE, "p", "test", "sentence"}
  selection       {"candidates", "naive": value before the correction, "corrected": value, "sentence"}   cross-validation only
  folds           {"values": [score of each fold], "mean": MEASURE, "odd": is one far from the others, "sentence"}   cross-validation only
  slices          {"confirmed": [{"rule", "columns", "n", "loss", "rest", "difference": MEASURE, "p", "sentence"}], "tested", "looked_at", "sentence"}
  fairness        {"columns": [{"column", "groups": [{"group", "n", "selection": MEASURE, "tpr": MEASURE, "fpr": MEASURE,
                  "precision": MEASURE, "calibration": MEASURE, "error": MEASURE}], "gaps": [{"metric", "worst", "best",
                  "difference": MEASURE, "ratio": MEASURE or null, "verdict": "gap shown|no gap shown|cannot tell", "sentence"}]}],
                  "chosen": metric name and why, "sentence"}   regression groups hold "error" and "bias" only; deepened also "pareto":
                  {"column", "metric", "gap": "tpr", "points": [{"name", "value", "accuracy", "gap", "low", "high"}]}; with `--fair` also
                  "limit": {"metric", "limit", "met": out of fold, "chosen": way, "price": MEASURE (change of the problem's metric, out of
                  fold), "ways": [{"name", "share", "value", "gap", "low", "high", "inside"}], "columns": [{"column", "difference": MEASURE
                  on the rows of the evaluation, "verdict": "inside|outside|cannot tell"}], "sentence"}
  conformal       {"kind": "set|interval", "levels": [{"level", "coverage": MEASURE, "size", "quantile",
                  "groups": [{"column", "group", "coverage": MEASURE}]}], "sentence"}   size: mean labels in a set, or mean width;
                  intervals that are wider where errors are also "scale": {"at": [predictions], "size": [factors]} (half width = quantile
                  times size, linear in between), "narrow", "wide": width that 5 % of rows stay below, and above
  abstention      {"points": [{"answered": share, "value", "low", "high", "threshold"}], "metric", "sentence"}
  glass_box       {"kind", "against": recipe, "metric", "value", "other", "price": MEASURE or null, "p", "sentence"}   what a model that can be
                  read as a whole reaches beside the heaviest recipe, both learned anew on folds of these rows
  learning_curve  {"points": [{"rows", "value", "low", "high"}], "metric", "doubling": gain of twice the data, "sentence"}
  label_noise     {"share": MEASURE, "ceiling": accuracy, "sentence"}
  robustness      {"tests": [{"test", "column", "value", "change", "flips", "sentence"}], "metric", "sentence"}
  prior_shift     {"trained": share, "points": [{"prior", "precision", "npv", "threshold"}], "sentence"}
  multiplicity    {"models", "flips": share, "agreement": rank correlation, "sentence"}
  membership      {"auc": MEASURE, "tpr_at_1_fpr": share, "sentence"}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import scipy  # its parts load when first used

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.check import Material
from emlyn.core.dataset import Dataset
from emlyn.core.judging.answers import Answers, domains, floor, measure_all, recalls
from emlyn.core.judging.conformal import intervals_90
from emlyn.core.judging.curves import binary_plots, class_plots, natural, number_plots
from emlyn.core.judging.decision import balanced_threshold, choose_threshold, cost_odds, counts, threshold_for_sensitivity
from emlyn.core.judging.intervals import area_within, over_folds, paired_difference, widened
from emlyn.core.judging.metrics import Metric, metric
from emlyn.core.judging.sections import quick_sections
from emlyn.core.searching.ensembling import blend
from emlyn.core.searching.selection import OutOfFold, chosen, corrected, width_factor
from emlyn.core.searching.trials import Trials
from emlyn.core.table import Table
from emlyn.core.wording import number, signed
from emlyn.records.data_card import DataCard
from emlyn.records.evaluation import Evaluation, Measure, Verdict
from emlyn.records.finding import Finding
from emlyn.records.problem import Problem

FEW_EVENTS = 100
"""Events below which a verdict of `use` is held back (Riley et al. 2021: about 100 events and 100 non-events to validate)."""


class Predicts(Protocol):
    """The part of a model that an evaluation needs."""

    def predict_answers(self, data: Dataset) -> np.ndarray:
        """(n, k) probabilities or (n, 1) numbers."""


def evaluate_sealed(model: Predicts, sealed: Dataset, problem: Problem, context: Context) -> Evaluation:
    """Every metric on the sealed rows, read in one pass. The threshold is the model's own: it was set before the seal was opened."""
    return evaluate_answers(_answers(model, sealed, problem), problem, context, "sealed rows", sealed)


def evaluate_rows(model: Predicts, data: Dataset, problem: Problem, context: Context) -> Evaluation:
    """Every metric on labelled rows from outside: `--test FILE` and `emlyn evaluate`."""
    return evaluate_answers(_answers(model, data, problem), problem, context, "external file", data)


def evaluate_oof(trials: Trials, problem: Problem, context: Context) -> Evaluation:
    """Cross-validation on all rows of the trials, corrected for having chosen, weighed and calibrated on them (`core.selection`).

    Rows that no fold asked about (the earliest, where folds run forward in time) are left out.
    """
    candidates = trials.eligible()
    rows = trials.covered(candidates)
    stored = OutOfFold([trials.oof(c.recipe.name)[rows] for c in candidates], trials.fold_of[rows], trials.truth(rows), trials.weight(rows))
    return evaluate_stored(stored, trials.data.take(rows), problem, context)


def evaluate_stored(stored: OutOfFold, asked: Dataset, problem: Problem, context: Context) -> Evaluation:
    """The evaluation behind `evaluate_oof`, from plain arrays; `asked` are the same rows with their columns and groups.

    With one fold only, a choice cannot be judged: the number is then the uncorrected one, and `method` says so.
    """
    m = metric(problem.metric)
    weights, calibration = chosen(stored, m, seed=context.seed)
    shown = calibration.apply(blend(stored.candidates, weights))
    folds = len(np.unique(stored.fold))
    prediction = corrected(stored, m, seed=context.seed, seconds=0.4 * context.budget.until("evaluate")) if folds > 1 else shown
    threshold, why = choose_threshold(shown[:, -1], problem, stored.weight) if problem.task == "binary" else (None, "")
    answers = Answers(stored.truth, prediction, stored.weight, asked.group, threshold, why, fold=stored.fold if folds > 1 else None)
    how = "cross-validation corrected for selection" if folds > 1 else "one fold, not corrected for selection"
    evaluation = _widened(evaluate_answers(answers, problem, context, how, asked), width_factor(folds))
    naive, value = _naive(stored, shown, m), evaluation.metrics[m.name].value
    told = "unknown" if value is None else number(value, 4)
    text = (
        f"Choosing among {len(stored.candidates)} candidates made {m.label or m.name} look like {number(naive, 4)}; corrected for that it is {told}."
    )
    section = {"candidates": len(stored.candidates), "naive": naive, "corrected": value, "sentence": text}
    return deepened(evaluation, {"selection": section, "folds": _folds(stored, prediction, m, evaluation.metrics[m.name])}, problem)


def _naive(stored: OutOfFold, shown: np.ndarray, m: Metric) -> float:
    """The score without any correction, ranked within folds as the corrected one is."""
    if m.name == "roc_auc" and len(np.unique(stored.fold)) > 1:
        return area_within(stored.truth, shown, stored.weight, stored.fold)[0]
    return m.score(stored.truth, shown, stored.weight)


def _widened(evaluation: Evaluation, factor: float) -> Evaluation:
    """Every interval of the model, wider by what the draw of the training rows adds; the baseline learned nothing, so it stays."""
    why = "for the draw of the training rows"
    metrics = {name: widened(found, factor, why) for name, found in evaluation.metrics.items()}
    gain, sections = evaluation.comparison, dict(evaluation.sections)
    if gain is not None and gain.low is not None and gain.high is not None and gain.value is not None:
        low, high = (gain.value + factor * (v - gain.value) for v in (gain.low, gain.high))
        gain = replace(gain, low=low, high=high, method=f"{gain.method}; {factor:.2f} times as wide {why}")
        told = sections["comparison"]
        p = None if told["p"] is None else float(2 * scipy.special.ndtr(scipy.special.ndtri(told["p"] / 2) / factor))
        text = _difference_words(gain, metric(told["metric"]), told["against"])
        sections["comparison"] = {**told, "p": p, "difference": _plain(gain), "sentence": text}
    return replace(evaluation, metrics=metrics, comparison=gain, sections=sections)


def model_findings(evaluation: Evaluation, problem: Problem) -> tuple[Finding, ...]:
    """What the checks of the model say about this evaluation."""
    material = Material(DataCard("", evaluation.rows, ()), Table({}), problem=problem, evaluation=evaluation)
    checks = [c for c in plugins.collect("checks") if "evaluation" in c.needs and all(material.has(need) for need in c.needs)]
    return tuple(f for c in checks for f in c.run(material).findings)


def _folds(stored: OutOfFold, prediction: np.ndarray, m: Metric, whole: Measure) -> dict[str, Any]:
    """The score of each fold and their mean; a fold is odd when it lies off by 3.5 of the standard errors that its own size explains."""
    values = []
    for k in np.unique(stored.fold):
        part = stored.take(stored.fold == k)
        values.append(m.score(part.truth, prediction[stored.fold == k], part.weight))
    known = np.array([v for v in values if np.isfinite(v)])
    spread = float("inf") if whole.low is None or whole.high is None else (whole.high - whole.low) / 3.92 * np.sqrt(len(values))
    far = bool(len(known) and np.abs(known - np.median(known)).max() > 3.5 * spread)
    mean = over_folds(known, 1 / max(1, len(values) - 1))
    text = f"Over {len(known)} folds {m.label or m.name} is {_range(mean)}" + (", one of them far from the others." if far else ".")
    return {"values": [float(v) for v in known], "mean": _plain(mean), "odd": far, "sentence": text}


def evaluate_answers(answers: Answers, problem: Problem, context: Context, method: str, asked: Dataset | None = None) -> Evaluation:
    """Every metric of the task with its interval, the floor's, their paired difference, the plots and the verdict.

    With `asked`, the same rows with their columns, also the sections that need no further prediction (`core.sections`).
    """
    context.emit("note", f"measuring on {len(answers):,} rows", rows=len(answers))
    if problem.task == "regression" and answers.lower is None and (ends := intervals_90(answers, context.seed)):
        answers = replace(answers, lower=ends[0], upper=ends[1])
    base = answers.with_prediction(floor(answers, problem))
    metrics = measure_all(answers, problem)
    sections: dict[str, Any] = {"domains": domains(metrics)}
    comparison, told = compare(answers, base.prediction, problem)
    sections["comparison"] = told
    plots = _plots(answers, problem)
    if problem.task == "binary":
        sections["decision"] = _decision(answers, problem)
        table = np.array(plots["confusion"]["per_1000"])
        sections["natural"] = natural(table, plots["confusion"]["labels"][-1], problem.target)
    if asked is not None:
        sections |= quick_sections(answers, asked, problem, context.seed)
    evaluation = Evaluation(
        metrics=metrics,
        baseline=measure_all(base, problem),
        rows=len(answers),
        method=method,
        openings=1 if method == "sealed rows" else 0,
        comparison=comparison,
        threshold=answers.threshold,
        threshold_why=answers.threshold_why,
        plots=plots,
        sections=sections,
    )
    return conclude(replace(evaluation, findings=model_findings(evaluation, problem)), problem)


def compare(answers: Answers, other: np.ndarray, problem: Problem, against: str = "baseline") -> tuple[Measure | None, dict[str, Any]]:
    """Paired difference to other predictions (n, k) for the same rows in the problem's metric, and the same in words."""
    a, m = answers, metric(problem.metric)
    difference, p = paired_difference(m, a.truth, a.prediction, other, a.weight, a.cluster, a.fold)
    told = {"against": against, "metric": m.name, "difference": _plain(difference), "p": p if np.isfinite(p) else None, "test": difference.method}
    return difference, {**told, "sentence": _difference_words(difference, m, against)}


def conclude(evaluation: Evaluation, problem: Problem, findings: Sequence[Finding] = ()) -> Evaluation:
    """The evaluation with its verdict, in the light of the audit's findings too. May be called again when more is known."""
    stop, care = _worries(evaluation, problem, findings)
    label = metric(problem.metric).label or problem.metric
    found = evaluation.metrics[problem.metric]
    if stop:
        verdict = Verdict("do not use yet", stop[0], tuple(stop + care))
    elif care:
        verdict = Verdict("use with care", care[0], tuple(care))
    else:
        verdict = Verdict("use", f"better than guessing by more than chance explains: {label} {_range(found)} on {evaluation.rows:,} rows", ())
    return replace(evaluation, verdict=verdict)


def deepened(evaluation: Evaluation, sections: dict[str, Any], problem: Problem, findings: Sequence[Finding] = ()) -> Evaluation:
    """The evaluation with further sections (`stages.deepen`), and what the checks of the model and the verdict make of them."""
    whole = replace(evaluation, sections={**evaluation.sections, **sections})
    return conclude(replace(whole, findings=model_findings(whole, problem)), problem, findings)


def _worries(evaluation: Evaluation, problem: Problem, findings: Sequence[Finding]) -> tuple[list[str], list[str]]:
    """Reasons against any use, and reasons for care, worst first."""
    stop = [f.message for f in findings if f.severity == "fail" and not f.applied]
    care = [f.message for f in findings if f.code == "model.unfinished"]
    gain, events = evaluation.comparison, _events(evaluation, problem)
    better = metric(problem.metric).better
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        stop.append(f"cannot tell whether it is better than guessing: {gain.method if gain else 'not compared'} ({events} {_what(problem)})")
    elif not (better(gain.low, 0.0) and better(gain.high, 0.0)):
        stop.append(f"not shown to be better than guessing: the difference may be {signed(gain.low)} to {signed(gain.high)}")
    if events < FEW_EVENTS:
        care.append(f"rests on only {events} {_what(problem)}: the true value may lie anywhere in {_range(evaluation.metrics[problem.metric])}")
    care += _miscalibrated(evaluation) + _vague(evaluation, problem)
    care += _unfair(evaluation)
    care += [f.message for f in evaluation.findings if f.code == "model.fairness"]
    care += [f.message for f in findings if f.severity == "warn" and not f.applied and f.code.split(".")[0] in ("leakage", "structure")]
    return stop, care


def _events(evaluation: Evaluation, problem: Problem) -> int:
    if problem.task == "regression" or "confusion" not in evaluation.plots:
        return evaluation.rows
    sizes = np.array(evaluation.plots["confusion"]["counts"]).sum(axis=1)
    return int(sizes.sum() - sizes.max()) if problem.task == "multiclass" else int(sizes.min())


def _what(problem: Problem) -> str:
    return {"regression": "rows", "multiclass": "rows outside the commonest class"}.get(problem.task, "rows of the rarer class")


def _miscalibrated(evaluation: Evaluation) -> list[str]:
    """Worries about probabilities, only where the interval itself lies outside the band that is good enough."""
    slope, total = evaluation.metrics.get("calibration_slope"), evaluation.metrics.get("observed_expected")
    out = []
    if total and total.low is not None and total.high is not None and total.value is not None and (total.low > 1.1 or total.high < 0.9):
        out.append(f"probabilities are too {'low' if total.value > 1 else 'high'}: {total.value:.2f} events are seen for each one expected")
    if slope and slope.low is not None and slope.high is not None and slope.value is not None and (slope.low > 1.25 or slope.high < 0.8):
        out.append(f"probabilities are too {'extreme' if slope.value < 1 else 'timid'}: calibration slope {_range(slope)}")
    return out


def _unfair(evaluation: Evaluation) -> list[str]:
    """A fairness limit that was asked for and is not kept, out of fold or on the rows of the evaluation."""
    limit = evaluation.sections.get("fairness", {}).get("limit")
    if limit and (not limit["met"] or any(c["verdict"] == "outside" for c in limit["columns"])):
        return [f"the fairness limit {limit['metric']}={limit['limit']:g} is not kept"]
    return []


def _vague(evaluation: Evaluation, problem: Problem) -> list[str]:
    """An interval as wide as half of what the model gains leaves too much open."""
    gain = evaluation.comparison
    if gain is None or not gain.value or gain.low is None or gain.high is None:
        return []
    if gain.high - gain.low > abs(gain.value):
        return [f"how much better than guessing is uncertain: {number(abs(gain.value))}, perhaps only {number(min(abs(gain.low), abs(gain.high)))}"]
    return []


def _answers(model: Predicts, data: Dataset, problem: Problem) -> Answers:
    assert data.answers is not None
    prediction = model.predict_answers(data.without_answers())
    threshold, why = None, ""
    if problem.task == "binary":
        threshold, why = getattr(model, "threshold", None), getattr(model, "threshold_why", "")
        if threshold is None:
            threshold, why = choose_threshold(prediction[:, -1], replace(problem, capacity=None))
    return Answers(data.answers, prediction, data.weight, data.group, threshold, why)


def _plots(a: Answers, problem: Problem) -> dict[str, Any]:
    if problem.task == "binary":
        assert a.threshold is not None
        return binary_plots(a.truth == 1, a.prediction[:, 1], a.threshold, problem, a.weight)
    if problem.task == "multiclass":
        ordered = [{"label": k, "value": m.value, "low": m.low, "high": m.high, "n": m.n} for k, m in recalls(a, problem.classes)][:50]
        return {**class_plots(a.truth, a.prediction, problem.classes, a.weight), "recall_by_class": ordered}
    if problem.task == "regression":
        return number_plots(a.truth, a.prediction[:, 0], problem.target)
    return {}


def _decision(a: Answers, problem: Problem) -> dict[str, Any]:
    """The chosen operating point beside three named ones, each with what it brings on these rows."""
    hit, p = a.truth == 1, a.prediction[:, 1]
    assert a.threshold is not None
    named = [("chosen", a.threshold, a.threshold_why)]
    if hit.any() and not hit.all():
        named += [
            ("balanced", balanced_threshold(hit, p, a.weight), "sensitivity and specificity together are largest"),
            ("finds 9 of 10", threshold_for_sensitivity(hit, p, 0.9), "nine of ten positives are found"),
            ("as many as there are", float(np.quantile(p, 1 - hit.mean(), method="inverted_cdf")), "flags as many rows as there are positives"),
        ]
    points = []
    for name, t, why in named:
        c, odds = counts(hit, p, t, a.weight), cost_odds(problem, t)
        measured = {"sensitivity": c.sensitivity, "specificity": c.specificity, "precision": c.precision, "flagged": c.flagged}
        points.append({"name": name, "threshold": t, "why": why, **measured, "net_benefit": c.net_benefit(odds) if np.isfinite(odds) else None})
    costs = None if problem.cost_fp is None and problem.cost_fn is None else {"fp": problem.cost_fp or 1.0, "fn": problem.cost_fn or 1.0}
    left = "the other operating points are read off these rows, so what they bring is slightly rosy; only `chosen` was fixed before"
    why = f"Flags a row from a probability of {number(a.threshold)}: {a.threshold_why}."
    told = {"threshold": a.threshold, "why": a.threshold_why, "costs": costs, "capacity": problem.capacity}
    return {**told, "points": points, "sentence": why, "left_out": left}


def _plain(found: Measure | None) -> dict[str, Any] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "method": found.method}


def _range(found: Measure) -> str:
    if found.value is None:
        return "unknown"
    if found.low is None or found.high is None:
        return f"{number(found.value)} ({found.method})"
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def _difference_words(difference: Measure | None, m: Metric, against: str) -> str:
    label = m.label or m.name
    if difference is None or difference.value is None or difference.low is None or difference.high is None:
        return f"Cannot tell whether {label} differs from the {against}: {difference.method if difference else 'not compared'}."
    better = m.better(difference.low, 0.0) and m.better(difference.high, 0.0)
    worse = m.better(0.0, difference.low) and m.better(0.0, difference.high)
    word = "better than" if better else "worse than" if worse else "not shown to differ from"
    return f"{label} is {word} the {against}: by {signed(difference.value)} ({signed(difference.low)} to {signed(difference.high)})."
