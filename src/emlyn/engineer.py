"""The table of contents: what a very good ML engineer does, in order. With `estimators.py` the only file that knows the order of the stages."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.context import Context, shares_of
from emlyn.core.auditing.orders import order_rules
from emlyn.core.auditing.structure import answers_column, time_seconds
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.judging.decision import choose_threshold
from emlyn.core.judging.fairness_limit import limit_of
from emlyn.core.judging.sections import sensitive_groups
from emlyn.core.machine import describe_machine, package_versions
from emlyn.core.models.fold_models import left_out
from emlyn.core.models.model import Model
from emlyn.core.reader import Read, read
from emlyn.core.searching.ensembling import blend
from emlyn.core.searching.experience import remember
from emlyn.core.searching.trials import Past, Trials
from emlyn.core.splits import TWINS, sealed_rows
from emlyn.core.storing.continuing import Origin, origin, version_of
from emlyn.core.storing.registry import name_from, reserve
from emlyn.core.storing.run_journal import RunJournal, code_version, fingerprint
from emlyn.core.table import Table, table_digest
from emlyn.core.tables.blocks import room
from emlyn.core.tables.contract import conform, contract_of
from emlyn.core.tables.sources import is_name, shown, sort_of
from emlyn.errors import DataError, OptionError
from emlyn.events import fan_out
from emlyn.records.audit import Audit, TrapResult
from emlyn.records.data_card import DataCard
from emlyn.records.evaluation import Evaluation, Explanation, Verdict
from emlyn.records.finding import Finding
from emlyn.records.journal import Entry
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem
from emlyn.records.run import Evidence, Lineage, ModelVersion
from emlyn.stages.audit import Bench, compare
from emlyn.stages.audit import audit as audit_stage
from emlyn.stages.deepen import deepen
from emlyn.stages.ensemble import ensemble
from emlyn.stages.evaluate import conclude, deepened, evaluate_oof, evaluate_rows, evaluate_sealed, evaluate_stored
from emlyn.stages.explain import explain
from emlyn.stages.fair import Fair, judged, keep_within, limit_section, reweighed, weigh
from emlyn.stages.frame import frame, target_rows
from emlyn.stages.package import package
from emlyn.stages.plan import plan
from emlyn.stages.profile import profile
from emlyn.stages.search import search
from emlyn.stages.traps import traps

SECOND_LOOK = 0.35
"""Share of the time until the evaluation must have ended that the audit's second look may take."""
SEEN = "this is the table the model learned from, so the numbers flatter it: bring rows that it has not seen"


@dataclass(frozen=True, eq=False)
class Trained:
    """What `train` leaves: the registered version, everything known about it, the model itself, the report."""

    version: ModelVersion
    evidence: Evidence
    model: Model
    report: str
    """The HTML report."""


@dataclass(frozen=True, eq=False)
class Audited:
    """What `audit` leaves: the audit itself, how another table differs, which planted defects were caught."""

    audit: Audit
    drift: tuple[Finding, ...] = ()
    traps: tuple[TrapResult, ...] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows read, understood and audited, ready to learn from."""

    read: Read
    audit: Audit
    working: Dataset
    sealed: Dataset | None
    """None when no row is sealed: too few rows, or the user brought rows of their own."""
    bench: Bench
    """The audit's, for its second look."""

    def looked_at_again(self, context: Context) -> Prepared:
        """With all that the audit has to say: its second look needs what the search has loaded, and changes nothing that was learned from."""
        seconds = 0.0 if context.cancel.is_set() else SECOND_LOOK * context.budget.until("evaluate")
        with _stage(context, "second look"):
            return replace(self, audit=self.bench.second_look(seconds))


@dataclass(frozen=True, eq=False)
class Learned:
    """The model and the trials it was made of; with a fairness limit also those on reweighed rows, and the way chosen."""

    model: Model
    trials: Trials
    twin: Trials | None = None
    fair: Fair | None = None


