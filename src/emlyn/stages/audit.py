"""The audit: one dispatcher runs every check whose needs are met, applies what may be applied, and shows what each change did to the score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from emlyn.context import Context
from emlyn.core.auditing.inspection import inspect, material, view
from emlyn.core.auditing.probe import Probe
from emlyn.core.auditing.structure import typed, with_answer_kind
from emlyn.core.check import Check
from emlyn.core.table import Table
from emlyn.records.audit import Audit
from emlyn.records.data_card import ColumnCard, DataCard, Parse
from emlyn.records.finding import Finding, Question
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem, SplitRule
from emlyn.records.repair import Repair

MOST_S = 20.0
"""Seconds the audit takes at most, however long the budget."""
LEAST_SHARE = 0.12
"""Share of the time left that the audit gets even where a slow start or a large file used up its share: a model on unaudited data is worth little."""
MOST_QUESTIONS = 5
ORDER = {"fail": 0, "warn": 1, "info": 2}
GROUPS = ("leakage", "target", "structure", "privacy", "fairness", "missing", "form", "enough")
"""The order in which findings of one severity are told: what would make the score a lie first, then what concerns people."""


def audit(raw: Table, card: DataCard, problem: Problem, options: TrainOptions, context: Context) -> Audit:
    """Findings, repairs and quarantine over the working rows. `raw` holds only rows with an answer (all rows when there is no target).

    Checks look at a sample of 20,000 rows where not every row is needed, and stop when the audit's share of the budget is spent; what was
    left out is listed. A check that fails is listed too and ends nothing.
    """
    bench = Bench(raw, card, problem, options, context)
    bench.keep(bench.first_look())
    return bench.second_look(bench.time_left())


def compare(raw: Table, other: Table, card: DataCard, problem: Problem, context: Context) -> tuple[Finding, ...]:
    """What is different in another table of the same kind (`--against`): drift per column, columns that came or went."""
    shared = [c.name for c in card.columns if c.name in raw and c.name in other]
    seen = view(raw, card, problem, context.seed, context.threads)
    part = view(other, card, replace(problem, features=tuple(n for n in problem.features if n in other)), context.seed)
    found = material(raw, card, problem, seen)
    absent = [c.name for c in card.columns if c.name not in other]
    there = typed(other.take(part.positions).select(shared), card, shared)
    deadline = context.budget.spent + MOST_S
    said = inspect(replace(found, reference=there), seen.positions, lambda: deadline - context.budget.spent, lambda check: "reference" in check.needs)
    names = {"gone": absent, "new": [n for n in other if n not in raw]}
    return (*said.findings.values(), *_other_columns(names, raw.rows))


def _other_columns(names: dict[str, list[str]], rows: int) -> list[Finding]:
    says = {"gone": "Only this table has", "new": "Only the other table has"}
    return [
        Finding(
            f"structure.columns:{kind}",
            "structure.columns",
            "warn",
            f"{says[kind]} {', '.join(found[:5])}{' and others' if len(found) > 5 else ''}.",
            columns=tuple(found),
            n=rows,
        )
        for kind, found in names.items()
        if found
    ]


@dataclass(eq=False)
class Bench:
    """The table on the bench: what was found so far, and the card and problem as they stand.

    It is looked at twice. Before a model learns: all that a repair could follow from. When it has learned: what a quick model says, which changes
    nothing any more; its library takes longer to load than the first models of a small table, and by then it is there.
    """

    raw: Table
    card: DataCard
    problem: Problem
    options: TrainOptions
    context: Context
    findings: dict[str, Finding] = field(default_factory=dict)
    applied: list[Repair] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    canary: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.problem.target:
            self.card = with_answer_kind(self.card, self.problem.target, self.problem.task)
        budget = self.context.budget
        self.deadline = budget.spent + min(MOST_S, max(budget.until("audit"), LEAST_SHARE * budget.left))
        self.view = view(self.raw, self.card, self.problem, self.context.seed, self.context.threads)
        self.material = material(self.raw, self.card, self.problem, self.view)
        self.left_out += self.view.limits

    def time_left(self) -> float:
        return self.deadline - self.context.budget.spent

    def first_look(self) -> Audit:
        """The checks that ask no quick model, and the repairs that the options allow."""
        for one in self._look(lambda check: "probe" not in check.needs):
            if self._allowed(one):
                self._apply(one)
        return self._result()

    def keep(self, first: Audit) -> None:
        """Stand where the first look ended, in this run or in the one that it goes on from; of the rows, only the sample is kept."""
        self.raw = self.material.raw
        self.card, self.problem = first.card, first.problem
        self.findings = {one.id: one for one in first.findings}
        self.applied, self.questions, self.left_out = list(first.repairs), list(first.questions), list(first.left_out)
        self.material = replace(self.material, whole=self.raw)

    def second_look(self, seconds: float) -> Audit:
        """The checks that ask the quick model, the scores with and without what was repaired or put in question, and at most five questions."""
        self.deadline = self.context.budget.spent + min(MOST_S, seconds)
        self._look(lambda check: "probe" in check.needs)
        self._score()
        self.applied = [r if r.measured else replace(r, measured="not measured: there is no score, see what was left out") for r in self.applied]
        return replace(self._result(), questions=tuple(self._asked()), left_out=tuple(self.left_out))

    def _look(self, only: Callable[[Check], bool]) -> tuple[Repair, ...]:
        """Run these checks; what they propose."""
        seen = inspect(self.material, self.view.positions, self.time_left, only)
        self.findings |= seen.findings
        self.questions += seen.questions
        self.left_out += seen.left_out
        return seen.repairs

    # repairing -------------------------------------------------------------------------------------------------------------------------

    def _allowed(self, one: Repair) -> bool:
        if self.options.repairs == "none" or (self.options.repairs == "safe" and not one.safe):
            return False
        if {one.code, one.finding, one.code.split(".")[0]} & set(self.options.without):
            return False
        if one.role is not None and (one.column in self.options.include or not self._left((one.column,))):
            return False
        return one.column != self.problem.target

    def _left(self, gone: Iterable[str]) -> bool:
        """Would any feature be left?"""
        return bool(set(self.problem.features) - set(gone))

    def _apply(self, one: Repair) -> None:
        """Parse rules and kinds on the card, columns out of the features."""
        self.applied.append(one)
        said = self.findings[one.finding]
        if one.role is not None and one.column in self.problem.features:
            self._exclude(one.column, said.message)
        if one.kind is not None or one.parse is not None or one.role is not None:
            self.card = _changed(self.card, one)

    def _exclude(self, name: str, reason: str) -> None:
        if name in self.problem.features:
            self.problem = replace(
                self.problem,
                features=tuple(f for f in self.problem.features if f != name),
                excluded={**self.problem.excluded, name: reason},
            )

    # scoring ---------------------------------------------------------------------------------------------------------------------------

    def _score(self) -> None:
        """The receipt: honest and naive score, each quarantined column in and out, each repair before and after, the shuffled canary."""
        if self.material.probe is None:
            return
        if self.time_left() <= self.material.probe.start_s:
            self.left_out.append("scores: no time left for the quick model that gives them")
            return
        if not any(c.kind != "text" for n, c in self.material.table.items() if n in self.problem.features):  # type: ignore[union-attr]
            self.left_out.append("scores: the probe cannot read free text")
            return
        original = self.material.probe
        after: Probe = material(self.raw, self.card, self.problem, replace(self.view, positions=np.arange(self.raw.rows))).probe
        honest = after.score()
        self.scores["honest"] = honest
        if self.problem.split.kind in ("group", "time") and self.time_left() > 0:
            self.scores["naive split"] = after.score(rule=SplitRule("stratified" if self.problem.classes else "random"))
        self._score_quarantined(after, honest)
        self._score_repairs(original)
        self._score_kept(after)
        if self.time_left() > 0:
            self.canary["shuffled target"] = after.shuffled()

    def _score_quarantined(self, after: Probe, honest: float) -> None:
        """The score with each group of quarantined columns put back, and without."""
        for columns in self._quarantined():
            if self.time_left() <= 0:
                self.left_out.append("scores: no time left to score every quarantined column")
                return
            self.scores[f"without {', '.join(columns)}"] = honest
            self.scores[f"with {', '.join(columns)}"] = after.score((*after.problem.features, *columns))

    def _quarantined(self) -> list[tuple[str, ...]]:
        """The columns left out under suspicion, by the finding that asked for it, at most eight groups."""
        gone: dict[str, list[str]] = {}
        for one in self.applied:
            if one.code.startswith("leakage.") and one.role is not None:
                gone.setdefault(one.finding, []).append(one.column)
        return [tuple(columns) for columns in gone.values()][:8]

    def _score_kept(self, after: Probe) -> None:
        """The score without each group of columns that a question asks about though they were kept."""
        for one in self.questions[: 2 * MOST_QUESTIONS]:
            rest = tuple(f for f in after.problem.features if f not in one.columns)
            if one.taken == "yes" and rest and set(one.columns) <= set(after.problem.features) and self.time_left() > 0:
                self.scores[f"with {', '.join(one.columns)}"] = self.scores["honest"]
                self.scores[f"without {', '.join(one.columns)}"] = after.score(rest)

    def _score_repairs(self, original: Probe) -> None:
        """All repairs of one code together: the same rows and folds, the columns as they were and as they are now.

        Columns that were left out under suspicion have their two scores already; of the others each group says what was compared, or why not.
        """
        groups: dict[str, list[Repair]] = {}
        for one in self.applied:
            groups.setdefault(one.code, []).append(one)
        names = tuple(f for f in self.problem.features if f in self.view.columns)
        base: float | None = None
        for code, group in groups.items():
            changed = [one for one in group if (one.parse is not None or one.kind is not None) and one.column in names]
            gone = [one.column for one in group if one.role is not None and one.column in original.problem.features]
            if not changed and not gone:
                self._measured(group, f"not measured: {_unmeasurable(group)}")
                continue
            if self.time_left() <= 0:
                self._measured(group, "not measured: the audit's time was up")
                continue
            if base is None:
                base = original.score(names)
            before = original.score(tuple(f for f in original.problem.features if f in {*names, *gone})) if gone else base
            says = _compared(code, {*gone, *(one.column for one in changed)})
            self._measured(group, says, before, self._repaired(original, changed, names))

    def _repaired(self, original: Probe, changed: list[Repair], names: tuple[str, ...]) -> float:
        """The score with these repairs made."""
        if not changed:
            return original.score(names)
        card = self.material.card
        for one in changed:
            card = _changed(card, one)
        columns = list(dict.fromkeys(one.column for one in changed))
        now = typed(self.material.raw, card, columns)
        rows = original.data.rows.with_columns({name: now[name] for name in columns})
        data = replace(original.data, tables={**original.data.tables, "rows": rows}, shared={})
        return Probe(data, original.problem, self.context.seed, self.context.threads).score(names)

    def _measured(self, group: list[Repair], says: str, before: float | None = None, after: float | None = None) -> None:
        for one in group:
            self.applied[self.applied.index(one)] = replace(one, before=before, after=after, measured=says)

    # the answer ------------------------------------------------------------------------------------------------------------------------

    def _result(self) -> Audit:
        done = {r.finding for r in self.applied}
        findings = [self._as_shown(f, f.applied or name in done) for name, f in self.findings.items()]
        findings.sort(
            key=lambda f: (ORDER[f.severity], _turn(f.code), f.code, -(abs(f.effect.value) if f.effect and f.effect.value else 0.0), f.columns)
        )
        dropped = sorted({r for one in self.applied for r in one.drop_rows})
        return Audit(
            findings=tuple(findings),
            card=self.card,
            problem=self.problem,
            repairs=tuple(self.applied),
            questions=tuple(self.questions),
            drop_rows=tuple(dropped),
            scores={k: _rounded(v) for k, v in self.scores.items()},
            canary={k: _rounded(v) for k, v in self.canary.items()},
            left_out=tuple(self.left_out),
        )

    def _as_shown(self, one: Finding, applied: bool) -> Finding:
        """With the flag that undoes it; what the user muted is told as info."""
        muted = bool({one.code, one.id, one.code.split(".")[0]} & set(self.options.without))
        undo = one.undo or (f"--without {one.code}" if one.id in {r.finding for r in self.applied} else "")
        return replace(one, applied=applied, undo=undo, severity="info" if muted else one.severity)

    def _asked(self) -> list[Question]:
        """At most five questions, those that change the score most first, each with the score under both answers.

        Columns that a question with more at stake names already are not asked about again.
        """
        scored = []
        for one in self.questions:
            inside, outside = (self.scores.get(f"{word} {', '.join(one.columns)}") for word in ("with", "without"))
            known = inside is not None and outside is not None
            scores = {"yes": _rounded(inside), "no": _rounded(outside)} if known else one.scores  # type: ignore[arg-type]
            scored.append((abs(inside - outside) if known else 0.0, replace(one, scores=scores)))  # type: ignore[operator]
        asked: list[Question] = []
        for _, one in sorted(scored, key=lambda s: -s[0]):
            if not set(one.columns) <= {name for other in asked for name in other.columns}:
                asked.append(one)
        if len(asked) > MOST_QUESTIONS:
            self.left_out.append(f"questions: the {MOST_QUESTIONS} with most at stake of {len(asked)}; the safe answer was taken to all")
        return asked[:MOST_QUESTIONS]


def _compared(code: str, columns: set[str]) -> str:
    return f"{code}: {len(columns)} column{'s' * (len(columns) > 1)}, the same rows and folds"


def _unmeasurable(group: list[Repair]) -> str:
    return "rows were left out, no column changed" if any(one.drop_rows for one in group) else "the column is no feature of the model"


def _turn(code: str) -> int:
    group = code.split(".")[0]
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _changed(card: DataCard, one: Repair) -> DataCard:
    """The card with one column as the repair wants it."""

    def change(column: ColumnCard) -> ColumnCard:
        if column.name != one.column:
            return column
        return replace(
            column,
            kind=one.kind or column.kind,
            role=one.role or column.role,
            parse=_joined(column.parse, one.parse) if one.parse is not None else column.parse,
            why=f"{column.why} {one.says[:1].upper()}{one.says[1:]}.".strip(),
        )

    return replace(card, columns=tuple(change(c) for c in card.columns))


def _joined(old: Parse, new: Parse) -> Parse:
    """Both rules at once: tuples and mappings are united, a single value of `new` wins where it says something."""
    kept: dict[str, Any] = {}
    for one in fields(Parse):
        a, b = getattr(old, one.name), getattr(new, one.name)
        if one.name != "clip" and isinstance(a, tuple):
            kept[one.name] = (*a, *(v for v in b if v not in a))
        elif isinstance(a, dict):
            kept[one.name] = {**a, **b}
        else:
            kept[one.name] = a if b == one.default else b
    return Parse(**kept)
