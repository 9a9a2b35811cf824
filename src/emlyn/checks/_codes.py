"""Numbers that stand apart: codes for "no value", told from limits at which larger values were cut off."""

from __future__ import annotations

import numpy as np

from emlyn.checks._say import answer_share, number, two_sided
from emlyn.core.check import Material
from emlyn.core.table import Column

SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 9.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, 666.0, 777.0, 888.0, -88.0, -77.0)
SPIKES = (666.0, 777.0, 888.0, 999.0, 9999.0, 99999.0)
ABOVE, FEWEST = 0.9, 10


def sentinel_of(values: np.ndarray, counts: np.ndarray) -> tuple[float, int, bool, str] | None:
    """(value, copies, safe to repair, why), where one stands out."""
    if len(values) < 8 or counts.sum() < 30:
        return None
    for edge, inner in ((0, values[1:]), (-1, values[:-1])):
        value, copies, span = float(values[edge]), int(counts[edge]), float(np.ptp(inner))
        if value not in SENTINELS or copies < 2 or len(inner) < 5:
            continue
        gap = float(abs(value - (inner[0] if edge == 0 else inner[-1])))
        alone = edge == 0 and value < 0 and inner[0] >= 0 and (copies >= 0.005 * counts.sum() or value < -5)
        if gap > 0.25 * max(span, 1e-300) or (alone and span > 5):
            usual = float(values[np.searchsorted(np.cumsum(counts), 0.75 * counts.sum())])
            safe = (value < -5 and (alone or gap > span)) or (value > 0 and gap > span and inner[-1] < 20 * max(usual, 1e-300) and value >= 99)
            return value, copies, bool(safe), f"All other values lie between {number(float(inner[0]))} and {number(float(inner[-1]))}."
    for value in SPIKES:
        at = np.searchsorted(values, value)
        if at < len(values) and values[at] == value and 0 < at < len(values) - 1:
            near = counts[max(0, at - 20) : at + 21]
            if counts[at] >= 10 and counts[at] > 8 * np.sort(near)[-2]:
                return float(value), int(counts[at]), False, "It comes far more often than any value near it."
    return None


def top_coded(m: Material, column: Column, value: float) -> bool:
    """Is this largest value a limit rather than a code for "no value"? The answers decide.

    Rows without a value answer like the table on average; rows beyond a limit answer like the rows just below it. The value is a limit where its
    rows (ten at least) depart from the average the same way as the tenth of the other rows above 0 with the largest values, at least half as far,
    and both beyond z = 4. Without a target this cannot be told, and the answer is no.
    """
    if m.data is None:
        return False
    cells, share = column.values, answer_share(m)
    known = np.isfinite(cells)
    at, rest = cells == value, known & (cells < value) & (cells > 0)
    if at.sum() < FEWEST or rest.sum() < 10 * FEWEST or (known & (cells > value)).any():
        return False
    upper = rest & (cells >= np.quantile(cells[rest], ABOVE))
    here, near = (_departure(share, mask) for mask in (at, upper))
    if max(two_sided(here[1]), two_sided(near[1])) > two_sided(4.0):
        return False
    return here[0] * near[0] > 0 and abs(here[0]) >= 0.5 * abs(near[0])


def _departure(share: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """How far the mean answer of these rows lies from that of all, and the z of it."""
    gap = float(share[mask].mean() - share.mean())
    return gap, gap / max(1e-12, float(share.std()) / np.sqrt(mask.sum()))
