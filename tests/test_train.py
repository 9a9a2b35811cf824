"""The main job, end to end, through the public faces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import emlyn
from emlyn.samples import CLEAN, DIRTY


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "emlyn", *words]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """One run of the README's job, shared by the tests that look at its results."""
    home = tmp_path_factory.mktemp("dirty")
    before = os.environ.get("EMLYN_HOME")
    os.environ["EMLYN_HOME"] = str(home)
    try:
        run = emlyn.train(str(DIRTY), target="diagnosis", trials=5, jobs=1)
    finally:
        os.environ.pop("EMLYN_HOME") if before is None else os.environ.__setitem__("EMLYN_HOME", before)
    return home, run.result


def test_the_dirty_export_is_understood(dirty: tuple[Path, dict]) -> None:
    _, result = dirty
    assert result["task"] == "binary"
    assert result["positive"] == "malignant"
    assert set(result["excluded"]) >= {"patient_id", "scanner"}
    assert result["evaluation"]["roc_auc"]["value"] > 0.97
    assert result["baseline"]["roc_auc"]["value"] == pytest.approx(0.5, abs=0.02)
    assert {"form.number_text", "missing.sentinel"} <= {f["code"] for f in result["findings"]}
    assert result["verdict"] in ("use", "use with care", "do not use yet")


def test_dirty_and_clean_agree(dirty: tuple[Path, dict], home: Path) -> None:
    """The dirt loses almost nothing: the score lies within the clean table's interval."""
    clean = emlyn.train(str(CLEAN), target="diagnosis", trials=5, jobs=1).result["evaluation"]["roc_auc"]
    found = dirty[1]["evaluation"]["roc_auc"]["value"]
    assert abs(found - clean["value"]) < 0.02


def test_the_result_holds_what_the_interface_promises(dirty: tuple[Path, dict]) -> None:
    promised = [
        "model",
        "path",
        "report",
        "task",
        "target",
        "metric",
        "direction",
        "evaluation",
        "baseline",
        "wall_s",
        "budget_s",
        "first_model_s",
        "leaderboard",
        "findings",
        "questions",
        "split",
        "excluded",
        "verdict",
    ]
    assert set(promised) <= set(dirty[1])
    for measure in dirty[1]["evaluation"].values():
        assert set(measure) == {"value", "low", "high", "n", "method"}
    for line in dirty[1]["leaderboard"]:
        assert {"recipe", "learner", "score", "fit_s", "weight"} <= set(line)
    assert {"baseline-prior", "baseline-column"} <= {line["recipe"] for line in dirty[1]["leaderboard"]}


def test_the_model_file_travels(dirty: tuple[Path, dict], home: Path) -> None:
    """A path to a `.emlyn` file predicts the same as the registered name, in any row and column order, with extra columns and odd types."""
    import pandas as pd

    path = Path(dirty[1]["path"])
    model = emlyn.load(str(path))
    table = pd.read_csv(DIRTY, sep=";", dtype=str)
    whole = model.predict_proba(table)
    assert whole.shape == (len(table), 2)
    shuffled = table.sample(frac=1, random_state=0)[list(reversed(table.columns))].assign(extra="x")
    np.testing.assert_allclose(model.predict_proba(shuffled), whole[shuffled.index], rtol=0, atol=1e-7)
    np.testing.assert_allclose(model.predict_proba(table.iloc[[3]]), whole[[3]], rtol=0, atol=1e-7)
    np.testing.assert_allclose(model.predict_proba(str(DIRTY)), whole, rtol=0, atol=1e-7)
    assert model.predict_proba(table.iloc[:0]).shape == (0, 2)
    assert len(model.explain(table.iloc[:2])[0]) > 0


def test_bounded_by_trials_the_run_repeats(home: Path) -> None:
    first = emlyn.train(str(CLEAN), target="diagnosis", trials=4, jobs=1, name="first")
    second = emlyn.train(str(CLEAN), target="diagnosis", trials=4, jobs=1, name="second")
    assert [line["recipe"] for line in first.result["leaderboard"]] == [line["recipe"] for line in second.result["leaderboard"]]
    np.testing.assert_allclose(first.model.predict_proba(str(CLEAN)), second.model.predict_proba(str(CLEAN)), rtol=0, atol=1e-6)


def test_trials_that_hold_no_learner_are_said_to_be_too_few_not_too_slow(home: Path) -> None:
    result = emlyn.train(str(CLEAN), target="diagnosis", trials=1, jobs=1).result
    message = next(f["message"] for f in result["findings"] if f["code"] == "model.unfinished")
    assert message == "With --trials 1 only baselines were tried: this is the distribution of the answers, whatever a row says."
    assert "time" not in message


def test_stopped_by_a_signal_it_finishes_with_the_best_so_far(home: Path) -> None:
    process = subprocess.Popen(
        command("train", str(CLEAN), "--target", "diagnosis", "--budget", "120s", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "first usable model" in line:
            break
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["model"].endswith(":1")


def test_killed_it_continues(home: Path) -> None:
    """`kill -9` loses at most the trial in progress; the same command continues and says so."""
    words = ("train", str(CLEAN), "--target", "diagnosis", "--budget", "60s", "--json")
    process = subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "trial lightgbm-extra" in line or "trial extra-trees" in line:
            break
    process.kill()
    process.wait()
    began = time.monotonic()
    again = subprocess.run(command(*words), capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "continuing the run that was interrupted" in again.stderr
    assert json.loads(again.stdout)["model"].endswith(":1")
    assert time.monotonic() - began < 65


def test_external_rows_judge(home: Path) -> None:
    import pandas as pd

    table = pd.read_csv(CLEAN)
    table.iloc[:400].to_csv("train.csv", index=False)
    table.iloc[400:].to_csv("test.csv", index=False)
    result = emlyn.train("train.csv", target="diagnosis", test="test.csv", trials=4, jobs=1).result
    assert result["method"] == "external file"
    assert result["evaluation"]["roc_auc"]["n"] == len(table) - 400
    again = subprocess.run(command("evaluate", "train", "test.csv", "--json"), capture_output=True, text=True, timeout=60)
    assert json.loads(again.stdout)["evaluation"]["roc_auc"]["value"] == pytest.approx(result["evaluation"]["roc_auc"]["value"], abs=1e-9)


def test_every_command_speaks_json(dirty: tuple[Path, dict]) -> None:
    env = {**os.environ, "EMLYN_HOME": str(dirty[0])}
    name = dirty[1]["model"].split(":")[0]
    for words in (
        ["models"],
        ["models", name],
        ["explain", name],
        ["explain", name, str(DIRTY), "--row", "0"],
        ["doctor"],
        ["audit", str(DIRTY), "--target", "diagnosis"],
        ["promote", f"{name}:1"],
    ):
        done = subprocess.run(command(*words, "--json"), capture_output=True, text=True, env=env, timeout=60)
        assert done.returncode == 0, (words, done.stderr[-500:])
        json.loads(done.stdout)
