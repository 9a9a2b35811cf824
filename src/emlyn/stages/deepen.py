"""Deepen: every part of an evaluation that costs time, on labelled rows, without touching the model that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from emlyn.context import Context
from emlyn.core.dataset import Dataset
from emlyn.core.judging.answers import Answers
from emlyn.core.judging.decision import choose_threshold
from emlyn.core.judging.glass_box import glass_box_section
from emlyn.core.judging.mitigation import pareto_points
from emlyn.core.judging.refits import learning_curve_section, membership_section, multiplicity_section, refit
from emlyn.core.judging.sections import label_noise_section, quick_sections, sensitive_groups
from emlyn.core.judging.stress import robustness_section
from emlyn.records.problem import Problem

STRESS_SHARE, GLASS_SHARE = 0.4, 0.25
MOST_S = 600.0


def deepen(model: Any, data: Dataset, problem: Problem, context: Context) -> dict[str, Any]:
    """Sections by name, as `stages.evaluate` documents them; each says what it left out for time.

    `data` are labelled rows that the model did not learn from. Of the time left, the change tests take at most two fifths, the
    glass box a quarter, the small fits (learning curve, multiplicity, membership) the rest; at most ten minutes in all.
    """
    assert data.answers is not None
    seconds = min(MOST_S, max(1.0, 0.9 * context.budget.left))
    began = context.budget.spent
    prediction = model.predict_answers(data.without_answers())
    answers = Answers(data.answers, prediction, data.weight, data.group)
    if problem.task == "binary":
        threshold, why = (model.threshold, model.threshold_why) if model.threshold is not None else choose_threshold(prediction[:, 1], problem)
        answers = replace(answers, threshold=threshold, threshold_why=why)
    sections = quick_sections(answers, data, problem, context.seed)
    _add(sections, "label_noise", lambda: label_noise_section(answers, problem))
    if "rows" in data.tables:
        left = STRESS_SHARE * seconds - (context.budget.spent - began)
        _add(sections, "robustness", lambda: robustness_section(model.predict_answers, answers, data, problem, left, context.seed))
        context.emit("note", "robustness tested; learning again on parts of the rows")
    if "fairness" in sections:
        _add(sections, "fairness", lambda: _with_pareto(model, data, problem, sections["fairness"], context))
    _add(sections, "glass_box", lambda: glass_box_section(model, data, problem, GLASS_SHARE * seconds, context.seed))
    found = refit(model, data, problem, seconds - (context.budget.spent - began), context.seed)
    if found is not None and found.fits:
        _add(sections, "learning_curve", lambda: learning_curve_section(found, problem))
        _add(sections, "multiplicity", lambda: multiplicity_section(found))
        _add(sections, "membership", lambda: membership_section(found, problem))
    return sections


def _with_pareto(model: Any, data: Dataset, problem: Problem, section: dict[str, Any], context: Context) -> dict[str, Any]:
    """The fairness section with what a smaller gap would cost, for the column with the clearest one."""
    gaps = [(g["p"], c["column"]) for c in section["columns"] for g in c["gaps"] if g["metric"] == "tpr"]
    tables = [t for t in data.tables.values() if t.rows == data.rows.rows]
    if not gaps:
        return section
    column = min(gaps)[1]
    labels = sensitive_groups([t.take(data.units) for t in tables], problem)[column]
    points = pareto_points(model, data, problem, labels, 0.1 * context.budget.left, context.seed)
    return {**section, "pareto": {"column": column, "metric": problem.metric, "gap": "tpr", "points": points}}


def _add(sections: dict[str, Any], name: str, make: Callable[[], dict[str, Any] | None]) -> None:
    made = make()
    if made is not None:
        sections[name] = made
