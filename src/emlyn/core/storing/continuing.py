"""Which stored run `--continue` goes on from, and why it cannot where it cannot."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emlyn.core.storing import registry
from emlyn.core.storing.run_journal import KEPT_DAYS, KEPT_RUNS, code_version, run_of
from emlyn.errors import DataError, ModelError, OptionError
from emlyn.records.data_card import DataCard
from emlyn.records.options import TrainOptions
from emlyn.records.run import ModelVersion

if TYPE_CHECKING:
    from emlyn.core.storing.store import Store

FREE = ("budget", "trials", "continue_", "name", "out", "executor", "jobs", "memory", "experience")
"""Options that may differ: they say how long, where and with what, not what is learned."""
AFRESH = "run the same command without --continue: it starts afresh"


@dataclass(frozen=True)
class Origin:
    """The version that a run goes on from, and the run that made it."""

    version: ModelVersion
    run: str
    score: float = math.nan
    """Its ensemble's, out of fold."""

    @property
    def model(self) -> str:
        return f"{self.version.name}:{self.version.version}"


def version_of(store: Store, name: str) -> ModelVersion:
    """The version to go on from: by name alone the latest, since nobody goes on from an older one without saying so.

    Raises ModelError when there is none.
    """
    if ":" in name or "@" in name:
        return registry.resolve(store, name)
    if not any(v.name == name for v in registry.versions(store)):
        raise ModelError(
            f"there is nothing to continue: no model called {name!r} was trained in this workspace",
            where=str(store.root),
            allowed=", ".join(sorted({v.name for v in registry.versions(store)})[:20]) or "a model that was trained here before",
            next_step="name the model with --name, or run the same command with --budget in place of --continue",
        )
    return registry.resolve(store, f"{name}@{registry.LATEST}")


def origin(store: Store, name: str, card: DataCard, options: TrainOptions) -> Origin:
    """The run of the latest version of `name`, or of the one it says (`NAME:version`, `NAME@alias`).

    Raises ModelError when there is no such version or its trials are not stored any more, DataError when the rows differ, OptionError when what
    the user asks for does; each says what is different.
    """
    version = version_of(store, name)
    found = Origin(version, run_of(store, f"{version.name}:{version.version}") or "")
    lineage = version.lineage
    if lineage is None or not found.run:
        raise ModelError(
            f"the trials of {found.model} are not stored any more",
            where=str(store.root),
            allowed=f"the last {KEPT_RUNS} runs of this workspace, for {KEPT_DAYS} days",
            next_step=AFRESH,
        )
    if lineage.data_digest != card.digest:
        rows = f"{lineage.rows:,} rows then, {card.rows:,} now" if lineage.rows != card.rows else f"{card.rows:,} rows as then, but other content"
        raise DataError(
            f"these are not the data that {found.model} was trained on: {rows}",
            where=card.source,
            allowed=f"the same table ({lineage.data})",
            next_step=f"name another version with --name NAME:VERSION, or {AFRESH}",
        )
    if changed := _changed(lineage.options, options):
        raise OptionError(
            f"other options than those {found.model} was trained with: {changed}",
            where="--continue",
            allowed="the same options; only --budget, --trials, --out, --executor, --jobs and --memory may differ",
            next_step=f"repeat the options of that run, or {AFRESH}",
        )
    if lineage.code_version != code_version():
        raise OptionError(
            f"{found.model} was trained by another version of emlyn: {lineage.code_version} then, {code_version()} now",
            where="--continue",
            allowed="trials of one and the same code",
            next_step=AFRESH,
        )
    ended = store.events(f"run:{found.run}", kind="ensemble")
    return dataclasses.replace(found, score=float(ended[-1].body["data"]["score"])) if ended else found


def _changed(then: TrainOptions, now: TrainOptions) -> str:
    """`target 'a' then, 'b' now; seed 0 then, 1 now`."""
    pairs = ((f.name, getattr(then, f.name), getattr(now, f.name)) for f in dataclasses.fields(TrainOptions) if f.name not in FREE)
    return "; ".join(f"{name} {before!r} then, {after!r} now" for name, before, after in pairs if before != after)
