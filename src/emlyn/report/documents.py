"""Documents from one evidence record: what the evidence holds is filled in, what only a person knows stays visible and empty.

Each kind is a versioned mapping in `mappings/<kind>.json`: items with their number, a title in our own words, labelled paths into the evidence
(`from`, see `cells`) and, where a person must answer, the question (`human`). Laws and guidelines change: then the file changes, not the code.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec

from emlyn.errors import DataError, OptionError
from emlyn.records.codec import from_json, to_json
from emlyn.records.run import Evidence
from emlyn.report import cells, markdown, words
from emlyn.report.blocks import Block, Items, Note, Table
from emlyn.report.changes import diff
from emlyn.report.discreet import discreet
from emlyn.report.html import templates

__all__ = ["diff", "document", "evidence_json", "kinds", "read_evidence"]

FORMATS = ("html", "markdown")
EVIDENCE_FORMAT = "emlyn.evidence/1"


@dataclass(frozen=True)
class Cell:
    """One item of a document."""

    item: str
    title: str
    found: tuple[tuple[str, str, tuple[Block, ...]], ...]
    """(label, path, blocks) of every path that led somewhere."""
    nowhere: tuple[str, ...]
    """Paths that did not, for this model."""
    human: str


@functools.cache
def kinds() -> tuple[str, ...]:
    """The documents that can be made."""
    return tuple(sorted(f.name.removesuffix(".json") for f in files("emlyn.report").joinpath("mappings").iterdir() if f.name.endswith(".json")))


@functools.cache
def mapping(kind: str) -> dict[str, Any]:
    """The mapping of a kind. Raises OptionError for one that does not exist."""
    if kind not in kinds():
        raise OptionError(
            f"there is no document of the kind {kind!r}", where="--as", allowed=", ".join(kinds()), next_step=f"for example: --as {kinds()[-1]}"
        )
    loaded: dict[str, Any] = json.loads(files("emlyn.report").joinpath("mappings").joinpath(f"{kind}.json").read_text("utf-8"))
    return loaded


def document(evidence: Evidence, kind: str, format: str = "html") -> str:
    """A document about one model, as a self-contained HTML page ready for print or as Markdown; the same evidence gives the same text.

    Raises OptionError for an unknown kind or format.
    """
    made = mapping(kind)
    if format not in FORMATS:
        raise OptionError(f"a document cannot be written as {format!r}", where="--format", allowed=", ".join(FORMATS))
    evidence = handed_on(evidence)
    root = cells.plain(evidence)
    shown: dict[str, str] = {}
    sections = [(s["title"], [_cell(i, root, shown) for i in s["items"]]) for s in made["sections"]]
    name = evidence.model or words.short(evidence.lineage.data, 60)
    every = [c for _, group in sections for c in group]
    values = {
        "made": made,
        "name": name,
        "sections": sections,
        "items": len(every),
        "filled": sum(bool(c.found) for c in every),
        "open": sum(bool(c.human) for c in every),
        "digest": digest(evidence),
        "evidence": evidence,
    }
    if format == "html":
        return templates().get_template("document.html").render(values)
    front = markdown.front_matter(evidence) if kind == "model-card" else ""
    return front + markdown.document(values)


def _cell(item: dict[str, Any], root: dict[str, Any], shown: dict[str, str]) -> Cell:
    """One item; what is long and stood in an earlier one (`shown`: path -> item) is only pointed at."""
    found: list[tuple[str, str, tuple[Block, ...]]] = []
    nowhere: list[str] = []
    for label, path in item.get("from", {}).items():
        blocks = cells.blocks(cells.follow(root, path))
        if path in shown:
            found.append((label, path, (Note(f"As under {shown[path]}.", "quiet"),)))
        elif blocks:
            found.append((label, path, tuple(blocks)))
            if any(isinstance(b, (Table, Items)) for b in blocks):
                shown[path] = item["item"]
        else:
            nowhere.append(path)
    return Cell(item["item"], item["title"], tuple(found), tuple(nowhere), item.get("human", ""))


def digest(evidence: Evidence) -> str:
    """SHA-256 of the JSON of the evidence as it is handed on (`discreet`), in hex: the one that the evidence file and every document name."""
    return hashlib.sha256(to_json(handed_on(evidence))).hexdigest()


def handed_on(evidence: Evidence) -> Evidence:
    """The evidence as it comes back from the store, without what points at single people."""
    return discreet(from_json(to_json(evidence), Evidence))


def evidence_json(evidence: Evidence) -> bytes:
    """The evidence file: format, digest of what follows, evidence (`handed_on`). The same evidence gives the same bytes."""
    evidence = handed_on(evidence)
    return to_json({"format": EVIDENCE_FORMAT, "digest": digest(evidence), "evidence": evidence}) + b"\n"


def read_evidence(raw: bytes) -> Evidence:
    """An evidence file, checked against its digest. Raises DataError when it is none, or was changed after it was written."""
    try:
        whole = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        stated = msgspec.json.decode(whole["digest"], type=str)
        inside = bytes(whole["evidence"])
        evidence = from_json(inside, Evidence)
    except (msgspec.DecodeError, KeyError) as e:
        raise DataError(f"this is not an evidence file: {e}", allowed="a file written by emlyn report MODEL --as evidence") from e
    if hashlib.sha256(inside).hexdigest() != stated:
        raise DataError("this evidence file was changed after it was written: its digest does not match", next_step="write it again from the model")
    return evidence
