"""The question, framed."""

from __future__ import annotations

from dataclasses import dataclass, field

from emlyn.types import Direction


@dataclass(frozen=True)
class SplitRule:
    """How rows are parted, and why."""

    kind: str = "random"
    """random | stratified | group | time."""
    by: str = ""
    """The column, where a group or the time decides."""
    why: str = ""
    sealed: float = 0.0
    """Share of the rows put under seal; 0 when all rows train and cross-validation answers."""
    embargo_s: float = 0.0


@dataclass(frozen=True)
class Problem:
    """What is asked: the task, the target, the metric, the split, each with its why."""

    task: str
    """binary | multiclass | regression | a plug-in's kind."""
    target: str
    metric: str
    direction: Direction
    classes: tuple[str, ...] = ()
    """Labels in code order; for binary tasks the positive label is the last."""
    positive: str = ""
    split: SplitRule = field(default_factory=SplitRule)
    why: dict[str, str] = field(default_factory=dict)
    """For each decision (`task`, `metric`, `positive`, `split`), one sentence."""
    features: tuple[str, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)
    """Columns not used, with the reason."""
    group: str = ""
    time: str = ""
    weight: str = ""
    id: str = ""
    sensitive: tuple[str, ...] = ()
    cost_fp: float | None = None
    cost_fn: float | None = None
    capacity: int | None = None
    rows: int = 0
