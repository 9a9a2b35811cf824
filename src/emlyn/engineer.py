"""The table of contents: what a very good ML engineer does, in order. With `estimators.py` the only file that knows the order of the stages."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

import emlyn
from emlyn import plugins
from emlyn.context import Context
from emlyn.core.contract import conform, contract_of
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.machine import describe_machine, package_versions
from emlyn.core.model import Model
from emlyn.core.reader import Read, read
from emlyn.core.splits import sealed_rows
from emlyn.core.table import Table
from emlyn.core.trials import Trials
from emlyn.errors import DataError, Interrupted
from emlyn.records.audit import Audit
from emlyn.records.data_card import DataCard
from emlyn.records.evaluation import Evaluation, Explanation
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem, SplitRule
from emlyn.records.run import Evidence, Lineage, ModelVersion
from emlyn.stages.audit import audit as audit_stage
from emlyn.stages.ensemble import ensemble
from emlyn.stages.evaluate import evaluate_oof, evaluate_sealed
from emlyn.stages.explain import explain
from emlyn.stages.frame import frame, target_rows
from emlyn.stages.package import package
from emlyn.stages.plan import plan
from emlyn.stages.profile import profile
from emlyn.stages.search import search


@dataclass(frozen=True, eq=False)
class Trained:
    """What `train` leaves: the registered version, everything known about it, the model itself, the report."""

    version: ModelVersion
    evidence: Evidence
    model: Model
    report: str
    """The HTML report."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows read, understood and audited, ready to learn from."""

    read: Read
    card: DataCard
    problem: Problem
    audit: Audit
    working: Dataset
    sealed: Dataset | None
    """None when no row is sealed: too few rows, or the user brought rows of their own."""


def train(source: Any, options: TrainOptions, context: Context, draw: Callable[[Evidence], str]) -> Trained:
    """The main job: from a raw table to a registered, evaluated, explained model. `draw` turns the evidence into the report.

    Raises DataError or OptionError for what a user can mend, Interrupted when stopped before there was any model.
    """
    ready = prepare(source, options, context)
    trials = experiment(ready, options, context)
    with _stage(context, "ensemble"):
        model = ensemble(trials, ready.working, ready.audit.problem, context)
    with _stage(context, "evaluate"):
        evaluation = _evaluate(model, trials, ready, options, context)
    with _stage(context, "explain"):
        explanation = explain(model, _rows_to_explain(ready, context), ready.audit.problem, context)
    evidence = gather(ready, trials, evaluation, explanation, options, context)
    with _stage(context, "package"):
        report = draw(evidence)
        version = package(model, evidence, report, options.name or default_name(ready.read.source, options), context)
    return Trained(version, replace(evidence, model=f"{version.name}:{version.version}"), model, report)


def audit(source: Any, options: TrainOptions, context: Context) -> Audit:
    """The data card alone; with a target also the framing and every check that needs one."""
    found = _read(source, context)
    card = profile(found, options, context)
    problem = frame(found.table, card, options, context)
    rows = target_rows(found.table, card, problem)
    return audit_stage(found.table if rows.all() else found.table.take(rows), card, problem, options, context)


def prepare(source: Any, options: TrainOptions, context: Context) -> Prepared:
    """Read, profile, frame, seal, audit; everything after the seal looks at working rows alone."""
    found = _read(source, context)
    with _stage(context, "profile"):
        card = profile(found, options, context)
    with _stage(context, "frame"):
        problem = frame(found.table, card, options, context)
        if options.test:
            why = f"all rows train: {options.test} is the test"
            problem = replace(problem, split=replace(problem.split, sealed=0.0, why=f"{problem.split.why} {why}".strip()))
        rows = target_rows(found.table, card, problem)
        raw = found.table if rows.all() else found.table.take(rows)
    with _stage(context, "seal"):
        group, time = _column_codes(raw, problem.group), _times(raw, card, problem.time)
        mask = sealed_rows(raw.drop([problem.target]), problem.split, group, time)
        context.emit("seal", f"{int(mask.sum()):,} of {raw.rows:,} rows put under seal", sealed=int(mask.sum()), rows=raw.rows)
    with _stage(context, "audit"):
        audited = audit_stage(raw.take(~mask) if mask.any() else raw, card, problem, options, context)
    kept = np.flatnonzero(~mask)
    kept = np.delete(kept, np.asarray(audited.drop_rows, dtype=np.int64)) if audited.drop_rows else kept
    working = as_dataset(raw.take(kept), audited.card, audited.problem)
    sealed = as_dataset(raw.take(np.flatnonzero(mask)), audited.card, audited.problem) if mask.any() else None
    return Prepared(found, card, problem, audited, working, sealed)


def experiment(ready: Prepared, options: TrainOptions, context: Context) -> Trials:
    """Plan and search on the working rows. Raises Interrupted when stopped before anything was learned."""
    with _stage(context, "plan"):
        planned = plan(ready.audit.problem, ready.working, options, context)
    with _stage(context, "search"):
        trials = search(planned, ready.working, ready.audit.problem, context, past=context.store.past_trials() if context.store else None)
    if not trials.usable():
        raise Interrupted("stopped before there was a model; run the same command again to continue where it stopped")
    return trials


