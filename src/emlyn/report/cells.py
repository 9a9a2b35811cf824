"""From a path into the evidence to what a document's cell shows. Nothing is invented: a path that leads nowhere gives no block.

A path is names joined by dots; `[key=start]` keeps those items of a list whose `key` starts so: `findings[code=leakage]`.
Beside the fields of the evidence there is `said`, the sentences of the report's one page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emlyn.records.codec import to_plain
from emlyn.records.run import Evidence
from emlyn.report import page, words
from emlyn.report.blocks import Block, Facts, Item, Items, Note, Table

MOST = 60
"""Entries of a mapping shown before the rest is only counted."""
STEP = re.compile(r"(?P<name>[A-Za-z_][\w]*)(?:\[(?P<key>\w+)=(?P<start>[^\]]*)\])?")


def plain(evidence: Evidence) -> dict[str, Any]:
    """The evidence as dicts and lists, with `said` beside its fields."""
    evaluation = evidence.evaluation
    sections = {s.id: s for s in page.sections(evidence)}
    said: dict[str, Any] = {
        "verdict": words.verdict_sentence(evaluation.verdict),
        "frequencies": words.natural_frequencies(evidence.problem, evaluation),
        "baseline": words.against_baseline(evidence.problem, evaluation),
        "measured_on": words.measured_on(evaluation),
    }
    for name in ("not-for", "next", "weaker", "silence", "repairs"):
        lists = [b for b in sections[name].blocks if isinstance(b, Items)]
        said[name.replace("-", "_")] = [
            t for t in (sections[name].lead, *(" ".join(filter(None, (i.text, i.more))) for b in lists for i in b.items)) if t
        ]
    return {**to_plain(evidence), "said": said}


def steps(path: str) -> list[tuple[str, str, str]]:
    """A path as (name, key, start) steps. Raises ValueError where it is not one."""
    found = [STEP.fullmatch(part) for part in path.split(".")]
    if not all(found):
        raise ValueError(f"{path!r} is not a path into the evidence")
    return [(m["name"], m["key"] or "", m["start"] or "") for m in found if m]


def follow(root: Mapping[str, Any], path: str) -> Any:
    """The value at the end of a path; None where it leads nowhere."""
    value: Any = root
    for name, key, start in steps(path):
        value = value.get(name) if isinstance(value, Mapping) else None
        if key and isinstance(value, Sequence):
            value = [v for v in value if isinstance(v, Mapping) and str(v.get(key, "")).startswith(start)]
    return value


def blocks(value: Any) -> list[Block]:
    """What a value looks like, by its shape; empty for no value."""
    if value is None or value == "" or (isinstance(value, (Mapping, Sequence)) and not value):
        return []
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, (list, tuple)):
        return _sequence(list(value))
    return [Note(text(value))]


def text(value: Any) -> str:
    """A plain value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return words.count(value)
    if isinstance(value, float):
        return words.number(value)
    return " ".join(str(value).split())


def is_measure(value: Any) -> bool:
    return isinstance(value, Mapping) and {"value", "low", "high", "n", "method"} <= value.keys()


def measure(value: Mapping[str, Any]) -> str:
    """Value, range, rows and method in one line."""
    span = words.between(value["low"], value["high"])
    parts = [p for p in (span, f"n = {value['n']:,}" if value["n"] else "", value["method"]) if p]
    return words.number(value["value"]) + (f" ({'; '.join(parts)})" if parts else "")


def _mapping(value: Mapping[str, Any]) -> list[Block]:
    if is_measure(value):
        return [Note(measure(value))]
    if all(is_measure(v) for v in value.values()):
        order = {name: i for i, name in enumerate(words.METRICS)}
        rows = [
            (
                words.metric(k).label,
                words.number(m["value"]),
                words.span(m["low"], m["high"]) or "–",
                f"{m['n']:,}",
                m["method"],
            )
            for k, m in sorted(value.items(), key=lambda pair: (order.get(pair[0], len(order)), pair[0]))
        ]
        return [Table(("metric", "value", "range", "rows", "method"), rows, (1, 2, 3))]
    if value.get("counts") and value.get("labels"):
        labels = [words.short(label, 40) for label in value["labels"]]
        counted = [(label, *(text(c) for c in line)) for label, line in zip(labels, value["counts"], strict=True)]
        return [Note(str(value.get("sentence", "Rows counted."))), Table(("truth ↓, decided →", *labels), counted, tuple(range(1, len(labels) + 1)))]
    if value.get("sentence"):
        return [Note(str(value["sentence"])), *([Note(str(value["left_out"]), "quiet")] if value.get("left_out") else [])]
    pairs = [
        (str(k), measure(v) if is_measure(v) else text(v))
        for k, v in value.items()
        if v not in (None, "") and (is_measure(v) or not isinstance(v, (Mapping, list)))
    ]
    rest: list[Block] = [Note(f"and {len(pairs) - MOST:,} more", "quiet")] if len(pairs) > MOST else []
    return [Facts(pairs[:MOST]), *rest] if pairs else []


