"""Frame the question: task, positive class, metric, features and split, each with its why. Evidence decides; the user's word wins."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.context import Context
from emlyn.core.auditing.structure import answers_column, find_entities, is_event_time, typed, with_label_spellings
from emlyn.core.judging.metrics import metric, metrics_for
from emlyn.core.splits import SEAL_FROM, SEALED_MOST, SEALED_SHARE, TWINS, count_twins
from emlyn.core.table import Column, Table
from emlyn.errors import DataError, OptionError
from emlyn.records.data_card import DataCard
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem, SplitRule

FEWEST_ROWS = 5
MOST_CLASSES = 1_000
LOOK_AT = 50_000
"""Rows that are searched for repeated entities; twins are counted on all."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GOOD_NEWS = _words("no false n f negative neg good benign normal healthy control none alive stay stayed ham legit")
BAD_NEWS = _words(
    "yes true y t positive pos bad malignant abnormal sick ill disease impaired dead died churn churned default defaulted fraud fail failed "
    "failure spam cancelled canceled accident success win won buy bought purchase purchased click clicked converted"
)
RARE = 0.1
TWINS_FROM = 0.01
"""Share of rows with a twin from which twins decide the split."""


def frame(raw: Table, card: DataCard, options: TrainOptions, context: Context) -> Problem:
    """The question as emlyn will ask it. Without a target: a problem with an empty task, whose features are all the usable columns.

    Raises DataError when the target cannot be learned, OptionError for an option that does not fit the table.
    """
    _check_columns(raw, options)
    excluded = _excluded(card, options)
    features = tuple(c.name for c in card.columns if c.name not in excluded)
    if options.target is None:
        return Problem("", "", "", "maximize", features=features, excluded=excluded, why={"task": "no target was named"}, rows=raw.rows)
    if not features:
        raise DataError(
            "no column is left to learn from",
            where=card.source,
            allowed="at least one column besides the target",
            next_step="add columns, or --known COL",
        )
    why: dict[str, str] = {}
    task = _task(raw, card, options, why)
    answers = answers_column(raw, card, options.target, task.name)
    classes, positive = _classes(answers, task.name, options, why)
    known = _known(answers)
    chosen = _metric(task, options, why)
    split = _split(_Rows(raw, card, options, features, task.name), int(known.sum()), context.seed)
    why["split"] = split.why
    keyed = split.kind == "group" and split.by in features
    keys = {split.by: "names the entity that rows belong to; rows of one entity are kept together"} if keyed else {}
    return Problem(
        task=task.name,
        target=options.target,
        metric=chosen,
        direction=metric(chosen).direction,
        classes=classes,
        positive=positive,
        split=split,
        why=why,
        features=tuple(f for f in features if f not in keys),
        excluded={**excluded, **keys},
        group=split.by if split.kind == "group" and split.by != TWINS else "",
        time=split.by if split.kind == "time" else "",
        weight=options.weight or "",
        id=options.id or next(iter(card.names("id")), ""),
        sensitive=options.sensitive,
        cost_fp=options.cost_fp,
        cost_fn=options.cost_fn,
        capacity=options.capacity,
        rows=raw.rows,
    )


def target_rows(raw: Table, card: DataCard, problem: Problem) -> np.ndarray:
    """Mask (n,) of the rows whose answer is known; every row when the problem has no target."""
    if not problem.target:
        return np.ones(raw.rows, dtype=bool)
    answers = answers_column(raw, card, problem.target, problem.task)
    if answers.levels is None:
        return _known(answers)
    classes = set(problem.classes)
    named = np.array([str(level) in classes for level in answers.levels] + [False])
    return np.asarray(named[answers.values])


def _known(answers: Column) -> np.ndarray:
    return ~answers.missing if answers.coded else np.isfinite(answers.values)


def _check_columns(raw: Table, options: TrainOptions) -> None:
    """Every column that an option names exists, and none has two parts to play."""
    if raw.rows == 0:
        raise DataError("the table has no rows", allowed="a header and at least one row per class", next_step="check the file, or the query")
    named = [(flag, getattr(options, flag)) for flag in ("target", "time", "group", "id", "weight")]
    named += [(flag, name) for flag in ("sensitive", "exclude") for name in getattr(options, flag)]
    named += [("known", name) for name in options.include] + [("type", name) for name in options.types]
    for flag, name in named:
        if name is not None and name not in raw:
            near = difflib.get_close_matches(name, list(raw), 1, cutoff=0.4) or [n for n in raw if n.casefold() == name.casefold()]
            raise DataError(
                f"there is no column {name!r}",
                where=f"--{flag} {name}",
                allowed=", ".join(list(raw)[:30]) + (", …" if len(raw) > 30 else ""),
                next_step=f"did you mean {near[0]!r}?" if near else "choose one of these columns",
            )
    parts = {"time": options.time, "group": options.group, "id": options.id, "weight": options.weight, **{f"exclude {n}": n for n in options.exclude}}
    for flag, name in parts.items():
        if name is not None and name == options.target:
            raise OptionError(f"column {name!r} is the target and cannot also be --{flag.split()[0]}", next_step="name another column")


