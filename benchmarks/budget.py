"""Quality against budget, and whether budgets are kept: the estimators on benchmark tables, one run after another.

usage: python budget.py --data DIR --out budget.jsonl [--budgets 5,10,20,60] [--only titanic,ames] [--folds 1]
Prints, per budget: runs, the share that ended within max(2 %, 1 s) of the budget, the latest end, and the mean regret against the best budget of the
same table and fold. Rows already in --out are skipped. Import time is not counted: `fit` is what the budget bounds.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import pandas as pd

sys.path.insert(0, str(pathlib.Path(__file__).absolute().parent))
from compare import score, split


def one(table, facts, budget, train, test):
    import emlyn

    target = facts["target"]
    model = (emlyn.Regressor if facts["task"] == "regression" else emlyn.Classifier)(budget=budget)
    began = time.monotonic()
    model.fit(train.drop(columns=target), train[target])
    fit_s = time.monotonic() - began
    rows = test.drop(columns=target)
    if facts["task"] == "regression":
        result = {"prediction": model.predict(rows), "classes": None}
    else:
        result = {"prediction": model.predict_proba(rows), "classes": list(model.classes_)}
    return {
        "table": table,
        "budget": budget,
        "fit_s": round(fit_s, 3),
        "loss": score(facts["task"], test[target], result),
        "members": len(model.model_.members),
    }


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", type=pathlib.Path, required=True)
    a.add_argument("--out", type=pathlib.Path, required=True)
    a.add_argument("--budgets", default="5,10,20,60")
    a.add_argument("--only", default="")
    a.add_argument("--folds", type=int, default=1)
    a = a.parse_args()
    manifest = json.loads((a.data / "manifest.json").read_text())
    rows = [json.loads(line) for line in a.out.read_text().splitlines()] if a.out.exists() else []
    done = {(r["table"], r["fold"], r["budget"]) for r in rows}
    for table, facts in manifest.items():
        if (a.only and table not in a.only.split(",")) or (not a.only and facts.get("use") == "audit"):
            continue
        for fold in range(a.folds):
            train, test = split(pd.read_csv(a.data / f"{table}.csv.gz", low_memory=False), facts["target"], facts["task"], fold)
            for budget in map(float, a.budgets.split(",")):
                if (table, fold, budget) not in done:
                    rows.append({**one(table, facts, budget, train, test), "fold": fold})
                    with a.out.open("a") as out:
                        out.write(json.dumps(rows[-1]) + "\n")
                    print(rows[-1], flush=True)
    found = pd.DataFrame(rows)
    found["late"] = found.fit_s - found.budget
    found["kept"] = found.late <= np.maximum(0.02 * found.budget, 1.0)
    found["regret"] = found.loss / found.groupby(["table", "fold"]).loss.transform("min") - 1
    print(
        found.groupby("budget")
        .agg(runs=("loss", "size"), kept=("kept", "mean"), latest=("late", "max"), regret=("regret", "mean"))
        .round(4)
        .to_string()
    )


if __name__ == "__main__":
    main()
