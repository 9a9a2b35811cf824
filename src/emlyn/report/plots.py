"""From the numbers in `Evaluation.plots` and `.sections` to figures: one small function per plot, each with its words and its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emlyn.records.evaluation import Driver, Evaluation
from emlyn.records.problem import Problem
from emlyn.report import words
from emlyn.report.charts import Axes, Figure, Point, around, compact

UNIT = (0.0, 1.0)
PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _square(x_label: str, y_label: str) -> Axes:
    return Axes(UNIT, UNIT, x_label, y_label, percent, percent, PARTS)


def _pairs(points: Sequence[Sequence[float]]) -> list[Point]:
    return [(float(p[0]), float(p[1])) for p in points]


def _table(points: Sequence[Sequence[float]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(words.number(v, 4) for v in p) for p in points)


def calibration(plot: Mapping[str, Any], problem: Problem) -> Figure:
    bins = plot["bins"]
    if problem.task == "regression":
        span = around([b[k] for b in bins for k in ("predicted", "observed", "low", "high")])
        axes, says = (
            Axes(span, span, "predicted", "mean of the true values"),
            "Each dot is a tenth of the rows: where it lies on the dashed line, predictions are right on average.",
        )
    else:
        axes = _square(f"probability the model stated for {words.short(plot['of'], 24)}", "how often it happened")
        says = "Where the dots lie on the dashed line, a stated 30 % happens in 30 of 100 cases. Bars are 95 % intervals (Wilson)."
    axes.line([(axes.x[0], axes.x[0]), (axes.x[1], axes.x[1])], "ref")
    axes.whiskers([(b["predicted"], b["low"], b["high"]) for b in bins if b["low"] is not None and b["high"] is not None], "s1")
    points = [(b["predicted"], b["observed"]) for b in bins]
    axes.line(points, "s1 thin")
    axes.dots(points, "s1", 4)
    rows = tuple(
        (words.number(b["predicted"]), words.number(b["observed"]), words.number(b["low"]), words.number(b["high"]), words.count(b["n"]))
        for b in bins
    )
    return Figure("Does it mean what it says?", says, axes.svg(says), ("predicted", "observed", "low", "high", "rows"), rows)


MAIN_SERIES = {"right", "predicted"}


def scores(plot: Mapping[str, Any], problem: Problem) -> Figure:
    edges, number = plot["edges"], problem.task == "regression"
    main = MAIN_SERIES | {plot["of"]}
    series = sorted(plot["series"].items(), key=lambda pair: (pair[0] in main, pair[0]))
    styles = ["s1" if label in main else ("s2", "s3")[k % 2] for k, (label, _) in enumerate(series)]
    labels = [words.short(label, 30) for label, _ in series]
    top = max((h for _, heights in series for h in heights), default=1)
    x_label = words.short(plot["of"], 30) if number else f"probability stated for {words.short(plot['of'], 24)}"
    axes = Axes((edges[0], edges[-1]), (0, top), x_label, "rows", compact if number else percent)
    for style, (_, heights) in zip(styles, series, strict=True):
        axes.steps(edges, heights, style)
    says = "The further the two hills are apart, the better the model tells the kinds of cases from each other."
    if number:
        says = "How often the model predicts each value, beside how often it is true."
    rows = tuple((f"{words.number(edges[k])} – {words.number(edges[k + 1])}", *(words.count(h[k]) for _, h in series)) for k in range(len(edges) - 1))
    return Figure("What it answers", says, axes.svg(says), ("range", *labels), rows, tuple(zip(styles, labels, strict=True)))


def roc(plot: Mapping[str, Any], problem: Problem) -> Figure:
    axes = _square("false alarms (share of the others flagged)", "found (share flagged rightly)")
    axes.line([(0, 0), (1, 1)], "ref")
    axes.line(_pairs(plot["points"]), "s1")
    _chosen(axes, plot)
    says = "The nearer the curve comes to the top left corner, the more cases are found per false alarm. The dashed line is a coin."
    return Figure("Found against false alarms (ROC)", says, axes.svg(says), ("false alarms", "found"), _table(plot["points"]))


def precision_recall(plot: Mapping[str, Any], problem: Problem) -> Figure:
    axes = _square("found (recall)", "right when it flags (precision)")
    axes.line([(0, plot["prevalence"]), (1, plot["prevalence"])], "ref")
    axes.line(_pairs(plot["points"]), "s1")
    _chosen(axes, plot)
    says = "How many flags are right, as more and more cases are to be found. The dashed line is flagging at random."
    return Figure("Right when it flags (precision–recall)", says, axes.svg(says), ("found", "right"), _table(plot["points"]))


def gains(plot: Mapping[str, Any], problem: Problem) -> Figure:
    axes = _square("share of the list worked through, best first", "share of all found")
    axes.line([(0, 0), (1, 1)], "ref")
    axes.line(_pairs(plot["points"]), "s1")
    _chosen(axes, plot)
    says = "Working down the list that the model ranks: the share of all cases found so far. The dashed line is a random order."
    return Figure("What a ranked list brings (gains)", says, axes.svg(says), ("share taken", "share found"), _table(plot["points"]))


def _chosen(axes: Axes, plot: Mapping[str, Any]) -> None:
    if plot.get("chosen"):
        x, y = plot["chosen"]
        axes.dots([(x, y)], "s2", 5)
        right = axes.at(x, y)[0] < 260
        axes.text(x, y, "chosen threshold", "start" if right else "end", (10 if right else -10, 16))


def decision_curve(plot: Mapping[str, Any], problem: Problem) -> Figure:
    t = plot["thresholds"]
    low = -0.25 * max(*plot["model"], *plot["all"], 1e-9)
    top = max(*plot["model"], *plot["all"], 1e-9) * 1.08
    axes = Axes((min(t), max(t)), (low, top), "threshold: how sure before one acts", "net benefit per case", percent)
    axes.line([(x, y) for x, y in zip(t, plot["all"], strict=True) if y >= low], "s2")
    axes.line(list(zip(t, plot["none"], strict=True)), "ref")
    axes.line(list(zip(t, plot["model"], strict=True)), "s1")
    says = "Where the model's curve lies above both others, deciding by the model is worth more than acting on everyone or on no one."
    rows = tuple((words.percent(a), *(words.number(v) for v in rest)) for a, *rest in zip(t, plot["model"], plot["all"], plot["none"], strict=True))
    legend = (("s1", "by the model"), ("s2", "act on everyone"), ("ref", "act on no one"))
    return Figure("Is acting on it worth it? (decision curve)", says, axes.svg(says), ("threshold", "model", "everyone", "no one"), rows, legend)


def residuals(plot: Mapping[str, Any], problem: Problem) -> Figure:
    points, bands = _pairs(plot["points"]), plot.get("bands") or []
    low, high = around([y for _, y in points])
    axes = Axes(around([x for x, _ in points]), (low, high), f"predicted {words.short(problem.target, 24)}", "true minus predicted")
    if bands:
        axes.band([b["predicted"] for b in bands], [b["low"] for b in bands], [b["high"] for b in bands], "s1")
    axes.dots(points, "s1 faint", 2.2)
    axes.line([(axes.x[0], 0), (axes.x[1], 0)], "ref")
    axes.line([(b["predicted"], b["middle"]) for b in bands], "s1")
    says = "Errors by size of the prediction; nine of ten lie in the band. A band that widens or bends shows where not to lean on the model."
    rows = tuple(
        (words.number(b["predicted"]), words.number(b["low"]), words.number(b["middle"]), words.number(b["high"]), words.count(b["n"])) for b in bands
    )
    return Figure("Where the errors are", says, axes.svg(says), ("predicted", "5 %", "middle", "95 %", "rows"), rows or _table(points))


def predicted_vs_actual(plot: Mapping[str, Any], problem: Problem) -> Figure:
    span = (plot["low"], plot["high"])
    axes = Axes(span, span, f"predicted {words.short(problem.target, 24)}", "true")
    axes.line([(axes.x[0], axes.x[0]), (axes.x[1], axes.x[1])], "ref")
    axes.dots(_pairs(plot["points"]), "s1 half", 2.6)
    says = "Each dot is one case that the model had never seen; on the dashed line the prediction is exactly right."
    return Figure("Predicted and true", says, axes.svg(says), ("predicted", "true"), _table(plot["points"]))


def learning_curve(section: Mapping[str, Any], problem: Problem) -> Figure:
    label = words.metric(section.get("metric", problem.metric)).label
    axes = Axes((0, max(p["rows"] for p in section["points"])), _reach(section["points"]), "rows learned from", label)
    says = "The score as the model learns from more rows; the band is its range."
    return _banded(axes, section["points"], "rows", "Would more data help?", says)


def abstention(section: Mapping[str, Any], problem: Problem) -> Figure:
    label = words.metric(section.get("metric", problem.metric)).label
    axes = Axes(UNIT, _reach(section["points"]), "share of cases it answers", label, percent, x_ticks=PARTS)
    says = "The score when the model may pass on the cases it is least sure of; the band is its range."
    return _banded(axes, section["points"], "answered", "What staying silent buys", says)


def _reach(points: Sequence[Mapping[str, Any]]) -> Point:
    return around([v for p in points for v in (p["value"], p.get("low"), p.get("high")) if v is not None])


def _banded(axes: Axes, points: Sequence[Mapping[str, Any]], x: str, title: str, says: str) -> Figure:
    """A line with dots over its band, from points that hold `value` and perhaps `low` and `high`."""
    drawn = [p for p in points if p["value"] is not None]
    known = [p for p in drawn if p.get("low") is not None and p.get("high") is not None]
    axes.band([p[x] for p in known], [p["low"] for p in known], [p["high"] for p in known], "s1")
    axes.line([(p[x], p["value"]) for p in drawn], "s1")
    axes.dots([(p[x], p["value"]) for p in drawn], "s1")
    rows = tuple((words.number(p[x]), words.number(p["value"]), words.number(p.get("low")), words.number(p.get("high"))) for p in drawn)
    return Figure(title, says, axes.svg(says), (x, "score", "low", "high"), rows)


def pareto(section: Mapping[str, Any], problem: Problem) -> Figure:
    """What narrowing a gap between groups costs: `sections["fairness"]["pareto"]`."""
    points, gap = section["points"], words.metric(section["gap"]).label
    label = words.metric(section["metric"]).label
    known = [p for p in points if p.get("low") is not None and p.get("high") is not None]
    across = around([0.0, *(p["gap"] for p in points), *(v for p in known for v in (p["low"], p["high"]))])
    axes = Axes((min(across[0], 0.0), across[1]), around([p["value"] for p in points], 0.3), f"gap in {gap} between groups", label)
    axes.spans([(p["low"], p["high"], p["value"]) for p in known], "s1")
    axes.dots([(p["gap"], p["value"]) for p in points], "s1", 5)
    for k, p in enumerate(points, 1):
        axes.text(p["gap"], p["value"], str(k), "middle", (0, -10))
    named = "; ".join(f"{k} {p['name']}" for k, p in enumerate(points, 1))
    says = f"Further left is a smaller gap between the groups of {words.short(section['column'], 40)}, the bar is its range. {named}."
    rows = tuple((p["name"], *(words.number(p.get(k)) for k in ("value", "accuracy", "gap", "low", "high"))) for p in points)
    return Figure("What narrowing the gap costs", says, axes.svg(says), ("way", label, "accuracy", "gap", "low", "high"), rows)


def fair_limit(section: Mapping[str, Any], problem: Problem) -> Figure:
    """Ways to a smaller gap beside the limit that was set: `sections["fairness"]["limit"]`; filled dots lie inside."""
    ways = [w for w in section["ways"] if w["gap"] is not None]
    label, gap = words.metric(problem.metric).label, words.metric(section["metric"]).label
    known = [w for w in ways if w.get("low") is not None and w.get("high") is not None]
    across = around([0.0, section["limit"], *(w["gap"] for w in ways), *(v for w in known for v in (w["low"], w["high"]))])
    values = around([w["value"] for w in ways], 0.3)
    axes = Axes((min(across[0], 0.0), across[1]), values, f"gap in {gap} between groups", label)
    axes.line([(section["limit"], axes.y[0]), (section["limit"], axes.y[1])], "s2")
    axes.spans([(w["low"], w["high"], w["value"]) for w in known], "s1 half")
    axes.dots([(w["gap"], w["value"]) for w in ways if not w["inside"]], "s1 faint", 5)
    axes.dots([(w["gap"], w["value"]) for w in ways if w["inside"]], "s1", 5)
    for w in ways:
        if w["name"] == section["chosen"]:
            axes.text(w["gap"], w["value"], "chosen", "middle", (0, -10))
    says = f"Each dot is a way to weigh the groups: further left the gap is smaller, further {_better(problem.metric)} the score is better. "
    says += f"The upright line is the limit of {words.number(section['limit'])}; “{words.short(section['chosen'], 40)}” was chosen."
    rows = tuple((w["name"], *(words.number(w.get(k)) for k in ("value", "gap", "low", "high")), "yes" if w["inside"] else "no") for w in ways)
    return Figure("What the limit on the gap costs", says, axes.svg(says), ("way", label, "gap", "low", "high", "inside"), rows)


def _better(metric: str) -> str:
    return "up" if words.metric(metric).higher_is_better else "down"


def curve(driver: Driver) -> Figure | None:
    """How one column moves the prediction, over its values; columns of categories are drawn as bars by the page."""
    points = [(float(x), float(y)) for x, y in driver.curve if isinstance(x, (int, float)) and not isinstance(x, bool)]
    if len(points) < 2 or len(points) < len(driver.curve):
        return None
    band = [(float(low), float(high)) for low, high in driver.band]
    reach = around([y for _, y in points] + [v for pair in band for v in pair] + [0.0])
    axes = Axes((points[0][0], points[-1][0]), reach, words.short(driver.column, 40), "effect on the prediction")
    if len(band) == len(points):
        axes.band([x for x, _ in points], [low for low, _ in band], [high for _, high in band], "s1")
    axes.line([(axes.x[0], 0), (axes.x[1], 0)], "ref")
    axes.line(points, "s1")
    says = f"{words.driver_sentence(driver)} The curve shows by how much, all else as it is in the rows concerned (accumulated local effects)."
    title = words.short(driver.column, 60)
    if not band:
        return Figure(title, says, axes.svg(says), ("value", "effect"), tuple((compact(x), words.number(y)) for x, y in points))
    says += " In the band lie eight of ten single rows: where it is wide, the column works differently from row to row."
    rows = tuple((compact(x), *(words.number(v) for v in (y, *pair))) for (x, y), pair in zip(points, band, strict=False))
    return Figure(title, says, axes.svg(says), ("value", "effect", "10 %", "90 %"), rows)


DRAW: dict[str, Callable[[Any, Problem], Figure]] = {
    "calibration": calibration,
    "scores": scores,
    "predicted_vs_actual": predicted_vs_actual,
    "residuals": residuals,
    "roc": roc,
    "precision_recall": precision_recall,
    "gains": gains,
    "decision_curve": decision_curve,
}
"""Plots in the order shown. `confusion` and `recall_by_class` are drawn as tables and bars by the page."""


def figures(evaluation: Evaluation, problem: Problem) -> list[Figure]:
    """Every plot the evaluation brought along."""
    return [draw(evaluation.plots[name], problem) for name, draw in DRAW.items() if _drawable(evaluation.plots.get(name))]


def _drawable(plot: Any) -> bool:
    """An empty curve is no picture."""
    return isinstance(plot, Mapping) and any(plot.get(k) for k in ("points", "bins", "thresholds", "edges"))
