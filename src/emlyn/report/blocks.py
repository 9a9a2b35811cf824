"""The building blocks of a page: plain data that the templates know how to show. No block holds HTML except a drawn chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

from emlyn.report.charts import Figure


@dataclass(frozen=True)
class Note:
    """A paragraph; `tone` is go | care | stop | none | quiet."""

    text: str
    tone: str = "none"
    kind: ClassVar[str] = "note"


@dataclass(frozen=True)
class Item:
    """A short line with an optional badge, second line and code."""

    text: str
    more: str = ""
    badge: str = ""
    tone: str = "none"
    code: str = ""


@dataclass(frozen=True)
class Items:
    """A list of items, cut to `most` with a count of the rest."""

    items: Sequence[Item]
    most: int = 100
    kind: ClassVar[str] = "items"

    @property
    def shown(self) -> Sequence[Item]:
        return self.items[: self.most]

    @property
    def more(self) -> int:
        return max(len(self.items) - self.most, 0)


@dataclass(frozen=True)
class Bar:
    """One row of bars: a value, perhaps with an interval, its text and a remark."""

    label: str
    value: float | None
    text: str
    low: float | None = None
    high: float | None = None
    note: str = ""
    tone: str = "s1"


@dataclass(frozen=True)
class Bars:
    """Labelled bars, or dots with intervals (`dots`), on one common scale with an optional mark (noise line, baseline)."""

    rows: Sequence[Bar]
    says: str
    dots: bool = False
    mark: float | None = None
    mark_label: str = ""
    origin: float | None = 0.0
    """A value the scale must include; None for none."""
    most: int = 40
    kind: ClassVar[str] = "bars"

    @property
    def shown(self) -> Sequence[Bar]:
        return self.rows[: self.most]

    @property
    def more(self) -> int:
        return max(len(self.rows) - self.most, 0)

    @property
    def span(self) -> tuple[float, float]:
        values = [v for r in self.shown for v in (r.value, r.low, r.high) if v is not None]
        values += [v for v in (self.mark, self.origin) if v is not None]
        low, high = min(values, default=0.0), max(values, default=1.0)
        pad = 0.04 * (high - low) if self.dots else 0.0
        return (low - pad, high + pad) if high > low else (low - 0.5, high + 0.5)

    def at(self, value: float) -> str:
        """Place on the scale in per cent."""
        low, high = self.span
        return f"{100 * min(max((value - low) / (high - low), 0.0), 1.0):.1f}"

    def between(self, a: float, b: float) -> str:
        """Width between two values in per cent."""
        return f"{abs(float(self.at(b)) - float(self.at(a))):.1f}"


@dataclass(frozen=True)
class Table:
    """Rows of text; `numeric` columns are set flush right; a row of one cell is a heading over the rows below it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | Markup]]
    numeric: Sequence[int] = ()
    most: int = 100
    what: str = "rows"
    kind: ClassVar[str] = "table"

    @property
    def shown(self) -> Sequence[Sequence[str | Markup]]:
        return self.rows[: self.most]

    @property
    def more(self) -> int:
        return max(len(self.rows) - self.most, 0)


@dataclass(frozen=True)
class Heat:
    """A table of counts whose shade follows the count: the confusion of many classes."""

    labels: Sequence[str]
    counts: Sequence[Sequence[float]]
    kind: ClassVar[str] = "heat"

    @property
    def numbered(self) -> bool:
        """Many or long labels stand once, at the rows; columns then carry numbers."""
        return len(self.labels) > 4 and sum(len(label) for label in self.labels) > 60

    def shade(self, row: int, column: int) -> str:
        """0 to 1: the share of a true class that was decided so."""
        whole = sum(self.counts[row]) or 1
        return f"{self.counts[row][column] / whole:.2f}"


@dataclass(frozen=True)
class People:
    """A thousand cases as dots, with their key."""

    svg: Markup
    key: Sequence[tuple[str, int, str]]
    """(style, how many, what they are)."""
    kind: ClassVar[str] = "people"


@dataclass(frozen=True)
class Facts:
    """Names and values side by side."""

    pairs: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Figures:
    """Charts in a grid."""

    figures: Sequence[Figure]
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Fold:
    """A list that opens by click."""

    title: str
    items: Items
    kind: ClassVar[str] = "fold"


Block = Fold | Note | Items | Bars | Table | Heat | People | Facts | Figures | Heading


@dataclass(frozen=True)
class Section:
    """One question with its answer and what shows it."""

    id: str
    title: str
    lead: str = ""
    blocks: Sequence[Block] = field(default_factory=tuple)
    count: str = ""
    """For a section by click: how much is in it."""
