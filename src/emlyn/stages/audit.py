"""The audit: one dispatcher runs every check whose needs are met, applies what may be applied, and shows what each change did to the score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.check import Check, Material, Outcome
from emlyn.core.dataset import rows_dataset
from emlyn.core.metrics import metric
from emlyn.core.probe import Probe
from emlyn.core.splits import TWINS, twin_codes
from emlyn.core.structure import answers_column, time_seconds, typed, with_answer_kind
from emlyn.core.table import Column, Table
from emlyn.records.audit import Audit
from emlyn.records.data_card import ColumnCard, DataCard, Parse
from emlyn.records.finding import Finding, Question
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem, SplitRule
from emlyn.records.repair import Repair

SAMPLE = 20_000
"""Rows that the checks look at where not every row is needed."""
MOST_S = 20.0
"""Seconds the audit takes at most, however long the budget."""
MOST_COLUMNS = 2_000
"""Columns that the checks look at; of wider tables those that go with the answer most."""
MOST_PROBED = 50
"""Classes up to which the probe is asked."""
FIRST = ("leakage", "target", "structure", "missing", "form", "privacy", "fairness", "enough")
"""The order in which groups of checks run, should time be short."""
MOST_QUESTIONS = 5
RESCORED = 6
"""Repairs whose score before and after is measured at most."""
FALSE_DISCOVERY = 0.05
ORDER = {"fail": 0, "warn": 1, "info": 2}


def audit(raw: Table, card: DataCard, problem: Problem, options: TrainOptions, context: Context) -> Audit:
    """Findings, repairs and quarantine over the working rows. `raw` holds only rows with an answer (all rows when there is no target).

    Checks look at a sample of 20,000 rows where not every row is needed, and stop when the audit's share of the budget is spent; what was
    left out is listed. A check that fails is listed too and ends nothing.
    """
    bench = _Bench(raw, with_answer_kind(card, problem.target, problem.task) if problem.target else card, problem, options, context)
    bench.look()
    bench.repair()
    bench.score()
    return bench.result()


@dataclass(eq=False)
class _Bench:
    """The table on the bench: what was found so far, and the card and problem as they stand."""

    raw: Table
    card: DataCard
    problem: Problem
    options: TrainOptions
    context: Context
    findings: dict[str, Finding] = field(default_factory=dict)
    proposed: list[Repair] = field(default_factory=list)
    applied: list[Repair] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    canary: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = self.context.budget.spent
        self.deadline = self.began + min(MOST_S, self.context.budget.until("audit"))
        n = self.raw.rows
        rng = np.random.default_rng(self.context.seed)
        self.positions = np.arange(n) if n <= SAMPLE else np.sort(rng.choice(n, SAMPLE, replace=False))
        if n > SAMPLE:
            self.left_out.append(f"sampling: most checks looked at {SAMPLE:,} of {n:,} rows")
        self.seen = self._columns()
        self.material = self._material(self.card)

    @property
    def time_left(self) -> float:
        return self.deadline - self.context.budget.spent

    def _columns(self) -> frozenset[str]:
        """The columns to look at: all, or of a very wide table those whose numbers go with the answer most, by 500 rows."""
        features = self.problem.features
        if len(features) <= MOST_COLUMNS:
            return frozenset(self.raw)
        self.left_out.append(f"columns: the checks looked at {MOST_COLUMNS:,} of {len(features):,} columns")
        if not self.problem.target:
            return frozenset(features[:MOST_COLUMNS])
        raw = self.raw.take(self.positions[:: max(1, len(self.positions) // 500)][:500])
        answers = answers_column(raw, self.card, self.problem.target, self.problem.task).values.astype(np.float64)
        table = typed(raw, self.card, features)
        cells = np.stack([np.nan_to_num(table[n].values.astype(np.float64), posinf=0, neginf=0) for n in features])
        cells -= cells.mean(axis=1, keepdims=True)
        spread = cells.std(axis=1)
        strength = np.abs(cells @ (answers - answers.mean())) / np.where(spread > 0, spread, np.inf)
        return frozenset(np.array(features, dtype=object)[np.argsort(-strength, kind="stable")[:MOST_COLUMNS]]) | (set(self.raw) - set(features))

    def _material(self, card: DataCard) -> Material:
        """The sample as raw cells, as typed cells and, with a target, as a dataset with a probe."""
        problem = replace(self.problem, features=tuple(f for f in self.problem.features if f in self.seen))
        raw = self.raw if len(self.positions) == self.raw.rows else _compact(self.raw.take(self.positions))
        table = typed(raw, card, [n for n in raw if n != problem.target and n in self.seen])
        material = Material(card, raw, table, problem, whole=self.raw, seed=self.context.seed)
        if not problem.target:
            return material
        task = plugins.find("tasks", problem.task)
        answers = task.encode(answers_column(raw, card, problem.target, problem.task), problem)
        data = rows_dataset(table, answers, classes=len(problem.classes), group=self._groups(raw), time=time_seconds(raw, card, problem))
        probe = Probe(data, problem, self.context.seed, self.context.threads) if problem.features and len(problem.classes) <= MOST_PROBED else None
        return replace(material, data=data, probe=probe)

    def _groups(self, raw: Table) -> np.ndarray | None:
        rule = self.problem.split
        if rule.kind != "group":
            return None
        if rule.by == TWINS:
            return twin_codes(raw, self.problem.features)
        codes = raw[rule.by].as_coded().values.astype(np.int64)
        alone = codes < 0
        codes[alone] = codes.max(initial=-1) + 1 + np.arange(int(alone.sum()))
        return codes

    # looking ---------------------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Run the checks, cheap ones first, and keep what survives the control of false discoveries."""
        p_values: dict[str, float] = {}
        for check in sorted(plugins.collect("checks"), key=_turn):
            lacking = [need for need in check.needs if not self.material.has(need)]
            if lacking:
                self.left_out.append(f"{check.name}: needs {', '.join(lacking)}")
            elif self.time_left <= 0:
                self.left_out.append(f"{check.name}: no time left for it")
            else:
                p_values |= self._run(check)
        refused = {name for name in p_values if name not in discoveries(p_values, FALSE_DISCOVERY)}
        self.findings = {name: f for name, f in self.findings.items() if name not in refused}
        self.proposed = [r for r in self.proposed if r.finding in self.findings]

    def _run(self, check: Check) -> dict[str, float]:
        began = self.context.budget.spent
        outcome, error = plugins.guarded(lambda: check.run(replace(self.material, seconds=max(0.0, self.time_left))))
        if outcome is None:
            self.left_out.append(f"{check.name}: could not look ({error[:200]})")
            return {}
        cost = round(self.context.budget.spent - began, 4)
        for one in outcome.findings:
            rows = one.rows if "whole" in check.needs else tuple(int(self.positions[r]) for r in one.rows)
            self.findings[one.id] = replace(one, rows=rows[:20], cost_s=cost)
        self.proposed += self._in_place(check, outcome)
        self.questions += outcome.questions
        return outcome.p_values

    def _in_place(self, check: Check, outcome: Outcome) -> Iterable[Repair]:
        for one in outcome.repairs:
            if "whole" in check.needs or not one.drop_rows:
                yield one
            else:
                yield replace(one, drop_rows=tuple(int(self.positions[r]) for r in one.drop_rows))

    # repairing -------------------------------------------------------------------------------------------------------------------------

    def repair(self) -> None:
        """Apply what the options allow: parse rules and kinds on the card, columns out of the features."""
        for one in self.proposed:
            if self._allowed(one):
                self._apply(one)

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

    def score(self) -> None:
        """The receipt: honest and naive score, each quarantined column in and out, each repair before and after, the shuffled canary."""
        if self.material.probe is None or self.time_left <= 0:
            return
        if not any(c.kind != "text" for n, c in self.material.table.items() if n in self.problem.features):  # type: ignore[union-attr]
            self.left_out.append("scores: the probe cannot read free text")
            return
        original = self.material.probe
        after: Probe = self._material(self.card).probe
        honest = after.score()
        self.scores["honest"] = honest
        if self.problem.split.kind in ("group", "time") and self.time_left > 0:
            self.scores["naive split"] = after.score(rule=SplitRule("stratified" if self.problem.classes else "random"))
        self._score_quarantined(after, honest)
        self._score_repairs(original)
        if self.time_left > 0:
            self.canary["shuffled target"] = after.shuffled()

    def _score_quarantined(self, after: Probe, honest: float) -> None:
        """The score with each group of quarantined columns put back, and without."""
        for columns in self._quarantined():
            if self.time_left <= 0:
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

    def _score_repairs(self, original: Probe) -> None:
        """Each parse repair alone: the same folds, the column as it was and as it is now."""
        changes = [r for r in self.applied if (r.parse is not None or r.kind is not None) and r.column in self.problem.features]
        if not changes or self.time_left <= 0:
            return
        names = tuple(f for f in self.problem.features if f in self.seen)
        before = original.score(names)
        for one in changes[:RESCORED]:
            if self.time_left <= 0:
                return
            card = _changed(self.material.card, one)
            rows = original.data.rows.with_columns({one.column: typed(self.material.raw, card, [one.column])[one.column]})
            data = replace(original.data, tables={**original.data.tables, "rows": rows}, shared={})
            after = Probe(data, original.problem, self.context.seed, self.context.threads).score(names)
            self.applied[self.applied.index(one)] = replace(one, before=before, after=after)

    # the answer ------------------------------------------------------------------------------------------------------------------------

    def result(self) -> Audit:
        done = {r.finding for r in self.applied}
        findings = [
            replace(f, applied=f.applied or name in done, undo=f.undo or (f"--without {f.code}" if name in done else "")) for name, f in self.findings.items()
        ]
        findings.sort(key=lambda f: (ORDER[f.severity], -(abs(f.effect.value) if f.effect and f.effect.value is not None else 0.0), f.code, f.columns))
        dropped = sorted({r for one in self.applied for r in one.drop_rows})
        return Audit(
            findings=tuple(findings),
            card=self.card,
            problem=self.problem,
            repairs=tuple(self.applied),
            questions=tuple(self._asked()),
            drop_rows=tuple(dropped),
            scores={k: _rounded(v) for k, v in self.scores.items()},
            canary={k: _rounded(v) for k, v in self.canary.items()},
            left_out=tuple(self.left_out),
        )

    def _asked(self) -> list[Question]:
        """At most five questions, those that change the score most first, each with the score under both answers."""
        better = 1 if self.problem.target and metric(self.problem.metric).direction == "maximize" else -1
        scored = []
        for one in self.questions:
            inside = self.scores.get(f"with {', '.join(one.columns)}")
            scores = {"yes": _rounded(inside), "no": _rounded(self.scores["honest"])} if inside is not None else one.scores
            gain = better * (inside - self.scores["honest"]) if inside is not None else 0.0
            scored.append((-gain, replace(one, scores=scores)))
        return [q for _, q in sorted(scored, key=lambda s: s[0])][:MOST_QUESTIONS]


