"""The server as a process: start, first token, hot swap from the registry, SIGTERM, kill -9, TLS, several workers."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import hashlib
import importlib.util
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from emlyn.core.models.parts import below
from emlyn.core.storing import archive, registry
from emlyn.core.storing.store import Store
from emlyn.core.storing.workspace import Workspace
from emlyn.doors.server.app import create_app
from emlyn.doors.server.run import build
from emlyn.doors.server.setup import serve_options
from emlyn.errors import ModelError
from emlyn.records.manifest import Manifest
from emlyn.records.run import ModelVersion
from emlyn.service.limits import Settings
from emlyn.service.loading import Loader, Watcher
from emlyn.service.metrics import Metrics
from emlyn.service.pool import Pool
from emlyn.service.service import Service
from emlyn.service.tokens import Tokens
from test_export import rows, trained

SECRET = "a-token-for-these-tests-0123456789"
BEARER = {"Authorization": f"Bearer {SECRET}"}
ASK = {"rows": rows(3, 1)}


def register(store: Store, model, name: str = "churn", spoil: bool = False) -> None:
    number = registry.reserve(store, name)
    data = archive.pack(below("model", model.save()), Manifest({}, name=name, version=number, problem=model.problem))
    digest = "0" * 64 if spoil else hashlib.sha256(data).hexdigest()
    found = ModelVersion(
        name, number, digest, store.artifacts.put(data, registry.FILE), model.problem.task, "y", model.problem.metric, "2026-01-01T00:00:00+00:00"
    )
    registry.register(store, found)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("home")
    with Workspace.find(root).open_store() as store:
        register(store, trained([("linear", "linear")]))
        register(store, trained([("linear-splines", "linear")]))
        register(store, trained([("linear", "linear")]), spoil=True)
    return root


@dataclass
class Process:
    address: str
    process: subprocess.Popen[str]
    said: list[str]

    def client(self, **options) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers=BEARER, **options)


@contextlib.contextmanager
def served(home: Path, *arguments: str, environment: dict[str, str] | None = None, scheme: str = "http") -> Iterator[Process]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("EMLYN")}
    environment = {**inherited, "EMLYN_HOME": str(home), "EMLYN_TOKEN": SECRET, **(environment or {})}
    command = [sys.executable, "-m", "emlyn.doors.server", "serve", *arguments, "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    threading.Thread(target=lambda: said.extend(process.stderr), daemon=True).start()
    address = f"{scheme}://127.0.0.1:{port}"
    until = time.monotonic() + 60
    while True:
        assert process.poll() is None, "".join(said)
        assert time.monotonic() < until, "".join(said)
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/readyz", verify=False).status_code == 200:
                break
        time.sleep(0.05)
    try:
        yield Process(address, process, said)
    finally:
        process.kill()
        process.wait()


def test_the_registry_s_champion_takes_over_and_a_version_that_cannot_be_opened_changes_nothing(workspace, caplog):
    with Workspace.find(workspace).open_store() as store:
        pool, metrics = Pool(), Metrics()
        watcher = Watcher(pool, Loader(store), ("churn", "other=churn:1"), 0, metrics)
        watcher.start()
        app = create_app(Service(pool, None, Settings(poll_s=0), metrics), Tokens(None, SECRET), watcher)

        async def told(model: str = "churn") -> str:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=BEARER) as client:
                await client.post("/v1/served/refresh")
                return (await client.post("/v1/predict", json={**ASK, "model": model})).json()["model"]

        assert asyncio.run(told()) == "churn:1"
        registry.promote(store, "churn:2")
        assert asyncio.run(told()) == "churn:2"
        registry.promote(store, "churn:3")
        assert asyncio.run(told()) == "churn:2", "its file is not the one that was registered"
        assert "stays as it is" in caplog.text
        registry.rollback(store, "churn")
        registry.rollback(store, "churn")
        assert asyncio.run(told()) == "churn:1"
        assert asyncio.run(told("other")) == "other:1"
        assert b'emlyn_model_swaps_total{model="churn"} 2.0' in metrics.text()


def test_what_cannot_be_served_is_said_at_start(workspace, tmp_path):
    for models, said in (
        (("chrun",), "churn"),
        (("churn:9",), "churn:1"),
        ((str(tmp_path / "none.emlyn"),), "none.emlyn"),
        (("churn:3",), "SHA-256"),
    ):
        with pytest.raises(ModelError, match=re.escape(said)):
            build(serve_options({"models": models, "home": str(workspace), "log": "none"}, {}))


def test_sigterm_finishes_what_is_in_flight_and_ends_in_order(workspace):
    with served(workspace, "churn") as server:
        replies: list[int] = []

        def ask() -> None:
            with server.client() as client:
                for _ in range(200):
                    try:
                        replies.append(client.post("/v1/predict", json=ASK).status_code)
                    except httpx.HTTPError:
                        return

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        for thread in threads:
            thread.join(10)
    assert replies
    assert set(replies) == {200}


def test_a_killed_server_loses_no_acknowledged_prediction(workspace):
    told: list[str] = []
    for round_ in range(2):
        with served(workspace, "churn") as server:

            def ask(server: Process = server) -> None:
                with server.client() as client, contextlib.suppress(httpx.HTTPError):
                    while True:
                        told.append(client.post("/v1/predict", json=ASK).json()["predictions"][0]["prediction_id"])

            threads = [threading.Thread(target=ask) for _ in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(0.2 + 0.15 * round_)
            server.process.kill()
            server.process.wait()
            for thread in threads:
                thread.join(10)
    with sqlite3.connect(workspace / "predictions.db") as found:
        kept = {row[0] for row in found.execute("select prediction_id from predictions")}
        assert found.execute("pragma integrity_check").fetchone() == ("ok",)
    assert len(told) > 10
    assert set(told) <= kept


def test_a_short_soak_keeps_every_promise(tmp_path):
    """`benchmarks/soak.py` for a few seconds: good and hostile load, swaps, a killed worker; nothing acknowledged is lost, no good request fails."""
    if not Path("/proc/self/status").exists():
        pytest.skip("reads the memory of processes from /proc")
    path = Path(__file__).parent.parent / "benchmarks" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak", path)
    soak = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soak)
    with Workspace.find(tmp_path).open_store() as store:
        for recipe in ("linear", "linear-splines"):
            register(store, trained([(recipe, "linear")]), "soak")
        options = argparse.Namespace(minutes=0.08, swaps=4, kills=1, workers=2, rate=60)
        found = soak.soak(tmp_path, rows(3, 60), lambda model: registry.promote(store, model), options)
    assert found["kept"], found
    assert found["good"].keys() <= {"200", "asked again"}
    assert (found["swaps"], found["kills"]) == (4, 1)
    assert found["acknowledged"] > 20
    assert sum(found["hostile"].values()) > 10


def test_the_first_token_is_printed_once_and_works(workspace, tmp_path):
    path = next((workspace / "artifacts").rglob("*.emlyn"))
    for start in range(2):
        with served(tmp_path, str(path), environment={"EMLYN_TOKEN": ""}) as server:
            shown = [line for line in server.said if "token" in line]
            assert len(shown) == (1 if start == 0 else 0)
            if start == 0:
                secret = shown[0].split()[-1]
            reply = httpx.post(f"{server.address}/v1/predict", json=ASK, headers={"Authorization": f"Bearer {secret}"})
            assert reply.status_code == 200
            assert secret not in "".join(line for line in server.said if line.startswith("{"))


def test_a_port_that_is_taken_is_a_plain_failure(workspace):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "emlyn.doors.server", "churn", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(
            command, env={**os.environ, "EMLYN_HOME": str(workspace), "EMLYN_TOKEN": SECRET}, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert "--port" in done.stderr
    assert "Serving" not in done.stderr


def test_tls_and_two_workers_share_the_tokens_and_the_log(workspace, tmp_path):
    certificate, key = self_signed(tmp_path)
    with served(workspace, "churn", "--workers", "2", "--certificate", certificate, "--key", key, scheme="https") as server:
        ids = []
        for _ in range(10):
            with server.client(verify=False) as client:
                ids.append(client.post("/v1/predict", json=ASK, headers={"Idempotency-Key": "k"}).json()["predictions"][0]["prediction_id"])
        assert len(set(ids)) == 1, "the reply to a key is shared by the workers through the log"
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)


def self_signed(folder: Path) -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    (folder / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "k.pem").write_bytes(pem)
    return str(folder / "c.pem"), str(folder / "k.pem")