def as_dataset(raw: Table, card: DataCard, problem: Problem) -> Dataset:
    """Raw rows with their answers, typed by the card's contract. Group, time and weight come along when the problem names them."""
    task = plugins.find("tasks", problem.task)
    typed = conform(raw, contract_of(card, problem.features)).table
    target = conform(raw.select([problem.target]), contract_of(card, (problem.target,))).table[problem.target]
    weight = None
    if problem.weight:
        weight = conform(raw.select([problem.weight]), contract_of(card, (problem.weight,))).table[problem.weight].values
        if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
            raise DataError(
                "weights must be numbers of at least 0, not all 0, without gaps", where=f"column {problem.weight!r}", next_step="fill the gaps, or leave --weight out"
            )
    return rows_dataset(
        typed,
        task.encode(target, problem),
        classes=len(problem.classes),
        weight=weight,
        group=_column_codes(raw, problem.group),
        time=_times(raw, card, problem.time),
    )


def gather(ready: Prepared, trials: Trials, evaluation: Evaluation, explanation: Explanation | None, options: TrainOptions, context: Context) -> Evidence:
    """Everything known about this run in one record."""
    audited = ready.audit
    lineage = Lineage(
        data=ready.read.source,
        data_digest=ready.card.digest,
        rows=ready.read.table.rows,
        code_version=emlyn.__version__,
        packages=package_versions(),
        python=platform.python_version(),
        machine=describe_machine(),
        seed=options.seed,
        budget_s=options.budget,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        by=_who(),
        options=options,
        replay=trials.replay(),
    )
    return Evidence(
        problem=audited.problem,
        card=audited.card,
        findings=(*audited.findings, *evaluation.findings),
        questions=audited.questions,
        trials=trials.records(),
        evaluation=evaluation,
        explanation=explanation,
        lineage=lineage,
        naive_score={k: v for k, v in audited.scores.items() if k in ("honest", "naive split")},
        repairs=audited.repairs,
        audit_scores=audited.scores,
        canary=audited.canary,
        left_out=audited.left_out,
        journal=trials.journal(),
    )


def default_name(source: str, options: TrainOptions) -> str:
    """A model name from the file's name: letters, digits, `-` and `_`."""
    from pathlib import PurePath

    stem = PurePath(source.split("::")[0]).name.split(".")[0] or options.target or "model"
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-").lower() or "model"


def _read(source: Any, context: Context) -> Read:
    with _stage(context, "read"):
        found = source if isinstance(source, Read) else read(source)
        context.emit("read", f"{found.table.rows:,} rows x {len(found.table):,} columns from {found.source}", rows=found.table.rows, columns=len(found.table))
    return found


def _evaluate(model: Model, trials: Trials, ready: Prepared, options: TrainOptions, context: Context) -> Evaluation:
    problem = ready.audit.problem
    if options.test:
        return replace(evaluate_sealed(model, test_rows(options.test, ready), problem, context), method="external file")
    if ready.sealed is not None:
        return evaluate_sealed(model, ready.sealed, problem, context)
    return evaluate_oof(trials, ready.working, problem, context)


def test_rows(source: str, ready: Prepared) -> Dataset:
    """The user's own test rows, read by the same contract. Raises DataError when the target is not in them."""
    problem, card = ready.audit.problem, ready.audit.card
    raw = read(source).table
    if problem.target not in raw:
        raise DataError(f"the test rows have no column {problem.target!r}", where=str(source), allowed="the columns of the training table", next_step="add the true answers")
    rows = target_rows(raw, card, problem)
    if not rows.any():
        raise DataError("no test row has an answer that the training table knows", where=f"{source}, column {problem.target!r}")
    return as_dataset(raw.take(rows), card, replace(problem, group="", time="", weight="", split=SplitRule()))


def _rows_to_explain(ready: Prepared, context: Context) -> Dataset:
    return ready.sealed if ready.sealed is not None else ready.working


def _column_codes(raw: Table, name: str) -> np.ndarray | None:
    """Codes of a group column (n,); every missing cell is a group of its own."""
    if not name:
        return None
    codes = raw[name].as_coded().values.astype(np.int64)
    gaps = codes < 0
    codes[gaps] = (codes.max(initial=-1) + 1) + np.arange(gaps.sum())
    return codes


def _times(raw: Table, card: DataCard, name: str) -> np.ndarray | None:
    return conform(raw.select([name]), contract_of(card, (name,))).table[name].values if name else None


def _who() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in a container
        return "unknown"


class _stage:
    """Marks the beginning and the end of a stage in the event stream."""

    def __init__(self, context: Context, name: str) -> None:
        self.context, self.name = context, name

    def __enter__(self) -> None:
        self.began = self.context.budget.spent
        self.context.emit("stage.start", self.name, stage=self.name)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.context.emit("stage.end", self.name, stage=self.name, seconds=round(self.context.budget.spent - self.began, 3))
