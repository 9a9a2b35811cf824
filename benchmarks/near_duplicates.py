"""The rule of structure.near_twins, rows that repeat another one but for one cell: tables as they are against planted copies.

    python benchmarks/near_duplicates.py --data ../shared/data

A row is near where it equals another row in all features but one and is no exact twin. Coincidences are told from copies as for exact twins: where
rows are alike by chance, far more would be alike if two columns were left out. Designs, in which one thing is measured at several settings, are told
by the one column that differs. Planted: a tenth of the rows written again with one cell taken from another row.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

MOST_COLUMNS, MOST_ROWS = 24, 6_000


def near(t: pd.DataFrame, seed: int = 0) -> tuple[int, int, int, float]:
    """Rows with a twin, alike in all columns but one, in all but two (each without those before); the share of one column."""
    t = t.sample(min(MOST_ROWS, len(t)), random_state=seed)
    rng = np.random.default_rng(seed)
    codes = [pd.factorize(t[c], use_na_sentinel=False)[0] for c in t]
    cells = np.stack([rng.integers(0, 2**62, c.max() + 1, dtype=np.int64)[c] for c in codes])
    with np.errstate(over="ignore"):
        whole = cells.sum(axis=0)
        exact = repeated(whole)
        by = np.array([repeated(whole - cells[i]) & ~exact for i in range(len(cells))])
        one = by.any(axis=0)
        two = np.logical_or.reduce([repeated(whole - cells[i] - cells[j]) for i, j in combinations(range(len(cells)), 2)]) & ~exact & ~one
    return int(exact.sum()), int(one.sum()), int(two.sum()), float(by.sum(axis=1).max() / max(1, one.sum()))


def repeated(codes: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    return counts[inverse] > 1


def planted(t: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    again = t.iloc[rng.choice(len(t), max(2, len(t) // 10), replace=False)].copy().reset_index(drop=True)
    for i, column in enumerate(rng.integers(0, t.shape[1], len(again))):
        again.isetitem(int(column), again.iloc[:, column].where(np.arange(len(again)) != i, t.iloc[rng.integers(len(t)), column]))
    return pd.concat([t, again]).sample(frac=1, random_state=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    manifest = json.loads((Path(args.data) / "manifest.json").read_text())
    told = {"as they are": 0, "with copies": 0}
    for name, entry in manifest.items():
        t = pd.read_csv(Path(args.data) / entry["file"]).drop(columns=entry["target"])
        if not 3 <= t.shape[1] <= MOST_COLUMNS:
            continue
        t = t.sample(min(2_000, len(t)), random_state=0)
        said = []
        for kind, table in (("as they are", t), ("with copies", planted(t, np.random.default_rng(0)))):
            exact, one, two, most = near(table)
            flagged = one > 0.01 * len(table) and one > two and most < 0.5
            told[kind] += flagged
            said.append(f"{kind}: twins {exact}, all but one {one}, all but two {two}, most by one column {most:.2f}{' TOLD' if flagged else ''}")
        print(f"{name:16s} {len(t):5d} x {t.shape[1]:2d}  " + "; ".join(said), flush=True)
    print(told)


if __name__ == "__main__":
    main()
