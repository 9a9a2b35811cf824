"""Commands of the registry: models, promote, rollback."""

from __future__ import annotations

import typer

from emlyn.doors.cli.rows import MODEL
from emlyn.doors.cli.train import JSON


def models(name: str = typer.Argument(None, help="One model; without it, all of them."), json: bool = JSON) -> None:
    """The registry: versions, aliases, decisions."""
    from emlyn.doors import python
    from emlyn.doors.cli import show

    result = python.models(name)
    if json:
        show.as_json(result)
        return
    if not result["versions"]:
        show.out("No models yet. Train one: emlyn train DATA --target COL (or: emlyn demo)")
        return
    rows = []
    for v in result["versions"]:
        score = v["evaluation"].get(v["metric"]) or {}
        rows.append(
            {
                "model": f"{v['name']}:{v['version']}",
                "aliases": ", ".join(v["aliases"]),
                "task": v["task"],
                "target": v["target"],
                "score": show.measure(v["metric"], score),
                "created": v["created"],
            }
        )
    show.table(rows, ["model", "aliases", "task", "target", "score", "created"])
    if name and result["decisions"]:
        show.out("\nDecisions")
        for d in result["decisions"]:
            show.out(f"  {d['at']}  {d['by']}  {d['action']}{' ' * bool(d['alias'])}{d['alias']} -> {d['name']}:{d['version']}: {d['why']}")


def promote(
    model: str = MODEL,
    alias: str = typer.Option("champion", "--alias", help="The alias to move to this version."),
    why: str = typer.Option("by hand", "--why", help="The reason, kept in the history."),
    json: bool = JSON,
) -> None:
    """Make a version the champion of its name."""
    from emlyn.doors import python
    from emlyn.doors.cli import show

    result = python.promote(model, alias=alias, why=why)
    show.as_json(result) if json else show.out(f"{result['model']} is now {alias} of {result['name']}")


def rollback(
    name: str = typer.Argument(..., help="The model's name."),
    why: str = typer.Option("by hand", "--why", help="The reason, kept in the history."),
    json: bool = JSON,
) -> None:
    """Go back to the champion before."""
    from emlyn.doors import python
    from emlyn.doors.cli import show

    result = python.rollback(name, why=why)
    show.as_json(result) if json else show.out(f"{result['model']} is champion of {result['name']} again")