def finding_item(f: Mapping[str, Any]) -> Item:
    """A finding as a line of a list."""
    done = f"{'Done' if f.get('applied') else 'Proposed'}: {f['fix']}" if f.get("fix") else ""
    return Item(words.sentence(str(f["message"])), words.sentence(done), words.SEVERITIES[f["severity"]], code=str(f["code"]))


def column_row(c: Mapping[str, Any]) -> tuple[str, ...]:
    """A column card as a row under `COLUMN_HEAD`."""
    spread = f"{words.number(c['low'])} to {words.number(c['high'])}" if c["low"] is not None and c["kind"] == "number" else ""
    if c["levels"] and c["kind"] not in ("text", "number"):
        spread = words.listed([f"{words.short(level, 30)} ({n:,})" for level, n in c["levels"]], 5)
    return (
        words.short(c["name"], 120),
        c["role"],
        c["kind"],
        words.percent(c["missing"] / c["rows"]) if c["rows"] else "–",
        words.count(c["distinct"]),
        spread,
    )


def _trial(t: Mapping[str, Any]) -> tuple[str, ...]:
    settings = ", ".join(f"{k}={v}" for k, v in t["recipe"]["params"].items())
    return (
        t["recipe"]["name"],
        t["recipe"]["learner"],
        words.number(t["score"]),
        words.number(t["spread"]),
        words.percent(t["weight"]) if t["weight"] else "–",
        words.short(settings, 200) if settings else "–",
    )


def _driver(d: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        words.short(d["column"], 120),
        words.number(d["importance"]),
        words.span(d["low"], d["high"]) or "–",
        d["direction"],
    )


def _gap(c: Mapping[str, Any]) -> list[Item]:
    return [Item(str(g["sentence"]), badge=str(g["verdict"])) for g in c.get("gaps", [])]


COLUMN_HEAD = ("column", "role", "kind", "empty", "distinct", "what it holds")
SHAPES: tuple[tuple[set[str], tuple[str, ...], tuple[int, ...], Callable[[Mapping[str, Any]], tuple[str, ...]]], ...] = (
    ({"name", "kind", "parse"}, COLUMN_HEAD, (3, 4), column_row),
    ({"recipe", "score", "folds"}, ("recipe", "learner", "score", "standard error", "share of the model", "settings"), (2, 3, 4), _trial),
    ({"column", "importance"}, ("column", "importance", "between", "direction"), (1, 2), _driver),
)
"""Lists that become tables: keys that tell them apart, heading, numeric columns, one row."""


def _sequence(values: list[Any]) -> list[Block]:
    first = values[0]
    if not isinstance(first, Mapping):
        long = any(len(str(v)) > 60 for v in values)
        return [Items([Item(text(v)) for v in values], most=40)] if long else [Note(words.listed([text(v) for v in values], 60))]
    if {"code", "severity", "message"} <= first.keys():
        return [Items([finding_item(f) for f in values], most=60)]
    if {"finding", "code", "says"} <= first.keys():
        return [Items([Item(words.repair_sentence(r["says"] or r["code"], (r["column"],)), code=r["code"]) for r in values], most=60)]
    if {"taken", "flag"} <= first.keys():
        return [Items([Item(words.sentence(q["text"]), f"Safe answer taken: {q['taken']}.", code=q["flag"]) for q in values], most=40)]
    if "gaps" in first:
        items = [item for c in values for item in _gap(c)]
        return [Items(items)] if items else []
    for keys, head, numeric, row in SHAPES:
        if keys <= first.keys():
            return [Table(head, [row(v) for v in values], numeric, most=100)]
    if all("sentence" in v for v in values):
        return [Items([Item(str(v["sentence"])) for v in values])]
    heads = [k for k in first if not isinstance(first[k], (list, dict)) or is_measure(first[k])][:8]
    rows = [tuple(measure(v[k]) if is_measure(v.get(k)) else text(v.get(k) if v.get(k) is not None else "–") for k in heads) for v in values]
    return [Table([h.replace("_", " ") for h in heads], rows)]
