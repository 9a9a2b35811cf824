"""What a stage may use besides its records: budget, clock, seed, executor, store, event sink. Frozen, no globals."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from emlyn.events import Event, Sink, silent
from emlyn.types import Clock

SHARES: Mapping[str, float] = {"audit": 0.15, "search": 0.60, "evaluate": 0.15, "package": 0.05, "reserve": 0.05}
"""Most of the budget that each stage may take, the least for search: `audit` counts reading and profiling, `evaluate` explanation and report."""
ENOUGH = {"evaluate": 12.0, "package": 4.0, "reserve": 3.0}
"""Seconds (and 2 % of the budget) that these stages need at most: what a long budget would leave them beyond that goes to the search."""


def shares_of(seconds: float) -> dict[str, float]:
    """Share of the budget per stage, in the order the stages run."""
    found = dict(SHARES)
    for stage, enough in ENOUGH.items():
        found[stage] = min(SHARES[stage], enough / seconds + 0.02)
    found["search"] = 1 - sum(share for stage, share in found.items() if stage != "search")
    return found


@dataclass(frozen=True)
class Budget:
    """Wall-clock seconds from `started` on `clock`; `math.inf` when a number of trials bounds the run instead."""

    seconds: float
    started: float
    clock: Clock = time.monotonic
    shares: Mapping[str, float] | None = None
    """Share of the seconds per stage, in the order the stages run; `shares_of(seconds)` when not given."""

    @property
    def spent(self) -> float:
        return self.clock() - self.started

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    def until(self, *stages: str) -> float:
        """Seconds left until the shares of the given stages and all before them have been used up (never below zero)."""
        shares = shares_of(self.seconds) if self.shares is None else self.shares
        last = max(list(shares).index(s) for s in stages)
        share = sum(list(shares.values())[: last + 1])
        return max(0.0, self.seconds * share - self.spent)


@dataclass(frozen=True)
class Context:
    """Handed to every stage. Jobs never see it: they carry seconds, threads and a seed of their own."""

    budget: Budget
    seed: int = 0
    threads: int = 1
    memory: int = 0
    """Bytes the run may use; 0 when unknown."""
    executor: Any = None
    store: Any = None
    sink: Sink = silent
    cancel: threading.Event = field(default_factory=threading.Event)
    """Set by Ctrl-C, SIGTERM or another process: finish with the best model so far."""

    def emit(self, kind: str, message: str = "", **data: Any) -> None:
        """Send one event, stamped with the seconds spent so far."""
        self.sink(Event(kind, message, data, round(self.budget.spent, 3)))

    def with_(self, **changes: Any) -> Context:
        return replace(self, **changes)
