"""What a check found: one record for audit, evaluation, monitoring and traps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emlyn.types import Severity


@dataclass(frozen=True)
class Effect:
    """How large the thing is, with its interval where an honest one exists."""

    name: str
    """What is measured, with its unit: `auc`, `share of rows`, `difference of rates`."""
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Finding:
    """One thing noticed, in words for a manager (`message`) and for an engineer (`detail`)."""

    id: str
    """Stable for the same code and columns on the same table: `leakage.target_copy:alive`."""
    code: str
    """Dotted: `leakage.target_copy`. The part before the dot is the group."""
    severity: Severity
    message: str
    """One line a manager understands."""
    detail: str = ""
    """One line an engineer can act on."""
    why: str = ""
    """Why it matters, and the test behind it."""
    effect: Effect | None = None
    n: int = 0
    """Rows the statement rests on."""
    columns: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    """A few example rows, counted from 0 in the order read; at most 20."""
    fix: str = ""
    """What was done or is proposed."""
    applied: bool = False
    reversible: bool = True
    undo: str = ""
    """The flag that undoes it, e.g. `--without form.sentinel`."""
    cost_s: float = 0.0
    """Seconds the check took."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """Numbers behind the statement, on request."""


@dataclass(frozen=True)
class Question:
    """Something the data cannot tell: the safe answer is taken, the flag that answers it is shown."""

    id: str
    text: str
    taken: str
    """The safe answer that was taken."""
    flag: str
    """The command-line flag that gives the other answer."""
    columns: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    """The score under each answer, where it was measured."""
