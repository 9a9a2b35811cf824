"""`emlyn report`: which evidence, drawn as what, into which file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from emlyn.core.storing import registry
from emlyn.core.storing.durable import write_durably
from emlyn.core.storing.workspace import Workspace
from emlyn.errors import DataError, OptionError
from emlyn.records.codec import from_json
from emlyn.records.evaluation import Evaluation
from emlyn.records.run import Evidence
from emlyn.report import waterfall
from emlyn.report.changes import grouped
from emlyn.report.documents import digest, read_evidence
from emlyn.report.written import usual, written

MOST_ROWS = 20
"""Rows whose reasons are drawn."""


def report(model: str, out: str | None = None, *, as_: str = "report", against: str | None = None) -> dict[str, Any]:
    """Write the report, a document, the evidence file or, with `against`, what changed since another version.

    `model` and `against` are models or evidence files (`.json`), which are checked against their digest. Changes go into a file only with `out`.
    Raises ModelError for an unknown model, OptionError for an unknown kind or suffix, DataError for a file that was changed.
    """
    name, evidence = evidence_of(model)
    older, old = evidence_of(against) if against else ("", None)
    if old is not None and as_ != "report":
        raise OptionError("--against says what changed, which is no document of another kind", where="--as", next_step=f"leave --as {as_} out")
    path = write(evidence, name, out, as_, old) if out or old is None else ""
    said = {"model": name, "as": "changes" if against else as_, "out": path, "digest": digest(evidence)}
    return said | ({"against": older, "changes": dict(grouped(old, evidence))} if old is not None else {})


def draw_reasons(result: dict[str, Any], out: str) -> None:
    """Write the reasons that `explain` answers with as a page of pictures, for the first rows."""
    write_durably(Path(out), waterfall.page({**result, "rows": result["rows"][:MOST_ROWS]}).encode())


def judged_anew(evidence: Evidence, found: Evaluation) -> Evidence:
    """The evidence with another evaluation; rows that were under seal stay out of those it learned from."""
    sealed = evidence.evaluation.rows if evidence.evaluation.method == "sealed rows" else 0
    lineage = replace(evidence.lineage, rows=evidence.lineage.rows - sealed)
    return replace(evidence, evaluation=found, findings=tuple(f for f in evidence.findings if not f.code.startswith("model.")), lineage=lineage)


def evidence_of(reference: str) -> tuple[str, Evidence]:
    """(name, evidence) of a model, or of an evidence file. No learner's library is needed. Raises ModelError, DataError."""
    path = Path(reference)
    if path.suffix == ".json":
        if not path.is_file():
            raise DataError("there is no such evidence file", where=reference, next_step="emlyn report MODEL --as evidence writes one")
        evidence = read_evidence(path.read_bytes())
        return evidence.model or path.stem, evidence
    if path.suffix == registry.FILE:
        found = registry.resolve(None, path)
    else:
        with Workspace.find().open_store() as store:
            found = registry.resolve(store, reference)
    evidence = from_json(registry.load(found).parts["evidence.json"], Evidence)
    return f"{found.name}:{found.version}" if found.version else found.name, evidence


def write(evidence: Evidence, name: str, out: str | None, as_: str, against: Evidence | None = None) -> str:
    """Write a file about a model, in the format that its suffix asks for; returns its path. Raises OptionError."""
    path = Path(out or f"{name.replace(':', '-')}-{as_}{usual(as_)}")
    write_durably(path, written(evidence, as_, path.suffix, against))
    return str(path)
