"""The one page for a manager: a hero and ten short answers, always in the same order (verdict first, then what it would mean for 1,000 cases)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emlyn.records.evaluation import Driver, Measure
from emlyn.records.repair import Repair
from emlyn.records.run import Evidence
from emlyn.report import plots, words
from emlyn.report.blocks import Bar, Bars, Block, Figures, Heat, Item, Items, Note, People, Section
from emlyn.report.charts import icons

MOST_GAPS = 4
SHOWN_FIRST = ("gap shown", "cannot tell", "no gap shown")
TONES = {"gap shown": "care", "no gap shown": "go", "cannot tell": "none"}


@dataclass(frozen=True)
class Ruler:
    """The score's range on a line from the worse to the better end, in per cent of its width."""

    value: float
    low: float | None
    high: float | None
    base: float | None
    left: str
    right: str


@dataclass(frozen=True)
class Hero:
    """What is seen first."""

    title: str
    tone: str
    shape: str
    why: str
    others: Sequence[str]
    metric: str
    score: str
    means: str
    ruler: Ruler | None
    facts: Sequence[tuple[str, str]]


def _learned(evidence: Evidence) -> int:
    """Rows of the table less those that were under seal."""
    rows = evidence.lineage.rows or evidence.card.rows
    return rows - evidence.evaluation.rows if evidence.evaluation.method == "sealed rows" and evidence.evaluation.rows < rows else rows


def hero(evidence: Evidence) -> Hero:
    """Verdict with its single reason, and the score as a range."""
    evaluation, problem = evidence.evaluation, evidence.problem
    title, tone, shape = words.verdict_title(evaluation.verdict)
    measure = evaluation.metrics.get(problem.metric, Measure(None))
    base = evaluation.baseline.get(problem.metric, Measure(None))
    verdict, names = evaluation.verdict, {c.name for c in evidence.card.columns}
    others = [words.sentence(r, names) for r in verdict.reasons if r != verdict.why][:3] if verdict else []
    facts = [
        ("predicts", words.short(problem.target, 60)),
        ("learned from", words.plural(_learned(evidence), "row")),
        ("columns used", words.count(len(problem.features))),
        ("measured on", words.measured_on(evaluation)),
    ]
    return Hero(
        title,
        tone,
        shape,
        words.sentence(verdict.why, names) if verdict else "Nobody has judged this model yet.",
        others,
        words.metric(problem.metric).label,
        words.headline(measure),
        words.score_in_words(problem, problem.metric, measure),
        _ruler(problem.metric, measure, base),
        facts,
    )


def _ruler(name: str, m: Measure, base: Measure) -> Ruler | None:
    if m.value is None:
        return None
    best = words.metric(name).perfect
    ends = [v for v in (m.value, m.low, m.high, base.value) if v is not None]
    low, high = min(ends), max(ends)
    up = words.metric(name).higher_is_better
    left, right = (low, high if best is None else best) if up else (high, low if best is None else best)
    left -= 0.08 * (right - left)
    span = (right - left) or 1.0

    def at(value: float | None) -> float | None:
        return None if value is None else round(100 * min(max((value - left) / span, 0.0), 1.0), 1)

    first, last = (m.low, m.high) if up else (m.high, m.low)
    place = at(m.value)
    assert place is not None
    text = f"perfect {words.number(best)}" if best is not None else "better"
    return Ruler(place, at(first), at(last), at(base.value), f"no model {words.number(base.value)}" if base.value is not None else "", text)


def sections(evidence: Evidence) -> list[Section]:
    """The answers after the verdict, in their fixed order."""
    return [
        _frequencies(evidence),
        _sureness(evidence),
        _today(evidence),
        _repairs(evidence),
        _weaker(evidence),
        _drivers(evidence),
        _silence(evidence),
        _not_for(evidence),
        _next(evidence),
    ]


def part(evidence: Evidence, name: str) -> Mapping[str, Any]:
    """A section of the evaluation, empty when it was not made."""
    found = evidence.evaluation.sections.get(name)
    return found if isinstance(found, Mapping) else {}


def left_out(section: Mapping[str, Any]) -> list[Block]:
    return [Note(words.sentence(section["left_out"], ()), "quiet")] if section.get("left_out") else []


def _frequencies(evidence: Evidence) -> Section:
    problem, evaluation = evidence.problem, evidence.evaluation
    lead = words.natural_frequencies(problem, evaluation) or "There is not enough to count this out on 1,000 cases."
    title = "What it would do for 1,000 cases like these" if problem.task != "regression" else "How far off a prediction is"
    return Section("frequencies", title, lead, _frequency_blocks(evidence))


