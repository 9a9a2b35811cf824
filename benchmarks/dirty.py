"""Dirt that keeps the information: what reading and repairing a dirty table costs, against the clean one, by the audit's own probe.

    python benchmarks/dirty.py --data ../shared/data [--tables titanic,adult,...] [--out dirty.json]

Each kind of dirt is put into the same cells of a table by a script; the table is written as CSV, read, audited with safe repairs, and scored by the
small cross-validated model that the audit uses, on the same rows and folds. `loss` is 1 - ROC AUC, log loss or RMSE; the table shows dirty / clean.
A second figure, without repairs, shows what the repairs are worth.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from emlyn.context import Budget, Context
from emlyn.core.judging.metrics import metric
from emlyn.core.reader import read
from emlyn.records.options import TrainOptions
from emlyn.stages.audit import audit
from emlyn.stages.frame import frame, target_rows
from emlyn.stages.profile import profile

TABLES = "titanic,german_credit,pima,telco_churn,attrition,lending_club,glass,ames,concrete,abalone,mpg,deliveries"
Dirt = Callable[[pd.Series, np.random.Generator], pd.Series]


def numbers(t: pd.DataFrame) -> list[str]:
    return [c for c in t.columns if t[c].dtype.kind in "if" and t[c].nunique() > 10]


def words(t: pd.DataFrame) -> list[str]:
    return [c for c in t.columns if t[c].dtype.kind not in "if" and t[c].nunique() < 60]


def some(s: pd.Series, share: float, rng: np.random.Generator) -> np.ndarray:
    return rng.random(len(s)) < share


def written(s: pd.Series, form: Callable[[float], str]) -> pd.Series:
    return s.map(lambda v: None if pd.isna(v) else form(v)).astype(object)


KINDS: dict[str, tuple[Callable[[pd.DataFrame], list[str]], Dirt]] = {
    "currency and thousands": (numbers, lambda s, rng: written(s, lambda v: f"${v:,.10g}")),
    "decimal comma": (numbers, lambda s, rng: written(s, lambda v: f"{v:.10g}".replace(".", ","))),
    "a unit behind each number": (numbers, lambda s, rng: written(s, lambda v: f"{v:.10g} kg")),
    "spaces around cells": (lambda t: [*numbers(t), *words(t)], lambda s, rng: written(s, lambda v: f"  {v} ")),
    "gaps written as ? and n/a": (
        numbers,
        lambda s, rng: written(s, lambda v: f"{v:.10g}").where(s.notna(), rng.choice(["?", "n/a", "NULL", "-"], len(s))),
    ),
    "gaps written as -999": (numbers, lambda s, rng: s.fillna(-999)),
    "capitals in a tenth": (words, lambda s, rng: s.where(~some(s, 0.1, rng), s.astype(str).str.upper()).where(s.notna())),
    "double spaces in a tenth": (words, lambda s, rng: s.where(~some(s, 0.1, rng), s.astype(str) + "  ").where(s.notna())),
    "yes and no in other words": (
        lambda t: [c for c in t.columns if set(t[c].dropna().unique()) == {0, 1}],
        lambda s, rng: s.map({0: "no", 1: "yes"}).astype(object),
    ),
    "an id and a constant beside": (lambda t: [], lambda s, rng: s),
}


def dirtied(t: pd.DataFrame, target: str, kind: str, seed: int) -> pd.DataFrame:
    """The table with one kind of dirt; gaps are made first (5 % of the cells of numbers, the same for every kind), so that all compare."""
    columns, dirt = KINDS[kind]
    out = t.copy()
    for name in columns(t.drop(columns=target)):
        out[name] = dirt(t[name], np.random.default_rng([seed, len(name)]))
    if kind.startswith("an id"):
        out.insert(0, "record_id", [f"R{i:06d}" for i in range(len(t))])
        out["source"] = "export"
    return out


def gappy(t: pd.DataFrame, target: str) -> pd.DataFrame:
    out, rng = t.copy(), np.random.default_rng(0)
    for name in numbers(t.drop(columns=target)):
        out.loc[rng.random(len(t)) < 0.05, name] = np.nan
    return out


def loss(t: pd.DataFrame, target: str, folder: Path, repairs: str) -> float:
    path = folder / "table.csv"
    t.to_csv(path, index=False)
    options, context = TrainOptions(target=target, repairs=repairs), Context(Budget(math.inf, time.monotonic()))
    found = read(path)
    card = profile(found, options, context)
    problem = frame(found.table, card, options, context)
    done = audit(found.table.take(target_rows(found.table, card, problem)), card, problem, options, context)
    score = done.scores["honest"]
    return 1 - score if metric(problem.metric).direction == "maximize" else score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tables", default=TABLES)
    parser.add_argument("--out")
    args = parser.parse_args()
    manifest = json.loads((Path(args.data) / "manifest.json").read_text())
    results: dict[str, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.tables.split(","):
            target = manifest[name]["target"]
            clean = gappy(pd.read_csv(Path(args.data) / manifest[name]["file"], keep_default_na=False, na_values=[""]), target)
            base = loss(clean, target, Path(folder), "safe")
            results[name] = {}
            for kind in KINDS:
                dirty = dirtied(clean, target, kind, 1)
                results[name][kind] = (loss(dirty, target, Path(folder), "safe") / base, loss(dirty, target, Path(folder), "none") / base)
            worst = max(results[name], key=lambda k: results[name][k][0])
            print(f"{name:16s} loss {base:9.4g}  worst: {worst} x {results[name][worst][0]:.4f}", flush=True)
    print(f"\n{'kind of dirt':30s} repaired: mean, worst    without repairs: mean, worst   (loss / clean loss)")
    for kind in KINDS:
        with_, without = np.array([r[kind] for r in results.values()]).T
        print(f"{kind:30s} {with_.mean():.4f} {with_.max():.4f}    {without.mean():.4f} {without.max():.4f}")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
