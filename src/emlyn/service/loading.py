"""From a model's name to a warm scorer, and the watch over aliases: when one moves, the new version takes over without a dropped request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from emlyn.core.models.model import Model
from emlyn.core.storing import approvals, registry
from emlyn.core.storing.store import Store
from emlyn.errors import EmlynError
from emlyn.records.run import ModelVersion
from emlyn.service.metrics import Metrics
from emlyn.service.pool import Pool, Served
from emlyn.service.scorer import Scorer, margin_of

logger = logging.getLogger("emlyn.service")


@dataclass(frozen=True, eq=False)
class Loader:
    """Opens model versions, verified before anything is read from them."""

    store: Store | None
    """None serves model files alone."""
    require_signature: bool = False
    public_keys: Sequence[bytes] = ()

    def resolve(self, spec: str) -> ModelVersion:
        """The version that a name, alias or path means now; `OTHER=spec` serves it under another name. Raises ModelError."""
        other, given, rest = spec.partition("=")
        renamed = bool(given and registry.NAME.fullmatch(other))
        found = registry.resolve(self.store, rest if renamed else spec)
        return replace(found, name=other) if renamed else found

    def mark(self, version: ModelVersion) -> str:
        """Changes when the version, or what was approved for it, does."""
        approval = approvals.approved(self.store, version.digest)
        return f"{version.digest} {approval.at}" if approval else version.digest

    def open(self, version: ModelVersion) -> Served:
        """The version, loaded, warmed up and ready to answer. Raises ModelError for a file that is not what was registered."""
        found = registry.load(version, require_signature=self.require_signature, public_keys=self.public_keys)
        model = Model.load(found.under("model/"))
        if approval := approvals.approved(self.store, version.digest):
            model = model.with_contract(approval.contract)
        scorer = Scorer(model, margin_of(_sections(found.parts.get("evidence.json"))))
        scorer.warm_up()
        return Served(version.name, str(version.version), scorer)


class _Evaluation(msgspec.Struct):
    sections: dict[str, Any] = {}


class _Evidence(msgspec.Struct):
    """The little of the evidence that serving needs: whatever else a newer or older emlyn wrote there does not matter here."""

    evaluation: _Evaluation


def _sections(evidence: bytes | None) -> dict[str, Any]:
    return msgspec.json.decode(evidence, type=_Evidence).evaluation.sections if evidence else {}


@dataclass(eq=False)
class Watcher:
    """Keeps the pool as the registry says. `specs` are served by their names; the first is the default."""

    pool: Pool
    loader: Loader
    specs: Sequence[str]
    poll_s: float
    metrics: Metrics
    _now: dict[str, str] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def start(self) -> None:
        """Load every model once, before the first request. Raises ModelError for one that cannot be opened."""
        for spec in self.specs:
            version = self.loader.resolve(spec)
            self._serve(spec, version, self.loader.open(version))

    async def look(self) -> list[str]:
        """Ask what every alias means now, and swap what moved; returns the labels that took over.

        The old version stays when the new one cannot be opened.
        """
        moved = []
        async with self._lock:
            for spec in self.specs:
                try:
                    version = await asyncio.to_thread(self.loader.resolve, spec)
                    if self._now.get(spec) == await asyncio.to_thread(self.loader.mark, version):
                        continue
                    served = await asyncio.to_thread(self.loader.open, version)
                except (EmlynError, SQLAlchemyError, OSError) as error:
                    logger.warning("%s stays as it is: %s", spec, error)
                    continue
                self._serve(spec, version, served)
                self.metrics.swaps.labels(served.name).inc()
                logger.info("%s takes over as %s", served.label, spec)
                moved.append(served.label)
        return moved

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look every `poll_s` seconds while the block runs; 0 never looks."""

        async def keep_looking() -> None:
            while True:
                await asyncio.sleep(self.poll_s)
                await self.look()

        task = asyncio.create_task(keep_looking()) if self.poll_s > 0 and self.specs else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _serve(self, spec: str, version: ModelVersion, served: Served) -> None:
        before = self.pool.lanes.get(served.name)
        if before is not None and spec not in self._now:  # a second version of the same model, asked for by its number
            self.pool.add(served)
        else:
            self.pool.put(served)
        self._now[spec] = self.loader.mark(version)
        self.metrics.loaded.clear()
        for name, lane in self.pool.lanes.items():
            for number in lane.versions:
                self.metrics.loaded.labels(name, number).set(1)