def _excluded(card: DataCard, options: TrainOptions) -> dict[str, str]:
    """Columns that are no features, with the reason."""
    roles = {options.group: "the group that rows belong to", options.id: "identifies the row", options.weight: "the weight of the row"}
    found: dict[str, str] = {}
    for column in card.columns:
        if column.name == options.target or column.role == "target":
            found[column.name] = "the target"
        elif column.name in options.exclude:
            found[column.name] = "excluded by the user"
        elif column.name in roles:
            found[column.name] = roles[column.name]
        elif column.name in options.include:
            continue
        elif column.role in ("id", "group", "weight", "excluded"):
            found[column.name] = column.why or f"its role is {column.role}"
        elif column.rows and column.missing >= column.rows:
            found[column.name] = "holds no value"
    return found


def _task(raw: Table, card: DataCard, options: TrainOptions, why: dict[str, str]) -> Any:
    """The task kind that suits the target best, or the one the user named."""
    assert options.target is not None
    target = typed(raw.select([options.target]), with_label_spellings(card, options.target), [options.target])[options.target]
    _check_target(target, card, options.target)
    tasks = {t.name: t for t in plugins.collect("tasks")}
    if options.task != "auto":
        if options.task not in tasks:
            near = difflib.get_close_matches(options.task, list(tasks), 1)
            raise OptionError(f"--task {options.task}", allowed=", ".join(["auto", *tasks]), next_step=f"did you mean {near[0]!r}?" if near else "")
        why["task"] = "named by the user"
        _check_named_task(options, raw, card)
        return tasks[options.task]
    fit, reason, task = max(((*t.fits(target), t) for t in tasks.values()), key=lambda found: float(found[0]))
    if fit < 0.2:
        raise DataError(
            f"the target {options.target!r} cannot be learned: {reason}",
            where=f"column {options.target!r}, {len(np.unique(target.values)):,} different values in {raw.rows:,} rows",
            allowed="a few labels that repeat, or numbers",
            next_step="choose another target, or say what it is with --task or --type",
        )
    why["task"] = reason
    return task


def _check_target(target: Column, card: DataCard, name: str) -> None:
    cells = target.values[_known(target)]
    if len(cells) == 0:
        raise DataError(
            f"the target {name!r} has no value in any row",
            where=card.source,
            allowed="an answer in some rows",
            next_step="choose another target with --target",
        )
    if len(np.unique(cells)) == 1:
        only = target.take(np.flatnonzero(_known(target))[:1]).strings()[0]
        raise DataError(
            f"the target {name!r} is the same in every row ({str(only)[:40]!r}): there is nothing to learn",
            where=card.source,
            allowed="at least two different answers",
            next_step="choose another target, or add rows with the other answer",
        )
    if target.kind == "date":
        raise DataError(
            f"the target {name!r} holds dates", allowed="labels or numbers", next_step="turn it into a number of days, or choose another target"
        )
    if len(cells) < FEWEST_ROWS:
        raise DataError(
            f"only {len(cells)} row(s) have an answer in {name!r}", where=card.source, allowed=f"at least {FEWEST_ROWS}", next_step="add rows"
        )


def _check_named_task(options: TrainOptions, raw: Table, card: DataCard) -> None:
    """The named task can be asked of this target."""
    assert options.target is not None
    answers = answers_column(raw, card, options.target, options.task)
    cells = answers.values[_known(answers)]
    distinct = len(np.unique(cells))
    if options.task == "regression" and len(cells) < max(FEWEST_ROWS, 0.5 * raw.rows):
        raise OptionError(
            f"--task regression, but {options.target!r} holds few numbers ({len(cells):,} of {raw.rows:,} rows)",
            allowed="a numeric target",
            next_step="leave --task out, or choose another target",
        )
    if options.task == "binary" and distinct != 2:
        raise OptionError(
            f"--task binary, but {options.target!r} has {distinct:,} different values", allowed="exactly two", next_step="use --task multiclass"
        )


def _classes(answers: Column, task: str, options: TrainOptions, why: dict[str, str]) -> tuple[tuple[str, ...], str]:
    """Labels in code order, and the positive one (binary only), which is the last."""
    if answers.levels is None:
        if options.positive is not None:
            raise OptionError(f"--positive {options.positive}, but the task is {task}", allowed="a binary task", next_step="leave --positive out")
        return (), ""
    counts = {str(level): int(n) for level, n in zip(answers.levels, answers.counts(), strict=True) if n}
    labels = sorted(counts, key=_label_order)
    if len(labels) > MOST_CLASSES or (len(labels) > 50 and len(labels) > sum(counts.values()) / 2):
        raise DataError(
            f"the target {options.target!r} has {len(labels):,} different labels in {sum(counts.values()):,} rows",
            allowed=f"at most {MOST_CLASSES:,} labels that repeat",
            next_step="group rare labels, choose another target, or use --task regression if it is a number",
        )
    if options.positive is not None and options.positive not in labels:
        raise OptionError(
            f"--positive {options.positive}", allowed=", ".join(labels[:20]), next_step=f"choose one of the labels of {options.target!r}"
        )
    single = [label for label in labels if counts[label] == 1]
    if single:
        why["classes"] = f"{len(single)} label(s) stand in one row only ({', '.join(single[:5])}): kept, though not measurable"
    if len(labels) > 2:
        return tuple(labels), ""
    if single:
        raise DataError(
            f"only one row has the answer {single[0]!r}",
            where=f"column {options.target!r}",
            allowed="at least two rows of each answer",
            next_step="add rows of that answer",
        )
    positive, why["positive"] = _positive(labels, counts, options.positive)
    return tuple(sorted(labels, key=lambda label: label == positive)), positive


