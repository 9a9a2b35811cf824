"""What the checks share: building findings and repairs, picking columns, a few statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from emlyn.core.check import Material
from emlyn.core.splits import count_twins
from emlyn.core.table import Column, Table
from emlyn.records.data_card import ColumnCard, Parse
from emlyn.records.finding import Finding
from emlyn.records.repair import Repair
from emlyn.types import Severity

T = TypeVar("T")
TWINS_FROM = 0.01
SEPARATORS = re.compile(r"[_\W]+|(?<=[a-z0-9])(?=[A-Z])")


def words(text: str) -> frozenset[str]:
    """A set of words, written in one line."""
    return frozenset(text.split())


def given(part: T | None) -> T:
    """A part of the material that the check declared: the dispatcher has made sure that it is there."""
    assert part is not None
    return part


def found(code: str, severity: Severity, columns: Sequence[str], message: str, **more: Any) -> Finding:
    """A finding whose id follows from its code and columns; `more`: any other field of `Finding`."""
    name = f"{code}:{'+'.join(columns[:4])}" if columns else code
    return Finding(id=name, code=code, severity=severity, message=message, columns=tuple(columns), **more)


def repair(finding: Finding, column: str, says: str, **change: Any) -> Repair:
    """The repair that a finding asks for; `change`: kind, parse, role, safe, drop_rows."""
    return Repair(finding=finding.id, code=finding.code, column=column, says=says, **change)


def parse_with(card: ColumnCard, **change: Any) -> Parse:
    return replace(card.parse, **change)


@dataclass(frozen=True, eq=False)
class Looked:
    """One column under inspection."""

    name: str
    card: ColumnCard
    column: Column

    @property
    def known(self) -> np.ndarray:
        """Values of the cells that have one (m,)."""
        values: np.ndarray = self.column.values[~self.column.missing]
        return values


def looked_at(m: Material, *kinds: str, features_only: bool = True) -> Iterator[Looked]:
    """The typed columns of these kinds (all when none is named), the features alone unless said otherwise."""
    features = frozenset(given(m.problem).features)
    for name, column in given(m.table).items():
        if (not kinds or column.kind in kinds) and (not features_only or name in features):
            yield Looked(name, m.card.column(name), column)


def words_of(name: str) -> list[str]:
    """The lower-case words of a column's name: `paidTotal_2` -> paid, total, 2."""
    return [w.casefold() for w in SEPARATORS.split(name) if w]


def percent(share: float) -> str:
    """A share for people: 0.4 %, 12 %."""
    value = 100 * share
    return f"{value:.2g} %" if value < 1 else f"{value:.0f} %" if value < 99.5 or share == 1 else f"{value:.1f} %"


def number(value: float) -> str:
    """A number for people: at most four significant digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence: a, b, c and 12 more."""
    shown = ", ".join(str(n)[:40] for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def wilson(hits: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """The Wilson interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    p, extra = hits / n, z * z / n
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + extra)
    middle = (p + extra / 2) / (1 + extra)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def newcombe(hits: tuple[float, float], n: tuple[float, float]) -> tuple[float, float, float]:
    """The difference of two shares with its interval (Newcombe 1998, method 10)."""
    p1, p2 = hits[0] / n[0], hits[1] / n[1]
    (l1, u1), (l2, u2) = wilson(hits[0], n[0]), wilson(hits[1], n[1])
    d = p1 - p2
    return d, float(d - np.hypot(p1 - l1, u2 - p2)), float(d + np.hypot(u1 - p1, p2 - l2))


def two_sided(z: float) -> float:
    """Two-sided p-value of a standard normal z."""
    return math.erfc(abs(z) / math.sqrt(2))


def difference_p(hits: tuple[float, float], n: tuple[float, float]) -> float:
    """Two-sided p-value that two shares are equal (pooled z-test; both samples have at least ten rows)."""
    pooled = (hits[0] + hits[1]) / (n[0] + n[1])
    error = math.sqrt(max(pooled * (1 - pooled) * (1 / n[0] + 1 / n[1]), 1e-300))
    return two_sided((hits[0] / n[0] - hits[1] / n[1]) / error)


def sample_of(m: Material, most: int) -> np.ndarray:
    """Positions of at most so many rows of the material, in order."""
    n = m.raw.rows
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(m.seed).choice(n, most, replace=False))


def answer_share(m: Material) -> np.ndarray:
    """One number per row (n,) that says which way the answer goes: the number itself, the positive class, or the commonest class of several."""
    data = given(m.data)
    answers = given(data.answers)
    if not data.classes:
        return answers.astype(np.float64)
    if data.classes == 2:
        return np.asarray(answers == 1, dtype=np.float64)
    return np.asarray(answers == np.bincount(answers.astype(np.int64)).argmax(), dtype=np.float64)


def has_twins(whole: Table, features: Sequence[str]) -> bool:
    """Do at least five rows, and 1 % of all, have a twin with the same features, as copies and not by coincidence?"""
    rows, copied = count_twins(whole, features, TWINS_FROM)
    return copied and rows >= 5
