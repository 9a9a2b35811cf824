"""Counters and histograms of one server, in Prometheus' terms; never a row's content."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)


class Metrics:
    """A registry of its own, so that several servers can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("emlyn_requests", "Requests by route and status", ("route", "status"), registry=r)
        self.seconds = Histogram("emlyn_request_seconds", "Seconds from the first byte to the answer", ("route",), buckets=SECONDS, registry=r)
        self.rows = Counter(
            "emlyn_rows", "Rows by model, version, role and outcome (answered, refused)", ("model", "version", "role", "outcome"), registry=r
        )
        self.unusual = Counter("emlyn_unusual_rows", "Answered rows with a value outside what training saw", ("model", "version"), registry=r)
        self.swaps = Counter("emlyn_model_swaps", "How often a model was replaced while serving", ("model",), registry=r)
        self.unlogged = Counter("emlyn_log_failures", "Requests whose prediction could not be recorded", registry=r)
        self.loaded = Gauge("emlyn_model_loaded", "1 for each version that is being served", ("model", "version"), registry=r)

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self.registry)
