"""What happens during a run, as small facts that any sink may show, store or ignore."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One fact. `kind` is dotted (`stage.start`, `trial.end`, `note`); `data` holds plain JSON values."""

    kind: str
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0
    """Seconds since the run began."""


Sink = Callable[[Event], None]


def silent(event: Event) -> None:
    """A sink for callers that do not watch."""


def fan_out(*sinks: Sink) -> Sink:
    """One sink that passes every event to each of `sinks`, in order."""

    def send(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return send
