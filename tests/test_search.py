"""Plan and search: anytime, forgiving, repeatable, resumable; and honest about what watch rows decide."""

import math
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import toys
from emlyn.core.judging.metrics import auc
from emlyn.core.searching.costs import Costs
from emlyn.core.searching.schedule import Schedule
from emlyn.core.searching.trials import FoldResult, Past
from emlyn.records.plan import Plan, Recipe
from emlyn.records.problem import Problem
from emlyn.stages.plan import plan
from emlyn.stages.search import search


def run(learners, data=None, problem=None, trials=None, past=None, seconds=math.inf, **more):
    data, problem = toys.rows_data() if data is None else data, problem or toys.binary_problem()
    with toys.only(*learners):
        context = toys.context(seconds, **more)
        return search(plan(problem, data, toys.options(trials), context), data, problem, context, past)


def by_name(trials):
    return {c.recipe.name: c for c in trials.candidates}


def test_a_kind_that_is_not_rows():
    """Series x horizon, with the history as state: nothing in the engine may take units for rows."""
    data, problem = toys.series_data(), Problem("toy_forecast", "value", "mae", "minimize", split=toys.FORWARD)
    found = run([toys.Naive()], data, problem)
    scores = {t.recipe.name: t.score for t in found.records()}
    assert scores["seasonal"] == pytest.approx(0)
    assert scores["last"] > 0.1


def test_a_recipe_that_crashes_costs_itself_alone():
    found = by_name(run([toys.Prior(), toys.Crash(), toys.Ridge()]))
    assert found["crash"].status == "failed"
    assert "no room for this table" in found["crash"].note
    assert found["ridge"].status == "done"


def test_baselines_come_first_and_always_stay_on_the_board():
    found = run([toys.Ridge(), toys.Prior()])
    assert found.candidates[0].recipe.learner == "baseline"
    assert by_name(found)["prior"].status == "done"


def test_the_hopeless_are_let_go_after_one_fold():
    found = by_name(run([toys.Ridge(), toys.Walk()], toys.rows_data(4_000, signal=4), toys.binary_problem("log_loss")))
    assert found["walk"].status == "dropped"
    assert "standard errors" in found["walk"].note
    assert len(found["walk"].results) < len(found["ridge"].results)


def test_a_number_of_trials_gives_the_same_run_twice():
    first, second = (run([toys.Prior(), toys.Ridge(), toys.Walk()], trials=3, threads=2) for _ in range(2))
    assert [c.recipe.name for c in first.candidates] == [c.recipe.name for c in second.candidates]
    assert len(first.candidates) == 3
    for c in first.candidates:
        np.testing.assert_array_equal(first.oof(c.recipe.name), second.oof(c.recipe.name))


def test_a_kill_loses_nothing_that_was_stored():
    stored = []
    whole = run([toys.Ridge()], past=Past(keep=lambda r: stored.append(r.to_parts())))
    with toys.only(toys.Ridge()):
        half = [FoldResult.from_parts(parts) for parts in stored[:5]]
    before = toys.Ridge.fits
    again = run([toys.Ridge()], past=Past(half))
    assert toys.Ridge.fits - before == len(stored) - 5
    for c in whole.candidates:
        np.testing.assert_array_equal(whole.oof(c.recipe.name), again.oof(c.recipe.name))


def test_asked_to_stop_it_keeps_what_it_has():
    stop = threading.Event()

    def sink(event):
        if event.kind == "trial.end":
            stop.set()

    found = run([toys.Ridge(), toys.Slow()], cancel=stop, sink=sink, threads=2)
    assert [c.recipe.name for c in found.usable()] == ["ridge"]
    assert any(e.kind == "search.end" and "asked to stop" in e.verdict for e in found.journal())


def test_every_kind_is_heard_before_anyone_goes_on():
    """With a clock, fold 0 of each learner, and of made features, comes before the second fold of any but the first model, so who goes on is
    chosen among all kinds."""
    order = []

    class Noted(toys.Ridge):
        def __init__(self, name):
            self.name = name

        def recipes(self, problem, data):
            made = Recipe(f"{self.name}-made", self.name, {"columns": 3}, ("arithmetic",))
            return [Recipe(self.name, self.name, {"columns": 1}), Recipe(f"{self.name}-2", self.name, {"columns": 2}), made]

        def fit(self, recipe, fit, watch, effort):
            order.append(recipe.name)
            return super().fit(recipe, fit, watch, effort)

    run([Noted("a"), Noted("b"), Noted("c")], seconds=30)
    begun = {name: order.index(name) for name in order}
    first, others = order[0], [name for name in ("a", "b", "c") if name != order[0]]
    assert order.count(first) == 8
    again = min(i for i, name in enumerate(order) if name != first and order[:i].count(name) == 1)
    assert all(begun[name] < again for name in others)
    assert min(begun[name] for name in order if name.endswith("-made")) < again