def train(source: Any, options: TrainOptions, context: Context, draw: Callable[[Evidence], str]) -> Trained:
    """The main job: from a raw table to a registered, evaluated, explained model. `draw` turns the evidence into the report.

    A run of the same options on the same data that was interrupted is continued with what was left of its budget; with `options.continue_` one that
    ended goes on for that long, and the new version is chosen among the trials of both.
    Raises DataError or OptionError for what a user can mend, Interrupted when stopped before there was any model.
    """
    found = _read(source, context, _room(source, options, context))
    if options.target is None:
        near = ", ".join(list(found.table)[-8:])
        raise OptionError(
            "no target was named",
            where="--target",
            allowed=f"a column of {found.source}",
            next_step=f"name the column to predict; the last ones are: {near}",
        )
    with _stage(context, "profile"):
        card = profile(found, options, context)
    name = options.name or _name(found.source)
    before = origin(context.store, name, card, options) if options.continue_ else None
    if before is not None:
        name, options = before.version.name, replace(options, name=before.model)
    mark = fingerprint(card.digest, options, code_version())
    facts = {"data": found.source, "target": options.target, "continues": before.run if before else ""}
    with RunJournal.begin(context.store, mark, facts, started=context.budget.started) as journal:
        context = _journaled(journal, options, context)
        ready = prepare(found, card, options, context, journal)
        past = journal.past()
        if before is not None:
            said = f"going on from {before.model}: {len(past.results)} stored folds of its trials are taken over"
            context.emit("continue", said, model=before.model, folds=len(past.results))
        learned = learn(ready, options, context, past)
        trials, model = learned.trials, learned.model
        ready = ready.looked_at_again(context)
        with _stage(context, "evaluate"):
            evaluation = _evaluate(learned, ready, options, context)
            if ready.sealed is not None and not options.test:
                evaluation = replace(evaluation, openings=journal.open_seal(card.digest))
        with _stage(context, "explain"):
            explanation = explain(*_to_explain(learned, ready), ready.audit.problem, context)
        with _stage(context, "package"):
            number = reserve(context.store, name)
            evidence = replace(gather(ready, trials, evaluation, explanation, options), model=f"{name}:{number}")
            if learned.twin is not None:
                evidence = replace(evidence, trials=(*evidence.trials, *learned.twin.records()))
            if before is not None:
                evidence = _continued(evidence, before, context)
            report = draw(evidence)
            version = package(model, evidence, report, context)
        if options.experience:
            remember(context.store, journal.run_id, trials)
        journal.finish({"model": evidence.model})
    return Trained(version, evidence, model, report)


def audit(source: Any, options: TrainOptions, context: Context, against: Any = None, plant: bool = False) -> Audited:
    """The data card; with a target also the framing and every check that needs one.

    With `against`, a second table: what is different there. With `plant`, known defects go into copies of the table, to see which are caught.
    """
    found = _read(source, context, room(context.memory, context.budget.seconds))
    card = profile(found, options, context)
    problem = frame(found.table, card, options, context)
    rows = target_rows(found.table, card, problem)
    raw = found.table if rows.all() else found.table.take(rows)
    done = audit_stage(raw, card, problem, options, context)
    drift = compare(raw, read(against).table, done.card, done.problem, context) if against is not None else ()
    return Audited(done, drift, tuple(traps(raw, card, problem, options, context)) if plant else ())


def evaluate(model: Model, evidence: Evidence, source: Any, context: Context, deep: bool = False) -> tuple[Evaluation, int]:
    """The evaluation on labelled rows from outside, and how many there were; `deep` adds the sections that take longer.

    Raises DataError when the target is not in them.
    """
    given = read(source)
    test = labelled(given, evidence.card, model.problem)
    found = conclude(evaluate_rows(model, test, model.problem, context), model.problem)
    if table_digest(given.table) == evidence.card.digest:
        found = replace(found, method="rows the model learned from", verdict=Verdict("do not use yet", SEEN))
    if deep:
        found = deepened(found, deepen(model, test, model.problem, context), model.problem)
    return found, len(test)