def _frequency_blocks(evidence: Evidence) -> list[Block]:
    problem, shown = evidence.problem, evidence.evaluation.plots
    if problem.task == "regression":
        return (
            [Figures([plots.predicted_vs_actual(shown["predicted_vs_actual"], problem)])]
            if shown.get("predicted_vs_actual", {}).get("points")
            else []
        )
    confusion, natural = shown.get("confusion"), part(evidence, "natural")
    if natural:
        right, flagged, missed = (round(natural[k]) for k in ("right", "flagged", "missed"))
        counts = [right, missed, max(flagged - right, 0)]
        counts.append(max(round(natural["of"]) - sum(counts), 0))
        group = words.short(natural.get("group") or f"are {natural['label']}", 40)
        said = (f"{group} and are found", f"{group} and are missed", "are flagged by mistake", "are rightly left alone")
        key = list(zip(("hit", "miss", "alarm", "rest"), counts, said, strict=True))
        return [People(icons(counts, words.natural_frequencies(problem, evidence.evaluation)), key)]
    if confusion and confusion.get("per_1000"):
        if len(confusion["labels"]) <= 8 or not shown.get("recall_by_class"):
            return [Heat([words.short(label, 24) for label in confusion["labels"]], confusion["per_1000"])]
        worst = recall_bars(shown["recall_by_class"][:6])
        return [Note("The classes it finds least:", "quiet"), worst]
    return []


def recall_bars(classes: Sequence[Mapping[str, Any]]) -> Bars:
    rows = [
        Bar(words.short(r["label"], 60), r["value"], words.percent(r["value"]), r["low"], r["high"], words.plural(r["n"], "row")) for r in classes
    ]
    return Bars(rows, "share of each class that is named correctly", most=50)


def _sureness(evidence: Evidence) -> Section:
    evaluation, name = evidence.evaluation, evidence.problem.metric
    m = evaluation.metrics.get(name, Measure(None))
    label = words.metric(name).label
    if m.low is None or m.high is None:
        lead = (
            f"{label}: {words.measure(m)}. No honest range can be given, so read the number as a rough guide."
            if m.value is not None
            else f"{label} could not be measured: {m.method}."
        )
    else:
        lead = f"{label} is {words.between(m.low, m.high)}: what was seen agrees with any value in that range (95 %), so do not bet on its middle."
    how = f"Measured on {words.measured_on(evaluation)}."
    if evaluation.openings:
        how += f" These rows have been opened {words.times(evaluation.openings)}." + (
            " Each further look makes the number a little too kind." if evaluation.openings > 1 else ""
        )
    lead = words.sentence(lead, ())
    blocks: list[Block] = [Note(how + (f" Method of the interval: {m.method}." if m.method and m.low is not None else ""), "quiet")]
    if part(evidence, "selection").get("sentence"):
        blocks.append(Note(part(evidence, "selection")["sentence"], "quiet"))
    if len(evidence.naive_score) > 1:
        pairs = ", ".join(f"{k} {words.number(v)}" for k, v in list(evidence.naive_score.items())[:4])
        if len({words.number(v) for v in evidence.naive_score.values()}) == 1:
            blocks.append(Note(f"How rows are parted makes no difference to a quick model here: {pairs}.", "quiet"))
        else:
            blocks.append(Note(f"The way rows are parted matters here: {pairs}. The honest number is the one above.", "care"))
    return Section("range", "How sure we are of that", lead, blocks)


def _today(evidence: Evidence) -> Section:
    problem, evaluation = evidence.problem, evidence.evaluation
    name, rows = problem.metric, []
    pair = (evaluation.metrics.get(name), evaluation.baseline.get(name))
    for label, m, tone in zip(("this model", "no model"), pair, ("s1", "rest"), strict=True):
        if m is not None and m.value is not None:
            rows.append(Bar(label, m.value, words.number(m.value), m.low, m.high, tone=tone))
    lead = words.against_baseline(problem, evaluation)
    better = "longer is better" if words.metric(name).higher_is_better else "shorter is better"
    blocks: list[Block] = [Bars(rows, f"{words.metric(name).label} of the model and of having no model")] if rows else []
    return Section(
        "today",
        "Compared with having no model",
        lead,
        [*blocks, Note(words.sentence(f"{words.metric(name).label}: {better}", ()) + " The thin line is the range.", "quiet")] if blocks else [],
    )


