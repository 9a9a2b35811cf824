"""What a check is: data and one function. The same protocol serves audit, evaluation, monitoring and traps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.table import Table
from emlyn.records.data_card import DataCard
from emlyn.records.finding import Finding, Question
from emlyn.records.problem import Problem
from emlyn.records.repair import Repair


@dataclass(frozen=True, eq=False)
class Material:
    """What a check may look at; a check declares what it needs and is run only when all of it is there."""

    card: DataCard
    raw: Table
    """Cells as read, before any repair (rows under seal are not in it)."""
    table: Table | None = None
    """Cells as the contract reads them."""
    problem: Problem | None = None
    data: Dataset | None = None
    """Working rows with answers."""
    probe: Any = None
    """A cheap cross-validated model: `probe.score(columns) -> float`, `probe.oof` (n, k)."""
    model: Any = None
    evaluation: Any = None
    """What the model was found to be worth (`records.evaluation.Evaluation`): checks that need it run after the evaluation."""
    reference: Table | None = None
    """Another table to compare with (drift, overlap)."""
    whole: Table | None = None
    """Every row of the raw table, where `raw`, `table` and `data` hold a sample of it; findings of checks that need it name its rows."""
    seed: int = 0
    seconds: float = float("inf")
    """What this check may spend."""

    def has(self, need: str) -> bool:
        return getattr(self, need) is not None


@dataclass(frozen=True)
class Outcome:
    """What a check answers: findings, the repairs it would make, what only a person can answer. Empty = looked and found nothing."""

    findings: tuple[Finding, ...] = ()
    repairs: tuple[Repair, ...] = ()
    questions: tuple[Question, ...] = ()
    p_values: dict[str, float] = field(default_factory=dict)
    """Finding id -> p-value, for the checks whose findings enter the shared false-discovery control."""


@dataclass(frozen=True)
class Check:
    """A named test of the data or the model."""

    name: str
    """Its code: `leakage.target_copy`. Findings carry this code."""
    title: str
    needs: tuple[str, ...]
    """Of: raw, whole, table, problem, data, probe, model, reference. One that needs the probe has its turn when the model has learned: what it
    proposes is no longer repaired."""
    run: Callable[[Material], Outcome]
    slow: bool = False
    source: str = ""
    """Where the test comes from (paper, section)."""


def example_rows(mask: np.ndarray, most: int = 5) -> tuple[int, ...]:
    """The first few positions where the mask is true."""
    return tuple(int(i) for i in np.flatnonzero(mask)[:most])


def outcome(findings: Iterable[Finding] = (), repairs: Iterable[Repair] = (), questions: Iterable[Question] = ()) -> Outcome:
    return Outcome(tuple(findings), tuple(repairs), tuple(questions))
