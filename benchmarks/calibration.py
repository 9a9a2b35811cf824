"""Does calibration help? Log loss of the calibrated ensemble against the uncalibrated one, row by row, on rows neither was chosen on.

    python benchmarks/calibration.py [TABLE ...] [--trials 6] [--rows 5000] [--data FOLDER] [--json OUT]

Per table: the main job up to the search, then for each fold weights and calibration are chosen on the out-of-fold answers of the other
folds and judged on that fold. The difference is the mean over rows with its 95 % interval; below zero, calibration helps. Bound by
trials, not by time, so that a busy machine gives the same numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from emlyn import engineer  # noqa: E402
from emlyn.context import Budget, Context  # noqa: E402
from emlyn.core.executor import ThreadExecutor  # noqa: E402
from emlyn.core.judging.intervals import mean_of  # noqa: E402
from emlyn.core.judging.metrics import log_loss_rows  # noqa: E402
from emlyn.core.reader import read  # noqa: E402
from emlyn.core.searching.ensembling import blend  # noqa: E402
from emlyn.core.searching.selection import OutOfFold, chosen  # noqa: E402
from emlyn.core.searching.trials import Past  # noqa: E402
from emlyn.records.options import TrainOptions  # noqa: E402
from emlyn.stages.profile import profile  # noqa: E402


def stored(path: Path, target: str, rows: int, trials: int) -> tuple[OutOfFold, Any]:
    """Out-of-fold answers of every eligible candidate, and the metric they are chosen by."""
    found = read(str(path))
    if found.table.rows > rows:
        part = np.sort(np.random.default_rng(0).choice(found.table.rows, rows, replace=False))
        found = replace(found, table=found.table.take(part))
    options = TrainOptions(target=target, budget=math.inf, trials=trials, experience=False)
    context = Context(Budget(math.inf, time.monotonic()), executor=ThreadExecutor(1))
    ready = engineer.prepare(found, profile(found, options, context), options, context)
    tried = engineer.experiment(ready, options, context, Past())
    candidates = tried.eligible()
    at = tried.covered(candidates)
    return OutOfFold([tried.oof(c.recipe.name)[at] for c in candidates], tried.fold_of[at], tried.truth(at), tried.weight(at)), tried.metric


def judged(held: OutOfFold, metric: Any) -> dict[str, Any]:
    """Mean log loss without and with calibration, and their paired difference, each fold judged by what the others chose."""
    plain, calibrated, kinds = np.empty(len(held.truth)), np.empty(len(held.truth)), []
    for k in np.unique(held.fold):
        asked = held.fold == k
        weights, calibration = chosen(held.take(~asked), metric, calibrate=True)
        mixed = blend([p[asked] for p in held.candidates], weights)
        plain[asked] = log_loss_rows(held.truth[asked], mixed)
        calibrated[asked] = log_loss_rows(held.truth[asked], calibration.apply(mixed))
        kinds.append(calibration.kind)
    d = mean_of(calibrated - plain)
    verdict = "worse" if d.low is not None and d.low > 0 else "better" if d.high is not None and d.high < 0 else "same"
    told = {"rows": len(held.truth), "plain": float(plain.mean()), "calibrated": float(calibrated.mean())}
    return {**told, "difference": d.value, "low": d.low, "high": d.high, "verdict": verdict, "kinds": {k: kinds.count(k) for k in sorted(set(kinds))}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--data", default=os.environ.get("EMLYN_TEST_DATA", "../shared/data"))
    parser.add_argument("--json", default="")
    asked = parser.parse_args()
    manifest = json.loads((Path(asked.data) / "manifest.json").read_text(encoding="utf-8"))
    names = asked.tables or [n for n, told in manifest.items() if told["task"] != "regression" and told["use"] == "benchmark"]
    found: dict[str, Any] = {}
    for name in names:
        found[name] = judged(*stored(Path(asked.data) / manifest[name]["file"], manifest[name]["target"], asked.rows, asked.trials))
        f = found[name]
        span = "" if f["low"] is None else f" ({f['low']:+.5f} to {f['high']:+.5f})"
        losses = f"plain {f['plain']:.4f} calibrated {f['calibrated']:.4f} {f['difference']:+.5f}{span}"
        print(f"{name:14} n {f['rows']:5} {losses} {f['verdict']} {f['kinds']}", flush=True)
    total = sum(f["difference"] for f in found.values())
    print(f"sum over {len(found)} tables {total:+.5f}; worse beyond noise: {[n for n, f in found.items() if f['verdict'] == 'worse']}")
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
