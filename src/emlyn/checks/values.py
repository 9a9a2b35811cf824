"""Values: far or impossible ones, other units, swapped cells, limits, sums of columns, orders that a few rows break, dates written as numbers."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from emlyn.checks._codes import sentinel_of, top_coded
from emlyn.checks._say import found, given, listed, looked_at, number, parse_with, percent, repair, sample_of, words_of
from emlyn.core.auditing.orders import orders
from emlyn.core.auditing.probe import column_strengths
from emlyn.core.check import Check, Material, Outcome, example_rows, outcome
from emlyn.core.dataset import rows_dataset
from emlyn.plugins import hook
from emlyn.records.finding import Effect, Finding

BOUNDS = {
    "age": (0, 120),
    "ages": (0, 120),
    "percent": (0, 100),
    "pct": (0, 100),
    "percentage": (0, 100),
    "latitude": (-90, 90),
    "lat": (-90, 90),
    "longitude": (-180, 180),
    "lon": (-180, 180),
    "lng": (-180, 180),
    "hour": (0, 24),
    "minute": (0, 60),
    "month": (1, 12),
    "weekday": (0, 7),
    "probability": (0, 1),
    "ph": (0, 14),
}
NOT_NEGATIVE = frozenset(
    ["price", "amount", "count", "quantity", "qty", "weight", "height", "length", "width", "distance", "area", "duration", "size", "carat", "salary"]
)
UNITS = (10.0, 12.0, 25.4, 28.35, 60.0, 100.0, 453.6, 1000.0, 3600.0, 1e4, 1e5, 1e6)
"""Factors between units that people mix up: decimal ones, feet, inches, ounces, pounds, minutes, hours. Smaller ones look like kinds of rows."""
NUMBER_DATES = {"yyyymmdd": "yyyymmdd", "epoch_s": "seconds since 1970", "epoch_ms": "milliseconds since 1970"}
FAR = 20.0
"""Robust z from which a value is far: 0.6745 (x - median) / MAD."""


def far_values(m: Material) -> Outcome:
    """A handful of values far outside all others. Heavy tails are left alone: on the log scale they are not far."""
    findings = []
    for one in looked_at(m, "number"):
        far = _far(one.column.values)
        if far is None:
            continue
        worst = one.column.values[far][np.argmax(np.abs(one.column.values[far]))]
        findings.append(
            found(
                "form.far_values",
                "info",
                (one.name,),
                f"{one.name} has {int(far.sum())} value(s) far outside the rest, up to {number(float(worst))}.",
                detail=f"Robust z above {FAR:g}, also on the log scale; median {number(float(np.nanmedian(one.column.values)))}.",
                n=len(one.known),
                rows=example_rows(far),
                why="Often a typing error or another unit.",
                effect=Effect("share of rows", float(far.mean())),
                fix="look at these rows; nothing was changed",
            )
        )
    return outcome(findings)


def _far(values: np.ndarray) -> np.ndarray | None:
    """Mask (n,) of values that are far, when they are few and stand apart from the tail."""
    known = values[np.isfinite(values)]
    if len(known) < 50 or len(np.unique(known[:2_000])) < 10:
        return None
    far = _robust_z(values, known) > FAR
    if known.min() > 0:
        far &= _robust_z(np.log(np.where(values > 0, values, np.nan)), np.log(known)) > 8
    few = int(far.sum())
    if few == 0 or few > max(3, 0.005 * len(known)):
        return None
    rest, edge = known[~np.isin(known, values[far])], float(np.abs(values[far]).min())
    return far if edge > 2 * np.abs(rest).max() else None


def _robust_z(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    middle = np.median(known)
    spread = np.median(np.abs(known - middle)) or np.abs(known - middle).mean() or np.inf
    with np.errstate(invalid="ignore"):
        z: np.ndarray = np.nan_to_num(0.6745 * np.abs(values - middle) / spread, nan=0.0)
    return z


def impossible(m: Material) -> Outcome:
    """Values that the column's name forbids: ages over 120, shares over 100 %, negative weights, in at most 5 % of the rows."""
    findings = []
    for one in looked_at(m, "number"):
        words = words_of(one.name)
        if "per" in words:
            continue
        low, high = next((BOUNDS[w] for w in words if w in BOUNDS), (0.0, np.inf) if NOT_NEGATIVE & set(words) else (-np.inf, np.inf))
        with np.errstate(invalid="ignore"):
            bad = (one.column.values < low) | (one.column.values > high)
        fine = one.column.values[~bad & np.isfinite(one.column.values)]
        if not 0 < bad.sum() <= 0.05 * max(20, len(one.known)) or len(fine) < 20:
            continue
        if one.column.values[bad].max() > high and np.quantile(fine, 0.99) > low + 0.85 * (high - low):
            continue  # the values run on beyond the bound: the name means something else here
        worst = sorted({number(float(v)) for v in one.column.values[bad]})[:3]
        findings.append(
            found(
                "form.impossible",
                "warn",
                (one.name,),
                f"{one.name} has {int(bad.sum())} value(s) that cannot be: {listed(worst)}.",
                detail=f"By its name it lies between {low:g} and {high:g}; 95 % of the table agrees.",
                n=len(one.known),
                rows=example_rows(bad),
                why="Such cells are errors, and pull on every average.",
                effect=Effect("share of rows", float(bad.mean())),
                fix="look at these rows; nothing was changed",
            )
        )
    return outcome(findings)


