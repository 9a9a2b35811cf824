"""A toy kind of task and small learners: the engine must serve them as it serves tables of rows."""

import contextlib
import json
import math
import time

import numpy as np

from emlyn import plugins
from emlyn.context import Budget, Context
from emlyn.core.dataset import Dataset, fold_at, rows_dataset
from emlyn.core.table import Table, number_column
from emlyn.records.options import TrainOptions
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem, SplitRule
from emlyn.tasks.classification import BINARY
from emlyn.tasks.regression import Regression

SEASON = 4


class SeriesTask:
    """Forecasts: the units are series x time, what is known when asked is the history before the fold's edge."""

    name = "toy_forecast"
    default_metric = "mae"

    def width(self, problem):
        return 1

    def folds(self, data, problem, count, seed):
        edges = np.quantile(data.time, np.linspace(0.4, 1, count + 1)[:-1]).round()
        made = []
        for k, edge in enumerate(edges):
            known = np.flatnonzero(data.time < edge)
            ask = np.flatnonzero((data.time >= edge) & (data.time < edge + SEASON))
            fold = fold_at(data, ask, k, known)
            made.append(type(fold)(k, fold.fit, fold.ask, fold.truth, ask, state=data.take(known)))
        return made


class Naive:
    """The value `back` steps ago: one season for the seasonal naive forecast."""

    name = "naive"
    tasks = ("toy_forecast",)

    def missing(self):
        return ""

    def recipes(self, problem, data):
        return [Recipe("last", "naive", {"back": 1}), Recipe("seasonal", "naive", {"back": SEASON})]

    def fit(self, recipe, fit, watch, effort):
        return FittedNaive(recipe.params["back"])

    def load(self, parts):
        return FittedNaive(json.loads(parts["back.json"]))


class FittedNaive:
    steps = None
    curve = None

    def __init__(self, back):
        self.back = back

    def predict(self, data, steps=None):
        table, history = data.tables["series"], data.state
        series, at = table["series"].values, table["at"].values
        known = {(series[u], at[u]): a for u, a in zip(history.units, history.answers, strict=True)}
        latest = {s: max(t for q, t in known if q == s) for s in set(series[history.units])}
        out = []
        for u in data.units:
            t = at[u]
            while t > latest[series[u]]:
                t -= self.back
            out.append(known[series[u], t])
        return np.array(out)[:, None]

    def save(self):
        return {"back.json": json.dumps(self.back).encode()}


def series_data(length=40, count=3, seed=0):
    """Series that repeat exactly every season: the seasonal naive forecast is right, the last value is not."""
    rng = np.random.default_rng(seed)
    pattern = rng.normal(size=(count, SEASON))
    series, at = np.repeat(np.arange(count), length), np.tile(np.arange(length), count)
    value = pattern[series, at % SEASON]
    table = Table({"series": number_column(series), "at": number_column(at), "value": number_column(value)})
    return Dataset({"series": table}, np.arange(len(series)), value.astype(float), time=at.astype(float))


class Ridge:
    """Closed-form ridge on the numbers; honest, quick, without a clock."""

    name = "ridge"
    tasks = ("binary", "regression")
    fits = 0

    def missing(self):
        return ""

    def recipes(self, problem, data):
        return [Recipe("ridge", "ridge", {"columns": 99}), Recipe("ridge-1", "ridge", {"columns": 1})]

    def fit(self, recipe, fit, watch, effort):
        Ridge.fits += 1
        x = design(fit)[:, : 1 + recipe.params["columns"]]
        w = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ fit.answers.astype(float))
        return FittedRidge(w, fit.classes)

    def load(self, parts):
        held = json.loads(parts["ridge.json"])
        return FittedRidge(np.array(held["w"]), held["classes"])


class FittedRidge:
    steps = None
    curve = None

    def __init__(self, w, classes):
        self.w, self.classes = w, classes

    def predict(self, data, steps=None):
        z = design(data)[:, : len(self.w)] @ self.w
        if not self.classes:
            return z[:, None]
        p = np.clip(z, 0.01, 0.99)
        return np.column_stack([1 - p, p])

    def save(self):
        return {"ridge.json": json.dumps({"w": self.w.tolist(), "classes": self.classes}).encode()}


class Prior(Ridge):
    name = "baseline"

    def recipes(self, problem, data):
        return [Recipe("prior", "baseline", {"columns": 0})]


class Crash(Ridge):
    name = "crash"

    def recipes(self, problem, data):
        return [Recipe("crash", "crash")]

    def fit(self, recipe, fit, watch, effort):
        raise MemoryError("no room for this table")


class Walk(Ridge):
    """A booster that learns nothing: every step adds noise to its answers, and the watch rows' loss is recorded as boosters do."""

    name = "walk"

    def recipes(self, problem, data):
        return [Recipe("walk", "walk", {"steps": 60})]

    def fit(self, recipe, fit, watch, effort):
        made = FittedWalk(effort.seed + int(fit.units.sum()), recipe.params["steps"])
        curve = []
        for s in range(1, made.steps + 1):
            p = made.predict(watch, s)[np.arange(len(watch)), watch.answers]
            curve.append(-np.log(p).mean())
        made.curve = np.array(curve)
        made.steps = int(np.argmin(curve)) + 1
        return made


class FittedWalk:
    curve = None

    def __init__(self, seed, steps):
        self.seed, self.steps = seed, steps

    def predict(self, data, steps=None):
        rng = np.random.default_rng(self.seed)
        walk = np.cumsum(rng.normal(scale=0.1, size=(self.steps if steps is None else max(steps, 1), len(data.rows[next(iter(data.rows))]))), axis=0)[
            -1
        ]
        p = 1 / (1 + np.exp(-walk[data.units]))
        return np.column_stack([1 - p, p])

    def save(self):
        return {"walk.json": json.dumps([self.seed, self.steps]).encode()}


class Slow(Ridge):
    """Takes its time whatever limit it is given; only a wish to stop ends it early."""

    name = "slow"

    def recipes(self, problem, data):
        return [Recipe("slow", "slow", {"columns": 1})]

    def fit(self, recipe, fit, watch, effort):
        began = time.monotonic()
        while time.monotonic() - began < 0.4 and not effort.cancelled():
            time.sleep(0.005)
        return super().fit(recipe, fit, watch, effort)


def design(data):
    return np.column_stack([np.ones(len(data)), *(np.nan_to_num(data.rows[c].values[data.units]) for c in data.rows)])


def rows_data(n=300, columns=4, task="binary", seed=0, signal=1.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns))
    z = signal * x @ np.linspace(1, 0.2, columns)
    table = Table({f"x{j}": number_column(x[:, j]) for j in range(columns)})
    if task == "regression":
        return rows_dataset(table, z + rng.normal(size=n))
    return rows_dataset(table, (z + rng.logistic(size=n) > 0).astype(np.int64), classes=2)


def binary_problem(metric="roc_auc", **more):
    return Problem("binary", "y", metric, "maximize" if metric == "roc_auc" else "minimize", classes=("no", "yes"), positive="yes", **more)


def context(seconds=math.inf, **more):
    return Context(Budget(seconds, time.monotonic()), **more)


def options(trials=None):
    return TrainOptions(target="y", trials=trials)


@contextlib.contextmanager
def only(*learners):
    """These learners and no others, and the toy task beside the built-in ones."""
    known = {"learners": list(learners), "tasks": [BINARY, Regression(), SeriesTask()]}
    real, plugins.collect = plugins.collect, lambda noun: known.get(noun, [])
    try:
        yield
    finally:
        plugins.collect = real


FORWARD = SplitRule("time")
