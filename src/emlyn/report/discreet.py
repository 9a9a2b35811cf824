"""What must not be told about single people, taken out of the evidence before anything is drawn from it."""

from __future__ import annotations

from dataclasses import replace

from emlyn.records.data_card import ColumnCard
from emlyn.records.run import Evidence

FEWEST = 5
"""A value that fewer rows than this share is not shown: it may point at one person."""


def discreet(evidence: Evidence) -> Evidence:
    """The evidence without values of columns that hold personal data (findings `privacy.personal`), rare values and example cells."""
    personal = {c for f in evidence.findings if f.code == "privacy.personal" for c in f.columns}
    columns = tuple(_hidden(c) if c.name in personal else _common(c) for c in evidence.card.columns)
    return replace(evidence, card=replace(evidence.card, columns=columns))


def _hidden(column: ColumnCard) -> ColumnCard:
    return replace(column, low=None, high=None, mean=None, std=None, quantiles=(), levels=(), examples=())


def _common(column: ColumnCard) -> ColumnCard:
    return replace(column, levels=tuple((level, n) for level, n in column.levels if n >= FEWEST), examples=())
