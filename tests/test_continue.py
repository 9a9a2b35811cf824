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

from emlyn.core.models.model import Model
from emlyn.core.reader import read
from emlyn.core.storing import registry
from emlyn.core.storing.run_journal import runs
from emlyn.core.storing.store import Store
from emlyn.core.storing.workspace import Workspace

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
