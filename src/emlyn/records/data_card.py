"""What a table holds, and how each of its columns is read: the data card and the contract made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from emlyn.types import Kind, Role


@dataclass(frozen=True)
class Parse:
    """How raw cells of one column become values; learned from the training table, frozen in the model.

    Applied in this order: strip, `missing` tokens, `merge` of spellings, then by the column's kind.
    """

    missing: tuple[str, ...] = ()
    """Texts that mean "no value" here, compared after strip, case ignored (the empty cell always does)."""
    merge: dict[str, str] = field(default_factory=dict)
    """Spelling variants: written form -> kept form."""
    decimal: str = "."
    thousands: str = ""
    affixes: tuple[str, ...] = ()
    """Texts removed before a number is read: currency signs, units, `%`."""
    scale: dict[str, float] = field(default_factory=dict)
    """Unit suffix -> factor, where one column mixes units (`kg`: 1, `g`: 0.001)."""
    not_numbers: tuple[float, ...] = ()
    """Numbers that mean "no value": sentinels such as -999, or 0 where nothing can be 0."""
    dates: tuple[str, ...] = ()
    """strptime formats in the order tried; `epoch_s`, `epoch_ms` and `yyyymmdd` for dates written as numbers."""
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    clip: tuple[float, float] | None = None
    """Values outside are set to the bound (only by a repair that says so)."""


@dataclass(frozen=True)
class ColumnCard:
    """One column: what it is, why we think so, and what it holds."""

    name: str
    kind: Kind
    role: Role = "feature"
    why: str = ""
    """The reason for kind and role, one sentence."""
    parse: Parse = field(default_factory=Parse)
    stored: str = ""
    """The type in the source: `text`, `number`, `boolean`, `date`."""
    rows: int = 0
    missing: int = 0
    distinct: int = 0
    unreadable: int = 0
    """Cells that do not fit `kind` and count as missing."""
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: tuple[float, ...] = ()
    """At 1, 5, 25, 50, 75, 95, 99 %."""
    integral: bool = False
    levels: tuple[tuple[str, int], ...] = ()
    """Most frequent levels with their counts, at most 50."""
    examples: tuple[str, ...] = ()
    """A few raw cells that were unreadable or repaired; never cells of a private column."""


@dataclass(frozen=True)
class DataCard:
    """A whole table."""

    source: str
    rows: int
    columns: tuple[ColumnCard, ...]
    digest: str = ""
    """SHA-256 over names, types and cells, so that the same data has the same digest."""
    dialect: dict[str, str] = field(default_factory=dict)
    """How a file was read: delimiter, quote, encoding, compression, header."""
    notes: tuple[str, ...] = ()
    """What the reader had to repair: ragged lines, duplicate names, NUL bytes."""
    sampled: int = 0
    """Rows looked at where not all were; 0 = all."""

    def column(self, name: str) -> ColumnCard:
        """The card of that column. Raises KeyError."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, ColumnCard]:
        return {card.name: card for card in self.columns}

    def names(self, role: Role) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.role == role)


@dataclass(frozen=True)
class ColumnRule:
    """What one column of a request must look like."""

    name: str
    kind: Kind
    parse: Parse = field(default_factory=Parse)
    required: bool = True
    """A missing column is refused; a missing optional one is filled with "no value"."""
    nullable: bool = True
    """False where training never saw a missing cell: such a cell is accepted and reported, not refused."""
    low: float | None = None
    high: float | None = None
    integral: bool = False
    levels: tuple[str, ...] = ()
    """Every level seen in training, at most 1,000 (none for text)."""
    position: int = 0
    """Place in the training table, for protocols that send rows without names."""
    description: str = ""


@dataclass(frozen=True)
class CrossRule:
    """A relation between two columns that (almost) every training row kept, e.g. start <= end."""

    left: str
    relation: str
    """`<=`."""
    right: str
    share: float = 1.0
    """Share of the training rows that kept it."""


@dataclass(frozen=True)
class Contract:
    """The frozen description of the rows a model accepts; enforced at training, in batch and at the door."""

    columns: tuple[ColumnRule, ...]
    rules: tuple[CrossRule, ...] = ()
    version: int = 1
