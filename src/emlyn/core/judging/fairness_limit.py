"""A fairness limit as a user says it: METRIC=LIMIT."""

from __future__ import annotations

from dataclasses import dataclass

from emlyn.errors import OptionError

METRICS = {
    "selection": "the share flagged",
    "tpr": "the share of positives found",
    "fpr": "the share of negatives flagged wrongly",
    "precision": "the share of flags that are right",
    "error": "the share answered wrongly",
}
"""What a gap between groups may be counted in, in words."""


@dataclass(frozen=True)
class Limit:
    """The largest difference between any two groups that is accepted."""

    metric: str
    most: float

    @property
    def words(self) -> str:
        return METRICS[self.metric]


def limit_of(said: str) -> Limit:
    """`tpr=0.05` as a limit. Raises OptionError for an unknown metric, or a limit that is not between 0 and 1."""
    name, _, most = str(said).partition("=")
    try:
        value = float(most)
    except ValueError:
        value = float("nan")
    if name.strip() not in METRICS or not 0 < value < 1:
        raise OptionError(
            f"--fair {said}",
            allowed=f"METRIC=LIMIT, where METRIC is one of {', '.join(METRICS)} and LIMIT lies between 0 and 1",
            next_step="for example: --fair tpr=0.05 --sensitive sex",
        )
    return Limit(name.strip(), value)
