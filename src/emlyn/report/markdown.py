"""Blocks as Markdown, for documents that go into a repository, and the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emlyn.records.run import Evidence
from emlyn.report import words
from emlyn.report.blocks import Bars, Block, Facts, Figures, Fold, Heading, Heat, Items, Note, People, Section, Table
from emlyn.report.charts import Figure

SPECIAL = re.compile(r"([\\`*_\[\]|#~])")
PIPELINES = {"binary": "tabular-classification", "multiclass": "tabular-classification", "regression": "tabular-regression"}


def plain(text: Any) -> str:
    """Text from data as Markdown that shows exactly that text: one line, no mark-up, no HTML."""
    one = " ".join(str(text).split())
    return SPECIAL.sub(r"\\\1", one.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join("---" if cell == "---" and i == 1 else plain(cell) for cell in line) + " |" for i, line in enumerate(lines))


def _items(b: Items) -> str:
    lines = []
    for i in b.shown:
        said = " ".join(filter(None, (f"{i.badge}:" if i.badge else "", i.text, i.more)))
        lines.append(f"- {plain(said)}" + (f" ({plain(i.code)})" if i.code else ""))
    return "\n".join([*lines, *([f"- and {b.more:,} more"] if b.more else [])])


def _table(b: Table) -> str:
    return table(b.head, b.shown) + (f"\n\nand {b.more:,} more {b.what}" if b.more else "")


def _bars(b: Bars) -> str:
    rows = [(r.label, r.text, words.span(r.low, r.high) or "–", r.note) for r in b.shown]
    return table(("", "value", "range", ""), rows) + (f"\n\nand {b.more:,} more" if b.more else "")


def _heat(b: Heat) -> str:
    return table(("truth ↓, model →", *b.labels), [(label, *(f"{c:,.0f}" for c in line)) for label, line in zip(b.labels, b.counts, strict=True)])


def _figure(f: Figure) -> str:
    """A chart as what it says and the numbers behind it, at most `MOST_POINTS` of them."""
    every = max(-(-len(f.rows) // MOST_POINTS), 1)
    return f"**{plain(f.title)}** {plain(f.says)}\n\n{table(f.head, f.rows[::every])}"


MOST_POINTS = 12

WRITE: dict[type, Callable[[Any], str]] = {
    Note: lambda b: plain(b.text),
    Heading: lambda b: f"**{plain(b.text)}**",
    Items: _items,
    Table: _table,
    Facts: lambda b: "\n".join(f"- {plain(k)}: {plain(v)}" for k, v in b.pairs),
    Bars: _bars,
    Heat: _heat,
    People: lambda b: "\n".join(f"- {n:,} {plain(said)}" for _, n, said in b.key),
    Figures: lambda b: "\n\n".join(_figure(f) for f in b.figures),
    Fold: lambda b: f"{plain(b.title)}\n\n{_items(b.items)}",
}


def block(b: Block) -> str:
    """One block; a chart becomes what it says and some of its numbers."""
    return WRITE[type(b)](b)


def report(values: Mapping[str, Any]) -> str:
    """The report as Markdown: verdict and score, the answers in their order, then the details."""
    hero, evidence = values["hero"], values["evidence"]
    out = [f"# {plain(values['title'])}", f"**{plain(hero.title)}.** {plain(hero.why)}", *([_list(hero.others)] if hero.others else [])]
    out.append(f"{plain(hero.metric)}: **{plain(hero.score)}**. {plain(hero.means)}".rstrip())
    out.append(_list([f"{k}: {v}" for k, v in hero.facts]))
    for place, section in enumerate(values["sections"], 2):
        out += [f"## {place}. {plain(section.title)}", *_section(section)]
    out.append("## The details")
    for section in values["details"]:
        out += [f"### {plain(section.title)}" + (f" ({plain(section.count)})" if section.count else ""), *_section(section)]
    out.append(f"Made by emlyn {plain(evidence.lineage.code_version)} from one evidence record.")
    return "\n\n".join(out) + "\n"


def _section(section: Section) -> list[str]:
    return [*([plain(section.lead)] if section.lead else []), *(block(b) for b in section.blocks)]


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def document(values: Mapping[str, Any]) -> str:
    """A whole document: title, what is open, and each item with its answers and its empty cell for a person."""
    made = values["made"]
    out = [
        f"# {plain(made['title'])}: {plain(values['name'])}",
        f"{plain(made['about'])} Mapping version {plain(made['version'])}, after {plain(made['source'])}.",
        f"{values['filled']} of {values['items']} items hold evidence; {values['open']} need a person and are marked HUMAN.",
    ]
    for title, cells in values["sections"]:
        out.append(f"## {plain(title)}")
        for cell in cells:
            out.append(f"### {plain(cell.item)} {plain(cell.title)}")
            for label, path, blocks in cell.found:
                head = f"**{plain(label)}** (`{path}`)"
                out += [f"{head}: {block(blocks[0])}"] if len(blocks) == 1 and isinstance(blocks[0], Note) else [head, *(block(b) for b in blocks)]
            if cell.nowhere:
                out.append("Not in this evidence: " + ", ".join(f"`{p}`" for p in cell.nowhere))
            if cell.human:
                out.append(f"> **HUMAN:** {plain(cell.human)}\n>\n> …")
    out.append(f"Evidence digest (SHA-256): `{values['digest']}`")
    return "\n\n".join(out) + "\n"


def front_matter(evidence: Evidence) -> str:
    """YAML that the Hugging Face hub reads: task, tags and a model index with every metric. The licence is for a person to choose."""
    problem, evaluation = evidence.problem, evidence.evaluation
    task = PIPELINES.get(problem.task, "tabular-classification")
    lines = ["---", "# HUMAN: license", "library_name: emlyn", f"pipeline_tag: {task}", "tags:", "- tabular", f"- {task}", f"- {_yaml(problem.task)}"]
    measured = {k: m for k, m in evaluation.metrics.items() if m.value is not None}
    if measured:
        lines += [
            "metrics:",
            *(f"- {_yaml(k)}" for k in measured),
            "model-index:",
            f"- name: {_yaml(evidence.model or problem.target)}",
            "  results:",
        ]
        lines += [
            "  - task:",
            f"      type: {task}",
            "    dataset:",
            f"      name: {_yaml(evidence.lineage.data or evidence.card.source)}",
            "      type: tabular",
            f"      revision: {_yaml(evidence.lineage.data_digest)}",
            "    metrics:",
        ]
        for name, m in measured.items():
            span = words.between(m.low, m.high)
            lines += [
                f"    - type: {_yaml(name)}",
                f"      name: {_yaml(words.metric(name).label + (f' ({span})' if span else ''))}",
                f"      value: {_number(m.value)}",
            ]
    return "\n".join([*lines, "---", "", ""])


def _number(value: float | None) -> str:
    """A YAML number: its exponent needs a point before it."""
    text = json.dumps(value)
    return text.replace("e", ".0e") if "." not in text else text


def _yaml(text: str) -> str:
    """A YAML string: JSON's form, without the control characters and lone surrogates that YAML does not allow."""
    return json.dumps("".join(c if c.isprintable() else " " for c in str(text)), ensure_ascii=False).replace("<", "\\u003c")
