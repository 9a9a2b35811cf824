"""What the choice of weights is worth: one search per table, several ways to mix its candidates, judged on the held-out third.

usage: python ensembling.py --data DIR --out FILE.jsonl [--budget 20] [--only a,b] [--fold 0] [--clock cpu]
Ways: shipped (bagged selection, calibrated), bagged, quick (one greedy pass), best (by out-of-fold score), uniform. Losses as in compare.py.
--clock cpu: seconds are this process's CPU time over 1.6, so that a machine busy with other work does not decide what two free cores could have done.
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


def mixes(trials, model, rows):
    """Name -> answers to `rows`, each candidate answering with its bag of fold models."""
    from emlyn.core.searching.ensembling import blend, greedy_weights, quick_weights
    from emlyn.core.searching.trials import at_steps

    found = trials.eligible()
    asked = trials.covered(found)
    oof, truth = [trials.oof(c.recipe.name)[asked] for c in found], trials.truth(asked)
    bags = []
    for c in found:
        steps = c.steps()
        bag = [at_steps(r.fitted, None if r.curve is None else min(steps, len(r.curve))).predict(rows) for r in c.results.values()]
        bags.append(np.mean(bag, axis=0))
    ways = {"bagged": greedy_weights, "quick": quick_weights}
    made = {name: blend(bags, way(oof, truth, trials.metric)) for name, way in ways.items()}
    return {"shipped": model.predict_answers(rows), **made, "best": bags[0], "uniform": np.mean(bags, axis=0)}, len(found)


def one(table, facts, a):
    import emlyn
    from emlyn import estimators
    from emlyn.core.dataset import rows_dataset
    from emlyn.core.tables.contract import conform
    from emlyn.core.tables.frames import to_table

    target, kept, real = facts["target"], {}, estimators.search
    train, test = split(pd.read_csv(a.data / f"{table}.csv.gz", low_memory=False), target, facts["task"], a.fold)
    estimators.search = lambda *records: kept.setdefault("trials", real(*records))
    try:
        fitted = (emlyn.Regressor if facts["task"] == "regression" else emlyn.Classifier)(budget=a.budget).fit(
            train.drop(columns=target), train[target]
        )
    finally:
        estimators.search = real
    model = fitted.model_
    rows = rows_dataset(conform(to_table(test.drop(columns=target)), model.contract).table, classes=len(model.problem.classes))
    rows.shared["encoder"] = model.encoder
    answers, candidates = mixes(kept["trials"], model, rows)
    classes = None if facts["task"] == "regression" else list(fitted.classes_)
    loss = {k: score(facts["task"], test[target], {"prediction": p if classes else p[:, 0], "classes": classes}) for k, p in answers.items()}
    return {"table": table, "fold": a.fold, "budget": a.budget, "clock": a.clock, "rows": len(train), "candidates": candidates, "loss": loss}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", type=pathlib.Path, required=True)
    a.add_argument("--out", type=pathlib.Path, required=True)
    a.add_argument("--budget", type=float, default=20.0)
    a.add_argument("--only", default="")
    a.add_argument("--fold", type=int, default=0)
    a.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    a = a.parse_args()
    if a.clock == "cpu":
        time.monotonic = lambda: time.process_time() / 1.6
    for table, facts in json.loads((a.data / "manifest.json").read_text()).items():
        if (a.only and table not in a.only.split(",")) or (not a.only and facts.get("use") == "audit"):
            continue
        row = one(table, facts, a)
        with a.out.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(row, flush=True)
    rows = [json.loads(line) for line in a.out.read_text().splitlines()]
    loss = pd.DataFrame([r["loss"] for r in rows], index=[f"{r['table']}:{r['fold']}" for r in rows])
    ratio = loss.div(loss["quick"], axis=0)
    print(ratio.round(4).to_string(), "\n\ngeometric mean against quick:", np.exp(np.log(ratio).mean()).round(4).to_dict())


if __name__ == "__main__":
    main()
