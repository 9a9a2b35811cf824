"""A small model with known answers, and a server around it: what the tests of the service, its protocols and its security share."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from emlyn.core.dataset import Dataset
from emlyn.doors.server.app import create_app
from emlyn.records.data_card import ColumnRule, Contract, Parse
from emlyn.records.evaluation import Reason
from emlyn.records.problem import Problem
from emlyn.service.limits import Limits, LogSettings, Settings
from emlyn.service.pool import Pool, Served
from emlyn.service.prediction_log import PredictionLog
from emlyn.service.scorer import Margin, Scorer
from emlyn.service.service import Service
from emlyn.service.tokens import SCOPES, Tokens

CONTRACT = Contract(
    (
        ColumnRule("age", "number", nullable=False, low=18, high=90, integral=True, position=0),
        ColumnRule("income", "number", Parse(missing=("?",)), required=False, low=0, high=1e6, position=1),
        ColumnRule("plan", "category", nullable=False, levels=("basic", "gold"), position=2),
        ColumnRule("note", "text", required=False, position=4),
    )
)
CHURN = Problem("binary", "churn", "roc_auc", "maximize", ("no", "yes"), "yes")
PRICE = Problem("regression", "price", "rmse", "minimize")
ROW: dict[str, Any] = {"age": 40, "income": 100.0, "plan": "gold", "note": "hi"}
BAD: dict[str, Any] = {**ROW, "age": "old"}


@dataclass(frozen=True)
class FakeModel:
    """sigmoid(age / 100 + 1 if gold + shift), or age * 10 for numbers."""

    problem: Problem = CHURN
    contract: Contract = CONTRACT
    shift: float = 0.0
    seconds: float = 0.0

    def predict_answers(self, data: Dataset) -> np.ndarray:
        time.sleep(self.seconds)
        table = data.rows.take(data.units)
        age, plan = np.nan_to_num(table["age"].values, nan=50.0), table["plan"].strings()
        if not self.problem.classes:
            return (age * 10 + self.shift)[:, None]
        p = 1 / (1 + np.exp(-np.clip(age / 100 + (plan == "gold") + self.shift, -50, 50)))
        return np.column_stack([1 - p, p])

    def decide(self, answers: np.ndarray) -> np.ndarray:
        if not self.problem.classes:
            return answers[:, 0].copy()
        return np.array(self.problem.classes, dtype=object)[(answers[:, 1] >= 0.5).astype(int)]


def probability(row: dict[str, Any], shift: float = 0.0) -> float:
    return 1 / (1 + math.exp(-(row["age"] / 100 + (row["plan"] == "gold") + shift)))


def reasons(model: Any, data: Dataset) -> list[tuple[Reason, ...]]:
    return [(Reason("plan", "gold", 1.0), Reason("age", 40, 0.4))] * len(data)


def served(name: str = "churn", version: str = "1", **model: Any) -> Served:
    found = FakeModel(**model)
    return Served(name, version, Scorer(found, None if found.problem.classes else Margin(5.0, 7.0, 0.9), reasons))


@dataclass
class Kit:
    """A service with tokens of every scope."""

    service: Service
    tokens: Tokens
    secrets: dict[str, str]
    app: Any = field(init=False)

    def __post_init__(self) -> None:
        self.app = create_app(self.service, self.tokens)

    def client(self, scope: str | None = "all", **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.secrets[scope]}"} if scope else {}
        options = {"base_url": "http://localhost:8080", "headers": headers, **options}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app, raise_app_exceptions=True), **options)


def kit(folder: Path | None = None, *models: Served, settings: Settings | None = None, **limits: Any) -> Kit:
    settings = settings or Settings(poll_s=0)
    settings = replace(settings, limits=replace(settings.limits, **limits)) if limits else settings
    pool = Pool()
    for model in models or (served(),):
        pool.put(model)
    tokens = Tokens(None)
    secrets = {scope: tokens.create(scope, [scope]) for scope in SCOPES}
    secrets["all"] = tokens.create("all", SCOPES)
    log = PredictionLog(f"sqlite:///{folder / 'predictions.db'}", settings.log) if folder else None
    return Kit(Service(pool, log, settings), tokens, secrets)


@contextlib.contextmanager
def running(found: Kit) -> Iterator[str]:
    """The kit behind a real socket on loopback; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(found.app, host="127.0.0.1", port=port, log_level="error", lifespan="on", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < until, "the server did not start"
        assert thread.is_alive(), "the server died"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server did not stop"


__all__ = ["BAD", "CONTRACT", "PRICE", "ROW", "Kit", "Limits", "LogSettings", "Settings", "kit", "probability", "running", "served"]
