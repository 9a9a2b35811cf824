"""What learning from earlier projects is worth, leave one table out: folds learned until the first project's score is reached.

usage: python experience.py --data DIR --out FILE.jsonl [--only a,b] [--rows 700] [--folds 3] [--shipped 1]
Every table's portfolio is learned once, whole (no clock; recipes that race away cost the folds they had). Then orders are replayed. The score to
reach is that of the out-of-fold ensemble when the shipped order has used a share of the portfolio's seconds; counted are folds and seconds
of learning until an order's ensemble is as good. Folds do not depend on the machine's load.
`same`: the winners of that first run come first, as they do when the same columns are learned from again. `others`: recipes move up by their part in
the ensembles of all other tables, drawn to 1 as by `--shipped` tables; this is not in the engine, because it brought nothing.
`cost_error`: mean absolute log ratio of measured to expected seconds of a fold, as shipped and as corrected by the other tables.
"""

import argparse
import json
import pathlib
import sys
from dataclasses import replace

import numpy as np
import pandas as pd

SHARES = (0.25, 0.5, 1.0)
MOST = 4.0
"""Times the average weight beyond which a recipe's part in one ensemble counts no more."""


def learned(data, facts, a):
    """(trials, problem, data as the engine has it, context) of one table whose whole portfolio was learned."""
    import emlyn
    from emlyn import estimators

    kept, plan, search = {}, estimators.plan, estimators.search

    def whole(*records):
        made = plan(*records)
        return replace(made, folds=a.folds, trials=len(made.recipes))

    def watched(made, *records):
        kept["trials"], kept["records"] = search(made, *records), records
        return kept["trials"]

    estimators.plan, estimators.search = whole, watched
    try:
        kind = emlyn.Regressor if facts["task"] == "regression" else emlyn.Classifier
        kind(trials=100, n_jobs=1).fit(data.drop(columns=facts["target"]), data[facts["target"]])
    finally:
        estimators.plan, estimators.search = plan, search
    trials = kept["trials"]
    return (trials, trials.problem, trials.data, kept["records"][2])


def costs(trials, speed=None):
    from emlyn.core.searching.costs import costs_of

    return costs_of(trials.data, len(trials.folds), fixed=True, speed=speed)


def path_of(trials, order):
    """[(folds, seconds, loss)] after each recipe of an order; the loss is of the greedy ensemble of what is complete so far."""
    from emlyn.core.searching.racing import ensemble_loss

    folds, seconds, found, path = 0, 0.0, [], []
    for name in order:
        c = trials.find(name)
        folds, seconds = folds + len(c.results), seconds + c.seconds
        if trials.complete(c):
            found.append(c)
        path.append((folds, seconds, ensemble_loss(trials, found)[0] if found else float("inf")))
    return path


def reached(path, target):
    """(folds, seconds) until the loss is at most the target; the whole path where it never is."""
    return next(((f, round(s, 2)) for f, s, loss in path if loss <= target), (path[-1][0], round(path[-1][1], 2)))


def worths(others, shipped):
    """Recipe -> its mean part in the ensembles of other tables, as a multiple of the average part."""
    parts = {}
    for trials in others:
        tried = [c for c in trials.candidates if c.results and c.recipe.learner != "baseline"]
        for c in tried:
            parts.setdefault(c.recipe.name, []).append(min(MOST, c.weight * len(tried)))
    return {name: (shipped + sum(found)) / (shipped + len(found)) for name, found in parts.items()}


def winners(trials, names):
    """Recipes with a weight when these alone were learned."""
    from emlyn.core.searching.ensembling import greedy_weights

    done = [c for c in map(trials.find, names) if trials.complete(c) and c.recipe.learner != "baseline"]
    rows = trials.covered(done)
    weights = greedy_weights([trials.oof(c.recipe.name)[rows] for c in done], trials.truth(rows), trials.metric, trials.weight(rows), trials.seed)
    return [c.recipe for c, w in zip(done, weights, strict=True) if w > 0]


def compared(name, all_found, a):
    from emlyn.core.searching.experience import Advice, speeds, taught
    from emlyn.stages.plan import portfolio

    trials, problem, data, context = all_found[name]
    others = [t for other, (t, *_) in all_found.items() if other != name]
    tried = {c.recipe.name for c in trials.candidates if c.results}

    def order(known):
        return [r.name for r in portfolio(problem, data, costs(trials), context, known) if r.name in tried]

    shipped = order(Advice())
    base = path_of(trials, shipped)
    floor = [n for n in shipped if trials.find(n).recipe.learner == "baseline"]
    place, counted, worth = {}, {}, worths(others, a.shipped)
    for n in shipped:
        recipe = trials.find(n).recipe
        counted[recipe.learner] = counted.get(recipe.learner, 0) + 1
        place[n] = counted[recipe.learner] * costs(trials).prior(recipe) / worth.get(n, 1.0)
    moved = path_of(trials, [*floor, *sorted((n for n in shipped if n not in floor), key=place.get)])
    needed = {}
    for share in SHARES:
        used = sum(seconds <= share * base[-1][1] for _, seconds, _ in base)
        target = base[used - 1][2]
        again = path_of(trials, order(Advice(first=tuple(winners(trials, shipped[:used])))))
        needed[share] = {arm: reached(path, target) for arm, path in (("shipped", base), ("same", again), ("others", moved))}
    error = {}
    for arm, speed in (("shipped", {}), ("others", speeds([taught(t) for t in others], costs(trials)))):
        expected = costs(trials, speed)
        whole = [c for c in trials.candidates if trials.complete(c) and c.recipe.learner != "baseline"]
        ratios = [np.log(c.seconds / len(c.results) / expected.prior(c.recipe)) for c in whole]
        error[arm] = round(float(np.mean(np.abs(ratios))), 3)
    return {"table": name, "rows": len(data), "recipes": len(tried), "needed": needed, "cost_error": error}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="titanic,german_credit,pima,attrition,telco_churn,concrete,mpg,abalone,ecoli,wine_quality")
    parser.add_argument("--rows", type=int, default=700)
    parser.add_argument("--shipped", type=float, default=1.0)
    parser.add_argument("--folds", type=int, default=3)
    a = parser.parse_args()
    manifest = json.loads((a.data / "manifest.json").read_text())
    found = {}
    for name in a.only.split(","):
        data = pd.read_csv(a.data / f"{name}.csv.gz", low_memory=False).dropna(subset=manifest[name]["target"])
        found[name] = learned(data.sample(min(len(data), a.rows), random_state=0), manifest[name], a)
        print(name, "learned", file=sys.stderr, flush=True)
    rows = [compared(name, found, a) for name in found]
    a.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for share in SHARES:
        for arm in ("same", "others"):
            for i, unit in enumerate(("folds", "seconds")):
                ratio = np.array([row["needed"][share][arm][i] / max(row["needed"][share]["shipped"][i], 1e-9) for row in rows])
                line = f"{arm:7s} until the score of {share:.0%} of the portfolio: {unit} x {np.exp(np.log(ratio).mean()):.2f}"
                print(f"{line}, fewer on {(ratio < 1).sum()}, more on {(ratio > 1).sum()} of {len(ratio)} tables")
    print("cost error", {arm: round(float(np.mean([row["cost_error"][arm] for row in rows])), 3) for arm in ("shipped", "others")})


if __name__ == "__main__":
    main()
