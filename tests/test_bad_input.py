"""Bad input through the front door: a clear error with exit code 2, or a repaired row; never a traceback, never half a workspace."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emlyn.doors.cli.app import app

runner = CliRunner()


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path / "home"))
    return tmp_path


def rows(n: int, *extra: str) -> str:
    lines = [f"{i % 7},{(i * 37) % 11},{'yes' if (i * 7919) % 13 > 5 else 'no'}" for i in range(n)]
    return "\n".join(["a,b,y", *lines, *extra]) + "\n"


REFUSED = {
    "missing file": (None, "y", "no such file"),
    "empty file": (b"", "y", "empty"),
    "header only": (b"a,b,y\n", "y", "no rows"),
    "one row": (b"a,b,y\n1,2,yes\n", "y", ""),
    "one column": (b"y\n" + b"yes\nno\n" * 20, "y", "no column is left"),
    "no such target": (rows(50).replace("a,b,y", "a,b,churn", 1).encode(), "chrun", "did you mean"),
    "target all missing": (b"a,b,y\n" + b"".join(b"%d,%d,\n" % (i % 5, i % 7) for i in range(60)), "y", "no value"),
    "target constant": (b"a,b,y\n" + b"".join(b"%d,%d,yes\n" % (i % 5, i % 7) for i in range(60)), "y", "same in every row"),
    "target of unique strings": (b"a,b,y\n" + b"".join(b"%d,%d,name-%d x\n" % (i % 5, i % 7, i) for i in range(60)), "y", "cannot be learned"),
    "binary renamed to .csv": (bytes(range(256)) * 40, "y", ""),
    "truncated gzip": (gzip.compress(rows(500).encode())[:-20], "y", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_clear_error(name: str, workspace: Path) -> None:
    content, target, phrase = REFUSED[name]
    path = workspace / ("table.csv.gz" if "gzip" in name else "table.csv")
    if content is not None:
        path.write_bytes(content)
    done = runner.invoke(app, ["train", str(path), "--target", target, "--budget", "8s", "--json"])
    assert done.exit_code == 2, (done.exit_code, done.output, done.exception)
    assert "Traceback" not in done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["what"]
    assert phrase.lower() in " ".join(error.values()).lower()
    assert runner.invoke(app, ["models", "--json"]).stdout.count('"name"') == 0, "nothing half-made is registered"


REFUSED_OPTIONS = {
    "budget in words": ["--budget", "soon"],
    "budget below zero": ["--budget", "-5s"],
    "unknown metric": ["--metric", "rocauc"],
    "metric of another task": ["--metric", "rmse"],
    "unknown task": ["--task", "classify"],
    "unknown kind": ["--type", "a=zip"],
    "kind of no column": ["--type", "nope=category"],
    "unknown positive label": ["--positive", "maybe"],
    "repairs in between": ["--repairs", "some"],
    "no trials": ["--trials", "0"],
    "memory in words": ["--memory", "lots"],
    "name with a slash": ["--name", "a/b"],
    "group of no column": ["--group", "patient"],
    "missing configuration": ["--config", "nope.yaml"],
    "missing test rows": ["--test", "nope.csv"],
    "seed below zero": ["--seed", "-1"],
}


@pytest.mark.parametrize("name", REFUSED_OPTIONS)
def test_options_refused(name: str, workspace: Path) -> None:
    path = workspace / "table.csv"
    path.write_text(rows(60))
    bounded = [] if REFUSED_OPTIONS[name][0] in ("--budget", "--trials") else ["--trials", "2"]
    done = runner.invoke(app, ["train", str(path), "--target", "y", *bounded, *REFUSED_OPTIONS[name]])
    assert done.exit_code == 2, (done.output, done.exception)
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


HARMLESS = {
    "a class with one row": rows(60, "3,4,perhaps"),
    "duplicate column names": rows(60).replace("a,b,y", "a,a,y", 1),
    "names like keywords": rows(60).replace("a,b,y", "class,select,y", 1),
    "names with dots and emoji": rows(60).replace("a,b,y", "a.b.c,🙂 <script>,y", 1),
    "a name of 300 characters": rows(60).replace("a,b,y", "x" * 300 + ",b,y", 1),
    "mixed types in a column": rows(60, "hello,3,yes", "2024-01-01,3,no"),
    "infinite and huge values": rows(60, "inf,1e308,yes", "-inf,-1e308,no"),
    "ragged rows": rows(60, "1,2,yes,9,9", "1"),
    "NUL bytes": rows(60, "1\0,2,yes"),
    "formula cells": rows(60, "=cmd|' /C calc'!A0,2,yes"),
    "semicolons and decimal commas": rows(60).replace(",", ";"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_repaired_or_kept(name: str, workspace: Path) -> None:
    path = workspace / "table.csv"
    path.write_text(HARMLESS[name], encoding="utf-8")
    done = runner.invoke(app, ["train", str(path), "--target", "y", "--trials", "4", "--jobs", "1", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    result = json.loads(done.stdout)
    assert result["task"] in ("binary", "multiclass")
    assert Path(result["report"]).read_text(encoding="utf-8").count("<script>alert") == 0
    scored = runner.invoke(app, ["predict", result["model"], str(path), "--out", str(workspace / "scored.csv"), "--json"])
    assert scored.exit_code == 0, (scored.output, scored.exception)
    assert json.loads(scored.stdout)["rows"] >= 60
