"""Learners that do not behave: the command ends, with a model, and what would not fit is not begun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import toys
from emlyn.core.executor import ABANDONED, Job, ProcessExecutor, ThreadExecutor, run_beside
from emlyn.core.searching.racing import unlearned
from emlyn.core.searching.trials import FoldResult, Trials
from emlyn.records.plan import Plan, Recipe
from emlyn.stages.search import search
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
    command = [sys.executable, "-m", "emlyn", "train", table, "--target", "y", "--budget", "10m", "--jobs", "2", "--json"]
    process = subprocess.Popen(command, env=plugged, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "sleeper.begun").exists():
        assert process.poll() is None, process.stderr.read()[-500:]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-500:]
    said = json.loads(out)
    assert ABANDONED in {t["recipe"]: t["note"] for t in said["leaderboard"]}["sleeper"]
    assert sum(t["weight"] or 0 for t in said["leaderboard"]) == pytest.approx(1, abs=0.01)
    assert not (tmp_path / "glutton.begun").exists(), "what says that it needs terabytes is not begun"


class Sleeper(toys.Ridge):
    name = "sleeper"

    def recipes(self, problem, data):
        return [Recipe("sleeper", "sleeper", {"epochs": 1})]

    def fit(self, recipe, fit, watch, effort):
        time.sleep(1000)


def test_the_race_goes_on_without_a_learner_that_ignores_its_time():
    recipes = [r for learner in (toys.Prior(), Sleeper(), toys.Ridge()) for r in learner.recipes(None, None)]
    with toys.only(toys.Prior(), Sleeper(), toys.Ridge()):
        found = search(Plan(tuple(recipes), 3, threads=1), rows_data(), binary_problem(), toys.context(seconds=8))
    by_name = {c.recipe.name: c for c in found.candidates}
    assert by_name["sleeper"].note == ABANDONED
    assert found.usable(), "there is a model all the same"


class Heavy(toys.Ridge):
    name = "heavy"
    libraries = ("a_slow_library",)

    def recipes(self, problem, data):
        return [Recipe("heavy", "heavy", {"columns": 99})]


def test_a_disk_that_is_slow_to_load_a_library_costs_no_learner(tmp_path, monkeypatch):
    (tmp_path / "a_slow_library.py").write_text("import time\ntime.sleep(6)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (prior,), (ridge, other), (heavy,) = (learner.recipes(None, None) for learner in (toys.Prior(), toys.Ridge(), Heavy()))
    with toys.only(toys.Prior(), toys.Ridge(), Heavy()):  # a recipe that waits leaves it a small share of the time
        found = search(Plan((prior, ridge, heavy, other), 8, threads=2), rows_data(), binary_problem(), toys.context(seconds=14))
    assert found.find("heavy").status == "done", found.find("heavy").note


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


@pytest.mark.parametrize("fits", [True, False])
def test_time_kept_for_more_rows_goes_to_the_search_where_it_would_not_suffice(monkeypatch, fits):
    """With a sample, most of 6.7 s is kept for finals; twelve recipes of 0.4 s a fold need more than the rest."""

    class Many(toys.Slow):
        def recipes(self, problem, data):
            return [Recipe(f"slow-{i}", "slow", {"columns": 1 + i % 4}) for i in range(12)]

    monkeypatch.setattr("emlyn.stages.search.affordable_rows", lambda seconds, fit_s, seen, rows: rows * fits)
    notes = []
    with toys.only(toys.Ridge(), Many()):
        data = rows_data(n=3_000)
        plan = Plan((Recipe("ridge-1", "ridge", {"columns": 1}), *Many().recipes(None, None)), 1, sample=1_000, refit=True)
        trials = search(plan, data, binary_problem(), toys.context(9, sink=notes.append))
    assert any("the search goes on" in e.message for e in notes) is not fits
    assert (sum(c.status == "done" for c in (trials.before or trials).candidates) == 13) is not fits


def test_a_shell_that_becomes_the_command_costs_no_budget():
    """`sh -c "install && emlyn train"` turns into the last command, with its age: the seconds before are not ours."""
    code = "import time; from emlyn.doors import LOADED; from emlyn.core.machine import process_age; print(process_age(LOADED))"
    said = {}
    for before in (0, 7):
        shell = ["bash", "-c", f"sleep {before}; exec {sys.executable} -c '{code}'"]
        said[before] = float(subprocess.run(shell, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert 0 < said[0] < 7
    assert said[7] < 7
