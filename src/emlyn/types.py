"""Names for the values that travel between rooms. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Kind = Literal["number", "boolean", "date", "category", "text"]
"""How a column's cells are meant. number, boolean and date are float64 (date: seconds since 1970, UTC); category and text are coded strings."""

Role = Literal["feature", "target", "id", "group", "time", "weight", "excluded"]
"""What a column is for in this project."""

Severity = Literal["fail", "warn", "info"]

Direction = Literal["maximize", "minimize"]

Clock = Callable[[], float]
"""Seconds, monotonic: never the wall clock, which jumps."""
