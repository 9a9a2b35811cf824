"""A table that is large for this machine: made by this script as CSV and Parquet, then trained on by the whole command.

usage: python benchmarks/big.py [--rows 10000000] [--columns 30] [--budget 300] [--format csv] [--memory 8GB] [--folder DIR]
Wall clock and peak memory (resident, shared pages included) are those of the child process, measured from outside. The file is made in blocks and
removed afterwards unless --folder names a place to keep it. A 10,000,000 x 30 CSV takes 2 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BLOCK = 250_000
CITIES, PLANS = 200, 6


def block(rng: np.random.Generator, first: int, rows: int, columns: int) -> dict[str, np.ndarray]:
    """Of ten columns: four measurements with gaps, two counts, two categories, a date, an amount of money written as text; and a yes-or-no target."""
    import pyarrow as pa

    made: dict[str, object] = {}
    signal = np.zeros(rows)
    for j in range(columns - 1):
        kind, gaps = j % 10, rng.random(rows) < 0.02
        if kind < 4:
            values = rng.normal(size=rows)
            signal += np.where(gaps, 0, values) * (0.6 / (1 + j)) + (0.3 * np.sin(3 * values) if j == 1 else 0)
            made[f"measure_{j}"] = pa.array(np.round(values, 4), mask=gaps)
        elif kind < 6:
            made[f"count_{j}"] = pa.array(rng.poisson(20 + j, rows), mask=gaps)
        elif kind < 8:
            levels = CITIES if kind == 6 else PLANS
            codes = rng.integers(0, levels, rows)
            signal += 0.8 * np.sin(codes) / (1 + j / 10)
            made[f"{'city' if kind == 6 else 'plan'}_{j}"] = pa.DictionaryArray.from_arrays(
                pa.array(codes, pa.int32(), mask=gaps), [f"{'city' if kind == 6 else 'plan'} {i}" for i in range(levels)]
            ).cast(pa.string())
        elif kind == 8:
            made[f"day_{j}"] = pa.array(np.datetime64("2015-01-01") + rng.integers(0, 3000, rows).astype("timedelta64[D]"), mask=gaps)
        else:
            amounts = [f"${v:,}" for v in range(1_000, 6_000)]
            made[f"amount_{j}"] = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 5_000, rows), pa.int32(), mask=gaps), amounts).cast(
                pa.string()
            )
    answers = np.where(rng.random(rows) < 1 / (1 + np.exp(-signal)), "yes", "no")
    return {**made, "bought": pa.array(answers)}


def make(path: Path, rows: int, columns: int) -> None:
    """Write the table in blocks, as the ending of `path` says."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    rng, writer = np.random.default_rng(0), None
    for first in range(0, rows, BLOCK):
        table = pa.table(block(rng, first, min(BLOCK, rows - first), columns))
        if writer is None:
            writer = (pyarrow.csv.CSVWriter if path.suffix == ".csv" else pyarrow.parquet.ParquetWriter)(path, table.schema)
        writer.write(table)
    writer.close()


def train(path: Path, budget: float, memory: str) -> dict[str, object]:
    """What the whole command spends, and what it says about the table."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "emlyn", "train", str(path), "--target", "bought", "--budget", f"{budget:g}s", "--json"]
        began = time.monotonic()
        with open(f"{home}/out", "w") as out, open(f"{home}/err", "w") as err:
            command += ["--memory", memory] if memory else []
            child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, "EMLYN_HOME": home})
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        spent = {
            "wall_s": round(time.monotonic() - began, 1), "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "peak_gb": round(used.ru_maxrss / 2**20, 2), "load": os.getloadavg()[1],
        }  # fmt: skip
        if child.returncode:
            return spent | {"failed": Path(f"{home}/err").read_text()[-500:]}
        said = json.loads(Path(f"{home}/out").read_text())
    told = {k: said.get(k) for k in ("rows", "first_model_s", "metric", "verdict")}
    return spent | told | {"score": said["evaluation"][said["metric"]], "members": [t["recipe"] for t in said["leaderboard"] if t["weight"]]}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--rows", type=int, default=10_000_000)
    ask.add_argument("--columns", type=int, default=30)
    ask.add_argument("--budget", type=float, default=300)
    ask.add_argument("--format", choices=["csv", "parquet"], default="csv")
    ask.add_argument("--memory", default="")
    ask.add_argument("--folder", type=Path)
    told = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = (told.folder or Path(folder)) / f"big_{told.rows}_{told.columns}.{told.format}"
        if not path.exists():
            make(path, told.rows, told.columns)
        print(f"{told.rows:,} rows x {told.columns} columns, {path.stat().st_size / 2**20:,.0f} MiB", flush=True)
        print(json.dumps(train(path, told.budget, told.memory)))


if __name__ == "__main__":
    main()
