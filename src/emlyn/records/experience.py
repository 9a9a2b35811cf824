"""What a finished run taught: how long each recipe took and what it was worth. No cell, no column name, no label."""

from __future__ import annotations

from dataclasses import dataclass, field

from emlyn.records.plan import Recipe


@dataclass(frozen=True)
class Tried:
    """One trial."""

    recipe: Recipe
    folds: int
    fold_s: float
    """Median seconds of one fold, learned and answered; 0 where the deadline cut every fold short."""
    regret: float | None
    """Its loss between the best recipe's (0) and the best baseline's (1); null where not every fold was learned."""
    weight: float
    """Its share in the final ensemble."""


@dataclass(frozen=True)
class Experience:
    """One run, told by the shape of its table."""

    schema: str
    """SHA-256 of the names and kinds of the columns, the target, the task and the metric: the same schema again has the same one."""
    task: str
    metric: str
    rows: int
    """Rows that one fold learned from."""
    columns: int
    """Columns after encoding."""
    classes: int
    kinds: dict[str, int] = field(default_factory=dict)
    """Kind -> columns of it."""
    machine: str = ""
    """A digest: seconds measured elsewhere say nothing here."""
    trials: tuple[Tried, ...] = ()
