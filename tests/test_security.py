"""Security of the server: deny by default, and one regression test per class of vulnerability that model servers had before."""

from __future__ import annotations

import ast
import asyncio
import gzip
import io
import json
import logging
import pickle
import re
import socket
import time
import tomllib
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest

from emlyn.core.storing import archive
from emlyn.doors.server import docs
from emlyn.doors.server.app import doors
from emlyn.doors.server.logs import JsonLines, redacted
from emlyn.doors.server.setup import ServeOptions, from_text, serve_options, to_text
from emlyn.errors import OptionError
from emlyn.service.tokens import SCOPES
from service_kit import ROW, Settings, kit, running, served

SOURCE = Path(__file__).resolve().parent.parent / "src" / "emlyn"
TABLE = doors(Settings(vertex_predict="/vertex/predict", vertex_health="/vertex/health"))
HEALTH = {"/livez", "/readyz", "/healthz", "/startupz", "/ping", "/health", "/v2/health/live", "/v2/health/ready", "/vertex/health"}


def ask(found, method, path, scope=None, **options):
    """One request through the whole application; problem documents are checked for what they must not say."""

    async def go():
        async with found.client(scope, **options.pop("client", {})) as client:
            return await client.request(method, path, **options)

    response = asyncio.run(go())
    for word in ("Traceback", "site-packages", str(SOURCE), "sqlalchemy"):
        assert word not in response.text
    return response


def filled(path: str) -> str:
    return path.replace("{model}", "churn").replace("{version}", "1")


@pytest.fixture(scope="module")
def shared():
    return kit(None, settings=Settings(poll_s=0, vertex_predict="/vertex/predict", vertex_health="/vertex/health"))


# deny by default: routes that the authentication layer forgot (MLflow 2026-0545, 2026-2651; Ray 2023-48022, 2026-27482)


@pytest.mark.parametrize("door", TABLE, ids=lambda d: f"{d.method} {d.path}")
def test_every_route_asks_for_a_token_with_its_scope(shared, door):
    path = filled(door.path)
    if door.path in HEALTH:
        assert door.access == "public"
        assert ask(shared, door.method, path).status_code == 200
        return
    assert door.access in SCOPES, "only health is public"
    assert ask(shared, door.method, path).status_code == 401
    assert ask(shared, door.method, path, client={"headers": {"Authorization": "Bearer emlyn_wrong"}}).status_code == 401
    for other in set(SCOPES) - {door.access}:
        assert ask(shared, door.method, path, other).status_code == 403
    assert ask(shared, door.method, path, door.access).status_code not in (401, 403)


def test_the_running_application_has_no_route_beside_the_table(shared):
    assert [(next(iter(r.methods - {"HEAD"})), r.path) for r in shared.app.routes] == [(d.method, d.path) for d in TABLE]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/v1/predict", "/metrics", "/nowhere", "/v1/predict/", "//v1/predict", "/docs/../metrics", "/static/x.js", "/"])
def test_other_methods_and_paths_answer_nothing_without_a_token(shared, method, path):
    assert ask(shared, method, path).status_code == 401
    assert ask(shared, method, path, "read").status_code in (200, 403, 404, 405)


def test_a_websocket_is_closed(shared):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/predict", "headers": [], "app": shared.app}
    asyncio.run(shared.app(scope, receive, send))
    assert [m["type"] for m in sent] == ["websocket.close"]


# open platforms are opened one by one, and only for their own routes


def test_opening_a_platform_opens_its_routes_alone():
    found = kit(None, settings=Settings(poll_s=0, open=("sagemaker",)))
    assert ask(found, "POST", "/invocations", json={"instances": [ROW]}).status_code == 200
    assert ask(found, "GET", "/execution-parameters").status_code == 200
    for method, path in (("POST", "/v1/predict"), ("POST", "/v1/models/churn:predict"), ("POST", "/v2/models/churn/infer"), ("GET", "/metrics")):
        assert ask(found, method, path).status_code == 401
    with pytest.raises(OptionError):
        serve_options({"open": "everything"}, {})


