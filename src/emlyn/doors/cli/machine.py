"""Commands about this machine: doctor and demo."""

from __future__ import annotations

import typer

from emlyn.doors.cli.train import JSON


def doctor(json: bool = JSON) -> None:
    """What this machine has and lacks."""
    import platform

    import emlyn
    from emlyn import plugins
    from emlyn.core import machine
    from emlyn.core.storing.workspace import Workspace
    from emlyn.doors.cli import show

    learners = [{"learner": learner.name, "status": learner.missing() or "ready"} for learner in plugins.collect("learners")]
    result = {
        "emlyn": emlyn.__version__,
        "python": platform.python_version(),
        "cores": machine.usable_cores(),
        "memory_gib": round(machine.usable_memory() / 2**30, 1),
        "workspace": str(Workspace.find().root),
        "packages": machine.package_versions(),
        "learners": learners,
    }
    if json:
        show.as_json(result)
        return
    show.out(f"emlyn {result['emlyn']} on Python {result['python']}, {result['cores']} cores, {result['memory_gib']} GiB free")
    show.out(f"workspace {result['workspace']}\n")
    show.table(learners, ["learner", "status"])
    show.out("\n" + ", ".join(f"{k} {v}" for k, v in machine.package_versions().items()))


def demo(
    budget: str = typer.Option("60s", "--budget", help="A maximum of wall-clock time."),
    json: bool = JSON,
) -> None:
    """A first run on bundled real data."""
    from emlyn.doors.cli import train
    from emlyn.samples import DIRTY

    if not json:
        typer.echo(f"This runs: emlyn train {DIRTY} --target diagnosis --budget {budget}", err=True)
    train.train_and_show(str(DIRTY), {"target": "diagnosis", "budget": budget}, json)
