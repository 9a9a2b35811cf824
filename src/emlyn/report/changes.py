"""What changed between two versions of a model, and for whom, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emlyn.records.evaluation import Measure
from emlyn.records.run import Evidence
from emlyn.report import words
from emlyn.report.html import templates
from emlyn.report.markdown import plain

NOTHING = "Nothing that a reader would care about."


def diff(old: Evidence, new: Evidence) -> tuple[str, ...]:
    """Sentences, most important first; empty when nothing a reader cares about has changed."""
    return tuple(line for _, lines in grouped(old, new) for line in lines)


def grouped(old: Evidence, new: Evidence) -> list[tuple[str, list[str]]]:
    """(heading, sentences) of everything that changed, most important first."""
    found = [(title, [line for changed in parts for line in changed(old, new)]) for title, parts in PARTS]
    return [(title, lines) for title, lines in found if lines]


def page(old: Evidence, new: Evidence, format: str) -> str:
    """What changed as an HTML page or as Markdown, under its headings."""
    groups, title = grouped(old, new), f"What changed from {name(old)} to {name(new)}"
    if format == "html":
        return templates().get_template("changes.html").render(title=title, name=name(new), groups=groups, nothing=NOTHING, evidence=new)
    parts = [f"## {heading}\n\n" + "\n".join(f"- {plain(line)}" for line in lines) for heading, lines in groups]
    return "\n\n".join([f"# {plain(title)}", *(parts or [NOTHING])]) + "\n"


def name(evidence: Evidence) -> str:
    return evidence.model or words.short(evidence.lineage.data.rsplit("/", 1)[-1], 60)


def _verdict(old: Evidence, new: Evidence) -> Iterable[str]:
    a, b = old.evaluation.verdict, new.evaluation.verdict
    if a != b:
        yield f"The verdict was “{words.verdict_title(a)[0].lower()}” and is now “{words.verdict_title(b)[0].lower()}”" + (
            f": {words.sentence(b.why)}" if b else "."
        )


def _question(old: Evidence, new: Evidence) -> Iterable[str]:
    for name, read in QUESTION.items():
        a, b = read(old), read(new)
        if a != b:
            yield f"The {name} was “{words.short(a)}” and is now “{words.short(b)}”: scores of the two versions do not answer the same question."


QUESTION: dict[str, Callable[[Evidence], str]] = {
    "target": lambda e: e.problem.target,
    "task": lambda e: e.problem.task,
    "metric": lambda e: e.problem.metric,
    "positive class": lambda e: e.problem.positive or "none",
    "way rows are parted": lambda e: e.problem.split.kind + (f" by {e.problem.split.by}" if e.problem.split.by else ""),
}


def _scores(old: Evidence, new: Evidence) -> Iterable[str]:
    before, after = old.evaluation, new.evaluation
    same = not list(_question(old, new))
    names = dict.fromkeys([new.problem.metric, *words.METRICS, *sorted(after.metrics)])
    for name in names:
        a, b = before.metrics.get(name), after.metrics.get(name)
        if a is not None and b is not None and (a.value, a.low, a.high) != (b.value, b.low, b.high):
            spoken = words.metric(name)
            yield words.sentence(f"{spoken.label} was {_said(a)} and is now {_said(b)}{_apart(a, b, spoken.higher_is_better) if same else ''}", ())
    if (before.rows, before.method) != (after.rows, after.method):
        yield f"It was measured on {words.measured_on(before)}, now on {words.measured_on(after)}."


def _said(m: Measure) -> str:
    return words.measure(m) if m.value is not None else "not measurable"


def _apart(a: Measure, b: Measure, higher_is_better: bool) -> str:
    """Only ranges that do not meet are called a change; a paired comparison on the same rows is `retrain`'s to make."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return ""
    if b.low > a.high or b.high < a.low:
        return ": better" if (b.low > a.high) == higher_is_better else ": worse"
    return "; the ranges overlap, so this alone shows no change"


def _gaps(evidence: Evidence) -> dict[tuple[str, str], str]:
    fairness = evidence.evaluation.sections.get("fairness")
    columns = fairness.get("columns", []) if isinstance(fairness, Mapping) else []
    return {(str(c["column"]), str(g["metric"])): str(g["verdict"]) for c in columns for g in c.get("gaps", [])}


