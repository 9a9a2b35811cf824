"""The main job on every benchmark table: does it succeed, beat its baseline or say that it cannot, and keep its budget?

usage: python benchmarks/main_job.py [--data ../shared/data] [--budget 20] [--only titanic,adult] --out main_job.jsonl
Runs the whole command, one table after another, each in a workspace of its own; wall clock is measured from outside the process.
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


def run(table: Path, target: str, budget: float) -> dict:
    with tempfile.TemporaryDirectory() as home:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "emlyn", "train", str(table), "--target", target, "--budget", f"{budget:g}s", "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "EMLYN_HOME": home},
            check=False,
        )
        wall = time.monotonic() - began
    if done.returncode:
        return {"wall_s": wall, "failed": done.stderr[-300:]}
    result = json.loads(done.stdout)
    metric = result["metric"]
    score, floor = result["evaluation"][metric], result["baseline"][metric]
    better = score["value"] > floor["value"] if result["direction"] == "maximize" else score["value"] < floor["value"]
    return {
        "wall_s": round(wall, 2),
        "late_s": round(wall - budget, 2),
        "first_model_s": result["first_model_s"],
        "rows": result["rows"],
        "task": result["task"],
        "metric": metric,
        "score": score,
        "baseline": floor["value"],
        "beats_baseline": better,
        "classes": len(result["classes"]),
        "verdict": result["verdict"],
        "why": result["why"],
        "fails": [f["id"] for f in result["findings"] if f["severity"] == "fail"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--budget", type=float, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    manifest = json.loads((Path(given.data) / "manifest.json").read_text())
    with open(given.out, "a") as out:
        for name, facts in manifest.items():
            if (given.only and name not in given.only.split(",")) or facts["use"] != "benchmark":
                continue
            row = {"table": name, "budget": given.budget, **run(Path(given.data) / facts["file"], facts["target"], given.budget)}
            out.write(json.dumps(row) + "\n")
            out.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
