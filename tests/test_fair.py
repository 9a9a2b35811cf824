"""`--fair METRIC=LIMIT`: the model stays inside where it can, says so where it cannot, and tells the price."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import emlyn
from emlyn.core.judging.fairness_limit import limit_of
from emlyn.doors.options import train_options
from emlyn.errors import OptionError


def people(n: int = 1_500) -> pd.DataFrame:
    """The answer hangs on skill and, unfairly, on the group; `club` gives the group away."""
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b"], n)
    skill = rng.normal(size=n).round(3)
    club = np.where(rng.random(n) < 0.8, group, rng.choice(["a", "b"], n))
    hired = skill + 1.2 * (group == "a") + rng.logistic(0, 0.6, n) > 0.6
    return pd.DataFrame({"group": group, "skill": skill, "club": club, "hired": np.where(hired, "yes", "no")})


def train(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int = 1_500, **more: object) -> emlyn.doors.python.Run:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path))
    return emlyn.train(people(rows), target="hired", positive="yes", sensitive=["group"], fair=limit, trials=3, jobs=1, **more)  # type: ignore[arg-type]


def test_a_limit_that_can_be_kept_is_kept_and_the_price_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("selection=0.2", tmp_path, monkeypatch)
    told = run.result["fair"]
    plain, chosen = told["ways"][0], next(w for w in told["ways"] if w["name"] == told["chosen"])
    assert told["met"]
    assert plain["gap"] > 0.3
    assert not plain["inside"]
    assert chosen["gap"] < 0.2
    assert chosen["value"] == max(w["value"] for w in told["ways"] if w["inside"])
    assert told["price"]["low"] <= told["price"]["value"] < 0, "fairness is not free here"
    assert told["columns"][0]["difference"]["value"] == pytest.approx(chosen["gap"], abs=0.05)
    assert sum(t["weight"] for t in run.result["leaderboard"]) == pytest.approx(1, abs=1e-3)
    table = people()
    flagged = run.model.predict(table.drop(columns="hired")) == "yes"
    assert abs(flagged[table.group == "a"].mean() - flagged[table.group == "b"].mean()) < 0.22


def test_a_limit_out_of_reach_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("tpr=0.001", tmp_path, monkeypatch)
    told = run.result["fair"]
    assert not told["met"]
    assert "no way tried stays inside it" in told["sentence"]
    assert run.result["verdict"] != "use"
    assert "tpr=0.001 is not kept" in run.evidence.evaluation.verdict.reasons[0]


def test_a_limit_kept_anyway_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = train("selection=0.9", tmp_path, monkeypatch).result["fair"]
    assert told["chosen"] == "as it is"
    assert told["price"]["value"] == 0


@pytest.mark.parametrize("said", ["gap=0.1", "tpr", "tpr=2", "tpr=x"])
def test_what_is_no_limit_is_refused(said: str) -> None:
    with pytest.raises(OptionError, match="fair"):
        limit_of(said)


def test_a_limit_needs_a_sensitive_column_and_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="fair"):
        train_options({"target": "hired", "fair": "tpr=0.1"})
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path))
    with pytest.raises(OptionError, match="regression"):
        emlyn.train(people(), target="skill", sensitive=["group"], fair="tpr=0.1", trials=2, jobs=1)


def test_half_of_the_time_is_kept_for_the_reweighed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path))
    run = emlyn.train(people(), target="hired", positive="yes", sensitive=["group"], fair="selection=0.2", budget=12, jobs=1)
    names = [t["recipe"] for t in run.result["leaderboard"] if t["recipe"].endswith("(reweighed)")]
    assert len(names) > 2


def test_on_a_large_table_groups_are_those_of_the_rows_that_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes are chosen on a sample, rows put aside judge them: with the labels of other rows the groups would seem to be treated alike."""
    monkeypatch.setattr("emlyn.stages.plan.SAMPLE_FROM", 3_000)
    run = train("selection=0.2", tmp_path, monkeypatch, rows=6_000)
    plain = run.result["fair"]["ways"][0]
    assert any(t["recipe"].endswith("-more-rows") for t in run.result["leaderboard"])
    assert plain["gap"] > 0.3
    assert not plain["inside"]
