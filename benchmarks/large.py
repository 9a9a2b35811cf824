"""Generated tables of several hundred thousand rows: a folder for `compare.py`, where no real table of that size can be had.

usage: python benchmarks/large.py OUT [--seed 11] [--share 1]
Five kinds of truth: `deep` (two classes: forty random trees of six levels, and shops with effects of their own), `entities` (a number: users and
items with effects and tastes of their own, most of them rare), `terrain` (seven classes: sixty random trees of seven levels, and soils), `smooth` (a
number: waves of single columns and of pairs, errors that grow), `wide` (two classes: a hundred columns, eight of which tell something). The finals
(decision 0020) were made while looking at one draw each of the first three kinds; the seeds from here on, and the last two kinds, were not looked at.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

Chance = np.random.Generator


def trees(x: np.ndarray, rng: Chance, count: int, depth: int, width: int) -> np.ndarray:
    """The sum (n, width) of random trees over numbers, scaled to a spread of about one; splits prefer the first eight columns."""
    total = np.zeros((len(x), width))
    for _ in range(count):
        leaf = np.zeros(len(x), dtype=int)
        for _ in range(depth):
            j = rng.integers(x.shape[1]) if rng.random() < 0.3 else rng.integers(8)
            leaf = 2 * leaf + (x[:, j] > 0.8 * rng.normal())
        total += rng.normal(size=(2**depth, width))[leaf]
    return total / np.sqrt(count)


def numbers(x: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(np.round(x, 3), columns=[f"x{i}" for i in range(x.shape[1])])


def coin(rng: Chance, log_odds: np.ndarray) -> np.ndarray:
    return np.where(rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds)), "yes", "no")


def names(prefix: str, codes: np.ndarray) -> list[str]:
    return [f"{prefix}{c}" for c in codes]


def deep(n: int, rng: Chance) -> pd.DataFrame:
    x, shop, effect = rng.normal(size=(n, 25)), rng.zipf(1.3, n) % 3_000, rng.normal(size=3_000)
    return numbers(x).assign(shop=names("s", shop), y=coin(rng, 1.6 * trees(x, rng, 40, 6, 1)[:, 0] + 0.7 * effect[shop]))


def entities(n: int, rng: Chance) -> pd.DataFrame:
    users, items = 30_000, 4_000
    x, user, item, hour = rng.normal(size=(n, 10)), rng.zipf(1.2, n) % users, rng.zipf(1.25, n) % items, rng.integers(0, 24, n)
    tastes = (rng.normal(size=(users, 2))[user] * rng.normal(size=(items, 2))[item]).sum(axis=1)
    y = 10 + rng.normal(size=users)[user] + rng.normal(size=items)[item] + 0.5 * tastes + 1.5 * trees(x, rng, 20, 4, 1)[:, 0]
    y += np.sin(hour / 24 * 2 * np.pi) + rng.normal(size=n)
    return numbers(x).assign(user=names("u", user), item=names("i", item), hour=hour, y=np.round(y, 3))


def terrain(n: int, rng: Chance) -> pd.DataFrame:
    x, soil = rng.normal(size=(n, 12)), rng.integers(0, 40, n)
    scores = 2.2 * trees(x, rng, 60, 7, 7) + 0.8 * rng.normal(size=(40, 7))[soil]
    return numbers(x).assign(soil=names("soil", soil), y=names("c", (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)))


def smooth(n: int, rng: Chance) -> pd.DataFrame:
    x = rng.normal(size=(n, 20))
    y = sum(rng.normal() * np.sin(rng.uniform(0.5, 2.5) * x[:, j] + rng.uniform(0, 6)) for j in range(12))
    y += sum(rng.normal() * np.tanh(x[:, a] * x[:, b]) for a, b in rng.integers(0, 12, (10, 2)))
    return numbers(x).assign(y=np.round(y + 0.5 * np.exp(0.5 * x[:, 0]) * rng.normal(size=n), 3))


def wide(n: int, rng: Chance) -> pd.DataFrame:
    x = rng.normal(size=(n, 100))
    return numbers(x).assign(y=coin(rng, 1.2 * trees(x[:, rng.permutation(100)[:8]], rng, 30, 4, 1)[:, 0] - 1.5))


KINDS: dict[str, tuple[Callable[[int, Chance], pd.DataFrame], int, str]] = {
    "deep": (deep, 600_000, "binary"),
    "entities": (entities, 750_000, "regression"),
    "terrain": (terrain, 500_000, "multiclass"),
    "smooth": (smooth, 600_000, "regression"),
    "wide": (wide, 450_000, "binary"),
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("out", type=Path)
    ask.add_argument("--seed", type=int, default=11)
    ask.add_argument("--share", type=float, default=1.0, help="of the rows")
    told = ask.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for place, (kind, (make, rows, task)) in enumerate(KINDS.items()):
        name, table = f"{kind}_{told.seed}", make(int(rows * told.share), np.random.default_rng([told.seed, place]))
        table.to_csv(told.out / f"{name}.csv.gz", index=False, compression={"method": "gzip", "compresslevel": 1})
        manifest[name] = {"target": "y", "task": task, "rows": len(table), "use": "benchmark"}
        print(f"{name}: {len(table):,} rows x {table.shape[1]} columns", flush=True)
    (told.out / "manifest.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main()
