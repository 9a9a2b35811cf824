"""The Python face: `emlyn.train`, `emlyn.audit`, `emlyn.load`, and the registry's verbs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emlyn import engineer
from emlyn.core.dataset import rows_dataset
from emlyn.core.explainer import pushes_of, reasons, reasons_from
from emlyn.core.exporter import Exportable
from emlyn.core.machine import usable_cores
from emlyn.core.models import model as core_model
from emlyn.core.reader import read
from emlyn.core.storing import approvals, registry
from emlyn.core.storing.workspace import Workspace
from emlyn.core.table import Table
from emlyn.core.tables.contract import conform
from emlyn.core.tables.frames import to_table
from emlyn.doors import evolution, reports, results
from emlyn.doors.exports import exporters
from emlyn.doors.options import train_options
from emlyn.doors.recourse import Recourse
from emlyn.doors.session import Session, make_context
from emlyn.errors import ModelError, OptionError
from emlyn.events import Event, silent
from emlyn.records.codec import from_json, to_plain
from emlyn.records.run import Evidence
from emlyn.report import notebook
from emlyn.report.words import number
from emlyn.service import batch
from emlyn.service.scorer import margin_of

ROWS_TOLD = 20
"""Rows that get counterfactuals where none is named."""


def train(
    data: Any,
    target: str | None = None,
    *,
    budget: str | float | None = None,
    task: str | None = None,
    metric: str | None = None,
    trials: int | None = None,
    continue_: str | float | None = None,
    test: str | None = None,
    time: str | None = None,
    group: str | None = None,
    id: str | None = None,
    weight: str | None = None,
    types: dict[str, str] | None = None,
    sensitive: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    known: Sequence[str] | None = None,
    positive: str | None = None,
    cost_fp: float | None = None,
    cost_fn: float | None = None,
    capacity: int | None = None,
    fair: str | None = None,
    repairs: str | None = None,
    without: Sequence[str] | None = None,
    max_latency: str | float | None = None,
    name: str | None = None,
    executor: str | None = None,
    jobs: int | None = None,
    memory: str | int | None = None,
    seed: int | None = None,
    out: str | None = None,
    progress: Callable[[Event], None] | None = None,
) -> Run:
    """The main job, the same as `emlyn train`; every option has the name and the meaning of its flag (`continue_` that of `--continue`).

    `data` is a path, glob, database or object-store URL, a pandas, polars or Arrow table, or a numpy array; `progress` sees every event.
    Returns the run: `run.result` is what `--json` prints, `run.model` predicts.
    Raises a subclass of `emlyn.errors.UserError` for what the caller can mend.
    """
    given = {k: v for k, v in locals().items() if k not in ("data", "progress", "known")}
    options = train_options({**given, "include": known})
    with Session(options, progress or silent) as session:
        result, trained = session.train(data)
    return Run(result, trained.evidence)


def audit(
    data: Any,
    target: str | None = None,
    *,
    against: Any = None,
    approve: str | None = None,
    traps: bool = False,
    budget: str | float = "5m",
    types: dict[str, str] | Sequence[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    sensitive: Sequence[str] | None = None,
    include: Sequence[str] | None = None,
    repairs: str | None = None,
    without: Sequence[str] | None = None,
) -> Card:
    """The data card: what each column is, what is wrong with it, and (with a target) the framing emlyn would choose.

    `against` is a second table (drift between the two), or a model (what its contract does not expect); with a model, `approve="reason"` keeps
    the wider contract for it. Returns a card: `card.result` is what `--json` prints. Raises a subclass of `emlyn.errors.UserError`.
    """
    given = {k: v for k, v in locals().items() if k not in ("data", "against", "approve", "traps")}
    options = train_options(given)
    held = evolution.names_model(against)
    if approve is not None and not held:
        raise OptionError("an approval is for a model", where="--approve", allowed="--against MODEL", next_step="name the model with --against")
    source = read(data) if held else data
    contract = evolution.held_against(against, source.table, source.source, approve) if held else None
    done = engineer.audit(source, options, make_context(options, silent), None if held else against, traps)
    return Card({**results.audit(done), "contract": contract})


def load(model: str) -> Model:
    """A registered model (`NAME`, `NAME@alias`, `NAME:version`) or a `.emlyn` file. Raises ModelError."""
    return Model(model)


def models(name: str | None = None) -> dict[str, Any]:
    """The registry: versions (newest first) and, for one name, who decided what. Raises ModelError for an unknown name."""
    with Workspace.find().open_store() as store:
        return {
            "versions": [results.version(v) for v in registry.versions(store, name or "")],
            "decisions": [to_plain(d) for d in registry.history(store, name)] if name else [],
        }


def promote(model: str, *, alias: str = "champion", why: str = "by hand") -> dict[str, Any]:
    """Give an alias to a registered version. Raises ModelError."""
    with Workspace.find().open_store() as store:
        done = registry.promote(store, model, by=engineer.who(), why=why, alias=alias)
    return {"model": f"{done.name}:{done.version}", "name": done.name, "alias": done.alias, "before": done.before, "why": done.why}


def rollback(name: str, *, why: str = "by hand") -> dict[str, Any]:
    """Make the champion before the present one champion again. Raises ModelError."""
    with Workspace.find().open_store() as store:
        done = registry.rollback(store, name, by=engineer.who(), why=why)
    return {"model": f"{done.name}:{done.version}", "name": done.name, "before": done.before, "why": done.why}


class Card:
    """The answer of `audit`."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result

    @property
    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.result["findings"]
        return found

    def __repr__(self) -> str:
        return f"Card({self.result['rows']} rows, {len(self.result['columns'])} columns, {len(self.findings)} findings)"


