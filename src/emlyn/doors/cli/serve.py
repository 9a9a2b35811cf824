"""Commands that take a model elsewhere: serve, keys, export."""

from __future__ import annotations

import typer

from emlyn.doors.cli.rows import MODEL
from emlyn.doors.cli.train import JSON


def serve(
    models: list[str] = typer.Argument(None, help="NAME, NAME@alias, NAME:version or paths; without any, every champion of the workspace."),
    host: str = typer.Option(None, "--host", help="Address to listen on. [127.0.0.1; 0.0.0.0 behind a cloud's gateway]"),
    port: int = typer.Option(None, "--port", help="Port. [AIP_HTTP_PORT, PORT or 8080]"),
    workers: int = typer.Option(None, "--workers", help="Processes that share the port. [1]"),
    certificate: str = typer.Option(None, "--certificate", help="TLS certificate (PEM)."),
    key: str = typer.Option(None, "--key", help="TLS private key (PEM)."),
    allow_host: list[str] = typer.Option(None, "--allow-host", help="A Host header to answer besides the address itself. Repeatable."),
    open: list[str] = typer.Option(
        None, "--open", help="A platform (sagemaker, mlflow, vertex, kserve) that checks callers itself: no token there. Repeatable."
    ),
    log: str = typer.Option(None, "--log", help="Where predictions are logged: a SQLAlchemy URL, or none. [predictions.db in the workspace]"),
    require_signature: bool = typer.Option(False, "--require-signature", help="Refuse model files that no trusted key has signed."),
) -> None:
    """The HTTP service: one port, every protocol."""
    from emlyn.doors.server.run import serve as run
    from emlyn.doors.server.setup import serve_options

    flags = {
        "models": tuple(m for m in models or () if m != "serve"), "host": host, "port": port, "workers": workers, "certificate": certificate,
        "key": key, "allow_host": tuple(allow_host or ()), "open": tuple(open or ()), "log": log,
        "require_signature": require_signature or None,
    }  # fmt: skip
    run(serve_options(flags), announce=lambda text: typer.echo(text, err=True))


def feedback(
    model: str = MODEL,
    labels: str = typer.Argument(..., help="A source with prediction_id (or your own key) and the true label."),
    key: str = typer.Option("", "--key", help="The column with your own keys, where predictions were logged by key."),
    log: str = typer.Option("", "--log", help="The server's --log, where it is not the workspace's own."),
    json: bool = JSON,
) -> None:
    """Late true labels, joined to logged predictions."""
    from emlyn.doors.cli import show
    from emlyn.doors.labels import feedback as join

    result = join(model, labels, key=key, log=log)
    if json:
        show.as_json(result)
        return
    show.out(f"{result['labels']:,} labels stored for {result['model']}, {result['left_out']:,} rows left out")
    show.out(f"{result['joined']:,} predictions have a label now; {result['unknown']:,} labels name no logged prediction")


def keys(
    action: str = typer.Argument("list", help="list, new-token, revoke, new-signing-key or trust."),
    name: str = typer.Argument("default", help="The token's name, or the file of a public key to trust."),
    scope: list[str] = typer.Option(None, "--scope", help="predict, feedback, read or admin. Repeatable. [predict, feedback]"),
    json: bool = JSON,
) -> None:
    """Tokens of the service, and keys that sign models."""
    from emlyn.doors import keyring
    from emlyn.doors.cli import show

    result = keyring.act(action, name, tuple(scope or ()))
    if json:
        show.as_json(result)
        return
    for line in result["lines"]:
        show.out(line)


def export(
    model: str = MODEL,
    to: str = typer.Option(..., "--to", help="docker, sagemaker, vertex, kserve, cloudrun, mlflow, onnx, sql or openapi."),
    out: str = typer.Option(None, "--out", help="Folder to write into. [MODEL-TARGET]"),
    rows: str = typer.Option(None, "--rows", help="Rows of yours: formats that compute answers anew are compared with the model on them."),
    json: bool = JSON,
) -> None:
    """What other systems need to run a model."""
    from emlyn.doors import python
    from emlyn.doors.cli import show

    result = python.load(model).export(to, out, rows)
    if json:
        show.as_json(result)
        return
    for path in result["files"]:
        show.out(path)
    for note in result["notes"]:
        show.out(show.dim(f"note: {note}"))
    if result["commands"]:
        show.out("\nThen:")
        for command in result["commands"]:
            show.out(f"  {command}")
