"""Numbers as people read them, the same in every sentence, table and report."""

from __future__ import annotations

import math

MOST_DIGITS = 7
NOTHING = 1e-15
"""Below it a number is what sums leave over in double precision, and reads 0."""
BARE = {"true", "false", "yes", "no", "y", "n", "t", "f"}
"""Labels that, like all numbers, say nothing without the name of their column."""


def answer(label: str, target: str) -> str:
    """A class as people speak of it: `ill`, but `survived = 1` where the label says nothing by itself."""
    bare = label.casefold() in BARE or label.lstrip("-").replace(".", "", 1).isdigit()
    return f"{target} = {label}" if target and bare else label


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits (more where 0.9996 would else read 1), thousands apart, a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < NOTHING:
        return "0"
    if abs(value) >= 1e15 or abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    while digits < MOST_DIGITS and abs(value) < 1 and abs(round(value, digits)) == 1:
        digits += 1
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: float, digits: int = 3) -> str:
    """The same with its sign: `+0.012`."""
    return f"{'+' if value > 0 else ''}{number(value, digits)}"


def percent(share: float | None, places: int = 0) -> str:
    """A share as a percentage with so many decimals, one at least near its ends."""
    if share is None or not math.isfinite(share):
        return "–"
    value = 100 * share
    return f"{value:.{places}f} %" if abs(value) >= 10 or value == 0 else f"{value:.1f} %" if abs(value) >= 0.1 else "under 0.1 %"
