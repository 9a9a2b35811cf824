"""Where a model is weaker than elsewhere: slices found on one half of the rows and confirmed on the other.

The worst of 100 slices of a model without any weak one looks 11 points worse by luck, so what is found never confirms itself, and what
is confirmed goes through false-discovery control (Benjamini and Hochberg 1995). The test of a slice permutes losses: it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.judging.intervals import from_influence
from emlyn.core.judging.ranks import false_discovery
from emlyn.core.table import Column, Table
from emlyn.core.wording import number

TRIED = 12
"""Slices taken from the first half to the second."""
SINGLE = 20
"""Single conditions that are also combined in pairs."""
SHUFFLES = 1_000
SHOWN = 3


@dataclass(frozen=True, eq=False)
class Condition:
    """One rule about one or two columns, and the rows that meet it."""

    rule: str
    columns: tuple[str, ...]
    rows: np.ndarray
    """(n,) bool."""


def slices_section(losses: np.ndarray, table: Table, half: np.ndarray, what: str, seed: int = 0) -> dict[str, Any]:
    """The section `slices` of an evaluation (`stages.evaluate`) for losses (n,) of the table's rows; `half` (n,) bool marks the finders."""
    least = max(30, int(0.02 * len(losses)))
    singles = [c for c in conditions(table) if _enough(c.rows, half, least)]
    if not singles:
        return {"confirmed": [], "tested": 0, "sentence": f"Too few rows to look for weak slices (fewer than {2 * least})."}
    ranked = sorted(singles, key=lambda c: -_excess(losses, c.rows, half))
    pairs = [_both(a, b) for i, a in enumerate(ranked[:SINGLE]) for b in ranked[i + 1 : SINGLE] if a.columns != b.columns]
    every = ranked + [c for c in pairs if _enough(c.rows, half, least)]
    found = sorted(every, key=lambda c: -_excess(losses, c.rows, half))[:TRIED]
    found = [c for c in found if _excess(losses, c.rows, half) > 0]
    p = _chance(losses[~half], np.column_stack([c.rows[~half] for c in found]), seed) if found else np.ones(0)
    adjusted = false_discovery(p)
    kept = [_told(c, losses, ~half, float(q), what) for c, q in zip(found, adjusted, strict=True) if q < 0.05]
    kept = _distinct(sorted(kept, key=lambda s: -s["difference"]["value"]))
    words = [f"where {s['rule']} ({s['n']} rows): {_loss(what, s['loss'])} against {_size(what, s['rest'])}" for s in kept]
    text = "Works less well " + "; ".join(words) + "." if kept else f"No weak slice was confirmed among the {len(every):,} looked at."
    return {"confirmed": kept, "tested": len(found), "looked_at": len(every), "sentence": text}


def conditions(table: Table) -> list[Condition]:
    """Single conditions on every column: quarters of numbers, the more frequent levels, missing cells."""
    return [c for name, column in table.items() if column.kind != "text" for c in _of_column(name, column)]


def _of_column(name: str, column: Column) -> list[Condition]:
    missing = column.missing
    out = [Condition(f"{name} is missing", (name,), missing)] if missing.any() else []
    if column.levels is not None or column.kind == "boolean":
        coded = column.as_coded()
        assert coded.levels is not None
        frequent = np.argsort(-coded.counts(), kind="stable")[:12]
        return out + [Condition(f"{name} is {coded.levels[k]}", (name,), coded.values == k) for k in frequent]
    x = column.values
    edges = np.unique(np.quantile(x[~missing], [0.25, 0.5, 0.75], method="inverted_cdf")) if (~missing).any() else np.zeros(0)
    say = [f"{e:g}" for e in edges]
    with np.errstate(invalid="ignore"):
        out += [Condition(f"{name} is at most {s}", (name,), x <= e) for e, s in zip(edges, say, strict=True)]
        out += [Condition(f"{name} is above {s}", (name,), x > e) for e, s in zip(edges, say, strict=True)]
    return out


def _both(a: Condition, b: Condition) -> Condition:
    return Condition(f"{a.rule} and {b.rule}", tuple(dict.fromkeys(a.columns + b.columns)), a.rows & b.rows)


def _enough(rows: np.ndarray, half: np.ndarray, least: int) -> bool:
    inside = int((rows & ~half).sum())
    return min(inside, int((rows & half).sum())) >= least / 2 and inside <= (~half).sum() - least / 2


def _excess(losses: np.ndarray, rows: np.ndarray, half: np.ndarray) -> float:
    """How many standard errors the slice lies above the rest, on the finders' half."""
    a, b = losses[rows & half], losses[~rows & half]
    if len(a) < 2 or len(b) < 2:
        return -np.inf
    spread = np.sqrt(a.var() / len(a) + b.var() / len(b))
    return float((a.mean() - b.mean()) / spread) if spread > 0 else 0.0


def _chance(losses: np.ndarray, inside: np.ndarray, seed: int) -> np.ndarray:
    """One-sided p (m,) of each slice's mean loss, by permuting the losses of the confirming half."""
    rng = np.random.default_rng(seed)
    seen = losses @ inside
    drawn = np.array([rng.permutation(losses) @ inside for _ in range(SHUFFLES)])
    return np.asarray((1 + (drawn >= seen - 1e-12).sum(axis=0)) / (1 + SHUFFLES))


def _told(c: Condition, losses: np.ndarray, rows: np.ndarray, p: float, what: str) -> dict[str, Any]:
    inside, outside = c.rows & rows, ~c.rows & rows
    a, b = losses[inside], losses[outside]
    moves = np.r_[(a - a.mean()) / len(a), -(b - b.mean()) / len(b)]
    d = from_influence(float(a.mean() - b.mean()), moves)
    text = f"Works less well where {c.rule}: {_loss(what, a.mean())} against {_size(what, b.mean())} elsewhere."
    difference = {"value": d.value, "low": d.low, "high": d.high, "n": len(moves), "method": d.method}
    told = {"rule": c.rule, "columns": list(c.columns), "n": int(inside.sum()), "loss": float(a.mean()), "rest": float(b.mean())}
    return {**told, "difference": difference, "p": p, "sentence": text}


def _loss(what: str, mean: float) -> str:
    """A mean loss in words."""
    return f"{'typical error' if what == 'squared error' else what} {_size(what, mean)}"


def _size(what: str, mean: float) -> str:
    """Squared errors as their root, in the unit of the target."""
    return number(float(np.sqrt(mean) if what == "squared error" else mean))


def _distinct(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most three, no two about the same columns."""
    out: list[dict[str, Any]] = []
    for s in kept:
        if not any(set(s["columns"]) & set(o["columns"]) for o in out):
            out.append(s)
    return out[:SHOWN]
