"""What the audit leaves behind for the stages after it."""

from __future__ import annotations

from dataclasses import dataclass, field

from emlyn.records.data_card import DataCard
from emlyn.records.finding import Finding, Question
from emlyn.records.problem import Problem
from emlyn.records.repair import Repair


@dataclass(frozen=True)
class Audit:
    """Findings, what was repaired, and the card and problem as they stand after it."""

    findings: tuple[Finding, ...]
    card: DataCard
    """With the applied repairs in its columns' `parse`, `kind` and `role`: the contract is made from this."""
    problem: Problem
    """With quarantined columns moved from `features` to `excluded`."""
    repairs: tuple[Repair, ...] = ()
    """Those applied."""
    questions: tuple[Question, ...] = ()
    drop_rows: tuple[int, ...] = ()
    """Training rows left out, as positions in the table the audit was given."""
    scores: dict[str, float] = field(default_factory=dict)
    """Probe scores by situation, in the problem's metric: `honest`, `naive split`, `with COLUMN`, `without COLUMN`."""
    canary: dict[str, float] = field(default_factory=dict)
    """Negative controls: `shuffled target` must be chance."""
    left_out: tuple[str, ...] = ()
    """Checks skipped for time or because what they need is not there, with the reason."""


@dataclass(frozen=True)
class TrapResult:
    """One known defect planted into a copy of the user's table, and which checks caught it."""

    trap: str
    """copied target, shuffled target, duplicated entities, unit error, missing by class, flipped labels, future column, swapped columns."""
    planted: bool
    """False where this table offers no place for the defect."""
    caught: bool
    by: tuple[str, ...] = ()
    """Codes of the checks that caught it, those meant for it first."""
    detail: str = ""
    """What was planted, or why nothing was."""
