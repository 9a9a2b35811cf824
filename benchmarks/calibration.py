"""Does calibration help? Log loss of models as they ship against the same models without their calibration, on rows held out.

    python benchmarks/calibration.py [TABLE ...] [--budget 10] [--folds 3] [--data FOLDER] [--json OUT]

Per table and fold: `Classifier` learns from two thirds (the split of `compare.py`), the last third is answered with and without the map.
The difference is the mean over held-out rows of all folds with its 95 % interval; below zero, calibration helps. Answers that ship are means
over bags of fold models and more timid than the out-of-fold answers which the map is fitted on, so it must be judged on these.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from compare import split
from emlyn import Classifier
from emlyn.core.dataset import rows_dataset
from emlyn.core.judging.intervals import mean_of
from emlyn.core.judging.metrics import log_loss_rows
from emlyn.core.models.calibration import Calibration
from emlyn.core.tables.contract import conform
from emlyn.core.tables.frames import to_table


def judged(table: pd.DataFrame, facts: dict[str, Any], folds: int, budget: float) -> dict[str, Any]:
    """Mean log loss without and with the map, and their paired difference over the held-out rows of all folds."""
    target, plain, calibrated, slopes = facts["target"], [], [], []
    for fold in range(folds):
        train, test = split(table, target, facts["task"], fold)
        fitted = Classifier(budget=budget, random_state=0).fit(train.drop(columns=target), train[target])
        model = fitted.model_
        asked = rows_dataset(conform(to_table(test.drop(columns=target)), model.contract).table, classes=len(fitted.classes_))
        truth = np.searchsorted(fitted.classes_, test[target])
        plain.append(log_loss_rows(truth, replace(model, calibration=Calibration()).predict_answers(asked)))
        calibrated.append(log_loss_rows(truth, model.predict_answers(asked)))
        slopes.append(round(model.calibration.slope, 2))
    without, with_it = np.concatenate(plain), np.concatenate(calibrated)
    d = mean_of(with_it - without)
    verdict = "worse" if d.low is not None and d.low > 0 else "better" if d.high is not None and d.high < 0 else "same"
    told = {"rows": len(without), "plain": float(without.mean()), "calibrated": float(with_it.mean())}
    return {**told, "difference": d.value, "low": d.low, "high": d.high, "verdict": verdict, "slopes": slopes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--budget", type=float, default=10.0)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=os.environ.get("EMLYN_TEST_DATA", "../shared/data"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    manifest = json.loads((asked.data / "manifest.json").read_text(encoding="utf-8"))
    names = asked.tables or [n for n, facts in manifest.items() if facts["task"] != "regression" and facts.get("use") != "audit"]
    found: dict[str, Any] = {}
    for name in names:
        table = pd.read_csv(asked.data / f"{name}.csv.gz", low_memory=False)
        f = found[name] = judged(table, manifest[name], asked.folds, asked.budget)
        span = "" if f["low"] is None else f" ({f['low']:+.5f} to {f['high']:+.5f})"
        losses = f"plain {f['plain']:.4f} calibrated {f['calibrated']:.4f} {f['difference']:+.5f}{span}"
        print(f"{name:24} n {f['rows']:5} {losses} {f['verdict']} {f['slopes']}", flush=True)
    total = sum(f["difference"] for f in found.values())
    print(f"sum over {len(found)} tables {total:+.5f}; worse beyond noise: {[n for n, f in found.items() if f['verdict'] == 'worse']}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
