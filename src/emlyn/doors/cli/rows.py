"""Commands that look at rows: audit, predict, evaluate, explain, report."""

from __future__ import annotations

import typer

from emlyn.doors.cli.train import JSON
from emlyn.errors import OptionError

MODEL = typer.Argument(..., help="NAME (its champion), NAME@alias, NAME:version, or a path to a .emlyn file.")


def audit(
    data: str = typer.Argument(..., help="A file, folder, glob, object-store URL, or DBURL::table-or-query."),
    target: str = typer.Option(None, "--target", help="The column to predict; with it also leaks, bias and the framing are looked at."),
    against: str = typer.Option(None, "--against", help="A second table: drift between the two. Or a model: what its contract does not expect."),
    approve: str = typer.Option(None, "--approve", help="With --against MODEL: accept the changes for that model, with the reason."),
    traps: bool = typer.Option(False, "--traps", help="Plant known defects into copies of the table and show which are caught."),
    type: list[str] = typer.Option(None, "--type", help="COL=number|boolean|date|category|text|id. Repeatable."),
    group: str = typer.Option(None, "--group", help="The column whose rows belong together."),
    time: str = typer.Option(None, "--time", help="The column that orders rows in time."),
    sensitive: list[str] = typer.Option(None, "--sensitive", help="A column to check for fairness. Repeatable."),
    known: list[str] = typer.Option(None, "--known", help="A column you vouch for. Repeatable."),
    repairs: str = typer.Option(None, "--repairs", help="none, safe or all. [safe]"),
    without: list[str] = typer.Option(None, "--without", help="A check code or finding id whose repair is undone. Repeatable."),
    budget: str = typer.Option("5m", "--budget", help="A maximum of wall-clock time."),
    json: bool = JSON,
) -> None:
    """The data card: what the columns are, what is wrong.

    Types, findings, and (with --target) the framing it would choose; with --against also drift, or what a model's contract does not expect.
    """
    from emlyn.doors import python
    from emlyn.doors.cli import show

    result = python.audit(
        data,
        target,
        against=against,
        approve=approve,
        traps=traps,
        budget=budget,
        types=type or None,
        group=group,
        time=time,
        sensitive=sensitive or None,
        include=known or None,
        repairs=repairs,
        without=without or None,
    ).result
    show.as_json(result) if json else show.audited(result)


def predict(
    model: str = MODEL,
    data: str = typer.Argument(..., help="Rows to score: the same kinds of source as train."),
    out: str = typer.Option(None, "--out", help="Where to write: .csv, .parquet or .jsonl. [CSV on stdout]"),
    explain: bool = typer.Option(False, "--explain", help="Add the main reasons for each row."),
    json: bool = JSON,
) -> None:
    """Score rows in batch.

    One output row per input row, in order; refused rows are kept, with the reason.
    """
    from emlyn.doors import python
    from emlyn.doors.cli import show

    summary = python.load(model).predict_file(data, out, explain=explain, to_stdout=not json)
    if json:
        show.as_json(summary)
    elif out:
        show.out(f"{summary['rows']:,} rows scored, {summary['refused']:,} refused -> {summary['out']}")


def evaluate(
    model: str = MODEL,
    data: str = typer.Argument(..., help="Labelled rows."),
    deep: bool = typer.Option(False, "--deep", help="Everything at full depth: slices, fairness, stress, learning curve, label noise, membership."),
    budget: str = typer.Option(None, "--budget", help="A maximum of wall-clock time for --deep. [5m]"),
    out: str = typer.Option(None, "--out", help="Also write the report with this evaluation into this .html or .md file."),
    json: bool = JSON,
) -> None:
    """Judge a model on labelled rows.

    The rows should be ones that the model has not seen.
    """
    from emlyn.doors import python
    from emlyn.doors.cli import show

    result = python.load(model).evaluate(data, deep=deep, budget=budget, out=out)
    if json:
        show.as_json(result)
        return
    show.out(f"{result['model']} on {result['rows']:,} rows of {result['source']} ({result['method']})")
    for name, m in result["evaluation"].items():
        show.out(f"  {show.measure(name, m)}")
    if result["verdict"]:
        show.out(f"\n{show.paint(result['verdict'].upper(), result['verdict'])}: {result['why']}")
    for name, section in result["sections"].items():
        if section.get("sentence"):
            show.out(f"  {name.replace('_', ' ')}: {section['sentence']}")
    if out:
        show.out(f"\nReport  {out}")


def explain(
    model: str = MODEL,
    data: str | None = typer.Argument(None, help="Rows to explain; without it, what drives the model overall."),
    row: int = typer.Option(None, "--row", help="Only this row of DATA, counted from 0."),
    counterfactual: bool = typer.Option(False, "--counterfactual", help="What would have to be different for another decision."),
    immutable: list[str] = typer.Option(None, "--immutable", help="A column that no counterfactual may change; sensitive ones never do. Repeatable."),
    among: str = typer.Option(None, "--among", help="Rows whose cells counterfactuals may take over. [DATA itself]"),
    out: str = typer.Option(None, "--out", help="Also draw the reasons of each row (at most 20) into this .html file."),
    json: bool = JSON,
) -> None:
    """Global and per-row reasons, and what would turn a decision."""
    from emlyn.doors import python, reports
    from emlyn.doors.cli import show

    if ((immutable or among) and not counterfactual) or (counterfactual and data is None):
        raise OptionError(
            "a counterfactual is made for rows" if counterfactual else "--immutable and --among only mean something to --counterfactual",
            where="explain",
            next_step="emlyn explain MODEL DATA --row 0 --counterfactual",
        )
    if out and (data is None or counterfactual or not out.endswith((".html", ".htm"))):
        next_step = "emlyn explain MODEL DATA --row 0 --out why.html"
        raise OptionError("what --out draws are the reasons of rows", where="--out", allowed="an .html file", next_step=next_step)
    loaded = python.load(model)
    if counterfactual:
        result = loaded.counterfactuals(data, row, among=among, immutable=immutable or ())
        show.as_json(result) if json else show.counterfactuals(result)
        return
    if data is None:
        result = loaded.drivers()
        if json:
            show.as_json(result)
            return
        show.drivers(result)
        return
    result = loaded.reasons_for(data, row)
    if out:
        reports.draw_reasons(result, out)
    if json:
        show.as_json(result)
        return
    show.reasons(result)


def report(
    model: str = typer.Argument(..., help="NAME (its champion), NAME@alias, NAME:version, a path to a .emlyn file, or an evidence file (.json)."),
    out: str = typer.Option(None, "--out", help="Where to write it: .html, .md or (evidence) .json. [MODEL-KIND in this folder]"),
    as_: str = typer.Option(
        "report", "--as", help="report, model-card, datasheet, tripod-ai, probast-ai, stard-ai, eu-ai-act, sr-26-2 or evidence."
    ),
    against: str = typer.Option(None, "--against", help="Another version: what changed since, and for whom. [shown here, or written to --out]"),
    json: bool = JSON,
) -> None:
    """Write the report or a document, or compare two versions.

    The report is one self-contained file; documents follow a regulator's or a journal's items. The evidence file holds all of it as JSON
    with a digest: given as MODEL it is checked, and a file that was changed is refused.
    """
    from emlyn.doors import reports
    from emlyn.doors.cli import show

    done = reports.report(model, out, as_=as_, against=against)
    if json:
        show.as_json(done)
    elif done["out"]:
        show.out(done["out"])
    else:
        show.changes(done)
