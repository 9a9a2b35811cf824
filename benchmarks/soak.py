"""A server under good and hostile load for a long time, while its model is swapped and its workers are killed.

    python benchmarks/soak.py [--minutes 30] [--swaps 50] [--kills 10] [--workers 2] [--rate 60]

Three promises are looked at: no good request is answered with a 5xx (a connection that dies with a killed worker is asked again, under the same
Idempotency-Key where the protocol has one); every prediction that was acknowledged is in the log at the end; memory does not grow. Prints one JSON
object; exit 1 when a promise was not kept. Two small models are made from the bundled table. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import io
import json
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

SECRET = "soak-token-0123456789-abcdef"
BEARER = {"Authorization": f"Bearer {SECRET}"}
NAME = "soak"
GROWTH_MB = 40.0
"""How much more the server may hold in the last fifth of the time than in the fifth after the first: caches, one model more during a swap."""
Row = dict[str, Any]


class Tally:
    """What was seen, from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.good: collections.Counter[str] = collections.Counter()
        self.hostile: collections.Counter[str] = collections.Counter()
        self.acknowledged: set[str] = set()
        self.versions: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def saw(self, what: collections.Counter[str], key: object) -> None:
        with self._lock:
            what[str(key)] += 1

    def answered(self, ids: list[str], label: str) -> None:
        with self._lock:
            self.acknowledged.update(ids)
            self.versions[label] += 1


def soak(home: Path, rows: list[Row], promote: Callable[[str], None], options: argparse.Namespace) -> dict[str, Any]:
    """Serve the model called `soak` (versions 1 and 2) of the workspace `home`, with `rows` as good rows, for `options.minutes`."""
    tally, seconds = Tally(), options.minutes * 60
    with _server(home, options.workers) as (process, address):
        memory: list[float] = []
        jobs = [*[(_good, (tally, address, rows, options.rate / 3, seed)) for seed in range(3)], *[(_hostile, (tally, address, s)) for s in range(2)]]
        threads = [threading.Thread(target=job, args=given, daemon=True) for job, given in jobs]  # they end with us whatever happens
        for thread in threads:
            thread.start()
        began, swapped, killed = time.monotonic(), 0, 0
        while (spent := time.monotonic() - began) < seconds:
            if swapped < options.swaps * spent / seconds:
                swapped += 1
                promote(f"{NAME}:{1 + swapped % 2}")
            if options.workers > 1 and killed + 1 < (options.kills + 1) * spent / seconds:
                killed += _kill_one(process.pid)
            memory.append(_memory(process.pid))
            time.sleep(min(1.0, seconds / 200))
        tally.stop.set()
        for thread in threads:
            thread.join(60)
        process.send_signal(signal.SIGTERM)
        ended = process.wait(60)
    return _verdict(home, tally, memory, {"minutes": options.minutes, "swaps": swapped, "kills": killed, "exit": ended})


