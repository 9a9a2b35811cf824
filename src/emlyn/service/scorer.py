"""The scorer: one model behind its contract. Rows in, one answer per row out, in order; a bad row never spoils the others.

The path of a few rows makes no dataframe: cells are read by the contract, encoded by the members themselves, and decided at the model's
operating point. Which rows are refused is the contract's word alone, the same online, in batch and in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.explainer import reasons as reasons_of
from emlyn.core.judging.scale import Scale
from emlyn.core.table import Table
from emlyn.core.tables.contract import Conformed, Issue, conform, conform_records
from emlyn.core.tables.typed import raw_texts
from emlyn.records.data_card import Contract
from emlyn.records.evaluation import Reason
from emlyn.records.problem import Problem

Reasons = Callable[[Any, Dataset], Sequence[Sequence[Reason]]]
STRANGE = frozenset({"level", "range", "rule"})
"""Codes of issues that training saw nothing like."""


class Model(Protocol):
    """What the service needs of a model."""

    @property
    def problem(self) -> Problem: ...

    @property
    def contract(self) -> Contract: ...

    def predict_answers(self, data: Dataset) -> np.ndarray:
        """Answers (n, k) of float64: calibrated probabilities, or numbers with k = 1."""

    def decide(self, answers: np.ndarray) -> np.ndarray:
        """Labels (n,) at the operating point, or the numbers themselves."""


@dataclass(frozen=True)
class Margin:
    """How far a number's interval reaches, as measured on rows the model did not learn from."""

    below: float
    above: float
    level: float
    """The share of true values that the interval holds."""
    scale: Scale = field(default_factory=Scale)
    """How much wider or narrower it is where the number is so large."""

    def around(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (n,)."""
        scale = self.scale.of(numbers)
        return numbers - self.below * scale, numbers + self.above * scale


def margin_of(sections: Mapping[str, Any]) -> Margin | None:
    """The interval around a number, from an evaluation's `sections`; the level nearest to 90 % where there are several."""
    found = sections.get("conformal") or {}
    levels = [level for level in found.get("levels", ()) if level.get("quantile") is not None]
    if found.get("kind") != "interval" or not levels:
        return None
    best = min(levels, key=lambda level: abs(level["level"] - 0.9))
    reach, scale = float(best["quantile"]), best.get("scale")
    return Margin(reach, reach, float(best["level"]), Scale(tuple(scale["at"]), tuple(scale["size"])) if scale else Scale())


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one row, or why there is none."""

    prediction: str | float | None = None
    probabilities: Mapping[str, float] | None = None
    interval: tuple[float, float] | None = None
    issues: Sequence[Issue] = ()
    refused: bool = False
    unusual: bool = False
    """Some value lies outside everything that training saw."""
    reasons: Sequence[Reason] = ()

    def core(self) -> dict[str, Any]:
        """What was answered, without the why."""
        found: dict[str, Any] = {"prediction": self.prediction}
        if self.probabilities is not None:
            found["probabilities"] = self.probabilities
        if self.interval is not None:
            found["interval"] = {"low": self.interval[0], "high": self.interval[1]}
        if self.unusual:
            found["unusual"] = True
        return found


@dataclass(frozen=True, eq=False)
class Scored:
    """A table's answers, in its order."""

    data: Dataset
    """The typed rows."""
    values: np.ndarray
    """(n, k) probabilities or numbers, NaN where refused."""
    labels: np.ndarray
    """(n,) decisions: str, or the numbers themselves; None or NaN where refused."""
    conformed: Conformed
    refused: np.ndarray
    """(n,) mask."""


@dataclass(eq=False)
class Scorer:
    """Answers rows with one model. Safe to call from several threads when the model is."""

    model: Model
    margin: Margin | None = None
    explain: Reasons | None = reasons_of
    """`(model, dataset) -> reasons per row`; None gives no reasons."""
    _seconds: dict[bool, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.problem, self.contract = self.model.problem, self.model.contract
        self.columns: tuple[str, ...] = tuple(rule.name for rule in self.contract.columns)
        self.classes: tuple[str, ...] = self.problem.classes
        self._nullable = frozenset(rule.name for rule in self.contract.columns if rule.nullable)

    def answer(self, rows: Sequence[Mapping[str, Any]], reasons: int = 0) -> list[Answer]:
        """One answer per record, in order."""
        if not rows:
            return []
        began = time.perf_counter()
        conformed = conform_records(rows, self.contract)
        found = self._answers(conformed, reasons)
        self._learn(len(rows), time.perf_counter() - began, reasons)
        return found

    def score(self, raw: Table) -> Scored:
        """The same for a raw table, as arrays. Raises DataError when a required column is absent."""
        conformed = conform(raw, self.contract)
        refused = conformed.refused
        kept = np.flatnonzero(~refused)
        data = rows_dataset(conformed.table, classes=len(self.classes))
        values = np.full((raw.rows, max(1, len(self.classes))), np.nan)
        labels = np.full(raw.rows, None if self.classes else np.nan, dtype=object if self.classes else np.float64)
        if len(kept):
            values[kept] = self.model.predict_answers(data.take(kept) if refused.any() else data)
            labels[kept] = self.model.decide(values[kept])
        return Scored(data, values, labels, conformed, refused)

    def why_refused(self, scored: Scored, raw: Table) -> list[str | None]:
        """For each row of `raw` the reason for having no answer, None where there is one; the words are those of the service."""
        found: list[str | None] = [None] * len(scored.refused)
        rows = np.flatnonzero(scored.refused)
        if not len(rows):
            return found
        bad = raw.take(rows)
        cells = {name: raw_texts(bad[name]) if bad[name].kind == "date" else bad[name].strings().tolist() for name in self.columns if name in bad}
        conformed = conform_records([dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)], self.contract)
        for row in rows.tolist():
            found[row] = "a cell cannot be read"
        for issue in reversed(conformed.issues):
            if issue.row >= 0 and self._fatal(issue):
                found[int(rows[issue.row])] = f"column {issue.column!r}: {issue.value!r} {issue.problem}; allowed: {issue.allowed}"
        return found

    def unusual_rows(self, scored: Scored) -> int:
        """How many rows hold something that training saw nothing like (of those listed: at most 100 per column and kind)."""
        return len({issue.row for issue in scored.conformed.issues if issue.code in STRANGE})

    def cost(self, rows: int, reasons: int = 0) -> float:
        """Seconds that so many rows are expected to take, from what earlier calls took; unknown is free."""
        fixed, each = self._seconds.get(bool(reasons), (0.0, 0.0))
        return fixed + each * rows

    def warm_up(self) -> float:
        """Answer one made-up row a few times, so that the first caller does not pay for imports and caches; returns seconds for one row."""
        row = example_row(self.contract)
        for _ in range(3):
            self.answer([row])
        self.answer([row] * 64)
        return self.cost(1)

    def _learn(self, rows: int, seconds: float, reasons: int) -> None:
        """Keep a running estimate of the fixed cost (from single rows) and of the cost of each further row."""
        with self._lock:
            fixed, each = self._seconds.get(bool(reasons), (seconds, 0.0))
            if rows == 1:
                fixed += 0.2 * (seconds - fixed) if seconds > fixed else 0.5 * (seconds - fixed)
            else:
                each += 0.5 * (max(0.0, seconds - fixed) / rows - each)
            self._seconds[bool(reasons)] = (fixed, each)

    def _fatal(self, issue: Issue) -> bool:
        """Is this why the row was refused?"""
        return issue.code in ("absent", "row") or (issue.code == "unreadable" and issue.column not in self._nullable)

    def _answers(self, conformed: Conformed, reasons: int) -> list[Answer]:
        table, refused, issues = conformed.table, conformed.refused, _by_row(conformed.issues)
        if refused.any():
            kept = np.flatnonzero(~refused)
            good = iter(self._decide(table.take(kept), [issues.get(int(i), ()) for i in kept], reasons) if len(kept) else ())
            return [Answer(issues=issues.get(i, ()), refused=True) if bad else next(good) for i, bad in enumerate(refused.tolist())]
        return self._decide(table, [issues.get(i, ()) for i in range(table.rows)] if issues else [()] * table.rows, reasons)

    def _decide(self, table: Table, issues: Sequence[Sequence[Issue]], reasons: int) -> list[Answer]:
        data = rows_dataset(table, classes=len(self.classes))
        values = self.model.predict_answers(data)
        why: Sequence[Sequence[Reason]] = [()] * table.rows
        if reasons and self.explain is not None:
            why = [tuple(row)[:reasons] for row in self.explain(self.model, data)]
        unusual = [any(issue.code in STRANGE for issue in found) if found else False for found in issues]
        probabilities: Sequence[Mapping[str, float] | None] = [None] * table.rows
        if self.classes:
            probabilities = [dict(zip(self.classes, shares, strict=True)) for shares in values.tolist()]
        return [
            Answer(decided, shares, None if self.classes else self._interval(decided), found, False, odd, because)
            for decided, shares, found, odd, because in zip(self.model.decide(values).tolist(), probabilities, issues, unusual, why, strict=True)
        ]

    def _interval(self, number: float) -> tuple[float, float] | None:
        if self.margin is None:
            return None
        low, high = self.margin.around(np.array([number]))
        return float(low[0]), float(high[0])


def _by_row(issues: Sequence[Issue]) -> dict[int, list[Issue]]:
    found: dict[int, list[Issue]] = {}
    for issue in issues:
        found.setdefault(issue.row, []).append(issue)
    return found


def example_row(contract: Contract) -> dict[str, Any]:
    """A row the contract accepts, made from what training saw: for warm-up, and for examples in the OpenAPI document."""
    return {rule.name: example_cell(rule) for rule in contract.columns}


def example_cell(rule: Any) -> Any:
    """A value this column may have."""
    if rule.kind == "boolean":
        return (rule.parse.true or (True,))[0]
    if rule.kind == "number":
        low, high = rule.low or 0.0, rule.high if rule.high is not None else 1.0
        middle = (low + high) / 2
        return round(middle) if rule.integral else float(f"{middle:.4g}")
    if rule.kind == "date":
        seconds = ((rule.low or 0.0) + (rule.high or 0.0)) / 2
        return time.strftime("%Y-%m-%d", time.gmtime(seconds))
    return rule.levels[0] if rule.levels else "text"
