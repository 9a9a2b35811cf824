"""Progress as it happens: a live view on a terminal, plain lines in a pipe. Always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from emlyn.core import wording
from emlyn.events import Event

STAGES = {
    "read": "Reading",
    "profile": "Getting to know the columns",
    "frame": "Framing the question",
    "seal": "Putting rows under seal",
    "audit": "Auditing the data",
    "plan": "Planning experiments",
    "search": "Running experiments",
    "ensemble": "Combining the best",
    "second look": "Measuring what the audit changed",
    "evaluate": "Evaluating on unseen rows",
    "explain": "Explaining",
    "package": "Packaging and registering",
}
QUIET = {"stage.start", "stage.end", "budget"}


def number(value: Any) -> str:
    """A score with four significant digits."""
    return "-" if value is None or value != value else wording.number(value, 4)


class Lines:
    """One plain line per fact, for pipes and logs."""

    def __init__(self, budget: float) -> None:
        self.budget = budget

    def __call__(self, event: Event) -> None:
        text = ""
        if event.kind == "stage.start":
            text = STAGES.get(event.message, event.message)
        elif event.kind == "trial.end":
            text = _trial_line(event)
        elif event.kind not in QUIET and event.message:
            text = event.message
        if text:
            print(f"[{event.at:6.1f}s] {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to tidy."""


class Live:
    """A small live panel: stage, trials, best score with its spread, time left; finished stages stay above it."""

    def __init__(self, budget: float) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.budget, self.began = budget, time.monotonic()
        self.stage, self.trials, self.best, self.last = "Starting", 0, "", ""
        self.console = Console(stderr=True)
        self.live = RichLive(self, console=self.console, refresh_per_second=4, transient=True)
        self.live.start()

    def __call__(self, event: Event) -> None:
        if event.kind == "stage.start":
            self.stage = STAGES.get(event.message, event.message)
        elif event.kind == "stage.end":
            self.console.print(f"[green]✓[/] {STAGES.get(event.message, event.message)} [dim]{event.data.get('seconds', 0):.1f} s[/]")
        elif event.kind == "trial.end":
            self.trials += 1
            self.last = _trial_line(event)
            if event.data.get("best") is not None:
                self.best = f"{event.data.get('metric', '')} {number(event.data['best'])}" + (
                    f" ± {number(event.data['best_spread'])}" if event.data.get("best_spread") else ""
                )
        elif event.kind not in QUIET and event.message:
            self.console.print(f"  [dim]{_plain(event.message)}[/]")

    def __rich__(self) -> Any:
        from rich.panel import Panel
        from rich.table import Table

        left = max(0.0, self.budget - (time.monotonic() - self.began))
        grid = Table.grid(padding=(0, 2))
        grid.add_row("[bold]" + self.stage, f"{left:.0f} s left" if left < 1e8 else "")
        if self.trials:
            grid.add_row(f"{self.trials} trials", f"best {self.best}")
            grid.add_row(f"[dim]{_plain(self.last)}", "")
        return Panel(grid, title="emlyn", border_style="cyan", expand=False)

    def close(self) -> None:
        self.live.stop()


def _plain(text: str) -> str:
    """Text from the data must not be read as markup."""
    return text.replace("[", "\\[")


def _trial_line(event: Event) -> str:
    data = event.data
    score = number(data.get("score"))
    spread = f" ± {number(data['spread'])}" if data.get("spread") else ""
    best = f"; best {number(data['best'])}" if data.get("best") is not None else ""
    if data.get("score") is None:  # never begun: only a failure is worth a line, the journal has the rest
        return f"trial {event.message}" if data.get("status") == "failed" else ""
    kept = "" if data.get("status") == "done" else f", {data.get('status')}"
    return f"trial {data.get('recipe', '')}: {data.get('metric', 'score')} {score}{spread}{kept}{best}"


def watch(budget: float, quiet: bool = False) -> Lines | Live:
    """The view that fits where stderr goes."""
    return Live(budget) if sys.stderr.isatty() and not quiet else Lines(budget)