def test_the_first_model_has_all_workers():
    """With a clock, nothing is begun beside its folds, so that the libraries of others do not keep it waiting; the prior alone comes before."""
    order = []

    class Noted(toys.Slow):
        def fit(self, recipe, fit, watch, effort):
            order.append(recipe.learner)
            return super().fit(recipe, fit, watch, effort)

    class Second(Noted):
        name = "second"

        def recipes(self, problem, data):
            return [Recipe("second", "second", {"columns": 2})]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Costs, "prior", lambda self, recipe: 0.1 if recipe.learner == "slow" else 0.2)
        run([toys.Prior(), Noted(), Second()], seconds=20, threads=2)
    assert order[: order.index("second")].count("slow") == 8


@pytest.mark.parametrize("wins", [True, False])
def test_made_features_that_win_clearly_are_heard_with_every_learner(wins):
    """Where a learner has no hope without them, the next one with them is begun before the winner's second fold; where they bring nothing, later."""
    order = []

    class Noted(toys.Ridge):
        def __init__(self, name, made=True):
            self.name, self.made = name, made

        def recipes(self, problem, data):
            made = [Recipe(f"{self.name}-made", self.name, {"columns": 4 if wins else 1}, ("arithmetic",))] if self.made else []
            return [Recipe(self.name, self.name, {"columns": 1}), *made]

        def fit(self, recipe, fit, watch, effort):
            order.append(recipe.name)
            return super().fit(recipe, fit, watch, effort)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Schedule, "cheap", lambda *_: False)
        run([Noted("a", made=False), Noted("b"), Noted("c")], data=toys.rows_data(4_000), seconds=30)
    first, second = sorted(("b-made", "c-made"), key=order.index)
    assert (order[: order.index(second)].count(first) == 1) is wins


def test_what_was_too_dear_at_its_turn_is_begun_when_time_is_left():
    """Its share is too small while others wait; alone it may take nearly all that is left."""

    class Dear(toys.Ridge):
        name = "dear"

        def recipes(self, problem, data):
            return [Recipe("dear", "dear", {"columns": 2})]

    costly = {"ridge": 0.01, "dear": 1.6}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Costs, "expect", lambda self, recipe: costly[recipe.learner])
        found = by_name(run([toys.Ridge(), Dear()], seconds=8))
    assert found["dear"].status == "done"
    assert list(found).index("dear") == 2


def test_fits_that_the_clock_cut_short_teach_no_low_price():
    data = toys.rows_data()
    recipe = Recipe("a", "a")
    costs = Costs(100, 4, 2)
    costs.learn(recipe, 2.0)
    schedule = Schedule(toys.context(60).budget, costs, 5, 2, True, 60.0)
    cut = FoldResult(recipe, 0, None, np.zeros((len(data), 2)), 0.1, 0.0, complete=False)
    schedule.learn(cut, 0.1)
    schedule.learn(replace(cut, complete=True, settled={"learning_rate": 0.3}), 0.1)
    assert costs.expect(recipe) == pytest.approx(2.0)
    schedule.learn(cut, 8.0)
    assert costs.expect(recipe) == pytest.approx(4.0), "at least so much it does cost"
    schedule.learn(replace(cut, complete=True), 1.0)
    assert costs.expect(recipe) == pytest.approx(16 ** (1 / 3))


def test_what_cannot_finish_is_not_begun():
    found = by_name(run([toys.Ridge(), toys.Slow()], seconds=1.5))
    assert found["ridge"].status == "done"
    assert found["slow"].status == "stopped"
    assert len(found["slow"].results) < 8


def test_libraries_load_when_their_turn_comes_and_outside_the_time_of_a_fit(tmp_path, monkeypatch):
    (tmp_path / "slow_to_load.py").write_text("import time\ntime.sleep(0.6)\n")
    monkeypatch.syspath_prepend(tmp_path)

    class Heavy(toys.Ridge):
        name = "heavy"
        libraries = ("slow_to_load",)

        def recipes(self, problem, data):
            return [Recipe("heavy", "heavy", {"columns": 2})]

    found = by_name(run([toys.Ridge(), Heavy()], seconds=1.6))
    assert found["ridge"].status == "done"
    assert found["heavy"].status == "stopped"
    assert "slow_to_load" not in sys.modules, "there was no time to load it"
    found = by_name(run([toys.Ridge(), Heavy()], seconds=30))
    monkeypatch.delitem(sys.modules, "slow_to_load")
    assert found["heavy"].status == "done"
    assert max(r.fit_s for r in found["heavy"].results.values()) < 0.6


