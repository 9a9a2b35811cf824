"""One training as a door opens it: workspace, budget, signals; and the result in the shape that doors answer with."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from emlyn import engineer
from emlyn.context import Budget, Context
from emlyn.core.machine import usable_cores, usable_memory
from emlyn.core.storing.durable import write_durably
from emlyn.core.storing.workspace import Workspace
from emlyn.doors import results
from emlyn.errors import Interrupted
from emlyn.events import Event, Sink, fan_out
from emlyn.records.options import TrainOptions

STOPPING = (signal.SIGINT, signal.SIGTERM)


def make_context(options: TrainOptions, sink: Sink, started_ago: float = 0.0, **more: Any) -> Context:
    """A context for these options: budget from when the command began, the cores and the memory that may be used."""
    seconds = math.inf if options.trials is not None else options.budget
    return Context(
        budget=Budget(seconds, time.monotonic() - started_ago),
        seed=options.seed,
        threads=options.jobs or usable_cores(),
        memory=options.memory or usable_memory(),
        sink=sink,
        **more,
    )


class Session:
    """Holds the store open and answers Ctrl-C and SIGTERM by finishing with the best model so far. Use with `with`."""

    def __init__(self, options: TrainOptions, sink: Sink, started_ago: float = 0.0) -> None:
        self.options = options
        self.cancel = threading.Event()
        self.context = make_context(options, fan_out(self._watch, sink), started_ago, cancel=self.cancel)
        self.first: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Session:
        self.store = Workspace.find().open_store()
        self.context = self.context.with_(store=self.store)
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._stop) for s in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.store.close()

    def train(self, data: Any) -> tuple[dict[str, Any], engineer.Trained]:
        """Run the main job; returns what `--json` prints, and the records behind it.

        Raises KeyboardInterrupt when stopped before there was a model.
        """
        from emlyn.report.html import render  # the templates' machinery is not needed before there is a model

        try:
            trained = engineer.train(data, self.options, self.context, render)
        except Interrupted as stopped:
            if self.cancel.is_set():
                raise KeyboardInterrupt from stopped
            raise
        if self.options.out:
            write_durably(Path(self.options.out), trained.report.encode())
        times = {"wall_s": round(self.context.budget.spent, 3), "budget_s": self.options.budget, "first_model_s": self.first}
        return results.train(trained.version, trained.evidence, times), trained

    def _watch(self, event: Event) -> None:
        if self.first is None and event.kind == "model.first":
            self.first = event.at

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal finishes with the best model so far; a second one leaves at once."""
        if self.cancel.is_set():
            with contextlib.suppress(ValueError):
                signal.signal(number, self._before.get(number, signal.SIG_DFL))
            raise KeyboardInterrupt
        self.cancel.set()
        self.context.emit("note", "stopping: finishing with the best model so far (once more to leave at once)")