def swapped(m: Material) -> Outcome:
    """Rows in which two columns seem to have changed places: each value is unusual in its own column and usual in the other."""
    pool = [one for one in looked_at(m, "number") if len(np.unique(one.known)) > 20][:60]
    ranges = {one.name: _usual(one.known) for one in pool}
    findings = []
    for a, b in combinations(pool, 2):
        (al, ah), (bl, bh) = ranges[a.name], ranges[b.name]
        if not (ah < bl or bh < al) or al == ah or bl == bh:
            continue
        x, y = a.column.values, b.column.values
        strange_x, strange_y = (x >= bl) & (x <= bh), (y >= al) & (y <= ah)
        at = strange_x & strange_y
        if at.sum() < max(3, 0.001 * len(x)) or at.mean() > 0.2 or at.sum() < 0.7 * max(strange_x.sum(), strange_y.sum()):
            continue
        if _told_by_others(m, (a.name, b.name), at):
            continue
        findings.append(
            found(
                "form.swapped",
                "warn",
                (a.name, b.name),
                f"In {int(at.sum())} rows {a.name} and {b.name} seem to have changed places.",
                detail=f"Usual range of {a.name}: {number(al)} to {number(ah)}, of {b.name}: {number(bl)} to {number(bh)}.",
                n=len(x),
                rows=example_rows(at),
                why="Cells in the wrong column teach wrong lessons.",
                effect=Effect("share of rows", float(at.mean())),
                fix="look at these rows; nothing was changed",
            )
        )
    return outcome(findings[:5])


def _usual(known: np.ndarray) -> tuple[float, float]:
    """The range of the middle 90 % of the values."""
    low, high = np.quantile(known, [0.05, 0.95])
    return float(low), float(high)


def capped(m: Material) -> Outcome:
    """Features with a pile of rows at their largest value, or with a code such as 99999 for all beyond: larger ones were cut off there."""
    names, most = [], 0.0
    for one in looked_at(m, "number"):
        values, counts = np.unique(one.known, return_counts=True)
        code = sentinel_of(values, counts)
        if code is not None and code[0] == values[-1] and top_coded(m, one.column, code[0]):
            names.append(f"{one.name} ({number(code[0])})")
            most = max(most, code[1] / len(one.known))
            continue
        if len(values) < 30 or values[-1] in (1.0, 100.0) or len(one.known) < 200:
            continue
        pile = float(counts[-1])
        if pile >= 0.005 * len(one.known) and pile >= 5 * max(1.0, float(counts[-11:-1].mean())) and pile > 2 * counts[-11:-1].max():
            names.append(f"{one.name} ({number(float(values[-1]))})")
            most = max(most, pile / len(one.known))
    if not names:
        return outcome()
    columns = [n.rsplit(" (", 1)[0] for n in names]
    return outcome(
        [
            found(
                "form.capped",
                "info",
                columns,
                f"Values seem to be cut off at the top: {listed(names)}.",
                detail="Five times as many rows at the largest value as near it, or a value such as 99999 whose rows answer like the largest others.",
                fix="kept as it is: it means this much or more",
                why="Beyond the limit the column says nothing more.",
                n=m.raw.rows,
                effect=Effect("share of rows", most),
            )
        ]
    )


