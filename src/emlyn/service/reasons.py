"""Why this answer: the columns that push each row's score, from the explainer plug-in that knows the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.core.dataset import Dataset
from emlyn.core.shapes import cell
from emlyn.records.evaluation import Reason


def reasons(model: Any, data: Dataset) -> list[tuple[Reason, ...]]:
    """Per unit its pushes, strongest first; those whose sign the ensemble's members do not agree on are left out."""
    said = (explainer.pushes(model, data) for explainer in plugins.collect("explainers")) if len(data) else ()
    found = next((pushes for pushes in said if pushes is not None), None)
    if found is None:
        return [()] * len(data)
    columns = [data.rows[name] for name in found.columns]
    order = np.argsort(-np.abs(found.values), axis=1, kind="stable")
    return [
        tuple(
            Reason(found.columns[j], cell(columns[j], unit), float(found.values[i, j]))
            for j in order[i].tolist()
            if found.steady[i, j] and found.values[i, j] != 0.0
        )
        for i, unit in enumerate(data.units.tolist())
    ]