@contextlib.contextmanager
def _server(home: Path, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "EMLYN_HOME": str(home), "EMLYN_TOKEN": SECRET, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "emlyn.doors.server", "serve", NAME, "--port", str(port), "--workers", str(workers)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _good(tally: Tally, address: str, rows: list[Row], rate: float, seed: int) -> None:
    """Requests that must be answered, in turn over every protocol, about `rate` of them a second."""
    draw, number = random.Random(seed), 0
    client = httpx.Client(base_url=address, headers=BEARER, timeout=60)
    while not tally.stop.is_set():
        number += 1
        some = draw.sample(rows, draw.choice((1, 1, 1, 5, 20)))
        path, sent, ids_of = draw.choice((_native, _native, _v1, _v2, _csv))(some, f"{seed}-{number}")
        for attempt in range(20):
            try:
                reply = client.post(path, **sent)
            except httpx.HTTPError:  # its worker was killed
                tally.saw(tally.good, "asked again")
                client.close()
                client = httpx.Client(base_url=address, headers=BEARER, timeout=60)
                time.sleep(0.05 * attempt)
                continue
            if reply.status_code == 409:  # the same key is being answered by the worker that did not die
                time.sleep(0.2)
                continue
            tally.saw(tally.good, reply.status_code)
            if reply.status_code != 200:
                tally.wrong.append(f"{path} {reply.status_code} {reply.text[:300]}")
            else:
                tally.answered(*ids_of(reply))
            break
        else:
            tally.wrong.append(f"{path} had no answer in twenty attempts")
        time.sleep(draw.expovariate(rate))
    client.close()


Sent = tuple[str, dict[str, Any], Callable[[httpx.Response], tuple[list[str], str]]]


def _told(entries: list[Row]) -> tuple[list[str], str]:
    return [e["prediction_id"] for e in entries], str(entries[0]["model"])


def _native(rows: list[Row], key: str) -> Sent:
    return "/v1/predict", {"json": {"rows": rows}, "headers": {"Idempotency-Key": key}}, lambda r: _told(r.json()["predictions"])


def _v1(rows: list[Row], key: str) -> Sent:
    return f"/v1/models/{NAME}:predict", {"json": {"instances": rows}}, lambda r: _told(r.json()["predictions"])


def _csv(rows: list[Row], key: str) -> Sent:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return "/invocations", {"content": text.getvalue(), "headers": {"Content-Type": "text/csv"}}, lambda r: ([], "csv")


def _v2(rows: list[Row], key: str) -> Sent:
    inputs = [{"name": n, "shape": [len(rows)], "datatype": "BYTES", "data": [str(row[n]) for row in rows]} for n in rows[0]]

    def ids(reply: httpx.Response) -> tuple[list[str], str]:
        said = reply.json()
        return next(o["data"] for o in said["outputs"] if o["name"] == "prediction_id"), f"{said['model_name']}:{said['model_version']}"

    return f"/v2/models/{NAME}/infer", {"json": {"inputs": inputs}}, ids


def _hostile(tally: Tally, address: str, seed: int) -> None:
    """What an attacker or a broken client sends. Any answer but a 5xx is right; 503 and 504 are the limits at work."""
    draw = random.Random(1000 + seed)
    with contextlib.ExitStack() as slow:
        while not tally.stop.is_set():
            try:
                if draw.random() < 0.3:
                    tally.saw(tally.hostile, _raw(address, draw, slow))
                else:
                    method, path, sent = draw.choice(ATTACKS)
                    with httpx.Client(base_url=address, timeout=60) as client:
                        status = client.request(method, path, **{"headers": BEARER, **sent}).status_code
                    tally.saw(tally.hostile, status)
                    if status >= 500 and status not in (503, 504):
                        tally.wrong.append(f"hostile {method} {path} {status}")
            except (httpx.HTTPError, OSError) as error:
                tally.saw(tally.hostile, type(error).__name__)
            time.sleep(draw.expovariate(10))


def _raw(address: str, draw: random.Random, slow: contextlib.ExitStack) -> str:
    """Bytes that are no request, or half of one; some connections are left hanging until the end."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    begun = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + SECRET.encode() + b"\r\nContent-Type: application/json\r\n"
    said = draw.choice(
        [
            draw.randbytes(400),
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /v1/predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
            begun + b"Content-Length: 100\r\n\r\n{",
            begun + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        ]
    )
    connection.sendall(said)
    if draw.random() < 0.05:
        slow.callback(connection.close)
    else:
        connection.close()
    return "raw"


DEEP = b'{"rows":' + b"[" * 5000
ATTACKS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/predict", {"content": b'{"rows": [{"a"', "headers": {**BEARER, "Content-Type": "application/json"}}),
    ("POST", "/v1/predict", {"content": DEEP, "headers": {**BEARER, "Content-Type": "application/json"}}),
    ("POST", "/v1/predict", {"content": b"x" * 10_000_000, "headers": {**BEARER, "Content-Type": "application/json"}}),
    ("POST", "/v1/predict", {"json": {"rows": [{}] * 20_000}}),
    ("POST", "/v1/predict", {"json": {"rows": [{"nothing": [1, {"x": None}]}]}}),
    ("POST", "/v1/predict", {"json": {"rows": []}, "headers": {"Authorization": "Bearer wrong"}}),
    ("POST", "/v1/predict", {"json": {"rows": []}, "headers": {**BEARER, "Host": "attacker.example"}}),
    ("POST", "/v1/predict", {"json": {"rows": []}, "headers": {**BEARER, "Origin": "https://attacker.example"}}),
    ("POST", "/invocations", {"content": b"PAR1" + b"\0" * 500 + b"PAR1", "headers": {**BEARER, "Content-Type": "application/vnd.apache.parquet"}}),
    ("POST", "/invocations", {"content": b"\x80\x04\x95", "headers": {**BEARER, "Content-Type": "application/x-pickle"}}),
    ("POST", "/v2/models/..%2f..%2fetc%2fpasswd/infer", {"json": {}}),
    ("POST", "/v1/feedback", {"json": {"labels": [{"prediction_id": "'; drop table predictions; --", "label": "x"}]}}),
    ("DELETE", "/v1/served/soak/routing", {}),
    ("GET", "/%252e%252e/%2e%2e/etc/passwd", {}),
    ("GET", "/metrics", {"headers": {**BEARER, "X-Long": "a" * 20_000}}),
    ("GET", "/docs", {"headers": {}}),
]


def _kill_one(server: int) -> int:
    """SIGKILL to one worker of the server; returns 1 when there was one."""
    workers = [pid for pid in _tree(server) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    if workers:
        os.kill(random.choice(workers), signal.SIGKILL)
    return len(workers[:1])


def _tree(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_tree(int(child))]
    return found


def _memory(server: int) -> float:
    """MB held by the server's processes, on average: a killed worker is replaced by a fresh one. Shared pages are counted by each."""
    held = []
    for pid in [server, *_tree(server)]:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            held.append(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024)
    return max(held)


def _verdict(home: Path, tally: Tally, memory: list[float], found: dict[str, Any]) -> dict[str, Any]:
    with sqlite3.connect(home / "predictions.db") as log:
        kept = {row[0] for row in log.execute("SELECT prediction_id FROM predictions")}
        twice = log.execute("SELECT count(*) FROM (SELECT prediction_id FROM predictions GROUP BY prediction_id HAVING count(*) > 1)").fetchone()[0]
        sound = log.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    fifth = max(1, len(memory) // 5)
    early, late = statistics.median(memory[fifth : 2 * fifth] or memory), statistics.median(memory[-fifth:])
    faults = [line for line in (home / "server.log").read_text().splitlines() if '"level":"error"' in line]
    lost = len(tally.acknowledged - kept)
    kept_promises = not tally.wrong and not lost and not twice and sound and late - early < GROWTH_MB and found["exit"] == 0
    return {
        **found,
        "good": dict(tally.good),
        "hostile": dict(tally.hostile),
        "answered_by": dict(tally.versions),
        "acknowledged": len(tally.acknowledged),
        "lost": lost,
        "logged_twice": twice,
        "memory_mb": {"early": round(early, 1), "late": round(late, 1), "most": round(max(memory), 1)},
        "faults": faults[:5],
        "wrong": tally.wrong[:10],
        "kept": kept_promises,
    }


def _workspace(home: Path) -> tuple[list[Row], Callable[[str], None]]:
    """Two versions of a small model of the bundled table, its rows, and the way to promote one of them."""
    os.environ["EMLYN_HOME"] = str(home)
    import emlyn
    from emlyn import samples
    from emlyn.doors import python

    table = Path(samples.__file__).parent / "breast_cancer.csv"
    for seed in (0, 1):
        run = emlyn.train(str(table), name=NAME, trials=3, seed=seed, budget="60s", jobs=1, **_target(table))
        print(run, file=sys.stderr)
    with table.open(newline="") as file:
        return list(csv.DictReader(file)), lambda model: python.promote(model, why="soak") and None


def _target(table: Path) -> dict[str, str]:
    with table.open(newline="") as file:
        return {"target": next(csv.reader(file))[-1]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=60, help="good requests per second")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        asked, promoted = _workspace(Path(folder))
        result = soak(Path(folder), asked, promoted, chosen)
    print(json.dumps(result, indent=1))
    sys.exit(0 if result["kept"] else 1)
