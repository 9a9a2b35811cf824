"""Do counterfactuals hold? For rows of three tables: the share that flips the stored model, keeps what cannot change, and is feasible.

    python benchmarks/counterfactuals.py [--rows 100] [--trials 4] [--data FOLDER] [--json OUT]

Per table: `train --trials`, then counterfactuals for rows drawn at random, with immutable columns. Valid means that the row with the
changed cells, written as a person would write it, gets the wanted answer from the stored model; feasible that it lies no farther from existing rows
with that answer than 99 % of existing rows lie from their nearest. Counted per counterfactual; `answered` is the share of rows that got one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

import emlyn  # noqa: E402
from emlyn.core.tables.frames import to_table  # noqa: E402
from emlyn.doors.recourse import Recourse  # noqa: E402

TABLES = {
    "german_credit": ("class", ["age", "personal_status"]),
    "telco_churn": ("churn", ["female", "senior_citizen"]),
    "adult": ("income", ["age", "sex", "race"]),
}
MOST = 4_000


def measured(path: Path, target: str, immutable: list[str], rows: int, trials: int) -> dict[str, Any]:
    table = pd.read_csv(path)
    table = table.sample(min(MOST, len(table)), random_state=0).reset_index(drop=True)
    run = emlyn.train(table, target=target, trials=trials, jobs=1, name="recourse")
    cells = table.drop(columns=target)
    began = time.process_time()
    recourse = Recourse(run.model.model, to_table(cells), [c for c in immutable if c in {r.name for r in run.model.model.contract.columns}])
    asked = np.random.default_rng(1).choice(len(cells), min(rows, len(cells)), replace=False)
    changed, wanted, feasible, kept, sizes, answered = [], [], [], [], [], 0
    for i in asked.tolist():
        told = recourse.of(to_table(cells.iloc[[i]]))["counterfactuals"]
        answered += bool(told)
        for c in told:
            then = {change["column"]: change["then"] for change in c["changes"]}
            changed.append(cells.iloc[[i]].astype(object).assign(**then))
            wanted.append(c["wanted"])
            feasible.append(c["feasible"])
            kept.append(not set(then) & set(immutable))
            sizes.append(len(then))
    seconds = time.process_time() - began
    valid = run.model.predict(pd.concat(changed)) == np.array(wanted, dtype=object)
    return {
        "rows": len(asked),
        "answered": answered / len(asked),
        "counterfactuals": len(changed),
        "valid": float(np.mean(valid)),
        "feasible": float(np.mean(feasible)),
        "immutable kept": float(np.mean(kept)),
        "cells changed": float(np.mean(sizes)),
        "cpu seconds per row": seconds / len(asked),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--data", default=os.environ.get("EMLYN_TEST_DATA", "../shared/data"))
    parser.add_argument("--json", default="")
    asked = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EMLYN_HOME"] = folder
        for name, (target, immutable) in TABLES.items():
            found[name] = measured(Path(asked.data) / f"{name}.csv.gz", target, immutable, asked.rows, asked.trials)
            print(name, found[name], flush=True)
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
