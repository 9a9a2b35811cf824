"""The commands, in the order a user meets them."""

from __future__ import annotations

import typer

from emlyn.doors.cli import machine, models, rows, serve, train
from emlyn.doors.cli.guard import guarded

app = typer.Typer(
    name="emlyn",
    help="The machine learning engineer in a box: from a raw table to an audited, evaluated, explained, served model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def version(version: bool = typer.Option(False, "--version", help="Show the version and leave.", is_eager=True)) -> None:
    """The machine learning engineer in a box: from a raw table to an audited, evaluated, explained, served model."""
    if version:
        from emlyn import __version__

        typer.echo(f"emlyn {__version__}")
        raise typer.Exit()


COMMANDS = (
    train.train,
    rows.audit,
    rows.predict,
    rows.evaluate,
    rows.explain,
    rows.report,
    serve.serve,
    serve.feedback,
    serve.keys,
    serve.export,
    models.models,
    models.promote,
    models.rollback,
    machine.doctor,
    machine.demo,
)
for command in COMMANDS:
    app.command(command.__name__)(guarded(command))
