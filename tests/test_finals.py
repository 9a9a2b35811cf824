"""Finals: recipes that a sample chose learn from more rows, and rows that nobody learned from judge them all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import emlyn
import toys
from emlyn.core.dataset import Dataset
from emlyn.core.searching.experience import taught
from emlyn.core.searching.finals import AGAIN, MORE, Finals
from emlyn.core.searching.trials import Past
from emlyn.core.splits import HELD_MOST, holdout
from emlyn.core.table import Table, number_column
from emlyn.records.plan import Plan, Recipe
from emlyn.records.problem import SplitRule
from emlyn.stages.ensemble import ensemble
from emlyn.stages.search import search
from emlyn.tasks.classification import BINARY
from toys import binary_problem, rows_data

ROWS, SAMPLE, JUDGED = 6_000, 1_000, 1_200


class Other(toys.Ridge):
    """Sees all columns but the one that `ridge-1` sees, and remembers which rows it learned from."""

    name = "other"

    def __init__(self):
        self.rows = []

    def fit(self, recipe, fit, watch, effort):
        self.rows.append(set(fit.rows["x0"].values[fit.units].tolist()))
        x = toys.design(fit) * np.array([1, 0, 1, 1, 1])
        return toys.FittedRidge(np.linalg.solve(x.T @ x + np.eye(5), x.T @ fit.answers.astype(float)), fit.classes)


RECIPES = (Recipe("prior", "baseline", {"columns": 0}), Recipe("one", "ridge", {"columns": 1}), Recipe("others", "other"))


def plan(trials=3):
    return Plan(RECIPES, 1, sample=SAMPLE, refit=True, trials=trials)


def test_who_carries_the_ensemble_learns_from_all_rows_and_is_judged_on_none_of_them():
    with toys.only(toys.Prior(), toys.Ridge(), other := Other()):
        data = rows_data(n=ROWS)
        trials = search(plan(), data, binary_problem(), toys.context())
        judged = set(trials.data.rows["x0"].values[trials.data.units].tolist())
        model = ensemble(trials, data, binary_problem(), toys.context())
    assert [len(rows) for rows in other.rows] == [0.8 * SAMPLE, ROWS - JUDGED, ROWS], "a fold of the sample, the finals, and when nothing hurries all"
    assert len(judged) == JUDGED
    assert not judged & (other.rows[0] | other.rows[1])
    assert {m.recipe.name for m in model.members} >= {f"one{MORE}", f"others{MORE}"}
    names = [t.recipe.name for t in trials.records()]
    assert sorted(names) == sorted(["prior", "one", "others", f"one{MORE}", f"others{MORE}"])
    weights = {t.recipe.name: t.weight for t in taught(trials).trials}
    assert set(weights) == {"prior", "one", "others"}, "experience knows recipes, not how many rows they saw"
    assert sum(weights.values()) == pytest.approx(1, abs=0.01)


def test_recipes_are_chosen_on_nothing_but_the_sample():
    """What is derived from the table while recipes are chosen costs for the sample alone."""
    with toys.only(toys.Prior(), toys.Ridge(), Other()):
        trials = search(plan(), rows_data(n=ROWS), binary_problem(), toys.context())
    assert trials.before.data.rows.rows == SAMPLE


@pytest.mark.parametrize(
    ("fold_s", "said"),
    [(0.001, "one, others on 4,800 rows"), (8.0, "on 4,800 rows"), (24.0, " of 6,000 rows, drawn evenly"), (100.0, "")],
)
def test_with_little_time_fewer_learn_and_from_fewer_rows(fold_s, said):
    """44 s are left, a fold of the sample has 800 rows: 4,800 of them are reckoned to take .0078, 62, 187 and 780 s, half of which would do."""
    notes = []
    with toys.only(toys.Prior(), toys.Ridge(), Other()):
        data = rows_data(n=ROWS)
        whole = BINARY.folds(data, binary_problem(), 1, 0)[0]
        part = whole.fit.apart(np.arange(SAMPLE))
        chosen = search(replace(plan(), sample=0), part, binary_problem(), toys.context())
        chosen.plan = replace(chosen.plan, sample=SAMPLE, trials=None, threads=1)
        for candidate in chosen.candidates:
            candidate.results = {k: replace(r, fit_s=fold_s) for k, r in candidate.results.items()}
        found = Finals(chosen, whole, data, toys.context(60, sink=notes.append), 1).run()
    messages = [e.message for e in notes if e.message.startswith("finals")]
    if not said:
        assert found is chosen
        assert not messages
        return
    assert said in messages[0]
    assert found.before is chosen
    if "drawn" in said:
        assert 2 * SAMPLE <= len(found.folds[0].fit) < ROWS - JUDGED
        assert found.data.rows.rows == len(found.folds[0].fit) + JUDGED
    fit, asked = (set(d.rows["x0"].values[d.units].tolist()) for d in (found.folds[0].fit, found.data))
    assert len(asked) == JUDGED
    assert not fit & asked
    np.testing.assert_array_equal(found.data.answers, found.folds[0].truth)


def test_with_little_memory_fewer_rows_are_learned_from_and_it_is_said():
    seen = []
    with toys.only(toys.Prior(), greedy := toys.Ridge()):
        greedy.bytes_per_cell = 4_000.0
        data = rows_data(n=ROWS)
        small = toys.context(memory=1, sink=seen.append)  # 64 MiB are always taken for granted
        asked = Plan((RECIPES[0], *toys.Ridge().recipes(None, None)), 3, sample=SAMPLE, refit=True, trials=2)
        model = ensemble(search(asked, data, binary_problem(), small), data, binary_problem(), small)
    assert f"ridge{MORE}" in [m.recipe.name for m in model.members]
    said = [e.message for e in seen if e.message.startswith("finals")]
    assert "of 6,000 rows, drawn evenly" in said[0]


def test_where_nobody_can_learn_from_more_rows_the_sample_s_models_ship():
    class Fragile(Other):
        """Breaks on more rows than those of the sample."""

        def fit(self, recipe, fit, watch, effort):
            if len(fit) > SAMPLE:
                raise MemoryError("too many rows")
            return super().fit(recipe, fit, watch, effort)

    with toys.only(toys.Prior(), Fragile()):
        data = rows_data(n=ROWS)
        trials = search(replace(plan(), recipes=(RECIPES[0], RECIPES[2])), data, binary_problem(), toys.context())
        model = ensemble(trials, data, binary_problem(), toys.context())
    assert trials.before is None
    assert [m.recipe.name for m in model.members] == ["others"]


def test_a_wish_to_stop_ends_the_finals():
    context = toys.context()

    class Stops(Other):
        def fit(self, recipe, fit, watch, effort):
            if len(fit) > SAMPLE:
                context.cancel.set()
            return super().fit(recipe, fit, watch, effort)

    with toys.only(toys.Prior(), toys.Ridge(), stops := Stops()):
        trials = search(plan(), rows_data(n=ROWS), binary_problem(), context)
    assert len(stops.rows) == 2
    assert f"others{MORE}" in [c.recipe.name for c in trials.usable()], "what it had learned when it was stopped counts"


@pytest.mark.parametrize("further", [False, True])
def test_stored_finals_are_taken_over_and_what_was_cut_short_is_learned_again_where_there_is_more_time(further):
    stored = []
    with toys.only(toys.Prior(), toys.Ridge(), other := Other()):
        data = rows_data(n=ROWS)
        first = search(plan(), data, binary_problem(), toys.context(), Past(keep=stored.append))
        stored = [replace(r, complete=r.recipe.name != f"one{MORE}") for r in stored]
        again = []
        past = Past(stored, again.append, folds=1, sample=SAMPLE, further=further)
        found = search(plan(), data, binary_problem(), toys.context(), past)
    assert len(other.rows) == 2, "on the sample and in the finals, both in the first run"
    assert [r.recipe.name for r in again] == ([f"one{MORE}{AGAIN}"] if further else [])
    names = [c.recipe.name for c in found.usable()]
    assert len(names) == len(set(names))
    assert set(names) >= {f"one{MORE}", f"others{MORE}"}
    np.testing.assert_array_equal(found.oof(f"others{MORE}"), first.oof(f"others{MORE}"))
    assert {MORE in c.recipe.name for c in found.before.candidates} == {False}
    assert {t.recipe.name for t in taught(found).trials} == {"prior", "one", "others"}


@pytest.mark.parametrize("kind", ["group", "time"])
def test_rows_put_aside_follow_the_split(kind):
    rng = np.random.default_rng(0)
    data = rows_data(n=ROWS)
    by = rng.integers(0, 300, ROWS)
    data = replace(data, group=by) if kind == "group" else replace(data, time=by.astype(float))
    problem = binary_problem(split=SplitRule(kind, by="by"))
    with toys.only(toys.Prior(), toys.Ridge(), Other()):
        trials = search(plan(), data, problem, toys.context())
    fit = trials.folds[0].fit
    if kind == "group":
        assert not set(fit.group) & set(trials.data.group)
        assert len(set(trials.data.group)) >= 20
    else:
        assert fit.time.max() <= trials.data.time.min()


@pytest.mark.parametrize("kind", ["random", "group", "time"])
def test_a_holdout_of_a_million_rows_costs_no_more_than_its_own_rows(kind):
    """It asks about one in fifty; the other 49 folds are never made."""
    n = 50 * HELD_MOST
    by = np.arange(n) % 40_000
    table = Table({"x": number_column(np.arange(n))})
    data = Dataset({"rows": table}, np.arange(n), np.zeros(n), group=by if kind == "group" else None, time=by * 1.0)
    fold = holdout(data, SplitRule(kind, by="by", embargo_s=3.0 if kind == "time" else 0.0), HELD_MOST / n)
    assert 0.9 * HELD_MOST < len(fold.ask) < 1.1 * HELD_MOST
    assert len(fold.fit) + len(fold.ask) >= 0.99 * n
    assert not set(fold.fit.units[:1000]) & set(fold.ask.units)


def test_own_test_rows_and_a_sample_go_together(tmp_path, monkeypatch):
    """With --test nothing is sealed; the model is explained by the rows put aside."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 2)).round(3)
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] + rng.logistic(size=ROWS) > 0, "yes", "no")})
    table[:2_000].to_csv(tmp_path / "test.csv", index=False)
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("emlyn.stages.plan.SAMPLE_FROM", 3_000)
    run = emlyn.train(table[2_000:], "y", test=str(tmp_path / "test.csv"), trials=3, jobs=1)
    assert any(t["recipe"].endswith(MORE) for t in run.result["leaderboard"])
    assert run.evidence.explanation is not None
