"""Are budgets kept? The whole command on many tables and budgets, wall clock from the start of the process to its end.

usage: python benchmarks/deadline.py --data ../shared/data --out deadline.jsonl [--budgets 5,10,20,60] [--only glass,ames] [--runs 1] [--busy K]
Each run has a workspace of its own. Late is what lies beyond the budget by more than max(2 %, 1 s). `--busy K` keeps K processes computing beside it
all the time. Rows already in --out are skipped; at the end (and with nothing left to run) it prints, per budget and K: runs, failures, share kept,
the latest end, the median share of the budget used, and when the first usable model was there.
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

SPIN = "import os\nwhile os.getppid() == {}: sum(i * i for i in range(100000))"


def run(table: Path, target: str, budget: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "emlyn", "train", str(table), "--target", target, "--budget", f"{budget:g}s", "--json"]
        began = time.monotonic()
        with open(f"{home}/out", "w") as out, open(f"{home}/err", "w") as err:
            child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, "EMLYN_HOME": f"{home}/work"})
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        row = {"wall_s": round(wall, 2), "cpu_s": round(used.ru_utime + used.ru_stime, 2), "peak_gb": round(used.ru_maxrss / 2**20, 2)}
        if child.returncode:
            return row | {"failed": Path(f"{home}/err").read_text()[-300:]}
        said = json.loads(Path(f"{home}/out").read_text())
    return row | {"first_model_s": said["first_model_s"], "members": sum(bool(t["weight"]) for t in said["leaderboard"])}


def show(rows: list[dict]) -> None:
    for busy, budget in sorted({(r["busy"], r["budget"]) for r in rows}):
        own = [r for r in rows if (r["busy"], r["budget"]) == (busy, budget)]
        done = [r for r in own if "failed" not in r]
        late = np.array([r["wall_s"] - budget for r in done] or [0.0])
        first = [r["first_model_s"] for r in done if r["first_model_s"] is not None]
        print(
            f"{busy} busy beside, {budget:g} s: {len(own)} runs, {len(own) - len(done)} failed, kept {np.mean(late <= max(0.02 * budget, 1.0)):.1%}, "
            f"latest {late.max():+.2f} s, median {np.median(late + budget) / budget:.0%} used, "
            f"first model median {np.median(first or [np.nan]):.1f} s, within 3 s {np.mean([f <= 3 for f in first] or [0]):.0%}, "
            f"none {len(done) - len(first)}"
        )


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--data", type=Path, default=Path("../shared/data"))
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--budgets", default="5,10,20,60")
    ask.add_argument("--only", default="")
    ask.add_argument("--runs", type=int, default=1)
    ask.add_argument("--busy", type=int, default=0)
    told = ask.parse_args()
    rows = [json.loads(line) for line in told.out.read_text().splitlines()] if told.out.exists() else []
    known = {(r["table"], r["budget"], r["run"], r["busy"]) for r in rows}
    others = [subprocess.Popen([sys.executable, "-c", SPIN.format(os.getpid())]) for _ in range(told.busy)]
    try:
        for name, facts in json.loads((told.data / "manifest.json").read_text()).items():
            if (told.only and name not in told.only.split(",")) or facts["use"] != "benchmark":
                continue
            for budget in map(float, told.budgets.split(",")):
                for number in range(told.runs):
                    if (name, budget, number, told.busy) in known:
                        continue
                    found = run(told.data / facts["file"], facts["target"], budget)
                    rows.append({"table": name, "budget": budget, "run": number, "busy": told.busy, "load": round(os.getloadavg()[0], 1), **found})
                    with told.out.open("a") as out:
                        out.write(json.dumps(rows[-1]) + "\n")
                    print(rows[-1], flush=True)
    finally:
        for process in others:
            process.kill()
    show(rows)


if __name__ == "__main__":
    main()