def test_a_perfect_model_ends_the_search():
    data = toys.rows_data(task="regression")
    exact = toys.rows_dataset(data.rows, np.zeros(len(data)))
    found = run([toys.Ridge()], exact, Problem("regression", "y", "rmse", "minimize"))
    assert any("no error is left" in e.verdict for e in found.journal())


def test_a_recipe_too_large_for_the_memory_is_refused_with_the_reason():
    greedy = toys.Ridge()
    greedy.bytes_per_cell = 1e7
    found = by_name(run([toys.Prior(), greedy], memory=1 << 30))
    assert found["ridge"].status == "stopped"
    assert "memory" in found["ridge"].note


def test_events_say_how_far_it_is():
    seen = []
    run([toys.Prior(), toys.Ridge()], sink=seen.append, seconds=20)
    last = [e for e in seen if e.kind == "trial.end"][-1].data
    assert {"recipe", "score", "spread", "left", "best", "metric"} <= set(last)


def test_watch_rows_leave_the_out_of_fold_score_honest():
    """A booster that learns nothing, stopped where its watch rows like it best: its score must be chance; with the fold's own choice it is not."""
    honest, own = [], []
    for seed in range(30):
        data = toys.rows_data(200, signal=0, seed=seed)
        found = run([toys.Walk()], data, trials=1, seed=seed)
        candidate = by_name(found)["walk"]
        honest.append(auc(data.answers == 1, found.oof("walk")[:, 1]))
        own += [auc(fold.truth == 1, candidate.results[fold.number].prediction[:, 1]) for fold in found.folds]
    error = np.std(honest, ddof=1) / np.sqrt(len(honest))
    assert abs(np.mean(honest) - 0.5) < 3 * error
    assert np.mean(own) > 0.52


@pytest.mark.parametrize(("rows", "seconds", "most"), [(200, 60, 8), (3_000, 60, 8), (30_000, 60, 5)])
def test_more_rows_ask_for_fewer_folds(rows, seconds, most):
    data = toys.rows_data(rows)
    with toys.only(toys.Ridge()):
        made = plan(toys.binary_problem(), data, toys.options(), toys.context(seconds))
    assert 2 <= made.folds <= most
    assert made.why


def test_one_holdout_of_the_latest_rows_is_fold_0():
    data = toys.rows_data(n=400)
    data = replace(data, time=np.arange(400.0))
    with toys.only(toys.Prior(), toys.Ridge()):
        recipes = (*toys.Prior().recipes(None, None), *toys.Ridge().recipes(None, None))
        found = search(Plan(recipes, 1, threads=1, trials=2), data, toys.binary_problem(split=toys.FORWARD), toys.context())
    assert all(c.status == "done" and list(c.results) == [0] for c in found.candidates)
    assert found.folds[0].fit.time.max() < found.folds[0].ask.time.min()


@pytest.mark.parametrize(("kept", "status"), [(0, "dropped"), (2, "done")])
def test_made_features_that_are_all_luck_make_no_second_candidate(kept, status):
    """Where no sum or ratio explains more than luck, the recipe with them is the one without: it goes after its first fold."""

    class Made(toys.Ridge):
        def recipes(self, problem, data):
            return [Recipe("plain", "ridge", {"columns": 2}), Recipe("made", "ridge", {"columns": 2}, ("arithmetic",))]

        def fit(self, recipe, fit, watch, effort):
            found = super().fit(recipe, fit, watch, effort)
            if recipe.features:
                found.prep = SimpleNamespace(ideas={"arithmetic": (kept, 30)})
            return found

    found = by_name(run([Made()]))
    assert found["made"].status == status
    assert found["plain"].status == "done"


def test_no_variation_comes_twice():
    """Whole numbers of a small range come again and again; each is learned once."""

    class Few(toys.Ridge):
        def recipes(self, problem, data):
            return [Recipe("few", "ridge", {"columns": 99, "depth": 5})]

    found = run([Few()], seconds=20)
    tried = [c.recipe.params["depth"] for c in found.candidates]
    assert len(tried) > 1
    assert len(tried) == len(set(tried))
