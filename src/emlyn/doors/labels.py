"""`emlyn feedback MODEL LABELS`: late true labels from a file, into the log that the server writes."""

from __future__ import annotations

import contextlib
from typing import Any

from emlyn.core.reader import read
from emlyn.core.storing import registry
from emlyn.core.storing.durable import make_folder
from emlyn.core.storing.workspace import Workspace
from emlyn.service.feedback import add_labels
from emlyn.service.prediction_log import PredictionLog


def feedback(model: str, labels: Any, *, key: str = "", log: str = "", home: str | None = None) -> dict[str, Any]:
    """Join a source of labels; `log` is the server's `--log`, `key` the column with the caller's own keys.

    Returns `model` and what `add_labels` counts. Raises DataError, ModelError, WorkspaceError.
    """
    workspace = Workspace.find(home)
    with workspace.open_store() as store:
        version = registry.resolve(store, model)
    opened = PredictionLog(log or f"sqlite:///{make_folder(workspace.root) / 'predictions.db'}")
    with contextlib.closing(opened):
        return {"model": version.name, **add_labels(opened, read(labels).table, version.name, version.target, key=key, by="emlyn feedback")}
