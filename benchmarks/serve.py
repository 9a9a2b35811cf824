"""How fast one worker answers: latency at a fixed rate from another process, and saturated throughput against what the members alone could do.

    python benchmarks/serve.py TABLE.csv --target COL [--model MODEL] [--rate 300] [--seconds 10]
                               [--mlflow PYTHON] [--bentoml PYTHON] [--autogluon PYTHON]

Without --model, one is trained first: `emlyn train TABLE --target COL --budget 60s --max-latency 1ms`, in a workspace of its own. Three servers
are measured in turn, several rounds each, in one run, so that their ratios mean something on a busy machine:
  emlyn     validation, scoring, logging; a 200 means that the record is committed
  bare      the same server, but the answer comes from the members with a ready array: no contract, no log
  constant  the same server answering a constant: what HTTP and JSON cost by themselves
Peers, each by the Python of its environment: --mlflow (with emlyn in it), the same model behind `mlflow models serve`; --bentoml and
--autogluon, their own models of the same table behind their own servers (`peer_servers.py`). One worker each.
Latency counts from the moment a request was due, not from when it was sent (no coordinated omission).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECRET = "benchmark-token-0123456789"
CONNECTIONS = 8


def serve(mode: str, model: str, port: int) -> None:
    """Run one server until SIGTERM; `mode`: emlyn, bare or constant."""
    import logging

    import uvicorn

    from emlyn.core.storing.workspace import Workspace
    from emlyn.doors.server.app import create_app
    from emlyn.service.limits import Limits, Settings
    from emlyn.service.loading import Loader
    from emlyn.service.pool import Pool
    from emlyn.service.prediction_log import PredictionLog
    from emlyn.service.scorer import example_row
    from emlyn.service.service import Service
    from emlyn.service.tokens import Tokens

    logging.disable(logging.INFO)
    loader = Loader(Workspace.find().open_store())
    served = loader.open(loader.resolve(model))
    scorer = served.scorer
    if mode != "emlyn":
        from emlyn.core.dataset import rows_dataset
        from emlyn.core.features.prep import encoded
        from emlyn.core.tables.contract import conform_records
        from emlyn.service.scorer import Answer

        fixed = scorer.answer([example_row(scorer.contract)])
        table = conform_records([example_row(scorer.contract)], scorer.contract).table
        data = rows_dataset(table, classes=len(scorer.classes))
        data.shared["encoder"] = scorer.model.encoder
        encoded(data)

        def bare(rows: object, reasons: int = 0) -> list[Answer]:
            values = scorer.model.predict_answers(data)
            return [Answer(fixed[0].prediction, dict(zip(scorer.classes, values[0].tolist(), strict=True)) if scorer.classes else None)]

        scorer.answer = bare if mode == "bare" else lambda rows, reasons=0: fixed  # type: ignore[method-assign]
    pool = Pool()
    pool.put(served)
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(f"sqlite:///{folder}/p.db") if mode == "emlyn" else None
        app = create_app(Service(pool, log, Settings(limits=Limits(rate=1e9))), Tokens(None, SECRET))
        uvicorn.Server(uvicorn.Config(app, port=port, loop="uvloop", http="httptools", log_level="error", access_log=False)).run()


def requests_of(rows: list[dict[str, object]], form: str) -> list[bytes]:
    """Whole HTTP requests, one row each."""
    path, key = {"native": ("/v1/predict", "rows"), "mlflow": ("/invocations", "dataframe_records"), "rows": ("/predict", "rows")}[form]
    found = []
    for row in rows:
        body = json.dumps({key: [row]}).encode()
        head = ["Host: localhost", f"Authorization: Bearer {SECRET}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        found.append("\r\n".join([f"POST {path} HTTP/1.1", *head, "", ""]).encode() + body)
    return found


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{head[:40]!r} {body[:300]!r}")


async def at_rate(port: int, requests: list[bytes], rate: float, seconds: float) -> list[float]:
    """Milliseconds from due to done, for requests due at a fixed rate."""
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for stream in streams:
        free.put_nowait(stream)
    took: list[float] = []
    began = time.perf_counter() + 0.05

    async def one(i: int) -> None:
        due = began + i / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        stream = await free.get()
        await exchange(*stream, requests[i % len(requests)])
        took.append((time.perf_counter() - due) * 1e3)
        free.put_nowait(stream)

    await asyncio.gather(*(one(i) for i in range(int(rate * seconds))))
    return took


async def saturated(port: int, requests: list[bytes], seconds: float, connections: int = CONNECTIONS) -> float:
    """Answers per second with every connection always busy."""
    until, done = time.perf_counter() + seconds, 0

    async def one(offset: int) -> None:
        nonlocal done
        stream = await asyncio.open_connection("127.0.0.1", port)
        i = offset
        while time.perf_counter() < until:
            await exchange(*stream, requests[i % len(requests)])
            i, done = i + 1, done + 1

    await asyncio.gather(*(one(k * 37) for k in range(connections)))
    return done / seconds


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 180) -> float:
    began = time.perf_counter()
    while True:
        if process.poll() is not None:
            raise RuntimeError("the server ended before it was ready")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return time.perf_counter() - began
        if time.perf_counter() - began > seconds:
            raise RuntimeError("the server did not start")
        time.sleep(0.02)


def client(job: str, port: int, form: str, rows: list[dict[str, object]], rate: float, seconds: float) -> object:
    """Runs in a process of its own."""
    import uvloop

    requests = requests_of(rows, form)
    return uvloop.run(at_rate(port, requests, rate, seconds) if job == "rate" else saturated(port, requests, seconds))


Running = tuple[int, "subprocess.Popen[bytes]", str]


def started(command: list[str], form: str) -> Running:
    """A server on a free port: its port, its process and the form of its requests."""
    port = free_port()
    beside = {**os.environ, "PATH": f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"}  # mlflow looks for uvicorn there
    quiet = {} if form == "native" else {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([part.format(port=port) for part in command], start_new_session=True, env=beside, **quiet)  # type: ignore[call-overload]
    return port, process, form


def trained(table: str, target: str) -> str:
    """The path of a model made by the run that the measurement is about."""
    command = [sys.executable, "-m", "emlyn", "train", table, "--target", target, "--budget", "60s", "--max-latency", "1ms", "--name", "served"]
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, env={**os.environ, "EMLYN_HOME": tempfile.mkdtemp()})
    print("\n".join(line for line in done.stderr.decode().splitlines() if "row takes" in line or "cannot be met" in line), file=sys.stderr)
    return str(json.loads(done.stdout)["path"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="the table, as CSV")
    parser.add_argument("--target", default="")
    parser.add_argument("--model", default="", help="a model instead of training one")
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    for peer in ("mlflow", "bentoml", "autogluon"):
        parser.add_argument(f"--{peer}", default="", help="the Python of its environment")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.serve:
        serve(said.serve, said.model, said.port)
        return
    said.model = said.model or trained(said.rows, said.target)
    with gzip.open(said.rows, "rt") if said.rows.endswith(".gz") else open(said.rows) as file:
        rows = [{k: v for k, v in row.items() if k != said.target} for _, row in zip(range(500), csv.DictReader(file), strict=False)]
    servers: dict[str, Running] = {}
    for mode in ("emlyn", "bare", "constant"):
        servers[mode] = started([sys.executable, __file__, said.rows, "--model", said.model, "--serve", mode, "--port", "{port}"], "native")
    if said.mlflow:
        folder = tempfile.mkdtemp()
        subprocess.run([said.mlflow, "-c", EXPORT, said.model, folder], check=True)
        command = [said.mlflow, "-m", "mlflow", "models", "serve", "-m", folder, "--env-manager", "local", "-p", "{port}"]
        servers["mlflow"] = started(command, "mlflow")
    for peer in ("bentoml", "autogluon"):
        if python := getattr(said, peer):
            servers[peer] = started([python, str(Path(__file__).with_name("peer_servers.py")), peer, said.rows, said.target, "60", "{port}"], "rows")
    pool = multiprocessing.get_context("spawn").Pool(1)
    latency: dict[str, list[float]] = {name: [] for name in servers}
    throughput: dict[str, list[float]] = {name: [] for name in servers}
    try:
        for port, process, form in servers.values():
            wait_for(port, process)
            time.sleep(0 if form == "native" else 8)  # their port may be open before their model is
            pool.apply(client, ("saturated", port, form, rows, 0, 1.0))
        for _ in range(said.rounds):
            for name, (port, _, form) in servers.items():
                throughput[name].append(pool.apply(client, ("saturated", port, form, rows, 0, said.seconds)))
                rate = said.rate if form == "native" else min(said.rate, 0.5 * throughput[name][-1])
                latency[name] += pool.apply(client, ("rate", port, form, rows, rate, said.seconds))
    finally:
        for _, process, _ in servers.values():
            if process.poll() is None:  # a peer's workers are children in a session of its own
                os.killpg(process.pid, signal.SIGTERM)
        for _, process, _ in servers.values():
            process.wait(30)
        pool.terminate()
    report(said, throughput, latency)


def report(said: argparse.Namespace, throughput: dict[str, list[float]], latency: dict[str, list[float]]) -> None:
    best = {name: statistics.median(values) for name, values in throughput.items()}
    found = {
        "model": said.model,
        "rows": Path(said.rows).name,
        "rate": said.rate,
        "load_average": [round(x, 1) for x in os.getloadavg()],
        "saturated_per_s": {name: round(value) for name, value in best.items()},
        "latency_ms": {n: {"p50": round(quantile(v, 0.5), 3), "p99": round(quantile(v, 0.99), 3), "n": len(v)} for n, v in latency.items()},
        "promise": "a 200 of emlyn means that the record is committed: it survives a killed process",
        "ratios": {f"emlyn / {name}": round(best["emlyn"] / value, 3) for name, value in best.items() if name != "emlyn"},
    }
    print(json.dumps(found, indent=1))


EXPORT = """
import sys
from pathlib import Path
from emlyn.core.storing import registry
from emlyn.core.exporter import Exportable
from emlyn.core.models.model import Model
from emlyn.core.storing.workspace import Workspace
from emlyn.exporters.mlflow import MLflow
version = registry.resolve(Workspace.find().open_store(), sys.argv[1])
MLflow().export(Exportable(Model.load(registry.load(version).under("model/")), version), Path(sys.argv[2]))
"""

if __name__ == "__main__":
    main()
