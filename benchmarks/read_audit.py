"""Reading and profiling a large table beside the bare reader: wall clock, CPU seconds, peak memory, each in a process of its own.

    python benchmarks/read_audit.py --rows 1000000 --columns 100
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def make(path: Path, rows: int, columns: int) -> None:
    """Mixed types with known shares: of ten columns, four numbers, two whole numbers, two categories, one date, one amount in text; 2 % gaps."""
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, rows, 250_000):
        n = min(250_000, rows - start)
        block = {f"{'nnnniiccda'[j % 10]}{j}": column(rng, j % 10, n) for j in range(columns)}
        table = pa.table(block)
        writer = writer or pyarrow.csv.CSVWriter(path, table.schema)
        writer.write(table)
    assert writer is not None
    writer.close()


def column(rng: np.random.Generator, kind: int, n: int) -> object:
    import pyarrow as pa

    gaps = rng.random(n) < 0.02
    if kind < 4:
        return pa.array(np.round(rng.normal(size=n), 4), mask=gaps)
    if kind < 6:
        return pa.array(rng.integers(0, 1000, n), mask=gaps)
    if kind < 8:
        codes = pa.array(rng.integers(0, 50, n), pa.int32(), mask=gaps)
        return pa.DictionaryArray.from_arrays(codes, [f"level_{i}" for i in range(50)]).cast(pa.string())
    if kind == 8:
        return pa.array(np.datetime64("2015-01-01") + rng.integers(0, 3000, n).astype("timedelta64[D]"), mask=gaps)
    amounts = [f"${v:,}" for v in rng.integers(1_000, 99_999, 5_000)]
    return pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 5_000, n), pa.int32(), mask=gaps), amounts).cast(pa.string())


def measure(what: str, path: str) -> dict[str, float]:
    """What one process spends; imports are not counted."""
    import pyarrow.csv

    from emlyn.context import Budget, Context
    from emlyn.core.reader import read
    from emlyn.core.tables.contract import conform, contract_of
    from emlyn.records.options import TrainOptions
    from emlyn.stages.profile import profile

    context = Context(Budget(1e9, time.monotonic()))
    wall, cpu = time.perf_counter(), time.process_time()
    if what == "bare":
        pyarrow.csv.read_csv(path)
    else:
        found = read(path)
        if what != "read":
            card = profile(found, TrainOptions(), context)
            if what == "conform":
                conform(found.table, contract_of(card, table=found.table))
    return {
        "wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--rows", type=int, default=1_000_000)
    ask.add_argument("--columns", type=int, default=100)
    ask.add_argument("--file", type=Path)
    ask.add_argument("--measure", choices=["bare", "read", "profile", "conform"])
    told = ask.parse_args()
    if told.measure:
        print(json.dumps(measure(told.measure, str(told.file))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = told.file or Path(folder) / "table.csv"
        if not path.exists():
            make(path, told.rows, told.columns)
        print(f"{told.rows:,} rows x {told.columns} columns, {path.stat().st_size / 2**20:,.0f} MiB")
        for what, says in {"bare": "pyarrow alone", "read": "read", "profile": "read + profile", "conform": "read + profile + conform"}.items():
            done = subprocess.run([sys.executable, __file__, "--measure", what, "--file", str(path)], capture_output=True, text=True, check=True)
            print(f"{says:26s}", json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
