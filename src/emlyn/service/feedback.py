"""True labels from a table, joined to logged predictions by prediction id or by the caller's own key."""

from __future__ import annotations

import time
from typing import Any

import orjson

from emlyn.core.table import Table
from emlyn.errors import DataError
from emlyn.service.prediction_log import Label, PredictionLog

ID, KEY, LABEL = "prediction_id", "key", "label"
BLOCK = 5_000


def add_labels(log: PredictionLog, table: Table, model: str, target: str, *, key: str = "", by: str = "") -> dict[str, Any]:
    """Store the labels of a raw table: its column `prediction_id`, or `key` (or the one named), and `label` or the target's own name.

    Rows without a label or an id are left out. Returns `labels` (stored), `left_out`, `joined` (predictions of the model that have a label
    now) and `unknown` (ids that the log does not hold). Raises DataError when the columns are not there.
    """
    value = next((name for name in (LABEL, target) if name in table), "")
    who = next((name for name in ((key,) if key else (ID, KEY)) if name in table), "")
    if not value or not who:
        raise DataError(
            "the labels cannot be joined",
            where=f"a table with the columns {', '.join(list(table)[:12])}",
            allowed=f"{ID} or {KEY} (or the column named), and {LABEL} or {target}",
            next_step="rename the columns",
        )
    now, labels = time.time(), []
    for name, answer in zip(table[who].strings().tolist(), table[value].strings().tolist(), strict=True):
        if name is None or answer is None:
            continue
        text = orjson.dumps(answer).decode()
        labels.append(Label(text, name, None, None, now, by) if who == ID else Label(text, None, model, name, now, by))
    unknown = 0
    for start in range(0, len(labels), BLOCK):
        part = labels[start : start + BLOCK]
        log.write(part).result()
        ids = [label.prediction_id for label in part if label.prediction_id]
        unknown += len(set(ids) - log.known(ids)) if ids else 0
    return {"labels": len(labels), "left_out": table.rows - len(labels), "joined": len(log.labelled(model)), "unknown": unknown}
