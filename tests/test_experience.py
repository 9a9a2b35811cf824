"""Learning from earlier runs: what is stored, what it changes, and how little one run changes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import emlyn
from emlyn.core.searching import experience
from emlyn.core.searching.costs import Costs
from emlyn.core.storing.workspace import Workspace
from emlyn.errors import OptionError
from emlyn.records.experience import Experience, Tried
from emlyn.records.plan import Recipe

LEARNERS = {"linear": "linear", "lightgbm-extra": "lightgbm", "extra-trees": "trees", "mlp": "mlp"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def table(path: Path, rows: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    x, word = rng.normal(size=(rows, 3)).round(3), rng.choice(["zebra", "quagga"], rows)
    y = np.where(x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(scale=0.5, size=rows) > 0, "kumquat", "papaya")
    lines = [f"{a},{b},{c},{w},{t}" for (a, b, c), w, t in zip(x, word, y, strict=True)]
    path.write_text("\n".join(["girth,heft,span,beast,fruit", *lines]))
    return path


def stored() -> list[str]:
    with Workspace.find().open_store() as store:
        return [record.body for record in store.list(experience.KIND)]


def project(weights: dict[str, float], seconds: float = 0.0, number: int = 0, machine: str = "") -> Experience:
    trials = tuple(Tried(Recipe(name, LEARNERS[name]), 3, seconds, 0.5, weight) for name, weight in weights.items())
    return Experience(f"schema {number}", "binary", "roc_auc", 1_000, 10, 2, {"number": 10}, machine, trials)


def test_a_run_leaves_the_shape_of_its_table_and_nothing_of_its_content(home: Path, tmp_path: Path) -> None:
    emlyn.train(table(tmp_path / "fruit.csv", 300), target="fruit", trials=4, jobs=1)
    (body,) = stored()
    for word in ("girth", "heft", "span", "beast", "fruit", "zebra", "quagga", "kumquat", "papaya"):
        assert word not in body
    found = json.loads(body)
    assert found["kinds"] == {"category": 1, "number": 3}
    tried = [t for t in found["trials"] if t["recipe"]["learner"] != "baseline"]
    assert tried
    assert all(t["fold_s"] > 0 for t in tried)
    assert math.isclose(sum(t["weight"] for t in found["trials"]), 1, abs_tol=0.01)
    assert min(t["regret"] for t in tried) == 0


def test_the_winners_on_the_same_columns_come_first_the_next_time(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variation that is in no portfolio carried the first run; new rows of the same columns begin with it."""
    first = emlyn.train(table(tmp_path / "january.csv", 300), target="fruit", trials=3, jobs=1)
    with Workspace.find().open_store() as store:
        (record,) = store.list(experience.KIND)
        found = record.read(Experience)
        base = next(t for t in found.trials if t.recipe.learner == "linear")
        won = replace(base, recipe=replace(base.recipe, name="linear~7"), weight=1.0)
        lost = tuple(replace(t, weight=0.0) for t in found.trials)
        store.put(experience.KIND, record.key, replace(found, trials=(*lost, won)), replace=True)
    said: list[str] = []
    again = emlyn.train(
        table(tmp_path / "february.csv", 320, seed=1), target="fruit", budget="9s", jobs=1, progress=lambda e: said.append(e.message)
    )
    order = next(e for e in again.evidence.journal if e.kind == "plan")
    assert order.change.split(", ")[:3] == ["baseline-prior", "linear~7", "baseline-column"]
    assert "linear~7 tried first because" in order.hypothesis
    assert order.hypothesis in said
    monkeypatch.setenv("EMLYN_EXPERIENCE", "off")
    without = emlyn.train(table(tmp_path / "march.csv", 310, seed=2), target="fruit", budget="9s", jobs=1)
    order = next(e for e in without.evidence.journal if e.kind == "plan")
    assert "linear~7" not in order.change
    assert len(stored()) == 2, "neither read nor written"
    assert first.evidence.lineage.options.experience
    assert not without.evidence.lineage.options.experience


def test_a_number_of_trials_is_not_moved_by_experience(home: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "fruit.csv", 300)
    runs = [emlyn.train(path, target="fruit", trials=4, jobs=1) for _ in range(2)]
    orders = [next(e for e in run.evidence.journal if e.kind == "plan").change for run in runs]
    assert orders[0] == orders[1]
    assert [t["score"] for t in runs[0].result["leaderboard"]] == [t["score"] for t in runs[1].result["leaderboard"]]


def test_what_is_measured_on_this_machine_corrects_the_shipped_seconds() -> None:
    costs = Costs(1_000, 10, 2)
    shipped = costs.prior(Recipe("linear", "linear"))
    one = experience.speeds([project({"linear": 1.0}, 2 * shipped)], costs)["linear"]
    assert one == pytest.approx(math.sqrt(2)), "one table counts for half"
    many = experience.speeds([project({"linear": 1.0}, 2 * shipped, i) for i in range(9)], costs)["linear"]
    assert 1.8 < many < 2
    assert replace(costs, speed={"linear": many}).prior(Recipe("linear", "linear")) == pytest.approx(many * shipped)
    far = experience.speeds([project({"linear": 1.0}, 2 * shipped)], replace(costs, rows=1_000_000))["linear"]
    assert 1 < far < 1.02, "a table of another size says little"


def test_a_wrong_value_for_the_switch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMLYN_EXPERIENCE", "offf")
    with pytest.raises(OptionError, match="EMLYN_EXPERIENCE"):
        emlyn.train("nowhere.csv", target="x")
