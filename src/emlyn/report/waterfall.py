"""Why one row got its answer, as a picture: each column's push starts where the one before it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from emlyn.core.wording import answer, signed
from emlyn.report import words
from emlyn.report.charts import Figure, picture, widened
from emlyn.report.html import templates

MOST = 10
"""Pushes drawn one by one; the rest is one bar."""
LEFT, RIGHT, WIDTH, ROW = 190, 64, 560, 26


def waterfall(reasons: Sequence[Mapping[str, Any]], unit: str, reference: str, title: str) -> Figure:
    """A figure of `reasons` ({column, value, push}, strongest first), in `unit`, from `reference` at zero to where they lead."""
    steps = [(f"{words.short(r['column'], 22)} = {words.short(_value(r['value']), 14)}", float(r["push"])) for r in reasons[:MOST]]
    rest = sum(float(r["push"]) for r in reasons[MOST:])
    steps += [(f"{len(reasons) - MOST:,} more columns", rest)] if len(reasons) > MOST else []
    sums = [0.0]
    for _, push in steps:
        sums.append(sums[-1] + push)
    low, high = widened((min(sums), max(sums)))

    def at(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    bottom = ROW * (len(steps) + 1)
    parts = [Markup('<path class="line ref" d="M{:.1f} 4V{}"/>').format(at(0.0), bottom - 4)]
    for k, (label, push) in enumerate(steps):
        y, start, end = ROW * k + ROW / 2, at(sums[k]), at(sums[k + 1])
        style = "s1" if push >= 0 else "s2"
        parts.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 8, y + 4, label))
        parts.append(Markup('<path class="push {}" d="M{:.1f} {:.1f}H{:.1f}"/>').format(style, start, y, end))
        parts.append(Markup('<path class="grid" d="M{:.1f} {:.1f}v{}"/>').format(end, y, ROW))
        parts.append(Markup('<text class="mark" x="{:.1f}" y="{:.1f}">{}</text>').format(max(start, end) + 6, y + 4, signed(push)))
    end = ROW * len(steps) + ROW / 2
    parts.append(Markup('<text class="label" x="{}" y="{:.1f}" text-anchor="end">together</text>').format(LEFT - 8, end + 4))
    parts.append(Markup('<path class="push total" d="M{:.1f} {:.1f}H{:.1f}"/>').format(at(0.0), end, at(sums[-1])))
    parts.append(Markup('<text class="label" x="{:.1f}" y="{:.1f}">{}</text>').format(max(at(0.0), at(sums[-1])) + 6, end + 4, signed(sums[-1])))
    says = f"Starts at {reference} and adds what each column pushes, in {unit}. "
    says += f"Most of all: {words.listed([f'{label} ({signed(push)})' for label, push in steps[:3]])}." if steps else "No column's push is steady."
    rows = tuple((label, signed(push)) for label, push in [*steps, ("together", sums[-1])])
    return Figure(title, says, picture(WIDTH, bottom, says, parts), ("column", f"push ({unit})"), rows)


def page(result: Mapping[str, Any]) -> str:
    """The reasons that `emlyn explain MODEL DATA --json` holds, one picture for each row, as a self-contained HTML page."""
    figures = []
    for row in result["rows"]:
        chance = (row.get("probabilities") or {}).get(result["toward"])
        title = f"row {row['row']}: {_value(row['prediction'])}"
        title += f" (probability of {answer(result['toward'], result['target'])}: {words.number(chance)})" if chance is not None else ""
        figures.append(waterfall(row["reasons"], result["unit"], result["reference"], title))
    goal = answer(result["toward"], result["target"]) if result["toward"] else ""
    toward = f"toward “{words.short(goal, 40)}”" if goal else f"of “{words.short(result['target'], 40)}”"
    return templates().get_template("waterfall.html").render(title=f"What pushed the answers {toward}", name=result["model"], figures=figures)


def _value(value: Any) -> str:
    return "empty" if value is None else words.number(value, 5) if isinstance(value, float) else str(value)
