"""Does a model keep what its evaluation promised? Train on a small part of a large table, promise a score, look at the untouched rest.

    python benchmarks/promise.py adult income --rows 500 --repeats 300 --trials 3 [--data FOLDER] [--json OUT]

Per repeat: other rows, the whole main job up to the evaluation, and the score on up to 8,000 rows that were never near it. Told are
how often the promised interval holds that score, how far off the promise is on average in standard errors, and the same for the
metrics beside the headline. `bias_in_se` divides the mean error by the root mean square of the promised standard errors (half interval
over 1.96); `studentised` is the mean of each error over its own standard error, which on skewed losses is off zero without any bias,
as small losses come with small standard errors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from emlyn import engineer  # noqa: E402
from emlyn.context import Budget, Context  # noqa: E402
from emlyn.core.executor import ThreadExecutor  # noqa: E402
from emlyn.core.reader import read  # noqa: E402
from emlyn.core.searching.trials import Past  # noqa: E402
from emlyn.records.evaluation import Measure  # noqa: E402
from emlyn.records.options import TrainOptions  # noqa: E402
from emlyn.stages.evaluate import evaluate_oof, evaluate_rows, evaluate_sealed  # noqa: E402
from emlyn.stages.profile import profile  # noqa: E402

LOOKED_AT = ("roc_auc", "log_loss", "brier", "accuracy", "rmse", "mae", "r2")
REST = 8_000


def once(table: engineer.Read, options: TrainOptions, rows: int, seed: int) -> tuple[str, dict[str, Measure], dict[str, Measure]]:
    """(method, promised, found on the rest) of one repeat."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(table.table.rows)
    part, rest = (replace(table, table=table.table.take(np.sort(order[a:b]))) for a, b in ((0, rows), (rows, rows + REST)))
    context = Context(Budget(math.inf, time.monotonic()), seed=seed, executor=ThreadExecutor(1))
    card = profile(part, options, context)
    ready = engineer.prepare(part, card, options, context)
    trials = engineer.experiment(ready, options, context, Past())
    model, problem = engineer.combine(ready, trials, context), ready.audit.problem
    if ready.sealed is not None:
        promise = evaluate_sealed(model, ready.sealed, problem, context)
    else:
        promise = evaluate_oof(trials, problem, context)
    truth = evaluate_rows(model, engineer.labelled(rest, ready.audit.card, problem), problem, context)
    return promise.method, promise.metrics, truth.metrics


def summary(promised: list[Measure], found: list[Measure]) -> dict[str, float]:
    pairs = [(p, f.value) for p, f in zip(promised, found, strict=True) if p.low is not None and f.value is not None]
    if not pairs:
        return {"repeats": 0}
    errors = np.array([p.value - v for p, v in pairs])
    own = np.array([max((p.high - p.low) / 3.92, 1e-300) for p, _ in pairs])
    unit = float(np.sqrt(np.mean(own**2)))
    held = float(np.mean([p.low <= v <= p.high for p, v in pairs]))
    return {
        "repeats": len(pairs),
        "coverage": held,
        "coverage_se": float(np.sqrt(max(held * (1 - held), 0.0475) / len(pairs))),
        "bias_in_se": float(errors.mean()) / unit,
        "bias_se": float(errors.std(ddof=1) / np.sqrt(len(errors))) / unit if len(errors) > 1 else float("nan"),
        "studentised": float((errors / own).mean()),
        "promised": float(np.mean([p.value for p, _ in pairs])),
        "found": float(np.mean([v for _, v in pairs])),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table")
    parser.add_argument("target")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="seed of the first repeat")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--data", default=os.environ.get("EMLYN_TEST_DATA", "../shared/data"))
    parser.add_argument("--json", default="")
    asked = parser.parse_args()
    options = TrainOptions(target=asked.target, budget=math.inf, trials=asked.trials, experience=False)
    table = read(str(Path(asked.data) / f"{asked.table}.csv.gz"))
    began, promised, found = time.monotonic(), dict[str, list[Measure]](), dict[str, list[Measure]]()
    for seed in range(asked.first, asked.first + asked.repeats):
        method, says, is_ = once(table, replace(options, seed=seed), asked.rows, seed)
        for name in LOOKED_AT:
            if name in says and name in is_:
                promised.setdefault(name, []).append(says[name])
                found.setdefault(name, []).append(is_[name])
        if time.monotonic() - began > 60 * asked.minutes:
            break
    told = {"table": asked.table, "rows": asked.rows, "trials": asked.trials, "method": method, "seconds": time.monotonic() - began}
    told |= {name: summary(promised[name], found[name]) for name in promised}
    for name, value in told.items():
        print(name, value, flush=True)
    if asked.json:
        Path(asked.json).write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
