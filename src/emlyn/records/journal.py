"""What was tried: hypothesis, change, evidence, verdict, cost. Append-only; the state of a run is derived from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emlyn.records.plan import Recipe


@dataclass(frozen=True)
class Trial:
    """One recipe on one or more folds."""

    recipe: Recipe
    score: float | None
    """In the problem's metric and direction, on out-of-fold rows; null where nothing could be scored."""
    spread: float | None
    """Standard error of `score` over folds; null with one fold."""
    folds: tuple[int, ...]
    fit_s: float
    predict_s: float = 0.0
    status: str = "done"
    """done | dropped | failed | stopped | distilled (learned from the answers of the others' ensemble)."""
    note: str = ""
    """Why it was dropped or what failed."""
    weight: float = 0.0
    """Its share in the final ensemble."""
    steps: int | None = None
    """Boosting rounds or epochs kept."""


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    at: float
    kind: str
    hypothesis: str = ""
    change: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""
    cost_s: float = 0.0
