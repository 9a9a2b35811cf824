"""Do the default intervals hold their 95 %? Draws samples from known worlds, counts how often the interval holds the truth.

    python benchmarks/coverage.py [--draws 2000] [--only roc_auc,log_loss] [--json OUT]

Worlds: two classes at 2, 10 and 50 % with normal scores two classes apart by 1.4 (ROC area .84), probabilities right or distorted
(slope .7); numbers with normal, skewed and heavy-tailed errors. Truth is the metric on two million rows. A cell counts towards the
promise when it expects at least 20 rows of each class; refusals ("too few events for an interval") are counted beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from emlyn.core.judging.answers import Answers, measure_all  # noqa: E402
from emlyn.core.judging.intervals import paired_difference  # noqa: E402
from emlyn.core.judging.metrics import metric  # noqa: E402
from emlyn.records.problem import Problem  # noqa: E402

SIZES, PREVALENCES = (100, 1_000, 10_000), (0.02, 0.10, 0.50)
APART, BIG = 1.4, 2_000_000
COMPARED = ("roc_auc", "average_precision", "log_loss", "brier", "accuracy")
SKIPPED = ("ici", "spiegelhalter_z", "min_recall")


def classes(n: int, prevalence: float, slope: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (n,), probabilities (n, 2), and those of a second model that sees a noisier score."""
    y = (rng.uniform(size=n) < prevalence).astype(np.int64)
    x = rng.normal(size=n) + APART * y
    z = x + 0.7 * rng.normal(size=n)
    base = np.log(prevalence / (1 - prevalence))
    p = 1 / (1 + np.exp(-slope * (base + APART * x - APART**2 / 2)))
    q = 1 / (1 + np.exp(-(base + (APART * z - APART**2 / 2) / 1.49)))
    return y, np.column_stack([1 - p, p]), np.column_stack([1 - q, q])


def numbers(n: int, world: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=n)
    noise = {"normal": rng.normal(size=n), "skewed": rng.exponential(size=n) - 1, "heavy": rng.standard_t(5, size=n)}[world]
    return 30 + 2 * x + noise, (30 + 1.8 * x)[:, None]


def measures(cell: dict, n: int, rng: np.random.Generator) -> dict:
    """Every interval of one draw."""
    if "world" in cell:
        y, p = numbers(n, cell["world"], rng)
        return measure_all(Answers(y, p), Problem("regression", "y", "rmse", "minimize"))
    y, p, q = classes(n, cell["prevalence"], cell["slope"], rng)
    problem = Problem("binary", "y", "roc_auc", "maximize", ("no", "yes"), "yes")
    found = measure_all(Answers(y, p, threshold=cell["prevalence"]), problem)
    for name in COMPARED:
        found[f"difference: {name}"] = paired_difference(metric(name), y, p, q)[0]
    return found


def run(cell: dict, draws: int, only: set[str]) -> dict:
    truth = {k: m.value for k, m in measures(cell, BIG, np.random.default_rng(99)).items() if k not in SKIPPED and (not only or k in only)}
    held, given, above = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    rng = np.random.default_rng(cell["n"])
    for _ in range(draws):
        found = measures(cell, cell["n"], rng)
        for k, value in truth.items():
            m = found.get(k)
            if m is not None and m.low is not None and m.high is not None:
                given[k] += 1
                held[k] += m.low <= value <= m.high
                above[k] += value > m.high
    def told(k: str) -> dict:
        coverage = held[k] / given[k] if given[k] else None
        return {"coverage": coverage, "above": above[k] / max(given[k], 1), "refused": 1 - given[k] / draws}

    return {k: told(k) for k in truth}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--only", default="")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    only, sizes = set(filter(None, options.only.split(","))), [int(s) for s in options.sizes.split(",")]
    cells = [{"n": n, "prevalence": p, "slope": s} for n in sizes for p in PREVALENCES for s in (1.0, 0.7)]
    cells += [{"n": n, "world": w} for n in sizes for w in ("normal", "skewed", "heavy")]
    told = []
    for cell in cells:
        began = time.monotonic()
        found = run(cell, options.draws, only)
        counts = "world" in cell or cell["n"] * min(cell["prevalence"], 1 - cell["prevalence"]) >= 20
        told.append({**cell, "counts": counts, "found": found})
        print(f"\n{cell} {'' if counts else '(fewer than 20 events expected: not promised)'} {time.monotonic() - began:.0f} s", flush=True)
        for k, v in found.items():
            mark = "" if v["coverage"] is None or abs(v["coverage"] - 0.95) <= 0.02 or not counts else "  <-- off"
            covered = "-" if v["coverage"] is None else format(v["coverage"], ".3f")
            print(f"  {k:32s} {covered}  truth above {v['above']:.3f}  refused {v['refused']:.2f}{mark}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(told, out, indent=1)


if __name__ == "__main__":
    main()