def _turn(check: Check) -> tuple[bool, int]:
    group = check.name.split(".")[0]
    return check.slow, FIRST.index(group) if group in FIRST else len(FIRST)


def _compact(table: Table) -> Table:
    """The same cells without the levels that no row of the sample holds."""
    out = {}
    for name, column in table.items():
        if column.levels is None or len(column.levels) <= len(column):
            out[name] = column
            continue
        used, codes = np.unique(column.values[column.values >= 0], return_inverse=True)
        values = np.full(len(column), -1, dtype=np.int32)
        values[column.values >= 0] = codes
        out[name] = Column(column.kind, values, column.levels[used])
    return Table(out, rows=table.rows)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def discoveries(p_values: Mapping[str, float], rate: float) -> set[str]:
    """The names kept at this false-discovery rate (Benjamini, Hochberg 1995)."""
    names = sorted(p_values, key=lambda name: p_values[name])
    passed = [i for i, name in enumerate(names, 1) if p_values[name] <= rate * i / len(names)]
    return set(names[: passed[-1]]) if passed else set()


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
            why=f"{column.why}; {one.says}".lstrip("; "),
        )

    return replace(card, columns=tuple(change(c) for c in card.columns))


def _joined(old: Parse, new: Parse) -> Parse:
    """Both rules at once: tuples and mappings are united, a single value of `new` wins where it says something."""
    kept = {}
    for one in fields(Parse):
        a, b = getattr(old, one.name), getattr(new, one.name)
        if one.name != "clip" and isinstance(a, tuple):
            kept[one.name] = (*a, *(v for v in b if v not in a))
        elif isinstance(a, dict):
            kept[one.name] = {**a, **b}
        else:
            kept[one.name] = a if b == one.default else b
    return Parse(**kept)


