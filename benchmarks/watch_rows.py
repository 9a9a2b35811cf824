"""Is the out-of-fold score honest when a fold's asked rows stop the booster? LightGBM on targets that nothing predicts.

usage: python watch_rows.py [--rows 200] [--repeats 30]
Prints the mean out-of-fold AUC with its standard error, with cross-fitted steps and with each fold's own best step (which is not honest).
"""

import argparse
import math
import time

import numpy as np

from emlyn import plugins
from emlyn.context import Budget, Context
from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.metrics import auc
from emlyn.core.searching.trials import ready
from emlyn.core.table import Table, number_column
from emlyn.records.plan import Plan
from emlyn.records.problem import Problem
from emlyn.stages.search import search


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--rows", type=int, default=200)
    a.add_argument("--repeats", type=int, default=30)
    a = a.parse_args()
    honest, own = [], []
    for seed in range(a.repeats):
        rng = np.random.default_rng(seed)
        table = Table({f"x{j}": number_column(rng.normal(size=a.rows)) for j in range(10)})
        data = rows_dataset(table, rng.integers(0, 2, a.rows), classes=2)
        problem = Problem("binary", "y", "roc_auc", "maximize", classes=("0", "1"), positive="1")
        context = Context(Budget(math.inf, time.monotonic()), seed=seed)
        recipes = plugins.find("learners", "lightgbm").recipes(problem, ready(data))[:1]
        found = search(Plan(tuple(recipes), 8, trials=1), data, problem, context)
        candidate = found.candidates[0]
        honest.append(auc(data.answers == 1, found.oof(candidate.recipe.name)[:, 1]))
        own.append(np.mean([auc(f.truth == 1, candidate.results[f.number].prediction[:, 1]) for f in found.folds]))
    for name, values in (("cross-fitted steps", honest), ("each fold's own step", own)):
        print(f"{name}: AUC {np.mean(values):.4f} +- {np.std(values, ddof=1) / math.sqrt(len(values)):.4f} ({a.repeats} repeats, {a.rows} rows)")


if __name__ == "__main__":
    main()