# default and weak credentials (MLflow 2025-11200): see test_service.py for weak EMLYN_TOKENs; here: no secret is built in


def test_there_is_no_built_in_token(shared):
    for guess in ("", "admin", "password", "token", "emlyn", "None", "null"):
        refused = ask(shared, "GET", "/metrics", client={"headers": {"Authorization": f"Bearer {guess}"}})
        assert refused.status_code == 401
        assert "wrong, expired or revoked" in refused.json()["detail"]
    assert "send the header" in ask(shared, "GET", "/metrics").json()["detail"]


def test_a_password_opens_pages_alone(shared):
    basic = {"auth": httpx.BasicAuth("anyone", shared.secrets["all"])}
    assert ask(shared, "GET", "/docs", client=basic).status_code == 200
    assert ask(shared, "GET", "/openapi.json", client=basic).status_code == 200
    assert ask(shared, "POST", "/v1/predict", client=basic, json={"rows": [ROW]}).status_code == 401
    assert ask(shared, "GET", "/metrics", client=basic).status_code == 401


# DNS rebinding and requests from other web pages (MLflow 2025-14279)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200), ("10.0.0.3", 200), ("models.example.org", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.nip.io", 421), ("", 421), ("a b", 421),
    ],
)  # fmt: skip
def test_only_our_own_host_names_are_answered(host, status):
    found = kit(None, settings=Settings(poll_s=0, hosts=("models.example.org",)))
    assert ask(found, "POST", "/v1/predict", "all", json={"rows": [ROW]}, headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:9"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_other_origins_are_refused_and_never_invited(shared, headers):
    response = ask(shared, "POST", "/v1/predict", "all", json={"rows": [ROW]}, headers=headers)
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert ask(shared, "POST", "/v1/predict", "all", json={"rows": [ROW]}, headers={"Origin": "http://localhost:8080"}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_a_form_cannot_ask(shared, kind):
    response = ask(shared, "POST", "/v1/predict", "all", content=json.dumps({"rows": [ROW]}), headers={"Content-Type": kind})
    assert response.status_code == 415


# paths and URLs from callers (MLflow 2023-1177, 2023-6831, 2024-1560, 2024-1593, 2025-11201; BentoML 2025-54381; TorchServe 2023-43654)

TRAVERSALS = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%252e%252e%252fetc", "..;/etc/passwd", "churn#/../../etc", "..\\..\\windows", "churn%00.emlyn",
    "/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data", "s3://bucket/key", "ｅ․․/etc", "churn:../../x", "\u202egpj",
]  # fmt: skip


@pytest.mark.parametrize("name", TRAVERSALS)
def test_a_model_is_named_never_fetched(shared, name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the server opened something a caller named")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("os.open", refuse)
    for field in ("model", "version"):
        response = ask(shared, "POST", "/v1/predict", "all", json={"rows": [ROW], field: name})
        assert response.status_code == 404
    name = name.replace("#", "%23")  # or the client keeps it to itself
    for path in (f"/v1/models/{name}", f"/v2/models/{name}/ready", f"/v1/served/{name}/routing"):
        assert ask(shared, "GET", path, "read").status_code in (404, 405, 400)


@pytest.mark.parametrize("name", TRAVERSALS)
def test_a_cell_is_a_value_whatever_it_looks_like(shared, name):
    assert ask(shared, "POST", "/v1/predict", "all", json={"rows": [{**ROW, "note": name}]}).status_code == 200


def test_admin_can_route_only_to_what_is_already_loaded(shared):
    for version in ("2", "../../x", "http://evil/x"):
        body = {"canary": {"version": version, "share": 1.0}}
        assert ask(shared, "PUT", "/v1/served/churn/routing", "admin", json=body).status_code == 404


@pytest.mark.parametrize("door", TABLE, ids=lambda d: f"{d.method} {d.path}")
def test_nothing_loads_a_model_by_request(shared, door, monkeypatch):
    """Whatever the body asks for, under SageMaker's multi-model names too: no file is opened as a model, and none is forgotten."""
    monkeypatch.setattr(archive, "open", Mock(side_effect=AssertionError("a request loaded a model")))
    before = dict(shared.service.pool.lanes)
    body = {"model_name": "x", "url": "/opt/ml/models/x/model", "source": "http://evil/x.emlyn"}
    ask(shared, door.method, filled(door.path), "all", json=body)
    for method, path in (("POST", "/models"), ("DELETE", "/models/churn"), ("POST", "/v2/repository/models/x/load")):
        assert ask(shared, method, path, "all", json=body).status_code == 404
    assert dict(shared.service.pool.lanes) == before


# code in what is loaded or sent (MLflow 2024-37052..37060; BentoML 2025-27520, 2024-2912; skops 2025-54886)


class Bomb:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    "kind",
    ["application/octet-stream", "application/vnd.bentoml+pickle", "application/x-pickle", "application/json", "text/csv", "application/x-parquet"],
)
def test_a_pickle_is_never_opened(shared, kind, capsys):
    body = pickle.dumps(Bomb())
    for path in ("/v1/predict", "/invocations", "/v2/models/churn/infer"):
        response = ask(shared, "POST", path, "all", content=body, headers={"Content-Type": kind})
        assert response.status_code in (400, 415)
    assert "run" not in capsys.readouterr().out


def test_nothing_that_can_run_code_is_imported_by_the_service():
    forbidden = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "subprocess", "urllib.request", "requests", "httpx", "yaml"}
    for folder in ("service", "doors/server"):
        for path in (SOURCE / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names} | {
                n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
            }
            calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
            assert not names & forbidden, path
            assert not calls & {"eval", "exec", "compile", "__import__"}, path


