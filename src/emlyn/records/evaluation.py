"""What the model is worth, on rows never used for choosing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emlyn.records.finding import Finding


@dataclass(frozen=True)
class Measure:
    """One metric with its interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: str = ""
    """How value and interval were obtained, or why there is no interval."""


@dataclass(frozen=True)
class Verdict:
    """use | use with care | do not use yet, and the single reason."""

    word: str
    why: str
    reasons: tuple[str, ...] = ()
    """Every reason that counted, worst first."""


@dataclass(frozen=True)
class Evaluation:
    """Every metric with its interval, the baseline's, the verdict and what the plots need."""

    metrics: dict[str, Measure]
    baseline: dict[str, Measure]
    rows: int
    method: str
    """sealed rows | cross-validation corrected for selection | external file."""
    openings: int = 0
    """How often the sealed rows have been opened, this time included."""
    comparison: Measure | None = None
    """Paired difference model - baseline in the problem's metric."""
    threshold: float | None = None
    threshold_why: str = ""
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    plots: dict[str, Any] = field(default_factory=dict)
    """Numbers for each plot: `calibration`, `confusion`, `residuals`, `gains`, … The report draws them and computes nothing."""
    sections: dict[str, Any] = field(default_factory=dict)
    """Deeper parts by name (`slices`, `fairness`, `conformal`, `decision`, …), each says what it left out."""


@dataclass(frozen=True)
class Driver:
    """One column's part in the predictions."""

    column: str
    importance: float
    low: float | None = None
    high: float | None = None
    direction: str = ""
    """In words: `higher values raise the prediction`."""
    above_noise: bool | None = None
    partners: tuple[str, ...] = ()
    """Columns it moves together with, permuted as one."""
    curve: tuple[tuple[Any, float], ...] = ()
    """Effect over the column's values (accumulated local effects), in the unit of the prediction."""
    band: tuple[tuple[float, float], ...] = ()
    """For each value of the curve, between what 10 and 90 % of single rows' own centred curves (ICE) lie: wide where rows differ."""


@dataclass(frozen=True)
class Explanation:
    """What drives the model."""

    method: str
    drivers: tuple[Driver, ...]
    rows: int = 0
    reference: str = ""
    """The population that reasons compare against."""
    noise_line: float | None = None
    left_out: str = ""
    """What there was no time to look at."""


@dataclass(frozen=True)
class Reason:
    """One column's push on one row's prediction, in the unit of the (log-odds or plain) score."""

    column: str
    value: Any
    push: float
