"""What each mechanism of the engine is worth: one search per table, judged with each part left out, on the held-out third.

usage: python ablation.py --data DIR --out FILE.jsonl [--budget 40] [--only a,b] [--folds 1] [--clock cpu] [--racing]
Parts that need no second search are left out of the stored candidates: a learner, made features, variations beyond the portfolio, calibration,
bags in the choice of weights. The time a part took is not given to the others, so a figure says what the part adds where time is no matter.
--racing adds `no-racing`, a second search in which nobody is let go early. Losses as in compare.py; a ratio above 1 says that the part helps.
--clock cpu: seconds are this process's CPU time (over 1.6 with two threads), so that a machine busy with other work does not decide.
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


def arms(found):
    """Name -> the candidates that are left, for every part that one of them stands for."""
    made = {"all": found}
    for learner in sorted({c.recipe.learner for c in found}):
        made[f"no-{learner}"] = [c for c in found if c.recipe.learner != learner]
    for feature in sorted({f for c in found for f in c.recipe.features}):
        made[f"no-{feature}"] = [c for c in found if feature not in c.recipe.features]
    made["no-variations"] = [c for c in found if "~" not in c.recipe.name]
    made["best-single"] = found[:1]
    return {name: left for name, left in made.items() if left and (name == "all" or len(left) < len(found))}


def losses(trials, rows, judge):
    """Name -> test loss. Each candidate answers with its bag of fold models."""
    from emlyn.core.models.calibration import fit_calibration, serves
    from emlyn.core.models.model import Member
    from emlyn.core.searching.ensembling import blend, greedy_weights, quick_weights
    from emlyn.core.searching.trials import at_steps

    found = trials.eligible()
    asked = trials.covered(found)
    truth, weight = trials.truth(asked), trials.weight(asked)
    oof = {c.recipe.name: trials.oof(c.recipe.name)[asked] for c in found}
    bags = {}
    for c in found:
        steps = c.steps()
        bag = tuple(at_steps(r.fitted, None if r.curve is None else min(steps, len(r.curve))) for r in c.results.values())
        bags[c.recipe.name] = Member(c.recipe, 1.0, bag).predict(rows)

    def loss(left, weigh=greedy_weights, calibrate=True):
        names = [c.recipe.name for c in left]
        shares = weigh([oof[n] for n in names], truth, trials.metric, weight, trials.seed)
        mixed, asked_mix = blend([bags[n] for n in names], shares), blend([oof[n] for n in names], shares)
        if calibrate and serves(trials.metric):
            mixed = fit_calibration(asked_mix, truth, weight).apply(mixed)
        return judge(mixed)

    made = {name: loss(left) for name, left in arms(found).items()}
    made["one-greedy-pass"] = loss(found, weigh=quick_weights)
    made["no-calibration"] = loss(found, calibrate=False)
    made["uniform"] = judge(np.mean(list(bags.values()), axis=0))
    return made, len(found)


def searched(train, test, facts, a):
    """(trials, test rows as the model reads them, judge) of one fit."""
    import emlyn
    from emlyn import estimators
    from emlyn.core.dataset import rows_dataset
    from emlyn.core.tables.contract import conform
    from emlyn.core.tables.frames import to_table

    target, kept, real = facts["target"], {}, estimators.search
    estimators.search = lambda *records: kept.setdefault("trials", real(*records))
    try:
        kind = emlyn.Regressor if facts["task"] == "regression" else emlyn.Classifier
        fitted = kind(budget=a.budget).fit(train.drop(columns=target), train[target])
    finally:
        estimators.search = real
    model = fitted.model_
    rows = rows_dataset(conform(to_table(test.drop(columns=target)), model.contract).table, classes=len(model.problem.classes))
    rows.shared["encoder"] = model.encoder
    classes = None if facts["task"] == "regression" else list(fitted.classes_)
    return kept["trials"], rows, lambda p: score(facts["task"], test[target], {"prediction": p if classes else p[:, 0], "classes": classes})


def one(table, fold, facts, a):
    from emlyn.stages import search

    train, test = split(pd.read_csv(a.data / f"{table}.csv.gz", low_memory=False), facts["target"], facts["task"], fold)
    made, candidates = losses(*searched(train, test, facts, a))
    if a.racing:
        racing, search.hopeless = search.hopeless, lambda *_: ""
        try:
            made["no-racing"] = losses(*searched(train, test, facts, a))[0]["all"]
        finally:
            search.hopeless = racing
    return {"table": table, "fold": fold, "budget": a.budget, "clock": a.clock, "rows": len(train), "candidates": candidates, "loss": made}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", type=pathlib.Path, required=True)
    a.add_argument("--out", type=pathlib.Path, required=True)
    a.add_argument("--budget", type=float, default=40.0)
    a.add_argument("--only", default="")
    a.add_argument("--folds", type=int, default=1)
    a.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    a.add_argument("--racing", action="store_true")
    a = a.parse_args()
    if a.clock == "cpu":
        time.monotonic = lambda: time.process_time() / 1.6
    done = {(r["table"], r["fold"]) for r in map(json.loads, a.out.read_text().splitlines())} if a.out.exists() else set()
    for fold in range(a.folds):
        for table, facts in json.loads((a.data / "manifest.json").read_text()).items():
            wanted = table in a.only.split(",") if a.only else facts.get("use") != "audit"
            if wanted and (table, fold) not in done:
                with a.out.open("a") as out:
                    out.write(json.dumps(one(table, fold, facts, a)) + "\n")
    rows = [json.loads(line) for line in a.out.read_text().splitlines()]
    loss = pd.DataFrame([r["loss"] for r in rows], index=[f"{r['table']}:{r['fold']}" for r in rows])
    ratio = np.log(loss.div(loss["all"], axis=0))
    summary = pd.DataFrame({"ratio": np.exp(ratio.mean()), "se": ratio.std() / np.sqrt(ratio.count()), "helps": (ratio > 0.005).sum(),
                            "hurts": (ratio < -0.005).sum(), "runs": ratio.count()})
    print(loss.round(4).to_string(), "\n\nloss without the part over the loss of the whole (geometric mean):\n", summary.round(4).to_string(), sep="")


if __name__ == "__main__":
    main()