def prepare(found: Read, card: DataCard, options: TrainOptions, context: Context, journal: RunJournal | None = None) -> Prepared:
    """Frame, seal, audit; everything after the seal looks at working rows alone. The audit's first look is the journal's, where it holds one."""
    with _stage(context, "frame"):
        problem = frame(found.table, card, options, context)
        if options.test:
            why = f"{problem.split.why}; every row trains, {options.test} judges"
            problem = replace(problem, split=replace(problem.split, sealed=0.0, why=why))
        rows = target_rows(found.table, card, problem)
        raw = found.table if rows.all() else found.table.take(rows)
    with _stage(context, "seal"):
        content = raw.select(problem.features) if problem.split.by == TWINS else raw.drop([problem.target])
        mask = sealed_rows(content, problem.split, _groups(raw, problem.group), time_seconds(raw, card, problem))
        said = f"{int(mask.sum()):,} of {raw.rows:,} rows put under seal" if mask.any() else "no rows sealed: all train, cross-validation answers"
        context.emit("seal", said, sealed=int(mask.sum()), rows=raw.rows)
        kept = np.flatnonzero(~mask)
        open_rows = raw.take(kept) if mask.any() else raw
    with _stage(context, "audit"):
        bench = Bench(open_rows, card, problem, options, context)
        audited = journal.audited(bench.first_look) if journal else bench.first_look()
        bench.keep(audited)
    if audited.drop_rows:
        open_rows = open_rows.take(np.delete(np.arange(open_rows.rows), np.asarray(audited.drop_rows, dtype=np.int64)))
    working = as_dataset(open_rows, audited.card, audited.problem)
    sealed = as_dataset(raw.take(np.flatnonzero(mask)), audited.card, audited.problem) if mask.any() else None
    return Prepared(found, audited, working, sealed, bench)


def experiment(ready: Prepared, options: TrainOptions, context: Context, past: Past) -> Trials:
    """Plan and search on the working rows."""
    with _stage(context, "plan"):
        planned = plan(ready.audit.problem, ready.working, options, context, past)
    with _stage(context, "search"):
        return search(planned, ready.working, ready.audit.problem, context, past)


def combine(ready: Prepared, trials: Trials, context: Context) -> Model:
    """The ensemble with its contract and its operating point, frozen before any sealed row is opened. Raises Interrupted when nothing was learned."""
    problem = ready.audit.problem
    with _stage(context, "ensemble"):
        contract = contract_of(ready.audit.card, problem.features, ready.working.rows)
        contract = replace(contract, rules=order_rules(ready.working.rows, problem.features, context.seed))
        model = ensemble(trials, ready.working, problem, context, contract)
        if problem.task == "binary":
            chosen = [c for c in trials.candidates if c.weight > 0]
            rows = trials.covered(chosen)
            mixed = blend([trials.oof(c.recipe.name)[rows] for c in chosen], np.array([c.weight for c in chosen]))
            weight = None if trials.data.weight is None else trials.data.weight[rows]
            threshold, why = choose_threshold(model.calibration.apply(mixed)[:, -1], problem, weight)
            model = model.with_threshold(threshold, why)
    return model


def learn(ready: Prepared, options: TrainOptions, context: Context, past: Past) -> Learned:
    """Search and ensemble. With a fairness limit, half of the search's time goes to the same on reweighed rows, and a blend of both is shipped."""
    if not options.fair:
        trials = experiment(ready, options, context, past)
        return Learned(combine(ready, trials, context), trials)
    limit, problem = limit_of(options.fair), ready.audit.problem
    groups = _sensitive(ready.working, problem)
    if problem.task != "binary" or not groups:
        raise OptionError(
            f"--fair {options.fair}" + (f" on the task {problem.task!r}" if problem.task != "binary" else ": no sensitive column is left"),
            allowed="two classes, and a --sensitive column that the audit leaves in",
            next_step="leave --fair out: the report tells gaps between groups for every task",
        )
    trials = experiment(ready, options, _earlier(context, context.budget.until("search") / 2), past)
    began = context.budget.spent
    plain = combine(ready, trials, context)
    blending = 3 * (context.budget.spent - began)
    even = replace(ready, working=reweighed(ready.working, groups))
    context.emit("note", "the same once more on rows reweighed so that the group says nothing about the answer")
    twin = experiment(even, options, _earlier(context, blending), Past())
    if (trials.before is None) != (twin.before is None):  # one of them had no time for finals: both are then judged on the sample
        trials, twin = trials.before or trials, twin.before or twin
        plain = combine(ready, trials, context)
    model, fair = keep_within(limit, (trials, twin), (plain, combine(even, twin, context)), _sensitive(trials.data, problem))
    weigh(trials, twin, fair)
    return Learned(model, trials, twin, fair)


