"""Approved contracts: kept beside a model file that never changes, with who accepted what, when and why."""

from __future__ import annotations

from dataclasses import replace

from emlyn.core.storing.store import Store
from emlyn.records.approval import Approval
from emlyn.records.manifest import Decision

KIND = "approval"


def approve(store: Store, said: Approval, name: str, version: int) -> Approval:
    """Keep an approval: it holds for this model file from now on, and stands in the history of its name."""
    with store.transaction() as t:
        t.append(_stream(said.digest), "approve", said)
        kept = replace(said, at=t.events(_stream(said.digest))[-1].created)
        t.put(KIND, said.digest, kept, replace=True)
        why = f"contract: {'; '.join(change.says for change in said.changes)} ({said.why})"
        t.append(f"model:{name}", "approve", Decision(name, "approve", "", version, version, said.by, "", why))
    return kept


def approved(store: Store | None, digest: str) -> Approval | None:
    """What was approved last for the model file with this digest."""
    if store is None or not digest:
        return None
    with store.reading() as t:
        return t.get(KIND, digest, Approval)


def _stream(digest: str) -> str:
    return f"contract:{digest}"
