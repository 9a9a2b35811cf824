"""`emlyn train`: the main job."""

from __future__ import annotations

from typing import Any

import typer

JSON = typer.Option(False, "--json", help="One JSON object on stdout; progress stays on stderr.")


def train(
    data: str = typer.Argument(..., help="A file, folder, glob, object-store URL, or DBURL::table-or-query."),
    target: str = typer.Option(None, "--target", help="The column to predict."),
    task: str = typer.Option(None, "--task", help="auto, binary, multiclass or regression. [auto]"),
    metric: str = typer.Option(None, "--metric", help="What to optimise. [binary roc_auc, multiclass log_loss, regression rmse; all are reported]"),
    budget: str = typer.Option(None, "--budget", help="A maximum of wall-clock time, report included: 60s, 5m, 1h. [5m]"),
    trials: int = typer.Option(None, "--trials", help="Bound by a number of trials instead of time: the run can then be repeated exactly."),
    continue_: str = typer.Option(
        None, "--continue", help="Go on for this long (10m), same data and options, from the trials of the latest version or of --name NAME:VERSION."
    ),
    test: str = typer.Option(None, "--test", help="Your own test rows: every row of DATA trains, these judge."),
    time: str = typer.Option(None, "--time", help="The column that orders rows in time: train on the past, judge on the future."),
    group: str = typer.Option(None, "--group", help="The column whose rows belong together (a patient, a customer): never parted."),
    id: str = typer.Option(None, "--id", help="The column that names a row: kept out of the model."),
    weight: str = typer.Option(None, "--weight", help="The column with row weights."),
    type: list[str] = typer.Option(None, "--type", help="COL=number|boolean|date|category|text|id. Repeatable."),
    sensitive: list[str] = typer.Option(None, "--sensitive", help="A column to check for fairness. Repeatable."),
    exclude: list[str] = typer.Option(None, "--exclude", help="A column to leave out. Repeatable."),
    known: list[str] = typer.Option(
        None, "--known", help="A column you vouch for: known at the moment of prediction, never quarantined. Repeatable."
    ),
    positive: str = typer.Option(None, "--positive", help="The label that counts as positive."),
    cost_fp: float = typer.Option(None, "--cost-fp", help="Cost of a false alarm; with --cost-fn sets the threshold."),
    cost_fn: float = typer.Option(None, "--cost-fn", help="Cost of a miss."),
    capacity: int = typer.Option(None, "--capacity", help="How many cases can be acted on, of as many rows as the table has: sets the threshold."),
    fair: str = typer.Option(None, "--fair", help="METRIC=LIMIT, as tpr=0.05: the largest gap between groups of --sensitive columns to accept."),
    repairs: str = typer.Option(None, "--repairs", help="none, safe or all. [safe]"),
    without: list[str] = typer.Option(None, "--without", help="A check code or finding id whose repair is undone. Repeatable."),
    max_latency: str = typer.Option(None, "--max-latency", help="Time allowed for one row's prediction: 1ms."),
    name: str = typer.Option(None, "--name", help="Name of the model. [from the file's name]"),
    executor: str = typer.Option(None, "--executor", help="local or ray[://ADDRESS]. [local]"),
    jobs: int = typer.Option(None, "--jobs", help="CPU cores to use. [all that are free]"),
    memory: str = typer.Option(None, "--memory", help="Memory to use: 8GB. [what is available]"),
    seed: int = typer.Option(None, "--seed", help="Seed of everything random; never of which rows are sealed. [0]"),
    out: str = typer.Option(None, "--out", help="Also write the report to this file."),
    config: str = typer.Option(None, "--config", help="A YAML file with any of these options; flags win."),
    json: bool = JSON,
) -> None:
    """The main job: from a table to a registered model.

    Read, audit, frame, plan, search, ensemble, evaluate on sealed rows, explain, package, register, report.
    """
    flags = {
        "target": target, "task": task, "metric": metric, "budget": budget, "trials": trials, "test": test, "time": time, "group": group, "id": id,
        "continue_": continue_,
        "weight": weight, "types": type or None, "sensitive": sensitive or None, "exclude": exclude or None, "include": known or None,
        "positive": positive, "cost_fp": cost_fp, "cost_fn": cost_fn, "capacity": capacity, "fair": fair,
        "repairs": repairs, "without": without or None,
        "max_latency": max_latency, "name": name,
        "executor": executor, "jobs": jobs, "memory": memory, "seed": seed, "out": out,
    }  # fmt: skip
    from emlyn.doors.options import read_config

    train_and_show(data, {**(read_config(config) if config else {}), **{k: v for k, v in flags.items() if v is not None}}, json)


def train_and_show(data: str, said: dict[str, Any], json: bool) -> None:
    """Run the main job with progress on stderr and the result on stdout."""
    from emlyn.core.machine import process_age
    from emlyn.doors import LOADED
    from emlyn.doors.cli import progress, show
    from emlyn.doors.options import train_options
    from emlyn.doors.session import Session
    from emlyn.report.words import natural_frequencies

    options = train_options(said)
    view = progress.watch(options.budget, quiet=json)
    try:
        with Session(options, view, started_ago=process_age(LOADED)) as session:
            result, trained = session.train(data)
    finally:
        view.close()
    if json:
        show.as_json(result)
    else:
        show.trained(result, natural_frequencies(trained.evidence.problem, trained.evidence.evaluation))
