"""The service: what happens between a parsed request and its answer, the same for every protocol."""

from __future__ import annotations

import asyncio
import functools
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson

from emlyn.errors import WorkspaceError
from emlyn.service.limits import LogSettings, Settings, TooMuch
from emlyn.service.metrics import Metrics
from emlyn.service.pool import Pool, Served
from emlyn.service.prediction_log import Entry, PredictionLog, Record, Reply
from emlyn.service.scorer import Answer

IDS = 256
INLINE_S = 0.005
"""Requests expected to cost less than this are scored on the event loop: a hop to a thread and back costs more than it frees."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request in the service's own terms."""

    rows: Sequence[Row]
    model: str = ""
    version: str = ""
    reasons: int = 0
    """How many reasons to give for each row."""
    keys: Sequence[str | None] = ()
    """The caller's own key of each row, by which true labels may come later."""
    ids: Sequence[str] = ()
    """Prediction ids chosen by the caller (SageMaker's Inference-Id); made here when empty."""


@dataclass(frozen=True, slots=True)
class Told:
    """The answers to one request, in the order of its rows."""

    served: Served
    role: str
    ids: Sequence[str]
    answers: Sequence[Answer]


@dataclass(eq=False)
class Service:
    """The pool, the log and the limits, joined."""

    pool: Pool
    log: PredictionLog | None
    settings: Settings = field(default_factory=Settings)
    metrics: Metrics = field(default_factory=Metrics)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "scoring"))
    busy: int = 0
    """Requests being worked on."""
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _draw: random.Random = field(default_factory=random.Random)
    _ids: list[str] = field(default_factory=list)
    """Prediction ids not given out yet."""
    _waiting: list[tuple[Sequence[Entry], asyncio.Future[None]]] = field(default_factory=list)
    """Entries of the requests that wait for the next commit."""

    async def predict(self, ask: Ask, *, acknowledge: bool = True, keep: Callable[[Told], Reply] | None = None) -> Told:
        """Check, score and record. With `acknowledge` the record is committed when this returns; `keep` makes the reply stored with it.

        Raises TooMuch for more rows than allowed, ModelError for a model that is not served, WorkspaceError when the record cannot be written.
        """
        if len(ask.rows) > self.settings.limits.rows:
            raise TooMuch(
                f"{len(ask.rows):,} rows in one request", 413, allowed=f"at most {self.settings.limits.rows:,}; use `emlyn predict` for larger tables"
            )
        served, role, shadow = self.pool.choose(ask.model, ask.version, self._draw.random())
        answers = await self.score(served, ask)
        told = Told(served, role, ask.ids or [self._new_id() for _ in answers], answers)
        self._count(told)
        await self.record(told, ask, acknowledge and self.settings.log.acknowledge, () if keep is None else (keep(told),))
        if shadow is not None:
            task = asyncio.create_task(self._shadow(shadow, told, ask))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        return told

    async def score(self, served: Served, ask: Ask) -> list[Answer]:
        """Answers alone, unrecorded: on the event loop where that is quick, otherwise on a thread."""
        if served.scorer.cost(len(ask.rows), ask.reasons) < INLINE_S:
            return served.scorer.answer(ask.rows, ask.reasons)
        return await asyncio.get_running_loop().run_in_executor(self.threads, served.scorer.answer, ask.rows, ask.reasons)

    async def record(self, told: Told, ask: Ask, acknowledge: bool, replies: Sequence[Reply] = ()) -> None:
        """Write the answers to the log. Refused rows were not answered and are not recorded."""
        settings = self.settings.log
        if self.log is None:
            return
        sampled = settings.sample >= 1 or self._draw.random() < settings.sample
        entries = [*(records(told, ask, settings) if sampled else ()), *replies]
        if not entries:
            return
        if not acknowledge:
            self.log.write(entries)
            return
        try:
            await self._committed(entries)
        except WorkspaceError:
            self.metrics.unlogged.inc()
            raise

    def _committed(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        """Resolves after the commit. Requests that are answered in one turn of the event loop share one."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)
        self._waiting.append((entries, done))
        return done

    def _commit(self) -> None:
        assert self.log is not None
        group, self._waiting = self._waiting, []
        if self.log.commit_now([entry for entries, _ in group for entry in entries]):
            for _, done in group:
                if not done.done():
                    done.set_result(None)
            return
        for entries, done in group:
            asyncio.wrap_future(self.log.write(entries)).add_done_callback(functools.partial(_pass_on, done))

    def _new_id(self) -> str:
        """16 random bytes in hex, drawn some hundred at a time: each draw lets go of the interpreter, and it takes a while to get it back."""
        if not self._ids:
            drawn = secrets.token_hex(16 * IDS)
            self._ids = [drawn[i : i + 32] for i in range(0, len(drawn), 32)]
        return self._ids.pop()

    async def _shadow(self, served: Served, told: Told, ask: Ask) -> None:
        """The same rows, answered by the shadow, into the log under the same ids."""
        answers = await self.score(served, ask)
        await self.record(Told(served, "shadow", told.ids, answers), ask, acknowledge=False)

    def _count(self, told: Told) -> None:
        name, version = told.served.name, told.served.version
        refused = sum(answer.refused for answer in told.answers)
        self.metrics.rows.labels(name, version, told.role, "answered").inc(len(told.answers) - refused)
        if refused:
            self.metrics.rows.labels(name, version, told.role, "refused").inc(refused)
        unusual = sum(answer.unusual for answer in told.answers)
        if unusual:
            self.metrics.unusual.labels(name, version).inc(unusual)

    async def drain(self) -> None:
        """Finish what runs in the background, and commit what is queued."""
        if self._background:
            await asyncio.wait(self._background, timeout=5)
        self.threads.shutdown(wait=False, cancel_futures=True)
        if self.log is not None:
            await asyncio.to_thread(self.log.close)


def _pass_on(done: asyncio.Future[None], written: asyncio.Future[None]) -> None:
    """What came of a write, to the request that waits for it."""
    error = None if written.cancelled() else written.exception()
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def records(told: Told, ask: Ask, settings: LogSettings) -> list[Record]:
    """What the log keeps of each answered row: the contract's columns that are not redacted, and the answer."""
    kept = [c for c in told.served.scorer.columns if c not in settings.redact] if settings.rows else []
    now, found = round(time.time(), 6), []
    for i, answer in enumerate(told.answers):
        if answer.refused:
            continue
        row = ask.rows[i]
        cells = orjson.dumps({c: row[c] for c in kept if c in row}, default=str).decode() if settings.rows else None
        key = ask.keys[i] if ask.keys else None
        found.append(Record(told.ids[i], now, told.served.name, told.served.version, told.role, key, cells, orjson.dumps(answer.core()).decode()))
    return found