def dates_as_numbers(m: Material) -> Outcome:
    """Eight-digit whole numbers that are all calendar days (19800131)."""
    findings, repairs = [], []
    for c in m.card.columns:
        form = next((f for f in c.parse.dates if f in NUMBER_DATES), "")
        if c.kind == "date" and form:
            says = f"{c.name} writes dates as numbers ({NUMBER_DATES[form]}); they were read as dates."
            findings.append(found("form.date_number", "info", (c.name,), says, detail=c.why, n=c.rows, fix="read as dates", applied=True))
    for one in looked_at(m, "number"):
        known = one.known
        if (
            len(known) < 20
            or not np.array_equal(known, np.round(known))
            or known.min() < 19_000_101
            or known.max() > 21_001_231
            or len(np.unique(known)) < 5
        ):
            continue
        month, day = known // 100 % 100, known % 100
        if not ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
            continue
        f = found(
            "form.date_number",
            "info",
            (one.name,),
            f"{one.name} writes dates as eight-digit numbers; they are read as dates.",
            detail="Every value is yyyymmdd.",
            n=len(known),
            fix="read as dates",
        )
        findings.append(f)
        repairs.append(repair(f, one.name, "reads yyyymmdd as dates", kind="date", parse=parse_with(one.card, dates=("yyyymmdd",))))
    return outcome(findings, repairs)


def formula_columns(m: Material) -> Outcome:
    """A column that is the sum or difference of two or three others in (almost) every row."""
    numbers = [one for one in looked_at(m, "number") if len(one.known) > 0.9 * len(one.column) and len(np.unique(one.known)) > 10][:30]
    if len(numbers) < 3:
        return outcome()
    cells = np.column_stack([one.column.values for one in numbers])[:2_000]
    cells = cells[np.isfinite(cells).all(axis=1)]
    findings: list[Finding] = []
    for k, one in enumerate(numbers):
        parts = _sum_of_two(cells, k)
        if parts is not None and len(cells) > 50:
            i, j, sign = parts
            names = (one.name, numbers[i].name, numbers[j].name)
            if not any(set(names) == set(f.columns) for f in findings):
                findings.append(
                    found(
                        "form.formula",
                        "info",
                        names,
                        f"{one.name} is {numbers[i].name} {sign} {numbers[j].name}.",
                        detail="Holds in more than 99 % of the rows.",
                        why="The three columns hold the knowledge of two.",
                        n=len(cells),
                        fix="kept; drivers are read together",
                    )
                )
    return outcome(findings)


def _sum_of_two(cells: np.ndarray, k: int) -> tuple[int, int, str] | None:
    near = 1e-6 * (np.abs(cells[:, k]).mean() + 1e-12)
    few = cells[:25]
    for i, j in combinations([c for c in range(cells.shape[1]) if c != k], 2):
        if (np.abs(few[:, i] + few[:, j] - few[:, k]) <= near).mean() > 0.9 and (
            np.abs(cells[:, i] + cells[:, j] - cells[:, k]) <= near
        ).mean() > 0.99:
            return i, j, "+"
    return None


def order_rules(m: Material) -> Outcome:
    """Pairs of columns with a <= b in more than 99.5 % of the rows, and the rows that break it."""
    columns = {one.name: one.column for one in looked_at(m, "number", "date")}
    broken_by = sorted(((len(rows), a, b, rows) for a, b, rows in orders(columns) if len(rows)), key=lambda o: o[0])[:5]
    if not broken_by:
        return outcome()
    rules = [f"{a} <= {b} ({count} row{'s' if count > 1 else ''})" for count, a, b, _ in broken_by]
    rows = sorted({int(r) for o in broken_by for r in o[3][:5]})
    return outcome(
        [
            found(
                "form.order",
                "info",
                tuple(dict.fromkeys(n for o in broken_by for n in o[1:3])),
                f"A few rows break an order that all others keep: {listed(rules, 3)}.",
                detail="; ".join(rules),
                why="Such rows are often typing errors.",
                n=m.raw.rows,
                rows=tuple(rows[:20]),
                effect=Effect("rows", float(broken_by[0][0])),
                fix="look at these rows; nothing was changed",
            )
        ]
    )


