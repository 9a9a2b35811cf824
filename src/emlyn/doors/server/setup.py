"""How a server is set up: flags first, then what the platform says in the environment, then safe defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from emlyn.errors import OptionError
from emlyn.service.limits import MIB, Limits, LogSettings, Settings

PLATFORMS = ("sagemaker", "mlflow", "vertex", "kserve")
MODEL_FOLDERS = ("/opt/ml/model",)
"""Where platforms put a model's files: SageMaker here, Azure ML where `AZUREML_MODEL_DIR` says."""
CLOUD = ("AIP_HTTP_PORT", "K_SERVICE", "KUBERNETES_SERVICE_HOST", "AZUREML_MODEL_DIR", "SAGEMAKER_BATCH")
"""Variables that say: this is a container behind somebody's gateway, so loopback alone would answer nobody."""


@dataclass(frozen=True)
class ServeOptions:
    """The options of `emlyn serve`; each has the name of its flag."""

    models: tuple[str, ...] = ()
    """NAME, NAME@alias, NAME:version or paths; empty serves every champion of the workspace."""
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    certificate: str = ""
    key: str = ""
    """PEM files for TLS."""
    home: str = ""
    """The workspace; empty is `EMLYN_HOME` or `./.emlyn`."""
    log: str = ""
    """A SQLAlchemy URL for the prediction log; empty is `predictions.db` in the workspace; `none` keeps no log."""
    require_signature: bool = False
    settings: Settings = field(default_factory=Settings)


def serve_options(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> ServeOptions:
    """Flags (None or absent = not given) over environment over defaults. Raises OptionError.

    Port: --port, `AIP_HTTP_PORT`, `PORT`, 8080. Host: --host, `EMLYN_HOST`, 0.0.0.0 where a cloud's variable is there, else 127.0.0.1.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    hosts = _words(given.pop("allow_host", None) or environ.get("EMLYN_ALLOWED_HOSTS", ""))
    opened = _words(given.pop("open", None) or environ.get("EMLYN_OPEN", ""))
    for platform in opened:
        if platform not in PLATFORMS:
            raise OptionError(f"no such platform: {platform!r}", where="--open", allowed=", ".join(PLATFORMS))
    predict, health = _vertex(environ)
    settings = replace(
        _configured(environ.get("EMLYN_SERVE_CONFIG", "")),
        hosts=tuple(h.lower() for h in hosts),
        open=opened,
        vertex_predict=predict,
        vertex_health=health,
    )
    options = ServeOptions(
        models=_words(environ.get("EMLYN_MODELS", "")),
        host=environ.get("EMLYN_HOST") or ("0.0.0.0" if any(environ.get(name) for name in CLOUD) else "127.0.0.1"),  # noqa: S104 - only behind a cloud's gateway
        port=_port(environ),
        log=environ.get("EMLYN_LOG", ""),
        home=environ.get("EMLYN_HOME", ""),
        settings=_limited(settings, environ),
    )
    try:
        found = replace(options, **given)
    except TypeError as error:
        raise OptionError(f"no such option: {error}", where="serve") from None
    if not 1 <= found.port <= 65535:
        raise OptionError(f"port {found.port} does not exist", where="--port", allowed="1 to 65535")
    if found.workers < 1:
        raise OptionError(f"{found.workers} workers cannot serve", where="--workers", allowed="1 or more")
    if bool(found.certificate) != bool(found.key):
        raise OptionError("TLS needs both files", where="--certificate, --key", allowed="a certificate and its private key, in PEM")
    return found


def default_models(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Model files that a platform has put where it always puts them."""
    folders = [Path(f) for f in (*MODEL_FOLDERS, environ.get("AZUREML_MODEL_DIR", "")) if f]
    return tuple(str(path) for folder in folders for path in sorted(folder.rglob("*.emlyn")))


def to_text(options: ServeOptions) -> str:
    """For the worker processes, through the environment."""
    return msgspec.json.encode(options).decode()


def from_text(text: str) -> ServeOptions:
    return msgspec.json.decode(text, type=ServeOptions)


def _configured(path: str) -> Settings:
    """Limits and log settings from a JSON or YAML file: `{"limits": {"rows": 1000}, "log": {"redact": ["name"]}}`. Raises OptionError."""
    if not path:
        return Settings()
    try:
        raw = Path(path).read_bytes()
        found = msgspec.json.decode(raw) if path.endswith(".json") else msgspec.yaml.decode(raw)
        unknown = [*_unknown(found, Settings), *_unknown(found.get("limits", {}), Limits), *_unknown(found.get("log", {}), LogSettings)]
        if unknown:
            raise OptionError(
                f"there is no setting {unknown[0]!r}", where=path, allowed=", ".join(f.name for kind in (Limits, LogSettings) for f in fields(kind))
            )
        return msgspec.convert(found, Settings)
    except (OSError, msgspec.MsgspecError, AttributeError, TypeError) as error:
        raise OptionError(f"the configuration cannot be read: {error}", where=path, allowed="JSON or YAML with `limits` and `log`") from None


def _unknown(found: Mapping[str, Any], kind: type) -> list[str]:
    return sorted(set(found) - {f.name for f in fields(kind)})


def _words(said: Any) -> tuple[str, ...]:
    return tuple(word for word in (said.replace(",", " ").split() if isinstance(said, str) else said) if word)


def _port(environ: Mapping[str, str]) -> int:
    said = environ.get("AIP_HTTP_PORT") or environ.get("PORT") or "8080"
    if not said.isdigit():
        raise OptionError(f"{said[:40]!r} is not a port", where="AIP_HTTP_PORT, PORT", allowed="1 to 65535")
    return int(said)


def _vertex(environ: Mapping[str, str]) -> tuple[str, str]:
    """Vertex AI's routes; when it names none, the ones it then calls."""
    predict, health = environ.get("AIP_PREDICT_ROUTE", ""), environ.get("AIP_HEALTH_ROUTE", "")
    endpoint, model = environ.get("AIP_ENDPOINT_ID", ""), environ.get("AIP_DEPLOYED_MODEL_ID", "")
    usual = f"/v1/endpoints/{endpoint}/deployedModels/{model}" if endpoint and model else ""
    for route in (predict, health):
        if route and (not route.startswith("/") or "{" in route):
            raise OptionError(f"{route[:80]!r} is not a route", where="AIP_PREDICT_ROUTE, AIP_HEALTH_ROUTE", allowed="a path such as /predict")
    return predict or (f"{usual}:predict" if usual else ""), health or usual


def _limited(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """SageMaker's batch transform says how large its payloads are."""
    said = environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB", "")
    if not said.isdigit() or int(said) == 0:
        return settings
    return replace(settings, limits=replace(settings.limits, body=min(int(said), 100) * MIB, rows=1_000_000, seconds=600.0))
