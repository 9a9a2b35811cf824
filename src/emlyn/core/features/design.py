"""Features on one scale, without gaps, for linear models and networks. Medians, scales and knots come from the fit rows of a fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from emlyn.core.features.prep import Matrix
from emlyn.core.models.parts import require

ONE_HOT = 30
"""Codes of a category that get an indicator each; codes are ordered by frequency, so these are the most frequent."""
KNOTS = 6
SPLINED = 30
"""Numbers that get a spline, those with the most different values first."""
BALANCED = 0.5
"""Spread given to every indicator, that of a balanced one (Gelman 2008): divided by their own, rare levels would escape the penalty."""
REACH = 4.0
"""Standardised numbers are drawn smoothly into about this range on either side."""
FAR = 1e9
"""Where a standardised number has long come to the edge of that range: squares of numbers much further away would leave single precision."""


@dataclass(eq=False)
class Design:
    """Numbers: centred at the median, scaled robustly, squashed smoothly, gaps at 0 with an indicator. Codes: one indicator each."""

    numbers: np.ndarray
    """(a,) features that are numbers and vary."""
    middle: np.ndarray
    scale: np.ndarray
    """(a,) float32."""
    gaps: np.ndarray
    """(b,) positions in `numbers` with "no value" in the fit rows."""
    codes: list[tuple[int, int]]
    """(feature, indicators)."""
    splined: np.ndarray
    """(c,) positions in `numbers` that get hinges."""
    knots: np.ndarray
    """(c, KNOTS) on the squashed scale; NaN where there are fewer."""
    centre: np.ndarray
    """(width,) means and spreads of everything on the fit rows."""
    spread: np.ndarray

    @staticmethod
    def learn(matrix: Matrix, splines: bool = False, one_hot: int = ONE_HOT, skip: frozenset[int] = frozenset()) -> tuple[Design, np.ndarray]:
        """A design and the fit rows in it. `skip`: numbers left out."""
        numbers = np.array([j for j in range(matrix.dense.shape[1]) if j not in matrix.levels and j not in skip], dtype=np.int64)
        values = matrix.dense[:, numbers].astype(np.float64)
        known = np.isfinite(values).sum(axis=0)
        numbers, values = numbers[known > 0], values[:, known > 0]
        if values.size:
            low, quarter, middle, three, high = _quantiles(values, np.array([0, 0.25, 0.5, 0.75, 1]))
        else:
            low = quarter = middle = three = high = np.zeros(values.shape[1])
        # the interquartile range over that of a normal; half the full range where half the cells are equal (RealMLP, Holzmüller et al. 2024)
        scale = np.where(three > quarter, (three - quarter) / 1.349, (high - low) / 2)
        gaps = np.flatnonzero(np.isnan(values).any(axis=0))
        codes = [(j, min(size, one_hot)) for j, size in matrix.levels.items()]
        middle, scale = middle.astype(np.float32), np.where(scale > 0, scale, 1).astype(np.float32)
        none, no_knots = np.zeros(0), np.zeros((0, KNOTS), dtype=np.float32)
        made = Design(numbers, middle, scale, gaps, codes, none.astype(np.int64), no_knots, none, none)
        if splines:
            made._place_knots(made._squashed(matrix.dense))
        raw = made._raw(matrix)
        made.centre = raw.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = raw.std(axis=0, dtype=np.float64)
        indicators = slice(len(numbers), len(numbers) + len(gaps) + sum(k for _, k in codes))
        constant = spread <= 1e-6
        spread[indicators] = BALANCED
        made.spread = np.where(constant, np.inf, spread).astype(np.float32)
        return made, made._standard(raw)

    def transform(self, matrix: Matrix) -> np.ndarray:
        """(n, width) float32, finite; features that did not vary are 0."""
        return self._alone.transform(matrix.dense) if len(matrix) == 1 else self._standard(self._raw(matrix))

    @cached_property
    def _alone(self) -> Designs:
        return Designs([self])

    def _standard(self, raw: np.ndarray) -> np.ndarray:
        return np.asarray((raw - self.centre) / self.spread, dtype=np.float32)

    def _squashed(self, dense: np.ndarray) -> np.ndarray:
        return squashed(dense[:, self.numbers], self.middle, self.scale)

    def _place_knots(self, squashed: np.ndarray) -> None:
        distinct = np.array([len(np.unique(c[np.isfinite(c)][:5000])) for c in squashed.T], dtype=np.int64)
        chosen = [int(j) for j in np.argsort(-distinct, kind="stable")[:SPLINED] if distinct[j] > 4]
        self.splined = np.array(sorted(chosen), dtype=np.int64)
        self.knots = np.full((len(chosen), KNOTS), np.nan, dtype=np.float32)
        for i, j in enumerate(self.splined):
            column = squashed[:, j]
            found = np.unique(np.quantile(column[np.isfinite(column)], np.linspace(0, 1, KNOTS + 2)[1:-1]))
            self.knots[i, : len(found)] = found

    def _raw(self, matrix: Matrix) -> np.ndarray:
        z = self._squashed(matrix.dense)
        blocks = [np.isnan(z[:, self.gaps]).astype(np.float32)]
        z = np.nan_to_num(z, nan=0.0)
        blocks += [(matrix.dense[:, [j]] == np.arange(k, dtype=np.float32)).astype(np.float32) for j, k in self.codes]
        if len(self.splined):
            hinges = np.maximum(z[:, self.splined][:, :, None] - self.knots, 0)
            blocks.append(np.nan_to_num(hinges, nan=0.0).reshape(len(z), self.knots.size))
        return np.hstack([z, *blocks])

    def features(self) -> np.ndarray:
        """For each column of the design, the matrix feature it comes from (width,)."""
        blocks = [self.numbers, self.numbers[self.gaps], *(np.full(k, j) for j, k in self.codes), np.repeat(self.numbers[self.splined], KNOTS)]
        return np.concatenate(blocks).astype(np.int64)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        names = ("numbers", "middle", "scale", "gaps", "splined", "knots", "centre", "spread")
        return {"codes": [list(c) for c in self.codes]}, {name: getattr(self, name) for name in names}

    @staticmethod
    def load(state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Design:
        """The reverse of `state`. Raises ModelError for arrays that do not fit each other."""
        made = Design(codes=[(int(j), int(k)) for j, k in state["codes"]], **{name: arrays[name] for name in Design.load_names()})
        a = len(made.numbers)
        width = a + len(made.gaps) + sum(k for _, k in made.codes) + made.knots.size
        require(made.middle.shape == made.scale.shape == (a,), "scales and features differ in number")
        require(made.knots.shape == (len(made.splined), KNOTS), "knots and features differ in number")
        require(made.centre.shape == made.spread.shape == (width,), "the design has another width")
        require(all(0 <= k <= 1000 for _, k in made.codes), "an impossible number of codes")
        require(bool((made.gaps < a).all() and (made.splined < a).all()), "a feature outside the design")
        return made

    @staticmethod
    def load_names() -> tuple[str, ...]:
        return ("numbers", "middle", "scale", "gaps", "splined", "knots", "centre", "spread")


class Designs:
    """Designs of one layout, as the folds of a bag mostly have, and one row for each: the same operations on fewer and prepared arrays."""

    def __init__(self, designs: Sequence[Design]) -> None:
        first = designs[0]
        self.numbers, self.gaps, self.splined = first.numbers, first.gaps, first.splined
        held = {name: np.stack([getattr(d, name) for d in designs]) for name in ("middle", "scale", "centre", "spread", "knots")}
        self.middle, self.scale, self.centre, self.spread, knots = held.values()
        self.knots = np.where(np.isnan(knots), np.float32(np.inf), knots)
        a, b, sizes = len(self.numbers), len(self.gaps), np.array([k for _, k in first.codes], dtype=np.int64)
        self.gap_places = slice(a, a + b)
        self.code_features, self.code_sizes = np.array([j for j, _ in first.codes], dtype=np.int64), sizes.astype(np.float32)
        self.code_places = a + b + np.concatenate([[0], np.cumsum(sizes)])[: len(sizes)].astype(np.int64)
        # the standardised row in which everything is 0, and the one in which everything is 1
        self.empty = np.asarray(-self.centre / self.spread, dtype=np.float32)
        self.full = np.asarray((1 - self.centre) / self.spread, dtype=np.float32)

    @staticmethod
    def alike(designs: Sequence[Design]) -> bool:
        first, places = designs[0], ("numbers", "gaps", "splined")
        return all(d.codes == first.codes and all(np.array_equal(getattr(d, name), getattr(first, name)) for name in places) for d in designs)

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Rows (designs, p) float32, one for each, as (designs, width) float32."""
        out = self.empty.copy()
        z = squashed(rows[:, self.numbers], self.middle, self.scale)
        gaps = np.isnan(z)
        if gaps.any():
            z[gaps] = 0.0
            known = gaps[:, self.gaps]
            out[:, self.gap_places][known] = self.full[:, self.gap_places][known]
        a = z.shape[1]
        out[:, :a] = (z - self.centre[:, :a]) / self.spread[:, :a]
        codes = rows[:, self.code_features]
        design, code = np.nonzero(codes < self.code_sizes)  # false where there is no code
        places = self.code_places[code] + codes[design, code].astype(np.int64)
        out[design, places] = self.full[design, places]
        if len(self.splined):
            hinges = np.maximum(z[:, self.splined][:, :, None] - self.knots, np.float32(0)).reshape(len(out), -1)
            at = out.shape[1] - hinges.shape[1]
            out[:, at:] = (hinges - self.centre[:, at:]) / self.spread[:, at:]
        return out


def squashed(numbers: np.ndarray, middle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Numbers (n, a) float32, standardised and drawn smoothly into `REACH` on either side; NaN stays."""
    with np.errstate(over="ignore"):
        z = np.minimum(np.maximum((numbers - middle) / scale, np.float32(-FAR)), np.float32(FAR))
    return np.asarray(z / np.sqrt(1 + (z / np.float32(REACH)) ** 2), dtype=np.float32)


def _quantiles(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Quantiles of each column (m, p) of what is known; all columns without gaps at once, because one by one thousands take seconds."""
    found, gaps = np.empty((len(at), values.shape[1])), np.isnan(values).any(axis=0)
    found[:, ~gaps] = np.quantile(values[:, ~gaps], at, axis=0)
    if gaps.any():
        found[:, gaps] = np.nanquantile(values[:, gaps], at, axis=0)
    return found
