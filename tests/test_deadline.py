"""Learners that do not behave: the command ends, with a model, and what would not fit is not begun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from emlyn.core.executor import ABANDONED, Job, ProcessExecutor, ThreadExecutor, run_beside
from emlyn.core.searching.racing import unlearned
from emlyn.core.searching.trials import FoldResult, Trials
from emlyn.records.plan import Plan, Recipe
from emlyn.tasks.classification import BINARY
from toys import binary_problem, rows_data

PLUGIN = '''
import time, pathlib
from emlyn.plugins import hook
from emlyn.records.plan import Recipe

class Odd:
    tasks, packages = ("binary", "multiclass", "regression"), ()
    def __init__(self, name, **more):
        self.name = name
        self.__dict__.update(more)
    def missing(self): return ""
    def recipes(self, problem, data): return [Recipe(self.name, self.name, {"epochs": 1})]
    def fit(self, recipe, fit, watch, effort):
        pathlib.Path(__file__).with_name(f"{self.name}.begun").write_text("")
        while True:
            time.sleep(1000)
    def load(self, parts): raise NotImplementedError

@hook
def emlyn_learners(): return [Odd("sleeper"), Odd("glutton", bytes_per_cell=1e12)]
'''


@pytest.fixture
def plugged(tmp_path):
    """An environment in which a distribution with two odd learners is installed."""
    (tmp_path / "odd_learners.py").write_text(PLUGIN)
    info = tmp_path / "odd_learners-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-learners\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emlyn]\nodd = odd_learners\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path), "EMLYN_HOME": str(tmp_path / "home")}


def write_table(path, rows=400):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    y = np.where(x[:, 0] + 0.5 * rng.normal(size=rows) > 0, "yes", "no")
    path.write_text("a,b,c,y\n" + "\n".join(f"{a:.4f},{b:.4f},{c:.4f},{t}" for (a, b, c), t in zip(x, y, strict=True)) + "\n")
    return str(path)


def test_the_command_ends_though_a_learner_never_does(tmp_path, plugged):
    table = write_table(tmp_path / "t.csv")
    command = [sys.executable, "-m", "emlyn", "train", table, "--target", "y", "--budget", "12s", "--jobs", "2", "--json"]
    done = subprocess.run(command, env=plugged, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    said = json.loads(done.stdout)
    assert (tmp_path / "sleeper.begun").exists(), "it was given its chance"
    tried = {t["recipe"]: t for t in said["leaderboard"]}
    assert ABANDONED in tried["sleeper"]["note"]
    assert sum(t["weight"] or 0 for t in said["leaderboard"]) == pytest.approx(1, abs=0.01)
    assert not (tmp_path / "glutton.begun").exists(), "what says that it needs terabytes is not begun"


@pytest.mark.parametrize("executor", [ThreadExecutor, ProcessExecutor])
def test_an_abandoned_job_gives_its_place_to_the_next(executor):
    made = executor(1)
    stuck = made.submit(Job(sleeper, (), 1.0))
    time.sleep(0.1)
    following = made.submit(Job(adder, (2, 3), 1.0))
    made.abandon(stuck)
    assert stuck.result(60).error == ABANDONED
    if executor is ThreadExecutor:
        assert following.result(60).value == 5
    made.close()


def test_a_job_beside_is_left_when_patience_ends():
    assert run_beside(Job(sleeper, (), 1.0), 0.3, lambda: False).error == ABANDONED
    assert run_beside(Job(adder, (2, 3), 1.0), 60.0, lambda: False).value == 5


def sleeper(effort):
    time.sleep(1000)


def adder(a, b, effort):
    return a + b


def test_what_the_deadline_cut_before_it_learned_is_no_result():
    data, problem = rows_data(), binary_problem()
    folds = BINARY.folds(data, problem, 3, 0)
    trials = Trials(data, problem, folds, 2, Plan((), 3))
    uniform = np.full((len(folds[0].positions), 2), 0.5)
    cut = FoldResult(Recipe("r", "linear"), 0, None, uniform, 1.0, 0.0, complete=False)
    right = np.clip(np.eye(2)[folds[0].truth], 0.2, 0.8)
    assert unlearned(trials, cut)
    assert not unlearned(trials, replace(cut, complete=True)), "a learner that had its time may be as bad as it is"
    assert not unlearned(trials, replace(cut, prediction=right)), "a part of a model that is better than nothing counts"