def _people(old: Evidence, new: Evidence) -> Iterable[str]:
    before, after = _gaps(old), _gaps(new)
    for column, metric in sorted(before.keys() | after.keys()):
        a, b = before.get((column, metric), "not examined"), after.get((column, metric), "not examined")
        if a != b:
            yield f"Between the groups of “{words.short(column)}” ({words.metric(metric).label}): was “{a}”, is now “{b}”."


def _data(old: Evidence, new: Evidence) -> Iterable[str]:
    if old.card.digest != new.card.digest or old.card.rows != new.card.rows:
        yield f"It learned from other data: {words.plural(old.card.rows, 'row')} before, {words.plural(new.card.rows, 'row')} now."
    kinds = {c.name: c.kind for c in old.card.columns}
    for c in new.card.columns[:1000]:
        if c.name in kinds and kinds[c.name] != c.kind:
            yield f"“{words.short(c.name)}” was read as {kinds[c.name]} and is now read as {c.kind}."


def _columns(old: Evidence, new: Evidence) -> Iterable[str]:
    yield from _set("columns", old.problem.features, new.problem.features)
    yield from _set("excluded columns", old.problem.excluded, new.problem.excluded)


def _set(what: str, old: Iterable[str], new: Iterable[str]) -> Iterable[str]:
    a, b = dict.fromkeys(old), dict.fromkeys(new)
    for word, names in (("New", [n for n in b if n not in a]), ("Gone", [n for n in a if n not in b])):
        if names:
            yield f"{word} {what}: {words.listed([f'“{words.short(n)}”' for n in names], 8)}."


def _findings(old: Evidence, new: Evidence) -> Iterable[str]:
    a = {f.id: f for f in (*old.findings, *old.evaluation.findings)}
    b = {f.id: f for f in (*new.findings, *new.evaluation.findings)}
    for word, mine, other in (("New finding", b, a), ("No longer found", a, b)):
        named = [f.message for key, f in mine.items() if key not in other and f.severity != "info"]
        for message in named[:10]:
            yield f"{word}: {words.sentence(message)}"
        if len(named) > 10:
            yield f"{word}: {len(named) - 10:,} more."


def _decision(old: Evidence, new: Evidence) -> Iterable[str]:
    a, b = old.evaluation.threshold, new.evaluation.threshold
    if a != b:
        yield f"The decision threshold was {words.number(a)} and is now {words.number(b)}."


def _drivers(old: Evidence, new: Evidence) -> Iterable[str]:
    def top(e: Evidence) -> list[str]:
        ranked = sorted(e.explanation.drivers, key=lambda d: -d.importance) if e.explanation else []
        return [d.column for d in ranked[:3]]

    if top(old) != top(new) and top(new):
        yield f"It leaned most on {_quoted(top(old)) or 'nothing known'}; now on {_quoted(top(new))}."


def _quoted(names: Iterable[Any]) -> str:
    return words.listed([f"“{words.short(n)}”" for n in names])


def _recipe(old: Evidence, new: Evidence) -> Iterable[str]:
    def members(e: Evidence) -> list[str]:
        return sorted({t.recipe.learner for t in e.trials if t.weight > 0})

    before, after = (words.listed(members(e)) or "nothing recorded" for e in (old, new))
    if before != after:
        yield f"It was made of {before}, and is now made of {after}."


def _origin(old: Evidence, new: Evidence) -> Iterable[str]:
    a, b = old.lineage, new.lineage
    if a.code_version != b.code_version:
        yield f"Made by emlyn {b.code_version}, before by {a.code_version}."
    moved = [
        f"{k} {a.packages.get(k, '(absent)')} → {b.packages.get(k, '(absent)')}"
        for k in sorted(a.packages.keys() | b.packages.keys())
        if a.packages.get(k) != b.packages.get(k)
    ]
    if moved:
        yield f"Other packages: {words.listed(moved, 8)}."
    if a.seed != b.seed:
        yield f"The seed was {a.seed} and is now {b.seed}."


Part = Callable[[Evidence, Evidence], Iterable[str]]
PARTS: tuple[tuple[str, tuple[Part, ...]], ...] = (
    ("The verdict and the question", (_verdict, _question)),
    ("How well it does", (_scores,)),
    ("For whom", (_people,)),
    ("What it learned from", (_data, _columns, _findings)),
    ("How it decides", (_decision, _drivers)),
    ("How it was made", (_recipe, _origin)),
)
