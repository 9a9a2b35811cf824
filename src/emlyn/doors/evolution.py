"""A new table held against a model (`audit NEW --against MODEL`): what its contract does not expect, and the step that approves it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from emlyn import engineer
from emlyn.core.models.model import Model
from emlyn.core.storing import approvals, registry
from emlyn.core.storing.store import Store
from emlyn.core.storing.workspace import Workspace
from emlyn.core.table import Table
from emlyn.core.tables.evolve import amended, changes
from emlyn.errors import DataError, OptionError
from emlyn.records.approval import Approval
from emlyn.records.codec import to_plain
from emlyn.records.run import ModelVersion


def names_model(against: Any) -> bool:
    """Does `--against` name a model rather than a table? Files that exist are tables, unless they end in `.emlyn`.

    A name with a point looks like a file that is not there: with an alias or a version it is a model's.
    """
    if not isinstance(against, str) or against.endswith(registry.FILE):
        return isinstance(against, str)
    said = registry.REFERENCE.fullmatch(against)
    return not Path(against).exists() and said is not None and bool("." not in against or said["alias"] or said["version"])


def held_against(reference: str, raw: Table, source: str, why: str | None = None) -> dict[str, Any]:
    """How the table differs from what the model's contract expects; with `why`, the differences are approved for this model.

    Raises ModelError for an unknown model, OptionError for a model file that is not registered, DataError where a change needs a new model.
    """
    with Workspace.find().open_store() as store:
        version = registry.resolve(store, reference)
        model = Model.load(registry.load(version).under("model/"))
        before = approvals.approved(store, version.digest)
        contract = before.contract if before else model.contract
        known = {model.problem.target, *model.problem.excluded}
        found = [c for c in changes(raw, contract) if not (c.code == "new" and c.column in known)]
        kept = before
        if why is not None and (open_ := [c for c in found if c.code != "new"]):
            kept = _approve(store, version, Approval(_label(version), version.digest, contract, tuple(open_), source, engineer.who(), why))
    return {
        "model": _label(version),
        "changes": [{**to_plain(change), "effect": effect_of(change.code)} for change in found],
        "approved": None if kept is None else {"by": kept.by, "at": kept.at, "why": kept.why, "changes": [c.says for c in kept.changes]},
        "approved_now": kept is not before,
    }


def _approve(store: Store, version: ModelVersion, asked: Approval) -> Approval:
    if not version.artifact:
        raise OptionError(
            "a model file by itself has nowhere to keep an approval",
            where=f"--against {version.path}",
            allowed="a registered model: NAME, NAME@alias, NAME:VERSION",
            next_step="`emlyn models` lists the registered ones",
        )
    if not asked.why.strip():
        raise OptionError("an approval needs a reason", where="--approve", allowed="a sentence", next_step="say what changed, and why it is right")
    stuck = [change for change in asked.changes if not change.approvable]
    if stuck:
        raise DataError(
            f"{'this change needs' if len(stuck) == 1 else f'{len(stuck)} changes need'} a new model: {'; '.join(c.says for c in stuck[:3])}",
            where=f"{asked.source}, against {asked.model}",
            allowed="wider ranges, new levels, new gaps and broken orders can be approved; a column that is gone or means something else cannot",
            next_step="nothing was approved; mend the column, or train again on the new table (emlyn train)",
        )
    return approvals.approve(store, replace(asked, contract=amended(asked.contract, asked.changes)), version.name, version.version)


def effect_of(code: str) -> str:
    """What the approval of a change of this kind does to the answers, in a few words."""
    return {
        "range": "such values are expected from now on; the model was never taught them",
        "level": "answered as a level unknown to the model, and no longer reported",
        "empty": "answered as missing instead of refused, and still reported when unreadable",
        "rule": "no longer reported",
        "new": "nothing to approve",
    }.get(code, "needs a new model")


def _label(version: ModelVersion) -> str:
    return f"{version.name}:{version.version}" if version.artifact else version.path