class Model:
    """A trained model: predicts rows in the shape you have them (a dataframe, a table, dicts, a path)."""

    def __init__(self, reference: str) -> None:
        with Workspace.find().open_store() if Path(reference).suffix != ".emlyn" else contextlib.nullcontext() as store:
            self.version = registry.resolve(store, reference)
            approval = approvals.approved(store, self.version.digest)
        opened = registry.load(self.version)
        self.reference = f"{self.version.name}:{self.version.version}" if self.version.version else reference
        model = replace(core_model.Model.load(opened.under("model/")), threads=usable_cores())
        self.model = model.with_contract(approval.contract) if approval else model
        self.evidence = from_json(opened.parts["evidence.json"], Evidence)

    def __repr__(self) -> str:
        return f"Model({self.reference}, {self.version.task} of {self.version.target!r})"

    def predict(self, rows: Any) -> np.ndarray:
        """Labels (n,) at the stored operating point, or numbers (n,); None or NaN for rows that the contract refuses."""
        return self.model.predict(_table(rows)).values

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Calibrated probabilities (n, classes), in the order of `classes`. Raises ModelError for a model of numbers."""
        found = self.model.predict(_table(rows)).probabilities
        if found is None:
            raise ModelError("this model predicts numbers and has no probabilities", where=self.reference, next_step="use predict")
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.model.problem.classes

    def explain(self, rows: Any = None) -> Any:
        """Reasons for each row, strongest first: a list of lists of `Reason`; without rows, what drives the model overall."""
        return self.evidence.explanation if rows is None else self._reasons(_table(rows))

    def drivers(self) -> dict[str, Any]:
        """What drives the model overall, as plain values."""
        found = self.evidence.explanation
        return {
            "model": self.reference,
            "method": found.method if found else "not explained",
            "reference": found.reference if found else "",
            "drivers": to_plain(found.drivers) if found else [],
        }

    def reasons_for(self, data: Any, row: int | None = None) -> dict[str, Any]:
        """Reasons for the rows of a source, as plain values. Raises OptionError for a row that is not there."""
        table = _table(data)
        if row is not None:
            table = _one_row(table, row, data)
        predicted = self.model.predict(table)
        typed = rows_dataset(conform(table, self.model.contract).table, classes=len(self.classes))
        pushes = pushes_of(self.model, typed)
        shown = []
        for i, why in enumerate(reasons_from(pushes, typed)):
            value = predicted.values[i]
            found: dict[str, Any] = {"row": i if row is None else row, "prediction": value.item() if hasattr(value, "item") else value}
            if predicted.probabilities is not None:
                found["probabilities"] = dict(zip(self.classes, predicted.probabilities[i].tolist(), strict=True))
            shown.append({**found, "reasons": to_plain(why)})
        return {
            "model": self.reference,
            "target": self.version.target,
            "toward": self.model.problem.positive or ("the answer given" if self.classes else ""),
            "unit": pushes.unit,
            "reference": pushes.reference,
            "rows": shown,
        }

    def counterfactuals(self, data: Any, row: int | None = None, *, among: Any = None, immutable: Sequence[str] = ()) -> dict[str, Any]:
        """What would have to be different for another decision, for one row of a source or for its first 20, as plain values.

        Changes are cells of existing rows (`among`; the source itself when not given), so they are values that occur. Columns in `immutable`
        and sensitive ones never change. Every change is put through the whole model again and really flips it.
        Raises ModelError for a model of numbers, OptionError for a row or a column that is not there.
        """
        table = _table(data)
        first = list(range(min(table.rows, ROWS_TOLD))) if row is None else [row]
        asked = [_one_row(table, i, data) for i in first]
        recourse = Recourse(self.model, table if among is None else _table(among), immutable)
        predicted = [self.model.predict(one).values[0] for one in asked]
        shown = [{"row": i, "prediction": value, **recourse.of(one)} for i, value, one in zip(first, predicted, asked, strict=True)]
        left = f"only the first {len(shown)} of {table.rows:,} rows" if len(shown) < table.rows and row is None else ""
        return {"model": self.reference, "immutable": list(recourse.immutable), "among": recourse.looked, "rows": shown, "left_out": left}

    def evaluate(self, data: Any, *, deep: bool = False, budget: str | float | None = None, out: str | None = None) -> dict[str, Any]:
        """The evaluation on labelled rows, as `emlyn evaluate --json` prints it; `deep` adds stress, slices, fairness and more within the budget.

        With `out`, also the report with this evaluation in the place of the one from training.
        """
        context = make_context(train_options({"budget": budget}), silent)
        found, count = engineer.evaluate(self.model, self.evidence, data, context, deep)
        if out is not None:
            reports.write(reports.judged_anew(self.evidence, found), self.reference, out, "report")
        return {
            "model": self.reference,
            "source": str(data)[:200],
            "rows": count,
            "evaluation": results.evaluation(found),
            "baseline": results.measures(found.baseline),
            "method": found.method,
            "verdict": found.verdict.word if found.verdict else None,
            "why": found.verdict.why if found.verdict else None,
            "sections": to_plain(found.sections),
        }

    def write_report(self, out: str | None = None, as_: str = "report") -> str:
        """Write the report, a document or the evidence file, in the format that the suffix of `out` asks for; returns its path."""
        return reports.write(self.evidence, self.reference if self.version.version else self.version.name, out, as_)

    def predict_file(self, data: Any, out: str | None = None, *, explain: bool = False, to_stdout: bool = False) -> dict[str, Any]:
        """Batch scoring of a source into `out`: one output row per input row, in order; numbers with their interval. Returns a summary."""
        margin = margin_of(self.evidence.evaluation.sections)
        summary: dict[str, Any] = batch.predict(self.model, data, out, explain=explain, to_stdout=to_stdout, margin=margin)
        return {"model": self.reference, **summary}

    def export(self, to: str, out: str | None = None, rows: Any = None) -> dict[str, Any]:
        """Write what another system needs into a folder. Raises OptionError for an unknown target, ModelError where this model cannot go there."""
        known = exporters()
        if to not in known:
            raise OptionError(f"no exporter is called {to!r}", where="--to", allowed=", ".join(known))
        folder = Path(out or f"{self.version.name}-{to}")
        done = known[to].export(Exportable(self.model, self.version, None if rows is None else _table(rows)), folder)
        return {
            "model": self.reference,
            "to": to,
            "files": list(done.files),
            "commands": list(done.commands),
            "notes": list(done.notes),
            "checks": done.checks,
        }

    def _reasons(self, table: Table) -> list[Any]:
        typed = conform(table, self.model.contract).table
        return list(reasons(self.model, rows_dataset(typed, classes=len(self.classes))))


class Run:
    """The answer of `train`."""

    def __init__(self, result: dict[str, Any], evidence: Evidence) -> None:
        self.result, self.evidence = result, evidence

    @functools.cached_property
    def model(self) -> Model:
        """The trained model."""
        return load(self.result["model"])

    @property
    def report(self) -> str:
        """Path of the HTML report."""
        return str(self.result["report"])

    def __repr__(self) -> str:
        metric = self.result["metric"]
        value = self.result["evaluation"].get(metric, {}).get("value")
        return f"Run({self.result['model']}, {metric} {number(value)}, {self.result['verdict']})"

    def _repr_html_(self) -> str:
        return notebook.card(self.evidence)


def _table(rows: Any) -> Table:
    """Rows in any shape as a raw table; one dict is one row."""
    return to_table([rows]) if isinstance(rows, dict) else read(rows).table


def _one_row(table: Table, row: int, source: Any) -> Table:
    if not 0 <= row < table.rows:
        raise OptionError(f"there is no row {row}", where=str(source)[:200], allowed=f"0 to {table.rows - 1}")
    return table.take(np.array([row]))
