"""How a record shows itself in a notebook."""

from __future__ import annotations

import dataclasses
from typing import Any

from emlyn.records.codec import to_plain
from emlyn.records.data_card import DataCard
from emlyn.records.evaluation import Evaluation, Measure, Verdict
from emlyn.records.finding import Finding
from emlyn.records.run import Evidence
from emlyn.report import cells, words
from emlyn.report.blocks import Block, Facts, Items, Note, Table
from emlyn.report.discreet import discreet
from emlyn.report.html import templates


def card(record: Any) -> str:
    """A small, self-contained HTML fragment for any record: its main facts first, the rest by click. For `_repr_html_`."""
    if isinstance(record, Evidence):
        record = discreet(record)
    plain = to_plain(record)
    more: list[tuple[str, list[Block]]] = []
    facts: list[tuple[str, str]] = []
    for field in dataclasses.fields(record):
        value = plain[field.name]
        if value is None or value in ("", [], {}):
            continue
        if isinstance(value, (dict, list)):
            more.append((field.name.replace("_", " "), cells.blocks(value)))
        else:
            facts.append((field.name.replace("_", " "), cells.text(value)))
    lead = _lead(record)
    return (
        templates()
        .get_template("card.html")
        .render(kind=type(record).__name__, lead=lead, facts=Facts(facts) if facts else None, more=[m for m in more if m[1]])
    )


def _lead(record: Any) -> list[Block]:
    """The one or two lines that a reader wants first."""
    if isinstance(record, Evidence):
        return [*_lead(record.evaluation), Note(words.natural_frequencies(record.problem, record.evaluation), "quiet")]
    if isinstance(record, Evaluation):
        named = [(words.metric(k).label, words.headline(m)) for k, m in list(record.metrics.items())[:6]]
        return [Note(words.verdict_sentence(record.verdict)), Facts(named)]
    if isinstance(record, Verdict):
        return [Note(words.verdict_sentence(record))]
    if isinstance(record, Measure):
        return [Note(words.measure(record))]
    if isinstance(record, Finding):
        return [Items([cells.finding_item(to_plain(record))])]
    if isinstance(record, DataCard):
        return [Table(cells.COLUMN_HEAD, [cells.column_row(c) for c in to_plain(record)["columns"][:12]], (3, 4))]
    return []
