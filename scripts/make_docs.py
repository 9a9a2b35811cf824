"""Write the reference pages that follow from code: docs/cli.md, docs/python.md, docs/plugins.md. `tests/test_docs.py` fails when they are stale.

usage: python scripts/make_docs.py
"""

from __future__ import annotations

import inspect
from pathlib import Path

import typer

import emlyn
from emlyn import plugins
from emlyn.doors.cli.app import app
from emlyn.plugins import Hooks

DOCS = Path(__file__).resolve().parent.parent / "docs"


def cli_page() -> str:
    group = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Every command but `serve` takes `--json` (one JSON object on stdout, nothing else there; progress and logs on stderr) and ends with",
        "exit code 0 on success, 2 for a mistake the user can mend",
        "(what, where, what was allowed, what to do next), 1 for our own fault.",
        "",
        "`DATA` is a path, glob, folder, URL of an object store, or `DBURL::table-or-query`.",
        "`MODEL` is `NAME` (its champion), `NAME@alias`, `NAME:version`, or a path to a `.emlyn` file.",
        "The workspace is `./.emlyn`, or the folder that `EMLYN_HOME` names.",
        "",
    ]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        usage = " ".join([f"emlyn {name}", *(a.name.upper() if a.required else f"[{a.name.upper()}]" for a in arguments), "[OPTIONS]"])
        lines += [f"## {name}", "", (command.help or "").strip(), "", f"`{usage}`", ""]
        rows = [(f"`{a.name.upper()}`", getattr(a, "help", "") or "") for a in arguments]
        rows += [(", ".join(f"`{o}`" for o in p.opts), p.help or "") for p in options]
        lines += ["| | |", "|---|---|", *(f"| {a} | {b.replace('|', chr(92) + '|')} |" for a, b in rows), ""]
    return "\n".join(lines)


def python_page() -> str:
    lines = ["# Python", "", "Everything public of the package `emlyn`; names not on this page may change.", ""]
    for name in emlyn.__all__:
        found = getattr(emlyn, name)
        lines += [f"## emlyn.{name}", "", "```python", f"{name}{_signature(found)}", "```", "", inspect.cleandoc(found.__doc__ or ""), ""]
        if inspect.isclass(found):
            for method, function in inspect.getmembers(found, inspect.isfunction):
                if not method.startswith("_") and function.__module__.startswith("emlyn"):
                    lines += [
                        f"- `{method}{_signature(function)}`: {inspect.cleandoc(function.__doc__ or '').splitlines()[0] if function.__doc__ else ''}"
                    ]
            lines.append("")
    return "\n".join(lines)


def plugins_page() -> str:
    lines = [
        "# Plug-ins",
        "",
        "Built-ins are plug-ins; yours stand beside them. Register a module under the entry-point group `emlyn`,",
        "import `hook` from `emlyn.plugins`, and implement any of these hooks.",
        "Each returns a list of objects that satisfy the protocol named; `emlyn.testing` holds a contract test class for each kind.",
        "",
    ]
    for name, function in inspect.getmembers(Hooks, inspect.isfunction):
        lines += [f"## {name}", "", f"`{name}{_signature(function)}`", "", inspect.cleandoc(function.__doc__ or ""), ""]
    lines += ["## Built in", ""]
    for noun in ("tasks", "learners", "readers", "explainers", "exporters", "executors"):
        names = ", ".join(f"`{item.name}`" for item in plugins.collect(noun))
        lines += [f"- {noun}: {names or 'none'}"]
    lines += ["- checks: see [checks](checks/README.md)", ""]
    return "\n".join(lines)


def _signature(found: object) -> str:
    return str(inspect.signature(found)).replace("'", "")  # type: ignore[arg-type]


PAGES = {"cli.md": cli_page, "python.md": python_page, "plugins.md": plugins_page}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page().rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
