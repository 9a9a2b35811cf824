"""How much one caller may ask for: sizes, rates, and how the service is set up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from emlyn.errors import UserError

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Beyond these a request is refused before it costs anything."""

    body: int = 6 * MIB
    """Bytes of a request's body (what SageMaker passes on); larger tables belong to `emlyn predict`."""
    rows: int = 10_000
    columns: int = 5_000
    """Cells of one row."""
    cell: int = 100_000
    """Bytes of one text cell in a Parquet file, where a cell may be far longer than the body that brings it."""
    header: int = 16 * 1024
    """Bytes of all headers together."""
    seconds: float = 30.0
    """From the first byte of a request to its answer."""
    concurrent: int = 256
    """Requests worked on at once; more get 503 with Retry-After."""
    rate: float = 5_000.0
    """Requests per second and token, over `burst` seconds."""
    burst: float = 2.0


@dataclass(frozen=True)
class LogSettings:
    """What the prediction log keeps, how long, and what an answer promises."""

    acknowledge: bool = True
    """A 200 on the native route means that the record is committed. False: it is queued, and the last `linger` seconds are lost on a kill."""
    linger: float = 0.0
    """Seconds to wait for company before a commit; 0 commits what is there."""
    sample: float = 1.0
    """Share of the predictions that is stored."""
    keep_days: float | None = 90.0
    redact: tuple[str, ...] = ()
    """Columns whose cells are never stored."""
    rows: bool = True
    """Store the request's cells beside the answer (monitoring needs them)."""
    durable: bool = False
    """Also survive a power loss: one fsync per commit (SQLite `synchronous=FULL`). False survives a killed process."""


@dataclass(frozen=True)
class Settings:
    """Everything the operator decides."""

    limits: Limits = field(default_factory=Limits)
    log: LogSettings = field(default_factory=LogSettings)
    hosts: tuple[str, ...] = ()
    """Host names this server answers to besides localhost and IP addresses; `*` for any."""
    open: tuple[str, ...] = ()
    """Platforms whose own gateway authenticates callers: `sagemaker`, `mlflow`, `vertex`, `kserve`. Their routes then need no token."""
    poll_s: float = 2.0
    """How often the registry is asked whether an alias moved."""
    vertex_predict: str = ""
    vertex_health: str = ""
    """Vertex AI's `AIP_PREDICT_ROUTE` and `AIP_HEALTH_ROUTE`."""


class TooMuch(UserError):
    """A request beyond a limit; carries the HTTP status that says so and, for rates, when to come back."""

    def __init__(self, what: str, status: int, *, allowed: str = "", retry_after: float | None = None) -> None:
        super().__init__(what, allowed=allowed)
        self.status, self.retry_after = status, retry_after


class RateLimit:
    """A token bucket per caller."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._most = rate, max(1.0, rate * burst)
        self._buckets: dict[str, tuple[float, float]] = {}

    def spend(self, caller: str) -> None:
        """Count one request of this caller. Raises TooMuch (429) when the bucket is empty."""
        now = time.monotonic()
        level, seen = self._buckets.get(caller, (self._most, now))
        level = min(self._most, level + (now - seen) * self._rate)
        if level < 1.0:
            self._buckets[caller] = (level, now)
            raise TooMuch(
                "too many requests with this token", 429, allowed=f"{self._rate:g} requests per second", retry_after=(1.0 - level) / self._rate
            )
        if len(self._buckets) > 10_000:  # anonymous callers are counted by address: forget them all rather than grow for ever
            self._buckets.clear()
        self._buckets[caller] = (level - 1.0, now)
