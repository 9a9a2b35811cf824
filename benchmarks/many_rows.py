"""What leading many rows through LightGBM's trees in blocks is worth: `Booster.predict` as it is against emlyn's call of it, the same numbers.

    python benchmarks/many_rows.py

Models of random data; the least of three calls each, in turn, one thread up to 500 rows and two beyond.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import lightgbm
import numpy as np

from emlyn.learners._lightgbm_trees import THREADED_ROWS, many_rows

CASES = [(9, 2_700, 30, 4), (20, 1_000, 63, 1), (20, 150, 31, 1), (300, 600, 31, 1), (10, 300, 31, 10)]
"""(features, rounds, leaves, classes; 1 for numbers)."""
ROWS = (20, 100, 500, 5_000, 50_000)


def least(call: Callable[..., object], *given: object, **said: object) -> float:
    """Seconds of the quickest of three calls."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        call(*given, **said)
        found.append(time.perf_counter() - began)
    return min(found)


def booster(rng: np.random.Generator, features: int, rounds: int, leaves: int, classes: int) -> lightgbm.Booster:
    x = rng.normal(size=(6_000, features)).astype(np.float32)
    y = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=len(x))
    said = {"objective": "regression", "learning_rate": 0.02, "num_leaves": leaves, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 2}
    if classes > 1:
        y = np.digitize(y, np.quantile(y, np.linspace(0, 1, classes + 1)[1:-1]))
        said |= {"objective": "multiclass", "num_class": classes}
    return lightgbm.train(said, lightgbm.Dataset(x, y), rounds)


def main() -> None:
    rng = np.random.default_rng(0)
    for features, rounds, leaves, classes in CASES:
        made = booster(rng, features, rounds, leaves, classes)
        for n in ROWS:
            rows, threads = rng.normal(size=(n, features)).astype(np.float32), 2 if n > THREADED_ROWS else 1
            whole, ours = least(made.predict, rows, raw_score=True, num_threads=threads), least(many_rows, made, rows, None, 2)
            told = f"{features} features, {rounds} rounds, {leaves} leaves, {classes} classes"
            print(f"{told}, {n:6} rows: {whole * 1e3:9.2f} ms as it is, {ours / whole:.2f} of that in blocks", flush=True)


if __name__ == "__main__":
    main()
