"""Small tables with known defects, and the way from a table to its problem and audit."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from emlyn.context import Budget, Context
from emlyn.core.reader import Read
from emlyn.core.table import Table
from emlyn.core.tables.frames import to_table
from emlyn.records.audit import Audit
from emlyn.records.data_card import DataCard
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem
from emlyn.stages.audit import audit
from emlyn.stages.frame import frame, target_rows
from emlyn.stages.profile import profile


def context(seconds: float = math.inf) -> Context:
    return Context(Budget(seconds, time.monotonic()))


def framed(columns: Any, **options: Any) -> tuple[Table, DataCard, Problem]:
    """The table (rows with an answer), its card and its problem."""
    raw = columns if isinstance(columns, Table) else to_table(columns)
    said = TrainOptions(**options)
    card = profile(Read(raw, "table"), said, context())
    problem = frame(raw, card, said, context())
    return raw.take(target_rows(raw, card, problem)), card, problem


def audited(columns: Any, **options: Any) -> Audit:
    raw, card, problem = framed(columns, **options)
    return audit(raw, card, problem, TrainOptions(**options), context())


def codes(found: Audit, severity: str = "") -> dict[str, tuple[str, ...]]:
    """Code -> columns of the findings (of one severity)."""
    return {f.code: f.columns for f in reversed(found.findings) if not severity or f.severity == severity}


def honest(rows: int = 600, seed: int = 0, task: str = "binary") -> dict[str, Any]:
    """Columns that tell the target `y` a little, as honest ones do."""
    rng = np.random.default_rng(seed)
    size, speed = rng.normal(50, 9, rows), rng.gamma(4.0, 3.0, rows)
    kind = rng.choice(["oak", "ash", "elm", "fir"], rows)
    signal = 0.08 * (size - 50) + 0.06 * (speed - 12) + 0.5 * (kind == "oak") + rng.normal(0, 1, rows)
    y: Any = signal * 10 + 100 if task == "regression" else np.where(signal > 0.1, "yes", "no")
    return {"size": size, "speed": speed, "kind": kind, "rank": rng.integers(1, 40, rows), "y": y}
