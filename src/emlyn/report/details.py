"""What a reader finds by click: everything behind the one page, each part with its count so that nobody opens an empty drawer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from emlyn.records.data_card import ColumnCard
from emlyn.records.evaluation import Measure
from emlyn.records.run import Evidence
from emlyn.report import plots, words
from emlyn.report.blocks import Bar, Bars, Block, Facts, Figures, Heading, Heat, Item, Items, Note, Section, Table
from emlyn.report.charts import box
from emlyn.report.noticed import findings_section
from emlyn.report.page import TONES, driver_bars, left_out, part, recall_bars

DOMAINS = {
    "discrimination": "Telling cases apart",
    "calibration": "Meaning what it says",
    "overall": "Both at once",
    "threshold": "At the chosen threshold",
    "utility": "Worth acting on",
    "error": "Size of the errors",
    "intervals": "Its own ranges",
}


def sections(evidence: Evidence) -> list[Section]:
    """Every part that has something in it, in the order of the page."""
    made = (part_of(evidence) for part_of in PARTS)
    return [s for s in made if s is not None and s.blocks]


def _excluded(evidence: Evidence) -> Section | None:
    excluded, scores = evidence.problem.excluded, evidence.audit_scores
    items = []
    for name, why in ((k, v) for k, v in excluded.items() if k != evidence.problem.target):
        pair = [(word, scores[f"{word} {name}"]) for word in ("with", "without") if f"{word} {name}" in scores]
        both = ", ".join(f"{word} it {words.number(v)}" for word, v in pair)
        items.append(Item(words.short(name, 120), words.sentence(why) + (f" {words.metric(evidence.problem.metric).label} {both}." if both else "")))
    blocks: list[Block] = [Items(items)] if items else []
    return Section("excluded", "Columns that were left out, and why", blocks=blocks, count=words.plural(len(items), "column"))


def _questions(evidence: Evidence) -> Section | None:
    items = []
    for q in evidence.questions:
        label = words.metric(evidence.problem.metric).label
        scores = ", ".join(f"{words.number(v)} if {k}" for k, v in q.scores.items())
        items.append(Item(q.text, f"Safe answer taken: {q.taken}." + (f" {label} {scores}." if scores else ""), code=q.flag))
    blocks: list[Block] = (
        [Note("Nothing waited for an answer: the safe one was taken. The flag gives the other.", "quiet"), Items(items)] if items else []
    )
    return Section("questions", "Open questions", blocks=blocks, count=words.plural(len(items), "question"))


def _leaderboard(evidence: Evidence) -> Section | None:
    name, up = evidence.problem.metric, words.metric(evidence.problem.metric).higher_is_better
    best: dict[str, Any] = {}
    for trial in (t for t in evidence.trials if t.status == "done" and t.score is not None):
        known = best.get(trial.recipe.name)
        if known is None or len(trial.folds) >= len(known.folds):
            best[trial.recipe.name] = trial
    ranked = sorted(best.values(), key=lambda t: (-len(t.folds), -t.score if up else t.score))
    rows = []
    for t, text in zip(ranked, words.numbers([t.score for t in ranked]), strict=True):
        low, high = (t.score - t.spread, t.score + t.spread) if t.spread is not None else (None, None)
        note = f"{t.recipe.learner}; learned in {words.seconds(t.fit_s)}" + (f"; {words.percent(t.weight)} of the final model" if t.weight else "")
        rows.append(Bar(words.short(t.recipe.name, 60), t.score, text, low, high, note, tone="s1" if t.weight else "rest"))
    blocks: list[Block] = []
    if rows:
        said = (
            f"{words.metric(name).label} on rows each recipe had not learned from; the line is one standard error. Filled: part of the final model."
        )
        blocks = [Note(words.sentence(said, ()), "quiet")]
        blocks.append(Bars(rows, "recipes by their score", dots=True, origin=None, most=30))
    return Section("leaderboard", "What was tried, best first", blocks=blocks, count=words.plural(len(rows), "recipe"))


def _metrics(evidence: Evidence) -> Section | None:
    evaluation, domains = evidence.evaluation, part(evidence, "domains")
    groups = {title: [n for n in domains.get(key, []) if n in evaluation.metrics] for key, title in DOMAINS.items()}
    grouped = {n for names in groups.values() for n in names}
    first = [evidence.problem.metric, *words.METRICS]
    rest = sorted(evaluation.metrics.keys() - grouped, key=lambda n: (first.index(n) if n in first else len(first), n))
    rows: list[tuple[str, ...]] = []
    for title, names in {**groups, "Other" if grouped else "": rest}.items():
        rows += ([(title,)] if title and names else []) + [_metric_row(n, evaluation.metrics[n], evaluation.baseline.get(n)) for n in names]
    table: list[Block] = [Table(("metric", "value", "range", "no model", "what it measures", "how"), rows, (1, 2, 3))] if rows else []
    return Section("metrics", "Every metric, with its range", blocks=table, count=words.plural(len(evaluation.metrics), "metric"))


def _metric_row(name: str, m: Measure, base: Measure | None) -> tuple[str, ...]:
    span = words.span(m.low, m.high) or "–"
    return (
        words.metric(name).label,
        words.number(m.value),
        span,
        words.number(base.value if base else None),
        words.metric(name).means,
        f"{m.method}{f', n = {m.n:,}' if m.n else ''}",
    )


def _plots(evidence: Evidence) -> Section | None:
    shown, problem = evidence.evaluation.plots, evidence.problem
    drawn = plots.figures(evidence.evaluation, problem)
    blocks: list[Block] = [Figures(drawn)] if drawn else []
    confusion = shown.get("confusion")
    if confusion and confusion.get("counts"):
        blocks += [Heading("Decided and true (rows counted)"), Heat([words.short(label, 24) for label in confusion["labels"]], confusion["counts"])]
    if shown.get("recall_by_class"):
        blocks += [Heading("Found, class by class (worst first)"), recall_bars(shown["recall_by_class"])]
    return Section("plots", "Pictures of how it does", blocks=blocks, count=words.plural(len(drawn), "chart"))


def _reasons(evidence: Evidence) -> Section | None:
    explanation = evidence.explanation
    if explanation is None or not explanation.drivers:
        return None
    ranked = sorted(explanation.drivers, key=lambda d: -d.importance)
    looked = words.plural(explanation.rows, "row")
    said = f"Method: {explanation.method}" + (f", on {looked}" if explanation.rows and looked not in explanation.method else "")
    said += f". Compared with: {explanation.reference}." if explanation.reference else "."
    blocks: list[Block] = [Note(said, "quiet"), driver_bars(ranked, explanation.noise_line)]
    curves = [f for f in map(plots.curve, ranked[:12]) if f is not None]
    if curves:
        blocks += [Heading("How each moves the prediction"), Figures(curves)]
    for d in ranked[:12]:
        if d.curve and plots.curve(d) is None:
            texts = words.numbers([float(y) for _, y in d.curve])
            rows = [Bar(words.short(x, 60), float(y), text, tone="s1" if y >= 0 else "s2") for (x, y), text in zip(d.curve, texts, strict=True)]
            blocks += [Heading(words.short(d.column, 60)), Bars(rows, "effect of each value on the prediction", most=15)]
    return Section("reasons", "What drives it, column by column", blocks=blocks, count=words.plural(len(ranked), "column"))


def _decision(evidence: Evidence) -> Section | None:
    made = part(evidence, "decision")
    if not made:
        return None
    said, why = made.get("sentence", ""), made.get("why", "")
    blocks: list[Block] = [Note(words.sentence(t, ())) for t in (said, "" if why in said else why) if t]
    rows = [
        (
            p["name"],
            *(words.number(p.get(k)) for k in ("threshold", "flagged", "sensitivity", "specificity", "precision", "net_benefit")),
            p.get("why", ""),
        )
        for p in made.get("points", [])
    ]
    if rows:
        head = ("operating point", "threshold", "flagged", "sensitivity", "specificity", "precision", "net benefit", "why")
        blocks.append(Table(head, rows, (1, 2, 3, 4, 5, 6)))
    shift = part(evidence, "prior_shift")
    if shift.get("points"):
        shifted = [tuple(words.number(p.get(k)) for k in ("prior", "precision", "npv", "threshold")) for p in shift["points"]]
        blocks += [
            Heading("If the share of positives is another where it is used"),
            Table(("share of positives", "precision", "NPV", "threshold"), shifted, (0, 1, 2, 3)),
        ]
    return Section("decision", "From a probability to a decision", blocks=[*blocks, *left_out(made)])


RATES = {
    "tpr": "Share found among the positives, by group",
    "fpr": "Share falsely flagged among the negatives, by group",
    "selection": "Share flagged, by group",
    "precision": "Share right among the flagged, by group",
    "error": "Error, by group",
    "bias": "Bias, by group",
}


def _fairness(evidence: Evidence) -> Section | None:
    made = part(evidence, "fairness")
    blocks: list[Block] = [Note(words.sentence(_spoken(made[k]), ())) for k in ("sentence", "chosen") if isinstance(made.get(k), str)]
    for column in made.get("columns", []):
        blocks.append(Heading(words.short(column["column"], 80)))
        gaps = [Item(g["sentence"], badge=g["verdict"], tone=TONES.get(g["verdict"], "none")) for g in column.get("gaps", [])]
        blocks += [Items(gaps)] if gaps else []
        for key, title in RATES.items():
            rows = [_group_bar(g, g[key]) for g in column["groups"] if isinstance(g.get(key), Mapping)]
            blocks += [Note(title, "quiet"), Bars(rows, title, dots=True, most=20)] if rows else []
    limit = made.get("limit") or {}
    if limit.get("sentence"):
        blocks += [Heading("The limit that was set"), Note(limit["sentence"])]
        told = [Item(f"“{words.short(c['column'], 60)}”: gap {_cell(c['difference'])}.", badge=c["verdict"]) for c in limit.get("columns", [])]
        blocks += [Items(told)] if told else []
        blocks += [Figures([plots.fair_limit(limit, evidence.problem)])] if limit.get("ways") else []
    if (made.get("pareto") or {}).get("points"):
        blocks.append(Figures([plots.pareto(made["pareto"], evidence.problem)]))
    blocks += left_out(made)
    return Section("fairness", "Between groups of people", blocks=blocks, count=words.plural(len(made.get("columns", [])), "column"))


def _spoken(text: str) -> str:
    """Text with the short names of rates written out."""
    return re.sub(r"\b(tpr|fpr)\b", lambda found: words.metric(found[0]).label, text)


def _group_bar(group: Mapping[str, Any], m: Mapping[str, Any]) -> Bar:
    text = words.number(m["value"]) if m["value"] is not None else m.get("method") or "cannot tell"
    return Bar(
        words.short(group["group"], 60),
        m["value"],
        text,
        m["low"],
        m["high"],
        f"{group['n']:,} rows" + ("" if m["low"] is not None else "; no honest range"),
    )


DEEPER: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "slices": (
        "Groups of rows it does worse on",
        "confirmed",
        (("rule", "group"), ("n", "rows"), ("loss", "loss there"), ("rest", "elsewhere"), ("difference", "difference"), ("p", "p")),
    ),
    "conformal": ("Ranges and sets that keep their promise", "levels", (("level", "promised"), ("coverage", "held"), ("size", "mean size"))),
    "robustness": (
        "Rough handling",
        "tests",
        (("test", "test"), ("column", "column"), ("value", "score"), ("change", "change"), ("flips", "decisions flipped")),
    ),
}
"""Section -> title, its list, and (key, heading) of the columns shown."""
SAID = {
    "multiplicity": "Equally good models",
    "label_noise": "Wrong labels",
    "membership": "Does it remember single people?",
    "selection": "Choosing among many",
    "glass_box": "The price of a model that can be read as a whole",
    "folds": "From part to part of the rows",
    "learning_curve": "More rows",
}


def _deeper(evidence: Evidence) -> Section | None:
    blocks: list[Block] = []
    for name, (title, key, columns) in DEEPER.items():
        made = part(evidence, name)
        rows = [tuple(_cell(row.get(k)) for k, _ in columns) for row in made.get(key, [])]
        said: list[Block] = [Note(made["sentence"])] if made.get("sentence") else []
        table: list[Block] = (
            [Table([h for _, h in columns], rows, tuple(i for i, (k, _) in enumerate(columns) if k not in ("rule", "test", "column")))]
            if rows
            else []
        )
        table += [_slice_bars(made[key])] if name == "slices" and rows else []
        blocks += [Heading(title), *said, *table, *left_out(made)] if said or table or left_out(made) else []
    for name, title in SAID.items():
        made = part(evidence, name)
        if made.get("sentence"):
            blocks += [Heading(title), Note(made["sentence"]), *left_out(made)]
    return Section("deeper", "Put to the test", blocks=blocks)


def _slice_bars(slices: Sequence[Mapping[str, Any]]) -> Bars:
    """How much worse each weak group is served, with its range; zero is no worse than the rest."""
    rows = [
        Bar(
            words.short(s["rule"], 80),
            s["difference"]["value"],
            words.number(s["difference"]["value"]),
            s["difference"]["low"],
            s["difference"]["high"],
            words.plural(s["n"], "row"),
        )
        for s in slices
    ]
    return Bars(rows, "how much larger the loss is in each group than elsewhere; zero is no larger", dots=True, mark=0.0, mark_label="like the rest")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        span = words.span(value.get("low"), value.get("high"))
        return words.number(value.get("value")) + (f" ({span})" if span else "")
    if isinstance(value, int) and not isinstance(value, bool):
        return words.count(value)
    if isinstance(value, float):
        return words.number(value)
    return "–" if value in (None, "") else words.short(value, 120)


def _card(evidence: Evidence) -> Section | None:
    card = evidence.card
    order = {"target": 0, "time": 1, "group": 1, "id": 1, "weight": 1, "feature": 2, "excluded": 3}
    columns = sorted(card.columns, key=lambda c: order[c.role])
    rows = [
        (words.short(c.name, 80), c.role, c.kind, words.percent(c.missing / c.rows) if c.rows else "–", words.count(c.distinct), _spread(c), c.why)
        for c in columns[:150]
    ]
    facts = [
        ("source", words.short(card.source, 200)),
        ("rows", words.count(card.rows)),
        ("columns", words.count(len(card.columns))),
        ("digest", card.digest),
    ]
    facts += [(k, v) for k, v in card.dialect.items()]
    if card.sampled:
        facts.append(("looked at", words.plural(card.sampled, "row")))
    blocks: list[Block] = [Facts([f for f in facts if f[1]]), *(Note(n, "quiet") for n in card.notes[:20])]
    blocks.append(Table(("column", "role", "kind", "empty", "distinct", "what it holds", "why read so"), rows, (3, 4), most=150))
    if len(columns) > 150:
        blocks.append(Note(f"and {len(columns) - 150:,} more columns", "quiet"))
    return Section("card", "The table it learned from", blocks=blocks, count=words.plural(len(card.columns), "column"))


def _spread(column: ColumnCard) -> str | Markup:
    if column.kind in ("number", "date") and len(column.quantiles) == 7 and column.low is not None and column.high is not None:
        ends = "" if column.kind == "date" else f"{words.number(column.low)} to {words.number(column.high)}"
        return Markup("{} <span class='quiet'>{}</span>").format(box(column.quantiles, column.low, column.high), ends)
    if column.levels and column.kind != "text":
        total = column.rows - column.missing or 1
        shown = [f"{words.short(level, 24)} {words.percent(n / total)}" for level, n in column.levels[: 4 if column.distinct > 5 else 5]]
        return words.listed(shown) + (f" and {column.distinct - len(shown):,} more" if column.distinct > len(shown) else "")
    return ""


def _journal(evidence: Evidence) -> Section | None:
    rows: list[Sequence[str]] = [
        (
            e.kind,
            e.hypothesis,
            e.change,
            _evidence(e.evidence),
            e.verdict,
            words.seconds(e.cost_s),
        )
        for e in evidence.journal
    ]
    if rows:
        table = Table(("step", "hypothesis", "change", "evidence", "verdict", "took"), rows, (5,), most=150, what="entries")
    else:
        rows = [
            (
                t.recipe.name,
                t.recipe.why,
                words.number(t.score),
                words.number(t.spread),
                words.listed([str(f) for f in t.folds], 8),
                t.status,
                t.note,
                words.seconds(t.fit_s),
            )
            for t in evidence.trials
        ]
        table = Table(
            ("recipe", "why it was tried", "score", "standard error", "folds", "status", "note", "took"), rows, (2, 3, 7), most=150, what="trials"
        )
    return Section(
        "journal", "The journal: every trial and its verdict", blocks=[table] if rows else [], count=words.plural(len(rows), "entry", "entries")
    )


def _evidence(found: Mapping[str, Any]) -> str:
    return words.short(", ".join(f"{k} {_cell(v)}" for k, v in found.items()), 160) if found else ""


def _lineage(evidence: Evidence) -> Section | None:
    made, problem = evidence.lineage, evidence.problem
    facts = [
        ("model", evidence.model),
        ("data", words.short(made.data, 200)),
        ("data digest", made.data_digest),
        ("code version", made.code_version),
        ("Python", made.python),
        ("machine", made.machine),
        ("seed", str(made.seed)),
        ("budget", words.seconds(made.budget_s) if made.budget_s else ""),
        ("started", made.started),
        ("by", made.by),
        ("continues", made.parent),
        ("packages", ", ".join(f"{k} {v}" for k, v in sorted(made.packages.items()))),
    ]
    why = [Item(f"{k}: {v}") for k, v in problem.why.items()]
    split = Item(f"rows parted: {problem.split.kind}" + (f" by “{words.short(problem.split.by, 60)}”" if problem.split.by else ""), problem.split.why)
    return Section("lineage", "How it was decided, and how to make it again", blocks=[Items([*why, split]), Facts([f for f in facts if f[1]])])


PARTS: tuple[Callable[[Evidence], Section | None], ...] = (
    _excluded,
    _questions,
    findings_section,
    _leaderboard,
    _metrics,
    _plots,
    _reasons,
    _decision,
    _fairness,
    _deeper,
    _card,
    _journal,
    _lineage,
)
