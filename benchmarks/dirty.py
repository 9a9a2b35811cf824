"""Dirt that keeps the information: what reading and repairing a dirty table costs, against the clean one, by the audit's own probe.

    python benchmarks/dirty.py --data ../shared/data [--tables titanic,adult,...] [--out dirty.json]

Each kind of dirt is put into the same cells of a table by a script; the table is written as CSV, read, audited with safe repairs, and scored by the
small cross-validated model that the audit uses, on the same rows and folds. `loss` is 1 - ROC AUC, log loss or RMSE; the table shows dirty / clean.
A second figure, without repairs, shows what the repairs are worth.

    python benchmarks/dirty.py --data ../shared/data --train [--tables ...] [--trials 12] [--systems "flaml=flaml/bin/python"] [--budget 60]

With `--train` whole systems learn from two thirds of the rows (at most 3,000), clean and dirty, and are judged on the other third, written alike.
emlyn trains by `emlyn.train(..., trials=N)`, so that a busy machine changes nothing; other systems by their adapter in `peers.py`, in their own
environment, with `--budget` seconds. Shown is dirty - clean in standard errors of the clean loss (bootstrap of the held-out rows), and whether it is
within one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import emlyn
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


PEERS = Path(__file__).parent / "peers.py"
TRAINED_MOST, JUDGED_MOST, DRAWS = 3_000, 2_000, 200
System = Callable[[Path, Path, str, str], tuple[list[str] | None, np.ndarray]]
"""(train file, file of questions, target, task) -> class labels (None for numbers) and answers (n, k) or (n,)."""


def by_emlyn(trials: int) -> System:
    def answer(train: Path, questions: Path, target: str, task: str) -> tuple[list[str] | None, np.ndarray]:
        model = emlyn.train(str(train), target=target, trials=trials, jobs=1, name="dirty").model
        if task == "regression":
            return None, np.asarray(model.predict(str(questions)), dtype=float)
        return list(model.classes), model.predict_proba(str(questions))

    return answer


def by_adapter(name: str, python: str, budget: float) -> System:
    def answer(train: Path, questions: Path, target: str, task: str) -> tuple[list[str] | None, np.ndarray]:
        out = train.with_name("answers.json")
        told = [name, str(train), str(questions), target, task, f"{budget:g}", str(out)]
        subprocess.run([*python.split(), str(PEERS), *told], check=True, capture_output=True)
        said = json.loads(out.read_text())
        return None if said["classes"] is None else [str(c) for c in said["classes"]], np.array(said["prediction"])

    return answer


def drawn_losses(truth: pd.Series, classes: list[str] | None, answers: np.ndarray, task: str) -> np.ndarray:
    """The loss on the held-out rows, then on bootstrap draws of them (1 + 200,): 1 - ROC AUC, log loss or RMSE."""
    from sklearn.metrics import roc_auc_score

    rng, found = np.random.default_rng(0), []
    # a refused row is answered as badly as not knowing: by the mean answer
    answers = np.where(np.isfinite(answers), answers, np.nanmean(answers, axis=0))
    labels = truth.astype(str).to_numpy() if classes else truth.to_numpy(dtype=float)
    for draw in range(DRAWS + 1):
        at = np.arange(len(labels)) if draw == 0 else rng.integers(0, len(labels), len(labels))
        if classes is None:
            found.append(float(np.sqrt(np.mean((answers[at] - labels[at]) ** 2))))
        elif task == "binary":
            found.append(1 - float(roc_auc_score(labels[at] == classes[1], answers[at, 1])))
        else:
            told = answers[at, [classes.index(label) for label in labels[at]]]
            found.append(float(-np.log(np.clip(told, 1e-6, 1)).mean()))
    return np.array(found)


def trained(t: pd.DataFrame, target: str, task: str, folder: Path, system: System) -> np.ndarray:
    """Losses of a system that learned from two thirds of the table as written, on the last third."""
    order = np.random.default_rng(7).permutation(len(t))
    judged, learned = np.sort(order[: min(JUDGED_MOST, len(t) // 3)]), np.sort(order[len(t) // 3 :][:TRAINED_MOST])
    train, questions = folder / "train.csv", folder / "questions.csv"
    t.iloc[learned].to_csv(train, index=False)
    t.iloc[judged].drop(columns=target).to_csv(questions, index=False)
    classes, answers = system(train, questions, target, task)
    return drawn_losses(t[target].iloc[judged], classes, answers, task)


def compare_trained(args: argparse.Namespace, manifest: dict[str, dict[str, str]], folder: Path) -> None:
    systems: dict[str, System] = {"emlyn": by_emlyn(args.trials)} if args.trials else {}
    systems |= {name: by_adapter(name, python, args.budget) for name, python in (one.split("=", 1) for one in args.systems.split(",") if one)}
    os.environ["EMLYN_HOME"] = str(folder / "workspace")
    results: dict[str, dict[str, dict[str, float | str]]] = {}
    for name in args.tables.split(","):
        target, task = manifest[name]["target"], manifest[name]["task"]
        clean = gappy(pd.read_csv(Path(args.data) / manifest[name]["file"], keep_default_na=False, na_values=[""]), target)
        for system, train in systems.items():
            base = trained(clean, target, task, folder, train)
            error = float(base[1:].std())
            found = results.setdefault(system, {}).setdefault(name, {"clean": float(base[0]), "standard error": error})
            for kind in KINDS:
                try:
                    dirty = trained(dirtied(clean, target, kind, 1), target, task, folder, train)
                    found[kind] = float(dirty[0] - base[0]) / error
                except (subprocess.CalledProcessError, ValueError) as failed:
                    found[kind] = f"failed: {str(getattr(failed, 'stderr', b'') or failed)[-200:]}"
            shown = "  ".join(f"{found[k]:+.2f}" if isinstance(found[k], float) else "failed" for k in KINDS)
            print(f"{name:16s} {system:10s} clean {base[0]:.4g} +- {error:.2g}   {shown}", flush=True)
    print("\nkinds in order: " + "; ".join(KINDS))
    for system, tables in results.items():
        moved = [t[k] for t in tables.values() for k in KINDS]
        within = sum(isinstance(v, float) and v <= 1 for v in moved)
        print(f"{system}: {within} of {len(moved)} within one standard error of the clean loss, {sum(isinstance(v, str) for v in moved)} failed")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--trials", type=int, default=12, help="of emlyn; 0 leaves it out")
    parser.add_argument("--systems", default="")
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tables", default=TABLES)
    parser.add_argument("--out")
    args = parser.parse_args()
    manifest = json.loads((Path(args.data) / "manifest.json").read_text())
    results: dict[str, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.train:
            compare_trained(args, manifest, Path(folder))
            return
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
