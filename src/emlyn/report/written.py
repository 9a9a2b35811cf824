"""Everything that can be written about a model, as the bytes of one file: the report, a document, what changed, the evidence itself."""

from __future__ import annotations

from emlyn.errors import OptionError
from emlyn.records.run import Evidence
from emlyn.report import changes, documents, markdown
from emlyn.report.html import page_values, render

SUFFIXES = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".json": "json"}
"""What the end of a file's name asks for."""


def kinds() -> tuple[str, ...]:
    """What `--as` takes."""
    return ("report", *documents.kinds(), "evidence")


def usual(kind: str) -> str:
    """The suffix a kind is written with when nothing is said."""
    return {"report": ".html", "evidence": ".json"}.get(kind, ".md")


def written(evidence: Evidence, kind: str, suffix: str, against: Evidence | None = None) -> bytes:
    """The file of a kind, in the format that its suffix asks for; with `against`, an older version, what changed between the two.

    Raises OptionError for an unknown kind or suffix, and for a format that a kind does not have.
    """
    if kind not in kinds():
        allowed = ", ".join(kinds())
        raise OptionError(f"there is no document of the kind {kind!r}", where="--as", allowed=allowed, next_step="for example: --as model-card")
    format = SUFFIXES.get(suffix.lower(), "")
    if format not in (("json",) if kind == "evidence" else ("html", "markdown")):
        fits = [s for s, f in SUFFIXES.items() if (f == "json") == (kind == "evidence")]
        paper = "; for PDF, open the HTML in a browser and print it: it is set for A4" if suffix.lower() == ".pdf" and kind != "evidence" else ""
        raise OptionError(
            f"{kind} cannot be written as {suffix!r}" if suffix else "the file has no suffix, so its format is not known",
            where="--out",
            allowed=", ".join(fits),
            next_step=f"name the file like this: --out {kind}{usual(kind)}{paper}",
        )
    if kind == "evidence":
        return documents.evidence_json(evidence)
    if against is not None:
        return changes.page(against, evidence, format).encode()
    if kind == "report":
        return (render(evidence) if format == "html" else markdown.report(page_values(evidence))).encode()
    return documents.document(evidence, kind, format).encode()
