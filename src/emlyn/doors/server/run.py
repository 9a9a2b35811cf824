"""`emlyn serve`: models loaded and warm, one port for every protocol, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from emlyn.core.storing import registry, signing
from emlyn.core.storing.durable import make_folder
from emlyn.core.storing.workspace import Workspace
from emlyn.doors.server import logs
from emlyn.doors.server.app import create_app
from emlyn.doors.server.setup import ServeOptions, default_models, from_text, to_text
from emlyn.errors import ModelError, OptionError, WorkspaceError
from emlyn.service.loading import Loader, Watcher
from emlyn.service.metrics import Metrics
from emlyn.service.pool import Pool
from emlyn.service.prediction_log import PredictionLog
from emlyn.service.service import Service
from emlyn.service.tokens import SCOPES, Tokens

VARIABLE = "EMLYN_SERVE"
"""Hands the options to worker processes."""
GRACE_S = 8
"""Seconds that requests in flight get after SIGTERM; Cloud Run waits 10, SageMaker 30."""
FIRST_TOKEN = "first"  # noqa: S105 - a name, not a secret


def serve(options: ServeOptions, announce: Callable[[str], None] = print) -> None:
    """Serve until stopped. `announce` is given what a person must see: the first token, and the address.

    Raises OptionError for a port that is taken, ModelError for a model that cannot be opened, WorkspaceError when the prediction log cannot be.
    """
    options = replace(options, models=options.models or default_models() or champions(options))
    free(options)
    tokens = open_tokens(options)
    app = build(options, tokens) if options.workers == 1 else None  # what cannot be served is said before anything else
    if not options.settings.open and not list(tokens):
        announce(f"No token yet, so one was made with every scope. It is shown this once: {first_token(tokens, options)}")
    scheme = "https" if options.certificate else "http"
    announce(f"Serving {', '.join(options.models)} on {scheme}://{options.host}:{options.port} (routes: /docs)")
    settings = {
        "host": options.host,
        "port": options.port,
        "loop": "uvloop" if sys.platform != "win32" else "asyncio",
        "http": "httptools",
        "lifespan": "on",
        "server_header": False,
        "proxy_headers": False,
        "access_log": False,
        "log_config": None,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": GRACE_S,
        "ssl_certfile": options.certificate or None,
        "ssl_keyfile": options.key or None,
    }
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _stopped)
    if app is not None:
        uvicorn.Server(uvicorn.Config(app, **settings)).run()  # type: ignore[arg-type]
        return
    os.environ[VARIABLE] = to_text(options)
    uvicorn.run("emlyn.doors.server.run:worker", factory=True, workers=options.workers, **settings)  # type: ignore[arg-type]


def free(options: ServeOptions) -> None:
    """Raises OptionError when the port cannot be had, before a model is loaded for nothing."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            said = f"port {options.port} of {options.host} cannot be had: {error.strerror or error}"
            raise OptionError(said, where="--host, --port", next_step="stop what listens there, or choose another with --port") from None


def _stopped(number: int, frame: object) -> None:
    """uvicorn takes the signal, ends gracefully and hands it on to us: an orderly end is no failure."""


def build(options: ServeOptions, tokens: Tokens | None = None) -> Starlette:
    """The application with its models loaded and warm. Raises ModelError, WorkspaceError."""
    logs.set_up()
    workspace = Workspace.find(options.home or None)
    by_name = any(not _is_file(spec) for spec in options.models)
    loader = Loader(
        workspace.open_store() if by_name else None, options.require_signature, signing.trusted(workspace.keys) if options.require_signature else ()
    )
    metrics, pool = Metrics(), Pool()
    watcher = Watcher(pool, loader, options.models, options.settings.poll_s, metrics)
    watcher.start()
    log = (
        None
        if options.log == "none"
        else PredictionLog(options.log or f"sqlite:///{make_folder(workspace.root) / 'predictions.db'}", options.settings.log)
    )
    return create_app(Service(pool, log, options.settings, metrics), tokens or open_tokens(options), watcher)


def worker() -> Starlette:
    """What each of several worker processes runs."""
    return build(from_text(os.environ[VARIABLE]))


def open_tokens(options: ServeOptions) -> Tokens:
    """The workspace's tokens and `EMLYN_TOKEN`."""
    return Tokens(Workspace.find(options.home or None).root / "tokens.json", os.environ.get("EMLYN_TOKEN"))


def first_token(tokens: Tokens, options: ServeOptions) -> str:
    """Make the first token; where the workspace cannot be written, the operator is told to set one."""
    try:
        return tokens.create(FIRST_TOKEN, SCOPES)
    except (OSError, WorkspaceError) as error:
        raise WorkspaceError(
            "there is no token, and none can be stored",
            where=str(Workspace.find(options.home or None).root),
            next_step="set EMLYN_TOKEN to a long random text",
        ) from error


def champions(options: ServeOptions) -> tuple[str, ...]:
    """The names in the workspace's registry that have a champion. Raises ModelError when there is none."""
    with Workspace.find(options.home or None).open_store() as store:
        versions = registry.versions(store)
        names = tuple(dict.fromkeys(v.name for v in versions if registry.CHAMPION in v.aliases))
        if versions and not names:
            registry.resolve(store, versions[-1].name)  # says why there is no champion, and what to do
    if not names:
        raise ModelError(
            "there is no model to serve", allowed="NAME, NAME@alias, NAME:version, or a .emlyn file", next_step="emlyn train DATA --target COL"
        )
    return names


def _is_file(spec: str) -> bool:
    return spec.endswith(registry.FILE) or os.sep in spec or Path(spec).is_file()