# exhaustion: bodies, parts, depth, rows, headers, time, rate (BentoML 2024-9056)


def test_a_large_body_is_refused_by_its_declared_and_by_its_real_length():
    found = kit(None, body=1000)

    async def endless():
        while True:
            yield b" " * 100

    for content in (b" " * 5000, endless()):
        response = ask(found, "POST", "/v1/predict", "all", content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 413


def test_compressed_bodies_are_not_unpacked(shared):
    bomb = gzip.compress(b"0" * 10_000_000)
    response = ask(shared, "POST", "/v1/predict", "all", content=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
    assert response.status_code == 415


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"rows":' * 50_000, '{"rows":[' + '{"a":' * 2000, "{" * 3000 + "}" * 3000, '{"rows":[' + "[" * 1000 + "]" * 1000 + "]}"]
)
def test_deep_json_is_a_plain_mistake(shared, body):
    assert ask(shared, "POST", "/v1/predict", "all", content=body, headers={"Content-Type": "application/json"}).status_code == 400


def test_rows_and_columns_have_limits():
    found = kit(None, rows=5, columns=10)
    assert ask(found, "POST", "/v1/predict", "all", json={"rows": [ROW] * 6}).status_code == 413
    assert ask(found, "POST", "/v1/predict", "all", json={"rows": [{f"c{i}": 1 for i in range(11)}]}).status_code == 413
    wide = ",".join(["1"] * 11)
    assert ask(found, "POST", "/invocations", "all", content=wide, headers={"Content-Type": "text/csv"}).status_code == 413
    tensors = [{"name": f"c{i}", "shape": [1], "datatype": "FP64", "data": [1]} for i in range(11)]
    assert ask(found, "POST", "/v2/models/churn/infer", "all", json={"inputs": tensors}).status_code == 413


def test_a_parquet_file_that_unpacks_too_far_is_refused(shared):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pa.table({"age": pa.array([40] * 9_000), "note": pa.array(["x" * 20_000] * 9_000)}), out, compression="zstd")
    assert len(out.getvalue()) < 200_000
    response = ask(shared, "POST", "/invocations", "all", content=out.getvalue(), headers={"Content-Type": "application/vnd.apache.parquet"})
    assert response.status_code in (400, 413)


def test_long_headers_are_refused(shared):
    assert ask(shared, "GET", "/metrics", "all", headers={"X-Long": "a" * 20_000}).status_code == 431


def test_a_slow_body_ends_with_the_time_limit():
    found = kit(None, seconds=0.3)

    async def drip():
        yield b'{"rows":'
        await asyncio.sleep(3)
        yield b"[]}"

    began = time.monotonic()
    response = ask(found, "POST", "/v1/predict", "all", content=drip(), headers={"Content-Type": "application/json"})
    assert response.status_code == 504
    assert time.monotonic() - began < 2.5


def test_a_token_that_asks_too_often_waits_and_the_others_do_not():
    found = kit(None, rate=2.0, burst=1.0)
    assert [ask(found, "GET", "/metrics", "read").status_code for _ in range(3)] == [200, 200, 429]
    assert ask(found, "GET", "/metrics", "all").status_code == 200
    assert "retry-after" in ask(found, "GET", "/metrics", "read").headers


def test_beyond_the_number_of_requests_worked_on_at_once_callers_are_sent_away_and_health_still_answers():
    found = kit(None, served(seconds=0.5), concurrent=2)

    async def crowd():
        async with found.client() as client:
            posts = [client.post("/v1/predict", json={"rows": [ROW] * 2000}) for _ in range(6)]
            *answers, health = await asyncio.gather(*posts, client.get("/livez"))
            return sorted(a.status_code for a in answers), health.status_code

    found.service.pool.get().scorer.answer([ROW] * 2)  # learns that rows are slow here: scored on threads
    statuses, health = asyncio.run(crowd())
    assert statuses == [200, 200, 503, 503, 503, 503]
    assert health == 200


# what leaks: error bodies (mlflow #16537), headers, logs, pages


def test_our_own_fault_says_nothing_but_that(shared, monkeypatch, caplog):
    def explode(*args):
        raise RuntimeError("secret path /root/data.csv")

    monkeypatch.setattr(shared.service.pool.get().scorer.model.__class__, "predict_answers", explode)
    for path, body in (("/v1/predict", {"rows": [ROW]}), ("/v1/models/churn:predict", {"instances": [ROW]})):
        response = ask(shared, "POST", path, "all", json=body)
        assert response.status_code == 500
        assert "secret" not in response.text
        assert "RuntimeError" not in response.text


def test_anonymous_callers_learn_nothing_about_models(shared):
    for path in HEALTH:
        assert "churn" not in ask(shared, "GET", path).text
    for path in ("/v1/models/churn", "/v1/models/other"):
        assert ask(shared, "GET", path).text == ask(shared, "GET", "/v1/models/other").text


def test_every_answer_carries_secure_headers(shared):
    for method, path, scope in (("GET", "/livez", None), ("GET", "/metrics", None), ("POST", "/v1/predict", "all"), ("GET", "/nowhere", "all")):
        headers = ask(shared, method, path, scope).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_the_docs_page_loads_nothing_from_anywhere_and_runs_its_own_script_alone():
    html, policy = docs.page()
    text = html.decode()
    assert "http://" not in text
    assert "https://" not in text
    assert "innerHTML" not in text
    assert text.count("<script") == 1
    assert "src=" not in text
    assert "unsafe" not in policy


def test_logs_hold_no_secret_and_no_row(shared, caplog):
    with caplog.at_level(logging.INFO, logger="emlyn.access"):
        ask(shared, "POST", "/v1/predict?token=abc", "all", json={"rows": [{**ROW, "note": "private words"}]})
    lines = [JsonLines().format(r) for r in caplog.records]
    assert lines
    joined = "\n".join(lines)
    assert "private words" not in joined
    assert shared.secrets["all"] not in joined
    assert json.loads(lines[-1])["status"] == 200
    assert redacted(f"Authorization: Bearer {shared.secrets['all']}") == "Authorization: Bearer ***"
    assert redacted("postgresql://me:hunter2@db/x") == "postgresql://me:***@db/x"


def test_a_line_break_in_a_header_cannot_forge_a_log_line(shared, caplog):
    with caplog.at_level(logging.INFO, logger="emlyn.access"):
        ask(shared, "GET", "/livez", headers={"traceparent": "00-x\\n{}"})
    assert "\n" not in JsonLines().format(caplog.records[-1])


# binding


def test_loopback_is_the_default_and_clouds_are_told_by_their_variables():
    assert serve_options({}, {}).host == "127.0.0.1"
    assert serve_options({}, {"K_SERVICE": "x", "PORT": "9000"}) == serve_options({"host": "0.0.0.0", "port": 9000}, {})
    assert serve_options({"port": 1}, {"AIP_HTTP_PORT": "2", "PORT": "3"}).port == 1
    assert serve_options({}, {"AIP_HTTP_PORT": "2", "PORT": "3"}).port == 2
    assert from_text(to_text(serve_options({"models": ("a", "b")}, {}))).models == ("a", "b")
    for flags, environ in (
        ({"port": 70_000}, {}),
        ({}, {"PORT": "http"}),
        ({"certificate": "x"}, {}),
        ({"workers": 0}, {}),
        ({}, {"AIP_PREDICT_ROUTE": "{x}"}),
    ):
        with pytest.raises(OptionError):
            serve_options(flags, environ)
    assert ServeOptions().settings.open == ()


def test_limits_and_log_settings_come_from_a_file_and_mistakes_are_named(tmp_path):
    path = tmp_path / "serve.yaml"
    path.write_text("limits: {rows: 7}\nlog: {redact: [name], sample: 0.5}\n")
    settings = serve_options({"allow_host": ("x.example",)}, {"EMLYN_SERVE_CONFIG": str(path)}).settings
    assert (settings.limits.rows, settings.log.redact, settings.log.sample, settings.hosts) == (7, ("name",), 0.5, ("x.example",))
    for wrong, said in (("limits: {row: 7}", "'row'"), ("limits: {rows: many}", "rows"), ("- 1", "read"), ("{", "read"), ("secret: 1", "'secret'")):
        path.write_text(wrong)
        with pytest.raises(OptionError, match=said):
            serve_options({}, {"EMLYN_SERVE_CONFIG": str(path)})
    with pytest.raises(OptionError):
        serve_options({}, {"EMLYN_SERVE_CONFIG": str(tmp_path / "none.json")})


# over a real socket: what never reaches the application


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET " + b"/" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
    ids=["smuggling", "negative length", "NUL", "TLS hello", "long line", "nonsense"],
)
def test_a_malformed_request_harms_nobody(server, raw):
    address, _found = server
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(raw)
        connection.settimeout(2)
        try:
            first = connection.recv(4096)
        except TimeoutError:
            first = b""
    assert not first.startswith(b"HTTP/1.1 5")
    with httpx.Client(base_url=address) as client:
        assert client.get("/livez").status_code == 200


@pytest.fixture(scope="module")
def server():
    found = kit()
    with running(found) as address:
        yield address, found


# what the page of weaknesses says


def test_every_test_that_the_page_names_is_there():
    tests = Path(__file__).parent
    named = set(re.findall(r"`(test_\w+)`", (tests.parent / "docs" / "security.md").read_text()))
    there = set(re.findall(r"^def (test_\w+)", "\n".join(p.read_text() for p in tests.glob("test_*.py")), re.M))
    assert len(named) > 30
    assert named <= there, named - there


def test_lightgbm_is_never_older_than_its_mended_parser():
    """CVE-2024-43598: a heap overflow while a model's text is parsed, mended in 4.6."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    (needed,) = [d for d in project["dependencies"] if d.startswith("lightgbm")]
    oldest = re.search(r">=(\d+)\.(\d+)", needed)
    assert oldest is not None
    assert (int(oldest[1]), int(oldest[2])) >= (4, 6)
