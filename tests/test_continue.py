"""The main job, killed in the middle and started again, ends where it would have ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emlyn
from emlyn.core.models.model import Model
from emlyn.core.reader import read
from emlyn.core.storing import registry
from emlyn.core.storing.run_journal import runs
from emlyn.core.storing.store import Store
from emlyn.core.storing.workspace import Workspace
from emlyn.errors import DataError, ModelError, OptionError
from emlyn.records.codec import digest

TABLE = Path(__file__).resolve().parent.parent / "src" / "emlyn" / "samples" / "breast_cancer.csv"


def command(home: Path) -> subprocess.Popen[str]:
    words = ["train", str(TABLE), "--target", "diagnosis", "--trials", "3", "--jobs", "1", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "emlyn", *words],
        env={**os.environ, "EMLYN_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def result(home: Path) -> dict[str, Any]:
    out, _ = (process := command(home)).communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    return found


def kept(store: Store) -> list[str]:
    return [event.body["key"] for run in runs(store) for event in store.events(f"run:{run.id}", kind="trial.kept")]


@pytest.mark.timeout(600)
def test_a_killed_training_continues_and_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole = result(tmp_path / "whole")
    with Workspace.find(tmp_path / "killed", {}).open_store() as store:
        process = command(tmp_path / "killed")
        while len(kept(store)) < 5:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.kill()
        process.communicate()
        again = result(tmp_path / "killed")
        (run,) = runs(store)
        assert run.state == "done"
        assert len(store.events(f"run:{run.id}", kind="run.attempt")) == 2
        keys = kept(store)
        assert len(keys) == len(set(keys)), "what was learned before the kill was not learned again"
        model = Model.load(registry.load(registry.resolve(store, again["model"])).under("model/"))
    with Workspace.find(tmp_path / "whole", {}).open_store() as store:
        reference = Model.load(registry.load(registry.resolve(store, whole["model"])).under("model/"))
        assert sorted(kept(store)) == sorted(keys)
    said = [[(t["recipe"], t["score"], t["weight"]) for t in found["leaderboard"]] for found in (again, whole)]
    assert said[0] == said[1]
    rows = read(str(TABLE)).table
    np.testing.assert_allclose(model.predict(rows).probabilities, reference.predict(rows).probabilities, atol=1e-6)


# ---- going on from a run that ended


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def sealed_table(path: Path, rows: int = 2_100) -> Path:
    """Enough rows for a seal, few enough columns for speed."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, 3)).round(3)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(scale=0.7, size=rows) > 0).astype(int)
    path.write_text("a,b,c,late\n" + "\n".join(f"{a},{b},{c},{'yes' if t else 'no'}" for (a, b, c), t in zip(x, y, strict=True)))
    return path


def test_a_run_that_ended_goes_on(home: Path, tmp_path: Path) -> None:
    table = sealed_table(tmp_path / "late.csv")
    first = emlyn.train(table, target="late", trials=3, jobs=1)
    more = emlyn.train(table, target="late", continue_="9s", jobs=1)
    assert (first.result["model"], more.result["model"]) == ("late:1", "late:2")
    assert (first.result["openings"], more.result["openings"]) == (1, 2)
    assert (first.result["parent"], more.result["parent"]) == (None, "late:1")
    assert "continue" in [e.kind for e in more.evidence.journal]
    before, after = ({t.recipe.name: t for t in run.evidence.trials} for run in (first, more))
    assert set(before) < set(after)
    for name, trial in before.items():
        if trial.recipe.learner == "baseline":
            continue  # never stored: learned anew in less time than storing it takes
        assert (after[name].score, after[name].fit_s) == (trial.score, trial.fit_s), "taken over, not learned again"
    with Workspace.find().open_store() as store:
        newest = runs(store)[0]
        learned = {event.body["key"].split("/")[0] for event in store.events(f"run:{newest.id}", kind="trial.kept")}
    assert learned
    assert not learned & {digest(t.recipe) for t in first.evidence.trials}

    with pytest.raises(OptionError, match="seed 0 then, 1 now"):
        emlyn.train(table, target="late", continue_="5s", seed=1)
    with pytest.raises(OptionError, match="target 'late' then, 'a' now"):
        emlyn.train(table, target="a", continue_="5s", name="late:1")
    with pytest.raises(DataError, match="2,100 rows then, 2,099 now"):
        emlyn.train(sealed_table(tmp_path / "late.csv", 2_099), target="late", continue_="5s")
    with pytest.raises(DataError, match="no such file"):
        emlyn.train(tmp_path / "latte.csv", target="late", continue_="5s")
    with pytest.raises(ModelError, match="nothing to continue"):
        emlyn.train(table, target="late", continue_="5s", name="another")


def test_a_continuation_says_how_often_the_seal_was_opened(home: Path, tmp_path: Path) -> None:
    table = sealed_table(tmp_path / "late.csv")
    words = [sys.executable, "-m", "emlyn", "train", str(table), "--target", "late", "--trials", "3", "--jobs", "1"]
    subprocess.run(words, check=True, capture_output=True)
    done = subprocess.run([*words, "--continue", "6s"], check=True, capture_output=True, text=True)
    assert "opened 2 times" in done.stdout
    assert "late:2" in done.stdout


def test_who_goes_on_reads_the_rows_that_were_read_before(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with more time or memory would read more of a table that was read in part: no stored trial would fit."""
    monkeypatch.setattr("emlyn.core.tables.blocks.SHARE", 4e-5)
    table = sealed_table(tmp_path / "late.csv")
    first = emlyn.train(table, target="late", trials=3, jobs=1, memory="1GB")
    assert 0 < first.evidence.lineage.rows < 2_100
    more = emlyn.train(table, target="late", continue_="5s", jobs=1, memory="8GB")
    assert more.evidence.lineage.parent == "late:1"
    assert more.evidence.lineage.rows == first.evidence.lineage.rows