def _sensitive(data: Dataset, problem: Problem) -> dict[str, np.ndarray]:
    """Label (n,) of each unit for every sensitive column that is at hand."""
    return sensitive_groups([t.take(data.units) for t in data.tables.values()], problem)


def _earlier(context: Context, seconds: float) -> Context:
    """The context of a search that ends so many seconds before its share of the time does."""
    budget = context.budget
    shares = dict(shares_of(budget.seconds) if budget.shares is None else budget.shares)
    shares["search"] -= seconds / budget.seconds if math.isfinite(budget.seconds) else 0.0
    return context.with_(budget=replace(budget, shares=shares))


def as_dataset(raw: Table, card: DataCard, problem: Problem) -> Dataset:
    """Raw rows with their answers, typed by the card's contract; group, time and weight come along when the problem names them.

    Sensitive columns that the model does not use stand in the table `aside`, for the judges of fairness alone.
    """
    task = plugins.find("tasks", problem.task)
    typed = conform(raw, contract_of(card, problem.features)).table
    weight = None
    if problem.weight:
        weight = conform(raw.select([problem.weight]), contract_of(card, (problem.weight,))).table[problem.weight].values
        if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
            raise DataError(
                "weights must be numbers of at least 0, not all 0, without gaps",
                where=f"column {problem.weight!r}",
                next_step="fill the gaps, or leave --weight out",
            )
    made = rows_dataset(
        typed,
        task.encode(answers_column(raw, card, problem.target, problem.task), problem),
        classes=len(problem.classes),
        weight=weight,
        group=_groups(raw, problem.group),
        time=time_seconds(raw, card, problem),
    )
    aside = tuple(name for name in problem.sensitive if name not in problem.features and name in raw)
    if not aside:
        return made
    return replace(made, tables={**made.tables, "aside": conform(raw.select(aside), contract_of(card, aside)).table})


