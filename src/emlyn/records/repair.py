"""A typed, reversible change to how a table is read."""

from __future__ import annotations

from dataclasses import dataclass

from emlyn.records.data_card import Parse
from emlyn.types import Kind, Role


@dataclass(frozen=True)
class Repair:
    """One change, tied to the finding that asked for it. Applied to the data card, so it is frozen in the model's contract."""

    finding: str
    """Id of the finding."""
    code: str
    column: str = ""
    kind: Kind | None = None
    parse: Parse | None = None
    role: Role | None = None
    drop_rows: tuple[int, ...] = ()
    """Training rows left out (never rows that are asked about)."""
    safe: bool = True
    """Made by `--repairs safe`; otherwise only by `--repairs all`."""
    says: str = ""
    """What it does, in one sentence."""
    before: float | None = None
    after: float | None = None
    """The score on the same folds before and after, where it was measured: of this repair and all others with the same code together."""
    measured: str = ""
    """What `before` and `after` compare, or why they were not measured."""
