"""What one row costs in process, on one core: the model's own door against its members' own fastest single-row calls; and a million rows at once.

    OMP_NUM_THREADS=1 python benchmarks/latency.py MODEL ROWS.csv [--rows 1000000]

One row: `Model.predict_one(record)`, contract and calibration included, against the sum over members of the quickest call that their library
offers for one encoded row: LightGBM's prepared single-row call of its C interface, CatBoost's `predict` of a list of cells, coefficients times
the design's row, other members' `predict`. Each of these is asked again and again by itself (`members_fastest_us`), and all of them one after
another for each row (`members_in_turn_us`), as a model has to. Batch: the file's rows,
repeated, through `Model.predict` (contract, encoding, members) against the members' own predict on the encoded matrix.
CPU microseconds (`process_time`), medians over blocks of calls, so that other work beside it weighs little.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.features.prep import encoded
from emlyn.core.models.model import Model
from emlyn.core.reader import read
from emlyn.core.storing import registry
from emlyn.core.storing.workspace import Workspace
from emlyn.core.tables.contract import conform, conform_records

BLOCKS, CALLS = 15, 100


def cpu(call: Callable[[int], object], blocks: int = BLOCKS, calls: int = CALLS) -> float:
    """Median microseconds of CPU per call."""
    found = []
    for i in range(calls):
        call(i)
    for _ in range(blocks):
        began = time.process_time()
        for i in range(calls):
            call(i)
        found.append((time.process_time() - began) / calls * 1e6)
    return statistics.median(found)


def quickest(fitted: Any, rows: list[Dataset]) -> Callable[[int], object]:
    """The quickest call its library offers for one ready row, which is named by its place."""
    name = type(fitted).__name__
    if name == "FittedLightGBM":
        ready = [np.ascontiguousarray(fitted.prep.matrix(r).dense) for r in rows]
        call = fitted._ready(ready[0].shape[1], fitted.steps)
        return lambda i: call(ready[i])
    if name == "FittedCatBoost" and fitted.model is not None:
        from emlyn.learners.catboost import layout_of

        matrices = [fitted.prep.matrix(r) for r in rows]
        codes, numbers, names = layout_of(matrices[0])
        lists = [[*m.dense[0, numbers].tolist(), *(names[-1 if c != c else int(c)].decode() for c in m.dense[0, codes])] for m in matrices]
        return lambda i: fitted.model.predict(lists[i], prediction_type="RawFormulaVal", thread_count=1)
    if name == "FittedLinear" and not fitted.text:
        ready, weights = [fitted.design.transform(encoded(r)) for r in rows], fitted.model.coefficients.astype(np.float32)
        return lambda i: ready[i] @ weights + fitted.model.intercept
    return lambda i: fitted.predict(rows[i])


def prepared(model: Model, records: list[dict[str, Any]]) -> list[Dataset]:
    """Each record as a dataset whose encoded row is there."""
    found = []
    for record in records:
        data = rows_dataset(conform_records([record], model.contract).table, classes=len(model.problem.classes))
        data.shared["encoder"] = model.encoder
        encoded(data)
        found.append(data)
    return found


def one_row(model: Model, records: list[dict[str, Any]]) -> dict[str, Any]:
    rows = prepared(model, records)
    calls = {m.recipe.name: [quickest(f, rows) for f in m.fitted] for m in model.members}
    every = [call for found in calls.values() for call in found]
    parts = {name: sum(map(cpu, found)) for name, found in calls.items()}
    alone, in_turn = sum(parts.values()), cpu(lambda i: [call(i) for call in every])
    whole = cpu(lambda i: model.predict_one(records[i]))
    return {
        "predict_one_us": round(whole, 1),
        "members_fastest_us": round(alone, 1),
        "ratio": round(whole / alone, 2),
        "members_in_turn_us": round(in_turn, 1),
        "ratio_in_turn": round(whole / in_turn, 2),
        "members": {name: {"models": len(calls[name]), "fastest_us": round(us, 1)} for name, us in parts.items()},
    }


def batch(model: Model, path: str, rows: int) -> dict[str, Any]:
    table = read(path).table
    table = table.take(np.arange(rows) % table.rows)
    began = time.process_time()
    model.predict(table)
    whole = time.process_time() - began
    data = rows_dataset(conform(table, model.contract).table, classes=len(model.problem.classes))
    data.shared["encoder"] = model.encoder
    encoded(data)
    began = time.process_time()
    for member in model.members:
        for fitted in member.fitted:
            fitted.predict(data)
    own = time.process_time() - began
    return {"rows": rows, "predict_s": round(whole, 1), "members_s": round(own, 1), "ratio": round(whole / own, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the batch; 0 leaves it out")
    said = parser.parse_args()
    store = None if said.model.endswith(registry.FILE) else Workspace.find().open_store()
    model = Model.load(registry.load(registry.resolve(store, said.model)).under("model/"))
    with gzip.open(said.file, "rt") if said.file.endswith(".gz") else open(said.file) as file:
        records = [dict(row) for _, row in zip(range(CALLS), csv.DictReader(file), strict=False)]
    found = {"columns": len(model.contract.columns), "one_row": one_row(model, records)}
    print(json.dumps({**found, "batch": batch(model, said.file, said.rows)} if said.rows else found, indent=1))


if __name__ == "__main__":
    main()