def _label_order(label: str) -> tuple[int, float, str]:
    """Numbers by value, then words by alphabet."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _positive(labels: list[str], counts: dict[str, int], said: str | None) -> tuple[str, str]:
    if said is not None:
        return said, "named by the user"
    for words, pick, says in ((BAD_NEWS, 1, "says that the event happened"), (GOOD_NEWS, -1, "says that nothing happened")):
        meant = [label for label in labels if label.casefold().strip() in words]
        if len(meant) == 1:
            other = next(label for label in labels if label != meant[0])
            return (meant[0], f"{meant[0]!r} {says}") if pick == 1 else (other, f"{meant[0]!r} {says}, so {other!r} is the event")
    rare = min(labels, key=lambda label: counts[label])
    if counts[rare] < RARE * sum(counts.values()):
        return rare, f"{rare!r} is the rare one ({counts[rare]:,} of {sum(counts.values()):,} rows)"
    return labels[-1], f"{labels[-1]!r} is the last in sorted order; --positive says otherwise"


def _metric(task: Any, options: TrainOptions, why: dict[str, str]) -> str:
    if options.metric == "auto":
        why["metric"] = f"the default for {task.name} tasks; all others are reported"
        return str(task.default_metric)
    allowed = [m.name for m in metrics_for(task.name)]
    if options.metric not in allowed:
        near = difflib.get_close_matches(options.metric, allowed, 1)
        raise OptionError(
            f"--metric {options.metric} for a {task.name} task",
            allowed=", ".join(["auto", *allowed]),
            next_step=f"did you mean {near[0]!r}?" if near else "",
        )
    why["metric"] = "named by the user"
    return options.metric


@dataclass(frozen=True, eq=False)
class _Rows:
    """What the split is decided from."""

    raw: Table
    card: DataCard
    options: TrainOptions
    features: tuple[str, ...]
    task: str


def _split(rows: _Rows, answered: int, seed: int) -> SplitRule:
    """Group, time, twins, otherwise at random (stratified by class where there are classes); the user's --group and --time win."""
    options = rows.options
    sealed = min(SEALED_SHARE, SEALED_MOST / answered) if answered >= SEAL_FROM and not options.test else 0.0
    if options.group:
        return SplitRule("group", options.group, f"--group: rows of one {options.group} stay together", sealed)
    if options.time:
        return SplitRule("time", options.time, f"--time: learned from earlier rows, judged on later ones by {options.time}", sealed)
    time, evidence = _event_time(rows)
    looked = (
        rows.raw if rows.raw.rows <= LOOK_AT else rows.raw.take(np.sort(np.random.default_rng(seed).choice(rows.raw.rows, LOOK_AT, replace=False)))
    )
    keyed = looked.drop([n for n in looked if n in (options.exclude or ())])
    entities = [e for e in find_entities(keyed, str(options.target), seed) if e.name != time]
    if entities and not (time and looked.rows / entities[0].entities > 30):
        key = entities[0]
        says = f"{key.name} names {key.entities:,} entities whose rows agree on {len(key.agree)} other columns; all rows of one stay on one side"
        return SplitRule("group", key.name, says, sealed)
    if time:
        return SplitRule("time", time, f"{time} is when each row happened ({evidence}): learned from earlier rows, judged on later ones", sealed)
    twins, copied = count_twins(rows.raw, rows.features, TWINS_FROM)
    if copied:
        says = f"{twins:,} rows repeat the features of another row; identical rows stay on one side so that none is judged by its own copy"
        return SplitRule("group", TWINS, says, sealed)
    return SplitRule(
        "random" if rows.task == "regression" else "stratified", "", "no time, no repeated entity and no surprising twins were found", sealed
    )


def _event_time(rows: _Rows) -> tuple[str, str]:
    """The column that says when a row happened, with the evidence; empty when none or when several compete without order."""
    found = []
    for column in rows.card.columns:
        if column.kind != "date" or column.name == rows.options.target or column.name in rows.options.exclude:
            continue
        seconds = typed(rows.raw.select([column.name]), rows.card, [column.name])[column.name].values
        yes, evidence = is_event_time(column.name, column.kind, seconds)
        if yes:
            found.append((column.name, evidence))
    ordered = [f for f in found if "order" in f[1]]
    return (ordered or found or [("", "")])[0]
