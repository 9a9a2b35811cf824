"""What an explainer is: pushes of source columns on the score of single rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from emlyn.core.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Pushes:
    """How far each source column moves each row's score away from the reference."""

    columns: tuple[str, ...]
    values: np.ndarray
    """(n, columns) in `unit`; for classes towards the label that `towards` names: the positive one of two, the most probable of more."""
    steady: np.ndarray
    """(n, columns) bool: models of the ensemble agree on the sign (at least 80 % of their weight)."""
    unit: str
    """`log-odds` or the target's name."""
    reference: str
    """The population or row that is compared with."""
    towards: tuple[str, ...] = ()
    """(n,) label per row; empty for numbers."""


class Explainer(Protocol):
    """Gives reasons for single rows of some models."""

    name: str

    def pushes(self, model: Any, data: Dataset) -> Pushes | None:
        """Pushes for the dataset's units by this model (`core.model.Model`); None when this way has nothing to say about it."""