def _repairs(evidence: Evidence) -> Section:
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for repair in sorted(evidence.repairs, key=_least_change):
        change, word = words.repair_change(repair, evidence.problem.metric)
        alike.setdefault((repair.says or repair.code, change, word, repair.code), []).append(repair.column)
    items = [
        Item(words.repair_sentence(says, columns), change, badge=word, tone="go" if word == "better" else "none", code=code)
        for (says, change, word, code), columns in alike.items()
    ]
    if not items:
        items = [Item(f.message, f.fix, code=f.code) for f in evidence.findings if f.applied and f.fix]
    if not items:
        missed = [line for line in evidence.left_out if ": needs " not in line]
        unlooked = f" {words.plural(len(missed), 'check')} did not run, so this is no clean bill (see the details)." if missed else ""
        return Section("repairs", "What was repaired", f"Nothing: the table went in as it came.{unlooked}")
    measured = any(r.before is not None and r.after is not None for r in evidence.repairs)
    unsaid = "" if measured else " What each did to the score was not measured in this run."
    lead = f"{words.plural(len(items), 'repair')} made before learning; each can be undone.{unsaid}"
    return Section("repairs", "What was repaired, and what it did", lead, [Items(items, most=3 if measured else 5)])


def _least_change(repair: Repair) -> tuple[float, str]:
    """Sorts repairs with the largest change of the score first, unmeasured ones last."""
    known = repair.before is not None and repair.after is not None
    return (-abs((repair.after or 0.0) - (repair.before or 0.0)) if known else 1.0, repair.finding)


def _weaker(evidence: Evidence) -> Section:
    slices, fairness = part(evidence, "slices"), part(evidence, "fairness")
    title = "Who it works less well for"
    if not slices and not fairness:
        return Section("weaker", title, "Cannot tell: this run did not look for groups of cases that it serves worse.")
    confirmed = list(slices.get("confirmed", []))
    gaps = [gap for column in fairness.get("columns", []) for gap in column.get("gaps", [])]
    gaps.sort(key=lambda gap: SHOWN_FIRST.index(gap["verdict"]) if gap["verdict"] in SHOWN_FIRST else 0)
    items = [Item(words.slice_sentence(evidence.problem, s), badge="weaker", tone="care") for s in confirmed[:3]]
    items += [Item(words.sentence(gap["sentence"]), badge=gap["verdict"], tone=TONES.get(gap["verdict"], "none")) for gap in gaps[:MOST_GAPS]]
    said = (
        [f"{words.plural(len(confirmed), 'group')} of cases {'is' if len(confirmed) == 1 else 'are'} served worse than the rest."]
        if confirmed
        else []
    )
    said += [str(slices["sentence"])] if slices.get("sentence") and not confirmed else []
    if gaps:
        said.append(_tally([g["verdict"] for g in gaps]))
    elif fairness.get("sentence"):
        said.append(str(fairness["sentence"]))
    blocks: list[Block] = [Items(items)] if items else []
    if (fairness.get("limit") or {}).get("sentence"):
        blocks.insert(0, Note(str(fairness["limit"]["sentence"])))
    if len(gaps) > MOST_GAPS:
        blocks.append(Note(f"{words.plural(len(gaps) - MOST_GAPS, 'more comparison')} in the details.", "quiet"))
    if not fairness:
        blocks.append(Note("Fairness between groups of people was not examined: no column was named as sensitive (--sensitive COLUMN).", "quiet"))
    return Section("weaker", title, " ".join(said), [*blocks, *left_out(slices), *left_out(fairness)])


def _tally(verdicts: Sequence[str]) -> str:
    """`Of 5 comparisons between groups of people 4 show a gap and 1 shows none.`"""
    shown, none, open_ = (sum(v == word for v in verdicts) for word in TONES)
    parts = [f"{shown:,} show{'s' if shown == 1 else ''} a gap"] if shown else []
    parts += [f"{none:,} show{'s' if none == 1 else ''} none"] if none else []
    parts += [f"{open_:,} cannot be judged"] if open_ else []
    return f"Of {words.plural(len(verdicts), 'comparison')} between groups of people {words.listed(parts)}."


def _drivers(evidence: Evidence) -> Section:
    explanation = evidence.explanation
    if explanation is None or not explanation.drivers:
        return Section("drivers", "What drives the predictions", "Not worked out in this run.")
    top = sorted(explanation.drivers, key=lambda d: -d.importance)[:5]
    solid = [d for d in top if d.above_noise is not False]
    lead = (
        f"Above all {words.listed([f'“{words.short(d.column, 40)}”' for d in solid], 5)}."
        if solid
        else "No column stands out from noise in the rows this was tried on."
    )
    if explanation.left_out:
        lead += f" Not everything was looked at: {explanation.left_out}."
    bars = driver_bars(top, explanation.noise_line)
    after = f"Method: {explanation.method}. What moves a prediction is not thereby a cause of the outcome." + (
        f" {len(explanation.drivers) - 5:,} more in the details." if len(explanation.drivers) > 5 else ""
    )
    return Section("drivers", "What drives the predictions", lead, [bars, Note(after, "quiet")])


