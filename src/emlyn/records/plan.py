"""What the search will try."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """One way to learn: a learner, its settings and the features it sees. Two recipes with one digest are the same."""

    name: str
    """Short and unique in the plan: `lightgbm-extra`."""
    learner: str
    params: dict[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    """Feature ideas on top of the plain columns: `target_encoding`, `arithmetic`, …"""
    why: str = ""
    """The hypothesis: what this recipe should be good at."""


@dataclass(frozen=True)
class Plan:
    """Recipes in the order tried, the folds and the limits."""

    recipes: tuple[Recipe, ...]
    folds: int
    why: str = ""
    repeats: int = 1
    sample: int = 0
    """Rows used to choose among recipes where not all are; 0 = all."""
    threads: int = 1
    refit: bool = False
    """Members are learned once more on all rows after the choice; a part of the time is kept for it."""
    max_latency: float | None = None
    """Seconds that one row's prediction may take."""
    speed: dict[str, float] = field(default_factory=dict)
    """Learner -> seconds measured in earlier runs on this machine over those that are shipped."""
    experience: str = ""
    """What earlier runs had a say in, in plain words; empty when they had none."""
    trials: int | None = None
    """A number of trials instead of a time limit: the run is then repeatable."""