def gather(ready: Prepared, trials: Trials, evaluation: Evaluation, explanation: Explanation | None, options: TrainOptions) -> Evidence:
    """Everything known about this run in one record."""
    audited = ready.audit
    lineage = Lineage(
        data=ready.read.source,
        data_digest=audited.card.digest,
        rows=ready.read.table.rows,
        code_version=code_version(),
        packages=package_versions(),
        python=platform.python_version(),
        machine=describe_machine(),
        seed=options.seed,
        budget_s=options.budget,
        room=ready.read.room,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        by=who(),
        options=options,
        replay=trials.replay(),
    )
    return Evidence(
        problem=audited.problem,
        card=audited.card,
        findings=tuple({f.id: f for f in (*audited.findings, *evaluation.findings)}.values()),
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


def _continued(evidence: Evidence, before: Origin, context: Context) -> Evidence:
    """The evidence of a run that went on from another: its parent, and what the further time brought on rows not learned from."""
    now = next(e.evidence["score"] for e in reversed(evidence.journal) if e.kind == "ensemble")
    said = f"{evidence.problem.metric} {before.score:.5g} out of fold in {before.model}, {now:.5g} now"
    context.emit("note", said)
    scores = {"before": before.score, "score": now}
    more = Entry(round(context.budget.spent, 3), "continue", change=f"went on from {before.model}", evidence=scores, verdict=said)
    return replace(evidence, lineage=replace(evidence.lineage, parent=before.model), journal=(*evidence.journal, more))


def _name(source: str) -> str:
    """Of the model, after the file or the database that the rows come from."""
    return name_from(PurePath(source.split("::")[0]).name.split(".")[0])


def _room(source: Any, options: TrainOptions, context: Context) -> int:
    """Bytes that the raw table may take. Who goes on from a run reads the rows that it read. Raises ModelError when there is no such run."""
    if options.continue_ is None or not is_name(source) or sort_of(source) == "missing":  # the reader says what is near a path that is not there
        return room(context.memory, context.budget.seconds)
    lineage = version_of(context.store, options.name or _name(shown(source))).lineage
    return lineage.room if lineage else 0


def _read(source: Any, context: Context, most: int) -> Read:
    with _stage(context, "read"):
        found = source if isinstance(source, Read) else read(source, most)
        context.emit(
            "read", f"{found.table.rows:,} rows x {len(found.table):,} columns from {found.source}", rows=found.table.rows, columns=len(found.table)
        )
        for note in found.notes:
            context.emit("note", note)
    return found


def _evaluate(learned: Learned, ready: Prepared, options: TrainOptions, context: Context) -> Evaluation:
    problem, model, trials = ready.audit.problem, learned.model, learned.trials
    if options.test:
        found = evaluate_rows(model, labelled(read(options.test), ready.audit.card, problem), problem, context)
    elif ready.sealed is not None:
        found = evaluate_sealed(model, ready.sealed, problem, context)
    elif learned.fair is not None and learned.twin is not None:
        stored, rows = judged(learned.fair, (trials, learned.twin), context)
        found = evaluate_stored(stored, trials.data.take(rows), problem, context)
    else:
        found = evaluate_oof(trials, problem, context)
    if learned.fair is not None:
        found = deepened(found, {"fairness": limit_section(learned.fair, found, problem)}, problem)
    extra = _baselines_only(model, trials)
    done = conclude(found, problem, (*ready.audit.findings, *extra))
    return replace(done, findings=(*done.findings, *extra))


def _baselines_only(model: Model, trials: Trials) -> tuple[Finding, ...]:
    """A warning where only baselines are in the model, and why."""
    if any(member.recipe.learner != "baseline" for member in model.members):
        return ()
    asked = trials.plan.trials
    if any(c.recipe.learner != "baseline" and c.results for c in trials.candidates):
        why, fix = "No learner was better than", "give the run more rows or columns, if there are any"
    elif asked is not None:
        why, fix = f"With --trials {asked} only baselines were tried: this is", "ask for more --trials"
    else:
        why, fix = "No learner finished in the time given: this is", "give the run a longer --budget"
    looks = any(member.recipe.params.get("columns") for member in model.members)
    rule = "the best rule that looks at a single column" if looks else "the distribution of the answers, whatever a row says"
    said, detail = f"{why} {rule}.", "The ensemble holds baselines only."
    return (Finding("model.unfinished", "model.unfinished", "warn", said, detail=detail, fix=f"nothing was changed; {fix}"),)


def labelled(found: Read, card: DataCard, problem: Problem) -> Dataset:
    """Rows from outside with their true answers, read by the model's own contract. Raises DataError when there are none."""
    if problem.target not in found.table:
        raise DataError(
            f"the rows have no column {problem.target!r}, so there is nothing to compare predictions with",
            where=found.source,
            allowed="the columns of the training table, target included",
            next_step="add the true answers, or use predict",
        )
    rows = target_rows(found.table, card, problem)
    if not rows.any():
        raise DataError(
            "no row has an answer that the training table knows",
            where=f"{found.source}, column {problem.target!r}",
            allowed=", ".join(problem.classes[:20]),
        )
    return as_dataset(found.table.take(rows), card, replace(problem, group="", time="", weight=""))


def _journaled(journal: RunJournal, options: TrainOptions, context: Context) -> Context:
    """The context of a run: events are kept, a cancel from elsewhere is heard, a resumed run has what was left of its budget."""
    journal.cancel = context.cancel
    budget = replace(context.budget, seconds=max(1.0, context.budget.seconds - journal.spent_before)) if journal.resumed else context.budget
    context = context.with_(budget=budget, sink=fan_out(context.sink, journal.sink))
    if journal.resumed:
        context.emit(
            "resume", f"continuing the run that was interrupted after {journal.spent_before:.0f} s: {budget.left:.0f} s are left", left=budget.left
        )
    return context


def _to_explain(learned: Learned, ready: Prepared) -> tuple[Any, Dataset]:
    """The model and rows it did not learn from: the sealed ones, those put aside for finals, or all rows, each judged by the fold models that left it
    out."""
    if ready.sealed is not None:
        return learned.model, ready.sealed
    trials = learned.trials
    if trials.before is not None:
        return learned.model, trials.data
    return left_out(learned.model, trials.data, trials.fold_of, len(trials.folds)) or (learned.model, ready.working)


def _groups(raw: Table, name: str) -> np.ndarray | None:
    """Codes of a group column (n,); every missing cell is a group of its own."""
    if not name:
        return None
    codes = raw[name].as_coded().values.astype(np.int64)
    gaps = codes < 0
    codes[gaps] = (codes.max(initial=-1) + 1) + np.arange(gaps.sum())
    return codes


def who() -> str:
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