def unit_mix(m: Material) -> Outcome:
    """Columns whose cells carried different units, which were brought to one while reading."""
    return outcome(
        [
            found(
                "form.units",
                "info",
                (card.name,),
                f"{card.name} mixes units ({listed(list(card.parse.scale))}); all were brought to one.",
                detail=f"Factors {card.parse.scale}.",
                n=card.rows,
                fix="converted while reading",
                applied=True,
            )
            for card in m.card.columns
            if len(set(card.parse.scale.values())) > 1
        ]
    )


def unit_error(m: Material) -> Outcome:
    """Numbers in two clouds a power of ten, or a known unit factor, apart."""
    findings = []
    for one in looked_at(m, "number"):
        known = one.known[(one.known > 0) & np.isfinite(one.known)]
        if len(known) < 100 or len(known) < 0.9 * len(one.known) or len(np.unique(known[:2_000])) < 30:
            continue
        split = _two_clouds(np.log10(known))
        if split is None:
            continue
        share, factor, cut = split
        small = one.column.values > cut if (known > cut).mean() < 0.5 else one.column.values <= cut
        if _told_by_others(m, (one.name,), small):
            continue
        findings.append(
            found(
                "form.unit_error",
                "warn",
                (one.name,),
                f"{percent(share)} of {one.name} is about {number(factor)} times the rest, as if written in another unit.",
                detail=f"Two clouds on the log scale with nothing in between; ratio of medians {factor:.4g}.",
                n=len(known),
                effect=Effect("ratio of medians", factor),
                rows=example_rows(small),
                why="One column in two units is two columns in disguise.",
                fix="check the unit; nothing was changed",
            )
        )
    return outcome(findings)


def _told_by_others(m: Material, names: tuple[str, ...], odd: np.ndarray) -> bool:
    """Can another column tell which rows are odd? Then they are a kind of rows, not a slip."""
    rows = sample_of(m, 4_000)
    others = [n for n in given(m.problem).features if n not in names][:60]
    told = column_strengths(rows_dataset(given(m.table).take(rows), odd[rows].astype(np.int64), classes=2), others, m.seed) if others else {}
    return any(s.score > 0.75 for s in told.values())


def _two_clouds(logs: np.ndarray) -> tuple[float, float, float] | None:
    """Share of the smaller cloud, factor and parting value, where one wide gap parts two clouds by a unit's factor."""
    values = np.sort(logs)
    gaps = np.diff(values)
    at = int(np.argmax(gaps))
    low, high = values[: at + 1], values[at + 1 :]
    small, large = sorted((low, high), key=len)
    if len(small) < max(5, 0.002 * len(values)) or len(small) > 0.3 * len(values) or gaps[at] < 3 * np.sort(gaps)[-2]:
        return None
    shift = float(abs(np.median(high) - np.median(low)))
    nearest = min(UNITS, key=lambda f: abs(np.log10(f) - shift))
    alike = 0.2 < (np.quantile(small, 0.75) - np.quantile(small, 0.25)) / max(1e-9, np.quantile(large, 0.75) - np.quantile(large, 0.25)) < 5
    if abs(np.log10(nearest) - shift) > 0.08 or not alike:
        return None
    return len(small) / len(values), 10**shift, float(10 ** ((low[-1] + high[0]) / 2))


@hook
def emlyn_checks() -> list[Check]:
    need = ("table", "problem")
    return [
        Check("form.impossible", "values that the name forbids", need, impossible),
        Check("form.far_values", "values far outside the rest", need, far_values, source="median absolute deviation"),
        Check("form.unit_error", "a part in another unit", need, unit_error),
        Check("form.units", "mixed units", need, unit_mix),
        Check("form.date_number", "dates written as numbers", need, dates_as_numbers),
        Check("form.capped", "features cut off at a limit", need, capped),
        Check("form.swapped", "cells in each other's column", need, swapped, slow=True),
        Check("form.formula", "columns computed from others", need, formula_columns, slow=True),
        Check("form.order", "rows that break an order all others keep", need, order_rules, slow=True),
    ]
