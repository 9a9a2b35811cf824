"""What changed in a table that a model's contract reads, and who accepted it."""

from __future__ import annotations

from dataclasses import dataclass

from emlyn.records.data_card import Contract


@dataclass(frozen=True)
class Change:
    """One column that is not as the contract says any more."""

    column: str
    code: str
    """gone | type | recoded (these need a new model); range | level | empty | rule (these can be approved); new (nothing to decide)."""
    says: str
    """One sentence."""
    n: int = 0
    """Rows concerned."""
    approvable: bool = True
    """Whether the contract can be widened so that it fits, without learning again."""
    low: float | None = None
    high: float | None = None
    """For `range`: the wider range."""
    levels: tuple[str, ...] = ()
    """For `level`: the new ones."""


@dataclass(frozen=True)
class Approval:
    """Changes that a person accepted for one model file."""

    model: str
    digest: str
    """SHA-256 of the model file; the file itself stays as it is."""
    contract: Contract
    """What holds from now on."""
    changes: tuple[Change, ...]
    source: str
    """The table that was looked at."""
    by: str
    why: str
    at: str = ""
    """ISO 8601, UTC."""