def driver_bars(drivers: Sequence[Driver], noise: float | None) -> Bars:
    texts = words.numbers([d.importance for d in drivers])
    rows = [
        Bar(words.short(d.column, 80), d.importance, text, d.low, d.high, words.driver_note(d), "rest" if d.above_noise is False else "s1")
        for d, text in zip(drivers, texts, strict=True)
    ]
    return Bars(
        rows, "columns by how much the model leans on them", mark=noise, mark_label="as much as a column of pure noise" if noise is not None else ""
    )


def _silence(evidence: Evidence) -> Section:
    found = [part(evidence, name) for name in ("abstention", "conformal", "multiplicity")]
    said = [s["sentence"] for s in found if s.get("sentence")]
    title = "When it should say “I don’t know”"
    if not said:
        return Section(
            "silence", title, "Not measured in this run: treat answers close to the threshold, and rows unlike the training table, as unknown."
        )
    chart: list[Block] = [Figures([plots.abstention(found[0], evidence.problem)])] if len(found[0].get("points") or []) > 1 else []
    rest: list[Block] = [Note(s) for s in said[1:]]
    return Section("silence", title, said[0], [*rest, *chart, *(b for s in found for b in left_out(s))])


def _not_for(evidence: Evidence) -> Section:
    problem, card = evidence.problem, evidence.card
    items = [Item("To claim that changing a column changes the outcome: the model knows what goes together, not what causes what.")]
    ranges = [c for c in card.columns if c.role == "feature" and c.kind == "number" and len(c.quantiles) == 7]
    coded = {c.name for c in ranges if c.low in c.parse.not_numbers or c.high in c.parse.not_numbers}  # a code for "no value" is no range
    ranges = [c for c in ranges if c.distinct > 2 and c.name not in coded]
    order = {d.column: i for i, d in enumerate(evidence.explanation.drivers)} if evidence.explanation else {}
    ranges.sort(key=lambda c: order.get(c.name, len(order)))
    if ranges:
        seen = words.listed([f"“{words.short(c.name, 30)}” {words.reach(c.quantiles[0], c.quantiles[-1])}" for c in ranges[:3]], 3)
        items.append(Item(f"For cases unlike the table it learned from (98 of 100 rows have {seen}{', and so on' if len(ranges) > 3 else ''})."))
    if problem.time:
        items.append(Item(f"For long after the last “{words.short(problem.time, 40)}” it has seen, without watching how it does."))
    elif problem.split.kind != "time":
        items.append(Item("As a forecast of a changed world: it was tested on rows of the same period as those it learned from."))
    unfair = [g for c in part(evidence, "fairness").get("columns", []) for g in c.get("gaps", []) if g["verdict"] != "no gap shown"]
    if unfair:
        items.append(Item("To decide about people alone, without a person looking: between groups a gap is shown, or cannot be ruled out."))
    elif not problem.sensitive:
        items.append(Item("To decide about people without first naming the sensitive columns and looking at the gaps between groups (--sensitive)."))
    failed = [f for f in evidence.evaluation.findings if f.severity == "fail"][:3]
    items += [Item(words.sentence(f.message), badge="failed test", tone="stop", code=f.code) for f in failed]
    return Section("not-for", "What it must not be used for", "", [Items(items)])


def _next(evidence: Evidence) -> Section:
    curve, noise = part(evidence, "learning_curve"), part(evidence, "label_noise")
    items = [Item(s["sentence"]) for s in (curve, noise) if s.get("sentence")]
    for gap in (g for c in part(evidence, "fairness").get("columns", []) for g in c.get("gaps", [])):
        if gap["verdict"] == "cannot tell" and len(items) < 4:
            items.append(Item(f"More rows for the groups that cannot be judged: {gap['sentence']}"))
    items += [
        Item(f"Of the groups served worse, above all: {s['rule']} ({words.plural(s['n'], 'row')} now).")
        for s in list(part(evidence, "slices").get("confirmed", []))[:1]
    ]
    holes = [c for c in evidence.card.columns if c.role == "feature" and c.rows and c.missing / c.rows >= 0.2]
    holes.sort(key=lambda c: -c.missing / c.rows)
    if holes:
        named = words.listed([f"“{words.short(c.name, 40)}” ({words.percent(c.missing / c.rows)} empty)" for c in holes], 3)
        items.append(Item(f"The cells that are empty today: {named}."))
    if evidence.questions:
        items.append(Item(f"Answers to {words.plural(len(evidence.questions), 'open question')} (in the details): only a person can give them."))
    if not items:
        return Section(
            "next",
            "What to collect next",
            "Nothing stands out: labels of the cases that the model will decide on are always the most useful thing to keep.",
        )
    chart: list[Block] = [Figures([plots.learning_curve(curve, evidence.problem)])] if len(curve.get("points") or []) > 1 else []
    return Section("next", "What to collect next", "", [Items(items), *chart])
